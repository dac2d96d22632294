//! The instances of one generation of a service: how many there may be, which are idle, and when one that failed to start
//! may be tried again.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use wasmtime::Store;
use wasmtime_wasi_http::handler::{Proxy, ProxyPre};

use crate::{
    Engine, Failure,
    capability::clocks::Clock,
    crowd::{Crowd, Place},
    ctx::{Ctx, Given},
    limits,
    service::Service,
};

/// An instance that has answered this often makes room for a fresh one: what a guest leaks is bounded.
const REUSES: usize = 10_000;
/// After this many starts in a row that trapped, and for how long, new ones wait.
const DELAYS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_mins(1),
];

/// One live store of a component.
pub(crate) struct Instance {
    pub(crate) store: Store<Ctx>,
    pub(crate) proxy: Proxy,
    answered: usize,
    /// Given back when the instance is dropped, or turns idle.
    permit: Option<OwnedSemaphorePermit>,
}

pub(crate) struct Pool {
    engine: Engine,
    given: Arc<Given>,
    pre: ProxyPre<Ctx>,
    resting: Mutex<Resting>,
    crowds: Mutex<Vec<Crowd>>,
    /// Who is first here waits for a place in a crowd; the others wait for him.
    door: tokio::sync::Mutex<()>,
    left: Arc<Notify>,
    /// For the instances that are at work, and for crowds.
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    starts: Mutex<Starts>,
}

/// Instances that have nothing to do, the one that had longest nothing first.
#[derive(Default)]
struct Resting {
    instances: VecDeque<(Instance, Instant)>,
    /// Somebody comes to see how long they have been.
    watched: bool,
}

#[derive(Default)]
struct Starts {
    failed: usize,
    not_before: Option<Instant>,
}

impl Pool {
    pub(crate) fn new(engine: Engine, given: Arc<Given>, pre: ProxyPre<Ctx>) -> Arc<Self> {
        let pool = Arc::new(Self {
            permits: Arc::new(Semaphore::new(given.limits.instances)),
            engine,
            given,
            pre,
            resting: Mutex::default(),
            crowds: Mutex::default(),
            door: tokio::sync::Mutex::default(),
            left: Arc::default(),
            waiting: AtomicUsize::new(0),
            starts: Mutex::default(),
        });
        pool.engine.may_reclaim(Arc::downgrade(&pool));
        pool
    }

    /// Whether instances carry several requests at once. A 0.2 guest can't: its `handle` blocks its instance.
    pub(crate) fn crowds(&self) -> bool {
        self.given.limits.concurrency > 1 && matches!(self.pre, ProxyPre::P3(_))
    }

    /// A place in an instance that carries several requests at once.
    pub(crate) async fn enter(self: &Arc<Self>, service: &Arc<Service>) -> Result<(Crowd, Place), Failure> {
        let entered = self.in_time(async {
            let _first = self.door.lock().await;
            loop {
                if let Some(entered) = self.place() {
                    return Ok(entered);
                }
                tokio::select! {
                    biased;
                    permit = self.permits.clone().acquire_owned() => return self.open(service, permit.ok()).await,
                    () = self.left.notified() => {}
                }
            }
        });
        entered.await
    }

    fn place(&self) -> Option<(Crowd, Place)> {
        let most = self.given.limits.concurrency;
        self.open_crowds().iter().find_map(|crowd| Some((crowd.clone(), crowd.enter(most, REUSES)?)))
    }

    async fn open(
        self: &Arc<Self>,
        service: &Arc<Service>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<(Crowd, Place), Failure> {
        let (store, proxy) = self.start().await?;
        let instance = Instance { store, proxy, answered: 0, permit };
        let ended = service.clone();
        let (timeout, reset) = (self.given.limits.timeout, service.reset().clone());
        let (engine, left) = (self.engine.clone(), self.left.clone());
        let crowd = Crowd::start(engine, instance, timeout, reset, left, move |result| ended.crowd_ended(result));
        let place = crowd.enter(self.given.limits.concurrency, REUSES).ok_or(Failure::Overloaded)?;
        self.open_crowds().push(crowd.clone());
        self.watch(&mut self.resting());
        Ok((crowd, place))
    }

    /// An instance to oneself: an idle one or, where `fresh` or where there is none, a new one. Waits for one where all
    /// are busy, at most for the component's timeout.
    pub(crate) async fn take(&self, fresh: bool) -> Result<Instance, Failure> {
        let permit = self.permit().await?;
        let idle = if fresh { None } else { self.resting().instances.pop_back() };
        if let Some((instance, _)) = idle {
            return Ok(Instance { permit: Some(permit), ..instance });
        }
        self.make_room();
        let (store, proxy) = self.start().await?;
        Ok(Instance { store, proxy, answered: 0, permit: Some(permit) })
    }

    /// What is idle and what is busy are together no more than may be.
    fn make_room(&self) {
        let mut resting = self.resting();
        while resting.instances.len() > self.permits.available_permits() {
            resting.instances.pop_front();
        }
    }

    /// Takes an instance back that has nothing left to do.
    pub(crate) fn give_back(self: &Arc<Self>, mut instance: Instance) {
        instance.store.data().end_lines();
        instance.answered += 1;
        // It would soon have no room for what the next request needs.
        let hoards = instance.store.data_mut().table.iter_mut().count() > limits::RESOURCES / 2;
        if hoards || instance.answered >= REUSES {
            return;
        }
        let permit = instance.permit.take();
        let mut resting = self.resting();
        if resting.instances.len() <= self.permits.available_permits() {
            resting.instances.push_back((instance, Instant::now()));
            self.watch(&mut resting);
        }
        drop(resting);
        drop(permit);
    }

    /// Lets go of instances that wait for nothing. Whether there were any.
    pub(crate) fn clear(&self) -> bool {
        let idle = std::mem::take(&mut self.resting().instances);
        let mut crowds = self.open_crowds();
        let open = crowds.len();
        crowds.retain(|crowd| !crowd.is_empty());
        !idle.is_empty() || crowds.len() < open
    }

    /// The same, and carries what is under way in crowds to its end.
    pub(crate) fn close(&self) {
        self.clear();
        self.open_crowds().drain(..).for_each(|crowd| crowd.close());
    }

    /// How many live, and the bytes of linear memory of those that are idle.
    pub(crate) fn live(&self) -> (usize, usize) {
        let resting = self.resting();
        let busy = self.given.limits.instances.saturating_sub(self.permits.available_permits());
        let memory = resting.instances.iter().map(|(instance, _)| instance.store.data().account.memory());
        (busy + resting.instances.len(), memory.sum())
    }

    fn resting(&self) -> MutexGuard<'_, Resting> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_crowds(&self) -> MutexGuard<'_, Vec<Crowd>> {
        let mut crowds = self.crowds.lock().unwrap_or_else(PoisonError::into_inner);
        crowds.retain(|crowd| !crowd.closed());
        crowds
    }

    /// Sees to it that what is idle does not stay so.
    fn watch(self: &Arc<Self>, resting: &mut Resting) {
        if std::mem::replace(&mut resting.watched, true) {
            return;
        }
        let (pool, pause) = (Arc::downgrade(self), self.given.limits.idle);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                let Some(pool) = pool.upgrade() else { return };
                if !pool.expire(Instant::now()) {
                    return;
                }
            }
        });
    }

    /// Lets go of what has been idle for long. Whether to come again.
    fn expire(&self, now: Instant) -> bool {
        let mut resting = self.resting();
        let mut crowds = self.open_crowds();
        crowds.retain(|crowd| !crowd.was_idle());
        let old = resting
            .instances
            .iter()
            .take_while(|(_, since)| now.duration_since(*since) >= self.given.limits.idle)
            .count();
        let expired: Vec<_> = resting.instances.drain(..old).collect();
        resting.watched = !resting.instances.is_empty() || !crowds.is_empty();
        let watched = resting.watched;
        drop((resting, crowds));
        drop(expired);
        watched
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Ok(permit);
        }
        // A crowd that is empty is in the way of who must be alone.
        self.close_an_empty_crowd();
        self.in_time(async { self.permits.clone().acquire_owned().await.map_err(|_| Failure::Overloaded) }).await
    }

    fn close_an_empty_crowd(&self) {
        let mut crowds = self.open_crowds();
        if let Some(empty) = crowds.iter().position(Crowd::is_empty) {
            crowds.swap_remove(empty);
        }
    }

    /// Waits, at most for the component's timeout, and with no more than may wait.
    async fn in_time<T>(&self, what: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let _waiting = Waiting::new(&self.waiting)?;
        tokio::time::timeout(self.given.limits.timeout, what).await.unwrap_or(Err(Failure::Overloaded))
    }

    async fn start(&self) -> Result<(Store<Ctx>, Proxy), Failure> {
        self.may_start(Instant::now())?;
        let started = self.engine.start(|| async {
            let mut store = Ctx::store(&self.engine, self.given.clone(), Clock::live);
            let proxy = self.pre.instantiate_async(&mut store).await?;
            Ok((store, proxy))
        });
        let failure = match tokio::time::timeout(self.given.limits.timeout, started).await {
            Ok(Ok(started)) => {
                self.starts.lock().unwrap_or_else(PoisonError::into_inner).failed = 0;
                return Ok(started);
            }
            // That is no fault of its own.
            Ok(Err(Failure::Overloaded)) => return Err(Failure::Overloaded),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::TimedOut,
        };
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        starts.failed += 1;
        let delay = DELAYS[starts.failed.min(DELAYS.len() - 1)];
        starts.not_before = Instant::now().checked_add(delay);
        Err(failure)
    }

    fn may_start(&self, now: Instant) -> Result<(), Failure> {
        let starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        match starts.not_before {
            Some(at) if starts.failed > 0 && at > now => {
                Err(Failure::NotServing { retry_after: at.duration_since(now).as_secs() + 1 })
            }
            _ => Ok(()),
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Result<Self, Failure> {
        let this = Self(waiting);
        match waiting.fetch_add(1, Ordering::Relaxed) {
            0..limits::WAITING => Ok(this),
            _ => Err(Failure::Overloaded),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
