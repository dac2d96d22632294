//! To a URL: the request as the host knows it, to the first of its origins that can be reached. Bodies stream both ways.

use std::{borrow::Cow, future::poll_fn, net::IpAddr, sync::Arc, task::Poll, time::Instant};

use atoll_net::{Incoming, SendError};
use atoll_runtime::{Decision, Failure, Forwarding, Level, under};
use atoll_semantics::{coding, forwarded, hop};
use http::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONTENT_LENGTH, EXPECT, HOST},
    request::Parts,
};
use http_body::Body as _;

use crate::http::{
    access::Upstream,
    arriving::Arriving,
    collect::declared,
    edge::{House, failed},
    encoder::Encoders,
    framed,
    gateway::Gateway,
    health::in_turn,
    inbound::{Inbound, Line, moved},
    least::Least,
    limits::EXCHANGES,
    payload::Payload,
    rescue::Fault,
    roster::{Named, UrlUpstream},
    service::forwarding,
    shares::Seat,
    tunnel::Wish,
    upload::{Fate, Upload},
    visit::{Answering, Visit},
};

/// Answers a request that was decided to be this upstream's.
pub(super) fn answer(
    house: &House,
    named: &Arc<Named>,
    decision: Arc<Decision>,
    mut inbound: Inbound,
    request: Request<Arriving>,
    mut visit: Visit,
) -> Answering {
    visit.answered_by(|| Upstream { name: named.name.clone(), revision: None, remembered: false });
    let (mut parts, body) = request.into_parts();
    let target = match target(&parts.uri, &inbound, forwarding(&decision), named.upstream.raw_path) {
        Ok(target) => target,
        Err(fault) => return failed(visit, &fault, &Request::from_parts(parts, ())),
    };
    fields(house, &inbound, forwarding(&decision), &mut parts.headers);
    let wish = inbound.wish.take();
    if let Some(wish) = &wish {
        wish.tell(&mut parts.headers);
    }
    parts.uri = target;
    let (named, line, gateway) = (named.clone(), house.line.clone(), house.gateway.clone());
    let mut body = body;
    // Of a tunnel it comes later.
    let looked_at = parts.method.is_safe() && wish.is_none();
    let client = inbound.origin.client;
    Answering::later(async move {
        match seat(&gateway, &named, client).await {
            Ok(seat) => visit.hold(seat),
            Err(fault) => return visit.fail(&fault, &parts.method, &parts.headers),
        }
        if looked_at && let Err(fault) = begun(&mut body, &line).await {
            return visit.fail(&fault, &parts.method, &parts.headers);
        }
        let response = match send(&line, &named, &parts, body, wish.is_some()).await {
            Ok(response) => received(response, &parts, &named, &line, wish, (&gateway.encoders, client)),
            Err(fault) => Err(fault),
        };
        match response {
            Ok(response) => visit.pass(response, &forwarding(&decision).response_fields),
            Err(fault) => {
                if fault.status().is_server_error()
                    && let Some(more) = named.complaints.failed(gateway.clock.instant())
                {
                    gateway.journal.host(Level::Warning, format!("[upstream.{}]: {fault}{more}", named.name));
                }
                visit.fail(&fault, &parts.method, &parts.headers)
            }
        }
    })
}

/// Of what the upstream may have under way, one of the client's share; none for those who speak for many. A tunnel has it
/// until it is one.
async fn seat(gateway: &Gateway, named: &Named, client: IpAddr) -> Result<Option<Seat>, Fault> {
    if gateway.trusts(client) {
        return Ok(None);
    }
    let UrlUpstream { client: sender, places, .. } = &named.upstream;
    let room = places.iter().map(|place| sender.room(&place.origin).unwrap_or(EXCHANGES)).max();
    let seat = named.shares.seat(client, room.unwrap_or(EXCHANGES), true).await;
    seat.map(Some).ok_or(Fault::Service(Failure::Overloaded))
}

/// A GET whose body is to come, of a length that nobody named, mostly has none: over HTTP/1.1 that has to be known before
/// its head goes out.
async fn begun(body: &mut Arriving, line: &Line) -> Result<(), Fault> {
    if body.is_end_stream() || body.size_hint().exact().is_some() {
        return Ok(());
    }
    let (rate, window) = line.watch.body();
    let mut least = Least::new(rate, window);
    poll_fn(|cx| match body.poll_begun(cx) {
        Poll::Ready(begun) => Poll::Ready(begun.map_err(|_| Fault::Request)),
        Poll::Pending => least.poll_short(cx).map(|()| Err(Fault::ClientStalled)),
    })
    .await
}

/// Tries one origin after the other, for as long as nothing was sent; those that refused a short while ago come last.
async fn send(
    line: &Line,
    named: &Named,
    parts: &Parts,
    body: Arriving,
    tunnel: bool,
) -> Result<Response<Incoming>, Fault> {
    let (mut upload, mut fate) = Upload::new(body, line);
    // Whether none of them said anything, as far as they were tried.
    let (mut unreachable, mut silent) = (String::new(), true);
    let now = Instant::now();
    for place in in_turn(&named.upstream.places, now) {
        let origin = if tunnel { &place.tunnel } else { &place.origin };
        let error = match named.upstream.client.send_with(origin, parts, upload).await {
            Ok(response) => {
                place.health.answered();
                return Ok(response);
            }
            Err(SendError::Connect(error)) => error,
            Err(error) => return Err(fault(error, &fate)),
        };
        place.health.refused(Instant::now());
        if !unreachable.is_empty() {
            unreachable.push_str("; ");
        }
        unreachable.push_str(&error.to_string());
        silent &= error.is_timeout();
        let Some(body) = fate.returned() else { break };
        (upload, fate) = Upload::new(body, line);
    }
    Err(if silent { Fault::Silent(unreachable) } else { Fault::Unreachable(unreachable) })
}

fn fault(error: SendError, fate: &Fate) -> Fault {
    if let Some(blame) = fate.blame() {
        return blame.into();
    }
    match error {
        SendError::Connect(error) => Fault::Unreachable(error.to_string()),
        // It had nothing to answer yet.
        SendError::TimedOut { .. } if fate.waiting() => Fault::ClientStalled,
        SendError::TimedOut { .. } => Fault::Slow,
        SendError::Request { .. } => Fault::Request,
        SendError::Broken { .. } | SendError::Interim { .. } | SendError::Connection { .. } => {
            Fault::Broken(error.to_string())
        }
    }
}

/// What an upstream's response is to the client.
fn received(
    mut response: Response<Incoming>,
    request: &Parts,
    named: &Named,
    line: &Line,
    wish: Option<Box<Wish>>,
    (encoders, client): (&Encoders, IpAddr),
) -> Result<Response<Payload>, Fault> {
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    match wish {
        Some(wish) => wish.granted(line, &mut response)?,
        None if switched => return Err(Fault::Broken("it switched protocols, which nobody asked for".into())),
        None => {}
    }
    let (mut head, body) = response.into_parts();
    // Ours, and not what is spoken with the upstream (RFC 9110, section 2.5).
    head.version = Version::HTTP_11;
    if switched {
        return Ok(Response::from_parts(head, Payload::empty()));
    }
    framed::settle(&mut head.headers).map_err(|error| Fault::Broken(error.to_string()))?;
    hop::strip(&mut head.headers);
    let only_head = request.method == Method::HEAD;
    let empty = only_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if empty && !only_head {
        head.headers.remove(CONTENT_LENGTH);
    }
    let length = if empty { declared(&head.headers, None).ok().flatten() } else { body.size_hint().exact() };
    let encoding = encoders.settle(client, &request.headers, &mut head, length);
    let payload = if empty { Payload::empty() } else { Payload::upstream(body, named.upstream.patience) };
    Ok(Response::from_parts(head, payload.encoded(encoding)))
}

/// Path and query as they go out: in the one form, or as they were sent.
fn target(sent: &Uri, inbound: &Inbound, forwarding: &Forwarding, raw: bool) -> Result<Uri, Fault> {
    let path = if raw {
        // What is taken off has to be there in so many letters, and what is put on to stay where it is.
        let moves = forwarding.strip.is_some() || forwarding.add.is_some();
        if forwarding.strip.as_ref().is_some_and(|prefix| !under(sent.path(), prefix)) || moves && climbs(sent.path()) {
            return Err(Fault::HiddenPrefix);
        }
        sent.path()
    } else if inbound.hidden_separator {
        return Err(Fault::HiddenSeparator);
    } else {
        inbound.path(sent)
    };
    let path = moved(path, forwarding);
    if let Some(sent) = sent.path_and_query().filter(|sent| *sent.path() == *path) {
        // As most are.
        return Ok(Uri::from(sent.clone()));
    }
    let target = match sent.query() {
        Some(query) => Cow::Owned(format!("{path}?{query}")),
        None => path,
    };
    Uri::try_from(&*target).map_err(|error| Fault::Decision(error.to_string()))
}

/// Whether a segment is a dot or two, however that and what is around it is written.
fn climbs(path: &str) -> bool {
    let plain =
        path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/").replace('\\', "/");
    plain.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// The request's fields as they go out.
fn fields(house: &House, inbound: &Inbound, forwarding: &Forwarding, fields: &mut HeaderMap) {
    hop::strip_request(fields);
    // The client's wait ends when its body is read.
    fields.remove(EXPECT);
    let host = inbound.host();
    forwarded::tell(fields, &house.line.hop, inbound.origin, &host);
    fields.insert(HOST, host);
    for change in &forwarding.request_fields {
        change.apply(fields);
    }
    coding::name_identity(fields);
}

#[cfg(test)]
mod tests {
    use super::climbs;

    #[test]
    fn a_path_that_leaves_its_prefix_is_seen_however_it_is_written() {
        for (path, climbing) in [
            ("/api/x", false),
            ("/api/a%2fb", false),
            ("/api/..x/x../...", false),
            ("/api/../x", true),
            ("/api/./x", true),
            ("/api/%2e%2E/x", true),
            ("/api/.%2e", true),
            ("/api/x%2f..%2fy", true),
            ("/api/x%5C..\\y", true),
            ("/api/..", true),
        ] {
            assert_eq!(climbs(path), climbing, "{path}");
        }
    }
}
