//! The streams of one HTTP/2 connection, polled by the connection's own task: no task a stream, no wake-up of another
//! thread a response, and many responses ready at once.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use futures_util::{
    stream::{FuturesUnordered, StreamExt as _},
    task::AtomicWaker,
};

use crate::http::fuse::Fuse;

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where hyper leaves a stream that has begun.
#[derive(Clone, Default)]
pub(super) struct Newcomers(Arc<Left>);

#[derive(Default)]
struct Left {
    list: Mutex<Vec<Stream>>,
    /// Of what is left next.
    fuse: Mutex<Option<Fuse>>,
    /// Of the connection's task.
    waker: AtomicWaker,
}

/// Within the connection's task, which looks here next.
impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Newcomers {
    fn execute(&self, stream: F) {
        let mut stream: Stream = Box::pin(stream);
        if let Some(fuse) = self.fuse().take() {
            stream = Box::pin(fuse.guard(stream));
        }
        self.list().push(stream);
    }
}

impl Newcomers {
    /// Leaves what the connection's task is to poll, from any task.
    pub(super) fn begin(&self, stream: impl Future<Output = ()> + Send + 'static) {
        self.list().push(Box::pin(stream));
        self.0.waker.wake();
    }

    /// What hyper leaves next is guarded by this fuse: behind an answer that begins a tunnel, which is given to it within the
    /// same poll, that is the half of the tunnel that is sent.
    pub(super) fn guard_next(&self, fuse: Fuse) {
        *self.fuse() = Some(fuse);
    }

    fn fuse(&self) -> MutexGuard<'_, Option<Fuse>> {
        self.0.fuse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self) -> MutexGuard<'_, Vec<Stream>> {
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The streams that have begun and not ended.
#[derive(Default)]
pub(super) struct Streams {
    newcomers: Newcomers,
    running: FuturesUnordered<Stream>,
    /// An empty list in place of the one that is gone through.
    spare: Vec<Stream>,
}

impl Streams {
    pub(super) fn newcomers(&self) -> Newcomers {
        self.newcomers.clone()
    }

    /// Polls those that have something to do; says whether any has ended. Most end at their first poll, and never get to
    /// be waited for.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let mut ended = false;
        self.newcomers.0.waker.register(cx.waker());
        let spare = std::mem::take(&mut self.spare);
        let mut begun = self.exchange(spare);
        for mut stream in begun.drain(..) {
            match stream.as_mut().poll(cx) {
                Poll::Ready(()) => ended = true,
                Poll::Pending => self.running.push(stream),
            }
        }
        self.spare = begun;
        while let Poll::Ready(Some(())) = self.running.poll_next_unpin(cx) {
            ended = true;
        }
        ended
    }

    /// Polls what is there until all has ended.
    pub(super) fn poll_all(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx);
        if self.running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn exchange(&self, list: Vec<Stream>) -> Vec<Stream> {
        std::mem::replace(&mut *self.newcomers.list(), list)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        // A stream holds the list that it would be left on: nobody else would ever end that.
        drop(self.exchange(Vec::new()));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Context, Waker},
    };

    use hyper::rt::Executor as _;
    use tokio::sync::oneshot;

    use super::Streams;

    struct Counted(Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn streams_end_at_once_or_later() {
        let mut streams = Streams::default();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(!streams.poll(cx));
        streams.newcomers().execute(ready(()));
        assert!(streams.poll(cx));
        let (end, ended) = oneshot::channel::<()>();
        streams.newcomers().execute(async {
            let _ = ended.await;
        });
        assert!(!streams.poll(cx));
        assert_eq!(streams.running.len(), 1);
        end.send(()).unwrap();
        assert!(streams.poll(cx));
        assert!(streams.running.is_empty());
    }

    /// What another task leaves is looked at without a word from the client.
    #[test]
    fn what_another_task_leaves_wakes_the_connection() {
        struct Woken(AtomicUsize);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let mut streams = Streams::default();
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let waker = Waker::from(woken.clone());
        assert!(!streams.poll(&mut Context::from_waker(&waker)));
        streams.newcomers().execute(ready(()));
        assert_eq!(woken.0.load(Ordering::Relaxed), 0, "within its own task");
        streams.newcomers().begin(ready(()));
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn no_stream_outlives_its_connection() {
        let dropped = Arc::new(AtomicUsize::new(0));
        let mut streams = Streams::default();
        let stream = || {
            let (newcomers, counted) = (streams.newcomers(), Counted(dropped.clone()));
            async move {
                let _held = (newcomers, counted);
                pending::<()>().await;
            }
        };
        let (running, new) = (stream(), stream());
        streams.newcomers().execute(running);
        streams.poll(&mut Context::from_waker(Waker::noop()));
        streams.newcomers().execute(new);
        drop(streams);
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    }
}
