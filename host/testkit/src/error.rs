//! What can go wrong on the way to an answer, in words for the author of a test.

use std::{io, path::PathBuf};

use atoll_runtime::{Disproof, Failure, LoadError};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("can't read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file is no component.
    #[error("{name} {source}")]
    Load { name: String, source: LoadError },
    /// It can't be linked: the grants that it lacks, with the line of the manifest that would give it to them.
    #[error("{0}")]
    Refused(Disproof),
    /// A tree or an origin that can't be as it was described.
    #[error("{0}")]
    World(String),
    /// A request that can't be made.
    #[error("{0}")]
    Request(String),
    /// It was asked for what it does not export.
    #[error("{0}")]
    NotExported(String),
    /// The guest was asked and gave no answer: it trapped, was too slow, said no.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The machine has no room for wasmtime's pool of instances.
    #[error("wasmtime can't be set up: {0}")]
    Engine(String),
}
