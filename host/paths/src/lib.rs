//! What an entry of a Git tree may be named, which path leads to one, and what a commit may say: the same for whoever reads
//! and whoever writes. There is no work tree here that a name could hurt; the next one to clone may have one. Pure: bytes in, a
//! decision out.

mod attributes;
mod commit;

use std::fmt;

use gix_validate::path::{self, component};

pub use self::commit::{BadCommit, check_commit};

/// A path, and each name in it, in bytes: what Linux takes.
pub const MAX_PATH: usize = 4096;
pub const MAX_NAME: usize = 255;

/// Directories within directories. A path so deep has no place in a request's head.
pub const MAX_DEPTH: usize = 256;

/// What a name is of, as far as it matters to the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With the bit that makes it a program or without.
    File,
    Symlink,
    /// Or another repository's commit.
    Directory,
}

/// Why a name may not stand in a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its entry {name} {why}")]
pub struct BadName {
    pub name: Shown,
    pub why: &'static str,
}

/// Why a path leads to no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    #[error("a path has at most {MAX_PATH} bytes")]
    Long,
    #[error("directories lie at most {MAX_DEPTH} deep")]
    Deep,
    #[error("a name has no NUL")]
    Nul,
    #[error("a name has at most {MAX_NAME} bytes")]
    LongName,
    #[error(transparent)]
    Name(#[from] BadName),
}

/// A name, quoted and escaped, and cut where it is long: for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    pub fn of(name: &[u8]) -> Self {
        const LONGEST: usize = 100;
        let cut = if name.len() > LONGEST { "..." } else { "" };
        Self(format!("\"{}\"{cut}", name[..name.len().min(LONGEST)].escape_ascii()))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Refuses what no entry may be named, and `git fsck --strict` with it: what means something in a path, every spelling of
/// `.git`, for NTFS between backslashes too, and what Git reads as a file of its own where it is none.
///
/// # Errors
/// It may not, for a reason that can be told to anybody.
pub fn check_name(name: &[u8], kind: Kind) -> Result<(), BadName> {
    let mode = (kind != Kind::File).then_some(component::Mode::Symlink);
    let options = component::Options { protect_windows: false, protect_hfs: true, protect_ntfs: true };
    let check = |name: &[u8]| path::component(name.into(), mode, options).err();
    let behind = || {
        let mut parts = name.split(|byte| *byte == b'\\').filter_map(check);
        parts.find(|error| matches!(error, component::Error::DotGitDir | component::Error::SymlinkedGitModules))
    };
    let why = match check(name).or_else(behind) {
        Some(component::Error::Empty) => "has no name",
        Some(component::Error::Relative) => "means another directory",
        Some(component::Error::PathSeparator) => "has a slash in its name",
        Some(component::Error::DotGitDir) => "is a spelling of .git",
        Some(component::Error::SymlinkedGitModules) if kind == Kind::Symlink => "is a symbolic link",
        Some(component::Error::SymlinkedGitModules) => "is no file",
        Some(_) => "may not have that name",
        // As a link Git warns of it.
        None if kind == Kind::Directory && attributes::is_spelled(name) => "is no file",
        None => return Ok(()),
    };
    Err(BadName { name: Shown::of(name), why })
}

/// The names on the way to what is of `kind`; none for the root.
///
/// # Errors
/// No tree has such a path, for a reason that can be told to anybody.
pub fn names(path: &str, kind: Kind) -> Result<Vec<&[u8]>, BadPath> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    if path.len() > MAX_PATH {
        return Err(BadPath::Long);
    }
    let names: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
    if names.len() > MAX_DEPTH {
        return Err(BadPath::Deep);
    }
    let last = names.len() - 1;
    for (at, name) in names.iter().enumerate() {
        if name.contains(&0) {
            return Err(BadPath::Nul);
        }
        if name.len() > MAX_NAME {
            return Err(BadPath::LongName);
        }
        check_name(name, if at == last { kind } else { Kind::Directory })?;
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_something() {
        use Kind::{Directory, File, Symlink};
        for (name, kinds, why) in [
            (&b""[..], &[File, Symlink, Directory][..], "has no name"),
            (b"..", &[File, Symlink, Directory], "means another directory"),
            (b"a/b", &[File, Symlink, Directory], "has a slash in its name"),
            (b".GiT", &[File, Symlink, Directory], "is a spelling of .git"),
            (b"GIT~1", &[File, Symlink, Directory], "is a spelling of .git"),
            (b".git. ", &[File, Symlink, Directory], "is a spelling of .git"),
            (b".git:x", &[File, Symlink, Directory], "is a spelling of .git"),
            (b".g\xe2\x80\x8cit", &[File, Symlink, Directory], "is a spelling of .git"),
            (b".git\\x", &[File, Symlink, Directory], "is a spelling of .git"),
            (b"a\\GIT~1 .\\b", &[File, Symlink, Directory], "is a spelling of .git"),
            (b".gitmodules", &[Symlink], "is a symbolic link"),
            (b"a\\GITMOD~1", &[Symlink], "is a symbolic link"),
            (b".gitmodules", &[Directory], "is no file"),
            (b"gi7eba~1", &[Directory], "is no file"),
            (b"a\\.gitmodules", &[Directory], "is no file"),
            (b".GitAttributes", &[Directory], "is no file"),
        ] {
            for kind in [File, Symlink, Directory] {
                let expected = format!("its entry \"{}\" {why}", name.escape_ascii());
                let found = check_name(name, kind).err().map(|error| error.to_string());
                if kinds.contains(&kind) {
                    assert_eq!(found, Some(expected), "{kind:?}");
                } else {
                    assert_ne!(found, Some(expected), "{kind:?}");
                }
            }
        }
        for name in [&b"a"[..], b"\xff", b"con", b"a:b", b"a\\b", b".gitignore", b".github", b"..."] {
            for kind in [File, Symlink, Directory] {
                assert_eq!(check_name(name, kind), Ok(()), "{name:?}");
            }
        }
        for name in [&b".gitmodules"[..], b".gitattributes", b"GITATT~1"] {
            assert_eq!(check_name(name, File), Ok(()), "{name:?}");
        }
        assert_eq!(check_name(b".gitattributes", Symlink), Ok(()));
    }

    #[test]
    fn paths_that_lead_nowhere() {
        let deep = |depth| vec!["d"; depth].join("/");
        for (path, expected) in [
            (String::new(), Ok(0)),
            ("a".into(), Ok(1)),
            ("a/b".into(), Ok(2)),
            (deep(256), Ok(256)),
            ("n".repeat(255), Ok(1)),
            ("a//b".into(), Err("its entry \"\" has no name")),
            ("/a".into(), Err("its entry \"\" has no name")),
            ("a/../b".into(), Err("its entry \"..\" means another directory")),
            ("a/\u{1b}\\.git/b".into(), Err("its entry \"\\x1b\\\\.git\" is a spelling of .git")),
            (".gitmodules/a".into(), Err("its entry \".gitmodules\" is no file")),
            ("a\0".into(), Err("a name has no NUL")),
            ("n".repeat(256), Err("a name has at most 255 bytes")),
            (deep(257), Err("directories lie at most 256 deep")),
            (vec!["n".repeat(200); 21].join("/"), Err("a path has at most 4096 bytes")),
        ] {
            let found = names(&path, Kind::File).map(|names| names.len()).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{path}");
        }
    }
}
