//! Writing to a branch: a tree in the making on top of what its origin stands at, one commit of it, and the push. Nobody
//! sees any of it before the origin has taken the commit; then our own head moves at once.

mod beside;
mod draft;

use std::{
    collections::{HashMap, HashSet},
    io, mem,
    sync::Arc,
    time::SystemTime,
};

use atoll_net::with_causes;
use atoll_paths::{BadCommit, check_commit};
use gix::{ObjectId, objs};
use tokio::sync::Notify;

pub use self::beside::{Upload, Uploads};
pub(crate) use self::draft::NewTree;
use self::{
    beside::Beside,
    draft::{Draft, Finished},
};
use crate::{
    Kind, Remote, Snapshot,
    disk::lock,
    objects::{Fault, IntakeError, ObjectError, Theirs, id_of},
    push::{Cargo, PushError, push},
    repository::{Shared, parse_commit},
    snapshot::{ReadError, read_tree},
    walk::{MAX_OBJECTS, WalkError},
};

/// A symbolic link's target, in bytes.
const MAX_TARGET: u64 = 4096;

/// Who commits.
const COMMITTER: &str = "Atoll <atoll@localhost>";

/// Who wrote a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    pub name: String,
    pub email: String,
}

/// Why something cannot be staged. The words may reach a guest: they name no path of the host's.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Nothing is at the path, or no such object can be placed.
    #[error("not found")]
    NotFound,
    /// What the call says cannot be in a tree or a commit.
    #[error("{0}")]
    Path(String),
    #[error("more entries than can be staged")]
    TooMany,
    /// It is larger than what it is for may be.
    #[error("too large")]
    TooLarge,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("it cannot be written")]
    Write(#[from] io::Error),
}

/// Why nothing was published, as far as that is known: see [`PushError::Unknown`]. Nothing is kept here.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Push(#[from] PushError),
}

/// What a commit came to.
#[derive(Debug)]
pub struct Committed {
    /// What the branch stands at; nothing where nothing was ever committed.
    pub id: Option<ObjectId>,
    /// What went wrong once the origin had taken it, for the log: it is published all the same.
    pub warnings: Vec<String>,
}

/// A tree in the making.
pub struct Staging {
    base: Snapshot,
    draft: Draft,
    beside: Beside,
    /// What was written, none of which the base need have.
    written: HashSet<ObjectId>,
    /// What the base reaches, once somebody wants to know.
    reached: Option<HashMap<ObjectId, objs::Kind>>,
    remote: Remote,
    follower: u64,
    moved: Arc<Notify>,
}

impl Staging {
    /// On top of `base`, which is what `remote` stands at, or of nothing. `moved` is told when our head moved.
    pub(crate) fn new(base: Snapshot, remote: Remote, follower: u64, moved: Arc<Notify>) -> Result<Self, StageError> {
        let (repository, _, root) = base.of();
        let (draft, beside) = (Draft::new(repository.clone(), root), Beside::create(&repository.0.objects)?);
        Ok(Self { draft, beside, base, written: HashSet::new(), reached: None, remote, follower, moved })
    }

    /// What it started from.
    pub fn base(&self) -> &Snapshot {
        &self.base
    }

    /// For the contents of files that are to be written.
    pub fn uploads(&self) -> Uploads {
        self.beside.uploads()
    }

    /// Puts a file, executable or symbolic link at `path`, in place of whatever is there. Blocks.
    pub fn write(&mut self, path: &str, kind: Kind, contents: &Upload) -> Result<ObjectId, StageError> {
        match kind {
            Kind::File | Kind::Executable => {}
            Kind::Symlink if contents.length() <= MAX_TARGET => {}
            Kind::Symlink => return Err(StageError::TooLarge),
            Kind::Directory | Kind::Submodule => {
                return Err(StageError::Path("a file, an executable or a symbolic link is written".into()));
            }
        }
        Draft::check(path, kind)?;
        let id = self.beside.store(contents)?;
        self.draft.put(path, kind, id)?;
        self.written.insert(id);
        Ok(id)
    }

    /// Puts at `path` an object that the base has, or that was written before. Blocks.
    pub fn place(&mut self, path: &str, kind: Kind, id: ObjectId) -> Result<(), StageError> {
        let wanted = match kind {
            Kind::File | Kind::Executable | Kind::Symlink => objs::Kind::Blob,
            Kind::Directory => objs::Kind::Tree,
            Kind::Submodule => objs::Kind::Commit,
        };
        let written = wanted == objs::Kind::Blob && self.written.contains(&id);
        if !written && self.reached()?.get(&id) != Some(&wanted) {
            return Err(StageError::NotFound);
        }
        self.draft.put(path, kind, id)
    }

    /// Takes away what is at `path`, and the directories that this leaves empty. Blocks.
    pub fn remove(&mut self, path: &str) -> Result<(), StageError> {
        self.draft.remove(path)
    }

    /// Commits on top of the base at `now`, and pushes. An unchanged tree makes no commit, and gives the base's. Blocks.
    pub fn commit(mut self, author: &Author, message: &str, now: SystemTime) -> Result<Committed, PublishError> {
        check_commit(&author.name, &author.email, message).map_err(StageError::from)?;
        let (repository, parent, base) = self.base.of();
        let (repository, finished) = (repository.clone(), self.draft.finish()?);
        if finished.root == base {
            return Ok(Committed { id: parent, warnings: Vec::new() });
        }
        let raw = commit(finished.root, parent, author, message, now);
        let id = id_of(objs::Kind::Commit, &raw).map_err(|fault| StageError::Path(fault.to_string()))?;
        let blobs = self.lacking(&finished)?;
        let mut intake = self.beside.intake(finished.trees.len() + 1);
        for tree in &finished.trees {
            intake.bytes(tree.id, objs::Kind::Tree, &tree.raw).map_err(StageError::from)?;
        }
        intake.bytes(id, objs::Kind::Commit, &raw).and_then(|()| intake.finish()).map_err(StageError::from)?;

        let (shared, staged, none) = (&repository.0, self.beside.objects(), HashSet::new());
        let (trees, record) = (&finished.trees, shared.refs.pushing());
        let cargo = Cargo { commit: (id, &raw), trees, blobs: &blobs, staged, ours: &shared.objects, record: &record };
        // No fetch meanwhile: one that begins after this reads what was pushed, or something newer.
        let mut fetching = lock(&shared.fetching);
        // What would be refused as a head here is not published.
        let reached = shared.walk(&mut fetching, Some(staged), finished.root, &none);
        let reached = reached.map_err(|error| unfit(shared, error))?;
        let mut pushed = push(&self.remote, parent, &cargo)?;
        let mut warnings: Vec<String> = pushed.warning.take().into_iter().collect();
        // Not with each commit.
        warnings.extend(pushed.advice.take().filter(|_| !mem::replace(&mut fetching.advised, true)));
        if pushed.as_it_is
            && let Ok(commit) = parse_commit(id, raw.clone())
        {
            // It is published, whatever becomes of it here: the next fetch brings it otherwise.
            fetching.follower = Some(self.follower);
            fetching.from = self.remote.identity();
            let (depth, name) = (self.remote.depth, || "what was staged".to_owned());
            match shared.take_reached(
                &mut fetching,
                &name,
                Theirs::Repository(staged),
                &commit,
                reached,
                (depth, &none, None),
            ) {
                Ok(_) => self.moved.notify_one(),
                Err(error) => warnings.push(format!("{id} is published and not here yet: {}", with_causes(&error))),
            }
        }
        drop(fetching);
        pushed.hear();
        Ok(Committed { id: Some(id), warnings })
    }

    /// The blobs of `finished` that the origin may lack.
    fn lacking(&mut self, finished: &Finished) -> Result<Vec<ObjectId>, StageError> {
        let mut blobs: Vec<ObjectId> = finished.blobs.iter().copied().filter(|id| self.written.contains(id)).collect();
        blobs.sort_unstable();
        blobs.dedup();
        // What is not here at all, the base has not. Of the rest it has to be looked up.
        let (repository, ..) = self.base.of();
        if blobs.iter().any(|id| matches!(repository.0.objects.header(id), Ok(Some(_)))) {
            let reached = self.reached()?;
            blobs.retain(|id| !reached.contains_key(id));
        }
        Ok(blobs)
    }

    /// What the base reaches.
    fn reached(&mut self) -> Result<&HashMap<ObjectId, objs::Kind>, StageError> {
        if self.reached.is_none() {
            let (repository, _, root) = self.base.of();
            let mut reached = HashMap::from([(root, objs::Kind::Tree)]);
            let mut trees = vec![root];
            while let Some(id) = trees.pop().filter(|id| !id.is_empty_tree()) {
                for slot in read_tree(repository, id)?.slots() {
                    let kind = match slot.kind {
                        Kind::File | Kind::Executable | Kind::Symlink => objs::Kind::Blob,
                        Kind::Directory => objs::Kind::Tree,
                        Kind::Submodule => objs::Kind::Commit,
                    };
                    if reached.insert(slot.id, kind).is_none() && kind == objs::Kind::Tree {
                        trees.push(slot.id);
                    }
                }
                if reached.len() > MAX_OBJECTS {
                    return Err(StageError::TooMany);
                }
            }
            self.reached = Some(reached);
        }
        Ok(self.reached.as_ref().expect("it was found just now"))
    }
}

/// Why a tree could not be read here once it came back.
fn unfit(shared: &Shared, error: WalkError) -> StageError {
    match error {
        WalkError::TooDeep(_) | WalkError::TooMany => StageError::TooLarge,
        WalkError::Object(ObjectError { fault: Fault::TooLarge(_), .. }) => StageError::TooLarge,
        WalkError::Object(error) => shared.failed(error).into(),
        error => ReadError::from(error).into(),
    }
}

fn commit(tree: ObjectId, parent: Option<ObjectId>, author: &Author, message: &str, now: SystemTime) -> Vec<u8> {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let parent = parent.map(|parent| format!("parent {parent}\n")).unwrap_or_default();
    let Author { name, email } = author;
    let end = if message.ends_with('\n') { "" } else { "\n" };
    format!(
        "tree {tree}\n{parent}author {name} <{email}> {seconds} +0000\ncommitter {COMMITTER} {seconds} +0000\n\n{message}{end}"
    )
    .into_bytes()
}

impl From<BadCommit> for StageError {
    fn from(fault: BadCommit) -> Self {
        match fault {
            BadCommit::Long => Self::TooLarge,
            fault => Self::Path(fault.to_string()),
        }
    }
}

impl From<IntakeError> for StageError {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Source(error) => error.into(),
            IntakeError::Write(error) => error.into(),
        }
    }
}

impl From<ObjectError> for StageError {
    fn from(error: ObjectError) -> Self {
        Self::Read(ReadError::Corrupt(error.to_string()))
    }
}
