//! What a `repository` is made of: a tree of files at one revision. The host implements it over Git, the test kit in
//! memory; a guest sees it through `capability::repository` alone.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::Body;

/// What an entry of a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Executable,
    Symlink,
    Directory,
    Submodule,
}

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The last segment of the path; empty for the root.
    pub name: String,
    pub kind: Kind,
    /// Lower-case hexadecimal.
    pub id: String,
}

/// Why a question about a tree has no answer. The words of `Corrupt` and `Other` reach guests: no path of the host's, no
/// address, no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    #[error("not found")]
    NotFound,
    #[error("too large")]
    TooLarge,
    #[error("corrupt: {0}")]
    Corrupt(String),
    #[error("{0}")]
    Other(String),
}

/// The contents of a file.
pub struct Blob {
    /// In bytes.
    pub size: u64,
    /// Exactly `size` bytes, or an error; its `size_hint` is exact.
    pub body: Body,
}

/// An answer that is there at once when nothing has to be read, and never holds a thread of the runtime's when something
/// has.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, TreeError>>;

/// A branch at one revision, which never changes. Paths as in `wit/repository.wit`: segments joined by `/`, the root is
/// empty, links are not followed.
pub trait Branch: Send + Sync + 'static {
    /// The commit's id in lower-case hexadecimal; empty without a commit.
    fn revision(&self) -> &str;
    /// False where there is no commit because nobody knows of one yet, and not because there is none.
    fn is_known(&self) -> bool {
        true
    }
    /// What tells where it came from, for whoever writes down what was proved; empty where that is nobody's concern.
    #[expect(clippy::unnecessary_literal_bound, reason = "others have one of their own")]
    fn origin(&self) -> &str {
        ""
    }
    /// The committer date in seconds since the Unix epoch; 0 without a commit.
    fn committed(&self) -> u64;
    fn entry<'a>(&'a self, path: &'a str) -> Answer<'a, Entry>;
    fn children<'a>(&'a self, path: &'a str) -> Answer<'a, Vec<Entry>>;
    fn size<'a>(&'a self, path: &'a str) -> Answer<'a, u64>;
    /// At most `limit` bytes, else `TooLarge`.
    fn contents<'a>(&'a self, path: &'a str, limit: u64) -> Answer<'a, Bytes>;
    /// Of any size that can be streamed.
    fn read<'a>(&'a self, path: &'a str) -> Answer<'a, Blob>;
}

impl dyn Branch {
    /// Whether a component finds the same in both, by the word of the same remote.
    pub(crate) fn stands_as(&self, other: &dyn Branch) -> bool {
        (self.revision(), self.origin(), self.is_known()) == (other.revision(), other.origin(), other.is_known())
    }
}
