//! The commits before a head, as far as they are wanted: which there are, and whose parents are left out. A past that is not
//! there, or that cannot be read, ends before that, and keeps no head from moving. It writes nothing.

use std::collections::{BTreeSet, HashSet};

use gix::ObjectId;

use crate::{
    objects::{Fault, ObjectError, Objects},
    repository::{Commit, read_commit},
    walk::{MAX_OBJECTS, Reached, Walk, WalkError},
};

/// How many commits of a branch are taken, from its head on, by the longest way that is short enough: as Git has it. Never
/// none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth(u32);

impl Depth {
    /// The head alone.
    pub const HEAD: Self = Self(1);

    /// All that there are: Git's own number for it.
    pub const ALL: Self = Self(0x7fff_ffff);

    /// Of none there is no depth.
    pub fn new(commits: u32) -> Option<Self> {
        (1..=Self::ALL.0).contains(&commits).then_some(Self(commits))
    }

    pub(crate) fn commits(self) -> u32 {
        self.0
    }
}

impl Default for Depth {
    fn default() -> Self {
        Self::HEAD
    }
}

/// What is taken besides a head.
#[derive(Default)]
pub(crate) struct History {
    /// The commits before it, newer ones first.
    pub(crate) commits: Vec<ObjectId>,
    /// Those whose parents are left out, the head among them.
    pub(crate) ends: Vec<ObjectId>,
    /// Those whose parents are taken, all of them.
    pub(crate) whole: HashSet<ObjectId>,
}

impl History {
    /// Of `head`. It goes on at no commit of `ends`, and what trees it finds, other than those of `held`, goes to `reached`.
    /// Where those are held with all that is before them, and all is wanted, they are not read again.
    pub(crate) fn before(
        head: &Commit,
        depth: Depth,
        ends: &BTreeSet<ObjectId>,
        walk: &Walk<'_>,
        held: &Held,
        reached: &mut Reached,
    ) -> Self {
        let stops = depth == Depth::ALL && held.ends.is_empty() && walk.suspects.is_empty();
        let mut history = Self::default();
        let mut known = HashSet::from([head.revision.id]);
        let mut row = vec![(head.revision.id, head.parents.clone())];
        let mut left = depth.commits();
        while !row.is_empty() {
            left -= 1;
            let mut next = Vec::new();
            for (id, parents) in row {
                let mut whole = !ends.contains(&id) || parents.is_empty();
                for parent in parents {
                    if !whole || known.contains(&parent) || stops && held.commits.contains(&parent) {
                        continue;
                    }
                    let read = if left > 0 { take(parent, walk, &held.commits, reached) } else { None };
                    whole = read.is_some();
                    if let Some(commit) = read {
                        known.insert(parent);
                        history.commits.push(parent);
                        next.push((parent, commit.parents));
                    }
                }
                if whole {
                    history.whole.insert(id);
                } else {
                    history.ends.push(id);
                }
            }
            row = next;
        }
        history
    }
}

/// A commit with all that it is made of; nothing where the past ends before it.
fn take(id: ObjectId, walk: &Walk<'_>, held: &HashSet<ObjectId>, reached: &mut Reached) -> Option<Commit> {
    let theirs = walk.theirs.map(|theirs| read_commit(theirs, id));
    let read = match (theirs, walk.ours) {
        (Some(Err(_)) | None, Some(ours)) => read_commit(ours, id),
        (Some(read), _) => read,
        (None, None) => return None,
    };
    let taken = read.and_then(|commit| {
        if !held.contains(&id) || !walk.suspects.is_empty() {
            walk.past(commit.revision.tree, reached)?;
        }
        Ok(commit)
    });
    match taken {
        Ok(commit) => Some(commit),
        // The remote is a shallow copy itself.
        Err(WalkError::Object(ObjectError { id: missing, fault: Fault::Missing })) if missing == id => None,
        Err(error) => {
            reached.notices.push(|| format!("the history ends after {id}: {error}"));
            None
        }
    }
}

/// Commits of ours, each with all that it reaches.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) commits: HashSet<ObjectId>,
    /// Those whose parents are not here.
    pub(crate) ends: Vec<ObjectId>,
}

impl Held {
    /// What `from` reaches, but for what is behind a commit of `ends`. Nothing at all where one is not to be counted on.
    pub(crate) fn by(from: &[ObjectId], ends: &BTreeSet<ObjectId>, ours: &Objects) -> Self {
        let mut held = Self::default();
        let mut left = from.to_vec();
        while let Some(id) = left.pop() {
            if !held.commits.insert(id) {
                continue;
            }
            if ends.contains(&id) {
                held.ends.push(id);
                continue;
            }
            match read_commit(ours, id) {
                Ok(commit) if held.commits.len() <= MAX_OBJECTS => left.extend(commit.parents),
                _ => return Self::default(),
            }
        }
        held
    }
}

/// Whether of the history of `head` as much is here as is wanted, or all of it.
pub(crate) fn reaches(head: ObjectId, depth: Depth, ends: &BTreeSet<ObjectId>, ours: &Objects) -> bool {
    let (mut known, mut row) = (HashSet::from([head]), vec![head]);
    for _ in 1..depth.commits() {
        let mut next = Vec::new();
        for id in row {
            if ends.contains(&id) {
                return false;
            }
            let Ok(commit) = read_commit(ours, id) else { return false };
            next.extend(commit.parents.into_iter().filter(|parent| known.insert(*parent)));
        }
        if next.is_empty() {
            return true;
        }
        row = next;
    }
    true
}
