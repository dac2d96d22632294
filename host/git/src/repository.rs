//! One repository of ours: bare, shallow, a copy of what a remote's branch reaches. Its refs are the head that was
//! fetched last and one for each revision that a component serves. It never loses an object that one of them reaches.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::SystemTime,
};

use gix::{
    ObjectId,
    objs::{self, CommitRefIter},
    refs::FullName,
};
use tokio::sync::{Notify, watch};

use crate::{
    Snapshot,
    cache::Cache,
    disk::{self, Identity, Unsettled, lock},
    fetch::Fetching,
    objects::{Fault, ObjectError, Objects},
    origin::{Origin, Standing},
    refs::{Refs, SERVING},
    remote::receive,
    snapshot::ReadError,
    store::is_name,
    walk::{Walk, WalkError, Whole, verified},
};

/// The most that a commit may take: its message is nobody's here.
const COMMIT_LIMIT: u64 = 1024 * 1024;

/// Objects that the next fetch brings again, at most.
const MAX_SUSPECTS: usize = 10_000;

/// The branch in our repositories that stands at what was fetched last.
const HEAD: &str = "refs/heads/served";

/// A commit that a branch stood at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    pub id: ObjectId,
    /// Its tree.
    pub tree: ObjectId,
    /// The committer date in seconds since the Unix epoch; 0 where it is before that, or no date.
    pub committed: u64,
}

/// Why a revision cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("{0:?} cannot name who serves a revision")]
    Holder(String),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the repository cannot be written")]
    Write(#[from] io::Error),
}

/// A handle: clones are the same repository.
#[derive(Clone)]
pub struct Repository(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) objects: Objects,
    pub(crate) cache: Arc<Cache>,
    pub(crate) refs: Refs,
    pub(crate) standing: watch::Sender<Standing>,
    /// Held while a fetch runs.
    pub(crate) fetching: Mutex<Fetching>,
    pub(crate) unsettled: Unsettled,
    /// How many have begun to follow a remote into it: only the last moves the head.
    pub(crate) followers: AtomicU64,
    /// Objects that were damaged when they were read. The next fetch brings them again.
    pub(crate) suspects: Mutex<HashSet<ObjectId>>,
    /// Told of each that is found.
    pub(crate) suspected: Notify,
    /// Revisions of which a snapshot is open, and of how many.
    pub(crate) open: Mutex<HashMap<ObjectId, usize>>,
    /// The state directory, which is no site.
    pub(crate) state: Identity,
    pub(crate) origin: Mutex<Origin>,
    damage: Option<WalkError>,
}

impl Repository {
    pub(crate) fn open(git_dir: PathBuf, state: Identity, cache: Arc<Cache>, now: SystemTime) -> io::Result<Self> {
        lay_out(&git_dir)?;
        let unsettled = Unsettled::default();
        let (recent, loose) = disk::sweep(&git_dir, now)?;
        unsettled.add(recent);
        let objects = Objects::open(git_dir.join("objects"), loose)?;
        let refs = Refs::at(git_dir);
        receive::recover(&refs.pushing())?;
        // A ref that does not parse is as good as none: the next fetch writes it.
        let head = refs.read(&head_name()).ok().flatten();
        let mut fetching = Fetching { shallow: refs.shallow()?, ..Fetching::default() };
        let (head, damage) = match head.map(|id| whole_revision(&objects, &cache, id)) {
            None => (None, None),
            Some(Ok((revision, whole))) => {
                fetching.whole = whole;
                (Some(revision), None)
            }
            Some(Err(damage)) => (None, Some(damage)),
        };
        let (origin, standing) = Origin::read(&refs, head);
        let origin = Mutex::new(origin);
        Ok(Self(Arc::new(Shared {
            objects,
            cache,
            origin,
            refs,
            standing: watch::Sender::new(standing),
            fetching: Mutex::new(fetching),
            unsettled,
            followers: AtomicU64::new(0),
            suspects: Mutex::default(),
            suspected: Notify::new(),
            state,
            open: Mutex::default(),
            damage,
        })))
    }

    /// The revision that was fetched last, whole. Survives a kill; after a power cut it may be an older one.
    pub fn head(&self) -> Option<Revision> {
        self.0.head()
    }

    /// The same with what is known of it. That a remote said that there is no commit survives as a head does.
    pub fn standing(&self) -> Standing {
        self.0.standing.borrow().clone()
    }

    /// Follows [`Self::standing`]: whoever fetches, it moves here.
    pub fn standings(&self) -> watch::Receiver<Standing> {
        self.0.standing.subscribe()
    }

    /// Why the head that was found at the start was forgotten, if it was.
    pub fn damage(&self) -> Option<&WalkError> {
        self.0.damage.as_ref()
    }

    /// The files of a revision that is here; of none, an empty tree. What is neither the head nor kept for somebody nor open
    /// as a snapshot may be tidied away at any time. Blocks.
    pub fn snapshot(&self, id: Option<ObjectId>) -> Result<Snapshot, ReadError> {
        Snapshot::open(self.clone(), id)
    }

    /// Whether every tree and blob of a revision is here: trees whole and as their ids say, blobs by their headers. Walks
    /// all of it: some 10 µs an object. Blocks.
    pub fn verify(&self, id: ObjectId) -> Result<(), WalkError> {
        whole_revision(&self.0.objects, &self.0.cache, id).map(|_| ())
    }

    /// Keeps `id` for `holder` (a component's name) in place of what was kept before; nothing, for an empty tree. When it
    /// returns, neither a kill loses it nor what happens in the remote; a power cut does not once [`Self::settle`] has
    /// returned after it. Blocks.
    pub fn keep(&self, holder: &str, id: Option<ObjectId>) -> Result<(), KeepError> {
        let name = serving_name(holder)?;
        let Some(id) = id else { return self.release(holder) };
        self.0.revision(id)?;
        // One that does not parse is as good as none.
        if self.kept(holder).ok().flatten() != Some(id) {
            self.0.refs.write(&name, id, false)?;
            self.0.unsettled.add([self.0.refs.path(&name)]);
        }
        Ok(())
    }

    /// Ends what [`Self::keep`] began. Blocks.
    pub fn release(&self, holder: &str) -> Result<(), KeepError> {
        let name = serving_name(holder)?;
        if self.0.refs.read(&name).is_ok_and(|kept| kept.is_none()) {
            return Ok(());
        }
        Ok(self.0.refs.delete(&name)?)
    }

    /// What is kept for `holder`. It may have been damaged since: see [`Self::verify`]. Blocks.
    pub fn kept(&self, holder: &str) -> Result<Option<ObjectId>, KeepError> {
        Ok(self.0.refs.read(&serving_name(holder)?)?)
    }

    /// Makes what was fetched so far survive a power cut. Blocks, some milliseconds an object.
    pub fn settle(&self) -> io::Result<()> {
        self.0.unsettled.settle()
    }
}

impl Shared {
    pub(crate) fn head(&self) -> Option<Revision> {
        self.standing.borrow().head
    }

    /// Reads a commit of ours.
    pub(crate) fn revision(&self, id: ObjectId) -> Result<Revision, ReadError> {
        match read_commit(&self.objects, id) {
            Ok(commit) => Ok(commit.revision),
            Err(WalkError::Object(error)) => Err(self.failed(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// Has the next fetch bring an object again that is missing or damaged.
    pub(crate) fn failed(&self, error: ObjectError) -> ReadError {
        if matches!(error.fault, Fault::Missing | Fault::Damaged(_)) {
            let mut suspects = lock(&self.suspects);
            if suspects.len() < MAX_SUSPECTS && suspects.insert(error.id) {
                self.suspected.notify_one();
            }
        }
        WalkError::from(error).into()
    }

    /// Waits until something was found damaged that no fetch has brought again, and names it.
    pub(crate) async fn suspect(&self) -> ObjectId {
        loop {
            self.suspected.notified().await;
            if let Some(id) = lock(&self.suspects).iter().next() {
                return *id;
            }
        }
    }
}

/// A commit of ours or of a remote.
pub(crate) struct Commit {
    pub(crate) revision: Revision,
    pub(crate) raw: Vec<u8>,
    pub(crate) parents: Vec<ObjectId>,
}

/// Reads and checks a commit.
pub(crate) fn read_commit(objects: &Objects, id: ObjectId) -> Result<Commit, WalkError> {
    let (kind, raw) = objects.whole(&id, COMMIT_LIMIT).and_then(|found| verified(id, found))?;
    if kind != objs::Kind::Commit {
        return Err(WalkError::Kind(id, kind, objs::Kind::Commit));
    }
    parse_commit(id, raw)
}

pub(crate) fn parse_commit(id: ObjectId, raw: Vec<u8>) -> Result<Commit, WalkError> {
    let commit = CommitRefIter::from_bytes(&raw, gix::hash::Kind::Sha1);
    let tree = commit.clone().tree_id();
    let tree = tree.map_err(|_| ObjectError { id, fault: Fault::damaged("it is a commit that names no tree") })?;
    let time = commit.committer().ok().and_then(|committer| committer.time().ok());
    let committed = time.map_or(0, |time| time.seconds.try_into().unwrap_or(0));
    let parents = commit.parent_ids().collect();
    Ok(Commit { revision: Revision { id, tree, committed }, raw, parents })
}

pub(crate) fn head_name() -> FullName {
    HEAD.try_into().expect("it is a ref's name")
}

fn serving_name(holder: &str) -> Result<FullName, KeepError> {
    let name = if is_name(holder) { FullName::try_from(format!("{SERVING}{holder}")).ok() } else { None };
    name.ok_or_else(|| KeepError::Holder(holder.to_owned()))
}

fn whole_revision(objects: &Objects, cache: &Cache, id: ObjectId) -> Result<(Revision, Whole), WalkError> {
    let revision = read_commit(objects, id)?.revision;
    let (whole, none) = (Whole::new(), HashSet::new());
    let walk = Walk { ours: Some(objects), theirs: None, cache, whole: &whole, suspects: &none, lost: &none };
    Ok((revision, walk.run(revision.tree, None)?.whole))
}

/// Makes what is missing of a bare repository's frame.
fn lay_out(git_dir: &Path) -> io::Result<()> {
    for directory in ["objects/info", "objects/pack", "refs/heads"] {
        fs::create_dir_all(git_dir.join(directory))?;
    }
    // Nobody but us tidies here: `git gc` by itself would take what a request still reads.
    let config =
        "[core]\n\trepositoryformatversion = 0\n\tbare = true\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n";
    for (name, contents) in [("config", config), ("HEAD", &format!("ref: {HEAD}\n"))] {
        let path = git_dir.join(name);
        if fs::metadata(&path).map_or(0, |file| file.len()) == 0 {
            let _ = fs::remove_file(git_dir.join(format!("{name}.lock")));
            disk::replace(&path, contents.as_bytes(), true)?;
        }
    }
    Ok(())
}
