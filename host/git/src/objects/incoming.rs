//! A pack that comes from a server, taken in beside our objects and not among them: whoever fetches copies from there what
//! is wanted, and the rest goes with it. Its checksum, counts, sizes and deltas are only claims, and what they may cost is
//! bounded. It is looked at while it comes, by a thread beside the one that reads and writes it.

use std::{
    fs::{File, Permissions},
    io::{self, Read, Write as _},
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    panic::resume_unwind,
    path::Path,
    sync::{Arc, mpsc::sync_channel},
    thread,
};

use gix::{
    ObjectId,
    hash::{Kind as HashKind, hasher, oid},
};
use tempfile::TempDir;

use super::{
    Fault, Objects,
    deltas::resolve,
    pack_writer::{self, Indexed},
    scan::{Refusal, header, scan},
};
use crate::walk::MAX_OBJECTS;

/// The most that a pack may take on disk, in bytes.
const MAX_PACK: u64 = 4 * 1024 * 1024 * 1024;

/// The most that its objects may take together, in bytes: a bomb costs seconds.
pub(super) const MAX_INFLATED: u64 = 16 * 1024 * 1024 * 1024;

/// The most that the objects on the way down to one delta may take together, in bytes.
pub(super) const MAX_HELD: usize = 128 * 1024 * 1024;

/// What is read at once, and how many such pieces may wait to be looked at.
const CHUNK: usize = 64 * 1024;
const AHEAD: usize = 16;

/// The checksum behind the last entry.
pub(super) const TRAILER: usize = 20;

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
    /// To read each of them alone would take for ever.
    #[error("the pack's deltas are made from one another in chains that are too long")]
    Winding,
    #[error("the pack has {0} deltas whose bases are nowhere")]
    Baseless(usize),
    /// Ours: a full disk.
    #[error("the pack cannot be written")]
    Write(#[source] io::Error),
}

/// The objects of one pack, for as long as they are looked at.
pub(crate) struct Incoming {
    objects: Objects,
    file: Arc<File>,
    /// By their ids.
    entries: Vec<Indexed>,
    _directory: TempDir,
}

impl Incoming {
    /// Takes in what `pack` yields until its end. Deltas may have their bases in `ours`, into whose directory it goes for the
    /// time being.
    pub(crate) fn receive(pack: impl Read, ours: &Objects) -> Result<Self, PackError> {
        Self::within(pack, ours, MAX_PACK)
    }

    /// The same of a pack that may take `most` bytes on disk.
    pub(crate) fn within(pack: impl Read, ours: &Objects, most: u64) -> Result<Self, PackError> {
        // The prefix is one that is swept after a kill.
        let directory = tempfile::Builder::new()
            .prefix("tmp_incoming_")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(ours.directory())
            .map_err(PackError::Write)?;
        let path = directory.path().join("pack");
        std::fs::create_dir(&path).map_err(PackError::Write)?;
        let (file, entries) = receive(pack, ours, &path, most)?;
        let objects = Objects::open_remote(directory.path().to_owned()).map_err(PackError::Write)?;
        Ok(Self { objects, file, entries, _directory: directory })
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The entry of `id` as it is in the pack, if it takes at most `limit` bytes there, and the checksum that it had when it
    /// was looked at.
    pub(super) fn entry(&self, id: &oid, limit: u64) -> io::Result<Option<(Vec<u8>, u32)>> {
        let Ok(position) = self.entries.binary_search_by(|entry| (*entry.id).cmp(id)) else { return Ok(None) };
        let Indexed { offset, length, crc, .. } = self.entries[position];
        if u64::from(length) > limit {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(Some((bytes, crc)))
    }
}

fn receive(
    pack: impl Read,
    ours: &Objects,
    directory: &Path,
    most: u64,
) -> Result<(Arc<File>, Vec<Indexed>), PackError> {
    let path = directory.join("pack-incoming.pack");
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).map_err(PackError::Write)?;
    let (sender, chunks) = sync_channel(AHEAD);
    let (spooled, scanned) = thread::scope(|scope| {
        let scanning = thread::Builder::new().name("pack".to_owned()).spawn_scoped(scope, move || scan(chunks));
        let scanning = scanning.map_err(PackError::Write)?;
        // Who looks has seen a fault when it takes no more of it.
        let spooled = spool(pack, &mut file, most, |chunk| sender.send(chunk).is_ok());
        drop(sender);
        Ok::<_, PackError>((spooled, scanning.join().unwrap_or_else(|panic| resume_unwind(panic))))
    })?;
    let scan = match scanned {
        Ok(scan) => scan,
        Err(Refusal { why, at_once: true }) => return Err(why),
        // It ended too early: why it did is said first.
        Err(Refusal { why, .. }) => return Err(spooled.err().unwrap_or(why)),
    };
    let end = spooled?;
    let file = Arc::new(file);
    let mut entries = resolve(scan, file.clone(), ours, end, most)?;
    let index = File::create_new(path.with_extension("idx")).map_err(PackError::Write)?;
    let trailer = ObjectId::null(HashKind::Sha1);
    pack_writer::write_index(&index, &mut entries, trailer).map_err(PackError::Write)?;
    Ok((file, entries))
}

/// Writes the pack down as it comes, passes on what is not its trailer, and yields where its entries end: or where it was when
/// nobody wanted more. Then whoever sends it is let go of.
fn spool(
    mut pack: impl Read,
    file: &mut File,
    most: u64,
    mut pass: impl FnMut(Vec<u8>) -> bool,
) -> Result<u64, PackError> {
    let mut hash = hasher(HashKind::Sha1);
    let mut buffer = vec![0; CHUNK];
    // What was not passed on yet: it may be the trailer.
    let mut tail: Vec<u8> = Vec::new();
    let (mut length, mut begun) = (0_u64, false);
    loop {
        let read = match pack.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => &buffer[..read],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(PackError::Source(error)),
        };
        length += read.len() as u64;
        if length > most {
            return Err(PackError::TooLong);
        }
        file.write_all(read).map_err(PackError::Write)?;
        let mut chunk = [&tail, read].concat();
        if let (false, Some(first)) = (begun, chunk.first_chunk()) {
            header(first)?;
            begun = true;
        }
        let sure = if begun { chunk.len().saturating_sub(TRAILER) } else { 0 };
        tail = chunk.split_off(sure);
        if !chunk.is_empty() {
            hash.update(&chunk);
            if !pass(chunk) {
                return Ok(length);
            }
        }
    }
    if length < 12 + TRAILER as u64 {
        return Err(PackError::Damaged("it is too short for one"));
    }
    let hash = hash.try_finalize().map_err(|_| PackError::Damaged("it is made to collide with another under SHA-1"))?;
    if hash.as_bytes() != tail {
        return Err(PackError::Damaged("its checksum is not that of its bytes"));
    }
    Ok(length - TRAILER as u64)
}
