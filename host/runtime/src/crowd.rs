//! An instance that carries several requests at once, where its table allows it: a task of its own runs the store, and
//! requests reach it by a channel. A trap ends them all.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::handler::Proxy;

use crate::{
    Effects, Failure,
    ask::{Taken, ask},
    pool::Instance,
    streamed::Fate,
    upload::Upload,
};

/// The way to one such instance.
#[derive(Clone)]
pub(crate) struct Crowd {
    jobs: mpsc::UnboundedSender<Job>,
    load: Arc<AtomicUsize>,
    /// It takes no more.
    closed: Arc<AtomicBool>,
    fate: Fate,
    effects: Arc<Effects>,
}

struct Job {
    request: http::Request<Upload>,
    reply: oneshot::Sender<Result<Taken, Failure>>,
}

/// One request's place in a crowd, until its body has ended.
pub(crate) struct Place {
    load: Arc<AtomicUsize>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Release);
    }
}

impl Crowd {
    /// Runs `instance` until it is closed and empty, then hands it to `done` with what became of it.
    pub(crate) fn start(
        instance: Instance,
        reset: CancellationToken,
        done: impl FnOnce(wasmtime::Result<()>) + Send + 'static,
    ) -> Self {
        let answering = &instance.store.data().answering;
        answering.begin();
        let effects = answering.effects();
        let (jobs, inbox) = mpsc::unbounded_channel();
        let crowd = Self { jobs, load: Arc::default(), closed: Arc::default(), fate: Fate::default(), effects };
        let (fate, closed) = (crowd.fate.clone(), crowd.closed.clone());
        tokio::spawn(async move {
            let result = tokio::select! {
                biased;
                result = run(instance, inbox, &fate) => result,
                () = fate.abandoned() => Ok(()),
                () = reset.cancelled() => Ok(()),
            };
            closed.store(true, Ordering::Release);
            done(result);
        });
        crowd
    }

    /// A place, if there is one of `most`; else the permit back.
    pub(crate) fn enter(&self, most: usize, permit: OwnedSemaphorePermit) -> Result<Place, OwnedSemaphorePermit> {
        let one_more = |load| (load < most && !self.closed()).then_some(load + 1);
        match self.load.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more) {
            Ok(_) => Ok(Place { load: self.load.clone(), _permit: permit }),
            Err(_) => Err(permit),
        }
    }

    pub(crate) fn effects(&self) -> Arc<Effects> {
        self.effects.clone()
    }

    pub(crate) fn closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// How bodies of this instance learn that it trapped.
    pub(crate) fn fate(&self) -> &Fate {
        &self.fate
    }

    /// It takes no more, and ends when it is empty.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// The same, and is stopped when it has not ended in time.
    pub(crate) fn expire(&self, timeout: Duration) {
        self.close();
        let fate = self.fate.clone();
        tokio::spawn(async move {
            tokio::time::sleep(timeout).await;
            fate.abandon();
        });
    }

    pub(crate) async fn ask(&self, request: http::Request<Upload>) -> Result<Taken, Failure> {
        let (reply, answer) = oneshot::channel();
        let sent = self.jobs.send(Job { request, reply });
        sent.map_err(|_| Failure::Trapped("its instance had just ended".into()))?;
        answer.await.unwrap_or_else(|_| Err(Failure::Trapped("another request's trap ended its instance".into())))
    }
}

async fn run(mut instance: Instance, mut inbox: mpsc::UnboundedReceiver<Job>, fate: &Fate) -> wasmtime::Result<()> {
    let origin = instance.store.data().origin.clone();
    let Proxy::P3(handler) = &instance.proxy else { unreachable!("crowds are of 0.3 instances alone") };
    let ran = instance.store.run_concurrent(async |accessor| {
        let mut asked = pin!(FuturesUnordered::new());
        let mut open = true;
        std::future::poll_fn(|cx| {
            while let Poll::Ready(job) = inbox.poll_recv(cx)
                && open
            {
                match job {
                    Some(Job { request, reply }) => asked.push(async {
                        let taken = ask(accessor, handler, request, &origin).await;
                        let trapped = matches!(taken, Err(Failure::Trapped(_)));
                        let _ = reply.send(taken);
                        trapped
                    }),
                    None => open = false,
                }
            }
            while let Poll::Ready(Some(trapped)) = asked.as_mut().poll_next_unpin(cx) {
                if trapped {
                    return Poll::Ready(true);
                }
            }
            match !open && asked.is_empty() {
                true => accessor.poll_no_interesting_tasks(cx).map(|()| false),
                false => Poll::Pending,
            }
        })
        .await
    });
    let trapped = ran.await;
    if !matches!(trapped, Ok(false)) {
        // Before the store goes: to the bodies that it writes, a trap and a clean end look alike.
        fate.break_off();
    }
    trapped.map(drop)
}
