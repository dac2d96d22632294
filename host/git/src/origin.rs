//! Where what is here came from, be it that there is nothing. A repository of ours goes by the name of a binding, and what
//! was fetched for that from one remote is never taken for another's.

use std::{borrow::Cow, fs, io, path::PathBuf};

use crate::{
    Fetched, Location, Remote, Repository, Revision,
    disk::{self, lock},
    refs::Refs,
    repository::Shared,
};

/// Longer than any address that is believed.
const LONGEST: usize = 64 * 1024;

/// What is known of a branch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its head; nothing where it has no commit, or nobody knows.
    pub head: Option<Revision>,
    /// The [`Remote::identity`] of the remote that said so; empty where none is known to have.
    pub origin: String,
}

impl Standing {
    /// False where there is no commit because nobody has told of one yet, and not because a remote said that it has none.
    pub fn is_known(&self) -> bool {
        self.head.is_some() || !self.origin.is_empty()
    }
}

/// What the head came from, and who has none.
#[derive(Default)]
pub(crate) struct Origin {
    /// The [`Remote::identity`] of the head's; nothing where it was never written down, or can't be read.
    written: Option<String>,
    /// That of the remote that said last that there is no commit.
    none: Option<String>,
    /// The head that is of no use as long as it is another remote's turn.
    forgotten: Option<Revision>,
}

impl Repository {
    /// Forgets the head where it came from elsewhere than `remote`, until something is fetched; yields from where. Nothing
    /// is removed: when it is that remote's turn again, it is here. Called before anything is followed.
    pub fn claim(&self, remote: &Remote) -> Option<String> {
        let mut origin = lock(&self.0.origin);
        let identity = remote.identity();
        let head = self.0.head().or(origin.forgotten.take());
        let before = origin.written.clone().filter(|before| *before != identity);
        let standing = match (head, &before) {
            (Some(_), None) => Standing { head, origin: origin.written.clone().unwrap_or_default() },
            _ if origin.none.as_ref() == Some(&identity) => Standing { head: None, origin: identity },
            _ => Standing::default(),
        };
        if before.is_some() {
            origin.forgotten = head;
        }
        self.0.stand(standing);
        let before = before?;
        let (address, branch) = before.split_once('\n').unwrap_or((&before, ""));
        Some(words(address, branch))
    }
}

impl Remote {
    /// As a reader knows it: its address without credentials, and the branch where one is said.
    pub fn title(&self) -> String {
        words(&address(self), branch(self))
    }

    /// What tells it from any other: its address, a line feed, and the branch where one is said.
    pub fn identity(&self) -> String {
        format!("{}\n{}", address(self), branch(self))
    }
}

impl Shared {
    /// Moves the head by `write`, which moves its ref, to what came from the remote of this identity. A kill on the way
    /// leaves what is nobody's, and is fetched once more.
    pub(crate) fn came_from(
        &self,
        identity: &str,
        head: Revision,
        write: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut origin = lock(&self.origin);
        if origin.none.is_some() {
            match fs::remove_file(self.refs.none()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => origin.none = None,
            }
        }
        if origin.written.as_deref() == Some(identity) {
            write()?;
        } else {
            origin.forgotten = None;
            origin.written = Some(self.write(self.refs.origin(), NOBODY)?);
            write()?;
            origin.written = Some(self.write(self.refs.origin(), identity)?);
        }
        self.stand(Standing { head: Some(head), origin: identity.to_owned() });
        Ok(())
    }

    /// Notes what a fetch from the remote of this identity found, where it moved nothing.
    pub(crate) fn stands_as(&self, identity: &str, fetched: &Fetched) -> io::Result<()> {
        match (fetched, self.head()) {
            (Fetched::Unchanged, Some(head)) => self.came_from(identity, head, || Ok(())),
            (Fetched::Unborn, None) => {
                let mut origin = lock(&self.origin);
                if origin.none.as_deref() != Some(identity) {
                    origin.none = Some(self.write(self.refs.none(), identity)?);
                }
                self.stand(Standing { head: None, origin: identity.to_owned() });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether the remote of this identity said last that there is no commit.
    pub(crate) fn said_none(&self, identity: &str) -> bool {
        lock(&self.origin).none.as_deref() == Some(identity)
    }

    fn write(&self, path: PathBuf, identity: &str) -> io::Result<String> {
        disk::replace(&path, identity.as_bytes(), false)?;
        self.unsettled.add([path]);
        Ok(identity.to_owned())
    }

    /// Wakes nobody where nothing is new.
    fn stand(&self, now: Standing) {
        self.standing.send_if_modified(|before| {
            let new = *before != now;
            *before = now;
            new
        });
    }

    /// That `remote` has no branch, where there is a head.
    pub(crate) fn no_branch(&self, remote: &Remote) -> String {
        let address = address(remote);
        let there = |before: &str| before.split_once('\n').is_some_and(|(before, _)| before == address);
        let had = lock(&self.origin).written.as_deref().is_none_or(there);
        format!("{address} has no branch {}", if had { "any more" } else { "yet" })
    }
}

/// No remote's.
const NOBODY: &str = "\n";

impl Origin {
    /// Of what a former run wrote, and what is known by that where this is the head. What a power cut leaves of it is
    /// nothing.
    pub(crate) fn read(refs: &Refs, head: Option<Revision>) -> (Self, Standing) {
        let read = |path: PathBuf| {
            let written = fs::read_to_string(path).ok();
            written.filter(|written| written.len() <= LONGEST && written.contains('\n'))
        };
        let (written, none) = (read(refs.origin()), read(refs.none()));
        let origin = written.clone().filter(|written| head.is_some() && written != NOBODY).unwrap_or_default();
        (Self { written, none, forgotten: None }, Standing { head, origin })
    }
}

fn words(address: &str, branch: &str) -> String {
    let address = if address.is_empty() { "nobody knows where" } else { address };
    if branch.is_empty() { address.to_owned() } else { format!("{address}, branch {branch}") }
}

fn branch(remote: &Remote) -> &str {
    remote.branch.as_deref().unwrap_or_default()
}

fn address(remote: &Remote) -> Cow<'_, str> {
    match &remote.location {
        Location::Local(path) => path.to_string_lossy(),
        Location::Server(server) => server.name().into(),
    }
}
