//! The instances of one generation of a service: how many there may be, which are idle, and when one that failed to start
//! may be tried again.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;
use wasmtime_wasi_http::handler::{Proxy, ProxyPre};

use crate::{
    Engine, Failure,
    capability::clocks::Clock,
    crowd::{Crowd, Place},
    ctx::{Ctx, Given},
    failure::trap,
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
    /// Given back when the instance is dropped, or with it when it turns idle.
    permit: Option<OwnedSemaphorePermit>,
}

pub(crate) struct Pool {
    engine: Engine,
    given: Arc<Given>,
    pre: ProxyPre<Ctx>,
    idle: Mutex<VecDeque<Instance>>,
    crowds: Mutex<Vec<Crowd>>,
    /// For requests: an instance to oneself takes as many as its places.
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    starts: Mutex<Starts>,
}

#[derive(Default)]
struct Starts {
    failed: usize,
    not_before: Option<Instant>,
}

impl Pool {
    pub(crate) fn new(engine: Engine, given: Arc<Given>, pre: ProxyPre<Ctx>) -> Self {
        let permits = Arc::new(Semaphore::new(given.limits.instances * given.limits.concurrency));
        let (idle, crowds, starts) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { engine, given, pre, idle, crowds, permits, waiting: AtomicUsize::new(0), starts }
    }

    /// Whether instances carry several requests at once. A 0.2 guest can't: its `handle` blocks its instance.
    pub(crate) fn crowds(&self) -> bool {
        self.given.limits.concurrency > 1 && matches!(self.pre, ProxyPre::P3(_))
    }

    /// A place in an instance that carries several requests at once.
    pub(crate) async fn enter(&self, service: &Arc<Service>) -> Result<(Crowd, Place), Failure> {
        let mut permit = self.permit(1).await?;
        let most = self.given.limits.concurrency;
        for crowd in &*self.open_crowds() {
            permit = match crowd.enter(most, REUSES, permit) {
                Ok(place) => return Ok((crowd.clone(), place)),
                Err(permit) => permit,
            };
        }
        let (store, proxy) = self.start().await?;
        let instance = Instance { store, proxy, answered: 0, permit: None };
        let ended = service.clone();
        let (timeout, reset) = (self.given.limits.timeout, service.reset().clone());
        let crowd = Crowd::start(instance, timeout, reset, move |result| ended.crowd_ended(result));
        let place = crowd.enter(most, REUSES, permit).map_err(|_| Failure::Overloaded)?;
        self.open_crowds().push(crowd.clone());
        Ok((crowd, place))
    }

    fn open_crowds(&self) -> MutexGuard<'_, Vec<Crowd>> {
        let mut crowds = self.crowds.lock().unwrap_or_else(PoisonError::into_inner);
        crowds.retain(|crowd| !crowd.closed());
        crowds
    }

    /// An instance to oneself: an idle one or, where `fresh` or where there is none, a new one. Waits for one where all
    /// are busy, at most for the component's timeout.
    pub(crate) async fn take(&self, fresh: bool) -> Result<Instance, Failure> {
        let permit = self.permit(self.given.limits.concurrency).await?;
        if !fresh && let Some(mut instance) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_back() {
            instance.permit = Some(permit);
            return Ok(instance);
        }
        let (store, proxy) = self.start().await?;
        Ok(Instance { store, proxy, answered: 0, permit: Some(permit) })
    }

    /// Takes an instance back that has nothing left to do.
    pub(crate) fn give_back(&self, mut instance: Instance) {
        instance.store.data().end_lines();
        instance.answered += 1;
        if instance.answered >= REUSES {
            return;
        }
        let permit = instance.permit.take();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // What is idle and what is busy are never more than may be.
        if idle.len() < self.given.limits.instances {
            idle.push_back(instance);
        }
        drop(idle);
        drop(permit);
    }

    /// Lets go of instances that wait for nothing.
    pub(crate) fn clear(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.open_crowds().drain(..).for_each(|crowd| crowd.close());
    }

    /// How many live, and the bytes of linear memory of those that are idle.
    pub(crate) fn live(&self) -> (usize, usize) {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = &self.given.limits;
        let places = (limits.instances * limits.concurrency).saturating_sub(self.permits.available_permits());
        (
            places.div_ceil(limits.concurrency) + idle.len(),
            idle.iter().map(|instance| instance.store.data().account.memory()).sum(),
        )
    }

    async fn permit(&self, places: usize) -> Result<OwnedSemaphorePermit, Failure> {
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        if let Ok(permit) = self.permits.clone().try_acquire_many_owned(places) {
            return Ok(permit);
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= limits::WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Failure::Overloaded);
        }
        let waiting = Waiting(&self.waiting);
        let permit =
            tokio::time::timeout(self.given.limits.timeout, self.permits.clone().acquire_many_owned(places)).await;
        drop(waiting);
        permit.map_err(|_| Failure::Overloaded)?.map_err(|_| Failure::Overloaded)
    }

    async fn start(&self) -> Result<(Store<Ctx>, Proxy), Failure> {
        self.may_start(Instant::now())?;
        let mut store = Ctx::store(&self.engine, self.given.clone(), Clock::live);
        let started = tokio::time::timeout(self.given.limits.timeout, self.pre.instantiate_async(&mut store)).await;
        let failure = match started {
            Ok(Ok(proxy)) => {
                self.starts.lock().unwrap_or_else(PoisonError::into_inner).failed = 0;
                return Ok((store, proxy));
            }
            Ok(Err(error)) => trap(&error),
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

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
