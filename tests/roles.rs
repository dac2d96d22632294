//! What a component is for is what its file is today: whatever was proved of it before, by a start, a reload or a swap.

use std::fs;

use sha2::{Digest, Sha256};

use crate::support::{
    guests::{HELLO, changed, component, fixture},
    host::{Host, Setup},
    tables,
    wait::{BUILT, SOON, until},
};

const OTHER: &str = "Hello from b component\n";

async fn shows(host: &Host, name: &str, expected: (u16, &str)) {
    assert_eq!(host.client().get(&format!("https://{name}/")).await.brief(), expected, "{name}");
}

/// There and back, over starts: each serves as if it had never been anything else.
#[tokio::test]
async fn a_file_for_something_else_is_another_component() {
    let app = "[component.app]\npath = \"app.wasm\"\n";
    let setup = Setup::new(&[app, &tables::guest("hello", "hello", ""), &tables::router()].concat());
    let routes = setup.repository("routes");
    routes.commit("main", &[("_.toml", "upstream = \"hello\"\n"), ("app.test.toml", "upstream = \"app\"\n")]);
    setup.place("app.wasm", &changed("hello", "Hello from a", "Hello from b"));
    let mut host = setup.start().await;
    shows(&host, "app.test", (200, OTHER)).await;
    // A second router, which a start refuses as ever; and what was refused is not what was proved.
    let mut setup = host.terminate().await;
    setup.place("app.wasm", &fixture("router_one"));
    let said = setup.refuses().await.failed();
    let words =
        "[component.router]: is a second router, beside `app`: a host has one; give the other to a host of its own\n";
    assert!(said.contains(words), "{said}");
    setup.place("app.wasm", &changed("hello", "Hello from a", "Hello from b"));
    host = setup.start().await;
    shows(&host, "app.test", (200, OTHER)).await;
    // An agent serves nobody, and what it was before neither.
    setup = host.terminate().await;
    setup.place("app.wasm", &fixture("agent_tick"));
    host = setup.start().await;
    assert_eq!(host.component("app").await["role"], "agent");
    let wrong =
        "app.test.toml:1: no upstream `app` in the manifest: neither a service component nor an `[upstream.NAME]`";
    assert_eq!(host.component("router").await["error"], wrong);
    shows(&host, "localhost", (200, HELLO)).await;
    setup = host.terminate().await;
    setup.place("app.wasm", &changed("hello", "Hello from a", "Hello from b"));
    host = setup.start().await;
    assert_eq!(host.component("app").await["role"], "service");
    shows(&host, "app.test", (200, OTHER)).await;
}

/// The only router's file was a service for a while.
#[tokio::test]
async fn a_router_that_was_none_decides_again() {
    let app =
        "[component.app]\npath = \"app.wasm\"\ngit = { routes = \"read\" }\n[git.routes]\nremote = \"routes.git\"\n";
    let two = [tables::guest("hello", "hello", ""), tables::guest("other", "hello", "")].concat();
    let setup = Setup::new(&[app, &two].concat());
    let routes = setup.repository("routes");
    routes.commit("main", &[("_.toml", "upstream = \"hello\"\n")]);
    setup.place("app.wasm", &component("router"));
    let host = setup.start().await;
    shows(&host, "localhost", (200, HELLO)).await;
    host.setup().place("app.wasm", &fixture("hello"));
    let outcome = host.reload().await;
    assert!(outcome.stderr.contains("there are several services and no router"), "{}", outcome.stderr);
    outcome.done();
    shows(&host, "localhost", (404, "404 Not Found\n")).await;
    let setup = host.terminate().await;
    setup.place("app.wasm", &component("router"));
    let host = setup.start().await;
    shows(&host, "localhost", (200, HELLO)).await;
}

/// As long as a router fails its proof nobody decides, least of all the service that had its name.
#[tokio::test]
async fn what_was_a_service_decides_nothing() {
    let app =
        "[component.app]\npath = \"app.wasm\"\ngit = { routes = \"read\" }\n[git.routes]\nremote = \"routes.git\"\n";
    let setup = Setup::new(&[app, &tables::guest("hello", "hello", "")].concat());
    let routes = setup.repository("routes");
    routes.commit("main", &[("_.toml", "upstrem = 1\n")]);
    setup.place("app.wasm", &fixture("hello"));
    let setup = setup.start().await.terminate().await;
    setup.place("app.wasm", &component("router"));
    let host = setup.start().await;
    shows(&host, "localhost", (503, "503 Service Unavailable\n")).await;
    routes.commit("main", &[("_.toml", "upstream = \"hello\"\n")]);
    until(SOON, "its routes", async || host.component("app").await["error"].is_null().then_some(())).await;
    shows(&host, "localhost", (200, HELLO)).await;
}

/// What it is for is known where nothing of it can be read any more: its services do not serve every name without it.
#[tokio::test]
async fn a_router_that_is_lost_decides_nothing() {
    let router = tables::router();
    let setup = Setup::new(
        &[tables::guest("hello", "hello", ""), router.replace(component("router").to_str().unwrap(), "app.wasm")]
            .concat(),
    );
    setup.repository("routes").commit("main", &[("localhost.toml", "refuse = 403\n")]);
    setup.place("app.wasm", &component("router"));
    let host = setup.start().await;
    shows(&host, "localhost", (403, "403 Forbidden\n")).await;
    let setup = host.terminate().await;
    setup.write("app.wasm", "no component");
    let kept = fs::read_dir(setup.state().join("components")).unwrap();
    kept.for_each(|file| fs::write(file.unwrap().path(), "damaged").unwrap());
    let host = setup.start().await;
    assert_eq!(host.component("router").await["role"], "router");
    shows(&host, "localhost", (503, "503 Service Unavailable\n")).await;
    host.setup().place("app.wasm", &component("router"));
    host.swap("router", &component("router")).await.done();
    shows(&host, "localhost", (403, "403 Forbidden\n")).await;
}

/// A file that a start could not take is not taken by a reload for what serves.
#[tokio::test]
async fn a_reload_proves_what_a_start_could_not() {
    let app = "[component.app]\npath = \"app.wasm\"\n";
    let setup = Setup::new(app);
    setup.place("app.wasm", &fixture("hello"));
    let setup = setup.start().await.terminate().await;
    setup.place("app.wasm", &fixture("invalid"));
    let host = setup.start().await;
    shows(&host, "localhost", (200, HELLO)).await;
    for manifest in [app.to_owned(), format!("{app}env = {{ A = \"b\" }}\n")] {
        host.setup().manifest(&manifest);
        let said = host.setup().shown(&host.reload().await.failed());
        let words = "host.toml:1: [component.app]: index.html:3: the first problem; the second problem\nhost: nothing was changed\n";
        assert_eq!(said, words);
        shows(&host, "localhost", (200, HELLO)).await;
    }
    host.setup().place("app.wasm", &changed("hello", "Hello from a", "Hello from b"));
    host.reload().await.done();
    shows(&host, "localhost", (200, OTHER)).await;
    assert!(host.component("app").await["error"].is_null());
}

/// A swap that was refused is over: nothing makes it serve later, and what serves next is the end of what is said of it.
#[tokio::test]
async fn a_refused_swap_is_over() {
    let setup = Setup::new(&tables::guest(
        "app",
        "mischief",
        "git = { pages = \"read\" }\n[git.pages]\nremote = \"pages.git\"\n",
    ));
    let pages = setup.repository("pages");
    // Of a site that is wrong the site's component says so, and the other does not look.
    pages.commit("main", &[("index.html", "one"), ("_redirects", "/a /b 999\n")]);
    let host = setup.start().await;
    let said = host.swap("app", &component("site")).await.failed();
    assert!(said.contains("_redirects:1: "), "{said}");
    let error = async || host.component("app").await["error"].as_str().unwrap_or_default().to_owned();
    assert!(error().await.starts_with("not swapped: "), "{}", error().await);
    let digest = host.component("app").await["digest"].clone();
    let good = pages.commit("main", &[("index.html", "two")]);
    until(SOON, "the push", async || (host.component("app").await["revisions"]["pages"] == good).then_some(())).await;
    assert_eq!(host.component("app").await["digest"], digest);
    // Nor is it what is wrong with what serves.
    assert_eq!(error().await, "");
    host.reload().await.done();
    assert_eq!((error().await, host.component("app").await["digest"].clone()), (String::new(), digest));
    // Asked for again, it is swapped; and a reload leaves it.
    host.swap("app", &component("site")).await.done();
    host.reload().await.done();
    shows(&host, "localhost", (200, "two")).await;
    assert_eq!(host.component("app").await["swapped"], true);
}

/// What waits for something else than the manifest is told, and is no reason to refuse one.
#[tokio::test]
async fn a_reload_tells_what_is_not_proved() {
    let setup = Setup::new(&tables::site("site"));
    let pages = setup.repository("site");
    pages.commit("main", &[("index.html", "one")]);
    let host = setup.start().await;
    pages.commit("main", &[("index.html", "two"), ("_redirects", "/a /b 999\n")]);
    host.logged("_redirects:1: ").await;
    let outcome = host.reload().await;
    let words = "[component.site]: goes on serving what it did: _redirects:1: ";
    assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    outcome.done();
    shows(&host, "localhost", (200, "one")).await;
    pages.commit("main", &[("index.html", "two")]);
    until(SOON, "two", async || (host.client().get("https://localhost/").await.brief() == (200, "two")).then_some(()))
        .await;
    let outcome = host.reload().await;
    assert!(!outcome.stderr.contains("goes on"), "{}", outcome.stderr);
}

/// An agent whose file is broken is one yet: nobody is forwarded to it.
#[tokio::test]
async fn a_broken_agent_is_no_upstream() {
    let agent = "[component.agent]\npath = \"agent.wasm\"\n";
    let setup = Setup::new(&[agent, &tables::guest("hello", "hello", ""), &tables::router()].concat());
    let routes = setup.repository("routes");
    let good = routes.commit("main", &[("_.toml", "upstream = \"hello\"\n")]);
    setup.place("agent.wasm", &fixture("agent_tick"));
    let setup = setup.start().await.terminate().await;
    setup.write("agent.wasm", "no component");
    let host = setup.start().await;
    let router = host.component("router").await;
    assert_eq!((&router["revisions"]["routes"], &router["error"]), (&good.into(), &serde_json::Value::Null));
    assert!(host.setup().log().contains("router: serves routes "), "{}", host.setup().log());
    routes.commit("main", &[("_.toml", "upstream = \"agent\"\n")]);
    let words = "_.toml:1: no upstream `agent` in the manifest: neither a service component nor an `[upstream.NAME]`";
    until(SOON, "the push is refused", async || (host.component("router").await["error"] == words).then_some(())).await;
    shows(&host, "localhost", (200, HELLO)).await;
}

/// A file that is put back is what serves, and what was in its place does not wait.
#[tokio::test]
async fn a_watched_file_that_is_put_back_is_the_end_of_it() {
    let table =
        "[component.app]\npath = \"app.wasm\"\ngit = { pages = \"read\" }\n[git.pages]\nremote = \"pages.git\"\n";
    let setup = Setup::new(table).argument("--watch");
    let pages = setup.repository("pages");
    pages.commit("main", &[("index.html", "one"), ("_redirects", "/a /b 999\n")]);
    setup.place("app.wasm", &fixture("mischief"));
    let host = setup.start().await;
    let digest = host.component("app").await["digest"].clone();
    host.setup().place("app.wasm", &component("site"));
    host.logged("_redirects:1: ").await;
    assert_eq!(host.component("app").await["swapped"], true);
    host.setup().place("app.wasm", &fixture("mischief"));
    until(BUILT, "no word of it", async || host.component("app").await["error"].is_null().then_some(())).await;
    assert_eq!(host.component("app").await["swapped"], false);
    let good = pages.commit("main", &[("index.html", "two")]);
    until(SOON, "the push", async || (host.component("app").await["revisions"]["pages"] == good).then_some(())).await;
    assert_eq!(host.component("app").await["digest"], digest);
}

/// What is replaced while a host starts is seen as well.
#[tokio::test]
async fn a_file_that_changes_during_a_start_is_watched() {
    let setup = Setup::new("[component.app]\npath = \"app.wasm\"\n").argument("--watch");
    setup.place("app.wasm", &fixture("hello"));
    let mut child = setup.spawn();
    until(BUILT, "it compiles", async || setup.state().join("compiled").is_dir().then_some(())).await;
    let other = changed("hello", "Hello from a", "Hello from b");
    setup.place("app.wasm", &other);
    let digest = format!("{:x}", Sha256::digest(fs::read(other).unwrap()));
    let serves = format!("app: serves component {}\n", &digest[..12]);
    until(BUILT, "the other serves", async || setup.log().contains(&serves).then_some(())).await;
    child.kill().await.unwrap();
}
