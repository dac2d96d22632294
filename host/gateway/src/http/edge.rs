//! One request from its head to the upstream that answers it: what the host keeps for itself, then the decision, then
//! there. What is remembered goes through here without an allocation and without waiting.

use std::sync::Arc;

use atoll_runtime::{Decision, Failure, under};
use atoll_semantics::{cookies, forwarded, hop, scheme::Scheme};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, TRANSFER_ENCODING},
};
use hyper::body::Incoming;

use crate::{
    http::{
        access::Record,
        arriving::Arriving,
        ending::Ending,
        forward,
        gateway::Gateway,
        hook::{self, HOOKS},
        inbound::{Inbound, Line, is_asterisk},
        payload::Payload,
        peer::Peer,
        rescue::{ALLOWED, Fault},
        roster::{Member, Table},
        service,
        streams::Newcomers,
        tunnel,
        visit::{Answering, Visit},
        watch::Watch,
    },
    tls,
};

/// Where a CA looks for an answer to its challenge, RFC 8555 section 8.3.
const CHALLENGES: &str = "/.well-known/acme-challenge/";
/// What the host keeps for itself.
const RESERVED: &str = "/.well-known/host";

/// What is to be answered at `/.well-known/acme-challenge/TOKEN`.
pub trait Challenges: Send + Sync + 'static {
    /// `authority` is the name in its one form.
    fn answer(&self, authority: &str, token: &str) -> Option<Bytes>;
}

impl Challenges for tls::Challenges {
    fn answer(&self, _: &str, token: &str) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(self.http(token)?.as_bytes()))
    }
}

/// What a request goes through: the gateway, and the connection that it came by.
#[derive(Clone)]
pub(super) struct House {
    pub(super) gateway: Arc<Gateway>,
    pub(super) line: Arc<Line>,
}

impl House {
    pub(super) fn new(gateway: Arc<Gateway>, peer: Peer, watch: Arc<Watch>, tunnels: Newcomers) -> Self {
        Self { gateway, line: Arc::new(Line::new(peer, watch, tunnels)) }
    }
}

/// Answers one request.
pub(super) fn answer(house: &House, request: Request<Incoming>) -> Answering {
    let version = request.version();
    let mut request = request.map(|body| Arriving::new(body, version, &house.line.tunnels));
    let table = house.gateway.table.load();
    let peer = &house.line.peer;
    let origin = forwarded::settle(request.headers_mut(), peer.origin(), &table.trusted);
    let record = table.access.as_ref().map(|log| Record::begin(log, &request, origin.client));
    let insist = peer.certificate.as_ref().is_some_and(|certificate| certificate.public());
    let in_pieces = version == Version::HTTP_2;
    let mut visit = Visit::new(Ending::new(house.line.watch.begin(), record, in_pieces), insist, version);

    if let Some(coding) = request.headers().get(TRANSFER_ENCODING)
        && let Some(fault) = misframed(coding, &request, &house.line.watch)
    {
        return failed(visit, &fault, &request);
    }
    // HTTP/1.1 has counted them already.
    if request.headers().len() > table.limits.fields as usize {
        return failed(visit, &Fault::Fields, &request);
    }
    let wish = if *request.method() == Method::CONNECT || request.headers().contains_key(CONNECTION) {
        tunnel::wish(&mut request)
    } else {
        None
    };
    let mut inbound = match Inbound::read(&house.line, &request, origin) {
        Ok(inbound) => inbound,
        Err(fault) => return failed(visit, &fault, &request),
    };
    visit.record(|record| record.authority = Some(inbound.name.authority.clone()));
    match own(house, &table, &inbound, &request) {
        Ok(None) => {}
        Ok(Some(response)) => return Answering::now(visit.finish(response)),
        Err(fault) => return failed(visit, &fault, &request),
    }

    inbound.wish = wish.map(Box::new);
    // Before anything is decided or remembered by what a client could take out again, or says in another way.
    if version == Version::HTTP_2 {
        cookies::join(request.headers_mut());
    }
    if request.headers().contains_key(CONNECTION) {
        hop::strip_request(request.headers_mut());
    }
    if inbound.origin.scheme == Scheme::Https
        && let Some(binding) = inbound.path(request.uri()).strip_prefix(HOOKS)
    {
        let binding = binding.to_owned();
        return hook::answer(&house.gateway, inbound.origin.client, binding, request, visit);
    }

    let Some(router) = &table.router else {
        return carry(house, &table, table.fallback.clone(), inbound, request, visit);
    };
    let Some(router) = router.serving() else {
        return failed(visit, &Fault::Router(Failure::NotServing { retry_after: 1 }), &request);
    };
    if let Some(decision) = router.recall(&inbound.asked(request.method(), request.uri(), request.headers())) {
        return carry(house, &table, decision, inbound, request, visit);
    }
    let (house, table) = (house.clone(), arc_swap::Guard::into_inner(table));
    Answering::later(async move {
        let (parts, body) = request.into_parts();
        let decided = router.decide(&inbound.head(&parts)).await;
        match decided {
            Ok(decision) => {
                let request = Request::from_parts(parts, body);
                let Ok(response) = carry(&house, &table, decision, inbound, request, visit).await;
                response
            }
            Err(failure) => visit.fail(&Fault::Router(failure), &parts.method, &parts.headers),
        }
    })
}

/// What the host answers itself, before anybody decides.
fn own<B>(
    house: &House,
    table: &Table,
    inbound: &Inbound,
    request: &Request<B>,
) -> Result<Option<Response<Payload>>, Fault> {
    let plain = house.line.peer.certificate.is_none();
    if !inbound.name.covered {
        return Err(Fault::Misdirected);
    }
    if is_asterisk(request) {
        return match *request.method() {
            Method::OPTIONS => Ok(Some(short(StatusCode::NO_CONTENT, ALLOW, HeaderValue::from_static(ALLOWED)))),
            _ => Err(Fault::Target),
        };
    }
    let path = inbound.path(request.uri());
    // One look for the rest: of a site's paths, next to none begin with a dot.
    if path.starts_with("/.") {
        if let Some(token) = path.strip_prefix(CHALLENGES) {
            if let Some(text) = house.gateway.challenges.answer(&inbound.name.authority.name, token) {
                return Ok(Some(challenge(text, request.method())));
            }
            if plain {
                return Err(Fault::Absent);
            }
        }
        let hook = inbound.origin.scheme == Scheme::Https && path.starts_with(HOOKS);
        if under(path, RESERVED) && !hook {
            return Err(Fault::Absent);
        }
    }
    if plain && table.redirect && inbound.origin.scheme == Scheme::Http {
        let location = location(house, table, inbound, request.uri());
        return Ok(Some(short(StatusCode::PERMANENT_REDIRECT, LOCATION, location)));
    }
    Ok(None)
}

/// Does what was decided.
fn carry(
    house: &House,
    table: &Table,
    decision: Arc<Decision>,
    inbound: Inbound,
    request: Request<Arriving>,
    visit: Visit,
) -> Answering {
    match &*decision {
        Decision::Redirect { status, location } => {
            Answering::now(visit.finish(short(*status, LOCATION, location.clone())))
        }
        Decision::Refuse { status, reason } => {
            failed(visit, &Fault::Refused { status: *status, reason: reason.clone() }, &request)
        }
        Decision::Forward(forwarding) => match table.upstreams.get(forwarding.upstream.as_str()) {
            // An answer would be taken for a tunnel. Who asked by Upgrade gets an answer without one.
            Some(Member::Component(_)) if inbound.wish.as_ref().is_some_and(|wish| wish.connect) => {
                failed(visit, &Fault::Method, &request)
            }
            Some(Member::Component(service)) => service::answer(house, service, decision, inbound, request, visit),
            Some(Member::Url(upstream)) => forward::answer(house, upstream, decision, inbound, request, visit),
            None => failed(visit, &Fault::NoUpstream(forwarding.upstream.clone()), &request),
        },
    }
}

/// What is wrong with how a request over HTTP/1.1 says where its body ends. hyper has refused what it can't follow.
fn misframed<B>(coding: &HeaderValue, request: &Request<B>, watch: &Watch) -> Option<Fault> {
    let vouched = watch.vouched();
    let one = request.headers().get_all(TRANSFER_ENCODING).iter().nth(1).is_none();
    if !one || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
        return Some(Fault::Coding);
    }
    (!vouched).then_some(Fault::Framing)
}

pub(super) fn failed<B>(visit: Visit, fault: &Fault, request: &Request<B>) -> Answering {
    Answering::now(visit.fail(fault, request.method(), request.headers()))
}

/// The same target over https. The port is told where the client named the one of this listener: then it reaches us as
/// we listen, and not through somebody who maps ports.
fn location(house: &House, table: &Table, inbound: &Inbound, sent: &http::Uri) -> HeaderValue {
    let authority = &inbound.name.authority;
    let named = authority.port.unwrap_or(Scheme::Http.default_port());
    let target = sent.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let location = if named == house.line.peer.port && table.https_port != Scheme::Https.default_port() {
        format!("https://{authority}:{}{target}", table.https_port)
    } else {
        format!("https://{authority}{target}")
    };
    HeaderValue::from_maybe_shared(Bytes::from(location)).expect("a URI is a field's value")
}

fn short(status: StatusCode, name: http::HeaderName, value: HeaderValue) -> Response<Payload> {
    let mut response = Response::new(Payload::empty());
    *response.status_mut() = status;
    let head = response.headers_mut();
    head.insert(name, value);
    if status != StatusCode::NO_CONTENT {
        head.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    response
}

fn challenge(text: Bytes, method: &Method) -> Response<Payload> {
    let mut head = HeaderMap::with_capacity(3);
    head.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    head.insert(CONTENT_LENGTH, text.len().into());
    head.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let payload = if *method == Method::HEAD { Payload::empty() } else { Payload::whole(text) };
    let mut response = Response::new(payload);
    *response.headers_mut() = head;
    response
}
