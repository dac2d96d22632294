//! Where what is here came from. A repository of ours goes by the name of a binding, and what was fetched for that from one
//! remote is never taken for another's.

use std::{borrow::Cow, fs, io};

use crate::{
    Fetched, Location, Remote, Repository, Revision,
    disk::{self, lock},
    refs::Refs,
    repository::Shared,
};

/// Longer than any address that is believed.
const LONGEST: usize = 64 * 1024;

/// What the head came from.
#[derive(Default)]
pub(crate) struct Origin {
    /// A remote's [`Remote::identity`]; nothing where it was never written down, or can't be read.
    said: Option<String>,
    /// The head that is of no use as long as it is another remote's turn.
    forgotten: Option<Revision>,
}

impl Repository {
    /// Forgets the head where it came from elsewhere than `remote`, until something is fetched; yields from where. Nothing
    /// is removed: when it is that remote's turn again, it is here. Called before anything is followed.
    pub fn claim(&self, remote: &Remote) -> Option<String> {
        let mut origin = lock(&self.0.origin);
        let before = origin.said.clone()?;
        if before == remote.identity() {
            if let Some(forgotten) = origin.forgotten.take() {
                self.0.head.send_replace(Some(forgotten));
            }
            return None;
        }
        origin.forgotten = self.0.head.send_replace(None).or(origin.forgotten.take());
        let (address, branch) = before.split_once('\n').unwrap_or((&before, ""));
        Some(words(address, branch))
    }

    /// The [`Remote::identity`] of what the head came from; empty where nobody knows.
    pub fn origin(&self) -> String {
        lock(&self.0.origin).said.clone().unwrap_or_default()
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
    /// Moves the ref of the head by `write`, to what came from the remote of this identity. A kill on the way leaves what
    /// is nobody's, and is fetched once more.
    pub(crate) fn came_from(&self, identity: &str, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut origin = lock(&self.origin);
        if origin.said.as_deref() == Some(identity) {
            return write();
        }
        self.write_origin(NOBODY)?;
        *origin = Origin { said: Some(NOBODY.to_owned()), forgotten: None };
        write()?;
        self.write_origin(identity)?;
        origin.said = Some(identity.to_owned());
        Ok(())
    }

    /// The same of a head that stands where it stood.
    pub(crate) fn stands_as(&self, identity: &str, fetched: &Fetched) -> io::Result<()> {
        if *fetched == Fetched::Unchanged { self.came_from(identity, || Ok(())) } else { Ok(()) }
    }

    fn write_origin(&self, identity: &str) -> io::Result<()> {
        disk::replace(&self.refs.origin(), identity.as_bytes(), false)?;
        self.unsettled.add([self.refs.origin()]);
        Ok(())
    }

    /// That `remote` has no branch, where there is a head.
    pub(crate) fn no_branch(&self, remote: &Remote) -> String {
        let address = address(remote);
        let there = |before: &str| before.split_once('\n').is_some_and(|(before, _)| before == address);
        let had = lock(&self.origin).said.as_deref().is_none_or(there);
        format!("{address} has no branch {}", if had { "any more" } else { "yet" })
    }
}

/// No remote's.
const NOBODY: &str = "\n";

impl Origin {
    /// Of what a former run wrote. What a power cut leaves of it is nothing.
    pub(crate) fn read(refs: &Refs) -> Self {
        let said = fs::read_to_string(refs.origin()).ok();
        Self { said: said.filter(|said| said.len() <= LONGEST && said.contains('\n')), forgotten: None }
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
