//! Remotes made by scripts with a fixed clock, and a store to fetch them into.

use std::{
    fmt::Write as _,
    io::Write as _,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tempfile::TempDir;

use crate::{BlobReader, FetchError, Fetched, ObjectId, Remote, Repository, Revision, Store};

/// Every commit's date, unless a script says otherwise.
pub(super) const DATE: u64 = 1_700_000_000;

/// A later time than any file of a test.
pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(4_000_000_000)
}

/// A folder with a state in it, and whatever a test puts there.
pub(super) struct Room {
    pub(super) path: PathBuf,
    _folder: TempDir,
}

impl Room {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { path: folder.path().to_owned(), _folder: folder }
    }

    /// Runs a shell script here, and yields what it printed.
    pub(super) fn script(&self, script: &str) -> String {
        printed(&shell(&self.path, script).output().unwrap(), script)
    }

    /// Runs a shell script here that reads `input`.
    pub(super) fn feed(&self, script: &str, input: &[u8]) -> String {
        let mut child = shell(&self.path, script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        printed(&child.wait_with_output().unwrap(), script)
    }

    /// A bare repository `NAME` with one commit of `files` on `main`.
    pub(super) fn remote(&self, name: &str, files: &[(&str, &str)]) -> Remote {
        self.script(&format!("git init -q --bare -b main {name}"));
        self.push(name, files);
        Remote::local(self.path.join(name))
    }

    /// One more commit on `main`, of these files alone.
    pub(super) fn push(&self, name: &str, files: &[(&str, &str)]) -> ObjectId {
        let mut stream = format!("commit refs/heads/main\nmark :1\ncommitter a <a@b> {DATE} +0000\ndata 0\n");
        if self.script(&format!("git -C {name} for-each-ref refs/heads/main")).is_empty() {
            stream += "deleteall\n";
        } else {
            stream += "from refs/heads/main^0\ndeleteall\n";
        }
        for (path, contents) in files {
            write!(stream, "M 100644 inline {path}\ndata {}\n{contents}\n", contents.len()).unwrap();
        }
        stream += "get-mark :1\ndone\n";
        id(&self.feed(&format!("git -C {name} fast-import --quiet --force --done"), stream.as_bytes()))
    }

    /// A commit of the tree `tree`, which may be a bad one, on `main`.
    pub(super) fn commit_tree(&self, name: &str, tree: &str) -> ObjectId {
        let script = format!("git -C {name} update-ref refs/heads/main $(git -C {name} commit-tree -m m {tree})");
        self.script(&format!("{script}; git -C {name} rev-parse main"));
        id(&self.script(&format!("git -C {name} rev-parse main")))
    }

    /// Writes a tree as it is, whatever is wrong with it, and yields its id.
    pub(super) fn bad_tree(&self, name: &str, entries: &[(&str, &[u8], &str)]) -> String {
        let mut raw = Vec::new();
        for (mode, entry, id) in entries {
            let id = ObjectId::from_hex(id.as_bytes()).unwrap();
            raw.extend([mode.as_bytes(), b" ", entry, b"\0", id.as_bytes()].concat());
        }
        self.feed(&format!("git -C {name} hash-object -t tree -w --literally --stdin"), &raw).trim().to_owned()
    }

    pub(super) fn blob(&self, name: &str, contents: &str) -> String {
        self.feed(&format!("git -C {name} hash-object -w --stdin"), contents.as_bytes()).trim().to_owned()
    }

    /// The state, opened anew, as after a start.
    pub(super) fn store(&self) -> Store {
        Store::open(&self.path.join("state/git"), NonZeroUsize::new(8 << 20).unwrap(), SystemTime::now()).unwrap()
    }

    /// Its repository `pages`.
    pub(super) fn pages(&self) -> Repository {
        self.store().repository("pages").unwrap()
    }

    /// What `git fsck` says of it; nothing where it is clean. What nobody names is not a fault.
    pub(super) fn fsck(&self) -> String {
        let output =
            shell(&self.path, "git -C state/git/pages.git fsck --full --strict --no-dangling 2>&1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let said: Vec<&str> = said.lines().filter(|line| !line.starts_with("notice: ")).collect();
        if output.status.success() { said.join("\n") } else { format!("{}: {}", output.status, said.join("\n")) }
    }
}

/// Measures of memory are no use beside each other.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Anonymous memory of this process, in bytes.
pub(super) fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Errors with what is behind them.
pub(super) trait InFull: std::error::Error + Sized {
    fn in_full(&self) -> String {
        let sources = std::iter::successors(self.source(), |error| (*error).source());
        sources.fold(self.to_string(), |said, source| format!("{said}: {source}"))
    }
}

impl<E: std::error::Error> InFull for E {}

pub(super) fn fetch(repository: &Repository, remote: &Remote) -> Result<Fetched, FetchError> {
    repository.fetch(remote, now())
}

/// Fetches what must have moved.
pub(super) fn moved(repository: &Repository, remote: &Remote) -> Revision {
    match fetch(repository, remote) {
        Ok(Fetched::Moved { revision, notices }) if notices.is_empty() => revision,
        other => panic!("{other:?}"),
    }
}

/// Every file of the head with its contents, by the same words as `files` of a remote.
pub(super) fn files(repository: &Repository) -> Vec<(String, String)> {
    let snapshot = repository.snapshot(repository.head().map(|head| head.id)).unwrap();
    let mut found = Vec::new();
    let mut paths = vec![String::new()];
    while let Some(path) = paths.pop() {
        for child in snapshot.children(&path).unwrap() {
            let below = if path.is_empty() { child.name } else { format!("{path}/{}", child.name) };
            if child.kind == crate::Kind::Directory {
                paths.push(below);
            } else {
                let contents = snapshot.contents(&below, 1 << 20).unwrap();
                found.push((below, String::from_utf8_lossy(&contents).into_owned()));
            }
        }
    }
    found.sort();
    found
}

pub(super) fn drain(mut reader: BlobReader, mut each: impl FnMut(&[u8])) -> u64 {
    let mut length = 0;
    loop {
        let chunk = reader.chunk(256 * 1024).unwrap();
        if chunk.is_empty() {
            return length;
        }
        length += chunk.len() as u64;
        each(&chunk);
    }
}

pub(super) fn id(hex: &str) -> ObjectId {
    ObjectId::from_hex(hex.trim().as_bytes()).unwrap()
}

fn shell(directory: &Path, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-euc", script]).current_dir(directory).env_clear();
    let date = format!("{DATE} +0000");
    command.envs([
        ("PATH", std::env::var("PATH").unwrap().as_str()),
        ("HOME", directory.to_str().unwrap()),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_AUTHOR_NAME", "a"),
        ("GIT_AUTHOR_EMAIL", "a@b"),
        ("GIT_AUTHOR_DATE", &date),
        ("GIT_COMMITTER_NAME", "a"),
        ("GIT_COMMITTER_EMAIL", "a@b"),
        ("GIT_COMMITTER_DATE", &date),
        ("GIT_CONFIG_COUNT", "3"),
        ("GIT_CONFIG_KEY_0", "core.fsync"),
        ("GIT_CONFIG_VALUE_0", "none"),
        ("GIT_CONFIG_KEY_1", "gc.auto"),
        ("GIT_CONFIG_VALUE_1", "0"),
        ("GIT_CONFIG_KEY_2", "init.defaultBranch"),
        ("GIT_CONFIG_VALUE_2", "main"),
    ]);
    command
}

fn printed(output: &Output, script: &str) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
