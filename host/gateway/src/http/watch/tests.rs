//! What one connection is told, look by look.

use std::sync::{Arc, atomic::AtomicU32};

use futures_util::task::noop_waker;

use super::{Account, Order, Watch};
use crate::http::limits::{HELLO, LEAVE, Limits};

struct Line {
    ticks: Arc<AtomicU32>,
    watch: Arc<Watch>,
    account: Account,
}

/// After its handshake.
fn line() -> Line {
    let line = shaking();
    line.watch.settle();
    line
}

fn shaking() -> Line {
    let ticks = Arc::<AtomicU32>::default();
    let watch = Arc::new(Watch::new(ticks.clone(), &Limits::default()));
    Line { ticks, watch, account: Account::default() }
}

impl Line {
    fn ticks(&mut self, count: u32) {
        for _ in 0..count {
            let now = self.ticks.fetch_add(1, super::Ordering::Relaxed) + 1;
            if let Some(order) = self.watch.due(now, &mut self.account) {
                self.watch.tell(order);
            }
        }
    }

    fn order(&self) -> Order {
        self.watch.order(&noop_waker())
    }
}

fn limit(of: impl Fn(&Limits) -> std::time::Duration) -> u32 {
    super::seconds(of(&Limits::default()))
}

#[test]
fn who_asks_nothing_is_told_so_and_ended() {
    let mut line = line();
    line.ticks(limit(|limits| limits.head));
    assert_eq!(line.order(), Order::Serve);
    line.ticks(1);
    assert_eq!(line.order(), Order::Yield);
    let busy = line.watch.begin();
    assert_eq!(line.order(), Order::Leave, "its first request came before the word did");
    drop(busy);
    line.ticks(LEAVE + 1);
    assert_eq!(line.order(), Order::Abort);
}

#[test]
fn who_has_just_come_when_all_are_to_leave_may_ask() {
    let mut line = line();
    line.watch.tell(Order::Leave);
    line.ticks(1);
    assert_eq!(line.order(), Order::Serve);
    line.ticks(1);
    assert_eq!(line.order(), Order::Leave);
    line.ticks(1);
    assert_eq!(line.order(), Order::Abort, "it asked nothing, and its client may be gone");
}

#[test]
fn who_has_begun_to_ask_when_all_are_to_leave_has_longer() {
    let mut line = line();
    line.watch.heard();
    line.watch.tell(Order::Leave);
    line.ticks(LEAVE);
    assert_eq!(line.order(), Order::Leave);
    line.ticks(1);
    assert_eq!(line.order(), Order::Abort);
}

#[test]
fn a_head_that_takes_too_long_is_late() {
    for asked in [false, true] {
        let mut line = line();
        if asked {
            drop(line.watch.begin());
        }
        line.ticks(20);
        line.watch.heard();
        for _ in 0..limit(|limits| limits.head) {
            line.ticks(1);
            line.watch.heard();
            assert_eq!(line.order(), Order::Serve);
        }
        line.ticks(1);
        assert_eq!(line.order(), Order::Late);
    }
    let mut line = line();
    line.watch.heard();
    drop(line.watch.begin());
    line.ticks(limit(|limits| limits.head) + 1);
    assert_eq!(line.order(), Order::Serve, "it came to its end");
    // Each has its own time, though there is never a moment without one.
    for head in 0..3 * limit(|limits| limits.head) {
        line.watch.within_head(Some(head));
        line.ticks(1);
        assert_eq!(line.order(), Order::Serve, "head {head}");
    }
}

/// Over HTTP/2, whatever else goes on.
#[test]
fn a_head_behind_which_all_waits_is_late_too() {
    for (what, busy, leaving, expected) in [
        ("its first", false, false, Order::Late),
        ("beside answers", true, false, Order::Abort),
        ("one that is to leave", true, true, Order::Abort),
    ] {
        let mut line = line();
        line.watch.within_head(Some(1));
        let _busy = busy.then(|| line.watch.begin());
        if leaving {
            line.watch.tell(Order::Leave);
        }
        for _ in 0..limit(|limits| limits.head) {
            line.ticks(1);
            line.watch.within_head(Some(1));
            assert!(line.order() <= Order::Leave, "{what}");
        }
        line.ticks(1);
        assert_eq!(line.order(), expected, "{what}");
    }
    let mut line = line();
    line.watch.within_head(Some(1));
    let _busy = line.watch.begin();
    line.watch.within_head(None);
    line.ticks(limit(|limits| limits.head) + 1);
    assert_eq!(line.order(), Order::Serve, "it came to its end");
}

#[test]
fn a_kept_connection_may_be_idle_longer() {
    let mut line = line();
    let busy = line.watch.begin();
    let idle = limit(|limits| limits.idle);
    line.ticks(idle * 10);
    assert_eq!(line.order(), Order::Serve, "busy is not idle");
    drop(busy);
    line.ticks(idle);
    assert_eq!(line.order(), Order::Serve);
    line.ticks(1);
    assert_eq!(line.order(), Order::Leave);
}

#[test]
fn a_request_that_was_begun_is_finished() {
    let mut line = line();
    let busy = line.watch.begin();
    line.watch.tell(Order::Leave);
    line.ticks(LEAVE * 10);
    assert_eq!(line.order(), Order::Leave);
    drop(busy);
    for _ in 0..3 {
        line.ticks(LEAVE);
        assert_eq!(line.order(), Order::Leave, "its client still takes what was sent");
        line.watch.moved(1);
    }
    line.ticks(LEAVE + 1);
    assert_eq!(line.order(), Order::Abort);
}

#[test]
fn a_handshake_has_its_own_time_until_all_leave() {
    let mut line = shaking();
    line.ticks(1000);
    assert_eq!(line.order(), Order::Serve);
    line.watch.tell(Order::Leave);
    line.ticks(HELLO);
    assert_eq!(line.watch.told(&noop_waker()), Order::Leave);
    line.ticks(1);
    assert_eq!(line.order(), Order::Abort);
}

/// Bytes over a window, not gaps: and of those seconds alone in which there was something to take.
#[test]
fn a_client_takes_a_least_of_bytes() {
    let limits = Limits::default();
    let (rate, window) = (limits.body_rate as usize, limit(|limits| limits.body_window));
    for (what, step, bytes, ends) in [
        ("nothing", 1, 0, true),
        ("a byte a second", 1, 1, true),
        ("half of it", 1, rate / 2, true),
        ("just enough", 1, rate, false),
        ("enough, in bursts", window - 10, rate * window as usize, false),
    ] {
        let mut line = line();
        let mut busy = line.watch.begin();
        busy.waits_for_client(true);
        for _ in 0..window * 4 / step {
            line.ticks(step);
            line.watch.moved(bytes);
        }
        assert_eq!(line.order() == Order::Abort, ends, "{what}");
    }
    let mut line = line();
    let mut busy = line.watch.begin();
    for _ in 0..10 {
        busy.waits_for_client(true);
        line.ticks(window - 1);
        busy.waits_for_client(false);
        line.ticks(1000);
        line.watch.moved(rate * window as usize);
        line.ticks(1);
    }
    assert_eq!(line.order(), Order::Serve, "the wait is ours");
    drop(busy);
    line.watch.block(true);
    line.ticks(window + 1);
    assert_eq!(line.order(), Order::Abort, "what lies in a buffer counts too");
}

#[test]
fn no_rate_is_asked_for_where_it_is_nothing() {
    let ticks = Arc::<AtomicU32>::default();
    let watch = Arc::new(Watch::new(ticks.clone(), &Limits { body_rate: 0, ..Limits::default() }));
    watch.settle();
    let mut line = Line { ticks, watch, account: Account::default() };
    line.watch.begin().waits_for_client(true);
    let mut busy = line.watch.begin();
    busy.waits_for_client(true);
    line.ticks(10_000);
    assert_eq!(line.order(), Order::Serve);
}
