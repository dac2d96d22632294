//! Where the state directory is: said, or the user's own.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct State {
    /// The state directory [default: $XDG_STATE_HOME/atoll, else ~/.local/state/atoll]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl State {
    /// Absolute. It may not be there yet.
    pub(super) fn directory(&self) -> anyhow::Result<PathBuf> {
        match &self.state {
            Some(state) => std::path::absolute(state).with_context(|| state.display().to_string()),
            None => default(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME")),
        }
    }
}

/// By the XDG Base Directory Specification, which ignores relative paths.
fn default(xdg_state_home: Option<OsString>, home: Option<OsString>) -> anyhow::Result<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let base = xdg_state_home.and_then(absolute);
    let base = base.or_else(|| home.and_then(absolute).map(|home| home.join(Path::new(".local/state"))));
    Ok(base.context("there is no home directory to keep state in: name a directory with --state DIR")?.join("atoll"))
}

#[cfg(test)]
mod tests {
    use super::default;

    #[test]
    fn the_default_is_the_users_own() {
        let at = |xdg: Option<&str>, home: Option<&str>| {
            default(xdg.map(Into::into), home.map(Into::into)).map_err(|error| error.to_string())
        };
        assert_eq!(at(Some("/x"), Some("/home/me")), Ok("/x/atoll".into()));
        for unset in [None, Some(""), Some("relative")] {
            assert_eq!(at(unset, Some("/home/me")), Ok("/home/me/.local/state/atoll".into()));
        }
        let homeless = "there is no home directory to keep state in: name a directory with --state DIR";
        assert_eq!(at(None, None), Err(homeless.into()));
        assert_eq!(at(None, Some("")), Err(homeless.into()));
    }
}
