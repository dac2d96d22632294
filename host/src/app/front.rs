//! What faces clients: listeners, TLS and the gateway, as the manifest wants them. A reload changes all of it at once.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use atoll_gateway::{
    http::{Admission, Gateway, Network, Peer, Roster, Upstream, UrlUpstream},
    tls::{Acceptor, Admits, Challenges, LocalCa, Resolver, Secured, Tickets},
};
use atoll_net::{Accepted, Client, Egress, Inherited, Listener, Protocol, SystemRoots, Tls};
use atoll_runtime::{Journal, Level, Role};
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{certificates, host::Host};
use crate::{
    journal::Log,
    manifest::{AccessLog, Address, Manifest},
};

/// Connections at once, in all.
const CONNECTIONS: usize = 20_000;
/// From the connection to the end of its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long an upstream may pause within a body.
const PATIENCE: Duration = Duration::from_mins(1);

pub struct Front {
    gateway: Arc<Gateway>,
    certificates: Arc<Resolver>,
    /// For names that no certificate of the manifest covers, on loopback listeners.
    local: Arc<LocalCa>,
    challenges: Arc<Challenges>,
    tickets: Tickets,
    client: Client,
    /// For upstreams whose manifest names no roots of its own.
    tls: Tls,
    roots: SystemRoots,
    permits: Arc<Semaphore>,
    listening: Mutex<Vec<Listening>>,
    log: Arc<Log>,
}

/// A socket that is listened on.
struct Listening {
    asked: SocketAddr,
    bound: SocketAddr,
    secure: bool,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What a reload has bound and read, and has not switched to yet.
pub struct Prepared {
    sockets: Vec<(SocketAddr, bool, Listener)>,
    certificates: Vec<Arc<atoll_gateway::tls::Certificate>>,
    upstreams: Vec<(Arc<str>, Upstream)>,
}

impl Front {
    /// Binds the listeners of a manifest and begins to serve.
    pub async fn open(host: &Arc<Host>, manifest: &Manifest) -> anyhow::Result<Arc<Self>> {
        let log = host.log.clone();
        let challenges = Arc::new(Challenges::default());
        let gateway = Gateway::new(manifest.answers, Arc::new(StandardOutput::start()?), Arc::new(Published(challenges.clone())));
        let admits = Arc::new(Decides(gateway.clone()));
        let (folder, now) = (host.state.local_ca(), SystemTime::now());
        let local = tokio::task::spawn_blocking(move || LocalCa::open(&folder, admits, now)).await??;
        let roots = SystemRoots::default();
        let front = Arc::new(Self {
            gateway,
            certificates: Arc::default(),
            local: Arc::new(local),
            challenges,
            tickets: Tickets::new()?,
            client: host.loader.client.clone(),
            tls: Tls::system(&roots, atoll_net::HTTP),
            roots,
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
            listening: Mutex::default(),
            log,
        });
        let (pid, count) = (std::env::var("LISTEN_PID").ok(), std::env::var("LISTEN_FDS").ok());
        let mut inherited = Inherited::take(pid.as_deref(), count.as_deref(), std::process::id())?;
        let prepared = front.bind(manifest, &mut inherited)?;
        for left in inherited.left() {
            host.say(Level::Warning, format!("a socket for {left} was handed over, and no listener of the manifest is there"));
        }
        front.switch(host, prepared, manifest);
        Ok(front)
    }

    /// Binds what is new in a manifest, and reads what it names; changes nothing.
    pub fn prepare(&self, manifest: &Manifest) -> anyhow::Result<Prepared> {
        self.bind(manifest, &mut Inherited::default())
    }

    fn bind(&self, manifest: &Manifest, inherited: &mut Inherited) -> anyhow::Result<Prepared> {
        let (certificates, warnings) = certificates::load(manifest, SystemTime::now())?;
        for warning in warnings {
            (&*self.log as &dyn Journal).host(Level::Warning, warning);
        }
        for certificate in &certificates {
            certificate.check_trust(&self.roots.load(), SystemTime::now());
        }
        let upstreams = self.upstreams(manifest)?;
        let mut sockets = Vec::new();
        for (address, secure) in wanted(manifest) {
            if self.listening().iter().any(|listening| listening.asked == address.at && listening.secure == secure) {
                continue;
            }
            match atoll_net::bind(&[address.at], inherited) {
                Ok(bound) => sockets.extend(bound.into_iter().map(|listener| (address.at, secure, listener))),
                Err(error) if address.optional => drop(error),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Prepared { sockets, certificates, upstreams })
    }

    /// Serves by what was prepared.
    pub fn switch(self: &Arc<Self>, host: &Host, prepared: Prepared, manifest: &Manifest) {
        let Prepared { sockets, certificates, mut upstreams } = prepared;
        self.certificates.replace(&certificates);
        let wanted: Vec<_> = wanted(manifest).map(|(address, secure)| (address.at, secure)).collect();
        self.listening().retain(|listening| {
            let stays = wanted.contains(&(listening.asked, listening.secure));
            if !stays {
                listening.stop.cancel();
            }
            stays
        });
        for (asked, secure, listener) in sockets {
            let started = self.listen(asked, secure, listener);
            self.listening().push(started);
        }
        let mut router = None;
        for (name, running) in host.components.load().iter() {
            let slot: Arc<dyn atoll_gateway::http::Component> = running.slot.clone();
            match running.role {
                Some(Role::Router) => router = Some(slot),
                Some(Role::Agent) => {}
                Some(Role::Service { .. }) | None => upstreams.push((Arc::from(&**name), Upstream::Component(slot))),
            }
        }
        let https_port = self.listening().iter().find(|listening| listening.secure).map_or(443, |listening| listening.bound.port());
        self.gateway.install(Roster {
            router,
            upstreams,
            trusted: manifest.listen.trusted.iter().filter_map(|net| Network::new(net.addr(), net.prefix_len())).collect(),
            redirect: manifest.listen.redirect,
            https_port,
            access: match manifest.access {
                AccessLog::Json => Some(atoll_gateway::http::Format::Json),
                AccessLog::Combined => Some(atoll_gateway::http::Format::Combined),
                AccessLog::Off => None,
            },
        });
    }

    fn upstreams(&self, manifest: &Manifest) -> anyhow::Result<Vec<(Arc<str>, Upstream)>> {
        let mut upstreams = Vec::new();
        for said in manifest.upstreams.values() {
            let tls = match &said.ca {
                None => self.tls.clone(),
                Some(file) => {
                    let pem = std::fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
                    Tls::with_roots(&file.display().to_string(), &pem, atoll_net::HTTP)?
                }
            };
            let mut origins = Vec::new();
            for url in &said.urls {
                let uri: http::Uri = url.to_string().parse().with_context(|| url.to_string())?;
                let protocol = match (said.protocol, uri.scheme_str()) {
                    (crate::manifest::Protocol::H2c, Some("http")) => Protocol::H2c,
                    _ => Protocol::Http1,
                };
                let origin = atoll_net::Origin::new(&uri, protocol, &tls, Egress::Any);
                origins.push(origin.with_context(|| format!("[upstream.{}]: {url}", said.name))?);
            }
            let upstream =
                UrlUpstream { client: self.client.clone(), origins, raw_path: said.raw_path, patience: PATIENCE };
            upstreams.push((Arc::from(&*said.name), Upstream::Url(upstream)));
        }
        Ok(upstreams)
    }

    fn listen(self: &Arc<Self>, asked: SocketAddr, secure: bool, listener: Listener) -> Listening {
        let bound = listener.address();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let acceptor = secure.then(|| {
            // Strangers' names get no certificate made for them.
            let local = bound.ip().is_loopback().then(|| self.local.clone());
            Arc::new(Acceptor::new(atoll_gateway::tls::Options {
                certificates: self.certificates.clone(),
                local,
                challenges: self.challenges.clone(),
                tickets: self.tickets.clone(),
                limit: HANDSHAKE,
            }))
        });
        let (gateway, log) = (self.gateway.clone(), self.log.clone());
        let permits = self.permits.clone();
        let serve = move |accepted: Accepted| {
            let (gateway, acceptor) = (gateway.clone(), acceptor.clone());
            tokio::spawn(connection(gateway, acceptor, accepted));
        };
        let fault = move |error: &std::io::Error, pause: Duration| {
            let words = format!("{bound}: no connection could be accepted, trying again in {pause:?}: {error}");
            (&*log as &dyn Journal).host(Level::Error, words);
        };
        let task = tokio::spawn(listener.run(permits, async move { stopped.cancelled().await }, serve, fault));
        Listening { asked, bound, secure, stop, task }
    }

    /// Stops accepting, and waits until what was accepted has ended, or for so long.
    pub async fn drain(&self, grace: Duration) {
        let listening: Vec<Listening> = self.listening().drain(..).collect();
        for listening in &listening {
            listening.stop.cancel();
        }
        for listening in listening {
            let _ = listening.task.await;
        }
        self.gateway.drain(grace).await;
    }

    /// As URLs.
    pub fn addresses(&self) -> Vec<String> {
        let url = |listening: &Listening| format!("{}://{}", if listening.secure { "https" } else { "http" }, listening.bound);
        self.listening().iter().map(url).collect()
    }

    /// What to open in a browser, where that can be told.
    pub fn to_open(&self) -> Option<String> {
        let listening = self.listening();
        let first = listening.iter().find(|listening| listening.secure && listening.bound.ip().is_loopback())?;
        Some(format!("https://localhost:{}/", first.bound.port()))
    }

    /// Requests of a component that were answered out of memory, and those that might have been.
    pub fn remembered(&self, component: &str) -> (u64, u64) {
        self.gateway.remembered(component)
    }

    fn listening(&self) -> MutexGuard<'_, Vec<Listening>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection, from its first byte to its last.
async fn connection(gateway: Arc<Gateway>, acceptor: Option<Arc<Acceptor>>, accepted: Accepted) {
    let Accepted { socket, client, local, permit } = accepted;
    let peer = |protocol, certificate| Peer { address: client, port: local.port(), protocol, certificate };
    match acceptor {
        None => gateway.serve(socket, peer(atoll_gateway::http::Protocol::Http1, None)).await,
        Some(acceptor) => {
            // What came to nothing was told to the client as far as it can be: it is no line of ours.
            let Ok(secured) = acceptor.accept(socket, local.ip(), SystemTime::now()).await else { return };
            let protocol = match secured.protocol {
                atoll_gateway::tls::Protocol::Http1 => atoll_gateway::http::Protocol::Http1,
                atoll_gateway::tls::Protocol::Http2 => atoll_gateway::http::Protocol::Http2,
            };
            let Secured { stream, certificate, server_name, .. } = secured;
            let shown = Arc::new(Shown { certificate, server_name });
            gateway.serve(stream, peer(protocol, Some(shown))).await;
        }
    }
    drop(permit);
}

fn wanted(manifest: &Manifest) -> impl Iterator<Item = (Address, bool)> {
    let plain = manifest.listen.http.iter().map(|address| (*address, false));
    plain.chain(manifest.listen.https.iter().map(|address| (*address, true)))
}
