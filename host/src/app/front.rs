//! What faces clients: listeners, TLS and the gateway, as the manifest wants them. A reload changes all of it at once.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use atoll_gateway::{
    Complaints,
    http::{self, Capabilities, Gateway, Limits, Network, Roster, Spool, SystemClock, Upstream},
    tls::{self, Acceptor, Admits as _, Challenges, LocalCa, Resolver, Tickets},
};
use atoll_net::{Accepted, Client, Inherited, Listener, Permits, SystemRoots, Tls};
use atoll_runtime::{Journal, Level};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    addresses, certificates,
    components::nobody_decides,
    decides::Decides,
    descriptors,
    door::Door,
    hooks::Pushes,
    host::{Components, Host},
    knowing::{Former, Knowing},
    running, upstreams,
};
use crate::{
    control::messages::CertificateStatus,
    journal::Log,
    manifest::{AccessLog, Manifest},
    problem::Problem,
};

const MINUTE: Duration = Duration::from_mins(1);

pub(super) struct Front {
    gateway: Arc<Gateway>,
    certificates: Arc<Resolver>,
    /// The manifest's, which the resolver serves.
    said: Mutex<Arc<Vec<certificates::Said>>>,
    /// For names that no certificate of the manifest covers, on loopback listeners.
    local: Arc<LocalCa>,
    admits: Arc<Decides>,
    challenges: Arc<Challenges>,
    tickets: Tickets,
    client: Client,
    /// For upstreams whose manifest names no roots of its own.
    tls: Tls,
    roots: SystemRoots,
    permits: Permits,
    /// Listeners whose connections begin with a PROXY header, as the manifest names them.
    proxied: Arc<ArcSwap<Vec<SocketAddr>>>,
    listening: Mutex<Vec<Listening>>,
    /// What is forwarded to, by name.
    installed: Mutex<Vec<(Arc<str>, Upstream)>>,
    log: Arc<Log>,
    /// Clients that asked for a name without a certificate.
    nameless: Arc<Complaints>,
}

/// A socket that is listened on.
struct Listening {
    asked: SocketAddr,
    bound: SocketAddr,
    secure: bool,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Listening {
    fn url(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.bound)
    }
}

/// What a reload has bound and read, and has not switched to yet.
pub(super) struct Prepared {
    sockets: Vec<(SocketAddr, bool, Listener)>,
    certificates: Vec<certificates::Said>,
    upstreams: Vec<(Arc<str>, Upstream)>,
    /// Certificates that are others than those that are served.
    pub(super) renewed: Vec<String>,
    /// Of certificates, and of descriptors.
    pub(super) warnings: Vec<Problem>,
}

impl Front {
    /// Binds the listeners of a manifest and begins to serve.
    pub(super) async fn open(
        host: &Arc<Host>,
        manifest: &Manifest,
        mut inherited: Inherited,
    ) -> anyhow::Result<Arc<Self>> {
        let log = host.log.clone();
        let challenges = Arc::new(Challenges::default());
        let spool = Arc::new(Spool::new(std::io::stdout())?);
        tokio::spawn(count_dropped(spool.clone(), log.clone()));
        let capabilities = Capabilities {
            challenges: challenges.clone(),
            hooks: Arc::new(Pushes::new(host.bindings.clone(), host.components.clone(), log.clone())),
            journal: log.clone(),
            sink: spool,
            clock: Arc::new(SystemClock),
        };
        let gateway = Gateway::new(capabilities, nothing(), manifest.answers);
        let permits = Permits::new(descriptors::connections(manifest).0, {
            let gateway = gateway.clone();
            move || gateway.make_room()
        });
        tokio::spawn({
            let gateway = gateway.clone();
            async move { gateway.keep_watch().await }
        });
        let admits = Arc::new(Decides::new(&host.components));
        let (folder, now) = (host.state.local_ca(), SystemTime::now());
        let made_for = admits.clone();
        let local = tokio::task::spawn_blocking(move || LocalCa::open(&folder, made_for, now)).await??;
        let roots = SystemRoots::default();
        let front = Arc::new(Self {
            gateway,
            certificates: Arc::default(),
            said: Mutex::default(),
            local: Arc::new(local),
            admits,
            challenges,
            tickets: Tickets::new()?,
            client: host.loader.client.clone(),
            tls: Tls::system(&roots, atoll_net::HTTP),
            roots,
            permits,
            proxied: Arc::default(),
            listening: Mutex::default(),
            installed: Mutex::default(),
            log,
            nameless: Arc::default(),
        });
        let prepared = tokio::task::block_in_place(|| front.bind(manifest, &mut inherited))?;
        for left in inherited.left() {
            host.say(
                Level::Warning,
                format!("a socket for {left} was handed over, and no listener of the manifest is there"),
            );
        }
        front.switch(&host.components.load(), prepared, manifest);
        Ok(front)
    }

    /// Binds what is new in a manifest, and reads what it names; changes nothing.
    pub(super) fn prepare(&self, manifest: &Manifest) -> anyhow::Result<Prepared> {
        self.bind(manifest, &mut Inherited::default())
    }

    fn bind(&self, manifest: &Manifest, inherited: &mut Inherited) -> anyhow::Result<Prepared> {
        let (certificates, now) = (certificates::load(manifest)?, SystemTime::now());
        certificates::no_worse(&certificates, &self.said(), now)?;
        for said in &certificates {
            said.certificate.check_trust(&self.roots.load(), now);
        }
        let mut warnings = certificates::warnings(&certificates, now);
        warnings.extend(certificates::lost(&certificates, &self.said()).into_iter().map(Problem::new));
        warnings.extend(descriptors::connections(manifest).1.map(Problem::new));
        let renewed = certificates::renewed(&certificates, &self.said());
        let upstreams = upstreams::urls(manifest, &self.client, &self.tls)?;
        let ours: Vec<_> = self.listening().iter().map(|listening| listening.bound).collect();
        let mut sockets = Vec::new();
        for (address, secure) in addresses::wanted(manifest) {
            if self.listening().iter().any(|listening| listening.asked == address.at && listening.secure == secure) {
                continue;
            }
            let bound = addresses::bind(manifest, address, secure, inherited, &ours)?;
            sockets.extend(bound.into_iter().map(|listener| (address.at, secure, listener)));
        }
        Ok(Prepared { sockets, certificates, upstreams, renewed, warnings })
    }

    /// Serves by what was prepared.
    pub(super) fn switch(self: &Arc<Self>, components: &Components, prepared: Prepared, manifest: &Manifest) {
        let Prepared { sockets, certificates, upstreams, warnings, .. } = prepared;
        for warning in warnings {
            self.say(Level::Warning, warning.to_string());
        }
        self.serve_certificates(Some(certificates));
        let wanted: Vec<_> = addresses::wanted(manifest).map(|(address, secure)| (address.at, secure)).collect();
        self.listening().retain(|listening| {
            let stays = wanted.contains(&(listening.asked, listening.secure));
            if !stays {
                listening.stop.cancel();
                self.say(Level::Info, format!("no longer listening on {}", listening.url()));
            }
            stays
        });
        let roles = components.iter().map(|(name, running)| (&**name, running.role));
        if let Some(words) = nobody_decides(roles) {
            self.say(Level::Warning, words);
        }
        let fresh = sockets.iter().find(|(_, secure, _)| *secure).map(|(.., listener)| listener.address().port());
        let router = running::router(components)
            .map(|running| Arc::new(Knowing(running.slot.clone())) as Arc<dyn http::Component>);
        let upstreams = upstreams.into_iter().chain(upstreams::services(components)).collect();
        self.install(router, upstreams, manifest, self.https_port().or(fresh));
        // After what is served is known: connections may be waiting already on a socket that was handed over.
        for (asked, secure, listener) in sockets {
            let started = self.listen(asked, secure, listener);
            self.say(Level::Info, format!("listening on {}", started.url()));
            self.listening().push(started);
        }
    }

    /// Until all have switched from `before` to `after`: who decides goes on to, and beside what is forwarded to now there is
    /// what was prepared, since routers may name what stands in either.
    pub(super) fn widen(&self, prepared: &Prepared, before: &Components, after: &Components, current: &Manifest) {
        let router = running::router(before).map(|running| {
            let same = after.values().any(|other| other.is(running) && other.role == running.role);
            let router: Arc<dyn http::Component> = Arc::new(Knowing(running.slot.clone()));
            if same { router } else { Former::of(&*router) }
        });
        let mut upstreams = Vec::new();
        if router.is_some() {
            upstreams.clone_from(&prepared.upstreams);
            upstreams.extend(upstreams::services(after));
        }
        for (name, upstream) in &*self.installed() {
            if upstreams.iter().any(|(known, _)| known == name) {
                continue;
            }
            let of = |after: &Components| {
                after.iter().find(|(known, _)| ***known == **name).map(|(_, running)| running.role)
            };
            let upstream = match upstream {
                Upstream::Component(service) if of(after).is_some() && of(after) != of(before) => {
                    Upstream::Component(Former::of(&**service))
                }
                upstream => upstream.clone(),
            };
            upstreams.push((name.clone(), upstream));
        }
        self.install(router, upstreams, current, self.https_port());
    }

    fn install(
        &self,
        router: Option<Arc<dyn http::Component>>,
        upstreams: Vec<(Arc<str>, Upstream)>,
        manifest: &Manifest,
        https_port: Option<u16>,
    ) {
        self.installed().clone_from(&upstreams);
        let roster = Roster {
            router,
            upstreams,
            trusted: manifest
                .listen
                .trusted
                .iter()
                .filter_map(|net| Network::new(net.addr(), net.prefix_len()))
                .collect(),
            redirect: manifest.listen.redirects(),
            https_port: https_port.unwrap_or(443),
            access: match manifest.access {
                AccessLog::Json => Some(http::Format::Json),
                AccessLog::Combined => Some(http::Format::Combined),
                AccessLog::Off => None,
            },
            limits: manifest.limits,
        };
        self.proxied.store(Arc::new(manifest.listen.proxied.clone()));
        self.permits.limit(descriptors::connections(manifest).0);
        self.gateway.install(roster, manifest.answers);
    }

    /// Where it listens.
    pub(super) fn urls(&self) -> Vec<String> {
        self.listening().iter().map(Listening::url).collect()
    }

    fn https_port(&self) -> Option<u16> {
        self.listening().iter().find(|listening| listening.secure).map(|listening| listening.bound.port())
    }

    pub(super) fn installed(&self) -> MutexGuard<'_, Vec<(Arc<str>, Upstream)>> {
        self.installed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(self: &Arc<Self>, asked: SocketAddr, secure: bool, listener: Listener) -> Listening {
        let bound = listener.address();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let acceptor = secure.then(|| {
            // Strangers' names get no certificate made for them.
            let local = bound.ip().is_loopback().then(|| self.local.clone());
            Arc::new(Acceptor::new(tls::Options {
                certificates: self.certificates.clone(),
                local,
                challenges: self.challenges.clone(),
                tickets: self.tickets.clone(),
            }))
        });
        let (gateway, log, nameless) = (self.gateway.clone(), self.log.clone(), self.nameless.clone());
        let door = Arc::new(Door { gateway, acceptor, log: log.clone(), nameless });
        let (permits, proxied) = (self.permits.clone(), self.proxied.clone());
        let serve = move |accepted: Accepted| door.clone().take_in(accepted, proxied.load().contains(&asked));
        let fault = move |error: &std::io::Error, pause: Duration| {
            let words = format!("{bound}: no connection could be accepted, trying again in {pause:?}: {error}");
            (&*log as &dyn Journal).host(Level::Error, words);
        };
        let task = tokio::spawn(listener.run(permits, async move { stopped.cancelled().await }, serve, fault));
        Listening { asked, bound, secure, stop, task }
    }

    /// Looks at the certificates as time goes by: serves those that are good, and says once a day what is to be said of them.
    pub(super) async fn remind(&self) {
        loop {
            for _ in 0..24 * 60 {
                tokio::time::sleep(MINUTE).await;
                // One may have begun to be good, or ended.
                self.serve_certificates(None);
            }
            for warning in certificates::warnings(&self.said(), SystemTime::now()) {
                self.say(Level::Warning, warning.to_string());
            }
        }
    }

    /// Those that were said last, or others from now on.
    fn serve_certificates(&self, others: Option<Vec<certificates::Said>>) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(others) = others {
            *said = Arc::new(others);
        }
        certificates::serve(&self.certificates, &said, SystemTime::now());
    }

    fn said(&self) -> Arc<Vec<certificates::Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn certificates(&self) -> Vec<CertificateStatus> {
        certificates::status(&self.said(), SystemTime::now())
    }

    /// Stops accepting, and waits until what was accepted has ended, or for so long.
    pub(super) async fn drain(&self, grace: Duration) {
        let listening: Vec<Listening> = self.listening().drain(..).collect();
        for listening in &listening {
            listening.stop.cancel();
        }
        for listening in listening {
            let _ = listening.task.await;
        }
        let cut = self.gateway.drain(grace).await;
        if cut > 0 {
            let words = format!("{cut} connections had not ended within {grace:?}, and were cut");
            self.say(Level::Warning, words);
        }
    }

    fn say(&self, level: Level, words: impl Into<String>) {
        (&*self.log as &dyn Journal).host(level, words.into());
    }

    /// What to open in a browser, where that can be told.
    pub(super) async fn to_open(&self) -> Option<String> {
        let port = {
            let listening = self.listening();
            let first = listening.iter().find(|listening| listening.secure && listening.bound.ip().is_loopback())?;
            first.bound.port()
        };
        // Not what a router sends nowhere.
        self.admits.admits("localhost").await?.then(|| format!("https://localhost:{port}/"))
    }

    /// Requests of a component that were answered out of memory, and those that might have been.
    pub(super) fn remembered(&self, component: &Arc<str>) -> (u64, u64) {
        let remembering = self.gateway.remembering(component);
        (remembering.hits, remembering.misses)
    }

    fn listening(&self) -> MutexGuard<'_, Vec<Listening>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says once a minute how many lines of the access log nobody will see.
async fn count_dropped(spool: Arc<Spool>, log: Arc<Log>) {
    loop {
        tokio::time::sleep(MINUTE).await;
        let dropped = spool.take_dropped();
        if dropped > 0 {
            let words =
                format!("{dropped} lines of the access log were left out: whoever reads standard output is too slow");
            (&*log as &dyn Journal).host(Level::Warning, words);
        }
    }
}

/// What is served before anything is.
fn nothing() -> Roster {
    let (upstreams, trusted) = (Vec::new(), Vec::new());
    let limits = Limits::default();
    Roster { router: None, upstreams, trusted, redirect: true, https_port: 443, access: None, limits }
}
