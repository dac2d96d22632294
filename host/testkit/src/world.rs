//! Everything that a guest is given: what its imports lead to.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use atoll_runtime::{
    Code, Digest, GrantedBranch, Inputs, Limits, Mode, Nowhere, Outbound, Publication, PublishError, Table, Upstream,
    WallClock,
};

use crate::{
    Canned, Error, Tree,
    lines::Lines,
    outbound::{Origin, Origins, Sent},
    publication::{self, Commits, Writable},
    tree::SOME_TIME,
};

/// A guest's world. It can name nothing that is not in here.
///
/// ```
/// use atoll_testkit::{Canned, Tree, World};
///
/// let world = World::new()
///     .branch("pages", Tree::new().file("index.html", "<h1>x</h1>"))
///     .outbound("https://api.example.org", "/v1", Canned::new(200).body("{}"))
///     .env("THEME", "dark")
///     .clock(1_700_000_000);
/// ```
#[derive(Clone, Default)]
pub struct World {
    branches: BTreeMap<String, Tree>,
    /// Those that may be written to, and what the next commits meet with.
    writable: BTreeMap<String, Vec<PublishError>>,
    origins: BTreeMap<String, BTreeMap<String, Canned>>,
    env: BTreeMap<String, String>,
    upstreams: BTreeMap<String, bool>,
    clock: Option<u64>,
    probe: Option<String>,
    limits: Limits,
}

impl World {
    /// Nothing granted, nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// A binding, by the name that the component knows, and what its branch holds.
    #[must_use]
    pub fn branch(mut self, name: &str, tree: Tree) -> Self {
        self.branches.insert(name.into(), tree);
        self
    }

    /// A binding that the component may write to as well.
    #[must_use]
    pub fn writable(mut self, name: &str, tree: Tree) -> Self {
        self.writable.entry(name.into()).or_default();
        self.branch(name, tree)
    }

    /// The next commit to a binding that may be written to fails like this; said twice, the two next. A component that
    /// stages again on a conflict is tested so.
    #[must_use]
    pub fn commit_fails(mut self, name: &str, failure: PublishError) -> Self {
        self.writable.entry(name.into()).or_default().push(failure);
        self
    }

    /// Grants an origin (`https://api.example.org`), and says what it answers at a path. The path may have a query, and is
    /// then for that query alone. Requests to other paths, and to other origins, are denied.
    #[must_use]
    pub fn outbound(mut self, origin: &str, path: &str, answer: Canned) -> Self {
        self.origins.entry(origin.into()).or_default().insert(path.into(), answer);
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// A service component that a router may name.
    #[must_use]
    pub fn service(mut self, name: &str) -> Self {
        self.upstreams.insert(name.into(), true);
        self
    }

    /// An `[upstream.NAME]` that a router may name.
    #[must_use]
    pub fn upstream(mut self, name: &str) -> Self {
        self.upstreams.insert(name.into(), false);
        self
    }

    /// The time of day, in seconds since the Unix epoch, at which the clock stands; 1 700 000 000 otherwise. `tick` sets
    /// it too. A router's clock is its host's: it stands at the latest committer date of its branches.
    #[must_use]
    pub fn clock(self, seconds: u64) -> Self {
        Self { clock: Some(seconds), ..self }
    }

    /// A path that must answer below 400 for `prove` to pass.
    #[must_use]
    pub fn probe(self, path: &str) -> Self {
        Self { probe: Some(path.into()), ..self }
    }

    /// Memory, time and the like; what a manifest gives by itself otherwise.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    pub(crate) fn is_origin(text: &str) -> bool {
        Origin::parse(text).is_some()
    }

    /// What the runtime makes a generation of.
    pub(crate) fn inputs(
        &self,
        code: Arc<Code>,
        sent: &Arc<Sent>,
        lines: &Arc<Lines>,
        commits: &Arc<Commits>,
    ) -> Result<Inputs, Error> {
        let mut branches = BTreeMap::new();
        let mut git = BTreeMap::new();
        for (name, tree) in &self.branches {
            branches.insert(name.clone(), tree.branch()?);
            let mode = if self.writable.contains_key(name) { Mode::Write } else { Mode::Read };
            git.insert(name.clone(), GrantedBranch { binding: name.clone(), mode });
        }
        let mut publications = BTreeMap::new();
        for (name, failing) in &self.writable {
            let tree = self.branches.get(name).ok_or_else(|| Error::World(format!("there is no branch \"{name}\"")))?;
            let writable = Writable(publication::Origin::new(name, tree.memory()?, failing, commits));
            publications.insert(name.clone(), Arc::new(writable) as Arc<dyn Publication>);
        }
        let mut origins = BTreeMap::new();
        for (origin, answers) in &self.origins {
            if let Some(path) = answers.iter().find(|(_, answer)| !answer.can_be_sent()).map(|(path, _)| path) {
                return Err(Error::World(format!("{origin}{path}: its answer is no HTTP response")));
            }
            let parsed = Origin::parse(origin).ok_or_else(|| {
                Error::World(format!("\"{origin}\" is no origin: write https://NAME or https://NAME:PORT"))
            })?;
            origins.insert(parsed, answers.clone());
        }
        let outbound: Arc<dyn Outbound> = match origins.is_empty() {
            true => Arc::new(Nowhere),
            false => Arc::new(Origins::new(origins, sent.clone(), lines.clone())),
        };
        let table = Table {
            // One guest, one table: nothing compares it with another.
            hash: Digest::of(b""),
            limits: self.limits.clone(),
            env: self.env.clone().into_iter().collect(),
            git,
            publications,
            outbound,
            probe: self.probe.clone(),
        };
        let upstream = |(name, component): (&String, &bool)| Upstream { name: name.clone(), component: *component };
        let upstreams = self.upstreams.iter().map(upstream).collect();
        Ok(Inputs { code, table: Arc::new(table), branches, upstreams })
    }

    pub(crate) fn time(&self) -> Clock {
        Clock(Arc::new(AtomicU64::new(self.clock.unwrap_or(SOME_TIME))))
    }
}

/// A clock that stands until it is set.
#[derive(Clone)]
pub(crate) struct Clock(Arc<AtomicU64>);

impl Clock {
    pub(crate) fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    pub(crate) fn wall_clock(&self) -> WallClock {
        let clock = self.clone();
        // An instant that the system can't tell is no time that a guest could be told.
        Arc::new(move || {
            let seconds = Duration::from_secs(clock.0.load(Ordering::Relaxed));
            SystemTime::UNIX_EPOCH.checked_add(seconds).unwrap_or(SystemTime::UNIX_EPOCH)
        })
    }
}
