//! Writing to a repository on this machine: objects first, then its ref, by git's own lock and as compare-and-swap. No hook
//! runs and no program; a branch that somebody has checked out is left alone.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use gix::{ObjectId, refs::FullName};

use super::local::{LocalError, LocalRepository};
use crate::{
    disk::{self, Unsettled},
    objects::{Intake, IntakeError, Objects},
};

/// How long a lock that somebody else has is waited for: git holds one for the time of a rename.
const LOCKED: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(2);

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
    /// this returns, but for what it yields: why the ref, which has moved, may not be. `record` is a file of ours, for
    /// [`recover`].
    pub(crate) fn receive(
        &self,
        branch: Option<&str>,
        (old, new): (Option<ObjectId>, ObjectId),
        expected: usize,
        record: &Path,
        fill: impl FnOnce(&mut Intake<'_>) -> Result<(), IntakeError>,
    ) -> Result<Option<io::Error>, ReceiveError> {
        let (name, at) = self.receivable(branch)?;
        if at != old {
            // Before anything is written there.
            return Err(ReceiveError::Moved);
        }
        if let Some(other) = if at.is_none() { self.in_the_way(&name)? } else { None } {
            return Err(ReceiveError::Refused(format!("{other} exists; cannot create {}", name.as_bstr())));
        }
        let (objects, unsettled) = (Objects::to_fill(self.objects_directory()), Unsettled::default());
        let mut intake = Intake::there(&objects, &unsettled, expected);
        fill(&mut intake)?;
        intake.finish()?;
        unsettled.settle()?;

        let path = self.file_of(&name);
        let lock = RefLock::take(&path, new, objects.directory(), record)?;
        // Nobody moves it any more.
        if self.resolve(branch)?.1 != old {
            return Err(ReceiveError::Moved);
        }
        Ok(lock.commit(&path)?)
    }

    /// The ref that a push of `branch` moves, where one may, and what it stands at.
    pub(crate) fn receivable(&self, branch: Option<&str>) -> Result<(FullName, Option<ObjectId>), ReceiveError> {
        let (name, at) = self.resolve(branch)?;
        if !name.as_bstr().starts_with(b"refs/") {
            // A detached HEAD, which is what a work tree shows.
            return Err(LocalError::Headless(self.path().to_owned()).into());
        }
        if self.checked_out()?.iter().any(|out| name.as_bstr() == out.as_str()) {
            return Err(ReceiveError::Refused(format!(
                "refusing to update checked out branch: {}: push to a bare repository, or to another branch",
                name.as_bstr()
            )));
        }
        Ok((name, at))
    }
}

/// Git's lock on a ref, `REF.lock`, which holds what the ref is to be. It appears with all of that in it, and what it is
/// was written down before: so that one that a kill leaves behind is known for ours.
struct RefLock<'a> {
    path: PathBuf,
    record: &'a Path,
    held: bool,
}

impl<'a> RefLock<'a> {
    fn take(path: &Path, new: ObjectId, objects: &Path, record: &'a Path) -> io::Result<Self> {
        let mut lock = Self { path: path.with_added_extension("lock"), record, held: false };
        disk::create_directory(path.parent().expect("a ref lies in a directory"))?;
        let permissions = fs::Permissions::from_mode(0o666);
        let mut file = tempfile::Builder::new().prefix("tmp_obj_").permissions(permissions).tempfile_in(objects)?;
        let line = format!("{new}\n");
        file.write_all(line.as_bytes())?;
        file.as_file().sync_all()?;
        disk::replace(record, &[line.as_bytes(), lock.path.as_os_str().as_bytes()].concat(), false)?;
        let until = Instant::now() + LOCKED;
        loop {
            match fs::hard_link(file.path(), &lock.path) {
                Ok(()) => {
                    lock.held = true;
                    return Ok(lock);
                }
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Err(_) if Instant::now() < until => thread::sleep(AGAIN),
                Err(_) => return Err(io::Error::other(format!("{} is held by somebody else", lock.path.display()))),
            }
        }
    }

    /// The ref is what the lock says from now on, whatever comes of syncing it, which is what this yields.
    fn commit(mut self, path: &Path) -> io::Result<Option<io::Error>> {
        // What is left of refs that were below it.
        disk::remove_empty(path)?;
        fs::rename(&self.path, path)?;
        self.held = false;
        Ok(disk::sync(path.parent().expect("a ref lies in a directory")).err())
    }
}

impl Drop for RefLock<'_> {
    fn drop(&mut self) {
        if self.held {
            let _ = fs::remove_file(&self.path);
        }
        let _ = fs::remove_file(self.record);
    }
}

/// Takes away the lock that a killed host left on a ref, if it did: `record` is what it wrote down before. The ref stands
/// where it stood.
pub(crate) fn recover(record: &Path) -> io::Result<()> {
    let said = match fs::read(record) {
        Ok(said) => said,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if let Some(end) = said.iter().position(|byte| *byte == b'\n') {
        let lock = Path::new(OsStr::from_bytes(&said[end + 1..]));
        // Another's has something else in it.
        let ours = fs::metadata(lock).is_ok_and(|lock| lock.is_file() && lock.len() == end as u64 + 1);
        if ours && fs::read(lock).is_ok_and(|held| held == said[..=end]) {
            // Where that is not possible, the next push says so.
            let _ = fs::remove_file(lock);
        }
    }
    fs::remove_file(record)
}
