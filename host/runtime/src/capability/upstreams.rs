//! `upstreams`: the names that a decision may forward to.

use crate::{bindings::upstreams as wit, ctx::Ctx};

/// One name that a decision may forward to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Upstream {
    pub name: String,
    /// A service component, or else a URL.
    pub component: bool,
}

impl wit::Host for Ctx {
    fn all(&mut self) -> wasmtime::Result<Vec<wit::Upstream>> {
        let upstream = |upstream: &Upstream| wit::Upstream {
            name: upstream.name.clone(),
            kind: if upstream.component { wit::Kind::Component } else { wit::Kind::Url },
        };
        Ok(self.given.upstreams.iter().map(upstream).collect())
    }
}
