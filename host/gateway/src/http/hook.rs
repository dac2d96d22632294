//! `POST /.well-known/host/hook/BINDING`: somebody tells that a branch moved. Here its body is read, within bounds; whether
//! they may, and what comes of it, the assembly says. Whoever may not learns nothing of which bindings there are.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body_util::{BodyExt as _, Limited};

use crate::http::{
    arriving::Arriving,
    gateway::Gateway,
    payload::Payload,
    shares::WAIT,
    visit::{Answering, Visit},
};

/// Behind it, a binding's name.
pub(super) const HOOKS: &str = "/.well-known/host/hook/";

/// The largest body that is read, in bytes. GitHub's are smaller.
const MAX_BODY: usize = 1024 * 1024;

/// Hooks at once, from their heads on: whoever sends a body is known only when it is here. One client has a part of them,
/// and one that has none waits for a place where there is none.
pub(super) const AT_ONCE: usize = 64;

/// How long one may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is told.
pub struct Hook {
    pub binding: String,
    pub head: HeaderMap,
    pub body: Bytes,
    /// Whether to wait for what comes of it.
    pub wait: bool,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// No such binding, no secret, or another one.
    Denied,
    /// There are too many at once.
    Busy,
    /// It is being fetched.
    Accepted,
    /// It was fetched, and all that read it serve it, by this report in JSON.
    Serves(String),
    /// It was fetched, and somebody's proof failed.
    Disproved(String),
    /// It could not be fetched.
    Failed(String),
}

/// What is known of a hook once its body is here.
pub enum Heard {
    Now(Told),
    /// By somebody who may tell, and waits for what comes of it.
    Later(Pin<Box<dyn Future<Output = Told> + Send>>),
}

/// Why a hook was not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// It claims no secret at all.
    Unsigned,
    /// What it shows is not the binding's, or there is none.
    Wrong,
    /// The same once too often: its address is not heard for so long.
    Barred(Duration),
}

/// Who is told.
pub trait Hooks: Send + Sync + 'static {
    /// Whether this is a head of somebody who claims to know a secret.
    fn signed(&self, head: &HeaderMap) -> bool;
    fn tell(&self, hook: Hook) -> Pin<Box<dyn Future<Output = Heard> + Send>>;
    /// One of `binding`, as the client calls it, was not heard: for the log.
    fn unheard(&self, binding: &str, client: IpAddr, why: Unheard, now: Instant);
}

/// Answers a request for the hook of `binding`.
pub(super) fn answer(
    gateway: &Arc<Gateway>,
    client: IpAddr,
    binding: String,
    request: Request<Arriving>,
    visit: Visit,
) -> Answering {
    if request.method() != Method::POST {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Answering::now(visit.finish(response));
    }
    if !gateway.hooks.signed(request.headers()) {
        gateway.hooks.unheard(&binding, client, Unheard::Unsigned, gateway.clock.instant());
        return Answering::now(visit.finish(response(Told::Denied)));
    }
    let gateway = gateway.clone();
    Answering::later(async move {
        let Some(seat) = gateway.hookers.seat(client, AT_ONCE, false).await else {
            return visit.finish(response(Told::Busy));
        };
        let Ok(Ok(permit)) = tokio::time::timeout(WAIT, gateway.hooking.acquire()).await else {
            return visit.finish(response(Told::Busy));
        };
        if let Some(left) = gateway.strangers.barred(client, gateway.clock.instant()) {
            return visit.finish(later(left));
        }
        let (parts, body) = request.into_parts();
        let wait =
            parts.uri.query().is_some_and(|query| query.split('&').any(|part| part.split('=').next() == Some("wait")));
        let body = match tokio::time::timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await {
            Err(_) => return visit.finish(plain(StatusCode::REQUEST_TIMEOUT)),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return visit.finish(plain(StatusCode::PAYLOAD_TOO_LARGE));
            }
            Ok(Err(_)) => return visit.finish(plain(StatusCode::BAD_REQUEST)),
            Ok(Ok(body)) => body.to_bytes(),
        };
        let heard = gateway.hooks.tell(Hook { binding: binding.clone(), head: parts.headers, body, wait }).await;
        let told = match heard {
            Heard::Now(told) => told,
            Heard::Later(outcome) => {
                // Who knows a secret keeps nobody else's body waiting, however long that takes.
                drop((seat, permit));
                outcome.await
            }
        };
        if told == Told::Denied {
            let now = gateway.clock.instant();
            gateway.hooks.unheard(&binding, client, Unheard::Wrong, now);
            if let Some(left) = gateway.strangers.wrong(client, now) {
                gateway.hooks.unheard(&binding, client, Unheard::Barred(left), now);
            }
        }
        visit.finish(response(told))
    })
}

fn response(told: Told) -> Response<Payload> {
    match told {
        Told::Denied => {
            let mut response = plain(StatusCode::UNAUTHORIZED);
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
        Told::Busy => later(Duration::from_secs(1)),
        Told::Accepted => plain(StatusCode::ACCEPTED),
        Told::Serves(report) => json(StatusCode::OK, report),
        Told::Disproved(report) => json(StatusCode::UNPROCESSABLE_ENTITY, report),
        Told::Failed(report) => json(StatusCode::BAD_GATEWAY, report),
    }
}

fn later(wait: Duration) -> Response<Payload> {
    let mut response = plain(StatusCode::TOO_MANY_REQUESTS);
    response.headers_mut().insert(RETRY_AFTER, (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).into());
    response
}

fn plain(status: StatusCode) -> Response<Payload> {
    let mut response = Response::new(Payload::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(status: StatusCode, text: String) -> Response<Payload> {
    let mut response = plain(status);
    let head = response.headers_mut();
    head.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.insert(CONTENT_LENGTH, text.len().into());
    *response.body_mut() = Payload::whole(text.into());
    response
}
