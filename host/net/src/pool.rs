//! Connections that are open, by origin: those of HTTP/1.1 that rest between two requests, and those of HTTP/2, each of
//! which carries many. It opens none; what has rested too long, or was closed by the peer, is dropped.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use crate::{Origin, http1::Http1, shared::Shared};

/// All origins that we are connected to, or were a short while ago.
pub(crate) struct Pool {
    slots: RwLock<HashMap<Origin, Arc<Slot>>>,
    keep: Keep,
}

#[derive(Clone, Copy)]
pub(crate) struct Keep {
    /// How long a connection may rest.
    pub(crate) rest: Duration,
    /// How many of HTTP/1.1 may rest, an origin.
    pub(crate) resting: usize,
}

/// The connections to one origin.
pub(crate) struct Slot {
    resting: Mutex<Vec<(Box<Http1>, Instant)>>,
    pub(crate) shared: Shared,
    /// Turns to ask anew, apart: what one connection that ends took down is not opened at once.
    pub(crate) apart: Semaphore,
    keep: Keep,
}

/// Requests that are asked anew, apart, at once.
const APART: usize = 16;

impl Pool {
    pub(crate) fn new(keep: Keep) -> Arc<Self> {
        Arc::new(Self { slots: RwLock::default(), keep })
    }

    /// Finds or makes the slot of an origin.
    pub(crate) fn slot(self: &Arc<Self>, origin: &Origin) -> Arc<Slot> {
        if let Some(slot) = self.known(origin) {
            return slot;
        }
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if slots.is_empty() {
            // There is a sweeper exactly while there is a slot.
            tokio::spawn(sweep_now_and_then(Arc::downgrade(self), self.keep.rest / 2));
        }
        slots.entry(origin.clone()).or_insert_with(|| Arc::new(Slot::new(self.keep))).clone()
    }

    /// The slot of an origin that something is open to, or was a short while ago.
    pub(crate) fn known(&self, origin: &Origin) -> Option<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(origin).cloned()
    }

    /// Drops what has rested too long, and forgets origins that nothing is open to. Says whether any is left.
    fn sweep(&self, now: Instant) -> bool {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| {
            let empty = slot.sweep(now);
            !empty || Arc::strong_count(slot) > 1
        });
        !slots.is_empty()
    }
}

async fn sweep_now_and_then(pool: Weak<Pool>, pause: Duration) {
    loop {
        tokio::time::sleep(pause.max(Duration::from_millis(10))).await;
        let Some(pool) = pool.upgrade() else { return };
        if !pool.sweep(Instant::now()) {
            return;
        }
    }
}

impl Slot {
    fn new(keep: Keep) -> Self {
        Self { resting: Mutex::default(), shared: Shared::default(), apart: Semaphore::new(APART), keep }
    }

    /// A connection that rested and can take a request, the one used last first.
    pub(crate) fn take(&self) -> Option<Box<Http1>> {
        loop {
            let (mut connection, _) = lock(&self.resting).pop()?;
            if connection.is_ready() {
                return Some(connection);
            }
        }
    }

    /// Lets a connection rest, unless enough do.
    pub(crate) fn park(&self, connection: Box<Http1>) {
        let mut resting = lock(&self.resting);
        if resting.len() < self.keep.resting {
            resting.push((connection, Instant::now()));
        }
    }

    /// Says whether nothing is left.
    fn sweep(&self, now: Instant) -> bool {
        let rested = |since: Instant| now.saturating_duration_since(since) >= self.keep.rest;
        let mut resting = lock(&self.resting);
        resting.retain_mut(|(connection, since)| !rested(*since) && connection.is_ready());
        resting.is_empty() & self.shared.sweep(rested)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
