//! A plain directory that stands in for a branch: taken in as a tree and a commit. Links are kept as links and never
//! followed, not even one that takes a directory's place meanwhile; what changes while it is read is read again.

use std::{
    collections::{HashMap, HashSet},
    ffi::{CStr, CString},
    fs::File,
    io::{self, Read, Seek},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use atoll_paths::{MAX_DEPTH, Shown};
use gix::{
    ObjectId,
    hash::{Kind as HashKind, hasher},
    objs::{self, encode, tree::name_order},
};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use crate::{
    disk::Identity,
    objects::{Fault, Intake, IntakeError, ObjectError, id_of},
    tree::{Kind, MAX_ENTRIES, check_name},
    walk::{MAX_OBJECTS, Notices},
};

/// A file that is larger is read in pieces, and twice: for its id, and if we lack it.
const LARGE: u64 = 1024 * 1024;

/// How often a file that changes meanwhile is read.
const TRIES: usize = 3;

/// A file that changed more recently may change again within one tick of the coarsest clock of a file system.
const SETTLED: Duration = Duration::from_secs(2);

/// Why a directory cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("{path} cannot be read")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{0} changes while it is read; it is tried again")]
    Changing(PathBuf),
    #[error("{path}: directories lie more than {MAX_DEPTH} deep", path = .0.display())]
    TooDeep(PathBuf),
    #[error("{0} is the state directory of this very host, which cannot be served")]
    State(PathBuf),
    #[error("{path} has more than {MAX_ENTRIES} entries", path = .0.display())]
    TooManyEntries(PathBuf),
    #[error("{path} has more than {MAX_OBJECTS} files and directories; is it the right one?", path = .0.display())]
    TooMany(PathBuf),
    #[error(transparent)]
    Intake(#[from] IntakeError),
}

/// A directory that is met for the first time, and changed so short a while ago, is not taken for one yet.
const NEW: Duration = Duration::from_secs(1);

/// Files as they were when they were taken in last, so that only what changed is read.
#[derive(Default)]
pub(crate) struct Seen(HashMap<Vec<u8>, (Stamp, ObjectId)>);

impl Seen {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: Duration,
    changed: Duration,
}

pub(crate) struct Taken {
    pub(crate) tree: ObjectId,
    /// Since the Unix epoch, of all that is in it.
    newest: Duration,
    pub(crate) notices: Notices,
}

impl Taken {
    /// The committer date in seconds since the Unix epoch: when it was modified last, where that is after `previous` and
    /// not in the future; else `now`, since a file was taken away or came with an older date.
    pub(crate) fn committed(&self, previous: u64, now: SystemTime) -> u64 {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let newest = self.newest.as_secs();
        if (previous + 1..=now).contains(&newest) { newest } else { now }
    }
}

/// The commit of a tree. It has no parent: the same files of the same date are the same revision on every machine.
pub(crate) fn commit(tree: ObjectId, committed: u64) -> String {
    let who = format!("atoll <atoll@localhost> {committed} +0000");
    format!("tree {tree}\nauthor {who}\ncommitter {who}\n\nThe directory as it stood\n")
}

/// Takes in what is in the directory `root`, except the directory `state`. What `lacks` says that we lack goes to `intake`,
/// children first. What it has seen counts once `intake` is finished.
pub(crate) fn take(
    root: &Path,
    state: Identity,
    before: &Seen,
    intake: &mut Intake<'_>,
    lacks: &dyn Fn(&ObjectId) -> bool,
    now: SystemTime,
) -> Result<(Taken, Seen), DirectoryError> {
    let settled = now.checked_sub(SETTLED).and_then(|settled| settled.duration_since(UNIX_EPOCH).ok());
    let mut taking = Taking {
        root,
        state,
        before,
        seen: HashMap::new(),
        intake: Sink { intake, lacks, taken: HashSet::new() },
        settled: settled.unwrap_or_default(),
        newest: Duration::ZERO,
        objects: 0,
        notices: Notices::default(),
    };
    let directory = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| taking.unreadable(b"", error.into()))?;
    let tree = match taking.directory(&directory, b"", 1)? {
        Some(tree) => tree,
        None => taking.intake.bytes(objs::Kind::Tree, &[])?,
    };
    let Taking { seen, newest, notices, .. } = taking;
    Ok((Taken { tree, newest, notices }, Seen(seen)))
}

/// How long what is to be in a directory may not have come yet: a repository that is being made is one first.
pub(crate) fn is_new_for(root: &Path, now: SystemTime) -> Option<Duration> {
    let modified = std::fs::metadata(root).and_then(|metadata| metadata.modified()).ok()?;
    // What is of tomorrow is as new as can be.
    NEW.checked_sub(now.duration_since(modified).unwrap_or_default())
}

struct Taking<'a, 'b> {
    root: &'a Path,
    /// To be left out: each fetch changes it.
    state: Identity,
    before: &'a Seen,
    seen: HashMap<Vec<u8>, (Stamp, ObjectId)>,
    intake: Sink<'a, 'b>,
    /// What changed before is trusted not to change unseen.
    settled: Duration,
    newest: Duration,
    objects: usize,
    notices: Notices,
}

struct Sink<'a, 'b> {
    intake: &'a mut Intake<'b>,
    lacks: &'a dyn Fn(&ObjectId) -> bool,
    /// What went in already: nobody finds it before its pack is finished.
    taken: HashSet<ObjectId>,
}

struct Item {
    kind: Kind,
    name: Vec<u8>,
    id: ObjectId,
}

impl Taking<'_, '_> {
    /// The id of the tree of a directory; none if there is nothing in it, as in Git.
    fn directory(
        &mut self,
        directory: &OwnedFd,
        path: &[u8],
        depth: usize,
    ) -> Result<Option<ObjectId>, DirectoryError> {
        if depth > MAX_DEPTH {
            return Err(DirectoryError::TooDeep(self.place(path)));
        }
        let own = rustix::fs::fstat(directory).map_err(|error| self.unreadable(path, error.into()))?;
        if self.state == Identity(own.st_dev, own.st_ino) {
            if path.is_empty() {
                return Err(DirectoryError::State(self.root.to_owned()));
            }
            self.notices
                .push(|| format!("{} is left out, it is the state directory of this very host", Shown::of(path)));
            return Ok(None);
        }
        self.newest = self.newest.max(Stamp::of(&own).modified);
        let entries = Dir::read_from(directory).map_err(|error| self.unreadable(path, error.into()))?;
        // All names first: one open file a level is enough.
        let mut names: Vec<CString> = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| self.unreadable(path, error.into()))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
            if names.len() > MAX_ENTRIES {
                return Err(DirectoryError::TooManyEntries(self.place(path)));
            }
        }
        let mut items: Vec<Item> = Vec::new();
        for name in names {
            self.objects += 1;
            if self.objects > MAX_OBJECTS {
                return Err(DirectoryError::TooMany(self.root.to_owned()));
            }
            if let Some((kind, id)) = self.entry(directory, &name, &join(path, name.to_bytes()), depth)? {
                items.push(Item { kind, name: name.into_bytes(), id });
            }
        }
        if items.is_empty() {
            return Ok(None);
        }
        let is_tree = |item: &Item| item.kind == Kind::Directory;
        items.sort_by(|a, b| name_order(&a.name, is_tree(a), &b.name, is_tree(b)));
        self.intake.bytes(objs::Kind::Tree, &raw(&items)).map(Some)
    }

    fn entry(
        &mut self,
        directory: &OwnedFd,
        name: &CStr,
        path: &[u8],
        depth: usize,
    ) -> Result<Option<(Kind, ObjectId)>, DirectoryError> {
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // It went since the directory was listed.
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.unreadable(path, error.into())),
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::RegularFile if stat.st_mode & 0o100 != 0 => Kind::Executable,
            FileType::RegularFile => Kind::File,
            _ => {
                self.notices
                    .push(|| format!("{} is left out, it is neither file nor directory nor link", Shown::of(path)));
                return Ok(None);
            }
        };
        if let Err(fault) = check_name(name.to_bytes(), kind) {
            self.notices.push(|| format!("{} is left out: {fault}", Shown::of(path)));
            return Ok(None);
        }
        if str::from_utf8(name.to_bytes()).is_err() {
            self.notices.push(|| format!("{} is left out, its name is not UTF-8", Shown::of(path)));
        }
        self.newest = self.newest.max(Stamp::of(&stat).modified);
        let id = match kind {
            Kind::Directory => match self.open(directory, name, path, OFlags::DIRECTORY)? {
                Some(below) => self.directory(&below, path, depth + 1)?,
                None => None,
            },
            Kind::Symlink => {
                let target = rustix::fs::readlinkat(directory, name, Vec::new());
                let target = target.map_err(|_| DirectoryError::Changing(self.place(path)))?;
                Some(self.intake.bytes(objs::Kind::Blob, target.as_bytes())?)
            }
            _ => self.file(directory, name, path, Stamp::of(&stat))?,
        };
        Ok(id.map(|id| (kind, id)))
    }

    fn file(
        &mut self,
        directory: &OwnedFd,
        name: &CStr,
        path: &[u8],
        stamp: Stamp,
    ) -> Result<Option<ObjectId>, DirectoryError> {
        if let Some((before, id)) = self.before.0.get(path)
            && *before == stamp
        {
            self.seen.insert(path.to_vec(), (stamp, *id));
            return Ok(Some(*id));
        }
        for _ in 0..TRIES {
            let Some(file) = self.open(directory, name, path, OFlags::NONBLOCK)? else { return Ok(None) };
            let mut file = File::from(file);
            let stat = rustix::fs::fstat(&file).map_err(|error| self.unreadable(path, error.into()))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                break;
            }
            let stamp = Stamp::of(&stat);
            let Some(id) = self.intake.file(&mut file, stamp.size).map_err(|error| self.source(path, error))? else {
                continue;
            };
            let after = rustix::fs::fstat(&file).map_err(|error| self.unreadable(path, error.into()))?;
            if Stamp::of(&after) == stamp {
                if stamp.changed.max(stamp.modified) < self.settled {
                    self.seen.insert(path.to_vec(), (stamp, id));
                }
                return Ok(Some(id));
            }
        }
        Err(DirectoryError::Changing(self.place(path)))
    }

    /// Never through a link. Nothing if it is gone, or not for us: one file of many, like what an editor has beside the one that
    /// is edited, keeps the others from nobody.
    fn open(
        &mut self,
        directory: &OwnedFd,
        name: &CStr,
        path: &[u8],
        flags: OFlags,
    ) -> Result<Option<OwnedFd>, DirectoryError> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(directory, name, flags, Mode::empty()) {
            Ok(file) => Ok(Some(file)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            // What is served now is not taken away by it.
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM)
                if !flags.contains(OFlags::DIRECTORY) && !self.before.0.contains_key(path) =>
            {
                self.notices.push(|| format!("{} is left out, it may not be read: permission denied", Shown::of(path)));
                Ok(None)
            }
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => Err(DirectoryError::Changing(self.place(path))),
            Err(error) => Err(self.unreadable(path, error.into())),
        }
    }

    fn source(&self, path: &[u8], error: IntakeError) -> DirectoryError {
        match error {
            IntakeError::Source(ObjectError { fault: Fault::Io(source), .. }) => self.unreadable(path, source),
            IntakeError::Source(ObjectError { id, fault: Fault::Damaged(_) }) if !id.is_null() => {
                DirectoryError::Changing(self.place(path))
            }
            error => error.into(),
        }
    }

    fn unreadable(&self, path: &[u8], source: io::Error) -> DirectoryError {
        DirectoryError::Unreadable { path: self.place(path), source }
    }

    fn place(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() { self.root.to_owned() } else { self.root.join(std::ffi::OsStr::from_bytes(path)) }
    }
}

impl Sink<'_, '_> {
    /// Whether it is to be taken in, for the first time.
    fn wants(&mut self, id: ObjectId) -> bool {
        (self.lacks)(&id) && self.taken.insert(id)
    }

    fn bytes(&mut self, kind: objs::Kind, bytes: &[u8]) -> Result<ObjectId, DirectoryError> {
        let id = id_of(kind, bytes)
            .map_err(|fault| IntakeError::from(ObjectError { id: ObjectId::null(HashKind::Sha1), fault }))?;
        if self.wants(id) {
            self.intake.bytes(id, kind, bytes)?;
        }
        Ok(id)
    }

    /// A file of `size` bytes; nothing if it turns out to be of another size. One that changes between two readings is a
    /// fault of the source.
    fn file(&mut self, file: &mut File, size: u64) -> Result<Option<ObjectId>, IntakeError> {
        let unknown = ObjectId::null(HashKind::Sha1);
        let failed = |fault| IntakeError::from(ObjectError { id: unknown, fault });
        if size <= LARGE {
            let mut bytes = Vec::with_capacity(usize::try_from(size).expect("it is not large") + 1);
            file.take(size + 1).read_to_end(&mut bytes).map_err(|error| failed(error.into()))?;
            if bytes.len() as u64 != size {
                return Ok(None);
            }
            let id = id_of(objs::Kind::Blob, &bytes).map_err(failed)?;
            if self.wants(id) {
                self.intake.bytes(id, objs::Kind::Blob, &bytes)?;
            }
            return Ok(Some(id));
        }
        let mut hash = hasher(HashKind::Sha1);
        hash.update(&encode::loose_header(objs::Kind::Blob, size));
        let mut buffer = vec![0; 64 * 1024];
        let mut length = 0;
        loop {
            let read = file.read(&mut buffer).map_err(|error| failed(error.into()))?;
            hash.update(&buffer[..read]);
            length += read as u64;
            if read == 0 || length > size {
                break;
            }
        }
        if length != size {
            return Ok(None);
        }
        let collides = |_| failed(Fault::damaged("it is made to collide with another under SHA-1"));
        let id = hash.try_finalize().map_err(collides)?;
        if !self.wants(id) {
            return Ok(Some(id));
        }
        file.rewind().map_err(|error| failed(error.into()))?;
        self.intake.stream(id, objs::Kind::Blob, size, |out| Ok(file.read(out)?))?;
        Ok(Some(id))
    }
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        let time = |seconds: i64, nanoseconds: u64| {
            Duration::new(seconds.try_into().unwrap_or(0), u32::try_from(nanoseconds).unwrap_or(0))
        };
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: time(stat.st_mtime, stat.st_mtime_nsec),
            changed: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

fn raw(items: &[Item]) -> Vec<u8> {
    let mut raw = Vec::new();
    for item in items {
        let mode: &[u8] = match item.kind {
            Kind::File => b"100644",
            Kind::Executable => b"100755",
            Kind::Symlink => b"120000",
            Kind::Directory => b"40000",
            Kind::Submodule => b"160000",
        };
        raw.extend([mode, b" ", &item.name, b"\0", item.id.as_bytes()].concat());
    }
    raw
}
