//! Waiting, on a thread that may block, for what the network does: never longer than it was said, and not at all any more
//! once nobody wants to know.

use std::{
    future::Future,
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, time::timeout};
use tokio_util::sync::CancellationToken;

/// How long a server may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// To be dialled, TLS or SSH included.
    pub connect: Duration,
    /// For all of the talk around a pack.
    pub talk: Duration,
    /// For the next bytes of a pack; Git's servers say something every five seconds while they make one.
    pub pause: Duration,
    /// For a whole pack.
    pub pack: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            talk: Duration::from_secs(30),
            pause: Duration::from_secs(30),
            pack: Duration::from_hours(1),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Line {
    runtime: Handle,
    stopped: CancellationToken,
    pub(crate) patience: Patience,
}

/// When the stage of a conversation is over.
pub(crate) struct Stage {
    line: Line,
    until: Instant,
    limit: Duration,
    pause: Duration,
}

impl Line {
    /// Called within a tokio runtime.
    pub(crate) fn new(patience: Patience) -> Self {
        Self { runtime: Handle::current(), stopped: CancellationToken::new(), patience }
    }

    pub(crate) fn stop(&self) {
        self.stopped.cancel();
    }

    /// Waits at most `limit`.
    pub(crate) fn wait<T>(&self, limit: Duration, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                // Not of the kind `Interrupted`, which readers take for a reason to try again.
                () = self.stopped.cancelled() => Err(io::Error::other("nobody waits for it any more")),
                done = timeout(limit, what) => done.unwrap_or_else(|_| Err(late(limit))),
            }
        })
    }

    /// The talk's stage, which begins now.
    pub(crate) fn talk(&self) -> Stage {
        let limit = self.patience.talk;
        Stage { line: self.clone(), until: Instant::now() + limit, limit, pause: limit }
    }
}

impl Stage {
    /// A pack's stage, which begins now.
    pub(crate) fn pack(&mut self) {
        let Patience { pause, pack, .. } = self.line.patience;
        *self = Self { line: self.line.clone(), until: Instant::now() + pack, limit: pack, pause };
    }

    /// Talk's stage again, which begins now.
    pub(crate) fn talk(&mut self) {
        *self = self.line.talk();
    }

    /// As [`Self::wait`], and goes on for as long as `progress` grows between two pauses.
    pub(crate) fn wait_while<T>(
        &self,
        progress: &AtomicU64,
        what: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let mut what = std::pin::pin!(what);
        loop {
            let before = progress.load(Ordering::Relaxed);
            match self.wait(what.as_mut()) {
                Err(error)
                    if error.kind() == io::ErrorKind::TimedOut
                        && progress.load(Ordering::Relaxed) > before
                        && Instant::now() < self.until => {}
                done => return done,
            }
        }
    }

    /// Waits for what nobody needs, for `limit` at most.
    pub(crate) fn spare(&self, limit: Duration, what: impl Future<Output = ()>) {
        let _ = self.line.wait(limit, async {
            what.await;
            Ok(())
        });
    }

    /// The same, while others go on.
    pub(crate) fn leave(&self, limit: Duration, what: impl Future<Output = ()> + Send + 'static) {
        self.line.runtime.spawn(async move { timeout(limit, what).await });
    }

    pub(crate) fn wait<T>(&self, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left < self.pause {
            // The stage as a whole is what took too long; of a pack something may have come all the while.
            let whole = if self.pause < self.limit { endless(self.limit) } else { late(self.limit) };
            let waited = self.line.wait(left, what);
            return waited.map_err(|error| if error.kind() == io::ErrorKind::TimedOut { whole } else { error });
        }
        self.line.wait(self.pause, what)
    }
}

fn endless(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("it was not over within {limit:?}"))
}

fn late(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("nothing came within {limit:?}"))
}
