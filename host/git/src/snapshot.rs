//! A revision's files, for reading. Still: nothing that is fetched later changes it. What is remembered is answered at
//! once (`cached_*`), the rest reads the disk and blocks. Links are not followed.

use std::{collections::hash_map, sync::Arc};

use bytes::Bytes;
use gix::{ObjectId, objs};

use crate::{
    Kind, Repository,
    cache::{Remembered, SMALL},
    disk::lock,
    objects::{DECODE_LIMIT, Fault, Object, ObjectError},
    tree::{Slot, Tree},
    walk::WalkError,
};

/// Why there is no answer. The words name no path of the host's.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing is there, or something else than was asked for.
    #[error("not found")]
    NotFound,
    /// Larger than the call's limit; or stored as a delta and larger than can be decoded.
    #[error("too large")]
    TooLarge,
    /// An object is missing or damaged.
    #[error("{0}")]
    Corrupt(String),
    /// The disk.
    #[error("{0}")]
    Io(String),
}

/// An entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The last segment of the path; empty for the root.
    pub name: String,
    pub kind: Kind,
    /// Of the blob, tree or commit.
    pub id: ObjectId,
}

/// A handle: clones are the same snapshot.
#[derive(Clone)]
pub struct Snapshot(Arc<Inner>);

struct Inner {
    open: Open,
    revision: String,
    committed: u64,
    root_id: ObjectId,
    root: Arc<Tree>,
}

/// Keeps the objects of a revision from being tidied away.
struct Open {
    repository: Repository,
    id: Option<ObjectId>,
}

/// How far an answer may go: to what is remembered, or to the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Memory,
    Disk,
}

/// Nothing where the disk would have to be read and may not.
type Reached<T> = Result<Option<T>, ReadError>;

impl Snapshot {
    pub(crate) fn open(repository: Repository, id: Option<ObjectId>) -> Result<Self, ReadError> {
        let open = Open::of(repository, id);
        let repository = &open.repository;
        let (revision, committed, root_id) = match id {
            Some(id) => {
                let revision = repository.0.revision(id)?;
                (id.to_string(), revision.committed, revision.tree)
            }
            None => (String::new(), 0, ObjectId::empty_tree(gix::hash::Kind::Sha1)),
        };
        let root = if id.is_none() {
            Arc::new(Tree::decode(&[]).expect("an empty tree has no faults"))
        } else {
            read_tree(repository, root_id)?
        };
        Ok(Self(Arc::new(Inner { open, revision, committed, root_id, root })))
    }

    /// The repository that it is of, the commit and its tree; without a commit the empty tree.
    pub(crate) fn of(&self) -> (&Repository, Option<ObjectId>, ObjectId) {
        (&self.0.open.repository, self.0.open.id, self.0.root_id)
    }

    /// The commit's id in lower-case hexadecimal; empty for none.
    pub fn revision(&self) -> &str {
        &self.0.revision
    }

    /// The committer date in seconds since the Unix epoch; 0 for none.
    pub fn committed(&self) -> u64 {
        self.0.committed
    }

    /// The entry at `path`: segments joined by `/`, the root is empty. Blocks.
    pub fn entry(&self, path: &str) -> Result<Entry, ReadError> {
        at_hand(self.entry_within(path, Reach::Disk))
    }

    /// As [`Self::entry`], if nothing has to be read for it.
    pub fn cached_entry(&self, path: &str) -> Option<Result<Entry, ReadError>> {
        self.entry_within(path, Reach::Memory).transpose()
    }

    /// The entries of the directory at `path` in Git's order, those aside whose names are not UTF-8. Blocks.
    pub fn children(&self, path: &str) -> Result<Vec<Entry>, ReadError> {
        at_hand(self.children_within(path, Reach::Disk))
    }

    /// As [`Self::children`], if nothing has to be read for it.
    pub fn cached_children(&self, path: &str) -> Option<Result<Vec<Entry>, ReadError>> {
        self.children_within(path, Reach::Memory).transpose()
    }

    /// The size in bytes of the file, executable or symbolic link at `path`. Blocks.
    pub fn size(&self, path: &str) -> Result<u64, ReadError> {
        at_hand(self.size_within(path, Reach::Disk))
    }

    /// As [`Self::size`], if nothing has to be read for it.
    pub fn cached_size(&self, path: &str) -> Option<Result<u64, ReadError>> {
        self.size_within(path, Reach::Memory).transpose()
    }

    /// Its contents, if they are at most `limit` bytes. Blocks.
    pub fn contents(&self, path: &str, limit: u64) -> Result<Bytes, ReadError> {
        at_hand(self.contents_within(path, limit, Reach::Disk))
    }

    /// As [`Self::contents`], if nothing has to be read for it.
    pub fn cached_contents(&self, path: &str, limit: u64) -> Option<Result<Bytes, ReadError>> {
        self.contents_within(path, limit, Reach::Memory).transpose()
    }

    /// Its contents, of any size, piece by piece. Blocks.
    pub fn read(&self, path: &str) -> Result<BlobReader, ReadError> {
        at_hand(self.read_within(path, Reach::Disk))
    }

    /// As [`Self::read`], if nothing has to be read for it: the reader never blocks.
    pub fn cached_read(&self, path: &str) -> Option<Result<BlobReader, ReadError>> {
        self.read_within(path, Reach::Memory).transpose()
    }

    fn entry_within(&self, path: &str, reach: Reach) -> Reached<Entry> {
        let Some((kind, id)) = self.find(path, reach)? else { return Ok(None) };
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(Some(Entry { name, kind, id }))
    }

    fn children_within(&self, path: &str, reach: Reach) -> Reached<Vec<Entry>> {
        let Some((kind, id)) = self.find(path, reach)? else { return Ok(None) };
        if kind != Kind::Directory {
            return Err(ReadError::NotFound);
        }
        let Some(tree) = self.tree(id, reach)? else { return Ok(None) };
        let entry = |slot: &Slot| {
            let name = str::from_utf8(tree.name(slot)).ok()?.to_owned();
            Some(Entry { name, kind: slot.kind, id: slot.id })
        };
        Ok(Some(tree.slots().iter().filter_map(entry).collect()))
    }

    fn size_within(&self, path: &str, reach: Reach) -> Reached<u64> {
        let Some(id) = self.blob(path, reach)? else { return Ok(None) };
        match self.0.open.repository.0.cache.find(&id) {
            Some(Remembered::Blob(bytes)) => return Ok(Some(bytes.len() as u64)),
            Some(Remembered::Size(size)) => return Ok(Some(size)),
            _ if reach == Reach::Memory => return Ok(None),
            _ => {}
        }
        // What asks for a size asks for the contents next: both from one read.
        match self.opened(id)? {
            Opened::Small(bytes) => Ok(Some(bytes.len() as u64)),
            Opened::Large(object) => Ok(Some(object.size)),
        }
    }

    fn contents_within(&self, path: &str, limit: u64, reach: Reach) -> Reached<Bytes> {
        let Some(id) = self.blob(path, reach)? else { return Ok(None) };
        let within = |bytes: Bytes| if bytes.len() as u64 > limit { Err(ReadError::TooLarge) } else { Ok(Some(bytes)) };
        match self.0.open.repository.0.cache.find(&id) {
            Some(Remembered::Blob(bytes)) => return within(bytes),
            Some(Remembered::Size(size)) if size > limit => return Err(ReadError::TooLarge),
            _ if reach == Reach::Memory => return Ok(None),
            _ => {}
        }
        match self.opened(id)? {
            Opened::Small(bytes) => within(bytes),
            Opened::Large(object) if object.size > limit => Err(ReadError::TooLarge),
            Opened::Large(mut object) => {
                let mut bytes = vec![0; usize::try_from(object.size).map_err(|_| ReadError::TooLarge)?];
                object.fill(&mut bytes).map_err(|fault| self.failed(id, fault))?;
                Ok(Some(bytes.into()))
            }
        }
    }

    fn read_within(&self, path: &str, reach: Reach) -> Reached<BlobReader> {
        let Some(id) = self.blob(path, reach)? else { return Ok(None) };
        let reader = |size, source| BlobReader { snapshot: self.clone(), id, size, left: size, source };
        if let Some(Remembered::Blob(bytes)) = self.0.open.repository.0.cache.find(&id) {
            return Ok(Some(reader(bytes.len() as u64, Source::Memory(bytes))));
        }
        if reach == Reach::Memory {
            return Ok(None);
        }
        Ok(Some(match self.opened(id)? {
            Opened::Small(bytes) => reader(bytes.len() as u64, Source::Memory(bytes)),
            Opened::Large(object) => reader(object.size, Source::Disk(object)),
        }))
    }

    /// What is at `path`.
    fn find(&self, path: &str, reach: Reach) -> Reached<(Kind, ObjectId)> {
        let mut found = (Kind::Directory, self.0.root_id);
        if path.is_empty() {
            return Ok(Some(found));
        }
        for segment in path.split('/') {
            if found.0 != Kind::Directory {
                return Err(ReadError::NotFound);
            }
            let Some(tree) = self.tree(found.1, reach)? else { return Ok(None) };
            let slot = tree.find(segment.as_bytes()).ok_or(ReadError::NotFound)?;
            found = (slot.kind, slot.id);
        }
        Ok(Some(found))
    }

    fn blob(&self, path: &str, reach: Reach) -> Reached<ObjectId> {
        match self.find(path, reach)? {
            Some((Kind::File | Kind::Executable | Kind::Symlink, id)) => Ok(Some(id)),
            Some(_) => Err(ReadError::NotFound),
            None => Ok(None),
        }
    }

    fn tree(&self, id: ObjectId, reach: Reach) -> Reached<Arc<Tree>> {
        if id == self.0.root_id {
            return Ok(Some(self.0.root.clone()));
        }
        if reach == Reach::Disk {
            return read_tree(&self.0.open.repository, id).map(Some);
        }
        match self.0.open.repository.0.cache.find(&id) {
            Some(Remembered::Tree(tree)) => Ok(Some(tree)),
            _ => Ok(None),
        }
    }

    /// Opens a blob on disk, and remembers it if it is small, and its size if it is not.
    fn opened(&self, id: ObjectId) -> Result<Opened, ReadError> {
        let shared = &self.0.open.repository.0;
        let mut object = shared.objects.object(&id).map_err(|error| shared.failed(error))?;
        if object.kind != objs::Kind::Blob {
            return Err(ReadError::Corrupt(WalkError::Kind(id, object.kind, objs::Kind::Blob).to_string()));
        }
        if object.size > SMALL {
            shared.cache.remember(id, Remembered::Size(object.size));
            return Ok(Opened::Large(object));
        }
        let mut bytes = vec![0; usize::try_from(object.size).expect("it is small")];
        object.fill(&mut bytes).map_err(|fault| self.failed(id, fault))?;
        let bytes = Bytes::from(bytes);
        shared.cache.remember(id, Remembered::Blob(bytes.clone()));
        Ok(Opened::Small(bytes))
    }

    fn failed(&self, id: ObjectId, fault: Fault) -> ReadError {
        self.0.open.repository.0.failed(ObjectError { id, fault })
    }
}

impl Open {
    fn of(repository: Repository, id: Option<ObjectId>) -> Self {
        if let Some(id) = id {
            *lock(&repository.0.open).entry(id).or_default() += 1;
        }
        Self { repository, id }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut open = lock(&self.repository.0.open);
        if let hash_map::Entry::Occupied(mut count) = open.entry(id) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

enum Opened {
    Small(Bytes),
    Large(Object),
}

/// The contents of a blob, piece by piece. Holds an open file at most: 100 kB of memory, whatever the size.
pub struct BlobReader {
    snapshot: Snapshot,
    id: ObjectId,
    size: u64,
    left: u64,
    source: Source,
}

enum Source {
    Memory(Bytes),
    Disk(Object),
}

impl BlobReader {
    /// In bytes, of the whole.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Up to `limit` of the next bytes where no waiting for the disk is needed for them, and they are not the last.
    pub fn chunk_at_hand(&mut self, limit: usize) -> Result<Option<Bytes>, ReadError> {
        let Source::Disk(object) = &mut self.source else { return self.chunk(limit).map(Some) };
        let mut bytes = vec![0; usize::try_from(self.left).unwrap_or(usize::MAX).min(limit)];
        let length = object.fill_at_hand(&mut bytes).map_err(|fault| self.snapshot.failed(self.id, fault))?;
        bytes.truncate(length);
        self.left -= length as u64;
        Ok((length > 0).then(|| bytes.into()))
    }

    /// The next `limit` bytes; fewer at the end only, none after it. The last ones come only after the whole was checked
    /// against the checksum that it is stored with.
    pub fn chunk(&mut self, limit: usize) -> Result<Bytes, ReadError> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(limit);
        let bytes = match &mut self.source {
            Source::Memory(bytes) => bytes.split_to(length),
            Source::Disk(object) => {
                let mut bytes = vec![0; length];
                object.fill(&mut bytes).map_err(|fault| self.snapshot.failed(self.id, fault))?;
                bytes.into()
            }
        };
        self.left -= length as u64;
        Ok(bytes)
    }
}

impl From<WalkError> for ReadError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Object(ObjectError { fault: Fault::TooLarge(_), .. }) => Self::TooLarge,
            WalkError::Object(ObjectError { fault: Fault::Io(_), .. }) => Self::Io(error.to_string()),
            error => Self::Corrupt(error.to_string()),
        }
    }
}

pub(crate) fn read_tree(repository: &Repository, id: ObjectId) -> Result<Arc<Tree>, ReadError> {
    let shared = &repository.0;
    if let Some(Remembered::Tree(tree)) = shared.cache.find(&id) {
        return Ok(tree);
    }
    let (kind, raw) = shared.objects.whole(&id, DECODE_LIMIT).map_err(|error| shared.failed(error))?;
    if kind != objs::Kind::Tree {
        return Err(WalkError::Kind(id, kind, objs::Kind::Tree).into());
    }
    let tree = Tree::decode(&raw).map_err(|fault| ReadError::Corrupt(format!("the tree {id}: {fault}")))?;
    let tree = Arc::new(tree);
    shared.cache.remember(id, Remembered::Tree(tree.clone()));
    Ok(tree)
}

fn at_hand<T>(reached: Reached<T>) -> Result<T, ReadError> {
    reached.map(|found| found.expect("the disk was within reach"))
}
