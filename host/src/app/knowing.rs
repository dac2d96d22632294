//! A router that decides once it knows what its branches say, be it nothing: what it would say of branches that nobody has
//! fetched yet lets everybody in everywhere.

use std::sync::Arc;

use atoll_gateway::http::{Component, Live};
use atoll_runtime::{Generation, Slot};

pub(super) struct Knowing(pub(super) Arc<Slot>);

impl Knowing {
    /// What decides; nothing where that knows of no commit in a branch, and nobody has said that there is none.
    pub(super) fn generation(&self) -> Option<Arc<Generation>> {
        self.0.serving().filter(|generation| generation.knows_its_branches())
    }
}

impl Component for Knowing {
    fn name(&self) -> &Arc<str> {
        self.0.name()
    }

    fn serving(&self) -> Option<Arc<dyn Live>> {
        self.generation().map(|generation| generation as Arc<dyn Live>)
    }
}

/// What served when it was made, while its slot switches to something else.
pub(super) struct Former {
    name: Arc<str>,
    serving: Option<Arc<dyn Live>>,
}

impl Former {
    pub(super) fn of(component: &dyn Component) -> Arc<dyn Component> {
        Arc::new(Self { name: component.name().clone(), serving: component.serving() })
    }
}

impl Component for Former {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn serving(&self) -> Option<Arc<dyn Live>> {
        self.serving.clone()
    }
}
