//! `host test`: a component's cases.

use std::{io::Write, path::PathBuf, time::Duration};

use anyhow::bail;
use clap::Args;

use crate::{
    app,
    terminal::{Colour, Colours},
    text::printable,
};

/// Run a component's cases under wasmtime: branches, requests, and what must come back
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Test {
    /// What is tested
    #[arg(value_name = "COMPONENT")]
    component: PathBuf,

    /// Its cases
    #[arg(value_name = "CASES.toml")]
    cases: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  host test site.wasm cases.toml

with, in cases.toml:
  [repository.pages]
  \"index.html\" = \"<h1>x</h1>\"
  [[case]]
  name    = \"the index\"
  request = { path = \"/\" }
  expect  = { status = 200, body = \"<h1>x</h1>\" }

Prints each case with its time; where one fails, what was expected and what came, and the exit status \
is 1. The README's section \"Cases\" has all keys.";

/// How one case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseOutcome {
    pub name: String,
    pub took: Duration,
    /// What came that was not expected, or the other way round; none where it passed. May have several lines.
    pub difference: Option<String>,
}

impl Test {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<()> {
        let colours = super::colours(&std::io::stdout());
        let (mut cases, mut failed) = (0, 0);
        app::test(&self.component, &self.cases, &mut |outcome| {
            cases += 1;
            failed += usize::from(outcome.difference.is_some());
            write!(output, "{}", render(outcome, colours))
        })?;
        if cases == 0 {
            bail!("{} has no [[case]]", printable(&self.cases.display().to_string()));
        }
        if failed > 0 {
            bail!("{failed} of {cases} case{} failed", if cases == 1 { "" } else { "s" });
        }
        writeln!(output, "{cases} case{} passed", if cases == 1 { "" } else { "s" })?;
        Ok(())
    }
}

fn render(outcome: &CaseOutcome, colours: Colours) -> String {
    let milliseconds = outcome.took.as_secs_f64() * 1000.0;
    let name = printable(&outcome.name);
    let Some(difference) = &outcome.difference else {
        return format!("{} {name} ({milliseconds:.1} ms)\n", colours.paint(Colour::Dim, "pass"));
    };
    let lines = difference.lines().map(|line| format!("\n    {}", printable(line))).collect::<Vec<_>>().concat();
    format!("{} {name} ({milliseconds:.1} ms){lines}\n", colours.paint(Colour::Red, "FAIL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes() {
        let passed = CaseOutcome { name: "the index".into(), took: Duration::from_micros(1540), difference: None };
        assert_eq!(render(&passed, Colours::NEVER), "pass the index (1.5 ms)\n");
        let failed = CaseOutcome { difference: Some("status: 200 expected\nstatus: 404 \u{1b}".into()), ..passed };
        assert_eq!(
            render(&failed, Colours::NEVER),
            "FAIL the index (1.5 ms)\n    status: 200 expected\n    status: 404 \\u{1b}\n"
        );
    }
}
