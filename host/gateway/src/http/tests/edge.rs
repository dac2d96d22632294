//! What the host keeps for itself, and what it does with a decision.

use std::{fmt::Write as _, sync::Arc};

use atoll_runtime::{Decision, Failure, FieldChange, Forwarding};
use http::{HeaderName, HeaderValue, StatusCode};

use super::{Guest, Place, Setup, Shown, forward, logged, plain, reply, secure};
use crate::{
    http::{Network, Peer},
    tls::Protocol,
};

/// Says what it was asked.
fn echo() -> Arc<Guest> {
    Guest::service(1, |request| {
        let mut text = format!("{} {}\n", request.method(), request.uri());
        for (name, value) in request.headers() {
            writeln!(text, "{name}: {}", value.to_str().unwrap()).unwrap();
        }
        reply(200, &[], text)
    })
}

#[tokio::test]
async fn the_plain_side() {
    let world = Setup::only(&echo());
    for (request, answer) in [
        (
            "GET /x?y HTTP/1.1\r\nhost: A.test.:8080\r\n",
            "HTTP/1.1 308 Permanent Redirect\r\nlocation: https://a.test:8443/x?y\r\n",
        ),
        // Somebody maps the port: then he maps the other one too.
        ("GET / HTTP/1.1\r\nhost: a.test\r\n", "HTTP/1.1 308 Permanent Redirect\r\nlocation: https://a.test/\r\n"),
        (
            "GET //b.test HTTP/1.1\r\nhost: a.test\r\n",
            "HTTP/1.1 308 Permanent Redirect\r\nlocation: https://a.test//b.test\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nhost: [::1]:8080\r\n",
            "HTTP/1.1 308 Permanent Redirect\r\nlocation: https://[::1]:8443/\r\n",
        ),
        ("GET / HTTP/1.1\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        ("GET / HTTP/1.1\r\nhost: a test\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        ("GET / HTTP/1.1\r\nhost: a.test\r\nhost: a.test\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        ("GET /../x HTTP/1.1\r\nhost: a.test\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        ("GET /%00 HTTP/1.1\r\nhost: a.test\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        ("CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n", "HTTP/1.1 501 Not Implemented\r\n"),
        ("TRACE / HTTP/1.1\r\nhost: a.test\r\n", "HTTP/1.1 501 Not Implemented\r\n"),
        (
            "OPTIONS * HTTP/1.1\r\nhost: a.test\r\n",
            "HTTP/1.1 204 No Content\r\nallow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n",
        ),
        ("GET * HTTP/1.1\r\nhost: a.test\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        (
            "GET /.well-known/acme-challenge/token HTTP/1.1\r\nhost: a.test\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: 16\r\n",
        ),
        ("GET /.well-known/acme-challenge/other HTTP/1.1\r\nhost: a.test\r\n", "HTTP/1.1 404 Not Found\r\n"),
        ("GET /.well-known/host/hook HTTP/1.1\r\nhost: a.test\r\n", "HTTP/1.1 404 Not Found\r\n"),
        ("GET /.well-known/host HTTP/1.1\r\nhost: a.test\r\n", "HTTP/1.1 404 Not Found\r\n"),
    ] {
        let seen = world.raw(plain(), &format!("{request}connection: close\r\n\r\n")).await;
        assert!(seen.starts_with(answer), "{request}: {seen}");
        assert!(!seen.contains("strict-transport-security") && !seen.contains("server:"), "{seen}");
    }
}

#[tokio::test]
async fn the_secure_side() {
    let world = Setup::only(&echo());
    let mut client = world.client(Protocol::Http2).await;
    for (target, status) in [
        ("/.well-known/acme-challenge/token", 200),
        // Nobody's challenge: somebody behind us may have one of his own.
        ("/.well-known/acme-challenge/other", 200),
        ("/.well-known/host/hook", 404),
        ("/.well-known/hosts", 200),
        ("/a/%2e%2e/.well-known/host", 404),
    ] {
        assert_eq!(client.get(target, &[]).await.status, status, "{target}");
    }
    let mut request = super::get("/", &[]);
    *request.uri_mut() = "https://other.test/".parse().unwrap();
    assert_eq!(client.see(request).await.status, 421);
    let lines = world.log(6).await;
    assert_eq!(logged(&lines[5], "error"), Some("\"not for this connection's certificate\""));
    assert_eq!(logged(&lines[5], "status"), Some("421"));
}

#[tokio::test]
async fn https_is_insisted_on_where_browsers_verify() {
    let hsts = Guest::service(1, |_| reply(200, &[("strict-transport-security", "max-age=1")], ""));
    let bare = Guest::service(1, |_| reply(200, &[], ""));
    for (guest, public, expected) in [
        (&bare, true, Some("max-age=31536000")),
        (&bare, false, None),
        (&hsts, true, Some("max-age=1")),
        (&hsts, false, None),
    ] {
        let world = Setup::only(guest);
        let peer = Peer { certificate: Some(Arc::new(Shown { public })), ..secure(Protocol::Http1) };
        let seen = world.client_of(peer).await.get("/", &[]).await;
        assert_eq!(seen.field("strict-transport-security"), expected);
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy() {
    let trusted = vec![Network::new("192.0.2.0".parse().unwrap(), 24).unwrap()];
    let world = Setup { services: vec![Place::new("site", &echo())], trusted, ..Setup::default() }.open();
    let claims = "x-forwarded-for: 198.51.100.7\r\nx-forwarded-proto: https\r\n";
    let request = format!("GET / HTTP/1.1\r\nhost: a.test\r\n{claims}connection: close\r\n\r\n");
    let seen = world.raw(plain(), &request).await;
    assert!(seen.contains("GET https://a.test/\n"), "{seen}");
    assert!(seen.contains("x-forwarded-for: 198.51.100.7, 192.0.2.1\nx-forwarded-proto: https\n"), "{seen}");
    assert_eq!(logged(&world.log(1).await[0], "client"), Some("\"198.51.100.7\""));
    // A stranger may claim what he likes.
    let stranger = Peer { address: "203.0.113.1:9".parse().unwrap(), ..plain() };
    assert!(world.raw(stranger, &request).await.starts_with("HTTP/1.1 308 "));
}

#[tokio::test]
async fn what_was_decided_is_done() {
    let router = |recalls| {
        Guest::router(recalls, |head| {
            let name = |name| HeaderName::from_static(name);
            let value = |value| HeaderValue::from_static(value);
            Ok(match head.path {
                "/there" => Decision::Redirect { status: StatusCode::FOUND, location: value("/here?x") },
                "/private" => Decision::Refuse { status: StatusCode::FORBIDDEN, reason: "it is private".into() },
                "/nowhere" => Decision::Forward(forward("nowhere")),
                "/api/x" => Decision::Forward(Forwarding {
                    strip: Some("/api".into()),
                    add: Some("/v1".into()),
                    request_fields: vec![FieldChange::Set(name("x-a"), value("set")), FieldChange::Remove(name("x-b"))],
                    response_fields: vec![FieldChange::Add(name("x-c"), value("added"))],
                    ..forward("site")
                }),
                "/trap" => return Err(Failure::Trapped("unreachable".into())),
                "/slow" => return Err(Failure::TimedOut),
                path => panic!("{path}, {head:?}"),
            })
        })
    };
    let guest = echo();
    for recalls in [false, true] {
        let router = router(recalls);
        let world = Setup {
            router: Some(Place::new("router", &router)),
            services: vec![Place::new("site", &guest)],
            ..Setup::default()
        }
        .open();
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let mut client = world.client(protocol).await;
            let there = client.get("/there", &[]).await;
            assert_eq!((there.status, there.field("location"), there.text()), (302, Some("/here?x"), ""));
            for target in ["/private", "/%70rivate", "/a/../private", "//private", "/a%2f..%2fprivate", "/\\private"] {
                let refused = client.get(target, &[]).await;
                assert_eq!((refused.status, refused.text()), (403, "403 Forbidden\n"), "{target}");
            }
            assert_eq!(client.get("/nowhere", &[]).await.status, 502);
            let changed = client.get("/api/x?y", &[("x-a", "sent"), ("x-b", "sent")]).await;
            assert!(changed.text().starts_with("GET https://a.test/v1/x?y\n"), "{}", changed.text());
            assert!(changed.text().contains("x-a: set\n") && !changed.text().contains("x-b"), "{}", changed.text());
            assert_eq!(changed.field("x-c"), Some("added"));
            // A separator that is spelled as none is one for the decision, and nobody gets to see it.
            assert_eq!(client.get("/api%2fx", &[]).await.status, 400);
            if !recalls {
                assert_eq!(client.get("/trap", &[]).await.status, 500);
                assert_eq!(client.get("/slow", &[]).await.status, 504);
            }
        }
        assert_eq!(router.calls() > 0, !recalls);
    }
}

#[tokio::test]
async fn with_no_router() {
    let (one, two) = (Guest::service(1, |_| reply(200, &[], "one")), Guest::service(2, |_| reply(200, &[], "two")));
    let (named, site) = (Place::new("named", &one), Place::new("site", &two));
    for (services, status, text) in [
        (vec![named.clone()], 200, "one"),
        (vec![named.clone(), site.clone()], 200, "two"),
        (vec![named.clone(), Place::new("another", &two)], 404, "404 Not Found\n"),
        (vec![], 404, "404 Not Found\n"),
    ] {
        let seen = Setup { services, ..Setup::default() }.open().get("/", &[]).await;
        assert_eq!((seen.status, seen.text()), (status, text));
    }
}

#[tokio::test]
async fn what_does_not_serve_yet() {
    let router = Setup { router: Some(Place::empty("router")), ..Setup::default() }.open();
    let service = Setup { services: vec![Place::empty("site")], ..Setup::default() }.open();
    for (world, error) in [(router, "\"router: nothing serves yet\""), (service, "\"nothing serves yet\"")] {
        let seen = world.get("/", &[]).await;
        assert_eq!((seen.status, seen.field("retry-after")), (503, Some("1")));
        assert_eq!(logged(&world.log(1).await[0], "error"), Some(error));
    }
}

#[tokio::test]
async fn a_roster_is_installed_whole() {
    let (one, two) = (Guest::service(1, |_| reply(200, &[], "one")), Guest::service(2, |_| reply(200, &[], "two")));
    let world = Setup::only(&one);
    let mut client = world.client(Protocol::Http1).await;
    assert_eq!(client.get("/", &[]).await.text(), "one");
    let (roster, answers) = Setup { services: vec![Place::new("other", &two)], ..Setup::default() }.roster();
    world.gateway.install(roster, answers);
    assert_eq!(client.get("/", &[]).await.text(), "two");
}
