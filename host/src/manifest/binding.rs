//! `[git.NAME]`: what a component reads and writes under a name.

use std::{path::PathBuf, time::Duration};

use atoll_git::Depth;
use atoll_net::Secret;

use super::{
    Name, Remote,
    reader::{Entry, Table},
};
use crate::{problem::Place, text::quoted};

/// How often a remote is looked at where nothing else tells.
const POLL: Duration = Duration::from_mins(1);

#[derive(Clone, Debug)]
pub struct Binding {
    pub name: Name,
    pub remote: Remote,
    /// A branch's short name; the remote's own head where none is said.
    pub branch: Option<String>,
    /// How much of its history is fetched. No component sees it.
    pub depth: Depth,
    pub poll: Duration,
    /// Of the hook that tells of a push.
    pub hook: Option<Secret>,
    /// A bare repository of our own in the state directory, to be made where it is missing: something to push to.
    pub ours: bool,
    pub place: Place,
}

impl Binding {
    /// With the defaults; `place` is nowhere.
    pub(super) fn new(name: Name, remote: Remote, branch: Option<String>) -> Self {
        let (depth, place) = (Depth::HEAD, Place::default());
        Self { name, remote, branch, depth, poll: POLL, hook: None, ours: false, place }
    }

    /// Where the remote is a path: that path.
    pub fn local(&self) -> Option<&PathBuf> {
        if let Remote::Local(path) = &self.remote { Some(path) } else { None }
    }
}

pub(super) fn read(name: Name, mut table: Table<'_>) -> Option<Binding> {
    const POLLS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);

    let place = table.place();
    let address = table.required("remote", "a repository's address, or the path of a repository or a directory");
    let directory = table.source().directory();
    let remote = address.as_ref().and_then(|entry| entry.text(|text| Remote::parse(text, directory)));
    // Known keys, whether they go with the remote or not.
    for key in ["key", "passphrase", "known_hosts", "pin", "ca", "token"] {
        table.entry(key);
    }
    let remote = remote.map(|remote| remote.read_keys(&mut table));
    let hook = table.secret("hook");
    let branch = table.text("branch", branch);
    let depth = table.entry("depth").and_then(|entry| depth(&entry)).unwrap_or_default();
    let poll = table.duration("poll", POLLS).unwrap_or(POLL);
    table.finish();
    Some(Binding { name, remote: remote?, branch, depth, poll, hook, ours: false, place })
}

/// A number of commits, the head's own among them, or all.
fn depth(entry: &Entry<'_>) -> Option<Depth> {
    const MOST: u32 = 1_000_000;

    if !entry.is_text() {
        return entry.number(&(1..=MOST)).and_then(Depth::new);
    }
    entry.text(|text| match text {
        "all" => Ok(Depth::ALL),
        _ => Err(format!("{} is neither \"all\" nor a number of commits", quoted(text))),
    })
}

/// A branch's short name, by Git's rules (git-check-ref-format).
#[expect(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "Git refuses this very ending, which is no extension"
)]
pub(super) fn branch(text: &str) -> Result<String, String> {
    if let Some(short) = text.strip_prefix("refs/heads/") {
        return Err(format!("write the branch's short name: \"{short}\""));
    }
    let fits = !text.is_empty()
        && text != "@"
        && text.len() <= 200
        && !text.starts_with('-')
        && !text.ends_with('.')
        && !text.contains("..")
        && !text.contains("@{")
        && !text.contains(|c: char| c.is_control() || c == ' ' || "~^:?*[\\".contains(c))
        && text.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"));
    if fits { Ok(text.to_owned()) } else { Err(format!("{} cannot be a branch's name", quoted(text))) }
}

#[cfg(test)]
mod tests {
    use super::branch;

    #[test]
    fn branches_by_gits_rules() {
        for good in ["main", "gh-pages", "feature/x", "ümlaut"] {
            assert_eq!(branch(good), Ok(good.to_owned()));
        }
        for bad in [
            "", "@", "-x", "a..b", "a b", "a~1", "a^", "a:b", "a?", "*", "[a", "a\\b", "a/", "/a", "a//b", ".a",
            "a.lock", "a.", "a@{1}", "a\n",
        ] {
            assert!(branch(bad).is_err(), "{bad:?}");
        }
        assert_eq!(branch("refs/heads/main"), Err("write the branch's short name: \"main\"".into()));
        assert_eq!(branch("../x"), Err("`../x` cannot be a branch's name".into()));
    }
}
