//! What a component is, by what it exports, and what it asks for, by what it imports.

use std::fmt;

use wasmtime::component::Component;

/// What a component is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Decides where requests go.
    Router,
    /// Answers requests; a WASI 0.3 handler, or a 0.2 one.
    Service { wasi: Wasi },
    /// Is woken now and then.
    Agent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wasi {
    P2,
    P3,
}

impl Role {
    /// In a sentence.
    pub fn with_article(self) -> &'static str {
        match self {
            Self::Router => "a router",
            Self::Service { .. } => "a service",
            Self::Agent => "an agent",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Router => "router",
            Self::Service { .. } => "service",
            Self::Agent => "agent",
        })
    }
}

/// The names of a component's imports and exports, with versions, and what follows from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surface {
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    /// None: it exports nothing that this host calls.
    pub role: Option<Role>,
    /// Whether it checks what it was given.
    pub validates: bool,
}

const ROUTING: &str = "atoll:host/routing@0.1.0";
const AGENT: &str = "atoll:host/agent@0.1.0";
const VALIDATION: &str = "atoll:host/validation@0.1.0";

impl Surface {
    pub(crate) fn of(component: &Component, engine: &wasmtime::Engine) -> Self {
        let kind = component.component_type();
        let imports = kind.imports(engine).map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        let exports = kind.exports(engine).map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        let has = |name: &str| exports.iter().any(|export| export == name);
        let has_version = |interface: &str, version: &str| {
            exports.iter().any(|export| {
                export
                    .strip_prefix(interface)
                    .and_then(|rest| rest.strip_prefix('@'))
                    .is_some_and(|at| at.starts_with(version))
            })
        };
        let role = if has(ROUTING) {
            Some(Role::Router)
        } else if has_version("wasi:http/handler", "0.3.") {
            Some(Role::Service { wasi: Wasi::P3 })
        } else if has_version("wasi:http/incoming-handler", "0.2.") {
            Some(Role::Service { wasi: Wasi::P2 })
        } else if has(AGENT) {
            Some(Role::Agent)
        } else {
            None
        };
        let validates = has(VALIDATION);
        Self { imports, exports, role, validates }
    }
}
