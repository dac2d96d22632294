//! The Smart protocol (gitprotocol-pack, gitprotocol-v2), over a conversation that somebody else opened: what a branch stands
//! at, and the pack of what we lack; how it is framed, and pushing, is `atoll-send-pack`'s. It cannot tell one transport from
//! another, keeps nothing on disk, and takes every byte of the server for hostile.

mod fetch;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod refs;

use std::io;

use atoll_send_pack::Error;

pub(crate) use self::fetch::{Look, Want};

/// What we are called: forges look at how it begins.
pub(crate) const AGENT: &str = concat!("git/atoll-", env!("CARGO_PKG_VERSION"));

/// Why a conversation came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum SmartError {
    #[error(transparent)]
    Protocol(#[from] Error),
    #[error("the server does not say which branch its HEAD is; name one: branch = \"NAME\"")]
    Headless,
    #[error("no branch {name}{}", listed(.known))]
    Branch { name: String, known: Vec<String> },
}

impl From<io::Error> for SmartError {
    fn from(error: io::Error) -> Self {
        Error::of(error).into()
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; it has {}", names.join(", ")) }
}
