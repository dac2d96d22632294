//! Finds what is at a path, following symbolic links inside the tree: the host does not. A link that leaves the tree, or
//! leads round in a circle, leads nowhere.

use alloc::borrow::ToOwned as _;
use alloc::string::String;

use crate::tree::{Entry, Fault, Kind, Tree};

/// What a kernel allows before it gives up (Linux, path_resolution(7)).
const LINKS: u32 = 40;
/// Of a link's target, in bytes, as kernels have it.
const LONGEST: usize = 4096;

/// A path without links, and what is there.
pub(crate) type Found = (String, Entry);

/// What is at `path` when every link is followed.
pub(crate) fn find(tree: &impl Tree, path: &str) -> Result<Found, Fault> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        // Nearly always nothing on the way is a link; only if nothing is found it is looked at piece by piece.
        let link = match tree.entry(&path) {
            Ok(entry) if entry.kind != Kind::Symlink => return Ok((path, entry)),
            Ok(_) => path.len(),
            Err(Fault::NotFound) => link_above(tree, &path)?,
            Err(fault) => return Err(fault),
        };
        path = follow(tree, &path[..link], &path[link..])?;
    }
    Err(Fault::NotFound)
}

/// The length of the first part of `path` that is a link, above its last segment.
fn link_above(tree: &impl Tree, path: &str) -> Result<usize, Fault> {
    for (end, _) in path.match_indices('/') {
        match tree.entry(&path[..end])?.kind {
            Kind::Symlink => return Ok(end),
            Kind::Directory => {}
            Kind::File | Kind::Submodule => break,
        }
    }
    Err(Fault::NotFound)
}

/// Where the link at `link` leads, with what stands behind it in the path; `..` takes back one segment as written.
fn follow(tree: &impl Tree, link: &str, behind: &str) -> Result<String, Fault> {
    let target = String::from_utf8(tree.contents(link)?).map_err(|_| Fault::NotFound)?;
    if target.starts_with('/') || target.len() > LONGEST {
        return Err(Fault::NotFound);
    }
    let mut path = String::with_capacity(link.len() + target.len() + behind.len());
    path.push_str(link.rsplit_once('/').map_or("", |(parent, _)| parent));
    for segment in target.split('/').chain(behind.split('/')) {
        match segment {
            "" | "." => {}
            ".." if path.is_empty() => return Err(Fault::NotFound),
            ".." => path.truncate(path.rfind('/').unwrap_or(0)),
            _ => {
                if !path.is_empty() {
                    path.push('/');
                }
                path.push_str(segment);
            }
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::memory::tree;

    #[test]
    fn links_are_followed_inside_the_tree() {
        let tree = tree(&[
            ("a/b/file", "text"),
            ("a/link", "-> b/file"),
            ("up", "-> a/b/../link"),
            ("dir", "-> a/b"),
            ("a/b/back", "-> ../../a"),
            ("chain", "-> dir/back/link"),
            ("dots", "-> ./a//b/./file"),
            ("root", "-> a/.."),
            ("over", "-> ../a/b/file"),
            ("a/over", "-> ../../etc/passwd"),
            ("absolute", "-> /a/b/file"),
            ("self", "-> self"),
            ("one", "-> two"),
            ("two", "-> one"),
            ("grow", "-> grow/x"),
            ("nowhere", "-> missing"),
            ("sub", "submodule"),
        ]);
        for (path, expect) in [
            ("a/b/file", Some("a/b/file")),
            ("a/link", Some("a/b/file")),
            ("up", Some("a/b/file")),
            ("dir", Some("a/b")),
            ("dir/file", Some("a/b/file")),
            ("dir/back/b/back/link", Some("a/b/file")),
            ("chain", Some("a/b/file")),
            ("dots", Some("a/b/file")),
            ("root", Some("")),
            ("root/a/link", Some("a/b/file")),
            ("", Some("")),
            ("sub", Some("sub")),
            ("over", None),
            ("a/over", None),
            ("absolute", None),
            ("self", None),
            ("one", None),
            ("grow", None),
            ("nowhere", None),
            ("dir/missing", None),
            ("a/b/file/x", None),
            ("a/link/x", None),
            ("sub/x", None),
            ("missing/x/y", None),
        ] {
            let found = find(&tree, path).map(|(path, _)| path);
            assert_eq!(found, expect.map(Into::into).ok_or(Fault::NotFound), "{path}");
        }
    }

    #[test]
    fn a_chain_of_forty_links_is_too_long() {
        let links: Vec<(String, String)> = (0..50).map(|n| (format!("l{n}"), format!("-> l{}", n + 1))).collect();
        let mut entries: Vec<(&str, &str)> = links.iter().map(|(path, target)| (&**path, &**target)).collect();
        entries.push(("l50", "text"));
        let tree = tree(&entries);
        assert_eq!(find(&tree, "l11").map(|(path, _)| path), Ok("l50".into()));
        assert_eq!(find(&tree, "l10"), Err(Fault::NotFound));
    }

    #[test]
    fn nothing_more_is_asked_than_needed() {
        let tree = tree(&[("a/b/file", "text")]);
        for (path, expect) in [
            ("a/b/file", &["entry a/b/file"][..]),
            ("missing", &["entry missing"]),
            ("x/y/z", &["entry x/y/z", "entry x"]),
        ] {
            tree.asked.borrow_mut().clear();
            let _ = find(&tree, path);
            assert_eq!(*tree.asked.borrow(), expect, "{path}");
        }
    }
}
