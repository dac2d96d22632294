//! A router: asked on a fresh instance each time, so that a decision can't depend on what another client asked, and
//! remembered under what it asked.

use std::{str::FromStr, sync::Arc};

use http::{HeaderName, HeaderValue, StatusCode};
use tokio::sync::Semaphore;

use crate::{
    Decision, Engine, Failure, FieldChange, Forwarding, Head,
    bindings::router::{RouterPre, exports::atoll::host::routing as wit},
    capability::{clocks::Clock, request_head::Request, stdio::printable},
    counts::{Counts, InFlight},
    ctx::{Ctx, Given},
    decisions::Decisions,
    failure::trap,
};

/// Remembered decisions of one router, in bytes: some 50,000 of the usual kind.
const REMEMBERED: usize = 16 << 20;
/// Changes to fields in one decision.
const CHANGES: usize = 64;

pub(crate) struct Router {
    engine: Engine,
    given: Arc<Given>,
    pre: RouterPre<Ctx>,
    decisions: Decisions,
    permits: Semaphore,
    counts: Arc<Counts>,
    /// What a decision may name, sorted.
    upstreams: Vec<String>,
}

impl Router {
    pub(crate) fn new(engine: Engine, given: Arc<Given>, pre: RouterPre<Ctx>) -> Self {
        let permits = Semaphore::new(given.limits.instances);
        let mut upstreams: Vec<_> = given.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
        upstreams.sort_unstable();
        Self { engine, given, pre, decisions: Decisions::new(REMEMBERED), permits, counts: Arc::default(), upstreams }
    }

    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// What was decided about the same questions before.
    pub(crate) fn recall(&self, head: &Head<'_>) -> Option<Arc<Decision>> {
        self.decisions.recall(head)
    }

    /// The decision about a request: remembered, or asked for.
    pub(crate) async fn decide(&self, head: &Head<'_>) -> Result<Arc<Decision>, Failure> {
        if let Some(decision) = self.recall(head) {
            return Ok(decision);
        }
        let asked = tokio::time::timeout(self.given.limits.timeout, self.ask(head));
        asked.await.unwrap_or(Err(Failure::TimedOut))
    }

    async fn ask(&self, head: &Head<'_>) -> Result<Arc<Decision>, Failure> {
        let Ok(_permit) = self.permits.acquire().await else { return Err(Failure::Overloaded) };
        let _in_flight = InFlight::new(&self.counts, None);
        let _running = self.engine.running();
        let started = self.engine.start(|| async {
            let mut store = Ctx::store(&self.engine, self.given.clone(), Clock::still);
            let router = self.pre.instantiate_async(&mut store).await?;
            Ok((store, router))
        });
        let (mut store, router) = started.await?;
        let request = store.data_mut().table.push(Request(Arc::new(head.owned())));
        let request = request.map_err(|error| Failure::NoResponse(error.to_string()))?;
        let borrowed = wasmtime::component::Resource::new_borrow(request.rep());
        let action =
            router.atoll_host_routing().call_route(&mut store, borrowed).await.map_err(|error| trap(&error))?;
        let decision = Arc::new(self.check(action).map_err(Failure::BadAnswer)?);
        if let Some(path) = store.data_mut().recorder.take() {
            self.decisions.remember(path, decision.clone());
        }
        Ok(decision)
    }

    /// A guest's words into what the gateway can act on without looking again.
    fn check(&self, action: wit::Action) -> Result<Decision, String> {
        match action {
            wit::Action::Forward(to) => {
                if self.upstreams.binary_search(&to.upstream).is_err() {
                    return Err(format!("there is no upstream \"{}\"", printable(to.upstream.as_bytes())));
                }
                Ok(Decision::Forward(Forwarding {
                    upstream: to.upstream,
                    strip: to.strip.as_deref().map(prefix).transpose()?,
                    add: to.add.as_deref().map(prefix).transpose()?,
                    request_fields: changes(to.request_fields)?,
                    response_fields: changes(to.response_fields)?,
                }))
            }
            wit::Action::Redirect(to) => {
                let status = match to.status {
                    301 | 302 | 303 | 307 | 308 => StatusCode::from_u16(to.status).expect("matched above"),
                    status => return Err(format!("{status} is no status of a redirect")),
                };
                // A path that begins with two slashes is another host's name to a browser.
                if to.location.starts_with("//") || to.location.starts_with("/\\") || !is_reference(&to.location) {
                    return Err(format!("\"{}\" is no location", printable(to.location.as_bytes())));
                }
                let location = HeaderValue::from_str(&to.location).map_err(|error| error.to_string())?;
                Ok(Decision::Redirect { status, location })
            }
            wit::Action::Refuse(refusal) => match StatusCode::from_u16(refusal.status) {
                Ok(status) if status.is_client_error() || status.is_server_error() => {
                    Ok(Decision::Refuse { status, reason: printable(refusal.reason.as_bytes()) })
                }
                _ => Err(format!("{} is no status of a refusal", refusal.status)),
            },
        }
    }
}

/// RFC 3986 section 4.1, as far as bytes go: printable ASCII without a space.
fn is_reference(location: &str) -> bool {
    !location.is_empty() && location.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A prefix in the form that `Forwarding` promises.
fn prefix(prefix: &str) -> Result<String, String> {
    let whole = prefix.strip_suffix('/').unwrap_or(prefix);
    let fits = whole.is_empty() || whole.starts_with('/') && is_reference(whole) && !whole.contains(['?', '#', '\\']);
    if fits && !whole.contains("//") && !whole.split('/').any(|segment| matches!(segment, "." | "..")) {
        Ok(whole.to_owned())
    } else {
        Err(format!("\"{}\" is no prefix of a path", printable(prefix.as_bytes())))
    }
}

/// Fields that frame a message or belong to one connection (RFC 9110 section 7.6.1), and those that the host sets itself.
const NOT_A_ROUTERS: [&str; 17] = [
    "connection",
    "content-encoding",
    "content-length",
    "date",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "forwarded",
    "strict-transport-security",
];

fn changes(changes: Vec<wit::FieldChange>) -> Result<Vec<FieldChange>, String> {
    if changes.len() > CHANGES {
        return Err(format!("more than {CHANGES} changes to fields"));
    }
    let name = |name: &str| {
        let parsed = HeaderName::from_str(name).ok().filter(|name| !NOT_A_ROUTERS.contains(&name.as_str()));
        parsed.ok_or_else(|| format!("\"{}\" is no field that a decision may change", printable(name.as_bytes())))
    };
    let value = |value: &str| {
        HeaderValue::from_str(value).map_err(|_| format!("\"{}\" is no value of a field", printable(value.as_bytes())))
    };
    let change = |change| {
        Ok(match change {
            wit::FieldChange::Set((field, to)) => FieldChange::Set(name(&field)?, value(&to)?),
            wit::FieldChange::Add((field, more)) => FieldChange::Add(name(&field)?, value(&more)?),
            wit::FieldChange::Remove(field) => FieldChange::Remove(name(&field)?),
        })
    };
    changes.into_iter().map(change).collect()
}
