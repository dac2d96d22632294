//! A pack and its index (versions 2 of both), read in place. Offsets, counts and sizes in them are only claims.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use gix::{
    hash::{Kind as HashKind, oid},
    objs::Kind,
    odb::pack::data::{Entry, entry::Header},
};

use super::{
    Contents, DECODE_LIMIT, Fault, Inflate, Object, delta, open_file,
    spilled::{Source, Spilled},
};

/// Git makes none longer (`pack.depth`).
const MAX_CHAIN: usize = 4096;

/// What is written on the way to one object that takes too much memory, in bytes.
const MAX_WAY: u64 = 64 * 1024 * 1024 * 1024;

const ID: u64 = 20;
const FAN: u64 = 8;
const NAMES: u64 = FAN + 256 * 4;

/// An entry's header: a size, then the distance to the base, or its id.
const ENTRY_HEADER: usize = 40;

/// Names of the index that are read at once rather than bisected further.
const RUN: u64 = 64;

pub(super) struct Pack {
    index_path: PathBuf,
    index: File,
    inode: u64,
    made: SystemTime,
    /// How many ids there are whose first byte is at most the position.
    fan: [u32; 256],
    /// Opened when the first object is found in it.
    data: OnceLock<Data>,
}

struct Data {
    file: Arc<File>,
    /// Where the trailer begins.
    end: u64,
}

impl Pack {
    pub(super) fn open(index_path: PathBuf) -> io::Result<Self> {
        // Its name alone: a guest may see these words.
        let name = index_path.file_name().unwrap_or_default().display().to_string();
        let damaged = |what: &str| io::Error::other(format!("the pack's index {name}: {what}"));
        let index = open_file(&index_path)?;
        let metadata = index.metadata()?;
        let (length, inode, made) = (metadata.len(), metadata.ino(), metadata.modified()?);
        let mut head = [0; 1032];
        index.read_exact_at(&mut head, 0).map_err(|_| damaged("it is too short"))?;
        if head[..8] != *b"\xfftOc\0\0\0\x02" {
            return Err(damaged("it is not of version 2; `git index-pack` makes it anew"));
        }
        let mut fan = [0; 256];
        for (count, bytes) in fan.iter_mut().zip(head[8..].chunks_exact(4)) {
            *count = u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        }
        let entries = u64::from(fan[255]);
        if !fan.is_sorted() || length < NAMES + entries * (ID + 4 + 4) + 2 * ID {
            return Err(damaged("it contradicts itself"));
        }
        Ok(Self { index_path, index, inode, made, fan, data: OnceLock::new() })
    }

    /// What it takes on the disk without its index; nothing once somebody has removed it.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        match fs::metadata(self.index_path.with_extension("pack")) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Whether it is the very same file, and not another that took its place.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.index_path == other.index_path && self.inode == other.inode
    }

    pub(super) fn made(&self) -> SystemTime {
        self.made
    }

    /// Where the entry of `id` begins, if it is in this pack.
    pub(super) fn find(&self, id: &oid) -> Result<Option<u64>, Fault> {
        let first = usize::from(id.first_byte());
        let mut low = if first == 0 { 0 } else { u64::from(self.fan[first - 1]) };
        let mut high = u64::from(self.fan[first]);
        let mut name = [0; 20];
        while high - low > RUN {
            let middle = low.midpoint(high);
            self.index.read_exact_at(&mut name, NAMES + middle * ID)?;
            if name[..] <= *id.as_bytes() {
                low = middle;
            } else {
                high = middle;
            }
        }
        let mut names = vec![0; usize::try_from((high - low) * ID).expect("a run is short")];
        self.index.read_exact_at(&mut names, NAMES + low * ID)?;
        let Some(position) = names.chunks_exact(20).position(|name| name == id.as_bytes()) else { return Ok(None) };
        self.offset(low + position as u64).map(Some)
    }

    /// What the entry at `offset` is, and its size in bytes, without decoding it.
    pub(super) fn header(&self, offset: u64) -> Result<(Kind, u64), Fault> {
        let (base, kind, deltas) = self.chain(offset)?;
        let Some(outermost) = deltas.first() else { return Ok((kind, base.decompressed_size)) };
        let mut sizes = [0; 20];
        let filled = self.inflate(outermost)?.fill(&mut sizes)?;
        let (_, size, _) = delta::sizes(&sizes[..filled])?;
        Ok((kind, size))
    }

    pub(super) fn object(&self, offset: u64) -> Result<Object, Fault> {
        let (base, kind, deltas) = self.chain(offset)?;
        let size = base.decompressed_size;
        if deltas.is_empty() {
            let mut inflate = self.inflate(&base)?;
            if size == 0 {
                inflate.finish()?;
            }
            return Ok(Object::stream(kind, size, inflate, true));
        }
        let mut bytes = self.contents(&base)?;
        for entry in deltas.iter().rev() {
            let delta = self.contents(entry)?;
            let (base_size, size, instructions) = delta::sizes(&delta)?;
            if base_size != bytes.len() as u64 {
                return Err(Fault::damaged("its delta is for another base"));
            }
            let size = within_limit(size)?;
            bytes = delta::apply(&bytes, &delta[instructions..], size)?;
        }
        Ok(Object { kind, size: bytes.len() as u64, contents: Contents::Whole { bytes, given: 0 } })
    }

    /// As [`Self::object`], of a blob that takes more memory than an object may.
    pub(super) fn expanded(&self, offset: u64, scratch: &Path) -> Result<Object, Fault> {
        let (base, kind, deltas) = self.chain(offset)?;
        if kind != Kind::Blob {
            return Err(Fault::TooLarge(self.header(offset)?.1));
        }
        let mut inflate = self.inflate(&base)?;
        let mut made = Spilled::new(scratch, base.decompressed_size, |out| inflate.fill(out))?;
        let mut way = made.size();
        for entry in deltas.iter().rev() {
            made = Spilled::made(scratch, Source::Spilled(&made), &self.contents(entry)?)?;
            way += made.size();
            if way > MAX_WAY {
                return Err(Fault::TooLarge(made.size()));
            }
        }
        let size = made.size();
        Ok(Object { kind, size, contents: Contents::Spilled { spilled: made, given: 0 } })
    }

    /// The entry that the one at `offset` is made from in the end, its kind, and the deltas between, outermost first.
    fn chain(&self, mut offset: u64) -> Result<(Entry, Kind, Vec<Entry>), Fault> {
        let mut deltas = Vec::new();
        while deltas.len() < MAX_CHAIN {
            let entry = self.entry(offset)?;
            if let Some(kind) = entry.header.as_kind() {
                return Ok((entry, kind, deltas));
            }
            offset = match entry.header {
                Header::OfsDelta { base_distance } => entry.checked_base_pack_offset(base_distance),
                Header::RefDelta { base_id } => self.find(&base_id)?,
                _ => None,
            }
            .ok_or(Fault::damaged("the base of its delta is not in its pack"))?;
            deltas.push(entry);
        }
        Err(Fault::damaged("its chain of deltas has no end"))
    }

    fn entry(&self, offset: u64) -> Result<Entry, Fault> {
        let data = self.data()?;
        let mut header = [0; ENTRY_HEADER];
        let length = ENTRY_HEADER.min(usize::try_from(data.end.saturating_sub(offset)).unwrap_or(usize::MAX));
        data.file.read_exact_at(&mut header[..length], offset)?;
        Entry::from_bytes(&header[..length], offset, HashKind::Sha1)
            .map_err(|_| Fault::damaged("its entry in the pack has no header"))
    }

    fn inflate(&self, entry: &Entry) -> Result<Inflate, Fault> {
        let data = self.data()?;
        Ok(Inflate::new(data.file.clone(), entry.data_offset, data.end, entry.decompressed_size))
    }

    fn contents(&self, entry: &Entry) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; within_limit(entry.decompressed_size)?];
        let mut inflate = self.inflate(entry)?;
        if inflate.fill(&mut bytes)? < bytes.len() {
            return Err(Fault::damaged("a part of it is shorter than its header says"));
        }
        inflate.finish()?;
        Ok(bytes)
    }

    /// From the index: 31 bits, or a place in the table of longer ones.
    fn offset(&self, position: u64) -> Result<u64, Fault> {
        let entries = u64::from(self.fan[255]);
        let short = NAMES + entries * (ID + 4);
        let mut offset = [0; 4];
        self.index.read_exact_at(&mut offset, short + position * 4)?;
        let offset = u32::from_be_bytes(offset);
        if offset & (1 << 31) == 0 {
            return Ok(offset.into());
        }
        let long = short + entries * 4 + u64::from(offset & !(1 << 31)) * 8;
        let mut offset = [0; 8];
        self.index.read_exact_at(&mut offset, long)?;
        Ok(u64::from_be_bytes(offset))
    }

    fn data(&self) -> Result<&Data, Fault> {
        if let Some(data) = self.data.get() {
            return Ok(data);
        }
        let file = open_file(&self.index_path.with_extension("pack"))?;
        let end = file.metadata()?.len().saturating_sub(ID);
        let mut head = [0; 8];
        file.read_exact_at(&mut head, 0)?;
        if head != *b"PACK\0\0\0\x02" {
            return Err(Fault::damaged("its pack is not of version 2"));
        }
        Ok(self.data.get_or_init(|| Data { file: Arc::new(file), end }))
    }
}

/// So that no header makes us take more memory than an object may.
fn within_limit(size: u64) -> Result<usize, Fault> {
    if size > DECODE_LIMIT {
        return Err(Fault::TooLarge(size));
    }
    Ok(usize::try_from(size).expect("the limit fits"))
}
