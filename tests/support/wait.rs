//! Waiting, never without a limit, and never by a fixed sleep.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// For what should be done in milliseconds: long, because the machine may be busy, and only a failure takes it.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// For what compiles components: a start, a swap; also of one that takes the compiler all the time that it has.
pub(crate) const BUILT: Duration = Duration::from_mins(4);

/// An answer to somebody else, while one misbehaves: a bound on what faults cost others, and no measure.
pub(crate) const PROMPT: Duration = Duration::from_secs(5);

const STEP: Duration = Duration::from_millis(5);

/// What `future` gives, within `limit`.
#[track_caller]
pub(crate) fn within<F: Future>(limit: Duration, what: &str, future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        let Ok(output) = timeout(limit, future).await else { panic!("{what}: not within {limit:?} ({place})") };
        output
    }
}

/// What `future` gives, within [`PROMPT`].
#[track_caller]
pub(crate) fn promptly<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    // Boxed: who waits for a neighbour waits for much else.
    within(PROMPT, what, Box::pin(future))
}

/// Asks until there is something.
#[track_caller]
pub(crate) fn until<T>(
    limit: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        let end = Instant::now() + limit;
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            assert!(Instant::now() < end, "{what}: not within {limit:?} ({place})");
            sleep(STEP).await;
        }
    }
}

#[tokio::test]
#[should_panic(expected = "the sea: not within 10ms")]
async fn a_wait_ends() {
    within(Duration::from_millis(10), "the sea", std::future::pending::<()>()).await;
}

#[tokio::test]
#[should_panic(expected = "a ship: not within 10ms")]
async fn asking_ends() {
    until(Duration::from_millis(10), "a ship", async || None::<()>).await;
}
