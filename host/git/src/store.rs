//! The `git/` directory of the state: a bare repository of ours for each binding. Who opens it holds the state's lock:
//! nobody else writes there.

use std::{
    collections::HashMap,
    fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::SystemTime,
};

use crate::{
    Repository,
    cache::Cache,
    disk::{Identity, lock},
};

/// Why a repository of ours cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0:?} cannot name a repository: letters, digits, '-', '_' and '.' inside, at most 100")]
    Name(String),
    #[error("the repository {path} cannot be opened")]
    Open { path: PathBuf, source: io::Error },
}

/// The repositories of one state directory, and what is remembered of them.
pub struct Store {
    directory: PathBuf,
    state: Identity,
    cache: Arc<Cache>,
    started: SystemTime,
    /// One a name, so that fetches into it are serialised whoever asks.
    open: Mutex<HashMap<String, Repository>>,
}

impl Store {
    /// The store in `directory`, which is created if it is not there, and whose parent is the state directory. About `memory` bytes of trees and small files are
    /// remembered, for all repositories together. `now` is the time of the start.
    pub fn open(directory: &Path, memory: NonZeroUsize, now: SystemTime) -> Result<Self, StoreError> {
        fs::create_dir_all(directory).map_err(|source| StoreError::Open { path: directory.to_owned(), source })?;
        let state = directory.parent().unwrap_or(directory);
        let state = Identity::of(state).map_err(|source| StoreError::Open { path: state.to_owned(), source })?;
        let (directory, cache) = (directory.to_owned(), Arc::new(Cache::new(memory)));
        Ok(Self { directory, state, cache, started: now, open: Mutex::default() })
    }

    /// The repository `NAME.git`, created if it is not there. What a kill or a power cut left half done is tidied, and what
    /// is missing of its frame is made anew; a head that is not whole is forgotten, see [`Repository::damage`]. Blocks.
    pub fn repository(&self, name: &str) -> Result<Repository, StoreError> {
        if !is_name(name) {
            return Err(StoreError::Name(name.to_owned()));
        }
        let mut open = lock(&self.open);
        if let Some(repository) = open.get(name) {
            return Ok(repository.clone());
        }
        let path = self.directory.join(format!("{name}.git"));
        let repository = Repository::open(path.clone(), self.state, self.cache.clone(), self.started)
            .map_err(|source| StoreError::Open { path, source })?;
        open.insert(name.to_owned(), repository.clone());
        Ok(repository)
    }
}

/// Whether `name` can be a file's and a ref's.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=100).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with(['.', '-'])
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.to_ascii_lowercase().ends_with(".lock")
}
