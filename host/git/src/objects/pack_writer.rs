//! Making one pack and its index (versions 2). Every object is stored whole, none as a delta: so each can be streamed, and
//! reading one never means reading others. Synced before it gets its name.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use atoll_send_pack::entry_header;
use gix::{
    ObjectId,
    hash::{Hasher, Kind as HashKind, hasher},
    objs::Kind,
    odb::pack::data::{Version, header},
};
use tempfile::NamedTempFile;

use super::intake::temporary;
use crate::disk;

/// Offsets from here on stand in a table of their own.
const LONG: u64 = 1 << 31;

/// A pack that is being written.
pub(super) struct PackWriter {
    directory: PathBuf,
    out: Out,
    /// What the header says so far.
    promised: u32,
    entries: Vec<Indexed>,
    /// An entry was begun and not ended.
    half: bool,
}

/// Where an object is in a pack.
pub(super) struct Indexed {
    pub(super) id: ObjectId,
    pub(super) offset: u64,
    /// Of its entry, or the most that there can be said.
    pub(super) length: u32,
    pub(super) crc: u32,
}

/// The file with what is known of the bytes that went into it.
struct Out {
    file: BufWriter<NamedTempFile>,
    length: u64,
    hasher: Hasher,
    crc: crc32fast::Hasher,
}

impl PackWriter {
    /// A pack of `promised` objects; another number costs reading it once more.
    pub(super) fn create(directory: &Path, promised: u32) -> io::Result<Self> {
        let file = BufWriter::with_capacity(64 * 1024, temporary(directory, "tmp_pack_")?);
        let mut out = Out { file, length: 0, hasher: hasher(HashKind::Sha1), crc: crc32fast::Hasher::new() };
        out.write_all(&header::encode(Version::V2, promised))?;
        Ok(Self { directory: directory.to_owned(), out, promised, entries: Vec::new(), half: false })
    }

    /// Begins an entry: its zlib stream is written next, and then [`Self::end`] called.
    pub(super) fn begin(&mut self, id: ObjectId, kind: Kind, size: u64) -> io::Result<()> {
        self.entries.push(Indexed { id, offset: self.out.length, length: u32::MAX, crc: 0 });
        self.out.crc.reset();
        self.half = true;
        entry_header(kind).write_to(size, &mut self.out)?;
        Ok(())
    }

    /// An entry with its header, as it is. Yields its checksum.
    pub(super) fn entry(&mut self, id: ObjectId, bytes: &[u8]) -> io::Result<u32> {
        let offset = self.out.length;
        self.out.crc.reset();
        self.out.write_all(bytes)?;
        let crc = self.out.crc.clone().finalize();
        self.entries.push(Indexed { id, offset, length: u32::MAX, crc });
        Ok(crc)
    }

    pub(super) fn end(&mut self) {
        let entry = self.entries.last_mut().expect("an entry was begun");
        entry.crc = self.out.crc.clone().finalize();
        self.half = false;
    }

    /// Puts pack and index in their place, the index last: a pack without one is not there yet. Yields the index's path.
    pub(super) fn finish(mut self) -> io::Result<PathBuf> {
        if self.half {
            return Err(io::Error::other("half an object is in the pack"));
        }
        let trailer = self.trailer()?;
        self.out.file.write_all(trailer.as_bytes())?;
        let pack = self.out.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        pack.as_file().sync_all()?;
        let index = temporary(&self.directory, "tmp_idx_")?;
        write_index(index.as_file(), &mut self.entries, trailer)?;
        index.as_file().sync_all()?;
        let name = self.directory.join(format!("pack-{trailer}.pack"));
        pack.persist(&name).map_err(|error| error.error)?;
        let index_name = name.with_extension("idx");
        index.persist(&index_name).map_err(|error| error.error)?;
        disk::sync(&self.directory)?;
        Ok(index_name)
    }

    /// The hash of all before it, of a pack whose header tells the truth.
    fn trailer(&mut self) -> io::Result<ObjectId> {
        let count = u32::try_from(self.entries.len()).map_err(|_| io::Error::other("too many objects for one pack"))?;
        if count == self.promised {
            return self.out.hasher.clone().try_finalize().map_err(io::Error::other);
        }
        self.out.file.flush()?;
        let file = self.out.file.get_mut().as_file_mut();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header::encode(Version::V2, count))?;
        file.seek(SeekFrom::Start(0))?;
        let mut hasher = hasher(HashKind::Sha1);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => return hasher.try_finalize().map_err(io::Error::other),
                read => hasher.update(&buffer[..read]),
            }
        }
    }
}

/// Into the entry that was begun.
impl Write for PackWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        self.hasher.update(bytes);
        self.crc.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

pub(super) fn write_index(file: &File, entries: &mut [Indexed], trailer: ObjectId) -> io::Result<()> {
    entries.sort_by_key(|entry| entry.id);
    let mut bytes = b"\xfftOc\0\0\0\x02".to_vec();
    for first in 0..=255 {
        let up_to = entries.partition_point(|entry| entry.id.first_byte() <= first);
        bytes.extend(u32::try_from(up_to).expect("as many as the pack counts").to_be_bytes());
    }
    bytes.extend(entries.iter().flat_map(|entry| entry.id.as_bytes()));
    bytes.extend(entries.iter().flat_map(|entry| entry.crc.to_be_bytes()));
    let mut long = Vec::new();
    for entry in entries.iter() {
        let short = if entry.offset < LONG {
            entry.offset
        } else {
            long.extend(entry.offset.to_be_bytes());
            LONG | (long.len() as u64 / 8 - 1)
        };
        bytes.extend(u32::try_from(short).expect("31 bits, or the highest and a place").to_be_bytes());
    }
    bytes.extend(long);
    bytes.extend(trailer.as_bytes());
    let mut hasher = hasher(HashKind::Sha1);
    hasher.update(&bytes);
    bytes.extend(hasher.try_finalize().map_err(io::Error::other)?.as_bytes());
    let mut file = file;
    file.write_all(&bytes)
}
