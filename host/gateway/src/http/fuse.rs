//! A task that can be ended from outside without being polled again. hyper ends a tunnel over HTTP/2 in order whatever
//! became of it; where the task that would is dropped before it knows, its stream is reset with CANCEL instead.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

#[derive(Clone, Default)]
pub(super) struct Fuse(Arc<Wire>);

#[derive(Default)]
struct Wire {
    blown: AtomicBool,
    waker: AtomicWaker,
}

impl Fuse {
    /// Whatever it guards is dropped, and not polled any more.
    pub(super) fn blow(&self) {
        self.0.blown.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    pub(super) fn guard<F: Future<Output = ()> + Unpin>(self, task: F) -> impl Future<Output = ()> {
        Guarded { task: Some(task), fuse: self }
    }
}

struct Guarded<F> {
    task: Option<F>,
    fuse: Fuse,
}

impl<F: Future<Output = ()> + Unpin> Future for Guarded<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.fuse.0.waker.register(cx.waker());
        if self.fuse.0.blown.load(Ordering::Acquire) {
            self.task = None;
        }
        match &mut self.task {
            Some(task) => Pin::new(task).poll(cx),
            None => Poll::Ready(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        future::poll_fn,
        pin::pin,
        sync::Arc,
        task::{Context, Poll, Waker},
    };

    use super::{Fuse, Future as _};

    #[test]
    fn what_is_guarded_is_dropped_and_not_polled() {
        let (fuse, held, polls) = (Fuse::default(), Arc::new(()), Cell::new(0));
        let (kept, polled) = (held.clone(), &polls);
        let task = poll_fn(move |_| {
            polled.set(polled.get() + Arc::strong_count(&kept) - 1);
            Poll::Pending
        });
        let mut task = pin!(fuse.clone().guard(task));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(task.as_mut().poll(cx).is_pending());
        fuse.blow();
        assert!(task.as_mut().poll(cx).is_ready());
        assert_eq!((polls.get(), Arc::strong_count(&held)), (1, 1));
    }
}
