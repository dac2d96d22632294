//! The gateway from end to end, over pipes in memory: real hyper clients, components that are closures.

mod client;
mod conversation;
mod edge;
mod forward;
mod hook;
mod memory;
mod service;

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use atoll_runtime::{Body, BodyError, Decision, Failure, Forwarding, Head, Isolation};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use client::{Client, Seen, get, request};

use super::{
    Capabilities, Certificate, Component, Format, Gateway, Heard, Hook, Hooks, Limits, Live, Network, Peer, Reply,
    Roster, Sink, SystemClock, Told, Unheard, Upstream, UrlUpstream,
};
use crate::tls::{Challenges, Protocol};

type Handler = Box<dyn Fn(Request<Body>, Isolation) -> BoxFuture<'static, Result<Reply, Failure>> + Send + Sync>;
type Router = Box<dyn Fn(&Head<'_>) -> Result<Decision, Failure> + Send + Sync>;

/// One generation of a component that is a closure.
struct Guest {
    id: u64,
    handler: Handler,
    router: Router,
    /// Whether the router's decisions are all remembered.
    recalls: bool,
    calls: AtomicUsize,
}

impl Guest {
    fn service(id: u64, handler: impl Fn(Request<Body>) -> Reply + Send + Sync + 'static) -> Arc<Self> {
        Self::asked(id, move |request, _| std::future::ready(Ok(handler(request))).boxed())
    }

    fn asked(
        id: u64,
        handler: impl Fn(Request<Body>, Isolation) -> BoxFuture<'static, Result<Reply, Failure>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let router = Box::new(|_: &Head<'_>| panic!("a service is asked to route"));
        Arc::new(Self { id, handler: Box::new(handler), router, recalls: false, calls: AtomicUsize::new(0) })
    }

    fn router(
        recalls: bool,
        router: impl Fn(&Head<'_>) -> Result<Decision, Failure> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let handler = Box::new(|_, _| panic!("a router is asked to answer"));
        Arc::new(Self { id: 1, handler, router: Box::new(router), recalls, calls: AtomicUsize::new(0) })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Live for Guest {
    fn id(&self) -> u64 {
        self.id
    }

    fn revision(&self) -> Arc<str> {
        format!("revision {}", self.id).into()
    }

    fn room(&self, _: Isolation) -> usize {
        32
    }

    fn recall(&self, head: &Head<'_>) -> Option<Arc<Decision>> {
        self.recalls.then(|| Arc::new((self.router)(head).unwrap()))
    }

    fn decide<'a>(&'a self, head: &'a Head<'a>) -> BoxFuture<'a, Result<Arc<Decision>, Failure>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let decision = (self.router)(head).map(Arc::new);
        async {
            tokio::task::yield_now().await;
            decision
        }
        .boxed()
    }

    fn handle(
        self: Arc<Self>,
        request: Request<Body>,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Reply, Failure>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        (self.handler)(request, isolation)
    }
}

/// A component's place.
struct Place {
    name: Arc<str>,
    serving: Mutex<Option<Arc<Guest>>>,
}

impl Place {
    fn new(name: &str, guest: &Arc<Guest>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), serving: Mutex::new(Some(guest.clone())) })
    }

    fn empty(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.into(), serving: Mutex::default() })
    }

    fn switch(&self, guest: &Arc<Guest>) {
        *self.serving.lock().unwrap() = Some(guest.clone());
    }
}

impl Component for Place {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn serving(&self) -> Option<Arc<dyn Live>> {
        self.serving.lock().unwrap().clone().map(|guest| guest as Arc<dyn Live>)
    }
}

pub(super) fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in pairs {
        fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    fields
}

/// An answer of an instance that used nothing but its generation.
fn reply(status: u16, head: &[(&'static str, &'static str)], body: impl Into<Bytes>) -> Reply {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    streamed(status, head, body)
}

fn streamed(status: u16, head: &[(&'static str, &'static str)], body: Body) -> Reply {
    let mut response = Response::new(body);
    *response.status_mut() = status.try_into().unwrap();
    *response.headers_mut() = fields(head);
    Reply { response, marked: Box::new(|| false) }
}

/// A body that comes in pieces; `Err` breaks it off, after a pause.
fn pieces(pieces: Vec<Result<&'static str, &'static str>>) -> Body {
    let frames = stream::iter(pieces).then(async |piece| {
        match piece {
            Ok(piece) => Ok(Frame::data(Bytes::from_static(piece.as_bytes()))),
            Err(error) => {
                // For what went before to go out.
                tokio::time::sleep(Duration::from_millis(2)).await;
                Err(BodyError::from(error))
            }
        }
    });
    http_body_util::BodyExt::boxed_unsync(StreamBody::new(frames))
}

fn forward(upstream: &str) -> Forwarding {
    Forwarding { upstream: upstream.into(), strip: None, add: None, request_fields: vec![], response_fields: vec![] }
}

#[derive(Default)]
struct Lines(Mutex<Vec<u8>>);

impl Sink for Lines {
    fn write(&self, line: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(line);
    }
}

/// Covers everything but `other.test`.
struct Shown {
    public: bool,
}

impl Certificate for Shown {
    fn covers(&self, name: &str) -> bool {
        name != "other.test"
    }

    fn public(&self) -> bool {
        self.public
    }
}

/// A gateway, and what it writes.
struct World {
    gateway: Arc<Gateway>,
    lines: Arc<Lines>,
    hooks: Arc<Known>,
}

/// What a gateway is made with, but for what nobody asks about.
struct Setup {
    router: Option<Arc<Place>>,
    services: Vec<Arc<Place>>,
    urls: Vec<(&'static str, UrlUpstream)>,
    redirect: bool,
    trusted: Vec<Network>,
    answers: u64,
    limits: Limits,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            router: None,
            services: vec![],
            urls: vec![],
            redirect: true,
            trusted: vec![],
            answers: 16 << 20,
            limits: Limits::default(),
        }
    }
}

impl Setup {
    fn roster(self) -> (Roster, u64) {
        let services = self.services.into_iter().map(|place| (place.name.clone(), Upstream::Component(place)));
        let urls = self.urls.into_iter().map(|(name, url)| (name.into(), Upstream::Url(url)));
        let roster = Roster {
            router: self.router.map(|place| place as Arc<dyn Component>),
            upstreams: services.chain(urls).collect(),
            trusted: self.trusted,
            redirect: self.redirect,
            https_port: 8443,
            access: Some(Format::Json),
            limits: self.limits,
        };
        (roster, self.answers)
    }

    fn open(self) -> World {
        let lines = Arc::new(Lines::default());
        let challenges = Arc::new(Challenges::default());
        challenges.publish_http("token", "token.thumbprint").unwrap();
        let hooks = Arc::new(Known::default());
        let (journal, clock) = (Arc::new(Quiet), Arc::new(SystemClock));
        let capabilities = Capabilities { challenges, hooks: hooks.clone(), journal, sink: lines.clone(), clock };
        let (roster, answers) = self.roster();
        World { gateway: Gateway::new(capabilities, roster, answers), lines, hooks }
    }

    /// One service, and no router.
    fn only(guest: &Arc<Guest>) -> World {
        Self { services: vec![Place::new("site", guest)], ..Self::default() }.open()
    }
}

/// What the host's log is told is the end-to-end tests' to see.
struct Quiet;

impl atoll_runtime::Journal for Quiet {
    fn write(&self, _: atoll_runtime::Line) {}
}

fn plain() -> Peer {
    let address: SocketAddr = "192.0.2.1:9".parse().unwrap();
    Peer { address, port: 8080, protocol: Protocol::Http1, certificate: None }
}

fn secure(protocol: Protocol) -> Peer {
    Peer { port: 8443, protocol, certificate: Some(Arc::new(Shown { public: false })), ..plain() }
}

impl World {
    /// The far end of a connection that is served.
    fn connect(&self, peer: Peer) -> DuplexStream {
        let (near, far) = tokio::io::duplex(64 << 10);
        let admission = self.gateway.admit(peer.address.ip()).expect("not all are busy");
        tokio::spawn(self.gateway.clone().serve(near, peer, admission));
        far
    }

    async fn client(&self, protocol: Protocol) -> Client {
        self.client_of(secure(protocol)).await
    }

    async fn client_of(&self, peer: Peer) -> Client {
        let protocol = peer.protocol;
        let io = TokioIo::new(self.connect(peer));
        match protocol {
            Protocol::Http1 => {
                let (client, connection) = http1::handshake(io).await.unwrap();
                tokio::spawn(connection);
                Client::Http1(client)
            }
            Protocol::Http2 => {
                let (client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
                tokio::spawn(connection);
                Client::Http2(client)
            }
        }
    }

    /// One request over a connection of its own.
    async fn get(&self, target: &str, fields: &[(&'static str, &'static str)]) -> Seen {
        self.client(Protocol::Http2).await.get(target, fields).await
    }

    /// What comes back for these bytes until the connection closes, without the date.
    async fn raw(&self, peer: Peer, bytes: &str) -> String {
        let mut far = self.connect(peer);
        // It may be refused before it was all sent.
        let _ = far.write_all(bytes.as_bytes()).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), far.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the connection stays open");
        let text = String::from_utf8(answer).unwrap();
        text.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect()
    }

    /// Waits until as many connections are open.
    async fn open(&self, count: usize) {
        until(|| self.gateway.connections() == count).await;
    }

    /// The log, when as many lines as that have been written.
    async fn log(&self, count: usize) -> Vec<String> {
        let lines = || -> Vec<String> {
            let text = String::from_utf8(self.lines.0.lock().unwrap().clone()).unwrap();
            text.lines().map(Into::into).collect()
        };
        until(|| lines().len() >= count).await;
        lines()
    }
}

/// Waits for what is to come.
async fn until(mut there: impl FnMut() -> bool) {
    for _ in 0..2500 {
        if there() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it does not come");
}

/// What a line says under a name, as it stands there.
fn logged<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{name}\":"))?;
    let end = match rest.strip_prefix('"') {
        Some(text) => text.find('"')? + 2,
        None => rest.find([',', '}'])?,
    };
    Some(&rest[..end])
}

/// Takes a hook of `known` for what its `authorization` says, and remembers whom it was told of that was not heard.
#[derive(Default)]
struct Known {
    unheard: Mutex<Vec<(String, IpAddr, Unheard)>>,
    /// Who wait.
    slow: AtomicUsize,
}

impl Hooks for Known {
    fn signed(&self, head: &http::HeaderMap) -> bool {
        head.contains_key("authorization")
    }

    fn tell(&self, hook: Hook) -> Pin<Box<dyn Future<Output = Heard> + Send>> {
        let says = hook.head.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let told = match (hook.binding.as_str(), says.as_deref()) {
            ("known", Some("busy")) => Told::Busy,
            ("known", Some("yes")) if hook.wait => Told::Serves(format!("{{\"body\":{}}}", hook.body.len())),
            ("known", Some("bad")) => Told::Disproved("{}".into()),
            ("known", Some("gone")) => Told::Failed("{}".into()),
            ("known", Some("yes")) => Told::Accepted,
            ("known", Some("slow")) => {
                self.slow.fetch_add(1, Ordering::Relaxed);
                let slow = async {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    Told::Serves("{}".into())
                };
                return Box::pin(async { Heard::Later(Box::pin(slow)) });
            }
            _ => Told::Denied,
        };
        Box::pin(async move { Heard::Now(told) })
    }

    fn unheard(&self, binding: &str, client: IpAddr, why: Unheard, _: Instant) {
        self.unheard.lock().unwrap().push((binding.to_owned(), client, why));
    }
}
