//! One tree, decoded for looking up names in it. A tree that Git would not make is refused whole: names that mean
//! something to a path, entries out of order or twice. Pure: it reads no object.

use atoll_paths::{BadName, Shown};
use gix::{
    ObjectId,
    bstr::BStr,
    hash::Kind as HashKind,
    objs::{
        TreeRefIter,
        tree::{EntryKind, name_order},
    },
};

/// Entries of one tree. Two and a half times the largest directory that lookups are promised for; a request for its
/// children has to hold them all.
pub const MAX_ENTRIES: usize = 250_000;

/// What an entry of a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    File,
    Executable,
    Symlink,
    Directory,
    /// A commit of another repository; it has no contents here.
    Submodule,
}

/// Why a tree is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeFault {
    #[error("it ends in the middle of an entry, or has one with a mode that does not exist")]
    Malformed,
    #[error(transparent)]
    Name(#[from] BadName),
    #[error("it has two entries named {0}")]
    Duplicate(Shown),
    #[error("its entry {0} is out of order")]
    Order(Shown),
    #[error("it has more than {MAX_ENTRIES} entries")]
    TooMany,
}

/// The entries of a tree, in Git's order.
pub(crate) struct Tree {
    /// The names, one after the other.
    names: Box<[u8]>,
    slots: Box<[Slot]>,
    /// Positions in `slots`, by name alone: Git's own order depends on what an entry is.
    by_name: Box<[u32]>,
}

/// One entry.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    start: u32,
    length: u32,
    pub(crate) kind: Kind,
    pub(crate) id: ObjectId,
}

impl Tree {
    pub(crate) fn decode(raw: &[u8]) -> Result<Self, TreeFault> {
        let mut names = Vec::new();
        let mut slots: Vec<Slot> = Vec::new();
        let mut before: Option<(&BStr, bool)> = None;
        for entry in TreeRefIter::from_bytes(raw, HashKind::Sha1) {
            let entry = entry.map_err(|_| TreeFault::Malformed)?;
            let (name, kind) = (entry.filename, Kind::from(entry.mode.kind()));
            check_name(name, kind)?;
            if slots.len() == MAX_ENTRIES {
                return Err(TreeFault::TooMany);
            }
            let is_tree = kind == Kind::Directory;
            if let Some((before, was_tree)) = before {
                match name_order(before, was_tree, name, is_tree) {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Equal => return Err(TreeFault::Duplicate(Shown::of(name))),
                    std::cmp::Ordering::Greater => return Err(TreeFault::Order(Shown::of(name))),
                }
            }
            before = Some((name, is_tree));
            slots.push(Slot { start: fits(names.len()), length: fits(name.len()), kind, id: entry.oid.to_owned() });
            names.extend_from_slice(name);
        }
        let name = |position: &u32| named(&names, &slots[*position as usize]);
        let mut by_name: Vec<u32> = (0..fits(slots.len())).collect();
        // Nearly sorted already, which the stable sort sees.
        by_name.sort_by_key(name);
        // A file and a directory of one name are apart in Git's order.
        if let Some(&[twice, _]) = by_name.array_windows().find(|[first, second]| name(first) == name(second)) {
            return Err(TreeFault::Duplicate(Shown::of(name(&twice))));
        }
        Ok(Self { names: names.into(), slots: slots.into(), by_name: by_name.into() })
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(crate) fn name(&self, slot: &Slot) -> &[u8] {
        named(&self.names, slot)
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<&Slot> {
        let found = self.by_name.binary_search_by_key(&name, |position| self.name(&self.slots[*position as usize]));
        Some(&self.slots[self.by_name[found.ok()?] as usize])
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn weight(&self) -> usize {
        self.names.len() + self.slots.len() * (size_of::<Slot>() + size_of::<u32>()) + size_of::<Self>()
    }
}

impl From<EntryKind> for Kind {
    fn from(kind: EntryKind) -> Self {
        match kind {
            EntryKind::Tree => Self::Directory,
            EntryKind::Blob => Self::File,
            EntryKind::BlobExecutable => Self::Executable,
            EntryKind::Link => Self::Symlink,
            EntryKind::Commit => Self::Submodule,
        }
    }
}

impl From<Kind> for atoll_paths::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::File | Kind::Executable => Self::File,
            Kind::Symlink => Self::Symlink,
            Kind::Directory | Kind::Submodule => Self::Directory,
        }
    }
}

/// Refuses what no entry may be named.
pub(crate) fn check_name(name: &[u8], kind: Kind) -> Result<(), TreeFault> {
    Ok(atoll_paths::check_name(name, kind.into())?)
}

fn named<'a>(names: &'a [u8], slot: &Slot) -> &'a [u8] {
    &names[slot.start as usize..][..slot.length as usize]
}

/// A tree is decoded only when it takes less than [`crate::objects::DECODE_LIMIT`].
fn fits(length: usize) -> u32 {
    u32::try_from(length).expect("a tree is far smaller than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(entries: &[(&str, &[u8])]) -> Vec<u8> {
        entries.iter().flat_map(|(mode, name)| [mode.as_bytes(), b" ", name, b"\0", &[7; 20]].concat()).collect()
    }

    #[test]
    fn names_are_found_whatever_they_are() {
        let tree = raw(&[
            ("100644", b"a.b"),
            ("40000", b"a"),
            ("100755", b"a0"),
            ("120000", b"\xff"),
            ("160000", b"\xff\xff"),
        ]);
        let tree = Tree::decode(&tree).unwrap();
        for (name, kind) in [
            (&b"a"[..], Some(Kind::Directory)),
            (b"a.b", Some(Kind::File)),
            (b"a0", Some(Kind::Executable)),
            (b"\xff", Some(Kind::Symlink)),
            (b"\xff\xff", Some(Kind::Submodule)),
            (b"a/", None),
            (b"", None),
            (b"b", None),
        ] {
            assert_eq!(tree.find(name).map(|slot| slot.kind), kind, "{name:?}");
        }
    }

    #[test]
    fn a_tree_that_git_would_not_make_is_refused() {
        for (entries, fault) in [
            (&[("100644", &b".."[..])][..], "its entry \"..\" means another directory"),
            (&[("40000", b".")], "its entry \".\" means another directory"),
            (&[("40000", b".git")], "its entry \".git\" is a spelling of .git"),
            (&[("40000", b".GiT")], "its entry \".GiT\" is a spelling of .git"),
            (&[("100644", b"GIT~1")], "its entry \"GIT~1\" is a spelling of .git"),
            (&[("120000", b".gitmodules")], "its entry \".gitmodules\" is a symbolic link"),
            (&[("40000", b".gitmodules")], "its entry \".gitmodules\" is no file"),
            (&[("160000", b".gitattributes")], "its entry \".gitattributes\" is no file"),
            (&[("100644", b"a/b")], "its entry \"a/b\" has a slash in its name"),
            (&[("100644", b"")], "its entry \"\" has no name"),
            (&[("100644", b"a"), ("100644", b"a")], "it has two entries named \"a\""),
            (&[("100644", b"a"), ("100644", b"a.b"), ("40000", b"a")], "it has two entries named \"a\""),
            (&[("100644", b"b"), ("100644", b"a")], "its entry \"a\" is out of order"),
            (&[("40000", b"a"), ("100644", b"a.b")], "its entry \"a.b\" is out of order"),
            (&[("999999", b"a")], "it ends in the middle of an entry, or has one with a mode that does not exist"),
        ] {
            let Err(actual) = Tree::decode(&raw(entries)) else { panic!("{fault}: taken") };
            assert_eq!(actual.to_string(), fault);
        }
        let half = &raw(&[("100644", b"a")])[..20];
        assert_eq!(Tree::decode(half).err(), Some(TreeFault::Malformed));
    }
}
