//! What the command line says beside the manifest: components by file, bindings, listeners.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Address, Binding, Name, Remote, binding::branch, reader::readable};
use crate::{
    problem::{Place, Problem},
    text::{printable, quoted},
};

/// All that a manifest is made of. Kept by a running host, which reads it again on a reload.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// None: the built-in one.
    pub manifest: Option<PathBuf>,
    /// The state directory, absolute: the built-in bindings lie there.
    pub state: PathBuf,
    /// Each named by its file stem.
    pub components: Vec<PathBuf>,
    /// In place of the manifest's, if there are any.
    pub http: Vec<Address>,
    pub https: Vec<Address>,
    pub bind: Vec<Bind>,
}

/// `NAME=REMOTE[#BRANCH]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    name: Name,
    /// A path is still as it was written.
    remote: Remote,
    branch: Option<String>,
}

impl Bind {
    /// # Errors
    /// What is wrong with it, in words for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((name, remote)) = text.split_once('=') else {
            return Err("write NAME=REMOTE or NAME=REMOTE#BRANCH".into());
        };
        let (remote, branch) = match remote.rsplit_once('#') {
            Some((remote, name)) => (remote, Some(branch(name)?)),
            None => (remote, None),
        };
        let remote = Remote::parse(remote, Path::new(""))?;
        if let Remote::Ssh { .. } = remote {
            return Err(
                "an SSH remote needs a key, and its server's: say them in a manifest, in a table [git.NAME]".into()
            );
        }
        Ok(Self { name: Name::parse(name)?, remote, branch })
    }

    /// # Errors
    /// Where the current directory cannot be told.
    pub(super) fn binding(&self) -> Result<Binding, Problem> {
        let remote = match &self.remote {
            Remote::Local(path) => {
                let absolute = std::path::absolute(path);
                Remote::Local(absolute.map_err(|error| Problem::new(format!("--bind {}: {error}", self.name)))?)
            }
            remote => remote.clone(),
        };
        Ok(Binding::new(self.name.clone(), remote, self.branch.clone()))
    }
}

/// The files by name, absolute, and what is wrong with them.
pub(super) fn components(files: &[PathBuf]) -> (BTreeMap<Name, PathBuf>, Vec<Problem>) {
    let mut named = BTreeMap::<Name, PathBuf>::new();
    let mut problems = Vec::new();
    for file in files {
        let place = Place { file: Some(printable(&file.to_string_lossy()).into()), line: None };
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let name = match Name::parse(&stem) {
            Ok(name) => name,
            Err(message) => {
                problems.push(place.problem(format!("the file names the component, and {message}")));
                continue;
            }
        };
        let path = match std::path::absolute(file) {
            Ok(path) => path,
            Err(error) => {
                problems.push(place.problem(error.to_string()));
                continue;
            }
        };
        if let Err(message) = readable(&path) {
            problems.push(Problem::new(message));
        }
        if let Some(other) = named.insert(name.clone(), path) {
            let other = quoted(&other.to_string_lossy());
            problems.push(place.problem(format!("`{name}` is the name of {other} too; a component has one file")));
        }
    }
    (named, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds() {
        let bind = |text| Bind::parse(text).map(|bind| (bind.name.to_string(), bind.remote, bind.branch));
        let local = |path: &str| Remote::Local(path.into());
        assert_eq!(bind("pages=public/"), Ok(("pages".into(), local("public/"), None)));
        assert_eq!(bind("pages=../b.git#gh-pages"), Ok(("pages".into(), local("../b.git"), Some("gh-pages".into()))));
        assert_eq!(bind("pages=file:///srv/b%23.git#x"), Ok(("pages".into(), local("/srv/b#.git"), Some("x".into()))));
        for (text, message) in [
            ("pages", "write NAME=REMOTE or NAME=REMOTE#BRANCH"),
            ("pages=", "is empty: name a repository or a directory"),
            (
                "pages=me@git.test:x.git",
                "an SSH remote needs a key, and its server's: say them in a manifest, in a table [git.NAME]",
            ),
            ("pages=x#", "`` cannot be a branch's name"),
            (
                "a/b=x",
                "`a/b` is not a name: letters, digits, `-`, `_` and single `.`, at most 64, a letter or digit first",
            ),
        ] {
            assert_eq!(bind(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn components_are_named_by_their_files() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        std::fs::create_dir(at("other")).unwrap();
        for file in ["site.wasm", "other/site.wasm", "-x.wasm", "hello-0.1.wasm"] {
            std::fs::write(at(file), "").unwrap();
        }

        let (named, problems) = components(&[at("site.wasm"), at("hello-0.1.wasm")]);
        assert_eq!(problems, []);
        assert_eq!(named.keys().map(|name| &**name).collect::<Vec<_>>(), ["hello-0.1", "site"]);

        let shown = |path: &str| at(path).to_string_lossy().into_owned();
        // Nobody writes to it: whoever opened it would wait for that.
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe.wasm"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let (_, problems) = components(&[
            at("site.wasm"),
            at("other/site.wasm"),
            at("-x.wasm"),
            at("gone.wasm"),
            at("other"),
            at("pipe.wasm"),
        ]);
        let problems = problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            problems,
            [
                format!(
                    "{}: `site` is the name of `{}` too; a component has one file",
                    shown("other/site.wasm"),
                    shown("site.wasm")
                ),
                format!(
                    "{}: the file names the component, and `-x` is not a name: letters, digits, `-`, `_` and single `.`, at most 64, a letter or digit first",
                    shown("-x.wasm")
                ),
                format!("there is no file `{}`", shown("gone.wasm")),
                format!("`{}` is not a file", shown("other")),
                format!("`{}` is not a file", shown("pipe.wasm")),
            ]
        );
    }
}
