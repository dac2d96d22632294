//! A router that decides once it knows what its branches say, be it nothing: what it would say of branches that nobody has
//! fetched yet lets everybody in everywhere.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use atoll_gateway::http::{Component, Live};
use atoll_runtime::{Generation, Slot};

use super::{bindings::Bindings, host::Running};

pub(super) struct Knowing {
    slot: Arc<Slot>,
    /// By the names that it knows, whether a branch is known to be empty; none where nothing is known of it.
    reads: Vec<(String, Option<Arc<AtomicBool>>)>,
}

impl Knowing {
    pub(super) fn new(running: &Running, bindings: &Bindings) -> Self {
        let reads = running.said.git.iter().map(|(known, grant)| {
            let binding = bindings.get(&grant.from);
            (known.to_string(), binding.map(|binding| binding.known_empty().clone()))
        });
        Self { slot: running.slot.clone(), reads: reads.collect() }
    }

    /// What decides; nothing where that knows of no commit in a branch, and nobody has said that there is none.
    pub(super) fn generation(&self) -> Option<Arc<Generation>> {
        let generation = self.slot.serving()?;
        let known = |(known, revision): (&String, &String)| !revision.is_empty() || self.is_known_empty(known);
        generation.revisions().iter().all(known).then_some(generation)
    }

    fn is_known_empty(&self, known: &str) -> bool {
        match self.reads.iter().find(|(name, _)| name == known) {
            Some((_, empty)) => empty.as_ref().is_some_and(|empty| empty.load(Ordering::Relaxed)),
            // It reads that no more, and is about to be another.
            None => true,
        }
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
