//! Bringing a remote's branch here: what its tree reaches and we lack is copied, checked on its way, and the head moves
//! when all of it is here and readable. One fetch a repository at a time; a fetch that begins later reads a newer head.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};

use gix::{ObjectId, objs};

use crate::{
    Depth, Location, Remote, Repository, Revision, Server, ServerError, SmartError,
    disk::lock,
    history::{self, Held, History},
    objects::{Incoming, Intake, IntakeError, ObjectError, Objects, PackError, Theirs},
    remote::{
        directory::{self, DirectoryError},
        local::{Local, LocalError, LocalRepository, Tip},
    },
    repository::{Shared, parse_commit, read_commit},
    smart::Want,
    taking::MoveError,
    walk::{MAX_OBJECTS, Reached, Walk, WalkError, Whole},
};

/// What a fetch found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The branch stands where it stood.
    Unchanged,
    /// The head is this one now. The lines say what of it nobody will see: names that are not UTF-8, special files.
    Moved { revision: Revision, notices: Vec<String> },
    /// The branch is not there any more, in these words: the head stays.
    Gone(String),
    /// The repository has no commit yet, and none was here before: an empty tree.
    Unborn,
}

/// Why a fetch failed. The head stays.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("the head {id} of {remote} is refused")]
    Pack { id: ObjectId, remote: String, source: PackError },
    /// The new head is refused, or not all there.
    #[error("the head {id} of {remote} is refused")]
    Refused { id: ObjectId, remote: String, source: Box<WalkError> },
    #[error("the head {id} of {remote} cannot be copied")]
    Copy { id: ObjectId, remote: String, source: IntakeError },
    /// Ours: a full disk, a directory that may not be written.
    #[error("our copy cannot be written")]
    Ours(#[from] io::Error),
    /// A fault of this program's.
    #[error("the fetch broke down; it is tried again")]
    Broken,
    /// Who followed the remote has ended.
    #[error("this remote is not followed any more")]
    Ended,
}

impl FetchError {
    /// Of an object that was to be copied, it is where it came from that is at fault.
    pub(crate) fn is_theirs(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Copy { source: IntakeError::Source(_), .. })
    }

    /// For how long the server asks to be left alone.
    pub(crate) fn respite(&self) -> Option<Duration> {
        if let Self::Server(error) = self { error.why.respite() } else { None }
    }

    /// The remote answers, and does not have this branch: who writes may begin it, but not where something is being cloned.
    pub fn is_no_branch(&self) -> bool {
        matches!(
            self,
            Self::Local(LocalError::Branch { .. } | LocalError::Unfinished { cloned: false, .. })
                | Self::Server(ServerError { why: SmartError::Branch(_), .. })
        )
    }
}

/// What one fetch leaves for the next.
#[derive(Default)]
pub(crate) struct Fetching {
    pub(crate) whole: Whole,
    /// The commits that are here without their parents.
    pub(crate) shallow: BTreeSet<ObjectId>,
    /// The head that was taken last, and with how much of its history.
    pub(crate) taken: Option<(ObjectId, Depth)>,
    /// Of the past, what of a remote was found damaged when it was copied.
    pub(crate) lost: HashSet<ObjectId>,
    pub(crate) directory: directory::Seen,
    /// Whether it was said that the origin wants tidying.
    pub(crate) advised: bool,
    /// The identity of the remote that is fetched from.
    pub(crate) from: String,
    /// For whom the fetch runs, if it is a follower.
    pub(crate) follower: Option<u64>,
}

impl Repository {
    /// The next follower's number: those before it move the head no more.
    pub(crate) fn next_follower(&self) -> u64 {
        self.0.followers.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The same as [`Self::fetch`], for a follower: once there is a later one, it is `Ended`.
    pub(crate) fn fetch_as(&self, follower: u64, remote: &Remote, now: SystemTime) -> Result<Fetched, FetchError> {
        self.fetch_for(Some(follower), remote, now)
    }

    /// Brings `remote`'s branch here. `now` is the time, for a directory's revisions. Blocks, also while another fetch into
    /// this repository runs.
    pub fn fetch(&self, remote: &Remote, now: SystemTime) -> Result<Fetched, FetchError> {
        self.fetch_for(None, remote, now)
    }

    fn fetch_for(&self, follower: Option<u64>, remote: &Remote, now: SystemTime) -> Result<Fetched, FetchError> {
        let mut fetching = lock(&self.0.fetching);
        fetching.follower = follower;
        fetching.from = remote.identity();
        let fetched = match &remote.location {
            Location::Local(path) => match Local::settled(path, !fetching.directory.is_empty(), now)? {
                Local::Repository(repository) => self.0.fetch_local(&mut fetching, &repository, remote),
                Local::Directory(path) => match &remote.branch {
                    Some(name) => Err(LocalError::Folder { path, name: name.clone() }.into()),
                    None => self.0.fetch_directory(&mut fetching, &path, now),
                },
            },
            Location::Server(server) => self.0.fetch_server(&mut fetching, server, remote),
        }?;
        if self.0.is_over(&fetching) {
            return Err(FetchError::Ended);
        }
        self.0.stands_as(&fetching.from, &fetched)?;
        Ok(fetched)
    }
}

impl Shared {
    /// Whether there is a later follower than the one that fetches.
    pub(crate) fn is_over(&self, fetching: &Fetching) -> bool {
        fetching.follower.is_some_and(|follower| follower != self.followers.load(Ordering::Acquire))
    }

    fn fetch_local(
        &self,
        fetching: &mut Fetching,
        remote: &LocalRepository,
        wanted: &Remote,
    ) -> Result<Fetched, FetchError> {
        let head = self.head();
        let id = match remote.tip(wanted.branch.as_deref()) {
            Ok(Tip::At(id)) => id,
            Ok(Tip::Unborn) if head.is_none() => {
                // Once it was said, a first push is no reason to doubt it.
                if !self.said_none(&fetching.from) {
                    remote.is_finished()?;
                }
                return Ok(Fetched::Unborn);
            }
            Ok(Tip::Unborn) => return Ok(Fetched::Gone(self.no_branch(wanted))),
            Err(gone @ LocalError::Branch { .. }) if head.is_some() => return Ok(Fetched::Gone(gone.to_string())),
            Err(error) => return Err(error.into()),
        };
        let suspects = lock(&self.suspects).clone();
        if self.stands(fetching, id, wanted.depth) && suspects.is_empty() {
            return Ok(Fetched::Unchanged);
        }
        let theirs = remote.objects()?;
        let name = || remote.path().display().to_string();
        let commit = read_commit(&theirs, id);
        let commit = commit.map_err(|error| FetchError::Refused { id, remote: name(), source: Box::new(error) })?;
        self.take_in(fetching, &name, Theirs::Repository(&theirs), &commit, (wanted.depth, &suspects, None))
    }

    /// Whether the head is `id`, with as much of its history as is wanted and there is.
    fn stands(&self, fetching: &mut Fetching, id: ObjectId, depth: Depth) -> bool {
        if self.head().is_none_or(|head| head.id != id) {
            return false;
        }
        if depth != Depth::HEAD && fetching.taken != Some((id, depth)) {
            if !history::reaches(id, depth, &fetching.shallow, &self.objects) {
                return false;
            }
            fetching.taken = Some((id, depth));
        }
        true
    }

    fn fetch_server(&self, fetching: &mut Fetching, server: &Server, wanted: &Remote) -> Result<Fetched, FetchError> {
        let (head, depth) = (self.head(), wanted.depth);
        let failed = |why| FetchError::Server(server.error(why));
        let look = server.look(wanted.branch.as_deref()).map_err(failed)?;
        let Some(id) = look.tip() else {
            return match look.missing().map_err(failed)? {
                Some(gone) if head.is_some() => Ok(Fetched::Gone(format!("{}: {gone}", server.name()))),
                Some(gone) => Err(failed(gone)),
                None if head.is_some() => Ok(Fetched::Gone(self.no_branch(wanted))),
                None => Ok(Fetched::Unborn),
            };
        };
        let suspects = lock(&self.suspects).clone();
        if self.stands(fetching, id, depth) && suspects.is_empty() {
            return Ok(Fetched::Unchanged);
        }
        // What is damaged is not to be counted on.
        let have = if suspects.is_empty() { self.commits(head)? } else { Vec::new() };
        let held = Held::by(&have, &fetching.shallow, &self.objects);
        let have = if held.commits.is_empty() { Vec::new() } else { have };
        let pack = look.fetch(&Want { id, depth, have: &have, shallow: &held.ends }).map_err(failed)?;
        let incoming = match Incoming::receive(pack, &self.objects) {
            Ok(incoming) => incoming,
            Err(PackError::Source(error)) => return Err(failed(error.into())),
            Err(PackError::Write(error)) => return Err(error.into()),
            Err(source) => return Err(FetchError::Pack { id, remote: server.name().to_owned(), source }),
        };
        let name = || server.name().to_owned();
        // Back to one that is here already, it need not have been sent.
        let commit = read_commit(incoming.objects(), id).or_else(|error| {
            let kept = if suspects.is_empty() { read_commit(&self.objects, id).ok() } else { None };
            kept.ok_or(error)
        });
        let commit = commit.map_err(|error| FetchError::Refused { id, remote: name(), source: Box::new(error) })?;
        self.take_in(fetching, &name, Theirs::Pack(&incoming), &commit, (depth, &suspects, Some(held)))
    }

    /// The commits whose whole trees are here.
    pub(crate) fn commits(&self, head: Option<Revision>) -> io::Result<Vec<ObjectId>> {
        let mut commits = self.refs.serving()?;
        commits.extend(head.map(|head| head.id));
        commits.retain(|id| matches!(self.objects.header(id), Ok(Some((objs::Kind::Commit, _)))));
        commits.sort_unstable();
        commits.dedup();
        Ok(commits)
    }

    fn fetch_directory(
        &self,
        fetching: &mut Fetching,
        path: &std::path::Path,
        now: SystemTime,
    ) -> Result<Fetched, FetchError> {
        let head = self.head();
        let suspects = lock(&self.suspects).clone();
        if !suspects.is_empty() {
            // Read it all once more.
            (fetching.directory, fetching.whole, fetching.taken) = Default::default();
        }
        let here = |id: &ObjectId| fetching.whole.contains_key(id) || matches!(self.objects.header(id), Ok(Some(_)));
        let lacks = |id: &ObjectId| suspects.contains(id) || !here(id);
        let mut intake = Intake::new(&self.objects, &self.unsettled, 0);
        let (taken, seen) = directory::take(path, self.state, &fetching.directory, &mut intake, &lacks, now)?;
        // Written now: what follows reads it.
        intake.finish().map_err(DirectoryError::from)?;
        fetching.directory = seen;
        if head.is_some_and(|head| head.tree == taken.tree) && suspects.is_empty() {
            return Ok(Fetched::Unchanged);
        }
        let remote = || path.display().to_string();
        let refused = |error| FetchError::Refused { id: taken.tree, remote: remote(), source: Box::new(error) };
        let mut reached = self.walk(fetching, None, taken.tree, &HashSet::new()).map_err(refused)?;
        let committed = match head {
            // Mended, not changed.
            Some(head) if head.tree == taken.tree => head.committed,
            head => taken.committed(head.map_or(0, |head| head.committed), now),
        };
        let commit = directory::commit(taken.tree, committed);
        reached.notices = taken.notices;
        let id = crate::objects::id_of(objs::Kind::Commit, commit.as_bytes());
        let id = id.map_err(|fault| refused(ObjectError { id: taken.tree, fault }.into()))?;
        let commit = parse_commit(id, commit.into_bytes()).map_err(refused)?;
        let intake = Intake::new(&self.objects, &self.unsettled, 1);
        self.move_head(fetching, intake, &commit, (reached, &History::default()), &suspects).map_err(
            |error| match error {
                MoveError::Ended => FetchError::Ended,
                MoveError::Intake(source) => DirectoryError::from(source).into(),
                MoveError::Unreadable(source) => refused(source),
                MoveError::Ours(error) => error.into(),
            },
        )
    }

    /// What `tree` reaches, and what of it only `theirs` have.
    pub(crate) fn walk(
        &self,
        fetching: &mut Fetching,
        theirs: Option<&Objects>,
        tree: ObjectId,
        suspects: &HashSet<ObjectId>,
    ) -> Result<Reached, WalkError> {
        if !suspects.is_empty() || fetching.whole.len() > MAX_OBJECTS {
            // Look at everything once more.
            fetching.whole.clear();
        }
        let beside = self.head().map(|head| head.tree);
        self.walker(fetching, theirs, suspects).run(tree, beside)
    }

    pub(crate) fn walker<'a>(
        &'a self,
        fetching: &'a Fetching,
        theirs: Option<&'a Objects>,
        suspects: &'a HashSet<ObjectId>,
    ) -> Walk<'a> {
        // Nothing is looked for where there is nothing.
        let ours = (theirs.is_none() || self.objects.counts() != (0, 0)).then_some(&self.objects);
        Walk { ours, theirs, cache: &self.cache, whole: &fetching.whole, suspects, lost: &fetching.lost }
    }
}
