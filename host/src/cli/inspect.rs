//! `host inspect`: what a component is, from its own words.

use std::{fmt::Write as _, io::Write, path::PathBuf};

use clap::Args;
use serde::Serialize;

use crate::{app, text::printable};

/// Show what a component imports, exports and would have to be granted
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Inspect {
    #[arg(value_name = "COMPONENT")]
    component: PathBuf,

    /// Everything, for a program
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  host inspect components/site.wasm
  host inspect stranger.wasm --json | jq .imports";

/// What can be told of a component without running it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// SHA-256, in hexadecimal.
    pub digest: String,
    /// `router`, `service` or `agent`; none for a component that exports nothing of use here.
    pub role: Option<String>,
    /// Interfaces, with their versions.
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    /// The lines of a manifest's table that it would need.
    pub grants: Vec<String>,
}

impl Inspect {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<()> {
        let inspection = app::inspect(&self.component)?;
        if self.json {
            writeln!(output, "{}", serde_json::to_string(&inspection)?)?;
        } else {
            write!(output, "{}", render(&inspection))?;
        }
        Ok(())
    }
}

fn render(inspection: &Inspection) -> String {
    let Inspection { digest, role, imports, exports, grants } = inspection;
    let role = role.as_deref().unwrap_or("none that this host has a use for");
    let mut text = format!("digest   {}\nrole     {}\n", printable(digest), printable(role));
    let nothing = ["nothing that must be granted".to_owned()];
    let needs = if grants.is_empty() { &nothing[..] } else { grants };
    for (title, lines) in [("imports", &imports[..]), ("exports", exports), ("needs", needs)] {
        for (index, line) in lines.iter().enumerate() {
            let title = if index == 0 { title } else { "" };
            writeln!(text, "{title:<9}{}", printable(line)).expect("a string takes all");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inspection_is_read_from_top_to_bottom() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let inspection = Inspection {
            digest: "ab12".into(),
            role: None,
            imports: words(&["atoll:host/repository@0.1.0", "wasi:http/types@0.3.0\u{1b}"]),
            exports: words(&[]),
            grants: words(&["git = { pages = \"read\" }"]),
        };
        assert_eq!(
            render(&inspection),
            "\
digest   ab12
role     none that this host has a use for
imports  atoll:host/repository@0.1.0
         wasi:http/types@0.3.0\\u{1b}
needs    git = { pages = \"read\" }
"
        );
        let inspection = Inspection { grants: words(&[]), ..inspection };
        assert!(render(&inspection).ends_with("\nneeds    nothing that must be granted\n"));
    }
}
