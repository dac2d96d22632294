//! Writing objects into a repository of ours: a few as loose files, many as one pack. Whatever comes in is hashed on its
//! way and refused if it is not what it was said to be. A file is written over by one of the same object alone, which puts a
//! damaged one right; what a kill leaves behind is a temporary file.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use atoll_send_pack::Deflate as Stream;
use gix::{
    ObjectId,
    hash::{Hasher, Kind as HashKind, hasher},
    objs::{Kind, encode},
    odb::pack::data::Entry,
    zlib::{Compression, stream::deflate::FlushCompress},
};
use tempfile::NamedTempFile;

use super::{
    Contents, Fault, Incoming, Object, ObjectError, Objects, collision, loose, pack_writer::PackWriter,
    scan::ENTRY_HEADER,
};
use crate::disk::{Unsettled, lock};

/// As `git` does (`fetch.unpackLimit`): below it, files that the next `git gc` packs are cheaper than one more pack.
const FEW: usize = 100;

/// In a repository of somebody else's, which nobody may ever tidy: its packs would become too many to be read.
const FEW_THERE: usize = 2_000;

/// What is copied at once.
const CHUNK: usize = 64 * 1024;

/// From here on an object is not compressed in vain: it is too large to be remembered, so that each answer inflates it.
const LARGE: u64 = 1024 * 1024;

/// Why an object did not come in.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The fault of where it came from.
    #[error(transparent)]
    Source(#[from] ObjectError),
    /// Ours: a full disk, a directory that may not be written.
    #[error("the object cannot be written")]
    Write(#[from] io::Error),
}

/// Where objects come from.
#[derive(Clone, Copy)]
pub(crate) enum Theirs<'a> {
    Repository(&'a Objects),
    /// Whose objects were hashed when it came.
    Pack(&'a Incoming),
}

impl<'a> Theirs<'a> {
    pub(crate) fn objects(self) -> &'a Objects {
        match self {
            Self::Repository(objects) => objects,
            Self::Pack(incoming) => incoming.objects(),
        }
    }

    /// An object of `kind`, whatever it is stored as; what is made on the way lies among `ours`.
    pub(crate) fn object(self, id: ObjectId, kind: Kind, ours: &Objects) -> Result<Object, ObjectError> {
        match self.objects().object(&id) {
            Err(ObjectError { fault: Fault::TooLarge(_), .. }) if kind == Kind::Blob => {
                self.objects().expanded(&id, ours.directory())
            }
            found => found,
        }
    }
}

/// Objects on their way in. Children must come before what names them. After an error nothing more may come: a pack would
/// have half an object in it, and is not finished.
pub(crate) struct Intake<'a> {
    objects: &'a Objects,
    /// Where the paths of loose files go: they are not synced.
    unsettled: &'a Unsettled,
    expected: usize,
    /// Up to so many stay loose.
    few: usize,
    loose: usize,
    pack: Option<PackWriter>,
    deflate: Deflate,
}

impl<'a> Intake<'a> {
    /// About `expected` objects for `objects`.
    pub(crate) fn new(objects: &'a Objects, unsettled: &'a Unsettled, expected: usize) -> Self {
        Self { objects, unsettled, expected, few: FEW, loose: 0, pack: None, deflate: Deflate::new() }
    }

    /// About `expected` objects for a repository of somebody else's.
    pub(crate) fn there(objects: &'a Objects, unsettled: &'a Unsettled, expected: usize) -> Self {
        Self { few: FEW_THERE, ..Self::new(objects, unsettled, expected) }
    }

    /// All of them in one pack.
    pub(crate) fn packing(objects: &'a Objects, unsettled: &'a Unsettled, expected: usize) -> Self {
        Self { few: 0, ..Self::new(objects, unsettled, expected) }
    }

    /// Takes in `bytes`, whose id the caller has computed.
    pub(crate) fn bytes(&mut self, id: ObjectId, kind: Kind, bytes: &[u8]) -> Result<(), IntakeError> {
        if self.packs()? {
            let pack = self.pack.as_mut().expect("it was begun just now");
            pack.begin(id, kind, bytes.len() as u64)?;
            self.deflate.begin();
            self.deflate.part(bytes, FlushCompress::Finish, pack)?;
            pack.end();
            return Ok(());
        }
        let mut file = self.temporary()?;
        self.deflate.begin();
        self.deflate.part(&encode::loose_header(kind, bytes.len() as u64), FlushCompress::None, &mut file)?;
        self.deflate.part(bytes, FlushCompress::Finish, &mut file)?;
        self.place(file, id)
    }

    /// Takes in what `read` yields: `size` bytes, filling the buffer it is given as long as there are as many.
    pub(crate) fn stream(
        &mut self,
        id: ObjectId,
        kind: Kind,
        size: u64,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, Fault>,
    ) -> Result<(), IntakeError> {
        let mut hash = Hash::new(kind, size);
        let mut buffer = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK).max(1))];
        let first = piece(id, &hash, &mut buffer, &mut read)?;
        if self.packs()? {
            let pack = self.pack.as_mut().expect("it was begun just now");
            pack.begin(id, kind, size)?;
            self.deflate.begin_for(size, &buffer[..first])?;
            pump(id, &mut hash, &mut buffer, first, &mut read, &mut self.deflate, pack)?;
            hash.check(id)?;
            pack.end();
            return Ok(());
        }
        let mut file = self.temporary()?;
        self.deflate.begin_for(size, &buffer[..first])?;
        self.deflate.part(&encode::loose_header(kind, size), FlushCompress::None, &mut file)?;
        pump(id, &mut hash, &mut buffer, first, &mut read, &mut self.deflate, &mut file)?;
        hash.check(id)?;
        self.place(file, id)
    }

    /// Takes in an object of another repository. From pack to pack its compressed bytes are copied as they are, unless it
    /// is large.
    pub(crate) fn object(&mut self, id: ObjectId, mut object: Object) -> Result<(), IntakeError> {
        let (kind, size) = (object.kind, object.size);
        let packs = self.packs()?;
        let Contents::Stream { inflate, packed: true, left: 1.. } = &mut object.contents else {
            return self.stream(id, kind, size, |out| object.fill(out));
        };
        if !packs || size >= LARGE {
            return self.stream(id, kind, size, |out| object.fill(out));
        }
        inflate.keep();
        let pack = self.pack.as_mut().expect("it was begun just now");
        pack.begin(id, kind, size)?;
        let mut hash = Hash::new(kind, size);
        let mut buffer = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
        loop {
            let read = object.fill(&mut buffer).map_err(|fault| ObjectError { id, fault })?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            if let Contents::Stream { inflate, .. } = &mut object.contents {
                pack.write_all(&inflate.take_kept())?;
            }
        }
        hash.check(id)?;
        pack.end();
        Ok(())
    }

    /// Takes in the entry of an object of `kind` as it came, where that goes from pack to pack: it was hashed then, and its
    /// bytes are those that were. Whether it did: not one that is large, or a delta.
    pub(crate) fn verbatim(&mut self, id: ObjectId, kind: Kind, from: &Incoming) -> Result<bool, IntakeError> {
        if !self.packs()? {
            return Ok(false);
        }
        let failed = |fault| ObjectError { id, fault };
        let Some((bytes, crc)) = from.entry(&id, LARGE).map_err(|error| failed(error.into()))? else {
            return Ok(false);
        };
        let entry = Entry::from_bytes(&bytes[..bytes.len().min(ENTRY_HEADER)], 0, HashKind::Sha1);
        let Ok(entry) = entry.map_err(|_| ()) else { return Ok(false) };
        if entry.header.as_kind() != Some(kind) || entry.decompressed_size >= LARGE {
            return Ok(false);
        }
        let pack = self.pack.as_mut().expect("it was begun just now");
        if pack.entry(id, &bytes)? != crc {
            return Err(failed(Fault::damaged("it is not what it was when it came")).into());
        }
        Ok(true)
    }

    /// Puts a begun pack in its place, and yields the path of its index.
    pub(crate) fn finish(mut self) -> Result<Option<PathBuf>, IntakeError> {
        let Some(pack) = self.pack.take() else { return Ok(None) };
        let index = pack.finish()?;
        self.objects.refresh()?;
        Ok(Some(index))
    }

    /// Whether the next object goes into a pack; it is begun then.
    fn packs(&mut self) -> io::Result<bool> {
        if self.pack.is_none() && (self.expected > self.few || self.loose >= self.few) {
            let expected = u32::try_from(self.expected.saturating_sub(self.loose)).unwrap_or(0);
            self.pack = Some(PackWriter::create(&self.objects.directory().join("pack"), expected)?);
        }
        Ok(self.pack.is_some())
    }

    fn temporary(&self) -> io::Result<NamedTempFile> {
        // The prefix is one that git takes for its own and tidies away.
        temporary(self.objects.directory(), "tmp_obj_")
    }

    fn place(&mut self, file: NamedTempFile, id: ObjectId) -> Result<(), IntakeError> {
        let path = loose::path(self.objects.directory(), &id);
        let directory = path.parent().expect("an object lies in a directory");
        match fs::create_dir(directory) {
            // Its name has to last too.
            Ok(()) => self.unsettled.add([directory.to_owned()]),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
        let bytes = file.as_file().metadata()?.len();
        file.persist(&path).map_err(|error| error.error)?;
        self.loose += 1;
        lock(&self.objects.loose).add(bytes);
        self.unsettled.add([path]);
        Ok(())
    }
}

/// A file that disappears if it is not persisted, read-only as Git's are.
pub(super) fn temporary(directory: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(prefix).permissions(fs::Permissions::from_mode(0o444)).tempfile_in(directory)
}

/// The next piece of an object; nothing at its end.
fn piece(
    id: ObjectId,
    hash: &Hash,
    buffer: &mut [u8],
    read: &mut impl FnMut(&mut [u8]) -> Result<usize, Fault>,
) -> Result<usize, IntakeError> {
    if hash.left == 0 {
        return Ok(0);
    }
    let length = read(buffer).map_err(|fault| ObjectError { id, fault })?;
    if length == 0 || length as u64 > hash.left {
        return Err(ObjectError { id, fault: Fault::damaged("it is not as long as it was said to be") }.into());
    }
    Ok(length)
}

/// Of `buffer`, `length` bytes are read already.
fn pump(
    id: ObjectId,
    hash: &mut Hash,
    buffer: &mut [u8],
    mut length: usize,
    read: &mut impl FnMut(&mut [u8]) -> Result<usize, Fault>,
    deflate: &mut Deflate,
    to: &mut impl Write,
) -> Result<(), IntakeError> {
    while length > 0 {
        hash.update(&buffer[..length]);
        deflate.part(&buffer[..length], FlushCompress::None, to)?;
        length = piece(id, hash, buffer, read)?;
    }
    Ok(deflate.part(&[], FlushCompress::Finish, to)?)
}

/// The hash of an object whose contents come piece by piece.
struct Hash {
    hasher: Hasher,
    left: u64,
}

impl Hash {
    fn new(kind: Kind, size: u64) -> Self {
        let mut hasher = hasher(HashKind::Sha1);
        hasher.update(&encode::loose_header(kind, size));
        Self { hasher, left: size }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.left -= bytes.len() as u64;
    }

    fn check(self, id: ObjectId) -> Result<(), IntakeError> {
        let fault = match self.hasher.try_finalize().map_err(collision) {
            Ok(actual) if actual == id => return Ok(()),
            Ok(_) => Fault::damaged("its contents are not what its id says"),
            Err(fault) => fault,
        };
        Err(ObjectError { id, fault }.into())
    }
}

/// Compressors that are used again and again.
pub(super) struct Deflate {
    /// The fastest, as git's default for loose objects: what is served is inflated far more often than stored.
    fast: Stream,
    /// Writes the bytes as they are, in zlib's frame. Made when one is wanted: each has windows of its own.
    plain: Option<Stream>,
    compresses: bool,
}

impl Deflate {
    pub(super) fn new() -> Self {
        Self { fast: Stream::new(Compression::BEST_SPEED), plain: None, compresses: true }
    }

    /// A new stream, whatever became of the last one.
    pub(super) fn begin(&mut self) {
        self.compresses = true;
        self.fast.begin();
    }

    /// A new stream of `size` bytes, of which `first` are the first: a large one is compressed only if those shrink.
    fn begin_for(&mut self, size: u64, first: &[u8]) -> io::Result<()> {
        self.begin();
        if size < LARGE {
            return Ok(());
        }
        self.part(first, FlushCompress::Finish, &mut io::sink())?;
        self.compresses = self.fast.length() < first.len() as u64 / 16 * 15;
        self.fast.begin();
        if !self.compresses {
            self.plain.get_or_insert_with(|| Stream::new(Compression::NONE)).begin();
        }
        Ok(())
    }

    pub(super) fn part(&mut self, bytes: &[u8], flush: FlushCompress, to: &mut impl Write) -> io::Result<()> {
        match &mut self.plain {
            Some(plain) if !self.compresses => plain.part(bytes, flush, to),
            _ => self.fast.part(bytes, flush, to),
        }
    }
}
