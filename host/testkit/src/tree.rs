//! Branches in memory, with the object ids that Git gives the same files.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use atoll_runtime::{Blob, Branch, Entry, Kind, TreeAnswer, TreeError, check_path};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use sha1dc::Hasher;

use crate::Error;

/// A branch's files. As in Git there are no empty directories; those on the way to a file are there by themselves.
///
/// ```
/// use atoll_testkit::Tree;
///
/// let pages = Tree::new()
///     .file("index.html", "<h1>x</h1>")
///     .symlink("home.html", "index.html")
///     .committed(1_700_000_000);
/// ```
#[derive(Clone, Default)]
pub struct Tree {
    leaves: BTreeMap<String, Leaf>,
    revision: Option<String>,
    committed: Option<u64>,
}

#[derive(Clone)]
pub(crate) struct Leaf {
    kind: Kind,
    /// Of a submodule, the commit's id.
    contents: Result<Bytes, TreeError>,
}

/// When a branch was committed to that does not say otherwise: 2023-11-14T22:13:20Z.
pub(crate) const SOME_TIME: u64 = 1_700_000_000;

impl Tree {
    /// A commit without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// A branch that nothing has been committed to.
    pub fn unborn() -> Self {
        Self::default().revision("").committed(0)
    }

    #[must_use]
    pub fn file(self, path: &str, contents: impl Into<Bytes>) -> Self {
        self.leaf(path, Kind::File, Ok(contents.into()))
    }

    #[must_use]
    pub fn executable(self, path: &str, contents: impl Into<Bytes>) -> Self {
        self.leaf(path, Kind::Executable, Ok(contents.into()))
    }

    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.leaf(path, Kind::Symlink, Ok(Bytes::copy_from_slice(target.as_bytes())))
    }

    /// `commit` is its id, 40 hexadecimal digits.
    #[must_use]
    pub fn submodule(self, path: &str, commit: &str) -> Self {
        self.leaf(path, Kind::Submodule, Ok(Bytes::copy_from_slice(commit.as_bytes())))
    }

    /// A file that is listed but can't be read, as in a damaged repository.
    #[must_use]
    pub fn unreadable(self, path: &str, error: TreeError) -> Self {
        self.leaf(path, Kind::File, Err(error))
    }

    /// The commit's id, where it matters; one that follows from the files otherwise.
    #[must_use]
    pub fn revision(self, revision: &str) -> Self {
        Self { revision: Some(revision.into()), ..self }
    }

    /// The committer date in seconds since the Unix epoch.
    #[must_use]
    pub fn committed(self, seconds: u64) -> Self {
        Self { committed: Some(seconds), ..self }
    }

    fn leaf(mut self, path: &str, kind: Kind, contents: Result<Bytes, TreeError>) -> Self {
        self.leaves.insert(path.into(), Leaf { kind, contents });
        self
    }

    /// What the runtime reads.
    ///
    /// # Errors
    /// A path is none of a Git tree, or a file stands where another path needs a directory.
    pub fn branch(&self) -> Result<Arc<dyn Branch>, Error> {
        Ok(Arc::new(self.memory()?))
    }

    pub(crate) fn memory(&self) -> Result<Memory, Error> {
        let mut directories: BTreeMap<&str, Vec<Entry>> = BTreeMap::from([("", Vec::new())]);
        let mut contents = HashMap::new();
        for (path, leaf) in &self.leaves {
            if check_path(path, leaf.kind).is_err() {
                return Err(Error::World(format!("\"{path}\" is no path of a file in a Git tree")));
            }
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            let mut above = parent;
            while !directories.contains_key(above) {
                directories.insert(above, Vec::new());
                above = above.rsplit_once('/').map_or("", |(above, _)| above);
            }
            let entry = Entry { name: name.into(), kind: leaf.kind, id: leaf.id(path)? };
            directories.entry(parent).or_default().push(entry);
            contents.insert(path.clone(), leaf.contents.clone());
        }
        if let Some(path) = directories.keys().find(|path| contents.contains_key(**path)) {
            return Err(Error::World(format!("\"{path}\" is a file and a directory")));
        }
        let (children, root) = ids(directories);
        let committed = self.committed.unwrap_or(SOME_TIME);
        let revision = self.revision.clone().unwrap_or_else(|| commit(&root, committed));
        Ok(Memory { revision, committed, root, children, contents, leaves: self.leaves.clone() })
    }
}

impl Tree {
    /// Every file with its contents; what can't be read is empty.
    pub(crate) fn files(&self) -> Vec<(String, Bytes)> {
        let contents = |leaf: &Leaf| leaf.contents.clone().unwrap_or_default();
        self.leaves.iter().map(|(path, leaf)| (path.clone(), contents(leaf))).collect()
    }

    /// Puts something in place of whatever is at `path`, which a tree can name.
    pub(crate) fn put(&mut self, path: &str, leaf: Leaf) -> Result<(), TreeError> {
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        if above.into_iter().any(|above| self.leaves.contains_key(above)) {
            return Err(TreeError::Other("what is on the way there is no directory".into()));
        }
        let _ = self.take(path);
        self.leaves.insert(path.into(), leaf);
        Ok(())
    }

    /// Takes away what is at `path`: a file, or all that is below it.
    pub(crate) fn take(&mut self, path: &str) -> Result<(), TreeError> {
        let before = self.leaves.len();
        let below = format!("{path}/");
        self.leaves.retain(|known, _| known != path && !known.starts_with(&below) && !path.is_empty());
        if self.leaves.len() == before && !path.is_empty() { Err(TreeError::NotFound) } else { Ok(()) }
    }
}

impl Leaf {
    /// With its id.
    pub(crate) fn written(kind: Kind, contents: Bytes) -> (String, Self) {
        (id("blob", &contents), Self { kind, contents: Ok(contents) })
    }

    /// The same contents as another kind of entry; what is of no file stays what it is.
    pub(crate) fn of(self, kind: Kind) -> Self {
        match (self.kind, kind) {
            (Kind::Submodule, _) | (_, Kind::Submodule | Kind::Directory) => self,
            (_, kind) => Self { kind, ..self },
        }
    }

    fn id(&self, path: &str) -> Result<String, Error> {
        let contents = match &self.contents {
            Ok(contents) => contents,
            Err(error) => return Ok(id("blob", error.to_string().as_bytes())),
        };
        if self.kind != Kind::Submodule {
            return Ok(id("blob", contents));
        }
        let commit = std::str::from_utf8(contents).ok().filter(|commit| unhex(commit).is_some());
        commit
            .map(Into::into)
            .ok_or_else(|| Error::World(format!("\"{path}\": a submodule's commit has 40 hexadecimal digits")))
    }
}

/// Puts directories into those above them, deepest first, and gives the id of the root.
fn ids(mut directories: BTreeMap<&str, Vec<Entry>>) -> (HashMap<String, Vec<Entry>>, String) {
    let mut children = HashMap::new();
    while let Some((path, mut entries)) = directories.pop_last() {
        // Git sorts a directory as if its name ended with a slash.
        entries.sort_by_cached_key(|entry| match entry.kind {
            Kind::Directory => format!("{}/", entry.name),
            _ => entry.name.clone(),
        });
        let id = tree(&entries);
        children.insert(path.to_owned(), entries);
        if path.is_empty() {
            return (children, id);
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        directories.entry(parent).or_default().push(Entry { name: name.into(), kind: Kind::Directory, id });
    }
    unreachable!("the root is among the directories")
}

/// The id of a Git tree.
fn tree(entries: &[Entry]) -> String {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(match entry.kind {
            Kind::File => b"100644 ",
            Kind::Executable => b"100755 ",
            Kind::Symlink => b"120000 ",
            Kind::Directory => b"40000 ",
            Kind::Submodule => b"160000 ",
        });
        bytes.extend_from_slice(entry.name.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&unhex(&entry.id).expect("every id here was made or checked"));
    }
    id("tree", &bytes)
}

fn commit(tree: &str, committed: u64) -> String {
    let person = format!("testkit <testkit@localhost> {committed} +0000");
    id("commit", format!("tree {tree}\nauthor {person}\ncommitter {person}\n\ntest\n").as_bytes())
}

/// The id of a commit as a host makes it.
pub(crate) fn commit_of(tree: &str, parent: &str, author: (&str, &str), seconds: u64, message: &str) -> String {
    let parent = if parent.is_empty() { String::new() } else { format!("parent {parent}\n") };
    let (name, email) = author;
    let committer = format!("Atoll <atoll@localhost> {seconds} +0000");
    let end = if message.ends_with('\n') { "" } else { "\n" };
    let text = format!(
        "tree {tree}\n{parent}author {name} <{email}> {seconds} +0000\ncommitter {committer}\n\n{message}{end}"
    );
    id("commit", text.as_bytes())
}

/// The id of a Git object.
fn id(kind: &str, bytes: &[u8]) -> String {
    let mut hasher = Hasher::new();
    hasher.update(format!("{kind} {}\0", bytes.len()).as_bytes());
    hasher.update(bytes);
    match hasher.finalize() {
        Ok(digest) => digest.to_string(),
        // A test that holds one of the known collisions wants Git's id for it all the same.
        Err(collision) => collision.digest().to_string(),
    }
}

fn unhex(id: &str) -> Option<[u8; 20]> {
    let mut bytes = [0; 20];
    if id.len() != 40 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(id.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

pub(crate) struct Memory {
    leaves: BTreeMap<String, Leaf>,
    revision: String,
    committed: u64,
    root: String,
    /// By the path of a directory.
    children: HashMap<String, Vec<Entry>>,
    /// By the path of a file, link or submodule.
    contents: HashMap<String, Result<Bytes, TreeError>>,
}

impl Memory {
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// What it was made of.
    pub(crate) fn tree(&self) -> Tree {
        Tree { leaves: self.leaves.clone(), revision: None, committed: None }
    }

    /// The object `id`, wherever it is: a file as itself, of a directory what is below it.
    pub(crate) fn find(&self, kind: Kind, id: &str) -> Option<Vec<(String, Leaf)>> {
        let (directory, submodule) = (kind == Kind::Directory, kind == Kind::Submodule);
        if directory && self.root == id {
            return Some(self.leaves.clone().into_iter().collect());
        }
        let (parent, found) = self.children.iter().find_map(|(parent, entries)| {
            let same = |entry: &&Entry| {
                let is = (entry.kind == Kind::Directory, entry.kind == Kind::Submodule);
                entry.id == id && is == (directory, submodule)
            };
            entries.iter().find(same).map(|entry| (parent, entry))
        })?;
        let path = if parent.is_empty() { found.name.clone() } else { format!("{parent}/{}", found.name) };
        if !directory {
            return Some(vec![(String::new(), self.leaves.get(&path)?.clone())]);
        }
        let below = format!("{path}/");
        let inside = self.leaves.iter().filter_map(|(path, leaf)| Some((path.strip_prefix(&below)?, leaf)));
        Some(inside.map(|(path, leaf)| (path.to_owned(), leaf.clone())).collect())
    }

    fn entry_at(&self, path: &str) -> Result<Entry, TreeError> {
        if path.is_empty() {
            return Ok(Entry { name: String::new(), kind: Kind::Directory, id: self.root.clone() });
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let entries = self.children.get(parent).ok_or(TreeError::NotFound)?;
        entries.iter().find(|entry| entry.name == name).cloned().ok_or(TreeError::NotFound)
    }

    fn contents_at(&self, path: &str) -> Result<Bytes, TreeError> {
        if self.entry_at(path)?.kind == Kind::Submodule {
            return Err(TreeError::NotFound);
        }
        self.contents.get(path).cloned().ok_or(TreeError::NotFound)?
    }
}

fn now<'a, T: Send + 'a>(answer: Result<T, TreeError>) -> TreeAnswer<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Branch for Memory {
    fn revision(&self) -> &str {
        &self.revision
    }

    fn committed(&self) -> u64 {
        self.committed
    }

    fn entry<'a>(&'a self, path: &'a str) -> TreeAnswer<'a, Entry> {
        now(self.entry_at(path))
    }

    fn children<'a>(&'a self, path: &'a str) -> TreeAnswer<'a, Vec<Entry>> {
        now(self.children.get(path).cloned().ok_or(TreeError::NotFound))
    }

    fn size<'a>(&'a self, path: &'a str) -> TreeAnswer<'a, u64> {
        now(self.contents_at(path).map(|contents| contents.len() as u64))
    }

    fn contents<'a>(&'a self, path: &'a str, limit: u64) -> TreeAnswer<'a, Bytes> {
        now(self.contents_at(path).and_then(|contents| match contents.len() as u64 <= limit {
            true => Ok(contents),
            false => Err(TreeError::TooLarge),
        }))
    }

    fn read<'a>(&'a self, path: &'a str) -> TreeAnswer<'a, Blob> {
        now(self.contents_at(path).map(|contents| Blob {
            size: contents.len() as u64,
            body: Full::new(contents).map_err(|never| match never {}).boxed_unsync(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(answer: TreeAnswer<'_, T>) -> Result<T, TreeError> {
        futures_util::FutureExt::now_or_never(answer).expect("a tree in memory answers at once")
    }

    #[test]
    fn ids_are_gits() {
        let tree = Tree::new()
            .file("a", "hello\n")
            .executable("bin/run", "#!/bin/sh\n")
            .file("bin.txt", "x")
            .symlink("link", "a")
            .submodule("sub", "1234567890123456789012345678901234567890");
        let branch = tree.branch().unwrap();
        // Of `git hash-object` and `git write-tree`.
        assert_eq!(read(branch.entry("a")).unwrap().id, "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(read(branch.entry("")).unwrap().id, "bb51af2cbc748528bf6dfc5525deda346ba3a9e1");
        let names = read(branch.children("")).unwrap().into_iter().map(|entry| entry.name).collect::<Vec<_>>();
        assert_eq!(names, ["a", "bin.txt", "bin", "link", "sub"]);
    }

    #[test]
    fn only_files_and_links_have_contents() {
        let damaged = TreeError::Corrupt("object is missing".into());
        let tree = Tree::new()
            .file("d/f", "12345")
            .symlink("l", "d/f")
            .submodule("s", &"0".repeat(40))
            .unreadable("broken", damaged.clone());
        let branch = tree.branch().unwrap();
        for (path, size) in [
            ("d/f", Ok(5)),
            ("l", Ok(3)),
            ("d", Err(TreeError::NotFound)),
            ("", Err(TreeError::NotFound)),
            ("s", Err(TreeError::NotFound)),
            ("d/f/x", Err(TreeError::NotFound)),
            ("d/", Err(TreeError::NotFound)),
            ("broken", Err(damaged)),
        ] {
            assert_eq!(read(branch.size(path)), size, "{path}");
        }
        assert_eq!(read(branch.contents("d/f", 4)), Err(TreeError::TooLarge));
        assert_eq!(read(branch.children("d/f")), Err(TreeError::NotFound));
    }

    #[test]
    fn what_no_git_tree_can_hold_is_an_error() {
        for (tree, words) in [
            (Tree::new().file("/a", ""), "\"/a\" is no path of a file in a Git tree"),
            (Tree::new().file("a/../b", ""), "\"a/../b\" is no path of a file in a Git tree"),
            (Tree::new().file(".git", ""), "\".git\" is no path of a file in a Git tree"),
            (Tree::new().file("a", "").file("a/b", ""), "\"a\" is a file and a directory"),
            (Tree::new().submodule("s", "1"), "\"s\": a submodule's commit has 40 hexadecimal digits"),
        ] {
            assert_eq!(tree.branch().err().map(|error| error.to_string()), Some(words.into()));
        }
    }

    #[test]
    fn a_branch_without_a_commit_is_an_empty_tree() {
        let branch = Tree::unborn().branch().unwrap();
        assert_eq!((branch.revision(), branch.committed()), ("", 0));
        assert_eq!(read(branch.children("")), Ok(vec![]));
    }
}
