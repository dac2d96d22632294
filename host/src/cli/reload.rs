//! `host reload`: the manifest read again.

use std::io::Write;

use clap::Args;

use super::{
    report::{refused, write_problems},
    state::State,
};
use crate::{
    control::{client::Client, messages::Reloaded},
    problem::Problems,
    progress::Progress,
    text::printable,
};

/// Read the manifest again; what is wrong in it changes nothing
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Reload {
    #[command(flatten)]
    state: State,
}

const EXAMPLES: &str = "\
Examples:
  host reload && host ps

Prints the components that have a new generation, and the certificates that are others now. All of them are proved before the first switches: if \
one fails, none does, the reason is printed, and the exit status is 1. So it is where a remote that is \
new has what fails its proof; but then the manifest was taken. What is not as it should be otherwise, like \
a remote that can't be fetched yet, is printed to standard error. SIGHUP does the same, and says so in the \
log.";

impl Reload {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<()> {
        let progress = Progress::show("proving what changed");
        let Reloaded { components, certificates, warnings, disproved } =
            Client::new(&self.state.directory()?).reload().map_err(refused)?;
        drop(progress);
        write_problems(&Problems(warnings), &mut std::io::stderr())?;
        if components.is_empty() {
            writeln!(output, "reloaded; no component has a new generation")?;
        } else {
            writeln!(output, "{}", printable(&components.join(" ")))?;
        }
        for certificate in certificates {
            writeln!(output, "another certificate: {}", printable(&certificate))?;
        }
        if disproved.is_empty() {
            return Ok(());
        }
        Err(anyhow::Error::new(Problems(disproved)).context("the manifest was taken, but not all of it serves"))
    }
}
