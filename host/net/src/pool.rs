//! Connections that are open, by origin: those of HTTP/1.1 that rest between two requests, and the one of HTTP/2 that
//! carries many. It opens none; what has rested too long, or was closed by the peer, is dropped.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hyper::client::conn::http2::SendRequest;
use tokio::sync::watch;

use crate::{DialError, Origin, body::Outgoing, http1::Http1};

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
    shared: Mutex<Shared>,
    /// Shared connections so far, to tell one from the next.
    opened: AtomicU64,
    keep: Keep,
}

/// The connection that carries many requests.
enum Shared {
    None,
    Connecting(watch::Receiver<Option<Connected>>),
    Open {
        sender: SendRequest<Outgoing>,
        number: u64,
        used: Instant,
    },
    /// The server chose HTTP/1.1 by ALPN: nothing to wait for.
    Unwanted,
}

/// What became of the attempt that many wait for.
#[derive(Clone)]
pub(crate) enum Connected {
    Http2(Multiplexed),
    /// It is parked.
    Http1,
    Failed(DialError),
    Broken(Arc<hyper::Error>),
}

/// A share of a connection of HTTP/2.
#[derive(Clone)]
pub(crate) struct Multiplexed {
    pub(crate) sender: SendRequest<Outgoing>,
    number: u64,
}

/// What `Slot::join` found.
pub(crate) enum Join {
    Open(Multiplexed),
    /// Somebody connects: wait for it.
    Wait(watch::Receiver<Option<Connected>>),
    /// Nobody does: connect, tell the slot and the others, and wait as the others do.
    First(watch::Sender<Option<Connected>>, watch::Receiver<Option<Connected>>),
    /// There is nothing to share.
    Alone,
}

impl Pool {
    pub(crate) fn new(keep: Keep) -> Arc<Self> {
        Arc::new(Self { slots: RwLock::default(), keep })
    }

    /// Finds or makes the slot of an origin.
    pub(crate) fn slot(self: &Arc<Self>, origin: &Origin) -> Arc<Slot> {
        if let Some(slot) = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(origin) {
            return slot.clone();
        }
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if slots.is_empty() {
            // There is a sweeper exactly while there is a slot.
            tokio::spawn(sweep_now_and_then(Arc::downgrade(self), self.keep.rest / 2));
        }
        slots.entry(origin.clone()).or_insert_with(|| Arc::new(Slot::new(self.keep))).clone()
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
        Self { resting: Mutex::default(), shared: Mutex::new(Shared::None), opened: AtomicU64::new(0), keep }
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

    /// The shared connection, if one is open.
    pub(crate) fn shared(&self) -> Option<Multiplexed> {
        match &mut *lock(&self.shared) {
            Shared::Open { sender, number, used } if !sender.is_closed() => {
                *used = Instant::now();
                Some(Multiplexed { sender: sender.clone(), number: *number })
            }
            _ => None,
        }
    }

    /// The shared connection, or a place in the queue for it.
    pub(crate) fn join(&self) -> Join {
        let mut shared = lock(&self.shared);
        match &*shared {
            Shared::Open { sender, number, .. } if !sender.is_closed() => {
                return Join::Open(Multiplexed { sender: sender.clone(), number: *number });
            }
            // An error here: whoever connected is gone without a word.
            Shared::Connecting(outcome) if outcome.has_changed().is_ok() => return Join::Wait(outcome.clone()),
            Shared::Unwanted => return Join::Alone,
            Shared::None | Shared::Open { .. } | Shared::Connecting(_) => {}
        }
        let (sender, receiver) = watch::channel(None);
        *shared = Shared::Connecting(receiver.clone());
        Join::First(sender, receiver)
    }

    /// From now on `sender` is the shared connection.
    pub(crate) fn share(&self, sender: SendRequest<Outgoing>) -> Multiplexed {
        let number = self.opened.fetch_add(1, Relaxed);
        *lock(&self.shared) = Shared::Open { sender: sender.clone(), number, used: Instant::now() };
        Multiplexed { sender, number }
    }

    /// The attempt at a shared connection ended without one: it failed, or the server wants HTTP/1.1.
    pub(crate) fn share_none(&self, unwanted: bool) {
        *lock(&self.shared) = if unwanted { Shared::Unwanted } else { Shared::None };
    }

    /// No new requests for a connection that did not answer in time.
    pub(crate) fn forget(&self, connection: &Multiplexed) {
        let mut shared = lock(&self.shared);
        if matches!(&*shared, Shared::Open { number, .. } if *number == connection.number) {
            *shared = Shared::None;
        }
    }

    /// Says whether nothing is left.
    fn sweep(&self, now: Instant) -> bool {
        let rested = |since: Instant| now.saturating_duration_since(since) >= self.keep.rest;
        let mut resting = lock(&self.resting);
        resting.retain_mut(|(connection, since)| !rested(*since) && connection.is_ready());
        let mut shared = lock(&self.shared);
        // What it carries goes on: the connection closes when its last stream does.
        if matches!(&*shared, Shared::Open { sender, used, .. } if sender.is_closed() || rested(*used)) {
            *shared = Shared::None;
        }
        resting.is_empty() && !matches!(*shared, Shared::Connecting(_) | Shared::Open { .. })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
