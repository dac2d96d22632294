//! The refs of a repository of ours, and its list of shallow commits. Ours alone writes them; a `git` program may pack
//! them meanwhile.

use std::{collections::BTreeSet, fmt::Write, fs, io, path::PathBuf};

use gix::{
    ObjectId,
    hash::Kind as HashKind,
    lock::acquire::Fail,
    refs::{
        FullName, Target, file,
        store::init::Options,
        transaction::{Change, PreviousValue, RefEdit, RefLog},
    },
};

use crate::disk;

pub(crate) struct Refs {
    store: file::Store,
}

impl Refs {
    pub(crate) fn at(git_dir: PathBuf) -> Self {
        Self { store: store(git_dir, None) }
    }

    /// What the ref stands at; nothing if there is none.
    pub(crate) fn read(&self, name: &FullName) -> io::Result<Option<ObjectId>> {
        let found = self.store.try_find(name.as_bstr()).map_err(io::Error::other)?;
        let Some(found) = found.filter(|found| found.name == *name) else { return Ok(None) };
        match found.target {
            Target::Object(id) => Ok(Some(id)),
            Target::Symbolic(_) => Err(io::Error::other(format!("{} is a symbolic ref", name.as_bstr()))),
        }
    }

    /// Survives a kill, and with `durable` a power cut.
    pub(crate) fn write(&self, name: &FullName, id: ObjectId, durable: bool) -> io::Result<()> {
        let path = self.path(name);
        let directory = path.parent().expect("a ref lies in a directory");
        fs::create_dir_all(directory)?;
        disk::replace(&path, format!("{id}\n").as_bytes(), durable)
    }

    pub(crate) fn delete(&self, name: &FullName) -> io::Result<()> {
        let change = Change::Delete { expected: PreviousValue::Any, log: RefLog::AndReference };
        let edit = RefEdit { change, name: name.clone(), deref: false };
        let transaction = self.store.transaction();
        let prepared =
            transaction.prepare(Some(edit), Fail::Immediately, Fail::Immediately).map_err(io::Error::other)?;
        prepared.commit(None).map_err(io::Error::other)?;
        Ok(())
    }

    pub(crate) fn path(&self, name: &FullName) -> PathBuf {
        let mut path = self.store.git_dir().to_owned();
        path.extend(name.as_bstr().to_string().split('/'));
        path
    }

    fn shallow_path(&self) -> PathBuf {
        self.store.git_dir().join("shallow")
    }

    /// The commits that are here without their parents.
    pub(crate) fn shallow(&self) -> io::Result<BTreeSet<ObjectId>> {
        match fs::read_to_string(self.shallow_path()) {
            // A line that is not an id names nothing.
            Ok(lines) => Ok(lines.lines().filter_map(|line| ObjectId::from_hex(line.as_bytes()).ok()).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error),
        }
    }

    /// Before such a commit comes in, so that `git fsck` never misses a parent. Yields the file, which is not synced.
    pub(crate) fn write_shallow(&self, commits: &BTreeSet<ObjectId>) -> io::Result<PathBuf> {
        let mut lines = String::with_capacity(commits.len() * 41);
        for commit in commits {
            writeln!(lines, "{commit}").expect("a string takes all");
        }
        let path = self.shallow_path();
        disk::replace(&path, lines.as_bytes(), false)?;
        Ok(path)
    }
}

/// The refs in `git_dir`, shared ones in `common_dir` if it is the directory of a linked work tree. Nothing is mapped: a
/// file cut short under a mapping would kill the process.
pub(crate) fn store(git_dir: PathBuf, common_dir: Option<PathBuf>) -> file::Store {
    let options = Options::default();
    let mut store = match common_dir {
        Some(common_dir) => file::Store::for_linked_worktree_opts(git_dir, common_dir, HashKind::Sha1, options),
        None => file::Store::at_opts(git_dir, HashKind::Sha1, options),
    };
    store.set_packed_buffer_mmap_threshold(u64::MAX);
    store
}
