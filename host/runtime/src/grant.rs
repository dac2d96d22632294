//! What a component imports against what its table grants.

use crate::{Mode, Role, Surface, Table};

/// Our interfaces, and what a table must hold for each.
const OURS: &str = "atoll:host/";
const PUBLICATION: &str = "atoll:host/publication@";

const READ: &str = "git = { NAME = \"read\" }, NAME being a [git.NAME] of the manifest";
const WRITE: &str = "git = { NAME = \"write\" }, NAME being a [git.NAME] of the manifest";
const SEND: &str = "http = [\"https://ORIGIN\"], if it is to send requests: it is denied at the call otherwise";

/// The lines of a table that a component would need, by what it imports.
pub fn needed_grants(surface: &Surface) -> Vec<&'static str> {
    let imports = |interface: &str| surface.imports.iter().any(|import| import.starts_with(interface));
    let write = imports(PUBLICATION).then_some(WRITE);
    let read = (write.is_none() && imports("atoll:host/repository@")).then_some(READ);
    let send = (imports("wasi:http/client@") || imports("wasi:http/outgoing-handler@")).then_some(SEND);
    read.into_iter().chain(write).chain(send).collect()
}

/// Why a component may not have an import, with the line that would grant it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("imports {import}, which is not granted; add to [component.{component}]: {line}")]
    NotGranted { component: String, import: String, line: &'static str },
    #[error("imports {import}, which no router may: what it decides is remembered, and must change nothing")]
    Router { import: String },
    #[error("imports {import}, which this host does not have")]
    Unknown { import: String },
}

/// Checks all imports of ours; WASI's are linked for everybody and denied at the call.
pub fn check_grants(component: &str, surface: &Surface, table: &Table) -> Result<(), GrantError> {
    for import in &surface.imports {
        let Some(interface) = import.strip_prefix(OURS) else { continue };
        let (component, import) = (component.to_owned(), import.clone());
        match interface {
            "repository@0.1.0" if table.git.is_empty() => {
                let writes = surface.imports.iter().any(|import| import.starts_with(PUBLICATION));
                let line = if writes { WRITE } else { READ };
                return Err(GrantError::NotGranted { component, import, line });
            }
            "publication@0.1.0" if surface.role == Some(Role::Router) => return Err(GrantError::Router { import }),
            "publication@0.1.0" if table.git.values().all(|granted| granted.mode == Mode::Read) => {
                return Err(GrantError::NotGranted { component, import, line: WRITE });
            }
            // Of these a router has no more than it was asked, and the names that it may answer with.
            "repository@0.1.0" | "publication@0.1.0" | "request-head@0.1.0" | "upstreams@0.1.0" => {}
            _ => return Err(GrantError::Unknown { import }),
        }
    }
    Ok(())
}
