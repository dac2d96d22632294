//! An instance that carries several requests at once, where its table allows it: a task of its own runs the store, and
//! requests reach it by a channel. A trap ends them all. The guest can't be told to give up one of its tasks: where one of
//! them takes too long, it takes no more, carries the others to their ends within `timeout`, and goes.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::handler::Proxy;

use crate::{
    Effects, Engine, Failure,
    ask::{Taken, ask},
    counts::InFlight,
    failure::trap,
    pool::Instance,
    streamed::Fate,
    upload::Upload,
};

/// The way to one such instance.
#[derive(Clone)]
pub(crate) struct Crowd {
    jobs: mpsc::UnboundedSender<Job>,
    places: Arc<Places>,
    left: Arc<Notify>,
    fate: Fate,
    effects: Arc<Effects>,
}

struct Job {
    request: http::Request<Upload>,
    held: Kept,
    reply: oneshot::Sender<Result<(Taken, Kept), Failure>>,
}

/// What a request keeps for as long as the guest is busy with it, whoever still waits for it.
pub(crate) type Kept = (Place, InFlight);

#[derive(Default)]
struct Places {
    taken: AtomicUsize,
    /// In all its life.
    entered: AtomicUsize,
    /// The same when it was last looked whether it is idle.
    entered_before: AtomicUsize,
    /// It takes no more.
    closed: AtomicBool,
}

/// One request's place in a crowd, until its body has ended.
pub(crate) struct Place {
    places: Arc<Places>,
    left: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(1, Ordering::Release);
        self.left.notify_one();
    }
}

impl Crowd {
    /// Runs `instance` until it is closed and empty, then tells `done` what became of it. Tells `left` of each place that
    /// is free again.
    pub(crate) fn start(
        engine: Engine,
        instance: Instance,
        timeout: Duration,
        reset: CancellationToken,
        left: Arc<Notify>,
        done: impl FnOnce(Result<(), Failure>) + Send + 'static,
    ) -> Self {
        let answering = &instance.store.data().answering;
        answering.begin();
        let effects = answering.effects();
        let (jobs, inbox) = mpsc::unbounded_channel();
        let crowd = Self { jobs, places: Arc::default(), left, fate: Fate::new(reset.clone()), effects };
        let (fate, places) = (crowd.fate.clone(), crowd.places.clone());
        tokio::spawn(async move {
            let (ping, pings) = mpsc::channel(1);
            let mut running = Box::pin(run(instance, inbox, pings, &fate, timeout));
            // Whoever asked may be gone while the guest computes; at rest it is no reason for the clock to go on.
            let ran = poll_fn(|cx| {
                let _running = engine.running();
                running.as_mut().poll(cx)
            });
            let given_up = async {
                fate.abandoned().await;
                places.closed.store(true, Ordering::Release);
                tokio::time::sleep(timeout).await;
            };
            let result = tokio::select! {
                biased;
                result = ran => result.map_err(|error| trap(&error)),
                () = given_up => Ok(()),
                result = watch(&places, &ping, timeout) => result,
                () = reset.cancelled() => Ok(()),
            };
            places.closed.store(true, Ordering::Release);
            // Before the store goes: to the bodies that it writes, its end and theirs look alike.
            fate.break_off();
            drop(running);
            done(result);
        });
        crowd
    }

    /// A place, if there is one of `most`. The last of `reuses` closes it.
    pub(crate) fn enter(&self, most: usize, reuses: usize) -> Option<Place> {
        let one_more = |taken| (taken < most && !self.closed()).then_some(taken + 1);
        self.places.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        if self.places.entered.fetch_add(1, Ordering::Relaxed) + 1 >= reuses {
            self.close();
        }
        Some(Place { places: self.places.clone(), left: self.left.clone() })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.taken.load(Ordering::Acquire) == 0
    }

    /// Whether it is empty, and nobody has entered since this was last asked.
    pub(crate) fn was_idle(&self) -> bool {
        let entered = self.places.entered.load(Ordering::Relaxed);
        self.places.entered_before.swap(entered, Ordering::Relaxed) == entered && self.is_empty()
    }

    pub(crate) fn effects(&self) -> Arc<Effects> {
        self.effects.clone()
    }

    pub(crate) fn closed(&self) -> bool {
        self.places.closed.load(Ordering::Acquire) || self.fate.is_abandoned()
    }

    /// What its bodies and it know of each other.
    pub(crate) fn fate(&self) -> &Fate {
        &self.fate
    }

    /// It takes no more, and ends when it is empty.
    pub(crate) fn close(&self) {
        self.places.closed.store(true, Ordering::Release);
    }

    /// What was `held` comes back with the answer; of one that is given up, when the guest is done with it.
    pub(crate) async fn ask(&self, request: http::Request<Upload>, held: Kept) -> Result<(Taken, Kept), Failure> {
        // wasmtime does not say whose task it was that trapped.
        let ended = || Failure::NoResponse("one of the requests in its instance has ended it".into());
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job { request, held, reply }).map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// Looks after an instance from outside, since within a store nothing is looked at while the guest computes. Returns when
/// it is beyond use: it does not answer, or all its requests have left it and something in it goes on.
async fn watch(places: &Places, ping: &mpsc::Sender<oneshot::Sender<()>>, timeout: Duration) -> Result<(), Failure> {
    let empty = || places.closed.load(Ordering::Acquire) && places.taken.load(Ordering::Acquire) == 0;
    loop {
        let was_empty = empty();
        tokio::time::sleep(timeout).await;
        if was_empty && empty() {
            return Ok(());
        }
        let (answer, heard) = oneshot::channel();
        let answered =
            ping.try_send(answer).is_ok() && matches!(tokio::time::timeout(timeout, heard).await, Ok(Ok(())));
        if !answered {
            return Err(Failure::TimedOut);
        }
    }
}

async fn run(
    mut instance: Instance,
    mut inbox: mpsc::UnboundedReceiver<Job>,
    mut pings: mpsc::Receiver<oneshot::Sender<()>>,
    fate: &Fate,
    timeout: Duration,
) -> wasmtime::Result<()> {
    let origin = instance.store.data().origin.clone();
    let Proxy::P3(handler) = &instance.proxy else { unreachable!("crowds are of 0.3 instances alone") };
    let ran = instance.store.run_concurrent(async |accessor| {
        let mut asked = pin!(FuturesUnordered::new());
        let mut open = true;
        poll_fn(|cx| {
            while let Poll::Ready(Some(pong)) = pings.poll_recv(cx) {
                let _ = pong.send(());
            }
            while open && let Poll::Ready(job) = inbox.poll_recv(cx) {
                match job {
                    Some(Job { request, held, mut reply }) => asked.push(async {
                        let taken = tokio::select! {
                            biased;
                            taken = ask(accessor, handler, request, &origin) => taken,
                            () = unheard(&mut reply, timeout) => {
                                fate.abandon();
                                return false;
                            }
                        };
                        let trapped = matches!(taken, Err(Failure::Trapped(_)));
                        let _ = reply.send(taken.map(|taken| (taken, held)));
                        trapped
                    }),
                    None => open = false,
                }
            }
            while let Poll::Ready(Some(trapped)) = asked.as_mut().poll_next_unpin(cx) {
                if trapped {
                    return Poll::Ready(());
                }
            }
            match !open && asked.is_empty() {
                true => accessor.poll_no_interesting_tasks(cx),
                false => Poll::Pending,
            }
        })
        .await;
    });
    ran.await
}

/// Returns when nobody has waited for an answer for a while.
async fn unheard<T>(reply: &mut oneshot::Sender<T>, timeout: Duration) {
    reply.closed().await;
    tokio::time::sleep(timeout).await;
}
