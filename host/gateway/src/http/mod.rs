//! HTTP as clients see it: from an accepted connection to the answer. It decides nothing that a router could, runs no guest
//! itself, dials nobody itself, and knows no certificate but by what it vouches for.

mod access;
mod arriving;
mod break_off;
mod clock;
mod collect;
mod component;
mod connections;
mod cork;
mod edge;
mod encoder;
mod encoding;
mod ending;
mod flight;
mod forward;
mod framed;
mod fuse;
mod gateway;
mod gather;
mod health;
mod hook;
mod inbound;
mod key;
mod least;
mod limits;
mod memory;
mod payload;
mod peer;
mod question;
mod recent;
mod representation;
mod rescue;
mod roster;
mod serve;
mod service;
mod shares;
mod shelf;
mod spool;
mod strangers;
mod streams;
mod tunnel;
mod upload;
mod usual;
mod visit;
mod watch;

pub use atoll_semantics::network::Network;

pub use access::{Format, Sink};
pub use break_off::BreakOff;
pub use clock::{Clock, SystemClock};
pub use component::{Component, Live, Reply};
pub use connections::Admission;
pub use edge::Challenges;
pub use gateway::{Capabilities, Gateway, Remembering};
pub use hook::{Heard, Hook, Hooks, Told, Unheard};
pub use limits::{EXCHANGES, Limits};
pub use peer::{Certificate, Peer};
pub use roster::{Place, Roster, Upstream, UrlUpstream};
pub use spool::Spool;

pub use crate::tls::Protocol;

#[cfg(test)]
mod tests;
