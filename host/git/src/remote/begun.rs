//! A directory that is about to be a repository, and is not one yet: its insides are no files to be served.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use gix::bstr::ByteSlice as _;

/// Of a configuration, in bytes: what Git writes first is what tells.
const MAX_START: u64 = 64 * 1024;

/// Whether a directory is about to be a repository: two parts of one are here, be it what is in Git's template, with which a
/// new one begins; or nothing is here yet that is none, as what is copied comes in any order.
pub(super) fn is_begun(path: &Path) -> bool {
    const PARTS: [&str; 8] = [
        "HEAD",
        "description",
        "hooks/pre-commit.sample",
        "info/exclude",
        "objects/info",
        "objects/pack",
        "packed-refs",
        "refs/heads",
    ];
    const NAMES: [&str; 11] = [
        "HEAD",
        "ORIG_HEAD",
        "FETCH_HEAD",
        "branches",
        "config",
        "description",
        "hooks",
        "info",
        "objects",
        "packed-refs",
        "refs",
    ];
    if PARTS.iter().filter(|part| path.join(part).exists()).count() > 1 {
        return true;
    }
    let Ok(names) = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) else { return false };
    let names: Vec<_> = names.into_iter().map(|entry| entry.file_name()).collect();
    names.iter().all(|name| NAMES.iter().any(|of_git| name == of_git)) && NAMES.iter().any(|name| is_of_git(path, name))
}

/// Whether what is called `name` in a directory, as something in a repository is, looks like that inside as well.
fn is_of_git(path: &Path, name: &str) -> bool {
    let path = path.join(name);
    let holds = |only: &dyn Fn(&str) -> bool| {
        fs::read_dir(&path)
            .is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name().to_str().is_some_and(only)))
    };
    let holds_only = |only: &dyn Fn(&str) -> bool| {
        holds(only) && fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some())
    };
    let contains = |word: &str| {
        let mut start = Vec::new();
        // A pipe would be waited for.
        let file = path.is_file().then(|| fs::File::open(&path));
        let read = file.and_then(Result::ok).map(|file| file.take(MAX_START).read_to_end(&mut start));
        read.is_some_and(|read| read.is_ok()) && start.contains_str(word)
    };
    let hex = |name: &str| name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    match name {
        "HEAD" | "packed-refs" => path.is_file(),
        "config" => contains("[core]"),
        "objects" => holds(&|name| matches!(name, "info" | "pack") || hex(name)),
        "description" => contains("Unnamed repository"),
        "info" => holds_only(&|name| matches!(name, "attributes" | "exclude" | "grafts" | "refs" | "sparse-checkout")),
        "hooks" => holds_only(&|name| !name.trim_end_matches(".sample").contains('.')),
        "refs" => holds(&|name| matches!(name, "heads" | "tags" | "remotes" | "notes" | "stash")),
        _ => false,
    }
}
