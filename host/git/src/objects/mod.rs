//! The objects of one repository on disk, ours or a local remote's: loose ones, then packs. Every byte is read with
//! `pread` and taken for hostile. It follows no alternates, decodes nothing above [`DECODE_LIMIT`] in memory, and never
//! changes what it reads; `intake` alone writes, but for what `spilled` makes in files without a name.

mod delta;
mod deltas;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod incoming;
mod inflate;
mod intake;
mod loose;
mod pack;
mod pack_writer;
mod scan;
mod spilled;

use std::{
    borrow::Cow,
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use gix::{
    ObjectId,
    hash::{Kind as HashKind, oid},
    objs::Kind,
};
use rustix::fs::OFlags;

use crate::disk::{Files, lock};

use self::{inflate::Inflate, pack::Pack, spilled::Spilled};

pub(crate) use self::{
    incoming::Incoming,
    intake::{Intake, Theirs},
};
pub use self::{incoming::PackError, intake::IntakeError};

/// The most that one object may take in memory: trees, and blobs that are stored as a delta. Whatever else a blob is, it
/// streams, or is made on the disk. Applying a delta holds three such buffers at once.
pub(crate) const DECODE_LIMIT: u64 = 64 * 1024 * 1024;

/// Packs of a remote that is read: each holds an open file. `git gc` runs by itself at 50.
const MAX_PACKS: usize = 256;

/// As many packs, and files, are too many for the one whose repository it is: what `git gc --auto` goes by.
const MANY_PACKS: usize = 50;
const MANY_LOOSE: usize = 6_700;

/// Why an object cannot be had. The words name no path: they may reach a guest.
#[derive(Debug, thiserror::Error)]
#[error("object {id} {fault}")]
pub struct ObjectError {
    pub id: ObjectId,
    pub fault: Fault,
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("is missing")]
    Missing,
    #[error("is damaged: {0}")]
    Damaged(Cow<'static, str>),
    /// With its size in bytes.
    #[error("takes {0} bytes, and is stored as a delta or is not a blob")]
    TooLarge(u64),
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl Fault {
    pub(crate) fn damaged(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Damaged(what.into())
    }
}

/// An object's contents, of any size.
pub(crate) struct Object {
    pub(crate) kind: Kind,
    /// In bytes.
    pub(crate) size: u64,
    contents: Contents,
}

enum Contents {
    Stream {
        inflate: Box<Inflate>,
        /// Bytes that are still to come.
        left: u64,
        /// Whether the compressed bytes are those of a pack's entry, and nothing but the contents.
        packed: bool,
    },
    Whole {
        bytes: Vec<u8>,
        given: usize,
    },
    Spilled {
        spilled: Spilled,
        given: u64,
    },
}

impl Object {
    fn stream(kind: Kind, size: u64, inflate: Inflate, packed: bool) -> Self {
        Self { kind, size, contents: Contents::Stream { inflate: Box::new(inflate), left: size, packed } }
    }

    /// Fills `out`, or as much of it as is left. The last bytes are given only after the end was checked.
    pub(crate) fn fill(&mut self, out: &mut [u8]) -> Result<usize, Fault> {
        match &mut self.contents {
            Contents::Whole { bytes, given } => {
                let length = out.len().min(bytes.len() - *given);
                out[..length].copy_from_slice(&bytes[*given..*given + length]);
                *given += length;
                Ok(length)
            }
            Contents::Spilled { spilled, given } => {
                let length = usize::try_from(spilled.size() - *given).unwrap_or(usize::MAX).min(out.len());
                spilled.read(*given, &mut out[..length])?;
                *given += length as u64;
                Ok(length)
            }
            Contents::Stream { inflate, left, .. } => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(out.len());
                if inflate.fill(&mut out[..length])? < length {
                    return Err(Fault::damaged("it is shorter than its header says"));
                }
                *left -= length as u64;
                if *left == 0 {
                    inflate.finish()?;
                }
                Ok(length)
            }
        }
    }

    /// Fills as much of `out` as needs no waiting for the disk, and leaves at least one byte for [`Self::fill`], which checks
    /// the end.
    pub(crate) fn fill_at_hand(&mut self, out: &mut [u8]) -> Result<usize, Fault> {
        let Contents::Stream { inflate, left, .. } = &mut self.contents else { return Ok(0) };
        let length = usize::try_from(left.saturating_sub(1)).unwrap_or(usize::MAX).min(out.len());
        let filled = inflate.fill_at_hand(&mut out[..length])?;
        *left -= filled as u64;
        Ok(filled)
    }

    /// All of it.
    fn bytes(mut self) -> Result<Vec<u8>, Fault> {
        if let Contents::Whole { bytes, given: 0 } = self.contents {
            return Ok(bytes);
        }
        let mut bytes = vec![0; usize::try_from(self.size).map_err(|_| Fault::TooLarge(self.size))?];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}

/// One `objects` directory.
pub(crate) struct Objects {
    directory: PathBuf,
    packs: RwLock<Arc<[Arc<Pack>]>>,
    max_packs: usize,
    /// Loose files, of ours.
    loose: Mutex<Files>,
}

impl Objects {
    /// Of ours, with these loose files. However many packs there are, they have to be read.
    pub(crate) fn open(directory: PathBuf, loose: Files) -> io::Result<Self> {
        Self::with(directory, loose, usize::MAX)
    }

    /// Of a remote.
    pub(crate) fn open_remote(directory: PathBuf) -> io::Result<Self> {
        Self::with(directory, Files::default(), MAX_PACKS)
    }

    /// Of a remote that is written to and not read: however many packs it has, none is opened.
    pub(crate) fn to_fill(directory: PathBuf) -> Self {
        let (packs, loose) = (RwLock::new(Arc::new([]) as _), Mutex::default());
        Self { directory, packs, max_packs: 0, loose }
    }

    fn with(directory: PathBuf, loose: Files, max_packs: usize) -> io::Result<Self> {
        let (packs, loose) = (RwLock::new(Arc::new([]) as _), Mutex::new(loose));
        let objects = Self { directory, packs, max_packs, loose };
        objects.refresh()?;
        Ok(objects)
    }

    /// How many packs there are, and loose files.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.packs().len(), lock(&self.loose).count)
    }

    /// What takes room: the largest pack, and all that lies beside it; in bytes.
    pub(crate) fn room(&self) -> io::Result<(u64, u64)> {
        let (mut largest, mut all) = (0, lock(&self.loose).bytes);
        for pack in self.packs().iter() {
            let bytes = pack.bytes()?;
            largest = bytes.max(largest);
            all += bytes;
        }
        Ok((largest, all - largest))
    }

    /// Removes all but the pack whose index is at `kept`, and what is on its way in beside the objects. Who has one of the
    /// others open reads on.
    pub(crate) fn keep_only(&self, kept: Option<&Path>) -> io::Result<()> {
        let removed = self.remove_all_but(kept);
        if removed.is_ok() {
            *lock(&self.loose) = Files::default();
        }
        // However far that went: what is gone must not be found in a list.
        self.refresh().and(removed)
    }

    fn remove_all_but(&self, kept: Option<&Path>) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            if name == "info" || name.as_encoded_bytes().starts_with(b"tmp_") || !path.is_dir() {
                continue;
            }
            for file in fs::read_dir(&path)? {
                let file = file?.path();
                if kept.is_none_or(|kept| kept.with_extension("") != file.with_extension("")) {
                    fs::remove_file(file)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether it is here, and what it is, and its size in bytes. Reads its header alone, and does not look for packs that
    /// came since the last [`Self::refresh`].
    pub(crate) fn header(&self, id: &oid) -> Result<Option<(Kind, u64)>, ObjectError> {
        let loose = |object: Object| (object.kind, object.size);
        self.find(id, loose, Pack::header).map_err(|fault| ObjectError { id: id.to_owned(), fault })
    }

    /// The object, ready to be streamed. One that is stored as a delta is decoded, if it takes at most [`DECODE_LIMIT`].
    pub(crate) fn object(&self, id: &oid) -> Result<Object, ObjectError> {
        let find = || self.find(id, |object| object, Pack::object)?.ok_or(Fault::Missing);
        let found = match find() {
            // Somebody may have packed the repository anew since the list of packs was read.
            Err(Fault::Missing | Fault::Io(_)) => self.refresh().map_err(Fault::from).and_then(|()| find()),
            found => found,
        };
        found.map_err(|fault| ObjectError { id: id.to_owned(), fault })
    }

    /// The same of a blob that is too large to be decoded in memory: in a file without a name in `scratch`.
    pub(crate) fn expanded(&self, id: &oid, scratch: &Path) -> Result<Object, ObjectError> {
        // Loose ones stream.
        let expand = |pack: &Pack, offset| pack.expanded(offset, scratch);
        let found = self.find(id, |object| object, expand).and_then(|found| found.ok_or(Fault::Missing));
        found.map_err(|fault| ObjectError { id: id.to_owned(), fault })
    }

    /// All of an object that is no larger than `limit`.
    pub(crate) fn whole(&self, id: &oid, limit: u64) -> Result<(Kind, Vec<u8>), ObjectError> {
        let failed = |fault| ObjectError { id: id.to_owned(), fault };
        let object = self.object(id)?;
        if object.size > limit {
            return Err(failed(Fault::TooLarge(object.size)));
        }
        Ok((object.kind, object.bytes().map_err(failed)?))
    }

    /// Looks for packs that came or went.
    pub(crate) fn refresh(&self) -> io::Result<()> {
        if self.max_packs == 0 {
            return Ok(());
        }
        let entries = match fs::read_dir(self.directory.join("pack")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let old = self.packs();
        let mut packs = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "idx") {
                continue;
            }
            if packs.len() == self.max_packs {
                return Err(io::Error::other(format!(
                    "more than {} packs; `git gc` there makes one of them",
                    self.max_packs
                )));
            }
            match Pack::open(path) {
                // Known, with its file of data open already.
                Ok(pack) => match old.iter().find(|old| old.is(&pack)) {
                    Some(old) => packs.push(old.clone()),
                    None => packs.push(Arc::new(pack)),
                },
                // It went while this list was made.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        packs.sort_by_key(|pack| std::cmp::Reverse(pack.made()));
        *self.packs.write().unwrap_or_else(PoisonError::into_inner) = packs.into();
        Ok(())
    }

    fn packs(&self) -> Arc<[Arc<Pack>]> {
        self.packs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Loose ones first, then the newest pack: what was found damaged is put right by a newer one. The first that can be
    /// read counts, else the first fault.
    fn find<T>(
        &self,
        id: &oid,
        loose: impl FnOnce(Object) -> T,
        packed: impl Fn(&Pack, u64) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let mut fault = None;
        match loose::open(&loose::path(&self.directory, id)) {
            Ok(Some(object)) => return Ok(Some(loose(object))),
            Ok(None) => {}
            Err(first) => fault = Some(first),
        }
        for pack in self.packs().iter() {
            let found = pack.find(id).and_then(|offset| offset.map(|offset| packed(pack, offset)).transpose());
            match found {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(next) => fault = fault.or(Some(next)),
            }
        }
        fault.map_or(Ok(None), Err)
    }
}

/// How many packs and, about, how many loose files the objects of somebody else have, if that is too many: of the files one
/// directory in 256 is looked at.
pub(crate) fn too_many(directory: &Path) -> Option<(usize, usize)> {
    let count = |below: &str, keep: fn(&Path) -> bool| {
        let entries = fs::read_dir(directory.join(below)).into_iter().flatten().filter_map(Result::ok);
        entries.filter(|entry| keep(&entry.path())).count()
    };
    let packs = count("pack", |path| path.extension().is_some_and(|extension| extension == "idx"));
    let loose = count("17", |_| true) * 256;
    (packs > MANY_PACKS || loose > MANY_LOOSE).then_some((packs, loose))
}

/// Never waits for the other end of a pipe.
fn open_file(path: &Path) -> io::Result<File> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
}

/// The id of an object of `kind` with the contents `bytes`.
pub(crate) fn id_of(kind: Kind, bytes: &[u8]) -> Result<ObjectId, Fault> {
    gix::objs::compute_hash(HashKind::Sha1, kind, bytes).map_err(collision)
}

/// A hasher finds nothing to say but this.
fn collision<E>(_: E) -> Fault {
    Fault::damaged("it is made to collide with another under SHA-1")
}
