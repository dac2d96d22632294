//! An agent: a fresh instance each tick, never two at once; it may be killed at any line.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::{
    Engine, Failure,
    bindings::agent::TickingPre,
    capability::{clocks::Clock, stdio::printable},
    counts::{Counts, InFlight},
    ctx::{Ctx, Given},
    failure::trap,
};

pub(crate) struct Agent {
    engine: Engine,
    given: Arc<Given>,
    pre: TickingPre<Ctx>,
    ticking: Mutex<()>,
    counts: Arc<Counts>,
}

impl Agent {
    pub(crate) fn new(engine: Engine, given: Arc<Given>, pre: TickingPre<Ctx>) -> Self {
        Self { engine, given, pre, ticking: Mutex::default(), counts: Arc::default() }
    }

    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Does what is due at `now` (seconds since the Unix epoch), and says when to be woken next.
    pub(crate) async fn tick(&self, now: u64) -> Result<Option<u64>, Failure> {
        let _one = self.ticking.lock().await;
        let _in_flight = InFlight::new(&self.counts, None);
        let _running = self.engine.running();
        let started = self.engine.start(|| async {
            let mut store = Ctx::store(&self.engine, self.given.clone(), Clock::live);
            let agent = self.pre.instantiate_async(&mut store).await?;
            Ok((store, agent))
        });
        let (mut store, agent) = started.await?;
        store.data().answering.begin();
        let ticked = store.run_concurrent(async |accessor| agent.atoll_host_agent().call_tick(accessor, now).await);
        let next = tokio::time::timeout(self.given.limits.tick, ticked).await.map_err(|_| Failure::TimedOut)?;
        let next = next.and_then(|next| next).map_err(|error| trap(&error))?;
        next.map_err(|words| Failure::NoResponse(printable(words.as_bytes())))
    }
}
