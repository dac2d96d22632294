//! Keeping a repository of ours small, however often it is fetched into: what is still named goes into one new pack, and
//! all else goes away. A kill at any line leaves everything named twice, or once; never not at all.

use std::{collections::HashSet, io, iter};

use gix::{ObjectId, objs};

use crate::{
    Depth, Repository,
    disk::lock,
    fetch::Fetching,
    history::{Held, History},
    objects::{Intake, IntakeError},
    remote::directory::Seen,
    repository::{Shared, read_commit},
    taking::MAX_LOST,
    walk::{Walk, WalkError, Whole},
};

/// Each holds open files, and is looked at for each object.
const MANY_PACKS: usize = 20;

/// As `git` has it (`gc.auto`).
const MANY_LOOSE: usize = 6_700;

/// What may lie beside the largest pack, in bytes, or as much as that takes: so copying it costs no more than what came.
const MUCH: u64 = 64 * 1024 * 1024;

/// Why it could not be tidied; everything stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum TidyError {
    /// A revision that is kept or read is damaged.
    #[error(transparent)]
    Walk(#[from] WalkError),
    #[error(transparent)]
    Intake(#[from] IntakeError),
    #[error("the repository cannot be written")]
    Write(#[from] io::Error),
}

impl Repository {
    /// Packs the head, what is kept, and what a snapshot is open of, and removes all other objects, where there are many
    /// packs or loose files, or large ones. Blocks, and fetches meanwhile: as long as copying those revisions takes.
    pub fn tidy(&self) -> Result<(), TidyError> {
        let mut fetching = lock(&self.0.fetching);
        let (packs, loose) = self.0.objects.counts();
        let (largest, beside) = self.0.objects.room()?;
        let untidy = packs > MANY_PACKS || loose > MANY_LOOSE || beside > MUCH.max(largest);
        if untidy { self.0.tidy(&mut fetching) } else { Ok(()) }
    }
}

impl TidyError {
    /// It is an object that can't be read, and not that nothing can be written.
    fn is_of_an_object(&self) -> bool {
        matches!(self, Self::Walk(_) | Self::Intake(IntakeError::Source(_)))
    }
}

impl Shared {
    pub(crate) fn tidy(&self, fetching: &mut Fetching) -> Result<(), TidyError> {
        let mut lost = HashSet::new();
        loop {
            let before = lost.len();
            let tidied = self.tidy_without(&mut lost, fetching);
            if tidied.is_ok() || lost.len() == before {
                return tidied;
            }
        }
    }

    /// Where of a past something can't be read after all, it is added to `lost`: without it the rest may be tidied.
    fn tidy_without(&self, lost: &mut HashSet<ObjectId>, fetching: &mut Fetching) -> Result<(), TidyError> {
        // Without a head one is damaged that may still be put right.
        let Some(head) = self.head() else { return Ok(()) };
        let mut revisions = self.refs.serving()?;
        revisions.push(head.id);
        revisions.extend(lock(&self.open).keys());
        revisions.sort_unstable();
        revisions.dedup();

        let (mut whole, none) = (Whole::new(), HashSet::new());
        let mut wanted: Vec<(ObjectId, objs::Kind)> = Vec::new();
        let mut past = HashSet::new();
        let depth = if lost.len() < MAX_LOST { Depth::ALL } else { Depth::HEAD };
        let mut ends = fetching.shallow.clone();
        let mut named = Held { commits: HashSet::new(), ends: ends.iter().copied().collect() };
        for id in &revisions {
            let commit = read_commit(&self.objects, *id)?;
            let walk = Walk {
                ours: None,
                theirs: Some(&self.objects),
                cache: &self.cache,
                whole: &whole,
                suspects: &none,
                lost,
            };
            let mut reached = walk.run(commit.revision.tree, None)?;
            let present = reached.lacking.len();
            // What of a history is damaged is forgotten.
            let history = History::before(&commit, depth, &ends, &walk, &named, &mut reached);
            past.extend(reached.lacking[present..].iter().map(|lacking| lacking.id));
            wanted.extend(reached.lacking.iter().map(|lacking| (lacking.id, lacking.kind)));
            let commits = iter::once(*id).chain(history.commits);
            for commit in commits {
                wanted.push((commit, objs::Kind::Commit));
                named.commits.insert(commit);
            }
            named.ends.extend(&history.ends);
            ends.extend(history.ends);
            whole.extend(reached.whole);
        }
        let mut known = HashSet::new();
        wanted.retain(|(id, _)| known.insert(*id));

        let mut intake = Intake::packing(&self.objects, &self.unsettled, wanted.len());
        for (id, kind) in wanted {
            let taken = self.objects.object(&id).map_err(|error| WalkError::from(error).into()).and_then(|object| {
                if object.kind != kind {
                    return Err(WalkError::Kind(id, object.kind, kind).into());
                }
                Ok(intake.object(id, object)?)
            });
            if past.contains(&id) && taken.as_ref().is_err_and(TidyError::is_of_an_object) {
                lost.insert(id);
            }
            taken?;
        }
        let kept = intake.finish()?;
        // Before the first file goes, of which there may be no more than some: what was known to be here may be among them.
        fetching.whole = whole;
        fetching.directory = Seen::default();
        self.objects.keep_only(kept.as_deref())?;
        ends.retain(|id| named.commits.contains(id));
        fetching.shallow = ends;
        self.refs.write_shallow(&fetching.shallow)?;
        Ok(())
    }
}
