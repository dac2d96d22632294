//! The files that a manifest names for its upstreams and bindings, read before anything is begun: what is wrong with one is
//! told with its line, and so is what should be said of it. Certificates have a room of their own.

use std::path::Path;

use anyhow::Context as _;
use atoll_net::{HTTP, Tls};

use super::{hooks, remotes};
use crate::{
    manifest::{Binding, Manifest, Remote},
    problem::{Place, Problem, Problems},
    text::chain,
};

/// Reads them; what should be said of them. Blocks.
///
/// # Errors
/// What is wrong with any.
pub(super) fn read(manifest: &Manifest) -> Result<Vec<Problem>, Problems> {
    let (problems, warnings) = check(manifest);
    if problems.is_empty() { Ok(warnings) } else { Err(Problems(problems)) }
}

/// What is wrong with them, and what should be said of them.
pub(super) fn check(manifest: &Manifest) -> (Vec<Problem>, Vec<Problem>) {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for said in manifest.upstreams.values() {
        let table = Table { name: format!("[upstream.{}]", said.name), place: &said.place };
        let read = said.ca.as_deref().and_then(|file| roots(file).err());
        problems.extend(read.map(|error| table.error(error.as_ref())));
    }
    for said in manifest.bindings.values() {
        let table = Table { name: format!("[git.{}]", said.name), place: &said.place };
        let Binding { remote, hook, .. } = said;
        if let Remote::Http { ca: Some(file), .. } = remote {
            problems.extend(roots(file).err().map(|error| table.error(error.as_ref())));
        }
        problems.extend(remotes::proxied(remote).err().map(|error| table.error(error.as_ref())));
        match hook.as_ref().map(hooks::check) {
            Some(Ok(told)) => warnings.extend(told.map(|words| table.problem(&format!("`hook`: {words}")))),
            Some(Err(error)) => problems.push(table.problem(&format!("`hook`: {}", chain(&error)))),
            None => {}
        }
    }
    (problems, warnings)
}

/// Where something was said.
struct Table<'a> {
    name: String,
    place: &'a Place,
}

impl Table<'_> {
    fn problem(&self, words: &str) -> Problem {
        self.place.problem(format!("{}: {words}", self.name))
    }

    fn error(&self, error: &(dyn std::error::Error + 'static)) -> Problem {
        self.problem(&chain(error))
    }
}

/// The authorities in a file, in place of the system's.
///
/// # Errors
/// What is wrong with it.
pub(super) fn roots(file: &Path) -> anyhow::Result<Tls> {
    let pem = std::fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
    Ok(Tls::with_roots(&file.display().to_string(), &pem, HTTP)?)
}
