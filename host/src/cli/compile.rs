//! `host compile`: the child in which strangers' components are read and compiled. Started by this program alone, which
//! reads one line where it fails: what is wrong, and nothing before it.

use clap::Args;

/// Compile the component on standard input; for this program's own use
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct Compile {}

/// Printed as it is.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Line(String);

pub(super) fn execute() -> Result<(), Line> {
    atoll_runtime::compile_as_child().map_err(Line)
}
