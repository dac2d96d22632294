//! The refs of a repository of ours, and its list of shallow commits. Ours alone writes them; a `git` program may pack
//! them meanwhile.

use std::{collections::BTreeSet, fs, io, path::PathBuf};

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

/// Under here, a ref a holder.
pub(crate) const SERVING: &str = "refs/atoll/serving/";

/// An id and the end of its line.
const LINE: u64 = 41;

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
        let (path, line) = (self.path(name), format!("{id}\n"));
        if !durable && fs::metadata(&path).is_ok_and(|file| file.len() == LINE) {
            return disk::amend(&path, line.as_bytes(), 0);
        }
        fs::create_dir_all(path.parent().expect("a ref lies in a directory"))?;
        disk::replace(&path, line.as_bytes(), durable)
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

    /// All that is kept for somebody.
    pub(crate) fn serving(&self) -> io::Result<Vec<ObjectId>> {
        let prefix = SERVING.as_bytes().try_into().map_err(io::Error::other)?;
        let platform = self.store.iter().map_err(io::Error::other)?;
        let mut ids = Vec::new();
        for found in platform.prefixed(prefix)? {
            let found = found.map_err(io::Error::other)?;
            ids.extend(found.target.try_id().map(ToOwned::to_owned));
        }
        Ok(ids)
    }

    pub(crate) fn path(&self, name: &FullName) -> PathBuf {
        let mut path = self.store.git_dir().to_owned();
        path.extend(name.as_bstr().to_string().split('/'));
        path
    }

    /// Where it stands which ref of a local remote is being locked.
    pub(crate) fn pushing(&self) -> PathBuf {
        self.store.git_dir().join("atoll-pushing")
    }

    /// Where it stands which remote all of this came from.
    pub(crate) fn origin(&self) -> PathBuf {
        self.store.git_dir().join("atoll-origin")
    }

    /// Where it stands which remote said that it has no commit.
    pub(crate) fn none(&self) -> PathBuf {
        self.store.git_dir().join("atoll-none")
    }

    fn shallow_path(&self) -> PathBuf {
        self.store.git_dir().join("shallow")
    }

    /// The commits that are here without their parents. Lines that are no ids are taken out.
    pub(crate) fn shallow(&self) -> io::Result<BTreeSet<ObjectId>> {
        let lines = match fs::read(self.shallow_path()) {
            Ok(lines) => lines,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(error),
        };
        let ids: BTreeSet<ObjectId> =
            lines.split(|byte| *byte == b'\n').filter_map(|line| ObjectId::from_hex(line).ok()).collect();
        if lines.len() as u64 != ids.len() as u64 * LINE {
            self.write_shallow(&ids)?;
        }
        Ok(ids)
    }

    /// Adds `commit` to those of `before`: before it comes in, so that `git fsck` never misses its parents. Yields the file,
    /// which is not synced.
    pub(crate) fn add_shallow(&self, before: &mut BTreeSet<ObjectId>, commit: ObjectId) -> io::Result<PathBuf> {
        let (path, length) = (self.shallow_path(), before.len() as u64 * LINE);
        if fs::metadata(&path).is_ok_and(|file| file.len() == length) {
            disk::amend(&path, format!("{commit}\n").as_bytes(), length)?;
        } else {
            let mut all = before.clone();
            all.insert(commit);
            self.write_shallow(&all)?;
        }
        before.insert(commit);
        Ok(path)
    }

    /// Yields the file, which is not synced.
    pub(crate) fn write_shallow(&self, commits: &BTreeSet<ObjectId>) -> io::Result<PathBuf> {
        let (path, lines) = (self.shallow_path(), commits.iter().flat_map(|commit| format!("{commit}\n").into_bytes()));
        disk::replace(&path, &lines.collect::<Vec<u8>>(), false)?;
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
