//! The commands beside `run`: what a user, or a component's author, reads and relies on.

use std::{fs, process::Stdio};

use sha2::{Digest, Sha256};

use crate::support::{
    broken::nested_types,
    guests::{HELLO, component, root, stranger},
    host::Setup,
    tables,
    wait::{SOON, until, within},
};

#[tokio::test]
async fn ps_shows_what_runs() {
    let setup = Setup::new(&[tables::site("site"), tables::router()].concat());
    let revision = setup.repository("site").commit("main", &[("index.html", "home")]);
    let routes = setup.repository("routes").commit("main", &[("_.toml", "upstream = \"site\"\n")]);
    let host = setup.start().await;
    host.client().get("https://a.test/").await;
    host.client().get("https://a.test/").await;
    let site = host.component("site").await;
    let digest = format!("{:x}", Sha256::digest(fs::read(component("site")).unwrap()));
    assert_eq!((&site["role"], &site["digest"]), (&"service".into(), &digest.into()), "{site}");
    assert_eq!(site["revisions"]["pages"], revision);
    assert_eq!((&site["requests"], &site["traps"]), (&1.into(), &0.into()), "{site}");
    assert_eq!((&site["hits"], &site["misses"]), (&1.into(), &1.into()), "{site}");
    assert!(site["uptime"].is_number() && site["memory"].is_number() && site["instances"].is_number(), "{site}");
    let decides = host.component("router").await;
    assert_eq!((&decides["role"], &decides["revisions"]["routes"]), (&"router".into(), &routes.into()), "{decides}");
    assert_eq!((&decides["requests"], &decides["instances"]), (&2.into(), &0.into()), "at the start, and once");
    let table = host.command("ps", &[]).await.done();
    for word in ["site", "service", "router", &revision[..7]] {
        assert!(table.contains(word), "{word} in {table}");
    }
}

/// What a component would not serve by, though a host would start: it traps, or knows a branch by another name.
#[tokio::test]
async fn check_tells_what_would_not_serve() {
    let site = tables::site("site");
    for (table, words) in [
        (
            site.replace("{ pages = {", "{ page = {"),
            "host.toml:4: [component.site]: asked for pages, which is not granted; add to [component.site]: git = { pages = \
             \"read\" }",
        ),
        (
            tables::guest("site", "trap_at_start", ""),
            "host.toml:1: [component.site]: trapped at its start: error while executing at wasm backtrace:",
        ),
    ] {
        let setup = Setup::new(&table);
        setup.repository("site").commit("main", &[("index.html", "home")]);
        let outcome = setup.command(&["check"]).await;
        assert_eq!(setup.shown(&outcome.stderr).lines().next(), Some(words), "{}", outcome.stderr);
        assert_eq!(outcome.done(), "1 component: nothing is wrong, but for the warning\n");
        assert_eq!(setup.command(&["check", "--strict"]).await.code, Some(1));
    }
    let setup = Setup::new(&site);
    setup.repository("site").commit("main", &[("index.html", "home")]);
    assert_eq!(setup.command(&["check", "--strict"]).await.done(), "1 component: nothing is wrong\n");
}

/// The README's router, as its author built it, decides for every name.
#[tokio::test]
async fn a_strangers_router_runs_in_the_host() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for file in ["src/lib.rs", "tests/router.rs"] {
        let source = fs::read_to_string(root().join("tests/stranger").join(file)).unwrap();
        assert!(readme.contains(&format!("```rust\n{source}```\n")), "the README shows another {file}");
    }
    let one = format!("[component.one]\npath = \"{}\"\n", stranger().display());
    let host = Setup::new(&[one, tables::guest("hello", "hello", "")].concat()).start().await;
    for name in ["a.test", "b.test"] {
        assert_eq!(host.client().get(&format!("https://{name}/x")).await.brief(), (200, HELLO));
    }
    assert_eq!(host.component("one").await["role"], "router");
}

#[tokio::test]
async fn logs_are_told_by_component_and_followed() {
    let host = Setup::new(&tables::mischief("app", "")).start().await;
    let state = host.setup().state();
    let mut follow = tokio::process::Command::new(env!("CARGO_BIN_EXE_host"));
    let file = host.setup().path("followed");
    follow.args(["logs", "--follow", "--state", state.to_str().unwrap(), "app"]).kill_on_drop(true);
    let mut follow = follow.stdout(fs::File::create(&file).unwrap()).spawn().unwrap();
    host.client().get("https://localhost/log?line=a+line").await;
    let followed =
        until(SOON, "a line", async || Some(fs::read_to_string(&file).unwrap()).filter(|said| said.contains("a line")));
    let followed = followed.await;
    assert!(followed.contains("app: serves ") && followed.contains("app> a line\n"), "{followed}");
    assert!(followed.lines().all(|line| line.contains("app: ") || line.contains("app> ")), "{followed}");
    assert!(!host.command("logs", &["app"]).await.done().is_empty());
    assert!(host.command("logs", &["nobody"]).await.failed().contains("nobody"));
    host.terminate().await;
    let ended = within(SOON, "the end of what is followed", follow.wait()).await.unwrap();
    assert_eq!(ended.code(), Some(0), "what is followed ends with the host");
}

#[tokio::test]
async fn inspect_tells_what_a_component_asks_for() {
    let setup = Setup::without_manifest();
    let file = component("site");
    let said = setup.command(&["inspect", file.to_str().unwrap(), "--json"]).await.done();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["role"], "service", "{said}");
    let has = |list: &str, name: &str| said[list].as_array().unwrap().iter().any(|each| each == name);
    assert!(has("imports", "atoll:host/repository@0.1.0") && has("exports", "wasi:http/handler@0.3.0"), "{said}");
    assert!(has("exports", "atoll:host/validation@0.1.0"), "{said}");
    let said = setup.command(&["inspect", component("router").to_str().unwrap()]).await.done();
    assert!(said.contains("router") && said.contains("git = {"), "{said}");
    let text = setup.write("text.wasm", "hello");
    let said = setup.command(&["inspect", text.to_str().unwrap()]).await.failed();
    assert!(said.contains("is not a WebAssembly component"), "{said}");
}

/// What a component's author gets is what the host was built with.
#[tokio::test]
async fn wit_writes_the_interfaces() {
    let setup = Setup::without_manifest();
    let folder = setup.path("wit");
    setup.command(&["wit", folder.to_str().unwrap()]).await.done();
    let root = root().join("wit");
    for file in ["worlds.wit", "repository.wit", "routing.wit", "deps/http.wit"] {
        assert_eq!(fs::read(folder.join(file)).unwrap(), fs::read(root.join(file)).unwrap(), "{file}");
    }
}

#[tokio::test]
async fn test_runs_the_cases_of_any_author() {
    let setup = Setup::without_manifest();
    let cases = setup.write(
        "site.toml",
        "[repository.pages]\n\"index.html\" = \"<h1>x</h1>\"\n\
         [[case]]\nname = \"the index\"\nrequest = { path = \"/\" }\n\
         expect = { status = 200, fields = { content-type = \"text/html; charset=utf-8\" }, body = \"<h1>x</h1>\" }\n\
         [[case]]\nname = \"nothing there\"\nrequest = { path = \"/x\" }\nexpect = { status = 404 }\n",
    );
    let site = component("site");
    let said = setup.command(&["test", site.to_str().unwrap(), cases.to_str().unwrap()]).await.done();
    for name in ["the index", "nothing there"] {
        assert!(said.lines().any(|line| line.contains(name) && line.contains("ms")), "{name} and its time: {said}");
    }
    // A file that is made to hurt the compiler costs no more than a line.
    let nested = setup.write("nested.wasm", nested_types(50_000));
    let said = setup.command(&["test", nested.to_str().unwrap(), cases.to_str().unwrap()]).await.failed();
    assert_eq!(
        said,
        "host: nested can't be compiled: it is nested too deep, and overflows the compiler's stack of 16 MiB\n"
    );
    let cases = setup.write(
        "router.toml",
        "[repository.routes]\n\"a.test.toml\" = \"upstream = \\\"app\\\"\\n\"\n\
         [[case]]\nname = \"to the application\"\nrequest = { authority = \"a.test\", path = \"/x\" }\n\
         expect = { forward = \"app\", strip = \"/x\" }\n",
    );
    let router = component("router");
    let outcome = setup.command(&["test", router.to_str().unwrap(), cases.to_str().unwrap()]).await;
    assert_eq!(outcome.code, Some(1));
    let said = outcome.stdout + &outcome.stderr;
    assert!(said.contains("to the application") && said.contains("strip"), "{said}");
}

/// Whatever whoever started the host had left open: the child that reads a component has its three pipes.
#[tokio::test]
async fn the_child_that_compiles_has_nothing_open() {
    let setup = Setup::without_manifest();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_host"));
    let mut shell = tokio::process::Command::new("bash");
    shell.args(["-c", "exec 9>\"$1\" 33>&9; exec \"$0\" compile"]).arg(program).arg(setup.path("left-open"));
    let child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let folder = format!("/proc/{}/fd", child.id().unwrap());
    until(SOON, "nothing but three descriptors", async || {
        let is_ours = fs::read_link(format!("/proc/{}/exe", child.id()?)).ok()? == program;
        let mut open: Vec<u32> =
            fs::read_dir(&folder).unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        open.sort_unstable();
        (is_ours && open == [0, 1, 2]).then_some(())
    })
    .await;
}
