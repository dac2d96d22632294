//! What a component is at one moment: its bytes, its table, and the revisions that it reads. While these stand, its
//! answers stand.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use tokio_util::sync::CancellationToken;

use crate::{
    Answer, Body, Branch, Code, Decision, Digest, Failure, Head, Isolation, Role, Table, Upstream, agent::Agent,
    counts::Counts, ctx::Given, router::Router, service::Service,
};

/// Everything that a generation depends on.
#[derive(Clone)]
pub struct Inputs {
    pub code: Arc<Code>,
    pub table: Arc<Table>,
    /// By the name that the component knows.
    pub branches: BTreeMap<String, Arc<dyn Branch>>,
    /// What a router may name; empty for the others, which don't depend on it.
    pub upstreams: Arc<[Upstream]>,
}

impl Inputs {
    /// Whether the answers are the same.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let same = |(one, other): ((&String, &Arc<dyn Branch>), (&String, &Arc<dyn Branch>))| {
            one.0 == other.0 && one.1.stands_as(&**other.1)
        };
        self.code.digest() == other.code.digest()
            && self.table.hash == other.table.hash
            && self.upstreams == other.upstreams
            && self.branches.len() == other.branches.len()
            && self.branches.iter().zip(&other.branches).all(same)
    }
}

/// A component that can be asked.
pub struct Generation {
    id: u64,
    inputs: Inputs,
    kind: Kind,
    given: Arc<Given>,
    revisions: BTreeMap<String, String>,
    knows: bool,
    since: Instant,
    reset: CancellationToken,
    counts: Arc<Counts>,
}

pub(crate) enum Kind {
    Router(Router),
    Service(Arc<Service>),
    Agent(Agent),
}

/// What a generation has done and holds, for `host ps`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub instances: usize,
    /// Bytes of linear memory of the instances that are idle.
    pub memory: usize,
    /// Those that an instance was asked: of a router, decisions that were not remembered; of an agent, ticks.
    pub requests: u64,
    /// Requests that an instance is busy with: a body that the host carries alone is none.
    pub in_flight: usize,
    pub traps: u64,
}

impl Generation {
    pub(crate) fn new(id: u64, inputs: Inputs, kind: Kind, given: Arc<Given>, reset: CancellationToken) -> Self {
        let revisions = inputs.branches.iter().map(|(name, branch)| (name.clone(), branch.revision().to_owned()));
        let counts = match &kind {
            Kind::Service(service) => service.counts().clone(),
            Kind::Router(router) => router.counts().clone(),
            Kind::Agent(agent) => agent.counts().clone(),
        };
        let revisions: BTreeMap<String, String> = revisions.collect();
        let knows = inputs.branches.values().all(|branch| branch.is_known());
        Self { id, inputs, kind, given, revisions, knows, since: Instant::now(), reset, counts }
    }

    /// Unique in this process, and never used again.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn digest(&self) -> Digest {
        self.inputs.code.digest()
    }

    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    pub fn role(&self) -> Role {
        self.inputs.code.surface().role.expect("a component without a role becomes no generation")
    }

    /// By binding, as the component names it; empty for a branch without a commit.
    pub fn revisions(&self) -> &BTreeMap<String, String> {
        &self.revisions
    }

    /// Whether each branch that it reads is known, be it to have no commit.
    pub fn knows_its_branches(&self) -> bool {
        self.knows
    }

    /// What it is made of: the commits that it reads, and the beginning of its component's digest.
    pub(crate) fn title(&self) -> String {
        let born = self.revisions.iter().filter(|(_, revision)| !revision.is_empty());
        let mut words: Vec<String> = born.map(|(name, revision)| format!("{name} {revision}")).collect();
        words.push(format!("component {:.12}", self.digest().to_string()));
        words.join(", ")
    }

    /// When it was made.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Requests of a kind that may keep its instances busy at once.
    pub fn room(&self, isolation: Isolation) -> usize {
        let limits = &self.given.limits;
        let crowds = matches!(&self.kind, Kind::Service(service) if service.pool().crowds());
        match isolation {
            Isolation::Shared if crowds => limits.instances.saturating_mul(limits.concurrency),
            Isolation::Shared | Isolation::Alone => limits.instances,
        }
    }

    pub fn usage(&self) -> Usage {
        let (instances, memory) = match &self.kind {
            Kind::Service(service) => service.pool().live(),
            // Each is asked on a fresh instance.
            Kind::Router(_) | Kind::Agent(_) => (self.counts.in_flight(), 0),
        };
        Usage {
            instances,
            memory,
            requests: self.counts.requests.load(Ordering::Relaxed),
            in_flight: self.counts.in_flight(),
            traps: self.counts.traps.load(Ordering::Relaxed),
        }
    }

    /// Asks a service. The request's URI is absolute, and its path in its one form.
    pub async fn handle(&self, request: http::Request<Body>, isolation: Isolation) -> Result<Answer, Failure> {
        let Kind::Service(service) = &self.kind else {
            return Err(Failure::NoResponse(format!("its role is {}: it is not a service", self.role())));
        };
        let answer = service.handle(request, isolation).await;
        if let Err(failure) = &answer {
            self.log(failure);
        }
        answer
    }

    /// What a router decided about the same questions before; answers at once.
    pub fn recall(&self, head: &Head<'_>) -> Option<Arc<Decision>> {
        match &self.kind {
            Kind::Router(router) => router.recall(head),
            Kind::Service(_) | Kind::Agent(_) => None,
        }
    }

    /// Asks a router, or remembers what it said.
    pub async fn decide(&self, head: &Head<'_>) -> Result<Arc<Decision>, Failure> {
        let Kind::Router(router) = &self.kind else {
            return Err(Failure::NoResponse(format!("its role is {}: it is not a router", self.role())));
        };
        let decision = router.decide(head).await;
        if let Err(failure) = &decision {
            self.trapped(failure);
            self.log(failure);
        }
        decision
    }

    /// The commits that its instances published since this was asked last, as far as they are remembered.
    pub fn published(&self) -> Vec<String> {
        self.given.commits.take()
    }

    /// Wakes an agent.
    pub async fn tick(&self, now: u64) -> Result<Option<u64>, Failure> {
        let Kind::Agent(agent) = &self.kind else {
            return Err(Failure::NoResponse(format!("its role is {}: it is not an agent", self.role())));
        };
        let next = agent.tick(now).await;
        if let Err(failure) = &next {
            self.trapped(failure);
            self.log(failure);
        }
        next
    }

    fn trapped(&self, failure: &Failure) {
        self.counts.traps.fetch_add(u64::from(matches!(failure, Failure::Trapped(_))), Ordering::Relaxed);
    }

    /// Ends what is in flight.
    pub(crate) fn reset(&self) -> &CancellationToken {
        &self.reset
    }

    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Nothing new will come: idle instances go at once.
    pub(crate) fn retire(&self) {
        if let Kind::Service(service) = &self.kind {
            service.pool().close();
        }
    }

    fn log(&self, failure: &Failure) {
        if !matches!(failure, Failure::NotServing { .. } | Failure::Overloaded | Failure::Request) {
            self.given.tell_failed(failure);
        }
    }
}
