//! What a load of the manifest gives the gateway: the router, the upstreams by name, and how to listen. Installed whole;
//! a request sees one roster from its head to its end.

use std::{collections::HashMap, sync::Arc, time::Instant};

use atoll_net::{Client, Origin};
use atoll_runtime::{Decision, Forwarding};
use atoll_semantics::network::Network;
use http::StatusCode;

use crate::{
    Complaints,
    http::{
        access::{Format, Log, Sink},
        clock::Clock,
        component::Component,
        health::Health,
        limits::Limits,
        memory::{Memory, Tally},
        shares::Shares,
    },
};

/// The one service that a host without a router may name, where there are several.
const SITE: &str = "site";

pub struct Roster {
    /// Without one, every name goes to the one service that there is, or to `site`.
    pub router: Option<Arc<dyn Component>>,
    pub upstreams: Vec<(Arc<str>, Upstream)>,
    /// Proxies whose `X-Forwarded-*` are believed.
    pub trusted: Vec<Network>,
    /// Whether a plain request is sent to https, rather than answered.
    pub redirect: bool,
    /// Where https is served, for that.
    pub https_port: u16,
    /// None where no access log is wanted.
    pub access: Option<Format>,
    pub limits: Limits,
}

/// What a decision may forward to.
#[derive(Clone)]
pub enum Upstream {
    Component(Arc<dyn Component>),
    Url(UrlUpstream),
}

/// An `[upstream.NAME]`.
#[derive(Clone)]
pub struct UrlUpstream {
    pub client: Client,
    /// The next is tried where one can't be reached. At least one.
    pub places: Arc<[Place]>,
    /// The path goes out as the client sent it.
    pub raw_path: bool,
    /// How long it may pause within a body.
    pub patience: std::time::Duration,
}

/// A URL of an upstream.
pub struct Place {
    pub(super) origin: Origin,
    pub(super) tunnel: Origin,
    pub(super) health: Health,
}

impl Place {
    /// `tunnel` is the same place for what becomes a tunnel: spoken to by HTTP/1.1 alone.
    pub fn new(origin: Origin, tunnel: Origin) -> Self {
        Self { origin, tunnel, health: Health::default() }
    }

    /// Scheme, host and port, as an address bar has them.
    pub fn url(&self) -> String {
        self.origin.to_string()
    }

    /// How often it could not be reached, one after the other, and until when it is left alone where there are others; none
    /// once it answers.
    pub fn trouble(&self) -> Option<(u32, Instant)> {
        self.health.trouble()
    }
}

/// A roster as requests use it.
pub(super) struct Table {
    pub(super) router: Option<Arc<dyn Component>>,
    pub(super) upstreams: HashMap<Arc<str>, Member>,
    /// What is decided where nobody decides.
    pub(super) fallback: Arc<Decision>,
    pub(super) trusted: Vec<Network>,
    pub(super) redirect: bool,
    pub(super) https_port: u16,
    pub(super) access: Option<Arc<Log>>,
    pub(super) limits: Limits,
}

pub(super) enum Member {
    Component(Arc<Service>),
    Url(Arc<Named>),
}

pub(super) struct Service {
    pub(super) component: Arc<dyn Component>,
    pub(super) tally: Arc<Tally>,
    pub(super) shares: Arc<Seats>,
}

/// Of a component's instances: for requests that share one, and for those that have one of their own.
#[derive(Default)]
pub(super) struct Seats {
    pub(super) shared: Arc<Shares>,
    pub(super) alone: Arc<Shares>,
}

pub(super) struct Named {
    pub(super) name: Arc<str>,
    pub(super) upstream: UrlUpstream,
    pub(super) complaints: Complaints,
    /// Of what it has under way at once.
    pub(super) shares: Arc<Shares>,
}

impl Table {
    /// Who has a seat in `before` has it in this one too.
    pub(super) fn new(
        roster: Roster,
        before: Option<&Self>,
        memory: &Memory,
        sink: &Arc<dyn Sink>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let log = |format| Arc::new(Log { format, sink: sink.clone(), clock: clock.clone() });
        let fallback = Arc::new(fallback(&roster.upstreams));
        let member = |(name, upstream): (Arc<str>, Upstream)| {
            let member = match upstream {
                Upstream::Component(component) => {
                    let tally = memory.tally(component.name());
                    let shares = match before.and_then(|before| before.upstreams.get(&name)) {
                        Some(Member::Component(service)) => service.shares.clone(),
                        _ => Arc::default(),
                    };
                    Member::Component(Arc::new(Service { component, tally, shares }))
                }
                Upstream::Url(upstream) => {
                    let shares = match before.and_then(|before| before.upstreams.get(&name)) {
                        Some(Member::Url(named)) => named.shares.clone(),
                        _ => Arc::default(),
                    };
                    let complaints = Complaints::default();
                    Member::Url(Arc::new(Named { name: name.clone(), upstream, complaints, shares }))
                }
            };
            (name, member)
        };
        Self {
            router: roster.router,
            upstreams: roster.upstreams.into_iter().map(member).collect(),
            fallback,
            trusted: roster.trusted,
            redirect: roster.redirect,
            https_port: roster.https_port,
            access: roster.access.map(log),
            limits: roster.limits,
        }
    }
}

fn fallback(upstreams: &[(Arc<str>, Upstream)]) -> Decision {
    let services = || upstreams.iter().filter(|(_, upstream)| matches!(upstream, Upstream::Component(_)));
    let sole = match services().count() {
        1 => services().next(),
        _ => services().find(|(name, _)| &**name == SITE),
    };
    match sole {
        Some((name, _)) => Decision::Forward(Forwarding {
            upstream: name.to_string(),
            strip: None,
            add: None,
            request_fields: Vec::new(),
            response_fields: Vec::new(),
        }),
        None => {
            Decision::Refuse { status: StatusCode::NOT_FOUND, reason: "there is no router, and no one service".into() }
        }
    }
}
