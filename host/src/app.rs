//! What the commands need the runtime for. The assembly takes this file's place.

use std::{io, path::Path};

use anyhow::bail;

use crate::{
    cli::{CaseOutcome, Inspection},
    manifest::{Loaded, Manifest, Options},
    problem::Problem,
};

const MISSING: &str = "this build has no runtime";

/// Serves until told to stop. `options` make the manifest again at a reload.
pub fn run(_options: Options, _loaded: Loaded, _watch: bool) -> anyhow::Result<()> {
    bail!(MISSING)
}

/// What is wrong that only the components' own bytes and the certificates show.
pub fn check(_manifest: &Manifest) -> anyhow::Result<Vec<Problem>> {
    bail!(MISSING)
}

/// What a component says of itself.
pub fn inspect(_component: &Path) -> anyhow::Result<Inspection> {
    bail!(MISSING)
}

/// Runs each case and reports it.
pub fn test(
    _component: &Path,
    _cases: &Path,
    _report: &mut dyn FnMut(&CaseOutcome) -> io::Result<()>,
) -> anyhow::Result<()> {
    bail!(MISSING)
}
