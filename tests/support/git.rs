//! Repositories made, pushed to and pruned by the `git` program, with a clock of their own and nobody's configuration.

use std::{
    cell::Cell,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The committer date of a repository's first commit here; each later one is a second after.
pub(crate) const FIRST_COMMIT: u64 = 1_700_000_000;

/// What a path of a commit holds.
#[derive(Clone, Copy)]
pub(crate) enum Item<'a> {
    File(&'a [u8]),
    Executable(&'a [u8]),
    /// A symbolic link, by its target.
    Link(&'a str),
    /// A commit of another repository.
    Submodule(&'a str),
}

pub(crate) struct Repository {
    /// Where its objects are.
    git: PathBuf,
    /// What another repository, or a manifest, calls it.
    path: PathBuf,
    clock: Cell<u64>,
}

impl Repository {
    pub(crate) fn bare(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        run(&path, &["init", "--quiet", "--bare", "--initial-branch=main"], b"");
        Self { git: path.clone(), path, clock: Cell::new(FIRST_COMMIT) }
    }

    /// With a work tree, whose files stay absent: commits are made without it.
    pub(crate) fn with_work_tree(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        fs::create_dir_all(&path).expect("the folder is the test's");
        let git = path.join(".git");
        run(&git, &["init", "--quiet", "--initial-branch=main"], b"");
        Self { git, path, clock: Cell::new(FIRST_COMMIT) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A commit on top of `branch` whose tree is `files` and nothing else. The commit's id.
    pub(crate) fn commit(&self, branch: &str, files: &[(&str, &str)]) -> String {
        let items: Vec<_> = files.iter().map(|&(path, text)| (path, Item::File(text.as_bytes()))).collect();
        self.commit_items(branch, &items)
    }

    /// One that is there.
    pub(crate) fn open(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { git: path.clone(), path, clock: Cell::new(FIRST_COMMIT) }
    }

    /// A commit on top of `branch` that changes these files alone. The commit's id.
    pub(crate) fn change(&self, branch: &str, files: &[(&str, &str)]) -> String {
        let items: Vec<_> = files.iter().map(|&(path, text)| (path, Item::File(text.as_bytes()))).collect();
        self.import(branch, self.head(branch).as_deref(), false, &items)
    }

    pub(crate) fn commit_items(&self, branch: &str, items: &[(&str, Item<'_>)]) -> String {
        let parent = self.head(branch);
        self.import(branch, parent.as_deref(), true, items)
    }

    /// A commit without a parent that takes the branch's place: what a force-push brings.
    pub(crate) fn replace(&self, branch: &str, files: &[(&str, &str)]) -> String {
        let items: Vec<_> = files.iter().map(|&(path, text)| (path, Item::File(text.as_bytes()))).collect();
        self.import(branch, None, true, &items)
    }

    /// A commit of a tree that `git` itself would not make: names and modes as they are.
    pub(crate) fn commit_tree(&self, branch: &str, entries: &[(&str, &str, &str)]) -> String {
        let mut tree = Vec::new();
        for (mode, name, id) in entries {
            write!(tree, "{mode} {name}\0").expect("a vector takes everything");
            tree.extend(bytes_of(id));
        }
        let tree = self.object("tree", &tree);
        let now = self.tick();
        let commit = format!("tree {tree}\nauthor A <a@test> {now} +0000\ncommitter A <a@test> {now} +0000\n\nTree\n");
        let commit = self.object("commit", commit.as_bytes());
        self.git(&["update-ref", &format!("refs/heads/{branch}"), &commit]);
        commit
    }

    /// An object of any bytes, valid or not; its id.
    pub(crate) fn object(&self, kind: &str, bytes: &[u8]) -> String {
        let arguments = ["hash-object", "-t", kind, "-w", "--literally", "--stdin"];
        text(run(&self.git, &arguments, bytes).stdout)
    }

    /// Takes a remote's branch over as it is.
    pub(crate) fn fetch(&self, remote: &Path, branch: &str) {
        let refspec = format!("+refs/heads/{branch}:refs/heads/{branch}");
        self.git(&["fetch", "--quiet", "--update-head-ok", path_text(remote), &refspec]);
    }

    /// Pushes as a user does; whether it was taken, and what was said.
    pub(crate) fn push(&self, remote: &Path, branch: &str) -> Result<(), String> {
        self.pushed(&["push", "--quiet", path_text(remote), branch])
    }

    pub(crate) fn force_push(&self, remote: &Path, branch: &str) -> Result<(), String> {
        self.pushed(&["push", "--quiet", "--force", path_text(remote), branch])
    }

    /// Drops everything that no ref reaches, at once.
    pub(crate) fn prune(&self) {
        self.git(&["reflog", "expire", "--expire=now", "--all"]);
        self.git(&["gc", "--quiet", "--prune=now"]);
    }

    /// Where `branch` stands; none where it does not exist.
    pub(crate) fn head(&self, branch: &str) -> Option<String> {
        let arguments = ["rev-parse", "--verify", "--quiet", &format!("refs/heads/{branch}")];
        let output = spawn(&self.git, &arguments, b"");
        output.status.success().then(|| text(output.stdout))
    }

    /// Any command of git's, which must do.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        text(run(&self.git, arguments, b"").stdout)
    }

    fn import(&self, branch: &str, parent: Option<&str>, whole: bool, items: &[(&str, Item<'_>)]) -> String {
        let now = self.tick();
        let mut stream = format!("commit refs/heads/{branch}\nauthor A <a@test> {now} +0000\n").into_bytes();
        write!(stream, "committer A <a@test> {now} +0000\ndata 6\nCommit\n").expect("a vector takes everything");
        if let Some(parent) = parent {
            let rest = if whole { "deleteall\n" } else { "" };
            write!(stream, "from {parent}\n{rest}").expect("a vector takes everything");
        }
        for (path, item) in items {
            let (mode, data) = match *item {
                Item::File(data) => ("100644", data),
                Item::Executable(data) => ("100755", data),
                Item::Link(target) => ("120000", target.as_bytes()),
                Item::Submodule(id) => {
                    writeln!(stream, "M 160000 {id} {path}").expect("a vector takes everything");
                    continue;
                }
            };
            write!(stream, "M {mode} inline {path}\ndata {}\n", data.len()).expect("a vector takes everything");
            stream.extend_from_slice(data);
            stream.push(b'\n');
        }
        stream.extend_from_slice(b"done\n");
        run(&self.git, &["fast-import", "--quiet", "--force", "--done"], &stream);
        self.head(branch).expect("fast-import made the branch")
    }

    fn pushed(&self, arguments: &[&str]) -> Result<(), String> {
        let output = spawn(&self.git, arguments, b"");
        if output.status.success() { Ok(()) } else { Err(text(output.stderr)) }
    }

    fn tick(&self) -> u64 {
        self.clock.replace(self.clock.get() + 1)
    }
}

fn run(directory: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let output = spawn(directory, arguments, input);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?} in {}: {}\n{said}", directory.display(), output.status);
    output
}

fn spawn(directory: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new("git")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("a PATH"))
        .env("HOME", directory)
        .env("GIT_DIR", directory)
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_TERMINAL_PROMPT", "0")])
        .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git is installed");
    // What is read here is small, or comes after all of the input was taken: neither side waits for the other.
    let mut stdin = child.stdin.take().expect("piped");
    let sent = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().expect("git ends");
    assert!(sent.is_ok() || !output.status.success(), "git did not read its input");
    output
}

fn bytes_of(id: &str) -> Vec<u8> {
    let digits: Vec<_> = id.chars().map(|digit| digit.to_digit(16).expect("an object id is hexadecimal")).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).expect("two digits are a byte")).collect()
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("the tests' paths are text")
}

fn text(bytes: Vec<u8>) -> String {
    let mut text = String::from_utf8(bytes).expect("git says text");
    text.truncate(text.trim_end().len());
    text
}

#[test]
fn the_same_commits_have_the_same_ids() {
    let folder = tempfile::tempdir().unwrap();
    let one = Repository::bare(folder.path().join("one.git"));
    let two = Repository::with_work_tree(folder.path().join("two"));
    for files in [&[("index.html", "<h1>x</h1>")][..], &[("a/b", "1"), ("c", "")][..]] {
        assert_eq!(one.commit("main", files), two.commit("main", files));
    }
    assert_eq!(one.git(&["ls-tree", "-r", "--name-only", "main"]), "a/b\nc");
    assert_eq!(one.git(&["log", "-1", "--format=%ct", "main"]), (FIRST_COMMIT + 1).to_string());
}

#[test]
fn a_change_keeps_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.git");
    Repository::bare(&path).commit("main", &[("a", "1"), ("b", "1")]);
    Repository::open(&path).change("main", &[("b", "2")]);
    assert_eq!(Repository::open(&path).git(&["show", "main:a", "main:b"]), "12");
}

#[test]
fn every_kind_of_item_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::bare(folder.path().join("a.git"));
    let commit = repository.commit("main", &[("x", "y")]);
    let items = [
        ("e", Item::Executable(b"#!")),
        ("f", Item::File(&[0, 255])),
        ("l", Item::Link("f")),
        ("s", Item::Submodule(&commit)),
    ];
    repository.commit_items("main", &items);
    let mut modes = String::new();
    for line in repository.git(&["ls-tree", "main"]).lines() {
        let (mode, name) = (&line[..6], &line[line.len() - 1..]);
        write!(modes, "{mode} {name} ").unwrap();
    }
    assert_eq!(modes, "100755 e 100644 f 120000 l 160000 s ");
}

#[test]
fn what_was_pushed_over_is_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let remote = Repository::bare(folder.path().join("remote.git"));
    let author = Repository::with_work_tree(folder.path().join("author"));
    let first = author.commit("main", &[("x", "1")]);
    author.push(remote.path(), "main").unwrap();
    let other = Repository::with_work_tree(folder.path().join("other"));
    other.fetch(remote.path(), "main");
    assert_eq!(other.head("main"), remote.head("main"));
    assert_eq!(remote.head("main").as_deref(), Some(&*first));
    author.replace("main", &[("x", "2")]);
    author.push(remote.path(), "main").expect_err("not a fast-forward");
    author.force_push(remote.path(), "main").unwrap();
    remote.prune();
    assert!(!spawn(remote.path(), &["cat-file", "-e", &first], b"").status.success());
}

#[test]
fn a_tree_may_hold_what_git_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::bare(folder.path().join("a.git"));
    let blob = repository.object("blob", b"x");
    repository.commit_tree("main", &[("100644", "..", &blob), ("100644", "a/b", &blob)]);
    assert_eq!(repository.git(&["ls-tree", "--name-only", "main"]), "..\na/b");
}
