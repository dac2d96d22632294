//! Remembered answers: what is asked again is not worked out again, nobody gets what was another's, and what has changed is
//! gone at once.

use crate::support::{
    client::{BOTH, Protocol, Reply, ask, with_fields},
    guests::fixture,
    host::{Host, Setup},
    tables,
};

const HOST: &str = "https://localhost/";

/// Answers, at any path, with how many requests its instance has had, `Cache-Control: public, max-age=60`; the query asks
/// for more: `vary=NAME`, `cookie` (a `Set-Cookie`), `private`, `clock` (it looks at one), `random`.
async fn counter() -> Host {
    Setup::new(&tables::guest("counter", "counter", "")).start().await
}

async fn hits_and_misses(host: &Host, component: &str) -> (u64, u64) {
    let answers = host.component(component).await["answers"].clone();
    (answers["hits"].as_u64().unwrap(), answers["misses"].as_u64().unwrap())
}

async fn get(host: &Host, path: &str, fields: &[(&str, &str)]) -> Reply {
    host.client().send(with_fields("GET", &format!("{HOST}{path}"), fields)).await
}

#[tokio::test]
async fn an_answer_is_worked_out_once() {
    let host = counter().await;
    for protocol in BOTH {
        for _ in 0..3 {
            let reply = host.client().send_over(protocol, ask("GET", HOST)).await;
            assert_eq!(reply.brief(), (200, "1"));
        }
    }
    assert_eq!(host.client().send(ask("HEAD", HOST)).await.field("content-length"), Some("1"));
    assert_eq!(hits_and_misses(&host, "counter").await, (6, 1));
    assert_eq!(get(&host, "other", &[]).await.text(), "2");
    let lines = host.setup().access_log();
    let remembered: Vec<_> = lines.lines().map(|line| line.contains("\"remembered\":true")).collect();
    assert_eq!(remembered, [false, true, true, true, true, true, true, false]);
}

#[tokio::test]
async fn what_may_not_be_shared_is_not_remembered() {
    let host = counter().await;
    for (name, path, fields) in [
        ("private", "a?private", &[][..]),
        ("a cookie is set", "b?cookie", &[]),
        ("a credential", "c", &[("authorization", "Basic eDp5")]),
        ("no-store", "d", &[("cache-control", "no-store")]),
    ] {
        let first = get(&host, path, fields).await;
        let second = get(&host, path, fields).await;
        if name == "a credential" {
            // Each has an instance of its own.
            assert_eq!((first.text(), second.text()), ("1", "1"));
        } else {
            assert_ne!(first.text(), second.text(), "{name}");
        }
    }
    let (hits, _) = hits_and_misses(&host, "counter").await;
    assert_eq!(hits, 0);
}

/// What has seen a credential, or changed its mind, never answers the rest.
#[tokio::test]
async fn an_instance_that_knows_a_secret_answers_nobody_else() {
    let host = Setup::new(&tables::guest("keeps", "keeps_the_last", "")).start().await;
    for (method, fields) in [("GET", &[("authorization", "Bearer secret")][..]), ("POST", &[("x-said", "secret")])] {
        let reply = host.client().send(with_fields(method, HOST, fields)).await;
        assert_eq!(reply.text(), "nobody", "what was said before");
        for _ in 0..5 {
            assert_eq!(get(&host, "", &[]).await.text(), "nobody", "after {method}");
        }
    }
}

#[tokio::test]
async fn vary_keeps_answers_apart() {
    let host = counter().await;
    let ask = async |value: &str| get(&host, "v?vary=x-side", &[("x-side", value)]).await.text().to_owned();
    let (left, right) = (ask("left").await, ask("right").await);
    assert_ne!(left, right);
    assert_eq!((ask("left").await, ask("right").await), (left, right));
    let any = async || get(&host, "w?vary=*", &[]).await.text().to_owned();
    assert_ne!(any().await, any().await);
}

/// A generation stands in for age only where nothing but branches was looked at.
#[tokio::test]
async fn a_clock_or_chance_leaves_age_in_charge() {
    let host = counter().await;
    for effect in ["clock", "random"] {
        let path = format!("{effect}?{effect}&max-age=0");
        let first = get(&host, &path, &[]).await;
        assert_ne!(first.text(), get(&host, &path, &[]).await.text(), "{effect}");
    }
    let host = counter().await;
    let first = get(&host, "x?max-age=0", &[]).await;
    assert_eq!(first.text(), get(&host, "x?max-age=0", &[]).await.text(), "fresh until the generation changes");
}

#[tokio::test]
async fn a_query_that_does_not_matter_is_not_part_of_the_question() {
    let setup = Setup::new(&tables::site("site"));
    setup.repository("site").commit("main", &[("index.html", "home")]);
    let host = setup.start().await;
    for query in ["", "?a", "?a=b&c", "?utm_source=x"] {
        assert_eq!(get(&host, query, &[]).await.brief(), (200, "home"));
    }
    assert_eq!(hits_and_misses(&host, "site").await, (3, 1));
}

#[tokio::test]
async fn a_changed_generation_forgets_at_once() {
    let host = counter().await;
    assert_eq!(get(&host, "", &[]).await.text(), "1");
    assert_eq!(get(&host, "", &[]).await.text(), "1");
    host.swap("counter", &fixture("counter_again")).await.done();
    assert_eq!(get(&host, "", &[]).await.text(), "again 1");
}

/// A hundred who ask for the same at once make one call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_misses_are_one_question() {
    let host = counter().await;
    let connection = host.client().connect("localhost", Protocol::Http2).await;
    let mut askers = Vec::new();
    for _ in 0..100 {
        let mut stream = connection.stream();
        askers.push(tokio::spawn(async move { stream.send(ask("GET", "https://localhost/slow?wait=200")).await }));
    }
    for asker in askers {
        assert_eq!(asker.await.unwrap().brief(), (200, "1"));
    }
}

/// A decision for one is never another's: whatever a router looks at, it is asked again where that differs.
#[tokio::test]
async fn a_decision_is_for_those_who_gave_the_same_answers() {
    // Each sends to `a` where the thing is `a`, else to `b`.
    type Row = (&'static str, &'static [(&'static str, &'static str)], &'static str, &'static str);
    let rows: &[Row] = &[
        ("router_by_cookie", &[("cookie", "side=a")], "/x", "a"),
        ("router_by_cookie", &[("cookie", "side=b")], "/x", "b"),
        ("router_by_cookie", &[], "/x", "b"),
        ("router_by_field", &[("x-side", "a")], "/x", "a"),
        ("router_by_field", &[], "/x", "b"),
        ("router_by_field", &[("x-side", "b"), ("x-side", "a")], "/x", "b"),
        ("router_by_query", &[], "/x?a", "a"),
        ("router_by_query", &[], "/x", "b"),
        ("router_by_method", &[], "/x", "b"),
    ];
    for router in ["router_by_cookie", "router_by_field", "router_by_query", "router_by_method"] {
        let manifest = [
            tables::guest("a", "version_a", ""),
            tables::guest("b", "version_b", ""),
            tables::guest("router", router, ""),
        ];
        let host = Setup::new(&manifest.concat()).start().await;
        for _ in 0..3 {
            for (_, fields, path, expected) in rows.iter().filter(|row| row.0 == router) {
                let reply = get(&host, &path[1..], fields).await;
                assert_eq!(reply.text(), *expected, "{router} {path} {fields:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_decision_by_address_is_for_that_address() {
    let manifest = [
        tables::guest("a", "version_a", ""),
        tables::guest("b", "version_b", ""),
        // To `a` for 127.0.0.1, else to `b`.
        tables::guest("router", "router_by_client", ""),
    ];
    let host = Setup::new(&manifest.concat()).start().await;
    for _ in 0..3 {
        for (address, expected) in [("127.0.0.1", "a"), ("127.0.0.2", "b")] {
            let client = host.client().connecting_from(address.parse().unwrap());
            assert_eq!(client.get(HOST).await.text(), expected, "{address}");
        }
    }
}

/// The same path under two names, out of two components.
#[tokio::test]
async fn an_answer_is_for_its_name_and_its_component() {
    let setup = Setup::new(&[tables::site("one"), tables::site("two"), tables::router()].concat());
    for name in ["one", "two"] {
        setup.repository(name).commit("main", &[("index.html", name)]);
    }
    let routes = [("one.test.toml", "upstream = \"one\"\n"), ("two.test.toml", "upstream = \"two\"\n")];
    setup.repository("routes").commit("main", &routes);
    let host = setup.start().await;
    for _ in 0..3 {
        for name in ["one", "two"] {
            assert_eq!(host.client().get(&format!("https://{name}.test/")).await.text(), name);
        }
    }
}

/// A guest that reads the authority gets its own answer for each.
#[tokio::test]
async fn an_answer_is_for_the_whole_target() {
    let host = Setup::new(&tables::guest("echo", "echoes_the_target", "")).start().await;
    for _ in 0..2 {
        for url in ["https://a.test/x", "https://b.test/x", "https://a.test/y", "https://a.test/x?q"] {
            assert_eq!(host.client().get(url).await.text(), url);
        }
    }
    let (hits, misses) = hits_and_misses(&host, "echo").await;
    assert_eq!((hits, misses), (4, 4));
}
