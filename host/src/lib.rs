//! The program, less what the crates beside it do: the manifest, the command line, the control socket, the log.

pub mod control;
pub mod journal;
pub mod manifest;
pub mod problem;
pub mod terminal;
pub mod text;
