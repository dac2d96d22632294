//! Writing to a repository on this machine: objects first, then its ref, by git's own lock and as compare-and-swap. No hook
//! runs and no program; a branch that somebody has checked out is left alone.

use std::{io, time::Duration};

use gix::{
    ObjectId,
    bstr::BString,
    lock::acquire::Fail,
    refs::{
        Target,
        store::WriteReflog,
        transaction::{Change, LogChange, PreviousValue, RefEdit, RefLog},
    },
};

use super::local::{LocalError, LocalRepository};
use crate::{
    disk::{self, Unsettled},
    objects::{Intake, IntakeError},
};

/// How long a lock that somebody else has is waited for: git holds one for the time of a rename.
const LOCKED: Duration = Duration::from_secs(1);

/// Why a ref was not updated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// It stands somewhere else.
    #[error("the branch moved")]
    Moved,
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error(transparent)]
    Intake(#[from] IntakeError),
    #[error("the repository cannot be written")]
    Write(#[from] io::Error),
}

impl LocalRepository {
    /// Takes in what `fill` has, about `expected` objects, and moves `branch` from `old` to `new`. All of it is on disk when
    /// this returns.
    pub(crate) fn receive(
        &self,
        branch: Option<&str>,
        (old, new): (Option<ObjectId>, ObjectId),
        expected: usize,
        fill: impl FnOnce(&mut Intake<'_>) -> Result<(), IntakeError>,
    ) -> Result<(), ReceiveError> {
        let (name, at) = self.resolve(branch)?;
        if self.checked_out()?.iter().any(|out| name.as_bstr() == out.as_str()) {
            return Err(ReceiveError::Refused(format!(
                "refusing to update checked out branch: {}: push to a bare repository, or to another branch",
                name.as_bstr()
            )));
        }
        if at != old {
            // Before anything is written there.
            return Err(ReceiveError::Moved);
        }
        let (objects, unsettled) = (self.objects()?, Unsettled::default());
        let mut intake = Intake::new(&objects, &unsettled, expected);
        fill(&mut intake)?;
        intake.finish()?;
        unsettled.settle()?;

        let expected =
            old.map_or(PreviousValue::MustNotExist, |old| PreviousValue::MustExistAndMatch(Target::Object(old)));
        let log = LogChange { mode: RefLog::AndReference, force_create_reflog: false, message: BString::from("push") };
        let change = Change::Update { log, expected, new: Target::Object(new) };
        let edit = RefEdit { change, name: name.clone(), deref: false };
        let wait = Fail::AfterDurationWithBackoff(LOCKED);
        let failed = |error: io::Error| match self.resolve(branch) {
            Ok((_, at)) if at != old => ReceiveError::Moved,
            _ => ReceiveError::Write(error),
        };
        let mut store = self.refs();
        // Without anybody's name there is nothing to write in it.
        store.write_reflog = WriteReflog::Disable;
        let prepared = store.transaction().prepare(Some(edit), wait, wait);
        let prepared = prepared.map_err(|error| failed(io::Error::other(error)))?;
        prepared.commit(None).map_err(|error| failed(io::Error::other(error)))?;
        Ok(disk::sync(&store.common_dir_resolved().join(name.as_bstr().to_string()))?)
    }
}
