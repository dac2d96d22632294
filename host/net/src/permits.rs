//! How many connections may be open at once, over all listeners. The number may change while they are; what is open above
//! it stays open.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

/// How often whoever waits for a permit asks again for room to be made.
const AGAIN: Duration = Duration::from_millis(100);

/// Asked for room when every permit is taken.
type Crowded = Box<dyn Fn() + Send + Sync>;

/// What all listeners share. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Permits(Arc<Shared>);

struct Shared {
    taken: AtomicUsize,
    limit: AtomicUsize,
    left: Notify,
    crowded: Crowded,
}

/// A connection's permit: to be dropped when it ends.
pub struct Permit(Arc<Shared>);

impl Permits {
    /// `crowded` is called when somebody waits for a permit, and each 100 ms until one is free. It must not wait.
    pub fn new(limit: usize, crowded: impl Fn() + Send + Sync + 'static) -> Self {
        let (taken, limit, left) = (AtomicUsize::new(0), AtomicUsize::new(limit), Notify::new());
        Self(Arc::new(Shared { taken, limit, left, crowded: Box::new(crowded) }))
    }

    /// From now on.
    pub fn limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
        self.0.left.notify_waiters();
    }

    /// A permit, where there is one.
    pub(crate) fn take(&self) -> Option<Permit> {
        let limit = self.0.limit.load(Ordering::Relaxed);
        let one_more = |taken| (taken < limit).then_some(taken + 1);
        self.0.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Permit(self.0.clone()))
    }

    /// One more than there may be.
    pub(crate) fn force(&self) -> Permit {
        self.0.taken.fetch_add(1, Ordering::AcqRel);
        Permit(self.0.clone())
    }

    /// Waits for one.
    pub(crate) async fn wait(&self) -> Permit {
        loop {
            let left = self.0.left.notified();
            if let Some(permit) = self.take() {
                return permit;
            }
            self.crowd();
            let _ = timeout(AGAIN, left).await;
        }
    }

    /// There is need of room.
    pub(crate) fn crowd(&self) {
        (self.0.crowded)();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let before = self.0.taken.fetch_sub(1, Ordering::AcqRel);
        if before >= self.0.limit.load(Ordering::Relaxed) {
            self.0.left.notify_waiters();
        }
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permit")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use tokio::time::timeout;

    use super::Permits;

    #[tokio::test]
    async fn who_waits_asks_for_room_until_there_is_some() {
        let held = Arc::new(Mutex::new(Vec::new()));
        let permits = Permits::new(2, {
            let held = held.clone();
            move || drop(held.lock().unwrap().pop())
        });
        let one = permits.wait().await;
        let two = permits.wait().await;
        held.lock().unwrap().push(two);
        assert!(permits.take().is_none());
        let _three = timeout(Duration::from_secs(5), permits.wait()).await.unwrap();
        assert!(held.lock().unwrap().is_empty(), "the one that was held made room");
        let waiting = tokio::spawn({
            let permits = permits.clone();
            async move { permits.wait().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(one);
        timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_limit_changes_for_who_comes_later() {
        let permits = Permits::new(1, || {});
        let (one, waiting) = (permits.wait().await, permits.clone());
        let waiting = tokio::spawn(async move { waiting.wait().await });
        tokio::task::yield_now().await;
        permits.limit(2);
        let two = timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
        permits.limit(1);
        drop(one);
        assert!(permits.take().is_none(), "one is still open");
        drop(two);
        assert!(permits.take().is_some());
    }
}
