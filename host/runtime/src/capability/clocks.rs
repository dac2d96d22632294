//! `wasi:clocks`: true for services and agents, still for routers.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use wasmtime::component::{Accessor, HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::{
    HostWallClock,
    p2::{DynPollable, bindings::clocks::monotonic_clock as p2},
    p3::bindings::clocks::{monotonic_clock as p3, types},
};
use wasmtime_wasi_io::poll::{Pollable, subscribe};

use crate::ctx::{Answering, Ctx, Given, WallClock};

/// Nanoseconds; what both clocks can tell apart.
const RESOLUTION: u64 = 1;

/// Both clocks of one instance.
#[derive(Clone)]
pub(crate) enum Clock {
    /// A router's: the wall clock stands at the latest commit that it may read, the monotonic clock at 0 until the guest
    /// waits for an instant, which is reached at once.
    Still { wall: Duration, monotonic: Arc<AtomicU64> },
    /// True once the instance answers; until then they stand where they stood when its generation was made.
    True { wall: WallClock, answering: Answering, drawn: Duration, start: Arc<Mutex<Option<Instant>>> },
}

impl Clock {
    pub(crate) fn still(given: &Given, _: &Answering) -> Self {
        let latest = given.branches.values().map(|branch| branch.committed()).max().unwrap_or(0);
        Self::Still { wall: Duration::from_secs(latest), monotonic: Arc::default() }
    }

    pub(crate) fn live(given: &Given, answering: &Answering) -> Self {
        Self::True {
            wall: given.wall_clock.clone(),
            answering: answering.clone(),
            drawn: given.drawn.time(),
            start: Arc::default(),
        }
    }

    fn monotonic(&self) -> u64 {
        match self {
            Self::Still { monotonic, .. } => monotonic.load(Ordering::Relaxed),
            Self::True { answering, start, .. } => {
                if !answering.uses_the_world() {
                    return 0;
                }
                let mut start = start.lock().unwrap_or_else(PoisonError::into_inner);
                let start = start.get_or_insert_with(Instant::now);
                u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
            }
        }
    }

    /// How long to wait until `when`; nothing for a still clock, which then stands there.
    fn until(&self, when: u64) -> Duration {
        match self {
            Self::Still { monotonic, .. } => {
                monotonic.fetch_max(when, Ordering::Relaxed);
                Duration::ZERO
            }
            Self::True { .. } => Duration::from_nanos(when.saturating_sub(self.monotonic())),
        }
    }

    fn lasting(&self, duration: u64) -> Duration {
        match self {
            Self::Still { .. } => self.until(self.monotonic().saturating_add(duration)),
            Self::True { answering, .. } => {
                answering.uses_the_world();
                Duration::from_nanos(duration)
            }
        }
    }
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(RESOLUTION)
    }

    fn now(&self) -> Duration {
        match self {
            Self::Still { wall, .. } => *wall,
            Self::True { answering, drawn, .. } if !answering.uses_the_world() => *drawn,
            Self::True { wall, .. } => wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        }
    }
}

/// The monotonic clocks of both WASI versions.
struct Monotonic;

struct View<'a> {
    clock: &'a Clock,
    table: &'a mut ResourceTable,
}

impl HasData for Monotonic {
    type Data<'a> = View<'a>;
}

fn view(ctx: &mut Ctx) -> View<'_> {
    View { clock: &ctx.clock, table: &mut ctx.table }
}

pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    p2::add_to_linker::<_, Monotonic>(linker, view)?;
    p3::add_to_linker::<_, Monotonic>(linker, view)
}

impl p3::Host for View<'_> {
    fn now(&mut self) -> wasmtime::Result<p3::Mark> {
        Ok(self.clock.monotonic())
    }

    fn get_resolution(&mut self) -> wasmtime::Result<types::Duration> {
        Ok(RESOLUTION)
    }
}

impl<T> p3::HostWithStore<T> for Monotonic {
    async fn wait_until(accessor: &Accessor<T, Self>, when: p3::Mark) -> wasmtime::Result<()> {
        sleep(accessor.with(|mut access| access.get().clock.until(when))).await;
        Ok(())
    }

    async fn wait_for(accessor: &Accessor<T, Self>, duration: types::Duration) -> wasmtime::Result<()> {
        sleep(accessor.with(|mut access| access.get().clock.lasting(duration))).await;
        Ok(())
    }
}

impl p2::Host for View<'_> {
    fn now(&mut self) -> wasmtime::Result<p2::Instant> {
        Ok(self.clock.monotonic())
    }

    fn resolution(&mut self) -> wasmtime::Result<p2::Duration> {
        Ok(RESOLUTION)
    }

    fn subscribe_instant(&mut self, when: p2::Instant) -> wasmtime::Result<Resource<DynPollable>> {
        let wait = self.clock.until(when);
        self.timer(wait)
    }

    fn subscribe_duration(&mut self, duration: p2::Duration) -> wasmtime::Result<Resource<DynPollable>> {
        let wait = self.clock.lasting(duration);
        self.timer(wait)
    }
}

impl View<'_> {
    fn timer(&mut self, wait: Duration) -> wasmtime::Result<Resource<DynPollable>> {
        // Too far for the clock is for ever, which a year is for an instance.
        const FOREVER: Duration = Duration::from_hours(365 * 24);
        let timer = self.table.push(Timer(tokio::time::Instant::now() + wait.min(FOREVER)))?;
        subscribe(self.table, timer)
    }
}

async fn sleep(wait: Duration) {
    if wait.is_zero() {
        // A guest that asks for nothing in a loop must not keep its thread.
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(wait).await;
    }
}

struct Timer(tokio::time::Instant);

#[async_trait::async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        sleep(self.0.saturating_duration_since(tokio::time::Instant::now())).await;
    }
}
