//! Small files and what makes them last: written whole beside their place and renamed into it, so that a reader or a
//! kill finds the old bytes or the new ones. It knows nothing of what the bytes mean.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

/// The kernel has written a file back after so long, even where it was told to be lazy.
const WRITTEN_BACK: Duration = Duration::from_secs(600);

/// Puts `bytes` at `path`. The file `path` + `.lock` is made first and must not exist: that is Git's own lock, so a `git`
/// program at work in the same repository is never overwritten. Survives a kill, and with `durable` a power cut.
pub(crate) fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let lock = locked(path);
    let mut file = File::options().write(true).create_new(true).open(&lock)?;
    let written = file.write_all(bytes).and_then(|()| if durable { file.sync_all() } else { Ok(()) });
    let placed = written.and_then(|()| fs::rename(&lock, path));
    if let Err(error) = placed {
        // What is left of it is swept at the next start too.
        let _ = fs::remove_file(&lock);
        return Err(error);
    }
    if durable { sync_directory(path.parent().expect("a file has a directory")) } else { Ok(()) }
}

/// Files that were written and are in the page cache alone: they survive a kill, and not yet a power cut.
#[derive(Default)]
pub(crate) struct Unsettled {
    paths: Mutex<BTreeSet<PathBuf>>,
    /// Held while they are being synced.
    settling: Mutex<()>,
}

impl Unsettled {
    pub(crate) fn add(&self, paths: impl IntoIterator<Item = PathBuf>) {
        lock(&self.paths).extend(paths);
    }

    /// Syncs all of them, and the directories that they lie in.
    pub(crate) fn settle(&self) -> io::Result<()> {
        // Who comes second waits, since what it needs may be with the first.
        let _settling = lock(&self.settling);
        let paths = std::mem::take(&mut *lock(&self.paths));
        let directories: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
        let files = paths.iter().try_for_each(|path| sync_file(path));
        let synced = files.and_then(|()| directories.into_iter().try_for_each(sync_directory));
        if synced.is_err() {
            self.add(paths);
        }
        synced
    }
}

/// Nothing that these mutexes guard is left half changed by a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes sure that the bytes of the file at `path` are on disk. A file that has gone has nothing to lose.
fn sync_file(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Ok(file) => file.sync_data(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes sure that the names in the directory at `path` are on disk.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Ok(directory) => directory.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes what a kill left behind in a repository of ours: locks and temporary files. Nobody else writes there while the
/// host holds the state. Empty object files are what a power cut leaves of ones that were not synced: they would hide the
/// real ones from a fetch, and `git fsck` calls them corrupt. Yields the files that may not be synced yet: nobody knows any
/// more which a killed host had not.
pub(crate) fn sweep(git_dir: &Path, now: SystemTime) -> io::Result<Vec<PathBuf>> {
    let mut recent = Vec::new();
    let mut directories: Vec<PathBuf> = vec![git_dir.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                directories.push(entry.path());
                continue;
            }
            let name = entry.file_name();
            let name = name.as_encoded_bytes();
            let left_over = name.ends_with(b".lock") || name.starts_with(b"tmp_");
            let is_object = name.len() == 38 && directory.parent().is_some_and(|parent| parent.ends_with("objects"));
            if left_over || (is_object && metadata.len() == 0) {
                fs::remove_file(entry.path())?;
            } else if metadata.modified()? + WRITTEN_BACK > now {
                recent.push(entry.path());
            }
        }
    }
    Ok(recent)
}

fn locked(path: &Path) -> PathBuf {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    PathBuf::from(lock)
}
