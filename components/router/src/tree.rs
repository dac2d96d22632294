//! What the router reads: the branch of its `routes` binding, and the request. `guest` implements both over the host's
//! interfaces, the tests in memory.

use alloc::string::String;
use alloc::vec::Vec;

/// The branch with the route files, as far as the router reads it.
pub(crate) trait Tree {
    /// The contents of the file at the root called `name`.
    fn contents(&self, name: &str) -> Result<Vec<u8>, Fault>;
    /// The object id of the root; none for a branch without a commit.
    fn root(&self) -> Result<Option<String>, Fault>;
    /// What is at the root: names, and whether each is a regular file.
    fn children(&self) -> Result<Vec<(String, bool)>, Fault>;
}

/// Why something can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NotFound,
    /// Anything else, in words for a log.
    Other(String),
}

/// A request's head. Each question that is asked makes the decision depend on its answer.
pub(crate) trait Head {
    fn authority(&self) -> String;
    /// By whole segments.
    fn under(&self, prefix: &str) -> bool;
    fn path(&self) -> String;
    fn query(&self) -> Option<String>;
}

/// What can be forwarded to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    /// A service component of this host, not an address.
    pub(crate) component: bool,
}

/// A branch and requests in memory, that note what was asked.
#[cfg(test)]
pub(crate) mod memory {
    use std::cell::RefCell;

    use super::{Fault, Head, Tree, Upstream};

    #[derive(Default)]
    pub(crate) struct Branch {
        pub(crate) files: Vec<(&'static str, Vec<u8>)>,
        /// Files whose contents are an error.
        pub(crate) faults: Vec<(&'static str, Fault)>,
        pub(crate) links: Vec<&'static str>,
        pub(crate) without_a_commit: bool,
        pub(crate) asked: RefCell<Vec<String>>,
    }

    pub(crate) fn branch(files: &[(&'static str, &str)]) -> Branch {
        let files = files.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())).collect();
        Branch { files, ..Branch::default() }
    }

    impl Tree for Branch {
        fn contents(&self, name: &str) -> Result<Vec<u8>, Fault> {
            self.asked.borrow_mut().push(format!("contents {name}"));
            if let Some((_, fault)) = self.faults.iter().find(|(file, _)| *file == name) {
                return Err(fault.clone());
            }
            self.files.iter().find(|(file, _)| *file == name).map(|(_, text)| text.clone()).ok_or(Fault::NotFound)
        }

        fn root(&self) -> Result<Option<String>, Fault> {
            self.asked.borrow_mut().push("root".into());
            let empty = self.files.is_empty() && self.faults.is_empty() && self.links.is_empty();
            let id = if empty { "4b825dc642cb6eb9a060e54bf8d69288fbee4904" } else { "0123" };
            Ok((!self.without_a_commit).then(|| id.into()))
        }

        fn children(&self) -> Result<Vec<(String, bool)>, Fault> {
            self.asked.borrow_mut().push("children".into());
            let files = self.files.iter().map(|(name, _)| name).chain(self.faults.iter().map(|(name, _)| name));
            let mut children: Vec<(String, bool)> = files.map(|name| ((*name).into(), true)).collect();
            children.extend(self.links.iter().map(|name| ((*name).into(), false)));
            children.sort();
            Ok(children)
        }
    }

    pub(crate) struct Request {
        pub(crate) authority: &'static str,
        pub(crate) path: &'static str,
        pub(crate) query: Option<&'static str>,
        pub(crate) asked: RefCell<Vec<String>>,
    }

    /// A request for `authority` and then a path, with a query behind `?`.
    pub(crate) fn request(url: &'static str) -> Request {
        let (authority, path) = url.split_at(url.find('/').expect("a path"));
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        Request { authority, path, query, asked: RefCell::default() }
    }

    impl Head for Request {
        fn authority(&self) -> String {
            self.asked.borrow_mut().push("authority".into());
            self.authority.into()
        }

        fn under(&self, prefix: &str) -> bool {
            self.asked.borrow_mut().push(format!("under {prefix}"));
            self.path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }

        fn path(&self) -> String {
            self.asked.borrow_mut().push("path".into());
            self.path.into()
        }

        fn query(&self) -> Option<String> {
            self.asked.borrow_mut().push("query".into());
            self.query.map(Into::into)
        }
    }

    /// Upstreams by name; what ends in `!` is a service component.
    pub(crate) fn upstreams(names: &[&str]) -> Vec<Upstream> {
        let upstream =
            |name: &&str| Upstream { name: name.trim_end_matches('!').into(), component: name.ends_with('!') };
        names.iter().map(upstream).collect()
    }
}
