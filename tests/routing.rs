//! Route files: where a request goes, by name and path, whatever way the path is written.

use http::Response;

use crate::support::{
    client::{BOTH, Protocol, Reply, ask, with_fields},
    git::Repository,
    host::{Host, Setup},
    raw, tables,
    upstream::{Upstream, whole},
    wait::{SOON, until},
};

const A_TEST: &str = r#"
upstream = "site"
[[path]]
prefix   = "/api"
upstream = "app"
strip    = true
[[path]]
prefix   = "/api/v0"
refuse   = 410
[[path]]
prefix   = "/kept"
upstream = "app"
[[path]]
prefix   = "/versioned"
upstream = "app"
strip    = true
add      = "/v1"
[[path]]
prefix   = "/old"
redirect = { to = "/new", status = 308 }
[[path]]
prefix   = "/away"
redirect = { to = "https://example.org/there", status = 302 }
[[path]]
prefix   = "/private"
refuse   = 403
[[path]]
prefix   = "/fields"
upstream = "app"
[path.request]
set    = { x-set = "1" }
remove = ["x-removed"]
[path.response]
add    = { x-added = "2" }
"#;

struct Island {
    host: Host,
    app: Upstream,
    routes: Repository,
}

async fn started() -> Island {
    let app = Upstream::start(Protocol::Http1, |seen| Response::new(whole(format!("app {}", seen.target)))).await;
    let manifest = [tables::site("site"), tables::router(), tables::upstream("app", app.address())].concat();
    let setup = Setup::new(&manifest);
    setup.repository("site").commit("main", &[("index.html", "home"), ("privates.html", "open"), ("404.html", "none")]);
    let routes = setup.repository("routes");
    routes.commit(
        "main",
        &[
            ("a.test.toml", A_TEST),
            ("*.wild.test.toml", "upstream = \"app\"\n"),
            ("one.wild.test.toml", "refuse = 451\n"),
            ("xn--bcher-kva.test.toml", "upstream = \"site\"\n"),
            ("_.toml", "refuse = 404\n"),
            ("README.md", "not a route file\n"),
        ],
    );
    Island { host: setup.start().await, app, routes }
}

fn location(reply: &Reply) -> Option<&str> {
    reply.field("location")
}

#[tokio::test]
async fn each_path_goes_where_its_file_says() {
    let Island { host, app: _app, .. } = started().await;
    for (path, status, body) in [
        ("/", 200, "home"),
        ("/nothing", 404, "none"),
        ("/privates", 200, "open"),
        ("/api", 200, "app /"),
        ("/api/", 200, "app /"),
        ("/api/x?y=z", 200, "app /x?y=z"),
        ("/apis", 404, "none"),
        ("/api/v0/x", 410, ""),
        ("/api/v00", 200, "app /v00"),
        ("/kept/x", 200, "app /kept/x"),
        ("/versioned/x?y", 200, "app /v1/x?y"),
    ] {
        for protocol in BOTH {
            let reply = host.client().send_over(protocol, ask("GET", &format!("https://a.test{path}"))).await;
            let seen = if status == 410 { (reply.status.as_u16(), "") } else { reply.brief() };
            assert_eq!(seen, (status, body), "{path} over {protocol:?}");
        }
    }
}

#[tokio::test]
async fn a_redirect_keeps_the_rest_and_the_query() {
    let Island { host, app: _app, .. } = started().await;
    for (path, status, to) in [
        ("/old", 308, "/new"),
        ("/old/", 308, "/new/"),
        ("/old/x/y?z=%20", 308, "/new/x/y?z=%20"),
        ("/old//evil.test", 308, "/new/evil.test"),
        ("/away/x?y", 302, "https://example.org/there/x?y"),
    ] {
        let reply = host.client().get(&format!("https://a.test{path}")).await;
        assert_eq!((reply.status.as_u16(), location(&reply)), (status, Some(to)), "{path}");
    }
}

#[tokio::test]
async fn what_is_refused_is_refused_in_every_spelling() {
    let Island { host, app: _app, .. } = started().await;
    for (target, status) in [
        ("/private", 403),
        ("/private/", 403),
        ("/private/x", 403),
        ("/%70rivate", 403),
        ("/%70%72%69vate/x", 403),
        ("/a/../private", 403),
        ("/a/%2e%2E/private", 403),
        ("/./private", 403),
        ("//private", 403),
        ("///a/..//private", 403),
        ("/private%2Fx", 403),
        ("/private%5cx", 403),
        ("/private\\x", 403),
        ("/private?x", 403),
        ("https://a.test/private", 403),
        ("/privates", 200),
        ("/PRIVATE", 404),
        ("/x%2Fprivate", 400),
        ("/x\\y", 400),
        ("/%00", 400),
        ("/%zz", 400),
        ("/%7", 400),
        ("/..", 400),
        ("/a/../../private", 400),
        ("/%2e%2e/private", 400),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        let response = raw::tls(&host.client(), "a.test", request.as_bytes()).await;
        assert_eq!(raw::status(&response), status, "{target}");
    }
}

#[tokio::test]
async fn a_name_is_matched_exactly_then_by_its_wildcard_then_by_the_rest() {
    let Island { host, app: _app, .. } = started().await;
    for (name, host_field, body) in [
        ("a.test", "a.test", "home"),
        ("a.test", "A.TEST", "home"),
        ("a.test", "a.test.", "home"),
        ("a.test", "a.test:8443", "home"),
        ("x.wild.test", "x.wild.test", "app /"),
        ("xn--bcher-kva.test", "xn--bcher-kva.test", "home"),
        ("xn--bcher-kva.test", "XN--BCHER-KVA.test", "home"),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host_field}\r\nConnection: close\r\n\r\n");
        let response = raw::tls(&host.client(), name, request.as_bytes()).await;
        assert_eq!(raw::status(&response), 200, "{host_field}");
        assert!(response.ends_with(body.as_bytes()), "{host_field}: {}", String::from_utf8_lossy(&response));
    }
}

/// No certificate is made for what the router refuses, so such a name does not get as far as a request.
#[tokio::test]
async fn a_name_that_is_refused_has_no_certificate() {
    let Island { host, app: _app, .. } = started().await;
    for name in ["nobody.test", "wild.test", "a.b.wild.test", "one.wild.test"] {
        let error = host.client().handshake(Some(name), &[]).await.expect_err(name);
        assert!(error.to_string().contains("UnrecognisedName"), "{name}: {error}");
    }
}

#[tokio::test]
async fn fields_are_changed_on_both_ways() {
    let Island { host, app, .. } = started().await;
    let request = with_fields("GET", "https://a.test/fields", &[("x-removed", "0"), ("x-set", "9")]);
    let reply = host.client().send(request).await;
    assert_eq!(reply.field("x-added"), Some("2"));
    let seen = app.seen().remove(0);
    assert_eq!((seen.field("x-set"), seen.field("x-removed")), ("1".to_owned(), String::new()));
}

#[tokio::test]
async fn a_pushed_route_is_followed() {
    let Island { host, app: _app, routes } = started().await;
    let mut connection = host.client().connect("a.test", Protocol::Http1).await;
    assert_eq!(connection.send(ask("GET", "https://a.test/")).await.brief(), (200, "home"));
    routes.commit("main", &[("a.test.toml", "refuse = 418\n")]);
    until(SOON, "the new route", async || {
        (connection.send(ask("GET", "https://a.test/")).await.status == 418).then_some(())
    })
    .await;
}
