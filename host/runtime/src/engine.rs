//! wasmtime, configured once: the pool that instances come from, and the clock that interrupts guests.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use wasmtime::{Config, InstanceAllocationStrategy, PoolConcurrencyLimitError, PoolingAllocationConfig};

use crate::{
    Failure,
    failure::trap,
    limits::{CORE_INSTANCES, MAX_MEMORY, MEMORIES, TABLE_ELEMENTS, WASM_STACK},
    pool::Pool,
};

/// A guest that computes gives its thread back this often.
const TICK: Duration = Duration::from_millis(5);
/// The clock goes on this many ticks after the last guest has stopped, so that a steady stream of requests doesn't start
/// and stop it each time.
const LINGER: usize = 200;

/// How often, and how many times, to look whether an instance may start where all that there may be are at work.
const ROOM: (Duration, usize) = (Duration::from_millis(10), 100);

/// wasmtime can't be had on this machine, or not as we want it.
#[derive(Debug, thiserror::Error)]
#[error("webassembly can't be run here: {0}")]
pub struct EngineError(String);

impl From<wasmtime::Error> for EngineError {
    fn from(error: wasmtime::Error) -> Self {
        Self(format!("{error:#}"))
    }
}

impl From<std::io::Error> for EngineError {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The one engine of a host.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    wasm: wasmtime::Engine,
    running: Arc<AtomicUsize>,
    ticker: Thread,
    /// Where instances rest.
    pools: Mutex<Vec<Weak<Pool>>>,
}

impl Engine {
    /// # Errors
    /// The operating system refuses the addresses that the pool reserves.
    pub fn new() -> Result<Self, EngineError> {
        let wasm = wasmtime::Engine::new(&config())?;
        let running = Arc::new(AtomicUsize::new(0));
        let ticker = tick(wasm.weak(), running.clone())?;
        Ok(Self(Arc::new(Inner { wasm, running, ticker, pools: Mutex::default() })))
    }

    pub(crate) fn wasm(&self) -> &wasmtime::Engine {
        &self.0.wasm
    }

    /// Starts an instance, in a store of its own each time that `start` is called. Where there are as many as there may be
    /// in all, idle ones make room; where all of them are at work, it is `Overloaded` after a second.
    pub(crate) async fn start<T, F>(&self, start: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = wasmtime::Result<T>>,
    {
        let (pause, mut times) = ROOM;
        loop {
            match start().await {
                Err(error) if error.is::<PoolConcurrencyLimitError>() => {
                    if self.reclaim() {
                        continue;
                    }
                    if times == 0 {
                        return Err(Failure::Overloaded);
                    }
                    times -= 1;
                    tokio::time::sleep(pause).await;
                }
                started => return started.map_err(|error| trap(&error)),
            }
        }
    }

    /// What rests in this pool may be taken where others need the room.
    pub(crate) fn may_reclaim(&self, pool: Weak<Pool>) {
        let mut pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(pool);
    }

    /// Drops what is idle; whether there was anything.
    fn reclaim(&self) -> bool {
        let pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner).clone();
        pools.iter().filter_map(Weak::upgrade).filter(|pool| pool.clear()).count() > 0
    }

    /// To be held while a guest may run: without one the clock stands still, and a loop would never be interrupted.
    pub(crate) fn running(&self) -> Running {
        if self.0.running.fetch_add(1, Ordering::AcqRel) == 0 {
            self.0.ticker.unpark();
        }
        Running(self.0.running.clone())
    }
}

pub(crate) struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The same in the child that compiles: code is only loaded by an engine that is configured as its compiler was.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_component_model_async(true)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(WASM_STACK + (512 << 10))
        .memory_init_cow(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    config
}

fn pool() -> PoolingAllocationConfig {
    // Addresses are reserved, not memory: what a component may use is a limit on its store, so that a reload can change it.
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let instances = u32::try_from((cores * 128).clamp(256, 2048)).expect("at most 2,048");
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        // The adapters of a guest with a standard library make it three core instances.
        .total_core_instances(instances * 4)
        .total_memories(instances * 2)
        .total_tables(instances * 4)
        .total_stacks(instances * 2)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(CORE_INSTANCES)
        .max_memory_size(MAX_MEMORY)
        .table_elements(TABLE_ELEMENTS)
        .max_component_instance_size(1 << 20)
        .max_core_instance_size(1 << 20)
        // Kept mapped between two instances of a slot: zeroing a little is cheaper than giving it back.
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(8 << 10)
        .async_stack_keep_resident(16 << 10);
    pool
}

fn tick(engine: wasmtime::EngineWeak, running: Arc<AtomicUsize>) -> std::io::Result<Thread> {
    let thread = thread::Builder::new().name("epoch".into()).spawn(move || {
        let mut idle = 0;
        loop {
            thread::sleep(TICK);
            let Some(engine) = engine.upgrade() else { return };
            if running.load(Ordering::Acquire) > 0 {
                idle = 0;
                engine.increment_epoch();
            } else if idle < LINGER {
                idle += 1;
            } else {
                drop(engine);
                thread::park();
                idle = 0;
            }
        }
    })?;
    Ok(thread.thread().clone())
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ticker.unpark();
    }
}
