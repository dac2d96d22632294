//! Which file of the tree is meant by a path.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::lookup;
use crate::pointer;
use crate::target;
use crate::tree::{Fault, Kind, Tree};

/// What is at a path.
pub(crate) enum Located {
    /// Found at `path`; `name` is what it was asked for as, and says what type it has.
    File {
        name: String,
        path: String,
        id: String,
        /// In bytes.
        size: u64,
        /// All of it, where that had to be looked at.
        contents: Option<Vec<u8>>,
    },
    Directory,
    /// A file that stands in for another one: what to tell the log.
    Pointer(String),
    Nothing,
}

/// Finds the file for `path` (decoded, from `/` on). Of a directory that was rewritten to, its index: nobody may see
/// where it is.
pub(crate) fn locate(tree: &impl Tree, path: &str, rewritten: bool) -> Result<Located, Fault> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    if inner.is_empty() || inner.ends_with('/') {
        return match file(tree, &format!("{inner}index.html"))? {
            Located::Directory => Ok(Located::Nothing),
            found => Ok(found),
        };
    }
    let exact = file(tree, inner)?;
    if !matches!(exact, Located::Directory | Located::Nothing) {
        return Ok(exact);
    }
    let page = file(tree, &format!("{inner}.html"))?;
    if !matches!(page, Located::Directory | Located::Nothing) {
        return Ok(page);
    }
    if !matches!(exact, Located::Directory) {
        return Ok(Located::Nothing);
    }
    match file(tree, &format!("{inner}/index.html"))? {
        Located::File { .. } if !rewritten => Ok(Located::Directory),
        Located::Directory => Ok(Located::Nothing),
        found => Ok(found),
    }
}

/// What is at exactly `path` of the tree, links followed, and may be served.
pub(crate) fn file(tree: &impl Tree, path: &str) -> Result<Located, Fault> {
    if !target::is_public(path) {
        return Ok(Located::Nothing);
    }
    let (found, entry) = match lookup::find(tree, path) {
        Ok(found) => found,
        Err(Fault::NotFound) => return Ok(Located::Nothing),
        Err(fault) => return Err(fault),
    };
    if !target::is_public(&found) {
        return Ok(Located::Nothing);
    }
    match entry.kind {
        Kind::File => {
            let size = tree.size(&found)?;
            let contents = if pointer::possible(size) { Some(tree.contents(&found)?) } else { None };
            if contents.as_deref().is_some_and(pointer::is_pointer) {
                let path = found.escape_debug();
                return Ok(Located::Pointer(format!(
                    "{path} is a Git LFS pointer: the file that it stands for is not in the branch"
                )));
            }
            Ok(Located::File { name: path.to_owned(), path: found, id: entry.id, size, contents })
        }
        Kind::Directory => Ok(Located::Directory),
        Kind::Symlink | Kind::Submodule => Ok(Located::Nothing),
    }
}
