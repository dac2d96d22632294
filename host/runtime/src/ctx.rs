//! The data of one store: everything that an instance can reach stands in here.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use wasmtime::{Store, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::{
    Branch, Effects, Journal, Level, Line, Outbound, Publication, Source, Upstream,
    body::Origin,
    capability::{
        clocks::Clock,
        outbound::Hooks,
        publication::{Commits, Taken},
        random::Drawn,
        request_head::Recorder,
        stdio::{Allowance, Lines},
    },
    engine::Engine,
    limits::{self, Account, Limits},
};

/// Tells the time of day.
pub type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What all instances of one generation are given.
pub(crate) struct Given {
    pub(crate) component: Arc<str>,
    pub(crate) limits: Limits,
    pub(crate) env: Vec<(String, String)>,
    /// By the name that the component knows.
    pub(crate) branches: BTreeMap<String, Arc<dyn Branch>>,
    /// Those that may be written to.
    pub(crate) publications: BTreeMap<String, Arc<dyn Publication>>,
    /// Nothing is published while it is.
    pub(crate) proving: bool,
    /// What its instances published.
    pub(crate) commits: Commits,
    pub(crate) upstreams: Arc<[Upstream]>,
    pub(crate) outbound: Arc<dyn Outbound>,
    pub(crate) journal: Arc<dyn Journal>,
    /// What clocks and generators say before the first request: drawn once a generation, so that two of its instances
    /// start alike.
    pub(crate) drawn: Drawn,
    /// How much its instances may say.
    pub(crate) words: Arc<Allowance>,
    /// How much is said of their failures.
    pub(crate) failures: Allowance,
    pub(crate) wall_clock: WallClock,
}

impl Given {
    /// Says what one of its instances failed by.
    pub(crate) fn tell_failed(&self, failure: &impl Display) {
        self.failures.write(&*self.journal, &self.component, || Line {
            level: Level::Error,
            source: Source::Component(self.component.clone()),
            text: failure.to_string(),
        });
    }

    /// Says that what was `asked` is not granted, and the line that would; as seldom as a guest may speak, since it asks.
    pub(crate) fn tell_denied(&self, asked: &str, line: &str) {
        let component = &self.component;
        self.words.write(&*self.journal, component, || Line {
            level: Level::Warning,
            source: Source::Component(component.clone()),
            text: format!("asked {asked}; add to [component.{component}]: {line}"),
        });
    }
}

/// Whether an instance has begun to answer. Before, its clocks and generators say what was drawn for its generation; from
/// then on they are true, and using them marks its answers.
#[derive(Clone, Default)]
pub(crate) struct Answering {
    begun: Arc<AtomicBool>,
    effects: Arc<Effects>,
}

impl Answering {
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Asked by whatever is not part of a generation. True: go on with what is real; it has been noted.
    pub(crate) fn uses_the_world(&self) -> bool {
        let begun = self.begun.load(Ordering::Relaxed);
        if begun {
            self.effects.mark();
        }
        begun
    }

    pub(crate) fn effects(&self) -> Arc<Effects> {
        self.effects.clone()
    }
}

pub(crate) struct Ctx {
    pub(crate) given: Arc<Given>,
    pub(crate) table: ResourceTable,
    pub(crate) account: Account,
    pub(crate) answering: Answering,
    pub(crate) clock: Clock,
    /// Tells the host's own bodies from the guest's.
    pub(crate) origin: Origin,
    /// What it has staged.
    pub(crate) taken: Arc<Taken>,
    /// What a router has asked about its request so far.
    pub(crate) recorder: Recorder,
    /// Standard output and error.
    lines: [Lines; 2],
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
}

impl Ctx {
    fn new(given: Arc<Given>, clock: fn(&Given, &Answering) -> Clock) -> Self {
        let answering = Answering::default();
        let clock = clock(&given, &answering);
        let origin = Origin::default();
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::RESOURCES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(limits::FIELDS);
        let lines = [Lines::new(&given), Lines::new(&given)];
        let mut wasi = WasiCtxBuilder::new();
        wasi.envs(&given.env)
            .stdout(lines[0].clone())
            .stderr(lines[1].clone())
            .max_random_size(limits::RANDOM)
            .secure_random(given.drawn.generator(&answering))
            .insecure_random(given.drawn.generator(&answering))
            .insecure_random_seed(given.drawn.seed())
            .wall_clock(clock.clone())
            .allow_ip_name_lookup(false)
            .allow_tcp(false)
            .allow_udp(false);
        Self {
            hooks: Hooks::new(&given, &answering, &origin),
            account: Account::new(&given.limits),
            recorder: Recorder::default(),
            taken: Arc::default(),
            lines,
            wasi: wasi.build(),
            given,
            table,
            answering,
            clock,
            origin,
            http,
        }
    }

    /// One answer is over: what it said last is not to be mixed with what the next one says.
    pub(crate) fn end_lines(&self) {
        self.lines.iter().for_each(Lines::end);
    }

    /// A store within its limits.
    pub(crate) fn store(engine: &Engine, given: Arc<Given>, clock: fn(&Given, &Answering) -> Clock) -> Store<Self> {
        let mut store = Store::new(engine.wasm(), Self::new(given, clock));
        store.limiter(|ctx| &mut ctx.account);
        store.set_hostcall_fuel(limits::CALL);
        store.set_max_component_handles(limits::HANDLES);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }
}

impl WasiView for Ctx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Ctx {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}
