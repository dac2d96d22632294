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
    walk::{Walk, WalkError, Whole},
};

/// Each holds open files, and is looked at for each object.
const MANY_PACKS: usize = 20;

/// As `git` has it (`gc.auto`).
const MANY_LOOSE: usize = 6_700;

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
    /// packs or loose files. Blocks, and fetches meanwhile: as long as copying those revisions takes.
    pub fn tidy(&self) -> Result<(), TidyError> {
        let mut fetching = lock(&self.0.fetching);
        let (packs, loose) = self.0.objects.counts();
        if packs > MANY_PACKS || loose > MANY_LOOSE { self.0.tidy(&mut fetching) } else { Ok(()) }
    }
}

impl Shared {
    pub(crate) fn tidy(&self, fetching: &mut Fetching) -> Result<(), TidyError> {
        // Without a head one is damaged that may still be put right.
        let Some(head) = *self.head.borrow() else { return Ok(()) };
        let mut revisions = self.refs.serving()?;
        revisions.push(head.id);
        revisions.extend(lock(&self.open).keys());
        revisions.sort_unstable();
        revisions.dedup();

        let (mut whole, none) = (Whole::new(), HashSet::new());
        let mut wanted: Vec<(ObjectId, objs::Kind)> = Vec::new();
        let mut ends = fetching.shallow.clone();
        let mut named = Held { commits: HashSet::new(), ends: ends.iter().copied().collect() };
        for id in &revisions {
            let commit = read_commit(&self.objects, *id)?;
            let walk =
                Walk { ours: None, theirs: Some(&self.objects), cache: &self.cache, whole: &whole, suspects: &none };
            let mut reached = walk.run(commit.revision.tree, None)?;
            // What of a history is damaged is forgotten.
            let history = History::before(&commit, Depth::ALL, &ends, &walk, &named, &mut reached);
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
            let object = self.objects.object(&id).map_err(WalkError::from)?;
            if object.kind != kind {
                return Err(WalkError::Kind(id, object.kind, kind).into());
            }
            intake.object(id, object)?;
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
