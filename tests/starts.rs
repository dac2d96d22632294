//! What a start serves when the manifest is another one than before: nothing that was fetched for somebody else, and what
//! today's manifest does not bear out with a word of it.

use std::fs;

use crate::support::{
    git::Repository,
    guests::{HELLO, changed, component, fixture},
    host::{Host, Setup},
    tables,
    upstream::{dead, whole},
    wait::{BUILT, SOON, until},
};

const NOT_FETCHED: (u16, &str) = (503, "503 Service Unavailable: this site has not been fetched yet\n");

/// Two projects that call a binding alike and share a state: what was fetched for the one is not shown by the other.
#[tokio::test]
async fn what_came_from_another_remote_is_not_served() {
    let site = |remote: &str| {
        let lines = remote
            .split_once('#')
            .map_or(format!("{remote}\""), |(path, name)| format!("{path}\"\nbranch = \"{name}\""));
        tables::site("site").replace("remote = \"site.git\"\nbranch = \"main\"", &format!("remote = \"{lines}"))
    };
    let setup = Setup::new(&site("site.git"));
    let repository = setup.repository("site");
    let one = repository.commit("main", &[("index.html", "one")]);
    Repository::bare(setup.path("empty.git"));
    setup.write("folder/index.html", "folder");
    let server = format!("git://{}/site.git", dead());
    let mut host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"));
    let origin = host.setup().path("site.git").display().to_string();
    assert_eq!(host.binding("site-pages").await["origin"], *origin);
    for (remote, expected) in [
        ("none/", NOT_FETCHED),
        (&*server, NOT_FETCHED),
        ("site.git#other", NOT_FETCHED),
        ("empty.git", NOT_FETCHED),
        ("folder", (200, "folder")),
    ] {
        let setup = host.terminate().await;
        setup.manifest(&site(remote));
        host = setup.start().await;
        assert_eq!(host.client().get("https://localhost/").await.brief(), expected, "{remote}");
        let word = format!("binding site-pages: what was fetched from {origin} is not served for another remote");
        assert!(host.setup().log().contains(&word), "{remote}: {}", host.setup().log());
        // Nor at the next start, and it is not lost: as long as nothing came from elsewhere, it is here.
        let setup = host.terminate().await;
        host = setup.start().await;
        assert_eq!(host.client().get("https://localhost/").await.brief(), expected, "{remote}, again");
        if expected.0 != 200 {
            let setup = host.terminate().await;
            let (there, away) = (setup.path("site.git"), setup.path("away.git"));
            fs::rename(&there, &away).unwrap();
            setup.manifest(&site("site.git"));
            host = setup.start().await;
            assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"), "{remote}, and back");
            assert_eq!(host.component("site").await["revisions"]["pages"], one);
            fs::rename(&away, &there).unwrap();
        }
    }
}

/// What was fetched of the new remote fails: at no start is the old one's shown in its place, whether a reload or a start
/// changed it. A reload alone, while it runs, goes on with what it has.
#[tokio::test]
async fn what_fails_is_not_replaced_by_anothers() {
    let site = |remote: &str| tables::site("site").replace("site.git", remote);
    for by_reload in [false, true] {
        let setup = Setup::new(&site("a.git"));
        setup.repository("a").commit("main", &[("index.html", "a")]);
        let b = setup.repository("b");
        b.commit("main", &[("index.html", "b"), ("_headers", "/a\n X-A b\n")]);
        let mut host = setup.start().await;
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "a"));
        if by_reload {
            host.setup().manifest(&site("b.git"));
            let said = host.reload().await.failed();
            assert!(said.contains("_headers:2: "), "{said}");
            assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "a"));
        }
        for start in 0..3 {
            let setup = host.terminate().await;
            setup.manifest(&site("b.git"));
            host = setup.start().await;
            let reply = host.client().get("https://localhost/").await;
            assert_eq!(reply.brief(), (503, "503 Service Unavailable\n"), "{by_reload} {start}");
            let error = host.component("site").await["error"].clone();
            assert!(error.as_str().is_some_and(|error| error.contains("_headers:2: ")), "{error}");
        }
        b.commit("main", &[("index.html", "b")]);
        until(SOON, "b", async || (host.client().get("https://localhost/").await.text() == "b").then_some(())).await;
    }
}

/// Whatever was proved is served at a start, for a start can't be refused; but where what it was proved by has gone, that is
/// told until it is put right.
#[tokio::test]
async fn what_todays_manifest_does_not_bear_out_is_told() {
    let upstream = crate::support::upstream::Upstream::start(crate::support::client::Protocol::Http1, |_| {
        http::Response::new(whole("app"))
    });
    let upstream = upstream.await;
    let guest = |name: &str| tables::guest(name, "hello", "");
    let rest = [guest("hello"), tables::router()].concat();
    let with_upstream = [tables::upstream("app", upstream.address()), rest.clone()].concat();
    let with_component = [guest("app"), rest.clone()].concat();
    let routes = [("a.test.toml", "upstream = \"app\"\n"), ("_.toml", "upstream = \"hello\"\n")];
    let wrong = "a.test.toml:1: no upstream `app` in the manifest";
    for before in [&with_upstream, &with_component] {
        let setup = Setup::new(before);
        setup.repository("routes").commit("main", &routes);
        let host = setup.start().await;
        assert_eq!(host.client().get("https://a.test/").await.status, 200);
        let setup = host.terminate().await;
        setup.manifest(&rest);
        let host = setup.start().await;
        // Of the other names nobody is the worse for it.
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
        let says = async |expected: bool| {
            let component = host.component("router").await;
            let error = component["error"].as_str().unwrap_or_default();
            assert_eq!(error.contains(wrong), expected, "{component}");
        };
        says(true).await;
        let log = host.setup().log();
        assert!(log.contains("proved before, but not by what the manifest says today"), "{log}");
        assert_eq!(log.matches(wrong).count(), 1, "{log}");
        let said = host.setup().shown(&host.reload().await.failed());
        let words = format!(": [component.router]: goes on serving what it did: {wrong}");
        assert!(
            said.contains(&words) && said.ends_with("host: the manifest was taken, but not all of it serves\n"),
            "{said}"
        );
        says(true).await;
        // What it sends requests to now is not taken from it.
        host.setup().manifest(&tables::router());
        let said = host.setup().shown(&host.reload().await.failed());
        assert!(said.contains(wrong) && said.ends_with("host: nothing was changed\n"), "{said}");
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
        host.setup().manifest(before);
        host.reload().await.done();
        until(SOON, "nothing wrong", async || host.component("router").await["error"].is_null().then_some(())).await;
        assert_eq!(host.client().get("https://a.test/").await.status, 200);
    }
}

/// Code that nobody needs any more goes with the next start, and what a kill left half written.
#[tokio::test]
async fn code_is_kept_for_what_serves() {
    let host = Setup::new(&tables::guest("hello", "hello", "")).start().await;
    host.swap("hello", &changed("hello", "Hello from a", "Hello from b")).await.done();
    let compiled = host.setup().state().join("compiled");
    let files = || fs::read_dir(&compiled).unwrap().map(|file| file.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(files().len(), 2);
    let setup = host.kill().await;
    fs::write(compiled.join(".half.1"), "half").unwrap();
    // A swap ends with the host: the manifest's file serves.
    let host = setup.start().await;
    until(SOON, "one file is left", async || (files().len() == 1).then_some(())).await;
    let digest = host.component("hello").await["digest"].as_str().unwrap().to_owned();
    assert!(files()[0].to_str().unwrap().starts_with(&digest), "{:?}", files());
}

/// What a router would say of no routes lets everybody in everywhere: as long as nothing is known of them, nobody is. Nor
/// where the first that come are broken.
#[tokio::test]
async fn a_router_decides_nothing_before_its_routes_are_known() {
    const NOT_YET: (u16, &str) = (503, "503 Service Unavailable\n");
    let setup = Setup::new(&[tables::site("site"), tables::router()].concat());
    setup.repository("site").commit("main", &[("index.html", "all"), ("admin/index.html", "secret")]);
    let mut host = setup.start().await;
    for path in ["/", "/admin/"] {
        let reply = host.client().get(&format!("https://localhost{path}")).await;
        assert_eq!((reply.brief(), reply.field("retry-after")), (NOT_YET, Some("1")), "{path}");
    }
    // There with its first commit: one without any would say that there are no routes.
    host.setup().repository("made").commit("main", &[("localhost.toml", "upstrem = 1\n")]);
    let there = host.setup().path("routes.git");
    fs::rename(host.setup().path("made.git"), &there).unwrap();
    let routes = Repository::open(there);
    for _ in 0..2 {
        until(SOON, "why not", async || {
            assert_eq!(host.client().get("https://localhost/admin/").await.brief(), NOT_YET);
            host.component("router").await["error"]
                .as_str()
                .filter(|error| error.contains("localhost.toml:1"))
                .map(drop)
        })
        .await;
        assert_eq!(host.client().get("https://localhost/admin/").await.brief(), NOT_YET);
        host = host.kill().await.start().await;
    }
    let route = "upstream = \"site\"\n[[path]]\nprefix = \"/admin\"\nrefuse = 403\n";
    routes.commit("main", &[("localhost.toml", route)]);
    until(SOON, "the routes", async || {
        let status = host.client().get("https://localhost/admin/").await.status;
        assert!(status == 503 || status == 403, "{status}");
        (status == 403).then_some(())
    })
    .await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "all"));
    // They are known from now on, wherever they are.
    let setup = host.kill().await;
    fs::remove_dir_all(setup.path("routes.git")).unwrap();
    let host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/admin/").await.status, 403);
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "all"));
}

/// What is known of the routes is known over a kill, when they are nowhere to be had.
async fn goes_on_without_its_routes(host: Host) {
    let setup = host.kill().await;
    fs::remove_dir_all(setup.path("routes.git")).unwrap();
    let host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
}

/// That there are none is known once it is said, whatever was tried before; and it stays known.
#[tokio::test]
async fn routes_that_are_said_to_be_none_are_known_after_a_reload() {
    let manifest = [tables::guest("hello", "hello", ""), tables::router()].concat();
    let setup = Setup::new(&manifest.replace("routes.git", "rotues.git"));
    let host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/").await.status, 503);
    host.setup().repository("routes");
    host.setup().manifest(&manifest);
    host.reload().await.done();
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
    goes_on_without_its_routes(host).await;
}

/// So it does where it is heard while the router waits for it.
#[tokio::test]
async fn routes_that_are_none_are_known_when_their_repository_is_made() {
    let setup = Setup::new(&[tables::guest("hello", "hello", ""), tables::router()].concat());
    let host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/").await.status, 503);
    host.setup().repository("routes");
    let hello = async |host: &Host| {
        let answer = async || {
            let reply = host.client().get("https://localhost/").await;
            assert!(reply.status == 200 || reply.status == 503, "{}", reply.status);
            (reply.brief() == (200, HELLO)).then_some(())
        };
        until(SOON, "the answer", answer).await;
    };
    hello(&host).await;
    goes_on_without_its_routes(host).await;
}

/// Routes that are known to be none: every name goes to the one service there is.
#[tokio::test]
async fn a_branch_that_is_known_to_be_empty_is_known() {
    let setup = Setup::new(&[tables::guest("hello", "hello", ""), tables::router()].concat());
    setup.repository("routes");
    let host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
    // By what was said before, too.
    goes_on_without_its_routes(host).await;
}

/// A head that is lost is no news where what was proved by it is there.
#[tokio::test]
async fn what_was_proved_serves_where_its_head_is_lost() {
    let setup = Setup::new(&[tables::site("site"), tables::router()].concat());
    setup.repository("site").commit("main", &[("index.html", "one")]);
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"site\"\n")]);
    let host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"));
    let mut setup = host.terminate().await;
    for (ours, theirs) in [("site-pages", "site"), ("routes", "routes")] {
        // As a power cut leaves what was not synced.
        fs::write(setup.state().join(format!("git/{ours}.git/refs/heads/served")), "").unwrap();
        fs::remove_dir_all(setup.path(&format!("{theirs}.git"))).unwrap();
    }
    for _ in 0..2 {
        let host = setup.start().await;
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"));
        setup = host.kill().await;
    }
}

/// By today's table, as far as that goes.
#[tokio::test]
async fn what_was_proved_serves_by_a_new_table_where_todays_head_does_not() {
    let table = |word: &str| {
        let lines =
            format!("git = {{ pages = \"read\" }}\nprobe = \"/read?path=index.html\"\nenv = {{ WORD = \"{word}\" }}\n");
        let app = tables::guest("app", "mischief", &lines);
        format!("[git.pages]\nremote = \"pages.git\"\nbranch = \"main\"\n{app}")
    };
    let setup = Setup::new(&table("one"));
    let pages = setup.repository("pages");
    let good = pages.commit("main", &[("index.html", "x")]);
    let host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/env").await.brief(), (200, "WORD=one\n"));
    let setup = host.terminate().await;
    pages.commit("main", &[("other.html", "x")]);
    setup.manifest(&table("two"));
    let host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/env").await.brief(), (200, "WORD=two\n"));
    let app = host.component("app").await;
    assert_eq!(app["revisions"]["pages"], good);
    assert!(app["error"].as_str().is_some_and(|error| error.starts_with("probe /read?path=index.html: ")), "{app}");
}

/// A grant that is taken away while the host is down is a mistake of the manifest, whatever was proved before; a new file that
/// lacks one waits, and what was proved serves.
#[tokio::test]
async fn a_start_without_a_grant() {
    let site = tables::site("site");
    let setup = Setup::new(&site);
    setup.repository("site").commit("main", &[("index.html", "home")]);
    let mut setup = setup.start().await.terminate().await;
    let (without, _) = site.split_once("git = { pages").unwrap();
    setup.manifest(without);
    let said = setup.refuses().await.failed();
    let words = "host.toml:4: [component.site]: imports atoll:host/repository@0.1.0, which is not granted; add to \
                 [component.site]: git = { NAME = \"read\" }, NAME being a [git.NAME] of the manifest\n";
    assert!(setup.shown(&said).contains(words), "{said}");
    setup = Setup::new("[component.app]\npath = \"app.wasm\"\n");
    setup.place("app.wasm", &fixture("hello"));
    setup = setup.start().await.terminate().await;
    setup.place("app.wasm", &component("site"));
    let host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
    let error = host.component("app").await["error"].clone();
    assert!(error.as_str().is_some_and(|error| error.contains("which is not granted")), "{error}");
}

/// What is asked for while it starts is done when it has.
#[tokio::test]
async fn a_reload_that_is_asked_for_during_a_start_is_done_after_it() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let manifest = |word: &str| {
        let env = format!("env = {{ WORD = \"{word}\" }}\n");
        let git = format!("[git.silent]\nremote = \"git://{}/x.git\"\n", silent.local_addr().unwrap());
        [tables::mischief("app", &env), git].concat()
    };
    let setup = Setup::new(&manifest("one"));
    let mut child = setup.spawn();
    let socket = setup.state().join("control.sock");
    // It has read the manifest, and waits for the remote.
    until(BUILT, "the control socket", async || socket.exists().then_some(())).await;
    setup.manifest(&manifest("two"));
    let id = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::HUP).unwrap();
    until(BUILT, "a reload", async || setup.log().contains("\nreloaded\n").then_some(())).await;
    let log = setup.log();
    let at = |words: &str| log.rfind(words).unwrap();
    assert!(at("\nready") < at("\napp: serves ") && at("\napp: serves ") < at("\nreloaded\n"), "{log}");
    child.kill().await.unwrap();
}
