//! Where a branch comes from. Everything past here is hostile, and none of it is ever run or followed; `receive` alone
//! writes, and only where a push goes.

mod begun;
pub(crate) mod directory;
pub(crate) mod local;
pub(crate) mod receive;

use std::{fmt, path::PathBuf};

use self::local::{Local, LocalError};
use crate::{Depth, PushError, Server};

/// A branch somewhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub location: Location,
    /// A branch's name, or a ref's that begins with `refs/`; without it what the remote's HEAD names.
    pub branch: Option<String>,
    /// How much of its history is taken; of a plain directory there is none.
    pub depth: Depth,
}

/// How it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// On this machine: a bare repository, one with a work tree (its branch is served), or a plain directory, which stands
    /// in for a branch.
    Local(PathBuf),
    /// On a server.
    Server(Server),
}

impl Remote {
    /// What is at `path`, at its own branch.
    pub fn local(path: impl Into<PathBuf>) -> Self {
        Self { location: Location::Local(path.into()), branch: None, depth: Depth::HEAD }
    }

    /// What `server` has, at what its HEAD names.
    pub fn server(server: Server) -> Self {
        Self { location: Location::Server(server), branch: None, depth: Depth::HEAD }
    }

    /// What would keep a fetch from it, as far as that shows without one: of a remote on this machine. Blocks.
    pub fn look(&self) -> Result<(), LocalError> {
        let Location::Local(path) = &self.location else { return Ok(()) };
        match (Local::find(path)?, &self.branch) {
            (Local::Repository(repository), branch) => repository.tip(branch.as_deref()).map(drop),
            (Local::Directory(_), None) => Ok(()),
            (Local::Directory(path), Some(name)) => Err(LocalError::Folder { path, name: name.clone() }),
        }
    }

    /// What keeps every push from it, as far as that shows without one: of a remote on this machine that can be fetched from.
    /// Blocks.
    pub fn look_at_pushing(&self) -> Result<(), PushError> {
        self.may_move()?;
        let Location::Local(path) = &self.location else { return Ok(()) };
        match Local::find(path)? {
            Local::Repository(repository) => Ok(repository.receivable(self.branch.as_deref()).map(drop)?),
            Local::Directory(path) => Err(PushError::Directory(path)),
        }
    }

    /// Not a tag: people hold one to stand still.
    pub(crate) fn may_move(&self) -> Result<(), PushError> {
        match &self.branch {
            Some(name) if name.starts_with("refs/tags/") => {
                Err(PushError::Refused(format!("{name} is a tag, which nobody moves from here: name a branch")))
            }
            _ => Ok(()),
        }
    }

    /// Whether people edit files beside it, which count once they are committed: a repository on this machine with a work
    /// tree. Blocks.
    pub fn has_work_tree(&self) -> bool {
        let Location::Local(path) = &self.location else { return false };
        matches!(Local::find(path), Ok(Local::Repository(repository)) if repository.has_work_tree())
    }

    /// At `branch`.
    #[must_use]
    pub fn at(mut self, branch: impl Into<String>) -> Self {
        self.branch = Some(branch.into());
        self
    }

    /// With so much of its history.
    #[must_use]
    pub fn deep(mut self, depth: Depth) -> Self {
        self.depth = depth;
        self
    }
}

/// That a remote has no such branch, and which it has.
#[derive(Debug)]
pub struct NoBranch {
    /// Nobody said which: it would be what the remote's HEAD names.
    pub(crate) by_head: bool,
    /// Nothing where HEAD names it and nobody told.
    pub(crate) name: Option<String>,
    /// Some of those that are there.
    pub(crate) known: Vec<String>,
}

impl fmt::Display for NoBranch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.by_head, &self.name) {
            (false, name) => write!(f, "no branch {}", name.as_deref().unwrap_or_default())?,
            (true, Some(name)) => write!(f, "its HEAD names {name}, which is not there")?,
            (true, None) => f.write_str("its HEAD names a branch that is not there")?,
        }
        if !self.known.is_empty() {
            write!(f, "; it has {}", self.known.join(", "))?;
        }
        if self.by_head { f.write_str("; name one: branch = \"NAME\"") } else { Ok(()) }
    }
}
