//! The Smart protocol (gitprotocol-pack, gitprotocol-v2), over a conversation that somebody else opened: what a branch stands
//! at, and the pack of what we lack; how it is framed, and pushing, is `atoll-send-pack`'s. It cannot tell one transport from
//! another, keeps nothing on disk, and takes every byte of the server for hostile.

mod denial;
mod fetch;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod refs;

use std::{io, time::Duration};

use atoll_send_pack::Error;

pub(crate) use self::{
    denial::{Denial, RESPITE, Respite},
    fetch::{Look, Want},
};

/// What we are called: forges look at how it begins.
pub(crate) const AGENT: &str = concat!("git/atoll-", env!("CARGO_PKG_VERSION"));

/// Why a conversation came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum SmartError {
    #[error(transparent)]
    Protocol(#[from] Error),
    #[error("the server does not say which branch its HEAD is; name one: branch = \"NAME\"")]
    Headless,
    #[error("{0}")]
    Branch(crate::remote::NoBranch),
}

impl SmartError {
    /// What the server would answer the next time too, in words that name nothing of ours.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Protocol(Error::Said(words)) => Some(words.clone()),
            Self::Protocol(error @ (Error::Lacks(_) | Error::Sha256)) => Some(error.to_string()),
            Self::Protocol(error) => Denial::of(error).map(str::to_owned),
            Self::Headless => Some(self.to_string()),
            Self::Branch(_) => None,
        }
    }

    /// For how long the server asks to be left alone.
    pub(crate) fn respite(&self) -> Option<Duration> {
        match self {
            Self::Protocol(error) => Respite::of(error),
            Self::Headless | Self::Branch(_) => None,
        }
    }
}

impl From<io::Error> for SmartError {
    fn from(error: io::Error) -> Self {
        Error::of(error).into()
    }
}
