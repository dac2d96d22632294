//! HTTP semantics (RFC 9110, 9111): fields and targets, bytes in, decisions out. No I/O, no clock of its own, and nothing
//! of how messages are framed: whoever serves them calls this, and so do the fuzzers.

pub mod authority;
pub mod cache_control;
pub mod coding;
pub mod cookies;
pub mod forwarded;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod hop;
pub mod network;
pub mod no_vary_search;
pub mod path;
pub mod precondition;
pub mod quality;
pub mod range;
pub mod scheme;
pub mod storing;
#[cfg(test)]
mod testing;
pub mod vary;
