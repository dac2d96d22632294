//! `host logs`: what the running host said.

use std::{io::Write, os::fd::AsFd as _};

use clap::Args;
use jiff::tz::TimeZone;

use super::{report::refused, state::State};
use crate::{
    control::client::{Client, LogEvent},
    journal::render_with_time,
};

/// Print the log of the running host, or of one component
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Logs {
    #[command(flatten)]
    state: State,

    /// Go on with each new line
    #[arg(short, long)]
    follow: bool,

    /// A component: its own words, and the host's about it
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  host logs
  host logs --follow site

The host keeps its newest 10,000 lines. `site: …` is the host about a component, `site> …` the component \
itself.";

impl Logs {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<()> {
        let (zone, colours) = (TimeZone::system(), super::colours(&std::io::stdout()));
        let client = Client::new(&self.state.directory()?);
        let print = |event| {
            match event {
                LogEvent::Entry(entry) => writeln!(output, "{}", render_with_time(&entry, &zone, colours))?,
                LogEvent::Lost(lines) => writeln!(output, "({lines} lines came too fast and are not here)")?,
            }
            // A line is there when it is said, into a pipe too.
            output.flush()
        };
        client.logs(self.follow, self.name, std::io::stdout().as_fd(), print).map_err(refused)
    }
}
