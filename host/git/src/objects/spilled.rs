//! Objects that are made from others and take too much memory for that. They lie in files without a name, on the disk where
//! the objects are, and are gone with whoever holds them.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::fs::FileExt,
    path::Path,
};

use gix::{
    ObjectId,
    hash::{Kind as HashKind, hasher},
    objs::{Kind, encode},
};

use super::{Fault, collision, delta};

/// The most that one may take, in bytes. `git` makes no delta of what takes more than half of that
/// (`core.bigFileThreshold`).
const LARGEST: u64 = 1024 * 1024 * 1024;

/// What is copied at once.
const CHUNK: usize = 64 * 1024;

/// The contents of an object.
pub(super) struct Spilled {
    file: File,
    size: u64,
}

/// What a delta is applied to.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Memory(&'a [u8]),
    Spilled(&'a Spilled),
}

impl Spilled {
    /// What `read` yields: `size` bytes. The file lies in `directory`.
    pub(super) fn new(
        directory: &Path,
        size: u64,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, Fault>,
    ) -> Result<Self, Fault> {
        let mut file = create(directory, size)?;
        let mut buffer = vec![0; CHUNK];
        let mut left = size;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
            if read(&mut buffer[..length])? < length {
                return Err(Fault::damaged("a part of it is shorter than its header says"));
            }
            file.write_all(&buffer[..length])?;
            left -= length as u64;
        }
        Ok(Self { file, size })
    }

    /// What `delta` makes of `base`.
    pub(super) fn made(directory: &Path, base: Source<'_>, delta: &[u8]) -> Result<Self, Fault> {
        let (base_size, size, instructions) = delta::sizes(delta)?;
        if base_size != base.size() {
            return Err(Fault::damaged("its delta is for another base"));
        }
        let mut out = BufWriter::with_capacity(CHUNK, create(directory, size)?);
        let mut buffer = vec![0; CHUNK];
        let mut left = size;
        for step in delta::steps(&delta[instructions..]) {
            let step = step?;
            left = left.checked_sub(step.length()).ok_or(Fault::damaged("its delta makes more than it says"))?;
            match (step, base) {
                (delta::Step::Insert(bytes), _) => out.write_all(bytes)?,
                (step @ delta::Step::Copy { .. }, Source::Memory(base)) => out.write_all(step.bytes(base)?)?,
                (delta::Step::Copy { offset, length }, Source::Spilled(base)) => {
                    base.copy(offset, length, &mut buffer, &mut out)?;
                }
            }
        }
        if left > 0 {
            return Err(Fault::damaged("its delta makes less than it says"));
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Self { file, size })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Fills `out` from `offset` on.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Fault> {
        Ok(self.file.read_exact_at(out, offset)?)
    }

    /// The id of a blob with these contents.
    pub(super) fn id(&self) -> Result<ObjectId, Fault> {
        let mut hasher = hasher(HashKind::Sha1);
        hasher.update(&encode::loose_header(Kind::Blob, self.size));
        let mut buffer = vec![0; CHUNK];
        let mut at = 0;
        while at < self.size {
            let length = usize::try_from(self.size - at).unwrap_or(usize::MAX).min(CHUNK);
            self.read(at, &mut buffer[..length])?;
            hasher.update(&buffer[..length]);
            at += length as u64;
        }
        hasher.try_finalize().map_err(collision)
    }

    fn copy(&self, offset: u64, length: u64, buffer: &mut [u8], out: &mut impl Write) -> Result<(), Fault> {
        let end = offset + length;
        if end > self.size {
            return Err(delta::outside());
        }
        let mut at = offset;
        while at < end {
            let part = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            self.read(at, &mut buffer[..part])?;
            out.write_all(&buffer[..part])?;
            at += part as u64;
        }
        Ok(())
    }
}

impl Source<'_> {
    fn size(self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Spilled(spilled) => spilled.size,
        }
    }
}

fn create(directory: &Path, size: u64) -> Result<File, Fault> {
    if size > LARGEST {
        return Err(Fault::TooLarge(size));
    }
    Ok(tempfile::tempfile_in(directory)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_on_disk_is_what_is_made_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let base: Vec<u8> =
            (0..200_000_u32).map(|at| u8::try_from(at.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
        let target = [&base[100_000..], b"in between", &base[..150_000]].concat();
        let delta = atoll_send_pack::blob_delta::between(&base, &target).unwrap();
        let whole = |spilled: &Spilled| {
            let mut bytes = vec![0; usize::try_from(spilled.size()).unwrap()];
            spilled.read(0, &mut bytes).unwrap();
            bytes
        };
        let mut rest = &base[..];
        let spilled =
            Spilled::new(folder.path(), base.len() as u64, |out| Ok(io::Read::read(&mut rest, out)?)).unwrap();
        for base in [Source::Memory(&base), Source::Spilled(&spilled)] {
            let made = Spilled::made(folder.path(), base, &delta).unwrap();
            assert!(whole(&made) == target);
            assert_eq!(made.id().unwrap(), super::super::id_of(Kind::Blob, &target).unwrap());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it has no name");
    }

    #[test]
    fn a_hostile_delta_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let spilled =
            Spilled::new(folder.path(), 11, |out| Ok(io::Read::read(&mut &b"hello world"[..], out)?)).unwrap();
        for (delta, what) in [
            (&[11, 2, 0x91, 10, 2][..], "is damaged: its delta copies from outside its base"),
            (&[11, 2, 0x91], "is damaged: its delta ends early"),
            (&[11, 1, 2, b'a', b'b'], "is damaged: its delta makes more than it says"),
            (&[11, 3, 2, b'a', b'b'], "is damaged: its delta makes less than it says"),
            (&[10, 1, 1, b'a'], "is damaged: its delta is for another base"),
            (&[11, 0x81, 0x80, 0x80, 0x80, 4], "takes 1073741825 bytes, and is stored as a delta or is not a blob"),
        ] {
            let made = Spilled::made(folder.path(), Source::Spilled(&spilled), delta);
            assert_eq!(made.err().map(|fault| fault.to_string()).as_deref(), Some(what));
        }
    }
}
