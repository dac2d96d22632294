//! The manifest's certificates: PEM pairs, read and checked.

use std::{fs, sync::Arc, time::SystemTime};

use anyhow::Context as _;
use atoll_gateway::tls::{Certificate, Source, pair};

use crate::{
    manifest::{Manifest, Pair},
    problem::Problem,
    text::chain,
};

/// All of them, and what should be said about them.
pub(super) fn load(manifest: &Manifest, now: SystemTime) -> anyhow::Result<(Vec<Arc<Certificate>>, Vec<Problem>)> {
    let (mut certificates, mut warnings) = (Vec::new(), Vec::new());
    for said in &manifest.certificates {
        let (certificate, warning) = read(said, now).map_err(|error| anyhow::anyhow!("{}", problem(said, &error)))?;
        certificates.push(Arc::new(certificate));
        warnings.extend(warning.map(|words| said.place.problem(words)));
    }
    Ok((certificates, warnings))
}

/// What is wrong with them, and what should be said about them.
pub(super) fn check(manifest: &Manifest) -> (Vec<Problem>, Vec<Problem>) {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for said in &manifest.certificates {
        match read(said, SystemTime::now()) {
            Ok((_, warning)) => warnings.extend(warning.map(|words| said.place.problem(words))),
            Err(error) => problems.push(problem(said, &error)),
        }
    }
    (problems, warnings)
}

fn read(said: &Pair, now: SystemTime) -> anyhow::Result<(Certificate, Option<String>)> {
    let read = |path: &std::path::Path| fs::read(path).with_context(|| format!("{} can't be read", path.display()));
    let (chain, key) = (read(&said.chain)?, read(&said.key)?);
    let (chain_file, key_file) = (said.chain.display().to_string(), said.key.display().to_string());
    let chain = Source { file: &chain_file, bytes: &chain };
    let (certificate, warning) = pair(chain, Source { file: &key_file, bytes: &key }, now)?;
    Ok((certificate, warning.map(|warning| warning.to_string())))
}

fn problem(said: &Pair, error: &anyhow::Error) -> Problem {
    said.place.problem(chain(error.as_ref()))
}
