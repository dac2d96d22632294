//! A tree in the making: directories are read when something below them changes, and written anew at the end if something
//! did. Paths are as strict as what a tree may name. It reads trees of the base and nothing else.

use std::collections::{BTreeMap, HashSet, btree_map};

use gix::{
    ObjectId,
    hash::Kind as HashKind,
    objs::{
        self, WriteTo as _,
        tree::{Entry, EntryKind},
    },
};

use super::StageError;
use crate::{
    Kind, Repository,
    snapshot::read_tree,
    tree::{MAX_ENTRIES, Tree},
};

/// About what an entry takes beside its name, in bytes.
const ENTRY: usize = 100;

/// What all directories that are held may take, in bytes: every one that can be read, or two of the most entries with
/// names of a usual length.
const MAX_HELD: usize = 96 * 1024 * 1024;

pub(super) struct Draft {
    repository: Repository,
    root: Node,
    /// In bytes.
    held: usize,
}

enum Node {
    /// As it is somewhere already.
    Object(Kind, ObjectId),
    /// A directory that may have changed.
    Open(Directory),
}

struct Directory {
    /// The tree that it was made of.
    base: Option<ObjectId>,
    entries: BTreeMap<Vec<u8>, Node>,
}

/// A tree that the base has not at the same place.
pub(crate) struct NewTree {
    pub(crate) id: ObjectId,
    pub(crate) raw: Vec<u8>,
    /// The tree of the base that it was made of.
    pub(crate) base: Option<ObjectId>,
}

/// What the whole tree is.
pub(super) struct Finished {
    pub(super) root: ObjectId,
    /// Children before what names them, each once: a pack that has an object twice is refused.
    pub(super) trees: Vec<NewTree>,
    /// Those.
    known: HashSet<ObjectId>,
    /// Blobs that changed trees name: some of them the base has too.
    pub(super) blobs: Vec<ObjectId>,
}

impl Draft {
    /// Begins with the tree `root`.
    pub(super) fn new(repository: Repository, root: ObjectId) -> Self {
        Self { repository, root: Node::Object(Kind::Directory, root), held: 0 }
    }

    /// Whether `path` can be one of something of `kind`: what is wrong with it costs no disk.
    pub(super) fn check(path: &str, kind: Kind) -> Result<(), StageError> {
        names(path, kind).map(drop)
    }

    /// Puts an object at `path`, in place of whatever is there.
    pub(super) fn put(&mut self, path: &str, kind: Kind, id: ObjectId) -> Result<(), StageError> {
        let names = names(path, kind)?;
        let Some((last, above)) = names.split_last() else {
            if kind != Kind::Directory {
                return Err(StageError::Path("the root is a directory".into()));
            }
            self.root = Node::Object(kind, id);
            return Ok(());
        };
        if kind == Kind::Directory && id.is_empty_tree() {
            return Err(StageError::Path("a tree has no place for an empty directory".into()));
        }
        let mut node = &mut self.root;
        for name in above {
            node = entry(open(node, &self.repository, &mut self.held)?, name, &mut self.held)?;
        }
        *entry(open(node, &self.repository, &mut self.held)?, last, &mut self.held)? = Node::Object(kind, id);
        Ok(())
    }

    /// Takes away what is at `path`, and the directories that this leaves empty.
    pub(super) fn remove(&mut self, path: &str) -> Result<(), StageError> {
        let names = names(path, Kind::File)?;
        if names.is_empty() {
            self.root = Node::Object(Kind::Directory, ObjectId::empty_tree(HashKind::Sha1));
            return Ok(());
        }
        take(&mut self.root, &names, &self.repository, &mut self.held).map(drop)
    }

    /// Writes the directories that changed.
    pub(super) fn finish(&self) -> Result<Finished, StageError> {
        let mut finished = Finished {
            root: ObjectId::empty_tree(HashKind::Sha1),
            trees: Vec::new(),
            known: HashSet::new(),
            blobs: Vec::new(),
        };
        match &self.root {
            Node::Object(_, id) => finished.root = *id,
            Node::Open(directory) => {
                finished.root = directory.write(&mut finished)?.unwrap_or(finished.root);
            }
        }
        if finished.root.is_empty_tree() {
            // No entry names it, but the commit does.
            finished.trees.push(NewTree { id: finished.root, raw: Vec::new(), base: None });
        }
        Ok(finished)
    }
}

impl Directory {
    /// Yields its tree's id; nothing where it is empty.
    fn write(&self, finished: &mut Finished) -> Result<Option<ObjectId>, StageError> {
        let mut entries = Vec::with_capacity(self.entries.len());
        for (name, node) in &self.entries {
            let (kind, oid) = match node {
                Node::Object(kind, id) => (*kind, *id),
                Node::Open(directory) => match directory.write(finished)? {
                    Some(id) => (Kind::Directory, id),
                    None => continue,
                },
            };
            entries.push(Entry { mode: mode(kind).into(), filename: name.as_slice().into(), oid });
        }
        if entries.is_empty() {
            return Ok(None);
        }
        entries.sort();
        let (tree, mut raw) = (objs::Tree { entries }, Vec::new());
        tree.write_to(&mut raw)?;
        let id = crate::objects::id_of(objs::Kind::Tree, &raw).map_err(|fault| StageError::Path(fault.to_string()))?;
        if Some(id) != self.base && finished.known.insert(id) {
            let blobs = tree.entries.iter().filter(|entry| entry.mode.is_blob_or_symlink());
            finished.blobs.extend(blobs.map(|entry| entry.oid));
            finished.trees.push(NewTree { id, raw, base: self.base });
        }
        Ok(Some(id))
    }
}

/// The directory that `node` is.
fn open<'a>(node: &'a mut Node, repository: &Repository, held: &mut usize) -> Result<&'a mut Directory, StageError> {
    if let Node::Object(kind, id) = node {
        if *kind != Kind::Directory {
            return Err(StageError::Path("what is on the way there is no directory".into()));
        }
        let (id, mut entries) = (*id, BTreeMap::new());
        if !id.is_empty_tree() {
            let tree = read_tree(repository, id)?;
            hold(held, tree.slots().iter().map(|slot| ENTRY + tree.name(slot).len()).sum())?;
            fill(&mut entries, &tree);
        }
        *node = Node::Open(Directory { base: (!id.is_empty_tree()).then_some(id), entries });
    }
    match node {
        Node::Open(directory) => Ok(directory),
        Node::Object(..) => unreachable!("it was opened just now"),
    }
}

/// The entry `name`; a new directory where there is none.
fn entry<'a>(directory: &'a mut Directory, name: &[u8], held: &mut usize) -> Result<&'a mut Node, StageError> {
    let is_full = directory.entries.len() >= MAX_ENTRIES;
    match directory.entries.entry(name.to_vec()) {
        btree_map::Entry::Occupied(known) => Ok(known.into_mut()),
        btree_map::Entry::Vacant(_) if is_full => Err(StageError::TooMany),
        btree_map::Entry::Vacant(place) => {
            hold(held, ENTRY + name.len())?;
            Ok(place.insert(Node::Open(Directory { base: None, entries: BTreeMap::new() })))
        }
    }
}

/// Counts `more` bytes, if there is room for them.
fn hold(held: &mut usize, more: usize) -> Result<(), StageError> {
    if *held + more > MAX_HELD {
        return Err(StageError::TooMany);
    }
    *held += more;
    Ok(())
}

fn fill(entries: &mut BTreeMap<Vec<u8>, Node>, tree: &Tree) {
    entries.extend(tree.slots().iter().map(|slot| (tree.name(slot).to_vec(), Node::Object(slot.kind, slot.id))));
}

/// Takes `names` out of `node`, and says whether that left it empty.
fn take(node: &mut Node, names: &[&[u8]], repository: &Repository, held: &mut usize) -> Result<bool, StageError> {
    let (name, below) = names.split_first().expect("a path has a segment");
    if matches!(node, Node::Object(kind, _) if *kind != Kind::Directory) {
        return Err(StageError::NotFound);
    }
    let directory = open(node, repository, held)?;
    let found = directory.entries.get_mut(*name).ok_or(StageError::NotFound)?;
    if below.is_empty() || take(found, below, repository, held)? {
        directory.entries.remove(*name);
    }
    Ok(directory.entries.is_empty())
}

/// The segments of a path whose end is of `kind`; none for the root.
fn names(path: &str, kind: Kind) -> Result<Vec<&[u8]>, StageError> {
    atoll_paths::names(path, kind.into()).map_err(|fault| StageError::Path(fault.to_string()))
}

fn mode(kind: Kind) -> EntryKind {
    match kind {
        Kind::File => EntryKind::Blob,
        Kind::Executable => EntryKind::BlobExecutable,
        Kind::Symlink => EntryKind::Link,
        Kind::Directory => EntryKind::Tree,
        Kind::Submodule => EntryKind::Commit,
    }
}
