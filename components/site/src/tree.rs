//! What the site reads: the branch of its `pages` binding. `guest` implements it over the host's interface, the tests in
//! memory. Paths are segments joined by `/`; the root is empty.

use alloc::string::String;
use alloc::vec::Vec;

pub(crate) trait Tree {
    fn entry(&self, path: &str) -> Result<Entry, Fault>;
    /// In bytes.
    fn size(&self, path: &str) -> Result<u64, Fault>;
    /// Of a file or a link; of a link, its target.
    fn contents(&self, path: &str) -> Result<Vec<u8>, Fault>;
    /// Of a file: its first `length` bytes, or all there are. For what is too long for `contents`.
    async fn beginning(&self, path: &str, length: usize) -> Result<Vec<u8>, Fault>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// Of the object, in hexadecimal.
    pub(crate) id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Executable or not.
    File,
    Symlink,
    Directory,
    Submodule,
}

/// Why something can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NotFound,
    /// Anything else, in words for a log.
    Other(String),
}

/// A branch in memory, that notes what was asked.
#[cfg(test)]
pub(crate) mod memory {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::{Entry, Fault, Kind, Tree};

    #[derive(Default)]
    pub(crate) struct Branch {
        entries: BTreeMap<String, (Kind, Vec<u8>)>,
        /// Paths that can't be read.
        pub(crate) faults: Vec<(&'static str, Fault)>,
        pub(crate) asked: RefCell<Vec<String>>,
    }

    /// Files by path; `-> TARGET` is a link, `submodule` one.
    pub(crate) fn tree(files: &[(&str, &str)]) -> Branch {
        let mut branch = Branch::default();
        branch.entries.insert(String::new(), (Kind::Directory, Vec::new()));
        for (path, text) in files {
            for (end, _) in path.match_indices('/') {
                branch.entries.insert(path[..end].into(), (Kind::Directory, Vec::new()));
            }
            let (kind, text) = match text.strip_prefix("-> ") {
                Some(target) => (Kind::Symlink, target),
                None if *text == "submodule" => (Kind::Submodule, *text),
                None => (Kind::File, *text),
            };
            branch.entries.insert((*path).into(), (kind, text.into()));
        }
        branch
    }

    impl Branch {
        pub(crate) fn put(&mut self, path: &str, contents: Vec<u8>) {
            self.entries.insert(path.into(), (Kind::File, contents));
        }

        fn get(&self, question: &str, path: &str) -> Result<&(Kind, Vec<u8>), Fault> {
            self.asked.borrow_mut().push(format!("{question} {path}"));
            match self.faults.iter().find(|(fault, _)| *fault == path) {
                Some((_, fault)) => Err(fault.clone()),
                None => self.entries.get(path).ok_or(Fault::NotFound),
            }
        }

        fn blob(&self, question: &str, path: &str) -> Result<&[u8], Fault> {
            match self.get(question, path)? {
                (Kind::File | Kind::Symlink, contents) => Ok(contents),
                _ => Err(Fault::NotFound),
            }
        }
    }

    impl Tree for Branch {
        /// The id of an object is its path.
        fn entry(&self, path: &str) -> Result<Entry, Fault> {
            self.get("entry", path).map(|(kind, _)| Entry { kind: *kind, id: format!("id-of-{path}") })
        }

        fn size(&self, path: &str) -> Result<u64, Fault> {
            self.blob("size", path).map(|contents| contents.len() as u64)
        }

        fn contents(&self, path: &str) -> Result<Vec<u8>, Fault> {
            self.blob("contents", path).map(<[u8]>::to_vec)
        }

        async fn beginning(&self, path: &str, length: usize) -> Result<Vec<u8>, Fault> {
            self.blob("beginning", path).map(|contents| contents[..length.min(contents.len())].to_vec())
        }
    }
}
