//! What the entries of a pack are, found while its bytes arrive: where each begins and how long it is, and the id of those
//! that are no deltas. Nothing of it is kept in memory but that.

use std::{io, sync::mpsc::Receiver};

use gix::{
    ObjectId,
    hash::{Kind as HashKind, hasher},
    objs::encode,
    odb::pack::data::{Entry, entry::Header},
    zlib::{Decompress, FlushDecompress, Status},
};

use super::{
    Fault, collision,
    incoming::{MAX_INFLATED, PackError},
};
use crate::walk::MAX_OBJECTS;

/// An entry's header: a size, then the distance to the base, or its id.
pub(super) const ENTRY_HEADER: usize = 40;

/// Where an entry lies. A delta has no id until it is resolved.
pub(super) struct Found {
    pub(super) offset: u64,
    /// Header and all, or the most that there can be said.
    pub(super) length: u32,
    pub(super) crc: u32,
    pub(super) id: Option<ObjectId>,
}

/// What was found of a pack.
#[derive(Default)]
pub(super) struct Scan {
    /// In the pack's order.
    pub(super) entries: Vec<Found>,
    /// Deltas by the offset of their base, and by its id.
    pub(super) by_offset: Vec<(u64, u32)>,
    pub(super) by_id: Vec<(ObjectId, u32)>,
    /// Bytes that the entries take together.
    pub(super) inflated: u64,
}

/// The bytes of a pack up to its trailer, as they come.
struct Arriving {
    chunks: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    used: usize,
    /// Where in the pack the next byte is.
    offset: u64,
    crc: crc32fast::Hasher,
    /// All that came was looked at, and more was wanted.
    ended: bool,
}

/// Why a pack is refused that was looked at.
pub(super) struct Refusal {
    pub(super) why: PackError,
    /// Whatever would have followed.
    pub(super) at_once: bool,
}

/// How many objects a pack says it has, by its first bytes.
pub(super) fn header(bytes: &[u8; 12]) -> Result<u32, PackError> {
    if bytes[..8] != *b"PACK\0\0\0\x02" {
        return Err(PackError::Damaged("it is none of version 2"));
    }
    let count = u32::from_be_bytes(bytes[8..].try_into().expect("four bytes"));
    if count as usize > MAX_OBJECTS { Err(PackError::TooMany(count)) } else { Ok(count) }
}

/// Looks at all that comes, which ends before the trailer. With a refusal the receiver goes, so that no more has to come.
pub(super) fn scan(chunks: Receiver<Vec<u8>>) -> Result<Scan, Refusal> {
    let (chunk, crc) = (Vec::new(), crc32fast::Hasher::new());
    let mut from = Arriving { chunks, chunk, used: 0, offset: 0, crc, ended: false };
    look(&mut from).map_err(|why| Refusal { why, at_once: !from.ended })
}

fn look(from: &mut Arriving) -> Result<Scan, PackError> {
    let head = from.at_least(12).first_chunk().ok_or(PackError::Damaged("it is too short for one"))?;
    let count = header(head)?;
    from.skip(12);
    let (mut scan, mut state, mut buffer) = (Scan::default(), Decompress::new(), vec![0; 64 * 1024]);
    for position in 0..count {
        let offset = from.offset;
        if from.at_least(1).is_empty() {
            return Err(PackError::Ends { said: count, found: position });
        }
        let failed = |fault| PackError::Entry { at: offset, fault };
        from.crc.reset();
        let entry = from.entry().map_err(failed)?;
        scan.count(entry.decompressed_size)?;
        match entry.header {
            Header::OfsDelta { base_distance } => {
                let base = entry.checked_base_pack_offset(base_distance);
                let base = base.ok_or_else(|| failed(Fault::damaged("its base lies before the pack")))?;
                scan.by_offset.push((base, position));
            }
            Header::RefDelta { base_id } => scan.by_id.push((base_id, position)),
            _ => {}
        }
        state.reset();
        let id = from.inflate(&entry, &mut state, &mut buffer).map_err(failed)?;
        let length = u32::try_from(from.offset - offset).unwrap_or(u32::MAX);
        scan.entries.push(Found { offset, length, crc: from.crc.clone().finalize(), id });
    }
    if !from.at_least(1).is_empty() {
        return Err(PackError::Damaged("it has more in it than it says"));
    }
    scan.by_offset.sort_unstable();
    scan.by_id.sort_unstable();
    Ok(scan)
}

impl Scan {
    pub(super) fn count(&mut self, size: u64) -> Result<(), PackError> {
        self.inflated = self.inflated.saturating_add(size);
        if self.inflated > MAX_INFLATED { Err(PackError::Bomb) } else { Ok(()) }
    }
}

impl Arriving {
    /// What comes next, of which so much is there unless the pack ends before.
    fn at_least(&mut self, length: usize) -> &[u8] {
        while self.chunk.len() - self.used < length {
            let Ok(next) = self.chunks.recv() else {
                self.ended = true;
                break;
            };
            if self.used == self.chunk.len() {
                self.chunk = next;
            } else {
                self.chunk.drain(..self.used);
                self.chunk.extend_from_slice(&next);
            }
            self.used = 0;
        }
        &self.chunk[self.used..]
    }

    fn skip(&mut self, length: usize) {
        self.crc.update(&self.chunk[self.used..self.used + length]);
        self.used += length;
        self.offset += length as u64;
    }

    fn entry(&mut self) -> Result<Entry, Fault> {
        let offset = self.offset;
        let bytes = self.at_least(ENTRY_HEADER);
        let entry = Entry::from_bytes(&bytes[..bytes.len().min(ENTRY_HEADER)], offset, HashKind::Sha1)
            .map_err(|_| Fault::damaged("has no header"))?;
        self.skip(entry.header_size());
        Ok(entry)
    }

    /// Goes past the contents of `entry`, and yields their id if they are no delta.
    fn inflate(&mut self, entry: &Entry, state: &mut Decompress, buffer: &mut [u8]) -> Result<Option<ObjectId>, Fault> {
        let mut hash = entry.header.as_kind().map(|kind| {
            let mut hash = hasher(HashKind::Sha1);
            hash.update(&encode::loose_header(kind, entry.decompressed_size));
            hash
        });
        let mut left = entry.decompressed_size;
        loop {
            let input = self.at_least(1);
            let (before_in, before_out) = (state.total_in(), state.total_out());
            let status = state.decompress(input, buffer, FlushDecompress::None);
            let status = status.map_err(|_| Fault::damaged("its compressed data is invalid"))?;
            let consumed = usize::try_from(state.total_in() - before_in).map_err(io::Error::other)?;
            let produced = usize::try_from(state.total_out() - before_out).map_err(io::Error::other)?;
            left = left.checked_sub(produced as u64).ok_or(Fault::damaged("it is longer than its header says"))?;
            if let Some(hash) = &mut hash {
                hash.update(&buffer[..produced]);
            }
            self.skip(consumed);
            match status {
                Status::StreamEnd if left > 0 => return Err(Fault::damaged("it is shorter than its header says")),
                Status::StreamEnd => break,
                _ if consumed == 0 && produced == 0 => return Err(Fault::damaged("its compressed data ends early")),
                _ => {}
            }
        }
        hash.map(|hash| hash.try_finalize().map_err(collision)).transpose()
    }
}
