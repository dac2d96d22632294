//! A router that decides once it knows what its branches say, be it nothing: what it would say of branches that nobody has
//! fetched yet lets everybody in everywhere.

use std::sync::Arc;

use arc_swap::ArcSwap;
use atoll_gateway::http::{Component, Live};
use atoll_runtime::{Generation, Slot};

use super::{bindings::Bindings, host::Running};
use crate::manifest::Name;

pub(super) struct Knowing {
    slot: Arc<Slot>,
    /// By the names that it knows, the bindings.
    reads: Vec<(String, Name)>,
    bindings: Arc<ArcSwap<Bindings>>,
}

impl Knowing {
    pub(super) fn new(running: &Running, bindings: &Arc<ArcSwap<Bindings>>) -> Self {
        let reads = running.said.git.iter().map(|(known, grant)| (known.to_string(), grant.from.clone())).collect();
        Self { slot: running.slot.clone(), reads, bindings: bindings.clone() }
    }

    /// What decides; nothing where that knows of no commit in a branch, and nobody has said that there is none.
    pub(super) fn generation(&self) -> Option<Arc<Generation>> {
        let generation = self.slot.serving()?;
        let known = |(known, revision): (&String, &String)| !revision.is_empty() || self.is_said_empty(known);
        generation.revisions().iter().all(known).then_some(generation)
    }

    fn is_said_empty(&self, known: &str) -> bool {
        let bindings = self.bindings.load();
        let binding = self.reads.iter().find(|(name, _)| name == known).and_then(|(_, from)| bindings.get(from));
        binding.is_some_and(|binding| binding.is_said_empty())
    }
}

impl Component for Knowing {
    fn name(&self) -> &Arc<str> {
        self.slot.name()
    }

    fn serving(&self) -> Option<Arc<dyn Live>> {
        self.generation().map(|generation| generation as Arc<dyn Live>)
    }
}
