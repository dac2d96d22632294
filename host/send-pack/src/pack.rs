//! The pack that is sent (gitformat-pack(5)): objects that the other side lacks, each said once. A tree or a blob goes as what
//! changed of one that the other side has, where it takes such packs. It lies in a file without a name: a kill leaves nothing
//! of it.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use gix::{
    ObjectId,
    hash::{Hasher, Kind as HashKind, hasher},
    objs::Kind,
    odb::pack::data::{Version, entry::Header, header},
    zlib::{Compression, stream::deflate::FlushCompress},
};

use crate::{Deflate, blob_delta, tree_delta};

const CHUNK: usize = 64 * 1024;

/// A pack that is being made.
pub struct PackWriter {
    out: Out,
    /// Objects that the header says and that have not come yet.
    missing: usize,
    deflate: Deflate,
}

struct Out {
    file: BufWriter<File>,
    length: u64,
    hasher: Hasher,
}

/// A whole pack, to be sent. Clones are the same one.
#[derive(Clone)]
pub struct Pack {
    file: Arc<File>,
    length: u64,
}

impl PackWriter {
    /// Of exactly `count` objects, in a file without a name in `directory`.
    ///
    /// # Errors
    /// Those of the file; and more objects than a pack can have.
    pub fn create(directory: &Path, count: usize) -> io::Result<Self> {
        let promised = u32::try_from(count).map_err(|_| io::Error::other("too many objects for one pack"))?;
        let file = BufWriter::with_capacity(CHUNK, tempfile::tempfile_in(directory)?);
        let mut out = Out { file, length: 0, hasher: hasher(HashKind::Sha1) };
        out.write_all(&header::encode(Version::V2, promised))?;
        Ok(Self { out, missing: count, deflate: Deflate::new(Compression::BEST_SPEED) })
    }

    /// An object as it is.
    ///
    /// # Errors
    /// Those of the file; and one object more than the pack was to have.
    pub fn whole(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        self.entry(&entry_header(kind), bytes)
    }

    /// A tree, as what changed of `base`, whose id and bytes these are, if that is shorter. The base may be one that only the
    /// server has, where it [takes thin packs](crate::Session::takes_thin_packs).
    ///
    /// # Errors
    /// As [`Self::whole`].
    pub fn tree(&mut self, bytes: &[u8], base: Option<(ObjectId, &[u8])>) -> io::Result<()> {
        let delta = base.and_then(|(id, base)| Some((id, tree_delta::between(base, bytes)?)));
        self.made(Kind::Tree, bytes, delta)
    }

    /// A blob, as what changed of `base`, if both are at most [`blob_delta::LIMIT`] long and that takes half of it or less.
    /// The base as of [`Self::tree`].
    ///
    /// # Errors
    /// As [`Self::whole`].
    pub fn blob(&mut self, bytes: &[u8], base: Option<(ObjectId, &[u8])>) -> io::Result<()> {
        let delta = base.and_then(|(id, base)| Some((id, blob_delta::between(base, bytes)?)));
        self.made(Kind::Blob, bytes, delta)
    }

    fn made(&mut self, kind: Kind, bytes: &[u8], delta: Option<(ObjectId, Vec<u8>)>) -> io::Result<()> {
        match delta {
            Some((base_id, delta)) => self.entry(&Header::RefDelta { base_id }, &delta),
            None => self.whole(kind, bytes),
        }
    }

    /// An object of `size` bytes, piece by piece: `read` fills the buffer that it is given, or a part of it.
    ///
    /// # Errors
    /// Those of `read`, and of the file; [`io::ErrorKind::UnexpectedEof`] where `read` yields nothing before the end, and
    /// [`io::ErrorKind::InvalidData`] where it yields more. The pack is of no use after that.
    pub fn stream<E: From<io::Error>>(
        &mut self,
        kind: Kind,
        size: u64,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        self.begin(&entry_header(kind), size)?;
        let (mut buffer, mut left) = (vec![0; CHUNK], size);
        while left > 0 {
            let read = read(&mut buffer)?;
            if read == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the object is shorter than its size").into());
            }
            left = left
                .checked_sub(read as u64)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the object is longer than its size"))?;
            self.deflate.part(&buffer[..read], FlushCompress::None, &mut self.out)?;
        }
        Ok(self.deflate.part(&[], FlushCompress::Finish, &mut self.out)?)
    }

    fn entry(&mut self, header: &Header, bytes: &[u8]) -> io::Result<()> {
        self.begin(header, bytes.len() as u64)?;
        self.deflate.part(bytes, FlushCompress::Finish, &mut self.out)
    }

    fn begin(&mut self, header: &Header, size: u64) -> io::Result<()> {
        self.missing = self.missing.checked_sub(1).ok_or_else(miscounted)?;
        header.write_to(size, &mut self.out)?;
        self.deflate.begin();
        Ok(())
    }

    /// Ends the pack.
    ///
    /// # Errors
    /// Those of the file; and fewer objects than the pack was to have.
    pub fn finish(mut self) -> io::Result<Pack> {
        if self.missing > 0 {
            return Err(miscounted());
        }
        let trailer = self.out.hasher.clone().try_finalize().map_err(io::Error::other)?;
        self.out.write_all(trailer.as_bytes())?;
        let length = self.out.length;
        let file = self.out.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Pack { file: Arc::new(file), length })
    }
}

impl Pack {
    /// In bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// A piece of it from `offset` on; nothing at the end. Blocks.
    ///
    /// # Errors
    /// Those of the file.
    pub fn piece(&self, offset: u64) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(CHUNK).min(CHUNK);
        let mut piece = vec![0; length];
        self.file.read_exact_at(&mut piece, offset)?;
        Ok(piece)
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The id of an object: the hash of its kind, its size and its bytes.
///
/// # Errors
/// Bytes that are made to collide with others under SHA-1.
pub fn id_of(kind: Kind, bytes: &[u8]) -> io::Result<ObjectId> {
    gix::objs::compute_hash(HashKind::Sha1, kind, bytes).map_err(io::Error::other)
}

fn miscounted() -> io::Error {
    io::Error::other("the pack has not as many objects as it says")
}

/// What stands before an object of `kind` in a pack.
pub fn entry_header(kind: Kind) -> Header {
    match kind {
        Kind::Blob => Header::Blob,
        Kind::Tree => Header::Tree,
        Kind::Commit => Header::Commit,
        Kind::Tag => Header::Tag,
    }
}
