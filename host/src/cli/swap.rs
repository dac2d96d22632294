//! `host swap`: other bytes for a component that serves.

use std::{io::Write, path::PathBuf};

use clap::Args;

use super::{report::refused, state::State};
use crate::{
    control::client::{Client, ClientError},
    progress::Progress,
    text::printable,
};

/// Replace one component of the running host, once the new one is proved; no request fails
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Swap {
    #[command(flatten)]
    state: State,

    /// The component's name in the manifest
    #[arg(value_name = "NAME")]
    name: String,

    /// The new component
    #[arg(value_name = "COMPONENT")]
    component: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  host swap site target/wasm32-wasip2/guest/site.wasm

Prints the digest that serves now. A component that fails its proof does not serve: the old one goes \
on, the reason is printed, and the exit status is 1. A swap lasts until the host stops, unless the \
manifest's file was replaced too, or until that file is swapped in again.";

impl Swap {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<()> {
        let client = Client::new(&self.state.directory()?);
        let progress = Progress::show(format!("proving {}", printable(&self.name)));
        let digest = client.swap(&self.name, &self.component).map_err(|error| match error {
            error @ ClientError::Refused(_) => refused(error).context(self.component.display().to_string()),
            error => refused(error),
        })?;
        drop(progress);
        writeln!(output, "{} {}", printable(&self.name), printable(&digest))?;
        Ok(())
    }
}
