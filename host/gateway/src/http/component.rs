//! The seam to the runtime: what the gateway asks of a component, and nothing of how it is run. Tests stand in for it
//! without a line of wasm.

use std::{fmt::Write as _, sync::Arc};

use atoll_runtime::{Body, Decision, Failure, Generation, Head, Isolation, Slot};
use futures_util::future::BoxFuture;

/// A component's place in the host.
pub trait Component: Send + Sync + 'static {
    fn name(&self) -> &Arc<str>;
    /// What new requests go to; none before the first proof.
    fn serving(&self) -> Option<Arc<dyn Live>>;
}

/// One generation of a component.
pub trait Live: Send + Sync + 'static {
    /// Unique in this process, and greater than that of any generation of the same component before it.
    fn id(&self) -> u64;
    /// The revisions that it reads, for the log: one by itself, several by their bindings' names.
    fn revision(&self) -> Arc<str>;
    /// Requests of a kind that may keep its instances busy at once.
    fn room(&self, isolation: Isolation) -> usize;
    /// What was decided about the same questions before. Answers at once.
    fn recall(&self, head: &Head<'_>) -> Option<Arc<Decision>>;
    fn decide<'a>(&'a self, head: &'a Head<'a>) -> BoxFuture<'a, Result<Arc<Decision>, Failure>>;
    /// The request's URI is absolute, and its path in its one form. What is `Held` by it is let go when no instance is
    /// busy with it any more; of many that share one, when nobody waits for this one any more.
    fn handle(
        self: Arc<Self>,
        request: http::Request<Body>,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Reply, Failure>>;
}

/// A component's answer to one request.
pub struct Reply {
    pub response: http::Response<Body>,
    /// Whether the instance has used, by now, anything but what its generation is made of. To be asked when the body has
    /// ended.
    pub marked: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Component for Slot {
    fn name(&self) -> &Arc<str> {
        self.name()
    }

    fn serving(&self) -> Option<Arc<dyn Live>> {
        self.serving().map(|generation| generation as Arc<dyn Live>)
    }
}

impl Live for Generation {
    fn id(&self) -> u64 {
        self.id()
    }

    fn revision(&self) -> Arc<str> {
        let mut revisions = String::new();
        for (binding, revision) in self.revisions() {
            if self.revisions().len() == 1 {
                return revision.as_str().into();
            }
            let separator = if revisions.is_empty() { "" } else { " " };
            let _ = write!(revisions, "{separator}{binding}={revision}");
        }
        revisions.into()
    }

    fn room(&self, isolation: Isolation) -> usize {
        self.room(isolation)
    }

    fn recall(&self, head: &Head<'_>) -> Option<Arc<Decision>> {
        self.recall(head)
    }

    fn decide<'a>(&'a self, head: &'a Head<'a>) -> BoxFuture<'a, Result<Arc<Decision>, Failure>> {
        Box::pin(self.decide(head))
    }

    fn handle(
        self: Arc<Self>,
        request: http::Request<Body>,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Reply, Failure>> {
        Box::pin(async move {
            let answer = Generation::handle(&self, request, isolation).await?;
            let effects = answer.effects;
            Ok(Reply { response: answer.response, marked: Box::new(move || effects.marked()) })
        })
    }
}
