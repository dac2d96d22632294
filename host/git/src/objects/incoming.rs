//! A pack that comes from a server, taken in beside our objects and not among them: whoever fetches copies from there what
//! is wanted, and the rest goes with it. Its checksum, counts, sizes and deltas are only claims, and what they may cost is
//! bounded.

use std::{
    fs::{File, Permissions},
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
};

use gix::{
    ObjectId,
    hash::{Kind as HashKind, hasher},
    objs::{Kind, encode},
    odb::pack::data::{Entry, entry::Header},
};
use tempfile::TempDir;

use super::{
    DECODE_LIMIT, Fault, Inflate, Objects, collision, delta, id_of,
    intake::Deflate,
    pack_writer::{self, Indexed},
};
use crate::walk::MAX_OBJECTS;

/// The most that a pack may take on disk, in bytes.
const MAX_PACK: u64 = 4 * 1024 * 1024 * 1024;

/// The most that its objects may take together, in bytes: a bomb costs seconds.
const MAX_INFLATED: u64 = 16 * 1024 * 1024 * 1024;

/// The most that the objects on the way down to one delta may take together, in bytes.
const MAX_HELD: usize = 128 * 1024 * 1024;

/// Behind the last entry.
const TRAILER: u64 = 20;

/// An entry's header: a size, then the distance to the base, or its id.
const ENTRY_HEADER: usize = 40;

/// Why a pack is refused.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Of who sends it.
    #[error("{0}")]
    Source(io::Error),
    #[error("the pack is damaged: {0}")]
    Damaged(&'static str),
    #[error("the pack's entry at {at} {fault}")]
    Entry { at: u64, fault: Fault },
    #[error("the pack says that it has {said} objects, and ends after {found}")]
    Ends { said: u32, found: u32 },
    #[error("the pack takes more than {MAX_PACK} bytes")]
    TooLong,
    #[error("the pack has {0} objects, and more than {MAX_OBJECTS} are not taken")]
    TooMany(u32),
    #[error("the objects of the pack take more than {MAX_INFLATED} bytes")]
    Bomb,
    #[error("the pack's deltas take more than {MAX_HELD} bytes at once")]
    Deep,
    #[error("the pack has {0} deltas whose bases are nowhere")]
    Baseless(usize),
    /// Ours: a full disk.
    #[error("the pack cannot be written")]
    Write(#[source] io::Error),
}

/// The objects of one pack, for as long as they are looked at.
pub(crate) struct Incoming {
    objects: Objects,
    _directory: TempDir,
}

impl Incoming {
    /// Takes in what `pack` yields until its end. Deltas may have their bases in `ours`, into whose directory it goes for the
    /// time being.
    pub(crate) fn receive(pack: impl Read, ours: &Objects) -> Result<Self, PackError> {
        // The prefix is one that is swept after a kill.
        let directory = tempfile::Builder::new()
            .prefix("tmp_incoming_")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(ours.directory())
            .map_err(PackError::Write)?;
        let path = directory.path().join("pack");
        std::fs::create_dir(&path).map_err(PackError::Write)?;
        receive(pack, ours, &path)?;
        let objects = Objects::open_remote(directory.path().to_owned()).map_err(PackError::Write)?;
        Ok(Self { objects, _directory: directory })
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }
}

fn receive(pack: impl Read, ours: &Objects, directory: &Path) -> Result<(), PackError> {
    let path = directory.join("pack-incoming.pack");
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).map_err(PackError::Write)?;
    let (count, end) = spool(pack, &mut file)?;
    let mut indexing = Indexing::new(file, ours, end);
    indexing.scan(count)?;
    indexing.resolve()?;
    let index = File::create_new(path.with_extension("idx")).map_err(PackError::Write)?;
    let trailer = ObjectId::null(HashKind::Sha1);
    pack_writer::write_index(&index, &mut indexing.into_entries(), trailer).map_err(PackError::Write)
}

/// Writes the pack down as it comes, and yields how many objects it says it has, and where their entries end.
fn spool(mut pack: impl Read, file: &mut File) -> Result<(u32, u64), PackError> {
    let mut hash = hasher(HashKind::Sha1);
    let mut buffer = vec![0; 64 * 1024];
    // What is hashed later, since it may be the trailer.
    let mut tail = Vec::new();
    let (mut length, mut count) = (0, None);
    loop {
        let read = match pack.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(PackError::Source(error)),
        };
        length += read as u64;
        if length > MAX_PACK {
            return Err(PackError::TooLong);
        }
        file.write_all(&buffer[..read]).map_err(PackError::Write)?;
        tail.extend_from_slice(&buffer[..read]);
        if count.is_none() && tail.len() >= 12 {
            count = Some(header(&tail)?);
        }
        if count.is_some() && tail.len() > 20 {
            let hashed = tail.len() - 20;
            hash.update(&tail[..hashed]);
            tail.drain(..hashed);
        }
    }
    let Some(count) = count.filter(|_| length >= 12 + TRAILER) else {
        return Err(PackError::Damaged("it is too short for one"));
    };
    let hash = hash.try_finalize().map_err(|_| PackError::Damaged("it is made to collide with another under SHA-1"))?;
    if hash.as_bytes() != tail {
        return Err(PackError::Damaged("its checksum is not that of its bytes"));
    }
    Ok((count, length - TRAILER))
}

fn header(bytes: &[u8]) -> Result<u32, PackError> {
    if bytes[..8] != *b"PACK\0\0\0\x02" {
        return Err(PackError::Damaged("it is none of version 2"));
    }
    let count = u32::from_be_bytes(bytes[8..12].try_into().expect("four bytes"));
    if count as usize > MAX_OBJECTS { Err(PackError::TooMany(count)) } else { Ok(count) }
}

/// Finds out what the entries of a pack are.
struct Indexing<'a> {
    file: Arc<File>,
    ours: &'a Objects,
    /// Of the entries that the server sent.
    end: u64,
    /// Where a base of ours would go.
    append: u64,
    /// In the pack's order. A delta has no id until it is resolved.
    entries: Vec<Found>,
    /// Deltas by the offset of their base, and by its id.
    by_offset: Vec<(u64, u32)>,
    by_id: Vec<(ObjectId, u32)>,
    inflated: u64,
    held: usize,
}

struct Found {
    offset: u64,
    id: Option<ObjectId>,
}

/// An object that others are made from.
struct Base {
    kind: Kind,
    bytes: Vec<u8>,
    /// Positions of the deltas that are applied to it.
    deltas: Vec<u32>,
}

impl<'a> Indexing<'a> {
    fn new(file: File, ours: &'a Objects, end: u64) -> Self {
        let (by_offset, by_id, entries) = (Vec::new(), Vec::new(), Vec::new());
        Self { file: Arc::new(file), ours, end, append: end, entries, by_offset, by_id, inflated: 0, held: 0 }
    }

    fn into_entries(self) -> Vec<Indexed> {
        // Nobody reads their checksums: they live as long as this fetch.
        self.entries
            .into_iter()
            .filter_map(|found| Some(Indexed { id: found.id?, offset: found.offset, crc: 0 }))
            .collect()
    }

    /// Finds where each entry begins, and the ids of those that are no deltas.
    fn scan(&mut self, count: u32) -> Result<(), PackError> {
        let mut offset = 12;
        let mut buffer = vec![0; 64 * 1024];
        for found in 0..count {
            if offset >= self.end {
                return Err(PackError::Ends { said: count, found });
            }
            let failed = |fault| PackError::Entry { at: offset, fault };
            let entry = self.entry(offset).map_err(failed)?;
            self.count(entry.decompressed_size)?;
            let mut inflate = self.inflate(&entry);
            let mut hash = hasher(HashKind::Sha1);
            let kind = entry.header.as_kind();
            if let Some(kind) = kind {
                hash.update(&encode::loose_header(kind, entry.decompressed_size));
            }
            let mut left = entry.decompressed_size;
            while left > 0 {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                let read = inflate.fill(&mut buffer[..length]).map_err(failed)?;
                if read < length {
                    return Err(failed(Fault::damaged("it is shorter than its header says")));
                }
                if kind.is_some() {
                    hash.update(&buffer[..read]);
                }
                left -= read as u64;
            }
            inflate.finish().map_err(failed)?;
            let id = match kind {
                Some(_) => Some(hash.try_finalize().map_err(collision).map_err(failed)?),
                None => None,
            };
            match entry.header {
                Header::OfsDelta { base_distance } => {
                    let base = entry.checked_base_pack_offset(base_distance);
                    let base = base.ok_or_else(|| failed(Fault::damaged("its base lies before the pack")))?;
                    self.by_offset.push((base, found));
                }
                Header::RefDelta { base_id } => self.by_id.push((base_id, found)),
                _ => {}
            }
            self.entries.push(Found { offset, id });
            offset = inflate.position();
        }
        if offset != self.end {
            return Err(PackError::Damaged("it has more in it than it says"));
        }
        self.by_offset.sort_unstable();
        self.by_id.sort_unstable();
        Ok(())
    }

    /// Gives each delta its id: from the bases that are in the pack, then from those that are ours.
    fn resolve(&mut self) -> Result<(), PackError> {
        if self.by_offset.is_empty() && self.by_id.is_empty() {
            return Ok(());
        }
        for position in 0..self.entries.len() {
            let Found { offset, id: Some(id) } = self.entries[position] else { continue };
            let entry = self.entry(offset).map_err(|fault| PackError::Entry { at: offset, fault })?;
            let Some(kind) = entry.header.as_kind() else { continue };
            let deltas = self.deltas_of(offset, id);
            if !deltas.is_empty() {
                let bytes = self.contents(offset).map_err(|fault| PackError::Entry { at: offset, fault })?;
                self.apply_all(Base { kind, bytes, deltas })?;
            }
        }
        let mut missing: Vec<ObjectId> = self.unresolved().map(|(id, _)| id).collect();
        missing.dedup();
        for id in missing {
            // It may have turned up meanwhile, made from another of ours.
            let deltas: Vec<u32> = self.unresolved_of(id).collect();
            if let (false, Ok((kind, bytes))) = (deltas.is_empty(), self.ours.whole(&id, DECODE_LIMIT)) {
                self.count(bytes.len() as u64)?;
                self.append(id, kind, &bytes).map_err(PackError::Write)?;
                self.apply_all(Base { kind, bytes, deltas })?;
            }
        }
        match self.entries.iter().filter(|found| found.id.is_none()).count() {
            0 => Ok(()),
            baseless => Err(PackError::Baseless(baseless)),
        }
    }

    fn unresolved(&self) -> impl Iterator<Item = (ObjectId, u32)> {
        self.by_id.iter().copied().filter(|(_, delta)| self.entries[*delta as usize].id.is_none())
    }

    /// Everything that is made from `root`, whatever is between, depth first. A base goes when its last delta was applied, so
    /// that a chain holds one object and not all.
    fn apply_all(&mut self, root: Base) -> Result<(), PackError> {
        self.held = root.bytes.len();
        let mut bases = vec![root];
        while let Some(base) = bases.last_mut() {
            let Some(position) = base.deltas.pop() else {
                self.held -= base.bytes.len();
                bases.pop();
                continue;
            };
            let offset = self.entries[position as usize].offset;
            let kind = base.kind;
            let made = delta_of(&self.file, self.end, offset, &base.bytes);
            let bytes = made.map_err(|fault| PackError::Entry { at: offset, fault })?;
            if base.deltas.is_empty() {
                self.held -= base.bytes.len();
                bases.pop();
            }
            self.count(bytes.len() as u64)?;
            let id = id_of(kind, &bytes).map_err(|fault| PackError::Entry { at: offset, fault })?;
            self.entries[position as usize].id = Some(id);
            let deltas = self.deltas_of(offset, id);
            if !deltas.is_empty() {
                self.held += bytes.len();
                if self.held > MAX_HELD {
                    return Err(PackError::Deep);
                }
                bases.push(Base { kind, bytes, deltas });
            }
        }
        Ok(())
    }

    /// The deltas that are applied to the object `id` at `offset`, and not resolved already from another copy of it.
    fn deltas_of(&self, offset: u64, id: ObjectId) -> Vec<u32> {
        let from = self.by_offset.partition_point(|(base, _)| *base < offset);
        let by_offset = self.by_offset[from..].iter().take_while(|(base, _)| *base == offset).map(|(_, delta)| *delta);
        let by_offset = by_offset.filter(|delta| self.entries[*delta as usize].id.is_none());
        by_offset.chain(self.unresolved_of(id)).collect()
    }

    /// Of those that name their base by its id. Found by bisection: there may be a million, each with another base.
    fn unresolved_of(&self, id: ObjectId) -> impl Iterator<Item = u32> {
        let from = self.by_id.partition_point(|(base, _)| *base < id);
        let named = self.by_id[from..].iter().take_while(move |(base, _)| *base == id).map(|(_, delta)| *delta);
        named.filter(|delta| self.entries[*delta as usize].id.is_none())
    }

    /// Puts an object of ours behind those of the pack, so that it has all that it is made from.
    fn append(&mut self, id: ObjectId, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        let mut entry = Vec::new();
        let header = match kind {
            Kind::Blob => Header::Blob,
            Kind::Tree => Header::Tree,
            Kind::Commit => Header::Commit,
            Kind::Tag => Header::Tag,
        };
        header.write_to(bytes.len() as u64, &mut entry)?;
        let mut deflate = Deflate::new();
        deflate.begin();
        deflate.part(bytes, gix::zlib::stream::deflate::FlushCompress::Finish, &mut entry)?;
        let offset = self.append;
        self.append += entry.len() as u64;
        // Where the trailer was. Nobody looks at the one that takes its place.
        entry.resize(entry.len() + 20, 0);
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(&entry)?;
        self.entries.push(Found { offset, id: Some(id) });
        Ok(())
    }

    fn count(&mut self, size: u64) -> Result<(), PackError> {
        self.inflated = self.inflated.saturating_add(size);
        if self.inflated > MAX_INFLATED { Err(PackError::Bomb) } else { Ok(()) }
    }

    fn entry(&self, offset: u64) -> Result<Entry, Fault> {
        entry(&self.file, self.end, offset)
    }

    fn inflate(&self, entry: &Entry) -> Inflate {
        Inflate::new(self.file.clone(), entry.data_offset, self.end, entry.decompressed_size)
    }

    fn contents(&self, offset: u64) -> Result<Vec<u8>, Fault> {
        contents(&self.file, self.end, offset)
    }
}

fn entry(file: &File, end: u64, offset: u64) -> Result<Entry, Fault> {
    use std::os::unix::fs::FileExt as _;

    let mut header = [0; ENTRY_HEADER];
    let length = ENTRY_HEADER.min(usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX));
    file.read_exact_at(&mut header[..length], offset)?;
    Entry::from_bytes(&header[..length], offset, HashKind::Sha1).map_err(|_| Fault::damaged("has no header"))
}

/// All of an entry's own bytes, which were inflated once already.
fn contents(file: &Arc<File>, end: u64, offset: u64) -> Result<Vec<u8>, Fault> {
    let entry = entry(file, end, offset)?;
    if entry.decompressed_size > DECODE_LIMIT {
        return Err(Fault::TooLarge(entry.decompressed_size));
    }
    let mut bytes = vec![0; usize::try_from(entry.decompressed_size).expect("the limit fits")];
    let mut inflate = Inflate::new(file.clone(), entry.data_offset, end, entry.decompressed_size);
    if inflate.fill(&mut bytes)? < bytes.len() {
        return Err(Fault::damaged("it is shorter than its header says"));
    }
    Ok(bytes)
}

/// What the delta at `offset` makes of `base`.
fn delta_of(file: &Arc<File>, end: u64, offset: u64, base: &[u8]) -> Result<Vec<u8>, Fault> {
    let delta = contents(file, end, offset)?;
    let (base_size, size, instructions) = delta::sizes(&delta)?;
    if base_size != base.len() as u64 {
        return Err(Fault::damaged("its delta is for another base"));
    }
    if size > DECODE_LIMIT {
        return Err(Fault::TooLarge(size));
    }
    delta::apply(base, &delta[instructions..], usize::try_from(size).expect("the limit fits"))
}
