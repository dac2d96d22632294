//! `host check`: all that `run` would refuse.

use std::io::Write;

use clap::Args;

use super::{
    report::{mistakes, write_problems},
    run::Sources,
    state::State,
};
use crate::{
    app, manifest,
    problem::{Problem, Problems},
};

/// Say what is wrong in a manifest and in what it names, without running it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    #[command(flatten)]
    sources: Sources,

    #[command(flatten)]
    state: State,

    /// Fail on warnings too: a host would start, and something in it would be of no use
    #[arg(long)]
    strict: bool,
}

const EXAMPLES: &str = "\
Examples:
  host check                 host.toml here, and its components
  host check --bind pages=public/ components/*.wasm
  host check --strict && host reload";

impl Check {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<()> {
        let options = self.sources.options("check", self.state.directory()?)?;
        let loaded = manifest::load(&options).map_err(wrong)?;
        let checked = app::check(&loaded.manifest)?;
        let warnings: Vec<Problem> = loaded.warnings.into_iter().chain(checked.warnings).collect();
        let but_for = match warnings.len() {
            0 => String::new(),
            1 => ", but for the warning".to_owned(),
            count => format!(", but for {count} warnings"),
        };
        write_problems(&Problems(warnings), &mut std::io::stderr())?;
        if !checked.problems.is_empty() {
            return Err(wrong(Problems(checked.problems)));
        }
        anyhow::ensure!(!self.strict || but_for.is_empty(), "nothing is wrong{but_for}, which --strict does not take");
        let count = loaded.manifest.components.len();
        writeln!(output, "{count} component{}: nothing is wrong{but_for}", if count == 1 { "" } else { "s" })?;
        Ok(())
    }
}

fn wrong(problems: Problems) -> anyhow::Error {
    mistakes(problems, "a fresh host would not start")
}
