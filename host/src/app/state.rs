//! The state directory: ours alone, and of one host at a time. All in it can be had again, but for `remotes`, which people
//! push to where there is no manifest, and the key of `local-ca`, whose root somebody may trust.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// How often, and how long after one another, a lock is tried that somebody has.
const TRIES: u32 = 10;
const TRY: Duration = Duration::from_millis(100);

/// The state of a running host; the lock goes with it.
pub(super) struct State {
    directory: PathBuf,
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    #[error("the state directory {} can't be used: {source}", directory.display())]
    Unusable { directory: PathBuf, source: io::Error },
    #[error("the state directory {} belongs to another user (uid {owner}): give one of your own with --state", directory.display())]
    Foreign { directory: PathBuf, owner: u32 },
    #[error("the state directory {} may be entered by others (mode {mode:04o}): chmod 700 it", directory.display())]
    Open { directory: PathBuf, mode: u32 },
    #[error("another host runs with the state directory {}: stop it, or give this one its own with --state", directory.display())]
    Locked { directory: PathBuf },
}

/// As often as it takes whoever was killed a moment ago to be gone.
fn patiently(lock: impl Fn() -> Result<(), fs::TryLockError>) -> Result<(), fs::TryLockError> {
    for _ in 0..TRIES {
        match lock() {
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(TRY),
            outcome => return outcome,
        }
    }
    lock()
}

impl State {
    /// Makes the directory where it is missing, and takes it.
    pub(super) fn open(directory: &Path) -> Result<Self, StateError> {
        let unusable = |source| StateError::Unusable { directory: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
        let metadata = fs::metadata(directory).map_err(unusable)?;
        let owner = metadata.uid();
        if owner != rustix::process::geteuid().as_raw() {
            return Err(StateError::Foreign { directory: directory.to_owned(), owner });
        }
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(StateError::Open { directory: directory.to_owned(), mode });
        }
        let lock = File::create(directory.join("lock")).map_err(unusable)?;
        match patiently(|| lock.try_lock()) {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(StateError::Locked { directory: directory.to_owned() });
            }
            Err(fs::TryLockError::Error(source)) => return Err(unusable(source)),
        }
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Bare repositories of ours, one a binding.
    pub(super) fn git(&self) -> PathBuf {
        self.directory.join("git")
    }

    /// Compiled code.
    pub(super) fn compiled(&self) -> PathBuf {
        self.directory.join("compiled")
    }

    /// Proved components, by digest.
    pub(super) fn components(&self) -> PathBuf {
        self.directory.join("components")
    }

    /// What was proved last, of each component.
    pub(super) fn proved(&self) -> PathBuf {
        self.directory.join("proved")
    }

    /// The local CA's certificate and key.
    pub(super) fn local_ca(&self) -> PathBuf {
        self.directory.join("local-ca")
    }
}

/// Puts `contents` in place of what is at `path`, whole or not at all. Survives a kill, and with `durable` a power cut.
pub(super) fn replace(path: &Path, contents: &[u8], durable: bool) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = folder.join(format!(".{name}.new"));
    let mut file = File::create(&unfinished)?;
    file.write_all(contents)?;
    if durable {
        file.sync_all()?;
    }
    fs::rename(&unfinished, path)?;
    if durable { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_directory_is_ours_and_of_one_host() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = parent.path().join("a/b");
        let state = State::open(&directory).expect("it can be made");
        assert_eq!(fs::metadata(&directory).expect("it is there").mode() & 0o777, 0o700);
        let again = State::open(&directory).map(drop).expect_err("it is locked").to_string();
        let shown = directory.display();
        assert_eq!(
            again,
            format!(
                "another host runs with the state directory {shown}: stop it, or give this one its own with --state"
            )
        );
        drop(state);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let open = State::open(&directory).map(drop).expect_err("others may enter").to_string();
        assert_eq!(open, format!("the state directory {shown} may be entered by others (mode 0755): chmod 700 it"));
    }
}
