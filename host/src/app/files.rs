//! The files that a manifest names for its upstreams and bindings, read before anything is begun: what is wrong with one is
//! told with its line. Certificates have a room of their own.

use std::path::Path;

use anyhow::Context as _;
use atoll_net::{HTTP, Tls};

use super::{hooks, remotes};
use crate::{
    manifest::{Manifest, Remote},
    problem::{Problem, Problems},
    text::chain,
};

/// # Errors
/// What is wrong with any. Blocks.
pub(super) fn read(manifest: &Manifest) -> Result<(), Problems> {
    let problems = check(manifest);
    if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
}

/// All that is wrong with them.
pub(super) fn check(manifest: &Manifest) -> Vec<Problem> {
    let upstreams = manifest.upstreams.values().flat_map(|said| {
        let read = said.ca.as_deref().map(|file| roots(file).map(drop));
        read.map(|read| (format!("[upstream.{}]", said.name), &said.place, read))
    });
    let bindings = manifest.bindings.values().flat_map(|said| {
        let ca = match &said.remote {
            Remote::Http { ca: Some(file), .. } => roots(file).map(drop),
            _ => Ok(()),
        };
        let hook = said.hook.as_ref().map_or(Ok(()), hooks::check);
        let proxy = remotes::proxied(&said.remote);
        [ca, hook, proxy].map(|read| (format!("[git.{}]", said.name), &said.place, read))
    });
    let wrong = upstreams.chain(bindings).filter_map(|(table, place, read)| Some((table, place, read.err()?)));
    wrong.map(|(table, place, error)| place.problem(format!("{table}: {}", chain(error.as_ref())))).collect()
}

/// The authorities in a file, in place of the system's.
///
/// # Errors
/// What is wrong with it.
pub(super) fn roots(file: &Path) -> anyhow::Result<Tls> {
    let pem = std::fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
    Ok(Tls::with_roots(&file.display().to_string(), &pem, HTTP)?)
}
