//! Every connection that is open: how long it has been idle, and the order to end. Looked through once a second, so that
//! no request starts a timer; time is the number of looks.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    },
    task::Waker,
};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use crate::http::limits::{FIRST_HEAD, KEEP_ALIVE, LEAVE};

/// The connections of one host.
#[derive(Default)]
pub(super) struct Connections {
    open: Mutex<Open>,
    ticks: Arc<AtomicU32>,
    draining: AtomicBool,
    left: Notify,
}

#[derive(Default)]
struct Open {
    next: u64,
    watches: BTreeMap<u64, Arc<Watch>>,
}

/// What a connection has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    Serve,
    /// Finish what was begun, take nothing new.
    Leave,
    /// Now.
    Abort,
}

/// One connection, as seen from outside of its task.
pub(super) struct Watch {
    ticks: Arc<AtomicU32>,
    order: AtomicU8,
    /// When it was told to leave.
    told: AtomicU32,
    /// Responses that have not ended.
    busy: AtomicU32,
    /// When its last response ended, or its client last took a byte.
    since: AtomicU32,
    /// Whether a request ever came.
    asked: AtomicBool,
    waker: AtomicWaker,
}

/// Held while a connection is served; takes it off the list.
pub(super) struct Entry {
    connections: Arc<Connections>,
    id: u64,
    pub(super) watch: Arc<Watch>,
}

/// Held from a request's head to the end of its response.
pub(super) struct Busy(Arc<Watch>);

impl Connections {
    pub(super) fn enter(self: &Arc<Self>) -> Entry {
        let now = self.ticks.load(Ordering::Relaxed);
        let watch = Arc::new(Watch {
            ticks: self.ticks.clone(),
            order: AtomicU8::new(Order::Serve as u8),
            told: AtomicU32::new(0),
            busy: AtomicU32::new(0),
            since: AtomicU32::new(now),
            asked: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        let mut open = self.open();
        let id = open.next;
        open.next += 1;
        open.watches.insert(id, watch.clone());
        drop(open);
        // After it is on the list, so that `drain` misses nobody.
        if self.draining.load(Ordering::SeqCst) {
            watch.tell(Order::Leave);
        }
        Entry { connections: self.clone(), id, watch }
    }

    pub(super) fn count(&self) -> usize {
        self.open().watches.len()
    }

    /// A second has passed: tells those to leave that have been idle for too long.
    pub(super) fn tick(&self) {
        let now = self.ticks.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        for watch in self.open().watches.values() {
            if let Some(order) = watch.due(now) {
                watch.tell(order);
            }
        }
    }

    /// Tells everybody to leave; whoever comes later too.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        for watch in self.open().watches.values() {
            watch.tell(Order::Leave);
        }
    }

    /// Ends what is left.
    pub(super) fn abort(&self) {
        for watch in self.open().watches.values() {
            watch.tell(Order::Abort);
        }
    }

    /// Returns when nobody is left.
    pub(super) async fn empty(&self) {
        loop {
            let left = self.left.notified();
            if self.count() == 0 {
                return;
            }
            left.await;
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.watches.remove(&self.id);
        let empty = open.watches.is_empty();
        drop(open);
        if empty {
            self.connections.left.notify_waiters();
        }
    }
}

impl Watch {
    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.asked.store(true, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// Its client has taken some bytes.
    pub(super) fn moved(&self) {
        self.since.store(self.ticks.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// What the connection is to do now. Called by its own task, which is woken when this changes.
    pub(super) fn order(&self, waker: &Waker) -> Order {
        self.waker.register(waker);
        match self.order.load(Ordering::Acquire) {
            0 => Order::Serve,
            // A client that has just connected may send its first request, and get an answer.
            1 if !self.asked.load(Ordering::Relaxed) && self.since_told() < FIRST_HEAD_AFTER_LEAVE => Order::Serve,
            1 => Order::Leave,
            _ => Order::Abort,
        }
    }

    fn since_told(&self) -> u32 {
        self.ticks.load(Ordering::Relaxed).wrapping_sub(self.told.load(Ordering::Relaxed))
    }

    fn due(&self, now: u32) -> Option<Order> {
        let idle = match self.busy.load(Ordering::Acquire) {
            0 => now.wrapping_sub(self.since.load(Ordering::Relaxed)),
            _ => 0,
        };
        if self.order.load(Ordering::Acquire) == Order::Leave as u8 {
            // Told again, for the sake of its first request; ended where its client is gone without a word.
            return Some(if idle.min(self.since_told()) > LEAVE { Order::Abort } else { Order::Leave });
        }
        let most = if self.asked.load(Ordering::Relaxed) { KEEP_ALIVE } else { FIRST_HEAD };
        (idle > most).then_some(Order::Leave)
    }

    fn tell(&self, order: Order) {
        let before = self.order.fetch_max(order as u8, Ordering::AcqRel);
        if before == Order::Serve as u8 {
            self.told.store(self.ticks.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.waker.wake();
    }
}

/// Seconds that a connection without a request has for its first one, once it was told to leave.
const FIRST_HEAD_AFTER_LEAVE: u32 = 2;

impl Drop for Busy {
    fn drop(&mut self) {
        // Before the count: whoever sees it idle sees since when.
        self.0.moved();
        self.0.busy.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::task::noop_waker;

    use super::{Connections, Order};
    use crate::http::limits::{FIRST_HEAD, KEEP_ALIVE, LEAVE};

    fn ticks(connections: &Connections, count: u32) {
        for _ in 0..count {
            connections.tick();
        }
    }

    #[test]
    fn who_asks_nothing_is_told_to_leave_and_then_ended() {
        let connections = Arc::new(Connections::default());
        let entry = connections.enter();
        let order = || entry.watch.order(&noop_waker());
        ticks(&connections, FIRST_HEAD);
        assert_eq!(order(), Order::Serve);
        connections.tick();
        // Two more seconds for a head that is on its way.
        assert_eq!(order(), Order::Serve);
        ticks(&connections, 2);
        assert_eq!(order(), Order::Leave);
        ticks(&connections, LEAVE);
        assert_eq!(order(), Order::Abort);
    }

    #[test]
    fn a_kept_connection_may_be_idle_longer() {
        let connections = Arc::new(Connections::default());
        let entry = connections.enter();
        let order = || entry.watch.order(&noop_waker());
        let busy = entry.watch.begin();
        ticks(&connections, KEEP_ALIVE * 10);
        assert_eq!(order(), Order::Serve, "busy is not idle");
        drop(busy);
        ticks(&connections, KEEP_ALIVE);
        assert_eq!(order(), Order::Serve);
        connections.tick();
        assert_eq!(order(), Order::Leave);
    }

    #[test]
    fn a_request_that_was_begun_is_finished() {
        let connections = Arc::new(Connections::default());
        let entry = connections.enter();
        let busy = entry.watch.begin();
        connections.drain();
        ticks(&connections, LEAVE * 10);
        assert_eq!(entry.watch.order(&noop_waker()), Order::Leave);
        drop(busy);
        for _ in 0..3 {
            ticks(&connections, LEAVE);
            assert_eq!(entry.watch.order(&noop_waker()), Order::Leave, "its client still takes what was sent");
            entry.watch.moved();
        }
        ticks(&connections, LEAVE + 1);
        assert_eq!(entry.watch.order(&noop_waker()), Order::Abort);
    }

    #[test]
    fn who_comes_while_everybody_leaves_gets_one_answer() {
        let connections = Arc::new(Connections::default());
        connections.drain();
        let entry = connections.enter();
        assert_eq!(entry.watch.order(&noop_waker()), Order::Serve);
        let busy = entry.watch.begin();
        assert_eq!(entry.watch.order(&noop_waker()), Order::Leave);
        drop(busy);
        connections.abort();
        assert_eq!(entry.watch.order(&noop_waker()), Order::Abort);
    }

    #[tokio::test]
    async fn the_last_one_closes_the_door() {
        let connections = Arc::new(Connections::default());
        connections.empty().await;
        let (one, two) = (connections.enter(), connections.enter());
        assert_eq!(connections.count(), 2);
        drop(one);
        let waiting = tokio::spawn({
            let connections = connections.clone();
            async move { connections.empty().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(two);
        waiting.await.unwrap();
    }
}
