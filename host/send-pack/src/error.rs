//! Why a push came to nothing, and how a stranger's words are shown.

use std::io;

/// Bytes of a server's words that are repeated, at most.
pub const MAX_WORDS: usize = 1024;

/// Why a conversation came to nothing. Its words hold nothing that a terminal would obey.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Of the connection, or of reading the pack; in the words of whoever made it.
    #[error("{}", ended(.0))]
    Io(#[from] io::Error),
    /// What came is not what gitprotocol-common(5) and gitprotocol-pack(5) describe.
    #[error("this is not the Git protocol: {0}")]
    Framing(&'static str),
    /// The server's own words for an error, escaped: an `ERR` packet, or the side-band's third band.
    #[error("the server says \"{0}\"")]
    Said(String),
    /// More than so many bytes of talk.
    #[error("the server says more than {0} bytes beside the pack")]
    TooMuch(u64),
    /// Its `object-format` is not `sha1`.
    #[error("it is a SHA-256 repository, which cannot be read here; make it one of SHA-1")]
    Sha256,
    /// A capability that is not among those of the server.
    #[error("the server does not know {0}, which is needed")]
    Lacks(&'static str),
    /// A deletion, where the server does not offer `delete-refs`.
    #[error("the server deletes no refs: delete-refs is not among what it can do")]
    Keeps,
    /// A ref that is to go does not stand where it should.
    #[error("{0} stands elsewhere: look again")]
    Moved(String),
    /// Two updates of one ref.
    #[error("{0} is to be updated twice")]
    Twice(String),
    /// What git-check-ref-format(1) refuses; or a ref that was not asked for when the session was opened.
    #[error("{0:?} cannot be a branch's name")]
    Name(String),
    /// Nothing is to be updated, or an update has neither an old id nor a new one, or one of zeros.
    #[error("there is nothing to update")]
    Nothing,
    /// A ref is to stand at an object, and there is no pack: an empty one goes along where the server has everything.
    #[error("a ref is to be moved, and no pack goes along")]
    Packless,
}

impl Error {
    pub(crate) fn said(words: &[u8]) -> Self {
        Self::Said(shown(words))
    }

    /// What an error was before a reader had to make it one of reading: [`sideband::Sideband`](crate::sideband::Sideband)
    /// is one.
    pub fn of(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(error) => Self::Io(error),
        }
    }
}

/// A stranger's words, for a log: without what a terminal would obey, and at most [`MAX_WORDS`] of its bytes.
pub fn shown(words: &[u8]) -> String {
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
    match error.kind() {
        // `read_exact` has words of its own for it.
        io::ErrorKind::UnexpectedEof => "the connection ended early".to_owned(),
        // Which of them it is hangs on who was faster.
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => "the connection was cut off".to_owned(),
        _ => error.to_string(),
    }
}
