//! What the tests stand on: the program, repositories, clients and servers, each a process or a socket of the test's own,
//! on loopback, with a time limit on every wait. It knows nothing of the program but what a user of it sees.

pub(crate) mod broken;
pub(crate) mod browser;
pub(crate) mod ca;
pub(crate) mod client;
pub(crate) mod curl;
pub(crate) mod daemon;
pub(crate) mod frames;
pub(crate) mod git;
pub(crate) mod git_servers;
pub(crate) mod guests;
pub(crate) mod host;
pub(crate) mod load;
pub(crate) mod nginx;
pub(crate) mod raw;
pub(crate) mod skip;
pub(crate) mod sshd;
pub(crate) mod tables;
pub(crate) mod tinyproxy;
pub(crate) mod upstream;
pub(crate) mod wait;
