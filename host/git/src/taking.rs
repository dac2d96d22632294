//! The end of a fetch, and of a push of ours: what a head reaches and we lack is copied, with as much of its past as is wanted
//! and can be had; when all of it is here and readable, the head moves.

use std::{
    collections::{BTreeSet, HashSet},
    io,
};

use gix::{ObjectId, objs};

use crate::{
    Depth, FetchError, Fetched,
    disk::lock,
    fetch::Fetching,
    history::{Held, History},
    objects::{Fault, Intake, IntakeError, ObjectError, Theirs},
    repository::{Commit, Shared, head_name},
    walk::{Notices, Reached, WalkError},
};

/// So much of a past may be found damaged, one after the other, before none of it is taken.
pub(crate) const MAX_LOST: usize = 16;

impl Shared {
    /// Copies what `commit`'s tree reaches and we lack, and as much of its history as is wanted, and moves the head there.
    /// What of the past can't be copied ends that, and is no reason for the head to stay.
    pub(crate) fn take_in(
        &self,
        fetching: &mut Fetching,
        name: &dyn Fn() -> String,
        theirs: Theirs<'_>,
        commit: &Commit,
        (depth, suspects, held): (Depth, &HashSet<ObjectId>, Option<Held>),
    ) -> Result<Fetched, FetchError> {
        let id = commit.revision.id;
        fetching.lost.clear();
        loop {
            let reached = self.walk(fetching, Some(theirs.objects()), commit.revision.tree, suspects);
            let refused = |error| FetchError::Refused { id, remote: name(), source: Box::new(error) };
            let reached = reached.map_err(refused)?;
            let lost = fetching.lost.len();
            let depth_now = if lost < MAX_LOST { depth } else { Depth::HEAD };
            match self.take_reached(fetching, name, theirs, commit, reached, (depth_now, suspects, held.as_ref())) {
                Err(_) if fetching.lost.len() > lost => {}
                Ok(fetched) => {
                    // More is not to be had.
                    fetching.taken = Some((id, depth));
                    return Ok(fetched);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The rest of [`Self::take_in`], with what `commit`'s tree reaches.
    pub(crate) fn take_reached(
        &self,
        fetching: &mut Fetching,
        name: &dyn Fn() -> String,
        theirs: Theirs<'_>,
        commit: &Commit,
        mut reached: Reached,
        (depth, suspects, held): (Depth, &HashSet<ObjectId>, Option<&Held>),
    ) -> Result<Fetched, FetchError> {
        let id = commit.revision.id;
        let present = reached.lacking.len();
        let refused = |error| FetchError::Refused { id, remote: name(), source: Box::new(error) };
        let mut history = History::default();
        if depth == Depth::HEAD {
            history.ends.extend(Some(id).filter(|_| !commit.parents.is_empty()));
        } else {
            let found;
            let held = if let Some(held) = held {
                held
            } else {
                found = Held::by(&self.commits(self.head())?, &fetching.shallow, &self.objects);
                &found
            };
            let walk = self.walker(fetching, Some(theirs.objects()), suspects);
            history = History::before(commit, depth, &BTreeSet::new(), &walk, held, &mut reached);
        }
        let lacks = |id: &ObjectId| suspects.contains(id) || !matches!(self.objects.header(id), Ok(Some(_)));
        history.commits.retain(lacks);
        let mut intake = Intake::new(&self.objects, &self.unsettled, reached.lacking.len() + history.commits.len() + 1);
        let take = |intake: &mut Intake<'_>, id, kind, raw: Option<&[u8]>| {
            let failed = |source| FetchError::Copy { id: commit.revision.id, remote: name(), source };
            if let Theirs::Pack(pack) = theirs
                && intake.verbatim(id, kind, pack).map_err(failed)?
            {
                return Ok(());
            }
            if let Some(raw) = raw {
                return intake.bytes(id, kind, raw).map_err(failed);
            }
            let object = theirs.object(id, kind, &self.objects).map_err(|error| refused(error.into()))?;
            if object.kind != kind {
                return Err(refused(WalkError::Kind(id, object.kind, kind)));
            }
            intake.object(id, object).map_err(failed)
        };
        for (at, lacking) in reached.lacking.iter().enumerate() {
            let taken = take(&mut intake, lacking.id, lacking.kind, lacking.raw.as_deref());
            if at >= present && taken.as_ref().is_err_and(FetchError::is_theirs) {
                fetching.lost.insert(lacking.id);
            }
            taken?;
        }
        for end in &history.ends {
            if !fetching.shallow.contains(end) {
                self.unsettled.add([self.refs.add_shallow(&mut fetching.shallow, *end)?]);
            }
        }
        for before in history.commits.iter().rev() {
            take(&mut intake, *before, objs::Kind::Commit, None)?;
        }
        let moved = self.move_head(fetching, intake, commit, (reached, &history), suspects);
        let fetched = moved.map_err(|error| match error {
            MoveError::Ended => FetchError::Ended,
            MoveError::Intake(source) => FetchError::Copy { id, remote: name(), source },
            MoveError::Unreadable(source) => refused(source),
            MoveError::Ours(error) => error.into(),
        })?;
        fetching.taken = Some((id, depth));
        Ok(fetched)
    }

    /// The commit last, then the ref, then whoever waits for it.
    pub(crate) fn move_head(
        &self,
        fetching: &mut Fetching,
        mut intake: Intake<'_>,
        commit: &Commit,
        (reached, history): (Reached, &History),
        suspects: &HashSet<ObjectId>,
    ) -> Result<Fetched, MoveError> {
        let Commit { revision, raw, .. } = commit;
        intake.bytes(revision.id, objs::Kind::Commit, raw)?;
        intake.finish()?;
        let written = reached.lacking.iter().map(|lacking| (lacking.id, lacking.kind));
        for (id, kind) in written.chain([(revision.id, objs::Kind::Commit)]) {
            // By the way that it will be read.
            let found = self.objects.header(&id).map_err(WalkError::from)?;
            if found.is_none_or(|(found, _)| found != kind) {
                return Err(WalkError::from(ObjectError { id, fault: Fault::Missing }).into());
            }
        }
        if history.whole.iter().any(|id| fetching.shallow.contains(id)) {
            fetching.shallow.retain(|id| !history.whole.contains(id));
            self.unsettled.add([self.refs.write_shallow(&fetching.shallow)?]);
        }
        fetching.whole.extend(reached.whole);
        lock(&self.suspects).retain(|id| !suspects.contains(id));
        if self.head().is_some_and(|head| head.id == revision.id) {
            if !suspects.is_empty() {
                // It stands as it did, and what failed for the damage may pass now.
                self.standing.send_modify(|_| {});
            }
            return Ok(Fetched::Unchanged);
        }
        if self.is_over(fetching) {
            return Err(MoveError::Ended);
        }
        self.came_from(&fetching.from, *revision, || {
            self.refs.write(&head_name(), revision.id, false)?;
            self.unsettled.add([self.refs.path(&head_name())]);
            Ok(())
        })?;
        Ok(Fetched::Moved { revision: *revision, notices: Notices::into_lines(reached.notices) })
    }
}

pub(crate) enum MoveError {
    Ended,
    Intake(IntakeError),
    Unreadable(WalkError),
    Ours(io::Error),
}

impl From<IntakeError> for MoveError {
    fn from(error: IntakeError) -> Self {
        Self::Intake(error)
    }
}

impl From<WalkError> for MoveError {
    fn from(error: WalkError) -> Self {
        Self::Unreadable(error)
    }
}

impl From<io::Error> for MoveError {
    fn from(error: io::Error) -> Self {
        Self::Ours(error)
    }
}
