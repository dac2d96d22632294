//! What is staged lies beside our objects and not among them: it comes in when the origin has taken the commit, and goes
//! away with the staging otherwise. What a kill leaves is swept at the next start.

use std::{
    fs::{File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::PathBuf,
};

use gix::{
    ObjectId,
    hash::{Kind as HashKind, hasher},
    objs::{Kind, encode},
};
use tempfile::TempDir;

use crate::{
    disk::{Files, Unsettled},
    objects::{Intake, IntakeError, Objects},
};

/// Contents up to here stay in memory until they are stored, in bytes.
const SMALL: usize = 256 * 1024;

/// Objects of one staging.
pub(super) struct Beside {
    objects: Objects,
    /// Nobody waits for these to be synced.
    unsettled: Unsettled,
    directory: TempDir,
}

/// A file's contents on their way in, whose size and id are known at their end.
pub struct Upload {
    directory: PathBuf,
    length: u64,
    held: Held,
}

/// Where uploads begin.
#[derive(Clone)]
pub struct Uploads(PathBuf);

enum Held {
    Memory(Vec<u8>),
    Disk(File),
}

impl Beside {
    pub(super) fn create(ours: &Objects) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("tmp_staging_")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(ours.directory())?;
        std::fs::create_dir(directory.path().join("pack"))?;
        let objects = Objects::open(directory.path().to_owned(), Files::default())?;
        Ok(Self { objects, unsettled: Unsettled::default(), directory })
    }

    pub(super) fn objects(&self) -> &Objects {
        &self.objects
    }

    pub(super) fn uploads(&self) -> Uploads {
        Uploads(self.directory.path().to_owned())
    }

    /// About `expected` objects.
    pub(super) fn intake(&self, expected: usize) -> Intake<'_> {
        Intake::new(&self.objects, &self.unsettled, expected)
    }

    /// Stores a file's contents.
    pub(super) fn store(&self, upload: &Upload) -> Result<ObjectId, IntakeError> {
        let id = upload.id()?;
        let mut at = 0;
        self.intake(1).stream(id, Kind::Blob, upload.length, |out| {
            let read = upload.piece(at, out)?;
            at += read as u64;
            Ok(read)
        })?;
        Ok(id)
    }
}

impl Uploads {
    /// For the contents of one file.
    pub fn begin(&self) -> Upload {
        Upload { directory: self.0.clone(), length: 0, held: Held::Memory(Vec::new()) }
    }
}

impl Upload {
    /// Whether so many more bytes are taken in without waiting for the disk.
    pub fn fits(&self, more: usize) -> bool {
        matches!(&self.held, Held::Memory(held) if held.len() + more <= SMALL)
    }

    /// Takes in the next bytes. Blocks where there are many.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fits = self.fits(bytes.len());
        self.length += bytes.len() as u64;
        match &mut self.held {
            Held::Disk(file) => file.write_all(bytes),
            Held::Memory(held) if fits => {
                held.extend_from_slice(bytes);
                Ok(())
            }
            Held::Memory(held) => {
                let mut file = tempfile::tempfile_in(&self.directory)?;
                file.write_all(held)?;
                file.write_all(bytes)?;
                self.held = Held::Disk(file);
                Ok(())
            }
        }
    }

    /// In bytes, so far.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    fn id(&self) -> Result<ObjectId, io::Error> {
        let mut hash = hasher(HashKind::Sha1);
        hash.update(&encode::loose_header(Kind::Blob, self.length));
        let (mut at, mut buffer) = (0, vec![0; 64 * 1024]);
        loop {
            match self.piece(at, &mut buffer)? {
                0 => return hash.try_finalize().map_err(io::Error::other),
                read => {
                    hash.update(&buffer[..read]);
                    at += read as u64;
                }
            }
        }
    }

    fn piece(&self, at: u64, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let out_length = out.len().min(left);
        let out = &mut out[..out_length];
        match &self.held {
            Held::Memory(held) => {
                let at = usize::try_from(at).map_err(io::Error::other)?;
                out.copy_from_slice(&held[at..at + out.len()]);
            }
            Held::Disk(file) => file.read_exact_at(out, at)?,
        }
        Ok(out.len())
    }
}
