//! `host compile`: the child in which strangers' components are read and compiled. Started by this program alone.

use clap::Args;

/// Compile the component on standard input; for this program's own use
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct Compile {}
