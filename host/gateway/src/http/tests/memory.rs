//! What is remembered, as clients see it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use atoll_runtime::{Decision, Failure, FieldChange, Forwarding};
use bytes::Bytes;
use futures_util::{FutureExt as _, future::join_all};
use http::{HeaderName, HeaderValue, Method};
use tokio::sync::Semaphore;

use super::{Guest, Place, Setup, forward, logged, pieces, reply, request, streamed, until};
use crate::{http::Reply, tls::Protocol};

const PUBLIC: (&str, &str) = ("cache-control", "public, max-age=0, must-revalidate");

/// Says how often it was asked.
fn counting(id: u64, head: &'static [(&'static str, &'static str)]) -> Arc<Guest> {
    let count = AtomicUsize::new(0);
    Guest::service(id, move |_| reply(200, head, format!("{id}.{}", count.fetch_add(1, Ordering::Relaxed))))
}

#[tokio::test]
async fn what_asks_for_it_is_remembered_until_the_generation_changes() {
    let place = Place::new("site", &counting(1, &[PUBLIC]));
    let world = Setup { services: vec![place.clone()], ..Setup::default() }.open();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut client = world.client(protocol).await;
        for _ in 0..3 {
            let seen = client.get("/", &[]).await;
            assert_eq!(seen.text(), "1.0");
            assert_eq!(
                seen.head,
                ["accept-ranges: bytes", "cache-control: public, max-age=0, must-revalidate", "content-length: 3"]
            );
        }
        assert_eq!(client.see(request(Method::HEAD, "/", &[], "")).await.field("content-length"), Some("3"));
    }
    let lines = world.log(8).await;
    assert_eq!((logged(&lines[0], "remembered"), logged(&lines[1], "remembered")), (Some("false"), Some("true")));
    assert_eq!(logged(&lines[1], "revision"), Some("\"revision 1\""));
    let counted = world.gateway.remembering(&"site".into());
    assert_eq!((counted.hits, counted.misses), (7, 1));
    place.switch(&counting(2, &[PUBLIC]));
    assert_eq!(world.get("/", &[]).await.text(), "2.0");
    place.switch(&counting(3, &[PUBLIC]));
    assert_eq!(world.get("/", &[]).await.text(), "3.0");
    // What older generations left is let go.
    until(|| world.gateway.remembered() < 2000).await;
}

#[tokio::test]
async fn what_must_not_be_remembered_is_not() {
    type Fields = &'static [(&'static str, &'static str)];
    let cases: [(Fields, Method, Fields); 8] = [
        (&[], Method::GET, &[]),
        (&[("cache-control", "max-age=60")], Method::GET, &[]),
        (&[("cache-control", "private")], Method::GET, &[]),
        (&[PUBLIC, ("set-cookie", "a=b")], Method::GET, &[]),
        (&[PUBLIC, ("vary", "*")], Method::GET, &[]),
        (&[PUBLIC], Method::GET, &[("authorization", "Basic eA==")]),
        (&[PUBLIC], Method::POST, &[]),
        (&[PUBLIC], Method::HEAD, &[]),
    ];
    for (head, method, asked) in cases {
        let guest = counting(1, head);
        let world = Setup::only(&guest);
        let mut client = world.client(Protocol::Http2).await;
        for _ in 0..3 {
            client.see(request(method.clone(), "/", asked, "")).await;
        }
        assert_eq!(guest.calls(), 3, "{head:?} {method} {asked:?}");
    }
    // What was remembered before is not for one with a credential either.
    let guest = counting(1, &[PUBLIC]);
    let world = Setup::only(&guest);
    assert_eq!(world.get("/", &[]).await.text(), "1.0");
    assert_eq!(world.get("/", &[("authorization", "Basic eA==")]).await.text(), "1.1");
    assert_eq!(world.get("/", &[]).await.text(), "1.0");
}

#[tokio::test]
async fn an_answer_for_one_is_never_anothers() {
    let router = Guest::router(true, |head| {
        let tenant = head.fields.get("cookie").cloned().unwrap_or(HeaderValue::from_static("nobody"));
        let changes = vec![FieldChange::Set(HeaderName::from_static("x-tenant"), tenant)];
        Ok(Decision::Forward(match head.authority {
            "b.test" => forward("second"),
            _ => Forwarding { request_fields: changes, ..forward("first") },
        }))
    });
    let service = |id| {
        Guest::service(id, move |request| {
            let tenant = request.headers().get("x-tenant").map_or("", |tenant| tenant.to_str().unwrap());
            let language = request.headers().get("accept-language").map_or("", |tenant| tenant.to_str().unwrap());
            let text = format!("{id} {} {tenant} {language}", request.uri());
            reply(200, &[PUBLIC, ("vary", "accept-language")], text)
        })
    };
    let (first, second) = (service(1), service(2));
    let world = Setup {
        router: Some(Place::new("router", &router)),
        services: vec![Place::new("first", &first), Place::new("second", &second)],
        ..Setup::default()
    }
    .open();
    let mut client = world.client(Protocol::Http2).await;
    for round in 0..2 {
        for (uri, head, text) in [
            ("https://a.test/x", &[][..], "1 https://a.test/x nobody "),
            ("https://a.test/x", &[("cookie", "ann")], "1 https://a.test/x ann "),
            ("https://a.test/x", &[("cookie", "bob")], "1 https://a.test/x bob "),
            ("https://a.test/x", &[("accept-language", "fr")], "1 https://a.test/x nobody fr"),
            ("https://a.test/x?q", &[], "1 https://a.test/x?q nobody "),
            ("https://c.test/x", &[], "1 https://c.test/x nobody "),
            ("https://c.test:8443/x", &[], "1 https://c.test:8443/x nobody "),
            ("https://b.test/x", &[], "2 https://b.test/x  "),
        ] {
            let mut asked = super::get("/", head);
            *asked.uri_mut() = uri.parse().unwrap();
            assert_eq!(client.see(asked).await.text(), text, "{round}");
        }
    }
    assert_eq!((first.calls(), second.calls()), (7, 1));
}

#[tokio::test]
async fn a_query_that_does_not_count_is_not_asked_about() {
    let guest = counting(1, &[PUBLIC, ("no-vary-search", "params")]);
    let world = Setup::only(&guest);
    for target in ["/", "/?q=1", "/?random=2", "/?"] {
        assert_eq!(world.get(target, &[]).await.text(), "1.0", "{target}");
    }
}

#[tokio::test]
async fn what_is_not_remembered_is_encoded_as_it_passes() {
    let guest =
        Guest::service(1, |_| reply(200, &[("content-type", "text/html"), ("etag", "\"a\"")], "x".repeat(5000)));
    let world = Setup::only(&guest);
    let (media, vary) = ("content-type: text/html", "vary: accept-encoding");
    let plain = ["accept-ranges: bytes", "content-length: 5000", media, "etag: \"a\"", vary];
    let encoded = ["content-encoding: br", media, "etag: \"a-br\"", vary];
    let part =
        ["accept-ranges: bytes", "content-length: 2", "content-range: bytes 0-1/5000", media, "etag: \"a\"", vary];
    for (asked, status, head) in [
        (&[][..], 200, &plain[..]),
        (&[("accept-encoding", "br")], 200, &encoded),
        (&[("accept-encoding", "br"), ("if-none-match", "\"a-br\"")], 304, &["etag: \"a-br\"", vary]),
        (&[("accept-encoding", "br"), ("if-match", "\"a\"")], 412, &[]),
        (&[("accept-encoding", "br"), ("range", "bytes=0-1")], 206, &part),
    ] {
        let seen = world.get("/", asked).await;
        assert_eq!(seen.status, status, "{asked:?}");
        assert!(status == 412 || seen.head == head, "{asked:?}: {:?}", seen.head);
    }
}

#[tokio::test]
async fn other_statuses_are_remembered_too() {
    let guest = Guest::service(1, |_| reply(404, &[PUBLIC, ("etag", "\"a\"")], "nothing here"));
    let world = Setup::only(&guest);
    for _ in 0..3 {
        let seen = world.get("/x", &[("if-none-match", "\"a\""), ("range", "bytes=0-1")]).await;
        assert_eq!((seen.status, seen.text()), (404, "nothing here"));
    }
    assert_eq!(guest.calls(), 1);
}

#[tokio::test]
async fn encodings_are_made_once_and_kept() {
    let page = "one and the same line\n".repeat(2000);
    let guest = Guest::service(1, {
        let page = page.clone();
        move |_| reply(200, &[PUBLIC, ("content-type", "text/html"), ("etag", "\"a\"")], page.clone())
    });
    let world = Setup::only(&guest);
    let mut bodies = Vec::new();
    for (accept, coding, tag) in [
        ("br, gzip", Some("br"), "\"a-br\""),
        ("gzip", Some("gzip"), "\"a-gzip\""),
        ("br", Some("br"), "\"a-br\""),
        ("identity", None, "\"a\""),
    ] {
        let seen = world.get("/", &[("accept-encoding", accept)]).await;
        assert_eq!((seen.field("content-encoding"), seen.field("etag")), (coding, Some(tag)), "{accept}");
        assert_eq!(seen.field("vary"), Some("accept-encoding"));
        bodies.push(seen.body.unwrap());
    }
    assert_eq!(bodies[0], bodies[2]);
    assert_eq!(bodies[3], page);
    assert!(bodies[0].len() < 200 && bodies[1].len() < 1000);
    assert_eq!(guest.calls(), 1);
    let again = world.get("/", &[("accept-encoding", "br"), ("if-none-match", "\"a-br\"")]).await;
    assert_eq!((again.status, again.field("content-length")), (304, None));
}

/// Holds every call until it is let.
fn held(gate: &Arc<Semaphore>, answer: impl Fn(usize) -> Result<Reply, Failure> + Send + Sync + 'static) -> Arc<Guest> {
    let (gate, count, answer) = (gate.clone(), AtomicUsize::new(0), Arc::new(answer));
    Guest::asked(1, move |_, _| {
        let (gate, answer, number) = (gate.clone(), answer.clone(), count.fetch_add(1, Ordering::Relaxed));
        async move {
            gate.acquire().await.unwrap().forget();
            answer(number)
        }
        .boxed()
    })
}

/// As many requests at once, let go one call after another; what they saw, sorted.
async fn together(guest: &Arc<Guest>, gate: &Semaphore, requests: usize) -> Vec<(u16, String)> {
    let world = Setup::only(guest);
    let asking = tokio::spawn(async move {
        let seen = join_all((0..requests).map(|_| world.get("/", &[]))).await;
        let mut seen: Vec<_> = seen.iter().map(|seen| (seen.status, seen.text().to_owned())).collect();
        seen.sort();
        seen
    });
    while !asking.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        gate.add_permits(1);
    }
    asking.await.unwrap()
}

#[tokio::test]
async fn misses_at_one_time_are_one_call() {
    let gate = Arc::new(Semaphore::new(0));
    let guest = held(&gate, |number| Ok(reply(200, &[PUBLIC], number.to_string())));
    let seen = together(&guest, &gate, 10).await;
    assert_eq!(seen, vec![(200, "0".to_owned()); 10]);
    assert_eq!(guest.calls(), 1);
}

#[tokio::test]
async fn those_who_waited_for_what_is_not_theirs_ask_for_themselves() {
    let gate = Arc::new(Semaphore::new(0));
    let private = held(&gate, |number| Ok(reply(200, &[], number.to_string())));
    let seen = together(&private, &gate, 6).await;
    assert_eq!(seen, (0..6).map(|number| (200, number.to_string())).collect::<Vec<_>>());
    let gate = Arc::new(Semaphore::new(0));
    let failing = held(&gate, |number| match number {
        0 => Err(Failure::Trapped("x".into())),
        number => Ok(reply(200, &[], number.to_string())),
    });
    let seen = together(&failing, &gate, 4).await;
    assert_eq!(seen.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [200, 200, 200, 502]);
}

#[tokio::test]
async fn one_who_leaves_does_not_strand_those_who_wait() {
    let gate = Arc::new(Semaphore::new(0));
    let guest = held(&gate, |number| Ok(reply(200, &[PUBLIC], number.to_string())));
    let world = Arc::new(Setup::only(&guest));
    let mut leading = world.client(Protocol::Http1).await;
    let lead = tokio::spawn(async move { leading.get("/", &[]).await });
    until(|| guest.calls() == 1).await;
    let waiting = tokio::spawn({
        let world = world.clone();
        async move { world.get("/", &[]).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(guest.calls(), 1);
    lead.abort();
    until(|| guest.calls() == 2).await;
    gate.add_permits(2);
    assert_eq!(waiting.await.unwrap().text(), "1");
}

#[tokio::test]
async fn what_used_more_than_its_generation_grows_old() {
    let count = AtomicUsize::new(0);
    let guest = Guest::service(1, move |request| {
        let head: &[_] = match request.uri().path() {
            "/minute" => &[("cache-control", "public, max-age=60"), ("age", "7")],
            _ => &[PUBLIC],
        };
        let answer = reply(200, head, count.fetch_add(1, Ordering::Relaxed).to_string());
        Reply { marked: Box::new(|| true), ..answer }
    });
    let world = Setup::only(&guest);
    assert_eq!(world.get("/", &[]).await.text(), "0");
    assert_eq!(world.get("/", &[]).await.text(), "1");
    let first = world.get("/minute", &[]).await;
    assert_eq!((first.text(), first.field("age")), ("2", Some("7")));
    let second = world.get("/minute", &[]).await;
    assert_eq!((second.text(), second.field("age")), ("2", Some("7")));
    // Something was changed there, says whoever was asked to.
    world.client(Protocol::Http2).await.see(request(Method::POST, "/minute", &[], "x")).await;
    assert_eq!(world.get("/minute", &[]).await.text(), "4");
}

#[tokio::test]
async fn what_is_too_large_is_streamed_and_cut() {
    let large = Bytes::from(vec![b'x'; 3 << 20]);
    let guest = Guest::service(1, {
        let large = large.clone();
        move |request| {
            if request.uri().path() == "/known" {
                return reply(200, &[PUBLIC, ("etag", "\"a\"")], large.clone());
            }
            let parts = vec![Ok("0123456789abcdef"); (2 << 20) / 16];
            streamed(200, &[PUBLIC, ("etag", "\"a\"")], pieces(parts))
        }
    });
    let world = Setup::only(&guest);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut client = world.client(protocol).await;
        assert_eq!(client.get("/known", &[]).await.body.unwrap(), large);
        let part = client.get("/known", &[("range", "bytes=1000000-2999999")]).await;
        assert_eq!((part.status, part.body.unwrap().len()), (206, 2_000_000));
        assert_eq!(client.get("/unknown", &[]).await.body.unwrap().len(), 2 << 20);
    }
    assert_eq!(guest.calls(), 6, "none of it is remembered");
}

#[tokio::test]
async fn an_empty_memory_still_answers() {
    let guest = counting(1, &[PUBLIC, ("content-type", "text/html")]);
    let world = Setup { services: vec![Place::new("site", &guest)], answers: 0, ..Setup::default() }.open();
    assert_eq!(world.get("/", &[("accept-encoding", "br")]).await.text(), "1.0");
    assert_eq!(world.get("/", &[("accept-encoding", "br")]).await.text(), "1.1");
}

/// `Connection` can take out neither what a decision set nor what an answer varies by: what is remembered and what the
/// guest saw are one request.
#[tokio::test]
async fn what_connection_names_is_gone_before_anybody_looks() {
    let router = Guest::router(true, |head| {
        let tenant = head.fields.get("x-who").map_or("nobody", |who| who.to_str().unwrap());
        let set = FieldChange::Set(HeaderName::from_static("x-tenant"), HeaderValue::from_str(tenant).unwrap());
        Ok(Decision::Forward(Forwarding { request_fields: vec![set], ..forward("site") }))
    });
    let guest = Guest::service(1, |request| {
        let field = |name| request.headers().get(name).map_or("none", |value: &HeaderValue| value.to_str().unwrap());
        reply(
            200,
            &[PUBLIC, ("vary", "accept-language")],
            format!("{} {}", field("x-tenant"), field("accept-language")),
        )
    });
    let world = Setup {
        router: Some(Place::new("router", &router)),
        services: vec![Place::new("site", &guest)],
        ..Setup::default()
    }
    .open();
    let mut client = world.client(Protocol::Http1).await;
    for (fields, seen) in [
        (&[("x-who", "a"), ("connection", "x-tenant")][..], "a none"),
        (&[("x-who", "a"), ("accept-language", "de"), ("connection", "accept-language, x-tenant")], "a none"),
        (&[("x-who", "a"), ("accept-language", "de")], "a de"),
        (&[("x-who", "a")], "a none"),
        (&[("x-who", "a"), ("connection", "x-who")], "nobody none"),
    ] {
        for _ in 0..2 {
            assert_eq!(client.get("/", fields).await.text(), seen, "{fields:?}");
        }
    }
}

/// The body of a GET is part of the question, and of no key.
#[tokio::test]
async fn a_get_with_a_body_is_answered_for_itself() {
    let guest = Guest::asked(1, |request, _| {
        async move {
            let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
            Ok(reply(200, &[PUBLIC], body))
        }
        .boxed()
    });
    let world = Setup { services: vec![Place::new("site", &guest)], ..Setup::default() }.open();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut client = world.client(protocol).await;
        for body in ["one", "two", "", "three", ""] {
            assert_eq!(client.see(request(Method::GET, "/", &[], body)).await.text(), body, "{protocol:?}");
        }
    }
}
