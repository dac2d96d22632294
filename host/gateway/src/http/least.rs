//! The least that a client sends of a body: bytes over a window, and of that time only what somebody spent waiting for
//! them. A gap is no fault, nor is a reader of ours that is slow.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

pub(super) struct Least {
    /// Bytes in a window; nothing is asked for where it is 0.
    bytes: u64,
    window: Duration,
    /// Of the window that has begun: how long it was waited for the client, and what came.
    waited: Duration,
    got: u64,
    /// When the wait began.
    since: Option<Instant>,
    /// Goes off no later than the window can end.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Least {
    pub(super) fn new(rate: u32, window: Duration) -> Self {
        let bytes = u64::from(rate) * window.as_secs().max(1);
        Self { bytes, window, waited: Duration::ZERO, got: 0, since: None, alarm: None }
    }

    /// Bytes have come.
    pub(super) fn came(&mut self, bytes: usize) {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
        self.got = self.got.saturating_add(bytes as u64);
    }

    /// Nothing is there: ready when a window was too little. Wakes the task at its end.
    pub(super) fn poll_short(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.bytes == 0 {
            return Poll::Pending;
        }
        loop {
            let now = Instant::now();
            let since = *self.since.get_or_insert(now);
            let waited = self.waited + now.duration_since(since);
            if waited >= self.window {
                if self.got < self.bytes {
                    return Poll::Ready(());
                }
                (self.waited, self.got, self.since) = (Duration::ZERO, 0, Some(now));
                continue;
            }
            let end = now + self.window.saturating_sub(waited);
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(end)));
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            alarm.as_mut().reset(end);
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::time::{Instant, sleep, timeout};

    use super::Least;

    const WINDOW: Duration = Duration::from_millis(100);

    /// How long it goes well when so many bytes come at each step, up to five windows.
    async fn lasts(rate: u32, bytes: usize, step: Duration) -> Duration {
        let mut least = Least::new(rate, WINDOW);
        let begun = Instant::now();
        while begun.elapsed() < WINDOW * 5 {
            if timeout(step, poll_fn(|cx| least.poll_short(cx))).await.is_ok() {
                break;
            }
            least.came(bytes);
        }
        begun.elapsed()
    }

    #[tokio::test]
    async fn bytes_over_a_window() {
        let (short, long) = (Duration::from_millis(10), WINDOW * 2);
        for (rate, bytes, step, good) in [
            (100, 0, short, false),
            (100, 1, short, false),
            (100, 100, short, true),
            (0, 0, short, true),
            (0, 0, long, true),
            // A whole window of silence is too little whatever comes after.
            (100, 1 << 20, long, false),
            (100, 1000, WINDOW * 3 / 4, true),
        ] {
            let lasted = lasts(rate, bytes, step).await;
            assert_eq!(lasted >= WINDOW * 5, good, "{rate} {bytes} {step:?}: {lasted:?}");
            assert!(good || lasted >= WINDOW, "{lasted:?}");
        }
    }

    #[tokio::test]
    async fn a_slow_reader_is_not_the_clients_fault() {
        let mut least = Least::new(1, WINDOW);
        for _ in 0..5 {
            assert!(timeout(WINDOW / 10, poll_fn(|cx| least.poll_short(cx))).await.is_err());
            least.came(0);
            sleep(WINDOW).await;
        }
    }
}
