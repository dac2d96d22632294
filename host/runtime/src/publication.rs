//! What a `publication` is made of: a tree in the making, and the commit that puts it where others read it. The host
//! implements it over Git, the test kit in memory; a guest sees it through `capability::publication` alone.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::{Branch, Kind, TreeError};

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
