//! What is counted of a generation, for `host ps`.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

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

/// One request that an instance is busy with.
pub(crate) struct InFlight(std::sync::Arc<Counts>);

impl InFlight {
    pub(crate) fn new(counts: &std::sync::Arc<Counts>) -> Self {
        counts.requests.fetch_add(1, Ordering::Relaxed);
        counts.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(counts.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Release);
    }
}
