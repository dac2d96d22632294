//! The manifest: a mistake is told with its file and line, by whoever reads it, and nothing is changed by it.

use rustix::process::Signal;

use crate::support::{
    client::{Protocol, ask},
    guests::{component, fixture},
    host::{Host, Setup},
    tables,
    wait::{SOON, until},
};

/// One of each kind; all of them are in the tests beside the code.
const MISTAKES: &[(&str, &str)] = &[
    ("[gti.pages]\nremote = \"x\"\n", "host.toml:1: unknown key `gti` in the manifest; did you mean `git`?"),
    ("[log]\naccess = \"json\"\naccess = \"off\"\n", "host.toml:3: `access` is here a second time"),
    (
        "[memory]\nanswers = \"64MB\"\n",
        "host.toml:2: `answers`: `64MB` is not a size (units are KiB, MiB, GiB): write \"64MiB\"",
    ),
    (
        "[[certificate]]\nchain = \"none.pem\"\nkey = \"none.key\"\n",
        "host.toml:2: `chain`: there is no file `none.pem`\nhost.toml:3: `key`: there is no file `none.key`",
    ),
    (
        "[component.x]\npath = \"host.toml\"\ngit = { pagse = \"read\" }\n",
        "host.toml:3: there is no binding `pagse`; define it in a table [git.pagse]",
    ),
];

#[tokio::test]
async fn run_and_check_say_the_same_and_start_nothing() {
    for (lines, expected) in MISTAKES {
        let setup = Setup::new(&format!("{lines}{}", tables::guest("hello", "hello", "")));
        for outcome in [setup.refuses().await, setup.command(&["check"]).await] {
            let said = outcome.failed();
            assert!(said.contains(expected), "{lines}{said}");
            assert!(!said.contains("listening on"), "{said}");
        }
        assert!(!setup.state().exists(), "{lines}");
    }
    let setup = Setup::new(&tables::guest("hello", "hello", ""));
    assert_eq!(setup.command(&["check"]).await.done(), "");
    assert!(!setup.state().exists());
}

#[tokio::test]
async fn a_reload_that_is_wrong_changes_nothing() {
    let host = Setup::new(&tables::guest("hello", "hello", "")).start().await;
    for (lines, expected) in MISTAKES {
        host.setup().manifest(&format!("{lines}{}", tables::guest("hello", "hello", "")));
        let said = host.reload().await.failed();
        assert!(said.contains(expected), "{lines}{said}");
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "hello\n"));
    }
    host.setup().manifest("[gti.pages]\n");
    host.signal(Signal::HUP);
    host.logged("unknown key `gti`").await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "hello\n"));
}

#[tokio::test]
async fn a_reload_takes_effect_and_loses_nothing() {
    let env = |word: &str| tables::guest("env", "env", &format!("env = {{ WORD = \"{word}\" }}\n"));
    let host = Setup::new(&env("one")).start().await;
    let mut connection = host.client().connect("localhost", Protocol::Http1).await;
    let mut said = async || {
        let reply = connection.send(ask("GET", "https://localhost/WORD")).await;
        (reply.status.as_u16(), reply.text().to_owned())
    };
    assert_eq!(said().await, (200, "one".to_owned()));
    host.setup().manifest(&env("two"));
    host.reload().await.done();
    assert_eq!(said().await, (200, "two".to_owned()));
    host.setup().manifest(&env("three"));
    host.signal(Signal::HUP);
    until(SOON, "the third word", async || (said().await.1 == "three").then_some(())).await;
}

/// One transaction: a listener that can't be bound, or one generation that is not proved, and nothing has changed.
#[tokio::test]
async fn a_reload_is_all_or_nothing() {
    let host = Setup::new(&tables::guest("env", "env", "env = { WORD = \"one\" }\n")).start().await;
    let changed = tables::guest("env", "env", "env = { WORD = \"two\" }\n");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (lines, expected) in [
        (format!("[listen]\nhttps = [\"{}\", \"{address}\"]\n{changed}", host.https()), format!("{address}: ")),
        (format!("{changed}{}", tables::guest("bad", "invalid", "")), "bad: a.toml:3: it is never right".to_owned()),
        (format!("{changed}{}", tables::guest("bad", "starts_with_a_trap", "")), "bad: trapped: ".to_owned()),
    ] {
        host.setup().manifest(&lines);
        let said = host.reload().await.failed();
        assert!(said.contains(&expected), "{said}");
        assert_eq!(host.client().get("https://localhost/WORD").await.brief(), (200, "one"));
    }
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
    assert_eq!(host.client().get("https://b.test/").await.brief(), (200, "hello\n"));
    host.setup().manifest(&tables::site("site"));
    host.reload().await.done();
    assert_eq!(names(&host).await, ["site"]);
    assert_eq!(host.client().get("https://b.test/").await.brief(), (200, "home"));
}

#[tokio::test]
async fn what_is_not_granted_is_refused_with_the_line_that_grants_it() {
    let site = component("site");
    let setup = Setup::new(&format!("[component.site]\npath = \"{}\"\n", site.display()));
    let said = setup.refuses().await.failed();
    let expected =
        "[component.site] imports atoll:host/repository@0.1.0, which is not granted; add to [component.site]: git = {";
    assert!(said.contains(expected), "{said}");
    let said = setup.command(&["check"]).await.failed();
    assert!(said.contains(expected), "{said}");
}

#[tokio::test]
async fn an_argument_without_a_table_is_left_out_with_the_table_to_add() {
    let setup = Setup::new(&tables::guest("hello", "hello", ""));
    let host = setup.argument(component("site")).start().await;
    let warning = host.logged("[component.site]").await;
    assert!(warning.contains("site.wasm"), "{warning}");
    assert_eq!(names(&host).await, ["hello"]);
}

#[tokio::test]
async fn an_argument_stands_for_the_path_of_its_table() {
    let setup = Setup::new("[component.hello]\n");
    let host = setup.argument(fixture("hello")).start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "hello\n"));
}

async fn names(host: &Host) -> Vec<String> {
    let ps = host.ps().await;
    ps["components"].as_array().unwrap().iter().map(|each| each["name"].as_str().unwrap().to_owned()).collect()
}
