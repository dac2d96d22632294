//! Remembered answers: what is asked again is not worked out again, nobody gets what was another's, and what has changed is
//! gone at once.

use crate::support::{
    ca::Ca,
    client::{BOTH, Client, Protocol, Reply, ask, with_fields},
    guests::{changed, component},
    host::{Host, Setup},
    tables,
};

/// The fixture answers here with how many requests its instance has had, and may be remembered.
const COUNT: &str = "/count?f=cache-control:public,max-age=60";

async fn mischief() -> Host {
    Setup::new(&tables::mischief("mischief", "")).start().await
}

async fn hits_and_misses(host: &Host, component: &str) -> (u64, u64) {
    let component = host.component(component).await;
    (component["hits"].as_u64().unwrap(), component["misses"].as_u64().unwrap())
}

async fn get(host: &Host, path: &str, fields: &[(&str, &str)]) -> Reply {
    host.client().send(with_fields("GET", &format!("https://localhost{path}"), fields)).await
}

#[tokio::test]
async fn an_answer_is_worked_out_once() {
    let host = mischief().await;
    for protocol in BOTH {
        for _ in 0..3 {
            let reply = host.client().send_over(protocol, ask("GET", &format!("https://localhost{COUNT}"))).await;
            assert_eq!(reply.brief(), (200, "1\n"));
        }
    }
    let head = host.client().send(ask("HEAD", &format!("https://localhost{COUNT}"))).await;
    assert_eq!((head.brief(), head.field("content-length")), ((200, ""), Some("2")));
    assert_eq!(hits_and_misses(&host, "mischief").await, (6, 1));
    assert_eq!(get(&host, "/count", &[]).await.text(), "2\n");
    let lines = host.accessed(8).await;
    let remembered: Vec<_> = lines.iter().map(|line| line["remembered"] == true).collect();
    assert_eq!(remembered, [false, true, true, true, true, true, true, false]);
}

#[tokio::test]
async fn what_may_not_be_shared_is_not_remembered() {
    let host = mischief().await;
    for (name, path, fields) in [
        ("private", "/count?f=cache-control:private,max-age=60", &[][..]),
        ("nothing is said", "/count", &[]),
        ("a cookie is set", "/count?f=cache-control:public,max-age=60&f=set-cookie:a=b", &[]),
        ("no-store", "/count?f=cache-control:public,no-store", &[]),
        ("an error", "/count?status=500&f=cache-control:public,max-age=60", &[]),
        ("a credential", COUNT, &[("authorization", "Basic eDp5")]),
    ] {
        let first = get(&host, path, fields).await;
        let second = get(&host, path, fields).await;
        if name == "a credential" {
            // Each has an instance of its own.
            assert_eq!((first.text(), second.text()), ("1\n", "1\n"));
        } else {
            assert_ne!(first.text(), second.text(), "{name}");
        }
    }
    assert_eq!(hits_and_misses(&host, "mischief").await.0, 0);
}

/// What has seen a credential, or may have changed its mind, never answers the rest.
#[tokio::test]
async fn an_instance_that_knows_a_secret_answers_nobody_else() {
    let host = mischief().await;
    assert_eq!(get(&host, "/count", &[]).await.text(), "1\n");
    for (method, fields) in [("GET", &[("authorization", "Bearer secret")][..]), ("POST", &[])] {
        let reply = host.client().send(with_fields(method, "https://localhost/count", fields)).await;
        assert_eq!(reply.text(), "1\n", "{method}: an instance that has had no other request");
    }
    assert_eq!(get(&host, "/count", &[]).await.text(), "2\n", "the one that the others share");
}

#[tokio::test]
async fn vary_keeps_answers_apart() {
    let host = mischief().await;
    let path = format!("{COUNT}&f=vary:x-side");
    let side = async |value: &str| get(&host, &path, &[("x-side", value)]).await.text().to_owned();
    let (left, right) = (side("left").await, side("right").await);
    assert_ne!(left, right);
    assert_eq!((side("left").await, side("right").await), (left, right));
    let path = format!("{COUNT}&f=vary:*");
    let any = async || get(&host, &path, &[]).await.text().to_owned();
    assert_ne!(any().await, any().await);
}

/// A generation stands in for age where nothing but branches was looked at, and only there.
#[tokio::test]
async fn a_clock_or_chance_leaves_age_in_charge() {
    let stale = "f=cache-control:public,max-age=0";
    let host = mischief().await;
    let count = format!("/count?{stale}");
    let first = get(&host, &count, &[]).await;
    assert_eq!(first.text(), get(&host, &count, &[]).await.text(), "fresh until the generation changes");
    let host = mischief().await;
    for path in ["/clock", "/random"] {
        let path = format!("{path}?{stale}");
        let first = get(&host, &path, &[]).await;
        assert_ne!(first.text(), get(&host, &path, &[]).await.text(), "{path}");
    }
    // What every hash map asks for says nothing of the world.
    let seed = format!("/seed?{stale}");
    let quiet = mischief().await;
    assert_eq!(get(&quiet, &seed, &[]).await.text(), get(&quiet, &seed, &[]).await.text());
    // Once it has looked, all that the instance says may depend on it.
    let first = get(&host, &count, &[]).await;
    assert_ne!(first.text(), get(&host, &count, &[]).await.text(), "from an instance that was marked");
}

#[tokio::test]
async fn a_query_that_does_not_matter_is_not_part_of_the_question() {
    let setup = Setup::new(&tables::site("site"));
    setup.repository("site").commit("main", &[("index.html", "home")]);
    let host = setup.start().await;
    for query in ["", "?a", "?a=b&c", "?utm_source=x"] {
        assert_eq!(get(&host, &format!("/{query}"), &[]).await.brief(), (200, "home"));
    }
    assert_eq!(hits_and_misses(&host, "site").await, (3, 1));
}

#[tokio::test]
async fn a_changed_generation_forgets_at_once() {
    let host = mischief().await;
    let path = "/respond?body=x&f=cache-control:public,max-age=60";
    for _ in 0..2 {
        assert_eq!(get(&host, path, &[]).await.text(), "x");
    }
    let (hits, misses) = hits_and_misses(&host, "mischief").await;
    host.swap("mischief", &changed("mischief", "the letter is a", "the letter is b")).await.done();
    assert_eq!(get(&host, path, &[]).await.text(), "x");
    assert_eq!(hits_and_misses(&host, "mischief").await, (hits, misses + 1));
}

/// A hundred who ask for the same at once make one call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_misses_are_one_question() {
    let host = mischief().await;
    let connection = host.client().connect("localhost", Protocol::Http2).await;
    let mut askers = Vec::new();
    for _ in 0..100 {
        let mut stream = connection.stream();
        let url = "https://localhost/sleep?ms=300&f=cache-control:public,max-age=60";
        askers.push(tokio::spawn(async move { stream.send(ask("GET", url)).await }));
    }
    for asker in askers {
        assert_eq!(asker.await.unwrap().brief(), (200, "1\n"));
    }
    assert_eq!(host.component("mischief").await["requests"], 1);
}

/// A guest's own 206, 304 or 412 is not ours to change.
#[tokio::test]
async fn a_guests_own_conditions_pass_untouched() {
    let host = mischief().await;
    for (status, fields) in [
        (206, "f=content-range:bytes+0-0/9&f=etag:%22own%22"),
        (304, "f=etag:%22own%22"),
        (412, "f=etag:%22own%22"),
        (416, "f=content-range:bytes+*/9"),
    ] {
        let request = [("range", "bytes=5-6"), ("if-none-match", "\"own\"")];
        let reply = get(&host, &format!("/respond?body=x&status={status}&{fields}"), &request).await;
        let (range, etag) = (reply.field("content-range"), reply.field("etag"));
        let expected = match status {
            206 => ("x", Some("bytes 0-0/9"), Some("\"own\"")),
            304 => ("", None, Some("\"own\"")),
            412 => ("x", None, Some("\"own\"")),
            _ => ("x", Some("bytes */9"), None),
        };
        assert_eq!((reply.status.as_u16(), (reply.text(), range, etag)), (status, expected));
    }
}

/// A router and a guest that says what it was told, with a certificate for all of `*.all.test`.
async fn deciding() -> (Host, Client) {
    let setup = Setup::new(
        &[
            "[[certificate]]\nchain = \"all.pem\"\nkey = \"all.key\"\n",
            &tables::mischief("mischief", ""),
            &tables::guest(
                "router",
                "router_mischief",
                "git = { routes = \"read\" }\n[git.routes]\nremote = \"routes.git\"\n",
            ),
        ]
        .concat(),
    );
    setup.repository("routes").commit("main", &[("x", "y")]);
    let ca = Ca::new("test");
    ca.issue(&["*.all.test"]).write(&setup.path(""), "all");
    let host = setup.start().await;
    let client = Client::new(host.https(), ca.pem());
    (host, client)
}

/// What the router decided by, as the guest was told.
fn decided(reply: &Reply) -> &str {
    let line = reply.text().lines().find_map(|line| line.strip_prefix("x-decided: "));
    line.unwrap_or_else(|| panic!("nothing was decided: {reply:?}"))
}

/// A decision for one is never another's: whatever a router looks at, it is asked again where that differs.
#[tokio::test]
async fn a_decision_is_for_those_who_gave_the_same_answers() {
    let (_host, client) = deciding().await;
    // Every row twice over, so that the second time all of them are remembered.
    for turn in 0..2 {
        for (method, url, fields, expected) in [
            ("GET", "https://cookie.all.test/head", &[("cookie", "side=a")][..], "side=a"),
            ("GET", "https://cookie.all.test/head", &[("cookie", "side=b")], "side=b"),
            ("GET", "https://cookie.all.test/head", &[], ""),
            ("GET", "https://field.all.test/head", &[("x-color", "red")], "red"),
            ("GET", "https://field.all.test/head", &[("x-color", "blue")], "blue"),
            ("GET", "https://field.all.test/head", &[("x-other", "red")], ""),
            ("GET", "https://query.all.test/head?a", &[], "a"),
            ("GET", "https://query.all.test/head?b", &[], "b"),
            ("GET", "https://query.all.test/head", &[], "none"),
            ("GET", "https://method.all.test/head", &[], "GET"),
            ("DELETE", "https://method.all.test/head", &[], "DELETE"),
            ("GET", "https://path.all.test/head", &[], "/head"),
            ("GET", "https://under.all.test/head", &[], "public"),
            ("GET", "https://nothing.all.test/head", &[("x-color", "red")], ""),
            ("GET", "https://scheme.all.test/head", &[], "https"),
        ] {
            let reply = client.send(with_fields(method, url, fields)).await;
            assert_eq!(decided(&reply), expected, "{turn}: {method} {url} {fields:?}");
        }
    }
}

/// Nor is an answer that may be remembered.
#[tokio::test]
async fn an_answer_is_for_those_whom_it_was_decided_for() {
    let (host, client) = deciding().await;
    for turn in 0..2 {
        for (name, field, address, expected) in [
            ("cookie", ("cookie", "side=a"), "127.0.0.1", "side=a"),
            ("cookie", ("cookie", "side=b"), "127.0.0.1", "side=b"),
            ("field", ("x-color", "red"), "127.0.0.1", "red"),
            ("field", ("x-color", "blue"), "127.0.0.1", "blue"),
            ("client", ("x-color", "red"), "127.0.0.1", "127.0.0.1"),
            ("client", ("x-color", "red"), "127.0.0.2", "127.0.0.2"),
        ] {
            let client = client.clone().connecting_from(address.parse().unwrap());
            let url = format!("https://{name}.all.test/head?f=cache-control:public,max-age=60");
            let reply = client.send(with_fields("GET", &url, &[field])).await;
            assert_eq!(decided(&reply), expected, "{turn}: {name} {field:?} {address}");
        }
    }
    assert_eq!(hits_and_misses(&host, "mischief").await, (6, 6));
}

#[tokio::test]
async fn a_decision_by_address_is_for_that_address() {
    let (_host, client) = deciding().await;
    for _ in 0..2 {
        for address in ["127.0.0.1", "127.0.0.2"] {
            let client = client.clone().connecting_from(address.parse().unwrap());
            let reply = client.send(ask("GET", "https://client.all.test/head")).await;
            assert_eq!(decided(&reply), address);
        }
    }
}

/// A router's clock stands still at its branches' newest commit, and its chance is the same each time.
#[tokio::test]
async fn a_router_has_no_clock_and_no_chance() {
    let (_host, client) = deciding().await;
    for (name, first) in [("clock", None), ("random", None), ("sleep", Some("slept")), ("environment", Some("0"))] {
        let mut seen = Vec::new();
        for path in ["/head", "/head?a", "/head?b"] {
            let reply = client.get(&format!("https://{name}.all.test{path}")).await;
            seen.push(decided(&reply).to_owned());
        }
        assert!(seen.iter().all(|each| each == &seen[0]), "{name}: {seen:?}");
        assert!(first.is_none_or(|first| seen[0] == first), "{name}: {seen:?}");
    }
}

/// Each question is put to an instance that has seen none: what it was asked before can't matter.
#[tokio::test]
async fn a_router_remembers_nothing() {
    let (_host, client) = deciding().await;
    for path in ["/head?a", "/head?b", "/head?c"] {
        let reply = client.get(&format!("https://count.all.test{path}")).await;
        assert_eq!(decided(&reply), "1 1", "{path}");
    }
}

/// The same path under two names, out of two components, and where the router itself is who answers.
#[tokio::test]
async fn an_answer_is_for_its_name_and_its_component() {
    let setup = Setup::new(&[tables::site("one"), tables::site("two"), tables::router()].concat());
    for name in ["one", "two"] {
        setup.repository(name).commit("main", &[("index.html", name)]);
    }
    let routes = [
        ("one.test.toml", "upstream = \"one\"\n"),
        ("two.test.toml", "upstream = \"two\"\n"),
        ("sent.test.toml", "redirect = { to = \"https://one.test/\" }\n"),
    ];
    setup.repository("routes").commit("main", &routes);
    let host = setup.start().await;
    for _ in 0..3 {
        for name in ["one", "two"] {
            assert_eq!(host.client().get(&format!("https://{name}.test/")).await.brief(), (200, name));
        }
        let sent = host.client().get("https://sent.test/").await;
        assert_eq!((sent.status.as_u16(), sent.field("location")), (308, Some("https://one.test/")));
    }
}

/// A guest that looks at the target gets to answer for each.
#[tokio::test]
async fn an_answer_is_for_the_whole_target() {
    let host = mischief().await;
    let public = "f=cache-control:public,max-age=60";
    for turn in 0..2 {
        for (url, authority, target) in [
            (format!("https://a.test/head?{public}"), "a.test", format!("/head?{public}")),
            (format!("https://b.test/head?{public}"), "b.test", format!("/head?{public}")),
            (format!("https://a.test/head?{public}&q"), "a.test", format!("/head?{public}&q")),
        ] {
            let reply = host.client().get(&url).await;
            assert!(reply.text().contains(&format!("authority: {authority}\n")), "{turn} {url}: {}", reply.text());
            assert!(reply.text().contains(&format!(" {target}\n")), "{turn} {url}: {}", reply.text());
        }
    }
    assert_eq!(hits_and_misses(&host, "mischief").await, (3, 3));
}

/// A component in two tables is two components.
#[tokio::test]
async fn one_file_serves_two_tables() {
    let setup = Setup::new(&[tables::site("one"), tables::site("two"), tables::router()].concat());
    setup.repository("one").commit("main", &[("index.html", "one")]);
    setup.repository("two").commit("main", &[("index.html", "two")]);
    let routes =
        [("a.test.toml", "upstream = \"one\"\n[[path]]\nprefix = \"/two\"\nupstream = \"two\"\nstrip = true\n")];
    setup.repository("routes").commit("main", &routes);
    let host = setup.start().await;
    assert_eq!(host.client().get("https://a.test/").await.text(), "one");
    assert_eq!(host.client().get("https://a.test/two/").await.text(), "two");
    let log = host.setup().log();
    assert!(!log.contains("will not after a restart"), "{log}");
    let ps = host.ps().await;
    let digests: Vec<_> =
        ps["components"].as_array().unwrap().iter().filter(|each| each["role"] == "service").collect();
    assert_eq!(digests[0]["digest"], digests[1]["digest"], "{}", component("site").display());
}
