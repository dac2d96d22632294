//! A transport's error that is the server's answer: what was asked is not to be had of it, however often one asks. It is
//! what `ERR` is to a server that speaks the protocol by then. Or not for a while, which is for the server to say.

use std::time::Duration;

use atoll_send_pack::Error;

/// What the server answers, and what our log makes of that.
#[derive(Debug, thiserror::Error)]
#[error("{log}")]
pub(crate) struct Denial {
    answer: String,
    log: String,
}

impl Denial {
    /// `answer` names nothing of ours, as a token's file; `log` may.
    pub(crate) fn new(answer: String, log: impl Into<String>) -> Self {
        Self { answer, log: log.into() }
    }

    /// The answer, where that is what a conversation came to.
    pub(crate) fn of(error: &Error) -> Option<&str> {
        let Error::Io(error) = error else { return None };
        Some(&error.get_ref()?.downcast_ref::<Self>()?.answer)
    }
}

/// What stands before a server's own word for how long, behind what it answers.
pub(crate) const RESPITE: &str = ", Retry-After: ";

/// That the server is to be left alone for so long.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct Respite {
    pub(crate) words: String,
    pub(crate) wait: Duration,
}

impl Respite {
    pub(crate) fn of(error: &Error) -> Option<Duration> {
        let Error::Io(error) = error else { return None };
        Some(error.get_ref()?.downcast_ref::<Self>()?.wait)
    }
}
