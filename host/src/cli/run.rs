//! `host run`: serve until told to stop.

use std::path::{Path, PathBuf};

use clap::{Args, error::ErrorKind};

use super::{
    report::{NOT_STARTED, mistakes, not_started},
    state::State,
    usage,
};
use crate::{
    app,
    manifest::{self, Address, Bind, Options},
};

/// Serve: a manifest's components, or the ones that are given, until told to stop
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Run {
    #[command(flatten)]
    sources: Sources,

    #[command(flatten)]
    state: State,

    /// Swap a component when its file changes
    #[arg(long)]
    watch: bool,
}

const EXAMPLES: &str = "\
Examples:
  host run components/*.wasm                  try it: https://localhost:8443
  host run hello.wasm --bind pages=public/    any service, over a folder
  host run                                    what host.toml here says
  host run --manifest /etc/atoll/host.toml --state /var/lib/atoll";

/// What is to run: shared with `check`.
#[derive(Debug, Args)]
pub(super) struct Sources {
    /// The manifest [default: host.toml here, else a built-in one for this machine alone]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,

    /// Components, each named by its file: site.wasm is `site`. With a manifest, the file of that name's table
    #[arg(value_name = "COMPONENT")]
    components: Vec<PathBuf>,

    /// Listen here for HTTP, in place of what the manifest says; may be repeated [default: 127.0.0.1:8080, and [::1]]
    #[arg(long, value_name = "ADDR", value_parser = Address::parse)]
    http: Vec<Address>,

    /// Listen here for HTTPS, in place of what the manifest says; may be repeated [default: 127.0.0.1:8443, and [::1]]
    #[arg(long, value_name = "ADDR", value_parser = Address::parse)]
    https: Vec<Address>,

    /// Add or replace a binding: a repository or a directory. Without a manifest `site` reads `pages`, `router` reads `routes`,
    /// and any other component all of them
    #[arg(long, value_name = "NAME=REMOTE[#BRANCH]", value_parser = Bind::parse)]
    bind: Vec<Bind>,
}

impl Sources {
    /// # Errors
    /// Where there is nothing to run.
    pub(super) fn options(self, command: &str, state: PathBuf) -> anyhow::Result<Options> {
        let here = Path::new(manifest::FILE);
        let manifest = self.manifest.or_else(|| here.exists().then(|| here.to_owned()));
        if manifest.is_none() && self.components.is_empty() {
            let message =
                "nothing to run: there is no host.toml here; name a COMPONENT, or a manifest with --manifest FILE";
            return Err(usage(command, ErrorKind::MissingRequiredArgument, message));
        }
        let Self { components, http, https, bind, .. } = self;
        Ok(Options { manifest, state, components, http, https, bind })
    }
}

impl Run {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let options = self.sources.options("run", self.state.directory()?)?;
        let loaded = manifest::load(&options).map_err(|problems| mistakes(problems, NOT_STARTED))?;
        app::run(options, loaded, self.watch).map_err(not_started)
    }
}
