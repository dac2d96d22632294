//! What a candidate must pass before it serves: its imports are granted, it links, it starts, it finds nothing wrong with
//! what it was given, and its probe is answered.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use http_body_util::{BodyExt as _, Empty};
use tokio_util::sync::CancellationToken;
use wasmtime::{
    Store,
    component::{Instance, InstancePre, Linker},
};
use wasmtime_wasi_http::handler::ProxyPre;

use crate::{
    Body, Engine, EngineError, Failure, Generation, Inputs, Isolation, Journal, Nowhere, Role, Wasi,
    agent::Agent,
    bindings::{agent::TickingPre, router::RouterPre, validated::Validated},
    capability::{
        self,
        clocks::Clock,
        publication::Commits,
        random::Drawn,
        stdio::{Allowance, Rate, printable},
    },
    ctx::{Ctx, Given, WallClock},
    engine::Running,
    failure::trap,
    generation::Kind,
    grant::check_grants,
    router::Router,
    service::Service,
};

const NO_ROLE: &str = "exports nothing that this host calls: no atoll:host/routing, wasi:http/handler, \
                       wasi:http/incoming-handler or atoll:host/agent";

/// Problems kept of one validation, and bytes kept of each.
const PROBLEMS: usize = 100;
const PROBLEM: usize = 1024;

/// What all components of a host are made with.
pub struct Runtime {
    engine: Engine,
    linker: Linker<Ctx>,
    journal: Arc<dyn Journal>,
    wall_clock: WallClock,
    /// How many were made so far.
    generations: AtomicU64,
}

/// Something that keeps a candidate from serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file of a branch that it is about.
    pub file: Option<String>,
    /// Counted from 1.
    pub line: Option<u32>,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: {}", self.message),
            (Some(file), None) => write!(f, "{file}: {}", self.message),
            (None, _) => f.write_str(&self.message),
        }
    }
}

/// Why a candidate does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disproof {
    /// Never empty.
    pub problems: Vec<Problem>,
    /// The same candidate may pass later: it trapped, was too slow, or its probe failed.
    pub passing: bool,
}

impl Disproof {
    pub(crate) fn of(message: impl Into<String>, passing: bool) -> Self {
        Self { problems: vec![Problem { file: None, line: None, message: message.into() }], passing }
    }
}

impl fmt::Display for Disproof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if at > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Disproof {}

impl Runtime {
    pub fn new(engine: Engine, journal: Arc<dyn Journal>) -> Result<Self, EngineError> {
        let linker = capability::linker(engine.wasm())?;
        Ok(Self { engine, linker, journal, wall_clock: Arc::new(SystemTime::now), generations: AtomicU64::new(0) })
    }

    /// With another time of day for services and agents.
    #[must_use]
    pub fn with_wall_clock(self, wall_clock: WallClock) -> Self {
        Self { wall_clock, ..self }
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn journal(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    /// A generation that was proved before, or whose proof is not wanted: only what can't be left out is done.
    pub fn assemble(&self, component: &Arc<str>, inputs: Inputs) -> Result<Generation, Disproof> {
        let pre = self.link(component, &inputs)?;
        let given = Arc::new(self.given(component, &inputs));
        let reset = CancellationToken::new();
        let engine = self.engine.clone();
        let linked = |error: wasmtime::Error| Disproof::of(format!("{error:#}"), false);
        let kind = match inputs.code.surface().role {
            Some(Role::Router) => {
                Kind::Router(Router::new(engine, given.clone(), RouterPre::new(pre).map_err(linked)?))
            }
            Some(Role::Agent) => Kind::Agent(Agent::new(engine, given.clone(), TickingPre::new(pre).map_err(linked)?)),
            Some(Role::Service { wasi }) => {
                let pre = match wasi {
                    Wasi::P3 => ProxyPre::P3(wasmtime_wasi_http::p3::bindings::ServicePre::new(pre).map_err(linked)?),
                    Wasi::P2 => ProxyPre::P2(wasmtime_wasi_http::p2::bindings::ProxyPre::new(pre).map_err(linked)?),
                };
                Kind::Service(Arc::new(Service::new(engine, given.clone(), pre, reset.clone())))
            }
            None => {
                return Err(Disproof::of(NO_ROLE, false));
            }
        };
        let id = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Generation::new(id, inputs, kind, given, reset))
    }

    /// Proves a candidate.
    pub async fn prove(&self, component: &Arc<str>, inputs: Inputs) -> Result<Generation, Disproof> {
        let pre = self.link(component, &inputs)?;
        let generation = self.assemble(component, inputs)?;
        let inputs = generation.inputs();
        in_time(inputs, async {
            let started = self.start(component, pre, inputs).await?;
            validate(started, inputs).await
        })
        .await?;
        if let Some(path) = &generation.inputs().table.probe {
            probe(&generation, path).await?;
        }
        Ok(generation)
    }

    /// Whether it starts; and then what it finds wrong, with inputs that need not be those that it would have.
    pub async fn rehearse(&self, component: &Arc<str>, inputs: &Inputs) -> Result<Result<(), Disproof>, Disproof> {
        let pre = self.link(component, inputs)?;
        let started = in_time(inputs, self.start(component, pre, inputs)).await?;
        Ok(in_time(inputs, validate(started, inputs)).await)
    }

    /// Starts an instance of its own for the proof.
    async fn start(&self, component: &Arc<str>, pre: InstancePre<Ctx>, inputs: &Inputs) -> Result<Started, Disproof> {
        let running = self.engine.running();
        // What goes out or writes is refused while it looks at its inputs.
        let mut given = self.given(component, inputs);
        given.outbound = Arc::new(Nowhere);
        given.proving = true;
        let given = Arc::new(given);
        let started = self.engine.start(|| async {
            let mut store = Ctx::store(&self.engine, given.clone(), clock(inputs));
            let instance = pre.instantiate_async(&mut store).await?;
            Ok((store, instance))
        });
        let (store, instance) = started.await.map_err(|failure| trapped("trapped at its start", failure))?;
        Ok(Started { store, instance, _running: running })
    }

    /// Whether it has a role, and all that it imports is granted, and here.
    pub fn check(&self, component: &Arc<str>, inputs: &Inputs) -> Result<(), Disproof> {
        if inputs.code.surface().role.is_none() {
            return Err(Disproof::of(NO_ROLE, false));
        }
        self.link(component, inputs).map(drop)
    }

    fn link(&self, component: &Arc<str>, inputs: &Inputs) -> Result<InstancePre<Ctx>, Disproof> {
        let granted = check_grants(component, inputs.code.surface(), &inputs.table);
        granted.map_err(|error| Disproof::of(error.to_string(), false))?;
        let unlinked = |error: wasmtime::Error| {
            Disproof::of(
                format!("imports what this host does not have: {}", printable(format!("{error:#}").as_bytes())),
                false,
            )
        };
        self.linker.instantiate_pre(&inputs.code.component).map_err(unlinked)
    }

    fn given(&self, component: &Arc<str>, inputs: &Inputs) -> Given {
        let router = inputs.code.surface().role == Some(Role::Router);
        Given {
            component: component.clone(),
            limits: inputs.table.limits.clone(),
            env: inputs.table.env.clone(),
            branches: inputs.branches.clone(),
            // What a router decides must depend on nothing but what it asks.
            publications: if router { BTreeMap::new() } else { inputs.table.publications.clone() },
            proving: false,
            commits: Commits::default(),
            upstreams: inputs.upstreams.clone(),
            outbound: if router { Arc::new(Nowhere) } else { inputs.table.outbound.clone() },
            journal: self.journal.clone(),
            drawn: if router { Drawn::constant() } else { Drawn::at((self.wall_clock)()) },
            wall_clock: self.wall_clock.clone(),
            words: Arc::new(Allowance::new(Rate::WORDS, Instant::now())),
            failures: Allowance::new(Rate::FAILURES, Instant::now()),
        }
    }
}

/// An instance that a candidate is proved with.
struct Started {
    store: Store<Ctx>,
    instance: Instance,
    _running: Running,
}

/// Asks it what it finds wrong, where it can be asked.
async fn validate(started: Started, inputs: &Inputs) -> Result<(), Disproof> {
    if !inputs.code.surface().validates {
        return Ok(());
    }
    let Started { mut store, instance, _running } = started;
    let validated = Validated::new(&mut store, &instance).map_err(|error| Disproof::of(format!("{error:#}"), false))?;
    let problems = validated.atoll_host_validation().call_validate(&mut store).await;
    let problems = problems.map_err(|error| trapped("trapped while it validated", trap(&error)))?;
    if problems.is_empty() {
        return Ok(());
    }
    let more = problems.len().saturating_sub(PROBLEMS);
    let mut kept: Vec<Problem> = problems
        .into_iter()
        .take(PROBLEMS)
        .map(|problem| Problem {
            file: problem.file.map(|file| cut(&file)),
            line: problem.line,
            message: cut(&problem.message),
        })
        .collect();
    if more > 0 {
        kept.push(Problem { file: None, line: None, message: format!("and {more} more") });
    }
    Err(Disproof { problems: kept, passing: false })
}

fn trapped(what: &str, failure: Failure) -> Disproof {
    match failure {
        Failure::Trapped(words) => Disproof::of(format!("{what}: {words}"), true),
        failure => Disproof::of(format!("{what}: {failure}"), true),
    }
}

/// As long as it may take to answer a request.
async fn in_time<T>(inputs: &Inputs, proving: impl Future<Output = Result<T, Disproof>>) -> Result<T, Disproof> {
    let timeout = inputs.table.limits.timeout;
    let proved = tokio::time::timeout(timeout, proving).await;
    proved.unwrap_or_else(|_| Err(Disproof::of(format!("did not start and validate within {timeout:?}"), true)))
}

fn clock(inputs: &Inputs) -> fn(&Given, &crate::ctx::Answering) -> Clock {
    if inputs.code.surface().role == Some(Role::Router) { Clock::still } else { Clock::live }
}

async fn probe(generation: &Generation, path: &str) -> Result<(), Disproof> {
    let body: Body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = http::Request::get(format!("https://localhost{path}")).body(body);
    let request = request.map_err(|error| Disproof::of(format!("probe {path}: {error}"), false))?;
    match generation.handle(request, Isolation::Alone).await {
        Ok(answer) if answer.response.status().as_u16() < 400 => Ok(()),
        Ok(answer) => Err(Disproof::of(format!("probe {path}: {}", answer.response.status()), true)),
        Err(failure) => Err(Disproof::of(format!("probe {path}: {failure}"), true)),
    }
}

/// A guest's words, bounded and printable.
fn cut(words: &str) -> String {
    let mut end = words.len().min(PROBLEM);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    printable(&words.as_bytes()[..end])
}
