//! The HTTP side of the host, as the assembly holds it: made once, given a roster at each load, and asked to serve each
//! connection.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use atoll_runtime::Journal;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
};

use crate::http::{
    access::Sink,
    break_off::BreakOff,
    clock::Clock,
    connections::{Admission, Connections},
    edge::Challenges,
    encoder::Encoders,
    flight::Flights,
    hook::{AT_ONCE, Hooks},
    limits::Limits,
    memory::Memory,
    peer::Peer,
    roster::{Roster, Table},
    serve,
    shares::Shares,
    strangers::Strangers,
};

/// What the gateway is made of.
pub struct Capabilities {
    pub challenges: Arc<dyn Challenges>,
    pub hooks: Arc<dyn Hooks>,
    /// Is told of upstreams that fail.
    pub journal: Arc<dyn Journal>,
    /// Where the access log goes.
    pub sink: Arc<dyn Sink>,
    pub clock: Arc<dyn Clock>,
}

pub struct Gateway {
    pub(super) table: ArcSwap<Table>,
    pub(super) memory: Memory,
    pub(super) flights: Flights,
    pub(super) encoders: Encoders,
    pub(super) challenges: Arc<dyn Challenges>,
    pub(super) hooks: Arc<dyn Hooks>,
    pub(super) hooking: Semaphore,
    pub(super) hookers: Arc<Shares>,
    pub(super) strangers: Strangers,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) clock: Arc<dyn Clock>,
    sink: Arc<dyn Sink>,
    connections: Arc<Connections>,
}

/// How often a component's requests that could be were answered out of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembering {
    pub hits: u64,
    pub misses: u64,
}

impl Gateway {
    /// `answers` is how many bytes of answers are remembered.
    pub fn new(capabilities: Capabilities, roster: Roster, answers: u64) -> Arc<Self> {
        let Capabilities { challenges, hooks, journal, sink, clock } = capabilities;
        let memory = Memory::new(answers);
        let table = ArcSwap::from_pointee(Table::new(roster, None, &memory, &sink, &clock));
        let (flights, hooking, connections) = (Flights::default(), Semaphore::new(AT_ONCE), Arc::default());
        let encoders = Encoders::default();
        Arc::new(Self {
            table,
            memory,
            flights,
            encoders,
            challenges,
            hooks,
            hooking,
            hookers: Arc::default(),
            strangers: Strangers::default(),
            journal,
            clock,
            sink,
            connections,
        })
    }

    /// From now on, new requests go by this roster, and as many bytes are remembered.
    pub fn install(&self, roster: Roster, answers: u64) {
        let before = self.table.load();
        let table = Table::new(roster, Some(&before), &self.memory, &self.sink, &self.clock);
        self.table.store(Arc::new(table));
        self.memory.resize(answers);
    }

    /// What a connection may take that begins now.
    pub fn limits(&self) -> Limits {
        self.table.load().limits
    }

    /// Takes a connection in, before its first byte; none where its client has too many that are all busy.
    pub fn admit(&self, client: IpAddr) -> Option<Admission> {
        self.connections.enter((!self.trusts(client)).then_some(client), &self.limits())
    }

    /// The same of whom nobody knows yet.
    pub fn admit_stranger(&self) -> Option<Admission> {
        self.connections.enter(None, &self.limits())
    }

    /// Says who it was that was admitted; whether it may stay.
    pub fn introduce(&self, stranger: &Admission, client: IpAddr) -> bool {
        self.trusts(client) || self.connections.introduce(stranger, client, &self.limits())
    }

    /// Whether an address speaks for many.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.table.load().trusted.iter().any(|network| network.contains(address))
    }

    /// Ends some connections that have nothing to do, the oldest first.
    pub fn make_room(&self) {
        self.connections.make_room(&self.limits());
    }

    /// Serves a connection, whose handshake is over, until it is done.
    pub async fn serve<I>(self: Arc<Self>, io: I, peer: Peer, admission: Admission)
    where
        I: AsyncRead + AsyncWrite + BreakOff + Send + Unpin + 'static,
    {
        admission.watch.settle();
        let limits = self.limits();
        serve::run(self, peer, io, &admission.watch, &limits).await;
    }

    /// Looks after connections that have nothing to do, or too long, once a second, for ever.
    pub async fn keep_watch(&self) {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            self.look_around();
        }
    }

    /// A second has passed.
    pub(super) fn look_around(&self) {
        self.connections.tick();
    }

    /// Has every connection finish what was begun on it, and returns when all are closed; what is left after `grace` is
    /// cut off. Says how many those were.
    pub async fn drain(&self, grace: Duration) -> usize {
        self.connections.drain();
        if tokio::time::timeout(grace, self.connections.empty()).await.is_ok() {
            return 0;
        }
        let left = self.connections.count();
        self.connections.abort();
        self.connections.empty().await;
        left
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.count()
    }

    /// For `host ps`.
    pub fn remembering(&self, component: &Arc<str>) -> Remembering {
        let tally = self.memory.tally(component);
        Remembering { hits: tally.hits.load(Ordering::Relaxed), misses: tally.misses.load(Ordering::Relaxed) }
    }

    /// Bytes of answers that are remembered.
    pub fn remembered(&self) -> u64 {
        self.memory.weight()
    }
}
