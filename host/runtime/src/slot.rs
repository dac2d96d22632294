//! A component's place in the host, by name: what serves there now, and what waits to.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwapOption;

use crate::{Answer, Body, Decision, Failure, Head};

/// One component of the manifest, whatever generation of it serves.
pub struct Slot {
    name: Arc<str>,
    serving: ArcSwapOption<Generation>,
}

impl Slot {
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What new requests go to; none before the first proof.
    pub fn serving(&self) -> Option<Arc<Generation>> {
        self.serving.load_full()
    }
}

/// What a component is at one moment: its bytes, its table and the revisions that it reads. While these stand, its
/// answers stand.
pub struct Generation {
    id: u64,
    revisions: BTreeMap<String, String>,
}

impl Generation {
    /// Unique in this process, and never used again.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// By binding, as the component names it.
    pub fn revisions(&self) -> &BTreeMap<String, String> {
        &self.revisions
    }

    /// Asks a service. The request's URI is absolute, and its path in its one form.
    pub async fn handle(&self, _request: http::Request<Body>) -> Result<Answer, Failure> {
        Err(Failure::NotServing { retry_after: 1 })
    }

    /// Asks a router, or remembers what it said.
    pub async fn decide(&self, _head: &Head<'_>) -> Result<Arc<Decision>, Failure> {
        Err(Failure::NotServing { retry_after: 1 })
    }
}
