//! Branches in memory that a guest may write to: what it publishes is kept for the test to look at, with the ids that Git
//! gives the same files.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use atoll_runtime::{
    Author, Branch, Contents, Kind, MAX_TARGET, Publication, PublishError, Published, Staging, TreeError,
};
use bytes::Bytes;

use crate::{
    Tree,
    tree::{Leaf, Memory, commit_of},
};

/// A commit that a guest published.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The binding, by the name that the component knows.
    pub branch: String,
    pub revision: String,
    /// Empty for the first.
    pub parent: String,
    pub author: Author,
    pub message: String,
    /// Every file with its contents, in order; of a link its target, of a submodule its commit.
    pub files: Vec<(String, Bytes)>,
}

impl Commit {
    /// A file as text, with replacement characters where it is none; nothing if it is not there.
    pub fn text(&self, path: &str) -> Option<String> {
        let (_, contents) = self.files.iter().find(|(known, _)| known == path)?;
        Some(String::from_utf8_lossy(contents).into_owned())
    }
}

/// What guests published since it was cleared.
#[derive(Default)]
pub(crate) struct Commits(Mutex<Vec<Commit>>);

impl Commits {
    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }

    pub(crate) fn all(&self) -> Vec<Commit> {
        lock(&self.0).clone()
    }
}

/// Where a branch comes from: its newest head, and what the next commits meet with.
pub(crate) struct Origin {
    name: String,
    head: Mutex<Arc<Memory>>,
    failing: Mutex<VecDeque<PublishError>>,
    commits: Arc<Commits>,
}

impl Origin {
    pub(crate) fn new(name: &str, head: Memory, failing: &[PublishError], commits: &Arc<Commits>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            head: Mutex::new(Arc::new(head)),
            failing: Mutex::new(failing.iter().cloned().collect()),
            commits: commits.clone(),
        })
    }
}

/// What a guest is given.
pub(crate) struct Writable(pub(crate) Arc<Origin>);

struct Handle(Arc<Making>);

struct Making {
    origin: Arc<Origin>,
    base: Arc<Memory>,
    /// Nothing once it was committed.
    tree: Mutex<Option<Tree>>,
    /// Of what was written.
    written: Mutex<Vec<(String, Leaf)>>,
}

impl Publication for Writable {
    fn open(&self) -> Published<Arc<dyn Staging>> {
        let base = lock(&self.0.head).clone();
        let (tree, written) = (Mutex::new(Some(base.tree())), Mutex::default());
        let staging: Arc<dyn Staging> =
            Arc::new(Handle(Arc::new(Making { origin: self.0.clone(), base, tree, written })));
        now(Ok(staging))
    }
}

impl Making {
    fn change<T>(&self, change: impl FnOnce(&mut Tree) -> Result<T, TreeError>) -> Result<T, PublishError> {
        let mut tree = lock(&self.tree);
        let tree = tree.as_mut().ok_or_else(|| other("nothing can be staged any more"))?;
        change(tree).map_err(Into::into)
    }

    fn published(&self, author: Author, message: String, now: SystemTime) -> Result<String, PublishError> {
        let tree = lock(&self.tree).take().ok_or_else(|| other("nothing can be staged any more"))?;
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let words = |error: crate::Error| other(&error.to_string());
        let root = tree.memory().map_err(words)?;
        if root.root() == self.base.root() {
            return Ok(self.base.revision().to_owned());
        }
        if let Some(failure) = lock(&self.origin.failing).pop_front() {
            return Err(failure);
        }
        let mut head = lock(&self.origin.head);
        let parent = self.base.revision().to_owned();
        if head.revision() != parent {
            return Err(PublishError::Conflict);
        }
        let revision = commit_of(root.root(), &parent, (&author.name, &author.email), seconds, &message);
        let tree = tree.revision(&revision).committed(seconds);
        let files = tree.files();
        *head = Arc::new(tree.memory().map_err(words)?);
        let commit =
            Commit { branch: self.origin.name.clone(), revision: revision.clone(), parent, author, message, files };
        lock(&self.origin.commits.0).push(commit);
        Ok(revision)
    }
}

impl Staging for Handle {
    fn base(&self) -> Arc<dyn Branch> {
        self.0.base.clone()
    }

    fn write(&self, path: String, kind: Kind, mut contents: Contents) -> Published<String> {
        let this = self.0.clone();
        Box::pin(async move {
            let mut bytes = Vec::new();
            while let Some(chunk) = contents.chunk().await? {
                bytes.extend_from_slice(&chunk);
            }
            if kind == Kind::Symlink && bytes.len() > MAX_TARGET {
                return Err(TreeError::TooLarge.into());
            }
            let (id, leaf) = Leaf::written(kind, bytes.into());
            this.change(|tree| tree.put(&path, leaf.clone()))?;
            lock(&this.written).push((id.clone(), leaf));
            Ok(id)
        })
    }

    fn place(&self, path: String, kind: Kind, id: String) -> Published<()> {
        let this = &self.0;
        let written = lock(&this.written).iter().find(|(known, _)| *known == id).map(|(_, leaf)| leaf.clone());
        let placed = this.change(|tree| match written.filter(|_| kind != Kind::Directory && kind != Kind::Submodule) {
            Some(leaf) => tree.put(&path, leaf.of(kind)),
            None => this.base.find(kind, &id).ok_or(TreeError::NotFound)?.into_iter().try_for_each(|(below, leaf)| {
                let path = if below.is_empty() { path.clone() } else { format!("{path}/{below}") };
                tree.put(path.trim_start_matches('/'), leaf.of(kind))
            }),
        });
        now(placed)
    }

    fn remove(&self, path: String) -> Published<()> {
        now(self.0.change(|tree| tree.take(&path)))
    }

    fn commit(&self, author: Author, message: String, at: SystemTime) -> Published<String> {
        now(self.0.published(author, message, at))
    }
}

fn now<T: Send + 'static>(answer: Result<T, PublishError>) -> Published<T> {
    Box::pin(std::future::ready(answer))
}

fn other(words: &str) -> PublishError {
    TreeError::Other(words.into()).into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
