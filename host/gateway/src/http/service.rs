//! To a service component: out of memory where its answer is remembered, else as a question to one of its instances.

use std::sync::Arc;

use atoll_runtime::{Decision, Failure, Forwarding};
use atoll_semantics::storing::askable;
use http::{HeaderMap, Request, Uri, header::AGE};
use http_body::Body as _;

use crate::http::{
    access::Upstream,
    arriving::Arriving,
    edge::{House, failed},
    inbound::{Inbound, moved},
    key::Handed,
    memory::{Memory, Remembered},
    question::Question,
    representation::{Asked, Outcome},
    rescue::Fault,
    roster::Service,
    visit::{Answering, Visit},
};

/// Answers a request that was decided to be this service's.
pub(super) fn answer(
    house: &House,
    service: &Arc<Service>,
    decision: Arc<Decision>,
    inbound: Inbound,
    mut request: Request<Arriving>,
    mut visit: Visit,
) -> Answering {
    let forwarding = forwarding(&decision);
    if inbound.hidden_separator {
        return failed(visit, &Fault::HiddenSeparator, &request);
    }
    let Some(live) = service.component.serving() else {
        visit.answered_by(|| Upstream { name: service.component.name().clone(), revision: None, remembered: false });
        return failed(visit, &Fault::Service(Failure::NotServing { retry_after: 1 }), &request);
    };
    for change in &forwarding.request_fields {
        change.apply(request.headers_mut());
    }
    if Memory::advances(&service.tally, live.id()) {
        let gateway = house.gateway.clone();
        tokio::task::spawn_blocking(move || gateway.memory.sweep());
    }
    let path = moved(inbound.path(request.uri()), forwarding);
    // A body is in no key.
    let askable = askable(request.method(), request.headers()) && request.body().is_end_stream();
    if askable {
        let handed = handed(live.id(), &inbound, &path, request.uri(), request.headers(), forwarding);
        let now = || house.gateway.clock.instant();
        if let Some(remembered) = house.gateway.memory.recall(&handed, now) {
            let asked = Asked { method: request.method(), fields: request.headers(), clock: &*house.gateway.clock };
            let outcome = present(house, &remembered, asked);
            // A form that is not made yet is worth a wait.
            if !matches!(outcome, Outcome::Encode(_)) {
                service.tally.hit();
                visit.answered_by(|| Upstream { remembered: true, ..remembered.upstream.clone() });
                return match outcome {
                    Outcome::Fault(fault) => failed(visit, &fault, &request),
                    Outcome::Response(response) => Answering::now(visit.pass(response, &forwarding.response_fields)),
                    Outcome::Encode(_) => unreachable!("looked at above"),
                };
            }
        }
    }
    let path = path.into_owned();
    let (parts, body) = request.into_parts();
    let (house, service) = (house.clone(), service.clone());
    let question = Question { house, service, live, decision, inbound, path, parts, askable, held: None };
    Answering::later(question.answer(body, visit))
}

/// The request as memory knows it.
pub(super) fn handed<'a>(
    generation: u64,
    inbound: &'a Inbound,
    path: &'a str,
    uri: &'a Uri,
    fields: &'a HeaderMap,
    forwarding: &'a Forwarding,
) -> Handed<'a> {
    Handed {
        generation,
        scheme: inbound.origin.scheme,
        authority: &inbound.name.authority.name,
        port: inbound.port(),
        path,
        query: uri.query(),
        fields,
        changes: &forwarding.request_fields,
    }
}

/// What a request gets of a remembered answer, with its age where it has one.
pub(super) fn present(house: &House, remembered: &Remembered, asked: Asked<'_>) -> Outcome {
    let mut outcome = remembered.representation.answer(asked);
    if let Outcome::Response(response) = &mut outcome
        && let Some(age) = remembered.fresh.age(|| house.gateway.clock.instant())
    {
        response.headers_mut().insert(AGE, age.as_secs().into());
    }
    outcome
}

pub(super) fn forwarding(decision: &Decision) -> &Forwarding {
    match decision {
        Decision::Forward(forwarding) => forwarding,
        Decision::Redirect { .. } | Decision::Refuse { .. } => unreachable!("nothing else goes to an upstream"),
    }
}
