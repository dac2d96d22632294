//! What a `publication` is made of: a tree in the making, and the commit that puts it where others read it. The host
//! implements it over Git, the test kit in memory; a guest sees it through `capability::publication` alone, which refuses
//! what no tree and no commit may have before either hears of it.

use std::{sync::Arc, time::SystemTime};

use atoll_paths::BadCommit;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::{Branch, Kind, TreeError};

/// A symbolic link's target, in bytes.
pub const MAX_TARGET: usize = 4096;

/// Who wrote a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    pub name: String,
    pub email: String,
}

/// Why nothing was published. All words reach guests: no path of the host's, no address, no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The branch moved since it was opened.
    #[error("the branch moved")]
    Conflict,
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// In the origin's own words.
    #[error("refused: {0}")]
    Refused(String),
    #[error(transparent)]
    Failed(#[from] TreeError),
}

pub type Published<T> = BoxFuture<'static, Result<T, PublishError>>;

/// A branch that may be written to.
pub trait Publication: Send + Sync + 'static {
    /// From the newest head of its origin.
    fn open(&self) -> Published<Arc<dyn Staging>>;
}

/// A tree in the making. What is not committed when it is dropped is gone. Paths are as strict as a tree's entries.
pub trait Staging: Send + Sync + 'static {
    fn base(&self) -> Arc<dyn Branch>;
    /// Puts a file, executable or symbolic link at `path`, and yields its id.
    fn write(&self, path: String, kind: Kind, contents: Contents) -> Published<String>;
    /// Puts at `path` an object that the base or an earlier write has.
    fn place(&self, path: String, kind: Kind, id: String) -> Published<()>;
    /// Takes away what is at `path`, and the directories that this leaves empty.
    fn remove(&self, path: String) -> Published<()>;
    /// Commits at `now`, and yields the revision. Nothing can be staged after it.
    fn commit(&self, author: Author, message: String, now: SystemTime) -> Published<String>;
}

/// A file's contents, as a guest writes them.
pub struct Contents(mpsc::Receiver<Result<Bytes, PublishError>>);

impl Contents {
    pub(crate) fn new(chunks: mpsc::Receiver<Result<Bytes, PublishError>>) -> Self {
        Self(chunks)
    }

    /// The next bytes; nothing at the end.
    ///
    /// # Errors
    /// There are more than the guest may stage.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, PublishError> {
        self.0.recv().await.transpose()
    }
}

/// Whether something of `kind` can lie at `path`. The root is a directory.
///
/// # Errors
/// It can't, for a reason in words for the guest.
pub fn check_path(path: &str, kind: Kind) -> Result<(), TreeError> {
    if path.is_empty() && kind != Kind::Directory {
        return Err(TreeError::Other("the root is a directory".into()));
    }
    check_names(path, kind)
}

/// Whether there may be anything at `path`, whatever it is.
///
/// # Errors
/// There can't, for a reason in words for the guest.
pub fn check_place(path: &str) -> Result<(), TreeError> {
    check_names(path, Kind::File)
}

fn check_names(path: &str, kind: Kind) -> Result<(), TreeError> {
    let kind = match kind {
        Kind::File | Kind::Executable => atoll_paths::Kind::File,
        Kind::Symlink => atoll_paths::Kind::Symlink,
        Kind::Directory | Kind::Submodule => atoll_paths::Kind::Directory,
    };
    atoll_paths::names(path, kind).map(drop).map_err(|fault| TreeError::Other(fault.to_string()))
}

/// Whether a commit may have this author and this message: nothing that would end an author's line early.
///
/// # Errors
/// It may not, for a reason in words for the guest.
pub fn check_commit(author: &Author, message: &str) -> Result<(), TreeError> {
    atoll_paths::check_commit(&author.name, &author.email, message).map_err(|fault| match fault {
        BadCommit::Long => TreeError::TooLarge,
        fault => TreeError::Other(fault.to_string()),
    })
}
