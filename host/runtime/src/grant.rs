//! What a component imports against what its table grants.

use crate::{Code, Table};

/// Our interfaces, and what a table must hold for each.
const OURS: &str = "atoll:host/";

/// Why a component may not have an import, with the line that would grant it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("imports {import}, which is not granted; add to [component.{component}]: {line}")]
    NotGranted { component: String, import: String, line: &'static str },
    #[error("imports {import}, which this host does not have")]
    Unknown { component: String, import: String },
}

/// Checks all imports of ours; WASI's are linked for everybody and denied at the call.
pub(crate) fn check(component: &str, code: &Code, table: &Table) -> Result<(), GrantError> {
    for import in &code.surface().imports {
        let Some(interface) = import.strip_prefix(OURS) else { continue };
        let (component, import) = (component.to_owned(), import.clone());
        match interface {
            "repository@0.1.0" if table.git.is_empty() => {
                let line = "git = { NAME = \"read\" }, NAME being a [git.NAME] of the manifest";
                return Err(GrantError::NotGranted { component, import, line });
            }
            // Of these a router has no more than it was asked, and the names that it may answer with.
            "repository@0.1.0" | "request-head@0.1.0" | "upstreams@0.1.0" => {}
            _ => return Err(GrantError::Unknown { component, import }),
        }
    }
    Ok(())
}
