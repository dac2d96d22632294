//! Where what is here came from. A repository of ours goes by the name of a binding, and what was fetched for that from one
//! remote is never taken for another's.

use std::{borrow::Cow, fs, io};

use crate::{
    Fetched, Location, Remote, Repository,
    disk::{self, lock},
    refs::Refs,
    repository::Shared,
};

/// Longer than any address that is believed.
const LONGEST: usize = 64 * 1024;

impl Repository {
    /// Forgets the head where it came from elsewhere than `remote`, until something is fetched; yields from where. Nothing
    /// is removed: when it is `remote`'s turn again, it is here. Called before anything is followed.
    pub fn claim(&self, remote: &Remote) -> Option<String> {
        let before = lock(&self.0.origin).clone().filter(|before| *before != said(remote))?;
        self.0.head.send_replace(None);
        let (address, branch) = before.split_once('\n').unwrap_or((&before, ""));
        Some(words(address, branch))
    }
}

impl Remote {
    /// As a reader knows it: its address without credentials, and the branch where one is said.
    pub fn title(&self) -> String {
        words(&address(self), branch(self))
    }
}

impl Shared {
    /// Written behind the head: a kill between them leaves what is fetched once more.
    pub(crate) fn came_from(&self, remote: &Remote, fetched: &Fetched) -> io::Result<()> {
        let (Fetched::Moved { .. } | Fetched::Unchanged) = fetched else { return Ok(()) };
        let mut origin = lock(&self.origin);
        if origin.as_deref().is_some_and(|before| is(before, remote)) {
            return Ok(());
        }
        let said = said(remote);
        disk::replace(&self.refs.origin(), said.as_bytes(), false)?;
        self.unsettled.add([self.refs.origin()]);
        *origin = Some(said);
        Ok(())
    }
}

/// Nothing where it was never written, or can't be read.
pub(crate) fn read(refs: &Refs) -> Option<String> {
    fs::read_to_string(refs.origin()).ok().filter(|said| said.len() <= LONGEST)
}

fn words(address: &str, branch: &str) -> String {
    if branch.is_empty() { address.to_owned() } else { format!("{address}, branch {branch}") }
}

fn said(remote: &Remote) -> String {
    format!("{}\n{}", address(remote), branch(remote))
}

/// As [`said`], without making it: this is asked at each fetch.
fn is(before: &str, remote: &Remote) -> bool {
    before.split_once('\n').is_some_and(|(before, at)| at == branch(remote) && before == address(remote))
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
