//! The Smart protocol (gitprotocol-pack, gitprotocol-v2), once, over a conversation that somebody else opened: what a
//! branch stands at, the pack of what we lack, and a push of what the server lacks. It cannot tell one transport from another, keeps nothing on disk, and
//! takes every byte of the server for hostile.

mod fetch;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod greeting;
mod packet;
mod push;
mod refs;
mod report;
mod sideband;

use std::io;

pub(crate) use self::{
    fetch::{Look, Want},
    greeting::{AGENT, Known},
    push::{Receiver, Rest, Update},
    report::Report,
};

/// Bytes of a server's words that are repeated.
const MAX_WORDS: usize = 1024;

/// Why a conversation came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum SmartError {
    /// Of the connection; in the transport's words.
    #[error("{}", ended(.0))]
    Io(#[from] io::Error),
    #[error("this is not the Git protocol: {0}")]
    Framing(&'static str),
    /// The server's own words, escaped.
    #[error("the server says \"{0}\"")]
    Said(String),
    #[error("the server says more than {0} bytes before the pack")]
    TooMuch(u64),
    #[error("it is a SHA-256 repository, which cannot be read here; make it one of SHA-1")]
    Sha256,
    #[error("the server does not know {0}, which is needed")]
    Lacks(&'static str),
    #[error("the server deletes no refs: delete-refs is not among what it can do")]
    Keeps,
    #[error("the server does not say which branch its HEAD is; name one: branch = \"NAME\"")]
    Headless,
    #[error("{0:?} cannot be a branch's name")]
    Name(String),
    #[error("no branch {name}{}", listed(.known))]
    Branch { name: String, known: Vec<String> },
}

impl SmartError {
    fn said(words: &[u8]) -> Self {
        Self::Said(shown(words))
    }

    /// What an error was before a reader had to make it one of reading.
    pub(crate) fn of(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(error) => Self::Io(error),
        }
    }
}

/// A stranger's words, for a log: without what a terminal would obey, and not too many.
pub(crate) fn shown(words: &[u8]) -> String {
    let cut = &words[..words.len().min(MAX_WORDS)];
    let mut shown = String::new();
    for character in String::from_utf8_lossy(cut).trim_end().chars() {
        if character.is_alphanumeric() || character == ' ' || character.is_ascii_graphic() {
            shown.push(character);
        } else {
            shown.extend(character.escape_debug());
        }
    }
    if cut.len() < words.len() {
        shown.push_str("...");
    }
    shown
}

fn ended(error: &io::Error) -> String {
    // `read_exact` has words of its own for it.
    let early = error.kind() == io::ErrorKind::UnexpectedEof;
    if early { "the connection ended early".to_owned() } else { error.to_string() }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; it has {}", names.join(", ")) }
}
