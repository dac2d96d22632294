//! Gives each delta of a pack that came its id: from the bases that are in the pack, then from those that are ours, which are
//! put behind it so that it has all that it is made from.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path, sync::Arc};

use atoll_send_pack::entry_header;
use gix::{ObjectId, hash::Kind as HashKind, objs::Kind, odb::pack::data::Entry, zlib::stream::deflate::FlushCompress};

use super::{
    DECODE_LIMIT, Fault, Inflate, Objects, delta, id_of,
    incoming::{MAX_HELD, PackError, TRAILER},
    intake::Deflate,
    pack_writer::Indexed,
    scan::{ENTRY_HEADER, Found, Scan},
    spilled::{Source, Spilled},
};

/// Of the pack in `file`, whose entries end at `end`: what was scanned, and the bases that it needs of `ours`, as far as both
/// take at most `most` bytes. Each object once, by its id.
pub(super) fn resolve(
    scan: Scan,
    file: Arc<File>,
    ours: &Objects,
    end: u64,
    most: u64,
) -> Result<Vec<Indexed>, PackError> {
    let handed = vec![false; scan.by_id.len()];
    let order = (0..).zip(&scan.entries).filter(|(_, found)| found.id.is_some()).map(|(at, _)| at).collect();
    let mut resolving =
        Resolving { scan, file, ours, end, append: end, most, held: 0, handed, order, made: 0, ways: 0 };
    resolving.run()?;
    let known = resolving.order.iter().filter_map(|position| {
        let Found { offset, length, crc, id } = &resolving.scan.entries[*position as usize];
        Some(Indexed { id: (*id)?, offset: *offset, length: *length, crc: *crc })
    });
    let mut entries: Vec<Indexed> = known.collect();
    // Of several copies the one that was known first: what it is made from was known before, so that no chain goes round.
    entries.sort_by_key(|entry| entry.id);
    entries.dedup_by_key(|entry| entry.id);
    Ok(entries)
}

struct Resolving<'a> {
    scan: Scan,
    file: Arc<File>,
    ours: &'a Objects,
    /// Of the entries that the server sent.
    end: u64,
    /// Where a base of ours would go.
    append: u64,
    /// So far the file may go.
    most: u64,
    held: usize,
    /// By the first place of each base's deltas in the list by id: that they were given to a copy of it. Another copy has no
    /// more to make of them.
    handed: Vec<bool>,
    /// Positions, as their ids became known.
    order: Vec<u32>,
    /// What all deltas together have made, and what it takes to make each alone, from where its chain begins.
    made: u64,
    ways: u64,
}

/// What an object takes beside its bytes.
const LINK: u64 = 4096;

/// How much more may be made on the way to all objects, each read alone, than they are. Git's chains are of 50 at most, once
/// of 250.
const MOST_WAYS: u64 = 128;

/// Whatever that comes to, so much may be.
const FEW_WAYS: u64 = 1 << 30;

/// An object's contents: on the disk where they take too much memory.
enum Contents {
    Memory(Vec<u8>),
    Spilled(Spilled),
}

/// An object that others are made from.
struct Base {
    kind: Kind,
    contents: Contents,
    /// What it takes to make it from where its chain begins.
    way: u64,
    /// Positions of the deltas that are applied to it.
    deltas: Vec<u32>,
}

impl Resolving<'_> {
    fn run(&mut self) -> Result<(), PackError> {
        if self.scan.by_offset.is_empty() && self.scan.by_id.is_empty() {
            return Ok(());
        }
        for position in 0..self.scan.entries.len() {
            let Found { offset, id: Some(id), .. } = self.scan.entries[position] else { continue };
            let entry = self.entry(offset).map_err(|fault| PackError::Entry { at: offset, fault })?;
            let Some(kind) = entry.header.as_kind() else { continue };
            let deltas = self.deltas_of(offset, id);
            if !deltas.is_empty() {
                let contents = self.contents(kind, offset).map_err(|fault| PackError::Entry { at: offset, fault })?;
                self.apply_all(Base { kind, way: contents.size(), contents, deltas })?;
            }
        }
        let unresolved = |(_, delta): &&(ObjectId, u32)| self.scan.entries[*delta as usize].id.is_none();
        let mut missing: Vec<ObjectId> = self.scan.by_id.iter().filter(unresolved).map(|(id, _)| *id).collect();
        missing.dedup();
        // Once for all: there may be a million that are nowhere.
        if !missing.is_empty() {
            self.ours.refresh().map_err(PackError::Write)?;
        }
        for id in missing {
            if !matches!(self.ours.header(&id), Ok(Some(_))) {
                continue;
            }
            // It may have turned up meanwhile, made from another of ours.
            let deltas = self.named(id);
            if let (false, Ok((kind, bytes))) = (deltas.is_empty(), self.ours.whole(&id, DECODE_LIMIT)) {
                self.scan.count(bytes.len() as u64)?;
                self.append(id, kind, &bytes)?;
                self.apply_all(Base { kind, way: bytes.len() as u64, contents: Contents::Memory(bytes), deltas })?;
            }
        }
        match self.scan.entries.iter().filter(|found| found.id.is_none()).count() {
            0 => Ok(()),
            baseless => Err(PackError::Baseless(baseless)),
        }
    }

    /// Everything that is made from `root`, whatever is between, depth first. A base goes when its last delta was applied, so
    /// that a chain holds one object and not all.
    fn apply_all(&mut self, root: Base) -> Result<(), PackError> {
        self.held = root.contents.held();
        let mut bases = vec![root];
        while let Some(base) = bases.last_mut() {
            let Some(position) = base.deltas.pop() else {
                self.held -= base.contents.held();
                bases.pop();
                continue;
            };
            let offset = self.scan.entries[position as usize].offset;
            let failed = |fault| PackError::Entry { at: offset, fault };
            let (kind, way) = (base.kind, base.way);
            let delta = in_memory(&self.file, self.end, offset).map_err(failed)?;
            let contents = base.contents.made(kind, &delta, self.ours.directory()).map_err(failed)?;
            if base.deltas.is_empty() {
                self.held -= base.contents.held();
                bases.pop();
            }
            self.scan.count(contents.size())?;
            let way = self.lead(way, contents.size())?;
            let id = contents.id(kind).map_err(failed)?;
            self.scan.entries[position as usize].id = Some(id);
            self.order.push(position);
            let deltas = self.deltas_of(offset, id);
            if !deltas.is_empty() {
                self.held += contents.held();
                if self.held > MAX_HELD {
                    return Err(PackError::Deep);
                }
                bases.push(Base { kind, contents, way, deltas });
            }
        }
        Ok(())
    }

    /// The way to what is made of an object that has a way of so much itself.
    fn lead(&mut self, way: u64, size: u64) -> Result<u64, PackError> {
        let way = way + size + LINK;
        self.made += size + LINK;
        self.ways = self.ways.saturating_add(way);
        let most = self.made.saturating_mul(MOST_WAYS).saturating_add(FEW_WAYS);
        if self.ways > most { Err(PackError::Winding) } else { Ok(way) }
    }

    /// The deltas that are applied to the object `id` at `offset`, and were not given to another copy of it.
    fn deltas_of(&mut self, offset: u64, id: ObjectId) -> Vec<u32> {
        let from = self.scan.by_offset.partition_point(|(base, _)| *base < offset);
        let here = self.scan.by_offset[from..].iter().take_while(|(base, _)| *base == offset);
        let mut deltas: Vec<u32> = here.map(|(_, delta)| *delta).collect();
        deltas.extend(self.named(id));
        deltas
    }

    /// Those that name their base by its id, once. Found by bisection: there may be a million, each with another base.
    fn named(&mut self, id: ObjectId) -> Vec<u32> {
        let from = self.scan.by_id.partition_point(|(base, _)| *base < id);
        // Of a million copies, the second one has nothing to look through.
        if self.handed.get_mut(from).is_none_or(|handed| std::mem::replace(handed, self.scan.by_id[from].0 == id)) {
            return Vec::new();
        }
        let of_it = self.scan.by_id[from..].iter().take_while(|(base, _)| *base == id);
        of_it.map(|(_, delta)| *delta).collect()
    }

    /// Puts an object of ours behind those of the pack, so that it has all that it is made from.
    fn append(&mut self, id: ObjectId, kind: Kind, bytes: &[u8]) -> Result<(), PackError> {
        let entry = entry_of(kind, bytes).map_err(PackError::Write)?;
        let offset = self.append;
        self.append += (entry.len() - TRAILER) as u64;
        if self.append + TRAILER as u64 > self.most {
            return Err(PackError::TooLong);
        }
        self.file.write_all_at(&entry, offset).map_err(PackError::Write)?;
        self.order.push(u32::try_from(self.scan.entries.len()).map_err(|_| PackError::TooLong)?);
        self.scan.entries.push(Found { offset, length: u32::MAX, crc: 0, id: Some(id) });
        Ok(())
    }

    fn entry(&self, offset: u64) -> Result<Entry, Fault> {
        entry(&self.file, self.end, offset)
    }

    /// Of an entry that is no delta.
    fn contents(&self, kind: Kind, offset: u64) -> Result<Contents, Fault> {
        let entry = self.entry(offset)?;
        let size = entry.decompressed_size;
        if size <= DECODE_LIMIT || kind != Kind::Blob {
            return in_memory(&self.file, self.end, offset).map(Contents::Memory);
        }
        let mut inflate = Inflate::new(self.file.clone(), entry.data_offset, self.end, size);
        Spilled::new(self.ours.directory(), size, |out| inflate.fill(out)).map(Contents::Spilled)
    }
}

impl Contents {
    fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Spilled(spilled) => spilled.size(),
        }
    }

    /// What of it is in memory, in bytes.
    fn held(&self) -> usize {
        if let Self::Memory(bytes) = self { bytes.len() } else { 0 }
    }

    fn id(&self, kind: Kind) -> Result<ObjectId, Fault> {
        match self {
            Self::Memory(bytes) => id_of(kind, bytes),
            Self::Spilled(spilled) => spilled.id(),
        }
    }

    /// What `delta` makes of this; what takes too much memory is made in `scratch`, if it is a blob.
    fn made(&self, kind: Kind, delta: &[u8], scratch: &Path) -> Result<Self, Fault> {
        let (base_size, size, instructions) = delta::sizes(delta)?;
        if base_size != self.size() {
            return Err(Fault::damaged("its delta is for another base"));
        }
        let source = match self {
            Self::Memory(base) if size <= DECODE_LIMIT => {
                let size = usize::try_from(size).expect("the limit fits");
                return delta::apply(base, &delta[instructions..], size).map(Self::Memory);
            }
            Self::Memory(base) => Source::Memory(base),
            Self::Spilled(base) => Source::Spilled(base),
        };
        if kind != Kind::Blob {
            return Err(Fault::TooLarge(size));
        }
        Spilled::made(scratch, source, delta).map(Self::Spilled)
    }
}

/// An object's entry, with a trailer behind it, in the place of the one that was there: nobody looks at it.
fn entry_of(kind: Kind, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut entry = Vec::new();
    entry_header(kind).write_to(bytes.len() as u64, &mut entry)?;
    let mut deflate = Deflate::new();
    deflate.begin();
    deflate.part(bytes, FlushCompress::Finish, &mut entry)?;
    entry.resize(entry.len() + TRAILER, 0);
    Ok(entry)
}

fn entry(file: &File, end: u64, offset: u64) -> Result<Entry, Fault> {
    let mut header = [0; ENTRY_HEADER];
    let length = ENTRY_HEADER.min(usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX));
    file.read_exact_at(&mut header[..length], offset)?;
    Entry::from_bytes(&header[..length], offset, HashKind::Sha1).map_err(|_| Fault::damaged("has no header"))
}

/// All of an entry's own bytes, which were inflated once already.
fn in_memory(file: &Arc<File>, end: u64, offset: u64) -> Result<Vec<u8>, Fault> {
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
