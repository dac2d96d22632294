//! One connection, as seen from outside of its task: what it does, since when, and the order to end. Time is the number of
//! looks at it, one a second, so that no request starts a timer.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use futures_util::task::AtomicWaker;

use crate::http::limits::{BODIES, HELLO, LEAVE, Limits};

/// What a connection has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    Serve,
    /// Finish what was begun, take nothing new.
    Leave,
    /// It took too long with a head: to be told so, and ended.
    Late,
    /// It asked nothing for too long, or others need its place: to be told, and ended.
    Yield,
    /// Now.
    Abort,
}

pub(super) struct Watch {
    ticks: Arc<AtomicU32>,
    pace: Pace,
    order: AtomicU8,
    /// When it was told to leave.
    told: AtomicU32,
    /// Responses that have not ended; in the upper half, those of them that wait for the client.
    responses: AtomicU64,
    /// When its last response ended, or its client last took a byte.
    since: AtomicU32,
    /// When a head was begun, and one more; 0 where none is.
    begun: AtomicU32,
    /// When a head of HTTP/2 was begun, behind which all else of the connection waits, and one more; 0 where none is.
    block: AtomicU32,
    /// Which of the connection's heads that is.
    head: AtomicU32,
    /// Bytes that the client has taken.
    taken: AtomicU64,
    /// Whether there are bytes that it does not take.
    blocked: AtomicBool,
    /// Requests to come, next to one another among those of a transfer coding, which are known to have named no length.
    vouched: AtomicU32,
    /// Whether it is no longer HTTP/1.1 that goes over it.
    switched: AtomicBool,
    /// Whether what it carries then was broken off.
    broken: AtomicBool,
    /// Whether its handshake is over.
    serving: AtomicBool,
    /// Whether a request ever came.
    asked: AtomicBool,
    /// Whether it may give back meanwhile what it holds for the next request.
    resting: AtomicBool,
    waker: AtomicWaker,
}

/// The limits on time that a connection began with, in seconds.
#[derive(Clone, Copy)]
struct Pace {
    head: u32,
    idle: u32,
    rate: u32,
    window: u32,
}

/// What is known of a connection from one look to the next.
#[derive(Default)]
pub(super) struct Account {
    taken: u64,
    /// For so many milliseconds it has taken nothing; what it took is worth the time that it should have taken.
    owed: u64,
}

/// Held from a request's head to the end of its response.
pub(super) struct Busy {
    watch: Arc<Watch>,
    /// Whether it waits for its client.
    waiting: bool,
}

const ONE: u64 = 1;
const WAITING: u64 = 1 << 32;

impl Watch {
    pub(super) fn new(ticks: Arc<AtomicU32>, limits: &Limits) -> Self {
        let now = ticks.load(Ordering::Relaxed);
        let (rate, window) = (limits.body_rate, seconds(limits.body_window));
        let (head, idle) = (seconds(limits.head), seconds(limits.idle));
        let pace = Pace { head, idle, rate, window };
        Self {
            ticks,
            pace,
            order: AtomicU8::new(Order::Serve as u8),
            told: AtomicU32::new(0),
            responses: AtomicU64::new(0),
            since: AtomicU32::new(now),
            begun: AtomicU32::new(0),
            block: AtomicU32::new(0),
            head: AtomicU32::new(0),
            taken: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            vouched: AtomicU32::new(0),
            switched: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            serving: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            resting: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    pub(super) fn now(&self) -> u32 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Bytes a second that bodies come with, and the window that this is the mean of.
    pub(super) fn body(&self) -> (u32, Duration) {
        (self.pace.rate, Duration::from_secs(self.pace.window.into()))
    }

    /// How long it may have nothing to do.
    pub(super) fn idle_limit(&self) -> Duration {
        Duration::from_secs(self.pace.idle.into())
    }

    /// Its handshake is over: from now on it has time for a first head.
    pub(super) fn settle(&self) {
        self.since.store(self.now(), Ordering::Relaxed);
        self.told.store(self.now(), Ordering::Relaxed);
        self.serving.store(true, Ordering::Release);
    }

    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.responses.fetch_add(ONE, Ordering::Relaxed);
        self.asked.store(true, Ordering::Relaxed);
        self.begun.store(0, Ordering::Relaxed);
        self.resting.store(false, Ordering::Relaxed);
        Busy { watch: self.clone(), waiting: false }
    }

    /// A part of a head has come over HTTP/1.1.
    pub(super) fn heard(&self) {
        if self.begun.load(Ordering::Relaxed) == 0 && !self.is_busy() {
            self.begun.store(self.now().wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// The number of the head of HTTP/2 that has begun and not ended.
    pub(super) fn within_head(&self, head: Option<u32>) {
        let before = (self.block.load(Ordering::Relaxed) != 0).then(|| self.head.load(Ordering::Relaxed));
        if head != before {
            let since = if head.is_some() { self.now().wrapping_add(1) } else { 0 };
            self.block.store(since, Ordering::Relaxed);
            self.head.store(head.unwrap_or_default(), Ordering::Relaxed);
        }
    }

    /// So many more heads came that named a transfer coding, and no length.
    pub(super) fn vouch(&self, heads: u32) {
        if heads > 0 {
            self.vouched.fetch_add(heads, Ordering::Relaxed);
        }
    }

    /// Whether the next request that names a transfer coding is of such a head. Asked once for each, by the connection's
    /// task alone.
    pub(super) fn vouched(&self) -> bool {
        let vouched = self.vouched.load(Ordering::Relaxed);
        self.vouched.store(vouched.saturating_sub(1), Ordering::Relaxed);
        vouched > 0
    }

    /// From now on another protocol goes over it, in place of HTTP/1.1.
    pub(super) fn switch(&self) {
        self.switched.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_switched(&self) -> bool {
        self.switched.load(Ordering::Relaxed)
    }

    /// What went over it in place of HTTP/1.1 has no end of its own.
    pub(super) fn break_off(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Its client has taken some bytes.
    pub(super) fn moved(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
        self.since.store(self.now(), Ordering::Relaxed);
    }

    /// Whether there are bytes that its client does not take.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Its client does not take what is there, or does again.
    pub(super) fn block(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    /// What the connection is to do now. Called by its own task, which is woken when this changes.
    pub(super) fn order(&self, waker: &Waker) -> Order {
        match self.told(waker) {
            // A client that has just connected may send its first request, and get an answer.
            Order::Leave if !self.asked.load(Ordering::Relaxed) && self.since_told() < FIRST_HEAD_AFTER_LEAVE => {
                Order::Serve
            }
            // A request came before the word did.
            Order::Late | Order::Yield if self.is_busy() || self.blocked.load(Ordering::Relaxed) => Order::Leave,
            order => order,
        }
    }

    /// Returns when the connection is to end before its handshake is over.
    pub(super) async fn revoked(&self) {
        poll_fn(|cx| if self.told(cx.waker()) > Order::Leave { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Since when it has nothing to do; none where it has.
    pub(super) fn idle(&self) -> Option<u32> {
        let blocked = self.blocked.load(Ordering::Relaxed);
        let open = self.order.load(Ordering::Relaxed) < Order::Late as u8 && !self.is_busy() && !blocked;
        open.then(|| self.since.load(Ordering::Relaxed))
    }

    /// What it is to be told, a second after the last look.
    pub(super) fn due(&self, now: u32, account: &mut Account) -> Option<Order> {
        let idle = if self.is_busy() { 0 } else { now.wrapping_sub(self.since.load(Ordering::Relaxed)) };
        if self.owes(account) {
            return Some(Order::Abort);
        }
        let block = self.block.load(Ordering::Relaxed);
        if block != 0 && now.wrapping_sub(block.wrapping_sub(1)) > self.pace.head {
            let told = self.is_busy() || self.order.load(Ordering::Acquire) != Order::Serve as u8;
            return Some(if told { Order::Abort } else { Order::Late });
        }
        let serving = self.serving.load(Ordering::Acquire);
        // Late and Yield too, where something is left that the client does not take.
        if self.order.load(Ordering::Acquire) >= Order::Leave as u8 {
            // Told again, for the sake of its first request; ended where its client is gone without a word. Of one over which
            // nothing of a request came there is nothing to finish.
            let strange = !self.asked.load(Ordering::Relaxed) && self.begun.load(Ordering::Relaxed) == 0;
            let most = if strange { HELLO } else { LEAVE };
            let waited = if serving { idle.min(self.since_told()) } else { self.since_told() };
            return Some(if waited > most { Order::Abort } else { Order::Leave });
        }
        if !serving {
            // The handshake has a limit of its own.
            return None;
        }
        let begun = self.begun.load(Ordering::Relaxed);
        if begun != 0 && !self.is_busy() && now.wrapping_sub(begun.wrapping_sub(1)) > self.pace.head {
            return Some(Order::Late);
        }
        // Who has never asked has nothing to finish, and is not waited for: not for an answer to GOAWAY either.
        let (most, order) = if self.asked.load(Ordering::Relaxed) {
            (self.pace.idle, Order::Leave)
        } else {
            (self.pace.head, Order::Yield)
        };
        (idle > most && begun == 0 && block == 0).then_some(order)
    }

    /// Lets it rest, if it has had nothing to do for a while.
    pub(super) fn settle_down(&self, now: u32) {
        let quiet = self.is_quiet(now);
        let between = self.asked.load(Ordering::Relaxed) && self.begun.load(Ordering::Relaxed) == 0;
        if quiet && between && !self.resting.swap(true, Ordering::Relaxed) {
            self.waker.wake();
        }
    }

    /// Whether it may rest. Asked by its own task.
    pub(super) fn rests(&self) -> bool {
        self.resting.load(Ordering::Relaxed) && self.is_quiet(self.now())
    }

    fn is_quiet(&self, now: u32) -> bool {
        self.idle().is_some_and(|since| now.wrapping_sub(since) >= QUIET)
    }

    pub(super) fn tell(&self, order: Order) {
        let before = self.order.fetch_max(order as u8, Ordering::AcqRel);
        if before == Order::Serve as u8 {
            self.told.store(self.now(), Ordering::Relaxed);
        }
        self.waker.wake();
    }

    /// Whether the client has taken less than it should, for longer than a window: of each of the bodies that wait for it.
    fn owes(&self, account: &mut Account) -> bool {
        let taken = self.taken.load(Ordering::Relaxed);
        let fresh = taken.wrapping_sub(account.taken);
        account.taken = taken;
        let waiting = self.responses.load(Ordering::Relaxed) / WAITING;
        let waiting = waiting.max(u64::from(self.blocked.load(Ordering::Relaxed)));
        let second = u64::from(self.pace.rate) * waiting.clamp(1, BODIES);
        if second == 0 {
            return false;
        }
        let due = if waiting > 0 { 1000 } else { 0 };
        account.owed = (account.owed + due).saturating_sub(fresh.saturating_mul(1000) / second);
        account.owed > u64::from(self.pace.window) * 1000
    }

    fn told(&self, waker: &Waker) -> Order {
        self.waker.register(waker);
        match self.order.load(Ordering::Acquire) {
            0 => Order::Serve,
            1 => Order::Leave,
            2 => Order::Late,
            3 => Order::Yield,
            _ => Order::Abort,
        }
    }

    fn is_busy(&self) -> bool {
        self.responses.load(Ordering::Acquire) != 0
    }

    fn since_told(&self) -> u32 {
        self.now().wrapping_sub(self.told.load(Ordering::Relaxed))
    }
}

/// Seconds without anything to do, after which it rests.
const QUIET: u32 = 2;

/// Seconds that a connection without a request has for its first one, once it was told to leave.
const FIRST_HEAD_AFTER_LEAVE: u32 = 2;

/// Whole seconds, and at least one.
fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).max(1)
}

impl Busy {
    /// Whether its connection was told to end at once, and did not go by itself: it took too little, or the host ends.
    pub(super) fn is_cut(&self) -> bool {
        self.watch.order.load(Ordering::Relaxed) == Order::Abort as u8
    }

    /// Whether the response waits for its client, and not for us.
    pub(super) fn waits_for_client(&mut self, waiting: bool) {
        if self.waiting != waiting {
            self.waiting = waiting;
            let change = if waiting { WAITING } else { WAITING.wrapping_neg() };
            self.watch.responses.fetch_add(change, Ordering::Relaxed);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // Before the count: whoever sees it idle sees since when.
        self.watch.moved(0);
        let waiting = if self.waiting { WAITING } else { 0 };
        self.watch.responses.fetch_sub(ONE + waiting, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
