//! What is counted of a generation, for `host ps`.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: AtomicU64,
    pub(crate) traps: AtomicU64,
    /// Requests that an instance is busy with; bodies that the host carries alone don't count.
    pub(crate) in_flight: AtomicUsize,
}

impl Counts {
    pub(crate) fn busy(&self) -> bool {
        self.in_flight() > 0
    }

    pub(crate) fn in_flight(&self) -> usize {
        // With what was done before it was taken off.
        self.in_flight.load(Ordering::Acquire)
    }
}

/// Something of whoever asks, as an extension of a request: let go when no instance is busy with that any more.
#[derive(Clone)]
pub struct Held(#[expect(dead_code, reason = "to be dropped")] Arc<dyn Any + Send + Sync>);

impl Held {
    pub fn new(what: impl Any + Send + Sync) -> Self {
        Self(Arc::new(what))
    }
}

/// One request that an instance is busy with.
pub(crate) struct InFlight {
    counts: Arc<Counts>,
    _held: Option<Held>,
}

impl InFlight {
    pub(crate) fn new(counts: &Arc<Counts>, held: Option<Held>) -> Self {
        counts.requests.fetch_add(1, Ordering::Relaxed);
        counts.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { counts: counts.clone(), _held: held }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counts.in_flight.fetch_sub(1, Ordering::Release);
    }
}
