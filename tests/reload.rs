//! Reading the manifest again: one transaction, that loses nothing, and says what it changed and what it could not.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{
    client::{Client, Protocol, ask},
    guests::HELLO,
    host::Setup,
    tables,
    wait::{SOON, until},
};

#[tokio::test]
async fn a_reload_takes_effect_and_loses_nothing() {
    let env = |word: &str| tables::mischief("app", &format!("env = {{ WORD = \"{word}\" }}\n"));
    let host = Setup::new(&env("one")).start().await;
    let mut connection = host.client().connect("localhost", Protocol::Http1).await;
    let mut said = async || {
        let reply = connection.send(ask("GET", "https://localhost/env")).await;
        (reply.status.as_u16(), reply.text().to_owned())
    };
    assert_eq!(said().await, (200, "WORD=one\n".to_owned()));
    host.setup().manifest(&env("two"));
    host.reload().await.done();
    assert_eq!(said().await, (200, "WORD=two\n".to_owned()));
    host.setup().manifest(&env("three"));
    host.signal(Signal::HUP);
    until(SOON, "the third word", async || (said().await.1 == "WORD=three\n").then_some(())).await;
}

/// What a component may use is read anew, too.
#[tokio::test]
async fn a_reload_changes_limits() {
    let table = |memory: &str| tables::mischief("app", &format!("memory = \"{memory}\"\n"));
    let host = Setup::new(&table("16MiB")).start().await;
    assert_eq!(host.client().get("https://localhost/memory?mb=32").await.status, 502);
    host.setup().manifest(&table("64MiB"));
    host.reload().await.done();
    assert_eq!(host.client().get("https://localhost/memory?mb=32").await.brief(), (200, "32 MiB\n"));
}

/// One transaction: a listener that can't be bound, or one generation that is not proved, and nothing has changed.
#[tokio::test]
async fn a_reload_is_all_or_nothing() {
    let host = Setup::new(&tables::mischief("app", "env = { WORD = \"one\" }\n")).start().await;
    let changed = tables::mischief("app", "env = { WORD = \"two\" }\n");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (lines, expected) in [
        (
            format!("[listen]\nhttps = [\"127.0.0.1:0\", \"{address}\"]\n{changed}"),
            format!("host.toml:1: can't listen on {address}: Address already in use (os error 98)"),
        ),
        (format!("{changed}{}", tables::guest("bad", "invalid", "")), "index.html:3: the first problem".to_owned()),
        (format!("{changed}{}", tables::guest("bad", "trap_at_start", "")), "trapped at its start: ".to_owned()),
    ] {
        host.setup().manifest(&lines);
        let said = host.reload().await.failed();
        assert!(said.contains(&expected), "{said}");
        host.logged(&expected).await;
        assert!(host.ps().await["error"].as_str().is_some_and(|error| error.contains(&expected)));
        assert_eq!(host.client().get("https://localhost/env").await.brief(), (200, "WORD=one\n"));
    }
    host.setup().manifest(&changed);
    assert_eq!(host.reload().await.done(), "app\n");
    assert!(host.ps().await["error"].is_null());
}

/// What was a pipe at the start, or has become one, would hold whoever opens it.
#[tokio::test]
async fn a_manifest_that_does_not_come_holds_nobody() {
    let host = Setup::new(&tables::guest("hello", "hello", "")).start().await;
    let path = host.setup().path("host.toml");
    let manifest = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let words = "host.toml is not a file, and can't be read again";
    assert_eq!(host.setup().shown(&host.reload().await.failed()), format!("{words}\nhost: nothing was changed\n"));
    host.signal(Signal::HUP);
    until(SOON, "it is said again", async || (host.setup().log().matches(words).count() == 2).then_some(())).await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
    // A file of another kind, in a table.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, [&manifest[..], b"[component.other]\npath = \"pipe.wasm\"\n"].concat()).unwrap();
    let pipe = host.setup().path("pipe.wasm");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let said = host.reload().await.failed();
    assert!(said.contains("`pipe.wasm` is not a file") || said.contains("pipe.wasm` is not a file"), "{said}");
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
    std::fs::write(&path, manifest).unwrap();
    host.reload().await.done();
    host.terminate().await;
}

/// A branch that nobody can fetch is no reason to serve no more: what serves goes on, and what would read it is not taken.
#[tokio::test]
async fn a_branch_that_is_not_there_changes_nothing() {
    let (site, router) = (tables::site("site"), tables::router());
    let setup = Setup::new(&[&*site, &router].concat());
    setup.repository("site").commit("main", &[("index.html", "one")]);
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"site\"\n")]);
    let host = setup.start().await;
    let gone = "[git.gone]\nremote = \"gone.git\"\n";
    let from = |table: &str, name: &str| {
        table.replacen("git = { ", &format!("git = {{ {name} = {{ from = \"gone\", mode = \"read\" }}, "), 1)
    };
    for (reader, manifest) in [
        ("router", [&*site, &from(&router, "more"), gone].concat()),
        (
            "router",
            [
                &*site,
                &router.replace("{ routes = \"read\" }", "{ routes = { from = \"gone\", mode = \"read\" } }"),
                gone,
            ]
            .concat(),
        ),
        ("site", [&*site.replace("from = \"site-pages\"", "from = \"gone\""), &router, gone].concat()),
    ] {
        host.setup().manifest(&manifest);
        let said = host.setup().shown(&host.reload().await.failed());
        let words = format!(
            "[git.gone]: can't be fetched, and {reader} is to read it: gone.git: there is nothing here; create it, or name \
             another remote\nhost: nothing was changed\n"
        );
        assert!(said.ends_with(&words), "{said}");
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"));
    }
    // Nor is what has no commit in place of what has one.
    host.setup().repository("none");
    let none = "[git.none]\nremote = \"none.git\"\n";
    for (reader, manifest) in [
        ("site", [&*site.replace("from = \"site-pages\"", "from = \"none\""), &router, none].concat()),
        (
            "router",
            [
                &*site,
                &router.replace("{ routes = \"read\" }", "{ routes = { from = \"none\", mode = \"read\" } }"),
                none,
            ]
            .concat(),
        ),
        // By another name it is the same.
        (
            "gate",
            [
                &*site,
                &router
                    .replace("[component.router]", "[component.gate]")
                    .replace("{ routes = \"read\" }", "{ routes = { from = \"none\", mode = \"read\" } }"),
                none,
            ]
            .concat(),
        ),
    ] {
        host.setup().manifest(&manifest);
        let said = host.setup().shown(&host.reload().await.failed());
        let words = format!(
            "[git.none]: has no commit yet, and {reader} is to read it in place of one that has: push to it first\n\
             host: nothing was changed\n"
        );
        assert!(said.ends_with(&words), "{said}");
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"));
    }
    // What is new may wait for its own.
    let other = tables::site("other").replace("other.git", "gone.git");
    host.setup().manifest(&[&*site, &router, &other].concat());
    host.reload().await.done();
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"));
}

/// What came from the former remote is not for who begins to read it: neither by the reload that says another one, nor by a
/// later one, until that is fetched.
#[tokio::test]
async fn what_came_from_another_remote_is_for_nobody_new() {
    let (site, router) = (tables::site("site"), tables::router());
    let setup = Setup::new(&[&*site, &router].concat());
    setup.repository("site").commit("main", &[("index.html", "one")]);
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"site\"\n")]);
    let host = setup.start().await;
    let elsewhere = site.replace("site.git", "else.git");
    let other = tables::site("other").replace("from = \"other-pages\"", "from = \"site-pages\"");
    let both = [&*elsewhere, &router, &other].concat();
    host.setup().manifest(&both);
    let said = host.setup().shown(&host.reload().await.failed());
    let words = "[git.site-pages]: has another remote now: reload with that alone, before other is to read it\n";
    assert!(said.contains(words), "{said}");
    host.setup().manifest(&[&*elsewhere, &router].concat());
    host.reload().await.done();
    host.setup().manifest(&both);
    let said = host.setup().shown(&host.reload().await.failed());
    let words = "[git.site-pages]: what is here came from another remote, and other is to read it: else.git: there is nothing \
                 here; create it, or name another remote\n";
    assert!(said.contains(words), "{said}");
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"));
    host.setup().repository("else").commit("main", &[("index.html", "two")]);
    host.reload().await.done();
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "two"));
    // It is the same remote however often it is looked at.
    let third = tables::site("third").replace("from = \"other-pages\"", "from = \"site-pages\"");
    let polled = elsewhere.replace("else.git\"", "else.git\"\npoll = \"30s\"");
    host.setup().manifest(&[&*polled, &router, &third].concat());
    host.reload().await.done();
    // Who is to write begins a branch that is not there.
    let written = "[git.out]\nremote = \"else.git\"\nbranch = \"built\"\n";
    let writes = polled.replacen("git = { ", "git = { out = \"write\", ", 1);
    host.setup().manifest(&[&*writes, &router, &third, written].concat());
    host.reload().await.done();
    host.setup().manifest(&[&*writes.replace("out = \"write\"", "out = \"read\""), &router, &third, written].concat());
    host.reload().await.done();
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "two"));
}

/// What was proved during a reload that then failed is written down with all that it was proved with.
#[tokio::test]
async fn what_is_pushed_during_a_reload_that_fails_is_kept() {
    let site = tables::site("site");
    let setup = Setup::new(&site);
    let pages = setup.repository("site");
    pages.commit("main", &[("index.html", "one")]);
    let host = setup.start().await;
    // By another name, and with something that takes its time to fail.
    let slow = tables::mischief("slow", "probe = \"/sleep?ms=60000\"\ntimeout = \"3s\"\n");
    host.setup().manifest(&[&*site.replace("site-pages", "www"), &slow].concat());
    let (outcome, ()) = tokio::join!(host.reload(), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        pages.commit("main", &[("index.html", "two")]);
        until(SOON, "two", async || (host.client().get("https://localhost/").await.text() == "two").then_some(()))
            .await;
    });
    assert!(outcome.failed().contains("nothing was changed"));
    host.setup().manifest(&site);
    let two = host.component("site").await["revisions"]["pages"].clone();
    pages.commit("main", &[("index.html", "three"), ("_redirects", "/a /b 999\n")]);
    host.logged("_redirects:1: ").await;
    let host = host.kill().await.start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "two"));
    assert_eq!(host.component("site").await["revisions"]["pages"], two);
}

/// What is pushed while a proof of a start or of a reload goes on is not what was proved then; it comes after it.
#[tokio::test]
async fn what_is_pushed_during_a_start_or_a_reload_serves_after_it() {
    let slow = |name: &str| {
        let git = "git = { pages = { from = \"site-pages\", mode = \"read\" } }";
        tables::guest(name, "invalid", &format!("{git}\nenv = {{ SLEEP = \"1000\" }}\n"))
    };
    let setup = Setup::new(&[tables::site("site"), slow("first")].concat());
    let site = setup.repository("site");
    site.commit("main", &[("index.html", "one")]);
    let pushed = async |text: &str| {
        // Late enough that the head was read, and before the proof has ended.
        tokio::time::sleep(Duration::from_millis(600)).await;
        site.change("main", &[("index.html", text)])
    };
    let (host, second) = tokio::join!(setup.start(), pushed("second"));
    let serves = async |component: &str, revision: &str| {
        until(SOON, "the newest revision", async || {
            (host.component(component).await["revisions"]["pages"] == revision).then_some(())
        })
        .await;
    };
    serves("first", &second).await;
    serves("site", &second).await;
    host.setup().manifest(&[tables::site("site"), slow("first"), slow("second")].concat());
    let (reloaded, third) = tokio::join!(host.reload(), pushed("third"));
    reloaded.done();
    for component in ["site", "first", "second"] {
        serves(component, &third).await;
    }
    let ps = host.ps().await;
    assert!(ps["components"].as_array().unwrap().iter().all(|each| each["error"].is_null()), "{ps}");
}

/// What was taken, and does not serve what it names.
#[tokio::test]
async fn a_reload_says_what_it_could_not_fetch_or_prove() {
    let site = |remote: &str| tables::site("site").replace("site.git", remote);
    let setup = Setup::new(&site("a.git"));
    setup.repository("a").commit("main", &[("index.html", "a")]);
    let b = setup.repository("b");
    b.commit("main", &[("index.html", "b"), ("_headers", "/a\n X-A b\n")]);
    let host = setup.start().await;
    let page = async || host.client().get("https://localhost/").await.text().to_owned();
    assert_eq!(page().await, "a");
    for (remote, code, first, last) in [
        (
            "none.git",
            0,
            "host.toml:1: [git.site-pages]: can't be fetched; what was fetched before is served: none.git: there is \
             nothing here; create it, or name another remote\n",
            "",
        ),
        (
            "b.git",
            1,
            "host.toml:1: [git.site-pages]: site goes on serving what it did, until the host is restarted: _headers:2: ",
            "host: the manifest was taken, but not all of it serves\n",
        ),
    ] {
        host.setup().manifest(&site(remote));
        let outcome = host.reload().await;
        let said = host.setup().shown(&outcome.stderr);
        assert!(said.starts_with(first) && said.ends_with(last), "{said}");
        // Its table says another remote.
        assert_eq!((outcome.code, &*outcome.stdout), (Some(code), "site\n"));
        assert_eq!(page().await, "a");
    }
    b.commit("main", &[("index.html", "b")]);
    let outcome = host.reload().await;
    assert_eq!(outcome.stderr, "");
    outcome.done();
}

/// Which addresses are listened on is told, those of a reload too.
#[tokio::test]
async fn a_reload_tells_its_addresses() {
    let hello = tables::guest("hello", "hello", "");
    let host = Setup::new(&hello).start().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = format!("[listen]\nhttps = [\"127.0.0.1:0\"]\nhttp = [\"{taken}\"]\n");
    host.setup().manifest(&format!("{listen}{hello}"));
    host.reload().await.done();
    host.logged(&format!("listening on http://{taken}")).await;
    host.setup().manifest(&hello);
    host.reload().await.done();
    host.logged(&format!("no longer listening on http://{taken}")).await;
}

/// It can't take all addresses while it has one of them, nor speak TLS where it speaks none; what it has goes on.
#[tokio::test]
async fn a_reload_says_what_the_host_has_itself() {
    let hello = tables::guest("hello", "hello", "");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let port = free.port();
    let host = Setup::new(&format!("[listen]\nhttps = [\"127.0.0.1:0\", \"{free}\"]\n{hello}")).start().await;
    for (listen, at) in [
        (format!("https = [\"127.0.0.1:0\", \"0.0.0.0:{port}\"]"), format!("0.0.0.0:{port}")),
        (format!("https = [\"127.0.0.1:0\"]\nhttp = \"{free}\""), free.to_string()),
    ] {
        host.setup().manifest(&format!("[listen]\n{listen}\n{hello}"));
        let said = host.setup().shown(&host.reload().await.failed());
        let words = format!(
            "host.toml:1: can't listen on {at}: Address already in use (os error 98); this host itself has {free}: reload \
             once without it, or restart the host\nhost: nothing was changed\n"
        );
        assert_eq!(said, words);
        assert_eq!(Client::new(free, &host.ca()).get("https://localhost/").await.brief(), (200, HELLO));
    }
}

/// Of a reload that fails nothing stays: not what another remote brought, and not the good one of two new components.
#[tokio::test]
async fn a_reload_that_fails_leaves_nothing_behind() {
    let site = |remote: &str| {
        tables::site("site").replace("site.git", remote).replace("[component", "poll = \"1s\"\n[component")
    };
    let setup = Setup::new(&site("a.git"));
    setup.repository("a").commit("main", &[("index.html", "a")]);
    setup.repository("b").commit("main", &[("index.html", "b")]);
    let host = setup.start().await;
    let page = async || host.client().get("https://localhost/").await.text().to_owned();
    assert_eq!(page().await, "a");
    let (good, bad) = (tables::guest("good", "hello", ""), tables::guest("bad", "trap_at_start", ""));
    host.setup().manifest(&[site("b.git"), bad, good].concat());
    host.reload().await.failed();
    for _ in 0..30 {
        assert_eq!(page().await, "a");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(host.names().await, ["site"]);
    let proved = std::fs::read_to_string(host.setup().state().join("proved")).unwrap();
    assert!(!proved.contains("good"), "{proved}");
    host.setup().manifest(&site("b.git"));
    host.reload().await.done();
    until(SOON, "the other remote", async || (page().await == "b").then_some(())).await;
}

#[tokio::test]
async fn a_component_can_come_and_go() {
    let setup = Setup::new(&tables::site("site"));
    setup.repository("site").commit("main", &[("index.html", "home")]);
    setup
        .repository("routes")
        .commit("main", &[("a.test.toml", "upstream = \"site\"\n"), ("b.test.toml", "upstream = \"hello\"\n")]);
    let host = setup.start().await;
    let both = [tables::site("site"), tables::guest("hello", "hello", ""), tables::router()].concat();
    host.setup().manifest(&both);
    host.reload().await.done();
    assert_eq!(host.client().get("https://a.test/").await.brief(), (200, "home"));
    assert_eq!(host.client().get("https://b.test/").await.brief(), (200, HELLO));
    host.setup().manifest(&tables::site("site"));
    host.reload().await.done();
    assert_eq!(host.names().await, ["site"]);
    assert_eq!(host.client().get("https://b.test/").await.brief(), (200, "home"));
}
