//! Replacing a component while it runs: no request is lost, each body is of one generation, and what should not serve does
//! not.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use crate::support::{
    broken::{growing_a_table, nested_components, nested_types, slow},
    client::{BOTH, Client, Connection, Protocol, ask, with_body},
    guests::{HELLO, changed, component, fixture},
    host::{Host, Setup},
    load::{Clients, load},
    skip::missing,
    tables,
    wait::{BUILT, SOON, until, within},
};

const SWAPS: usize = 20;
/// Of an answer that nothing is in the way of.
const PROMPT: Duration = Duration::from_secs(5);
const LARGE: usize = 10 << 20;
/// In the fixture, and in what takes its place.
const A: &str = "the letter is a";
const B: &str = "the letter is b";

/// `app` has 10 MiB of the letter `a` at `/large`, and gives back what is sent to `/copy`.
async fn app() -> Host {
    Setup::new(&tables::mischief("app", "")).start().await
}

/// Swaps `app` to a version with another letter and back, until it was done this often; while four generations are at work
/// beside the one that serves, the next swap would cut the oldest of them off.
async fn swap_to_and_fro(host: &Host) {
    let versions = [changed("mischief", A, B), fixture("mischief")];
    for turn in 0..SWAPS {
        let few = async || host.component("app").await["draining"].as_u64().filter(|draining| *draining < 4);
        until(SOON, "room for another", few).await;
        host.swap("app", &versions[turn % 2]).await.done();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_under_load() {
    let host = app().await;
    let load = Clients::ask(&host, 16, "mischief\n");
    swap_to_and_fro(&host).await;
    assert!(load.stop().await > 1000, "that was no load");
    assert!(!host.setup().access_log().contains("\"status\":5"), "a failure that no client saw");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_client_counts_no_failure_either() {
    if missing(&["h2load"]) {
        return;
    }
    let host = app().await;
    for protocol in BOTH {
        let counted = tokio::spawn(load(host.https(), protocol, 5, "https://localhost/"));
        swap_to_and_fro(&host).await;
        counted.await.unwrap().all_succeeded();
    }
}

/// Bodies that came whole, by the letter of the generation that they are of.
#[derive(Default)]
struct Seen([AtomicUsize; 2]);

impl Seen {
    fn count(&self, letter: u8) {
        self.0[usize::from(letter == b'b')].fetch_add(1, Ordering::Relaxed);
    }

    #[track_caller]
    fn of_both(&self, what: &str) {
        let seen = self.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        assert!(seen[0] > 0 && seen[1] > 0, "{what}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_wholly_of_one_generation() {
    let host = app().await;
    let hashes = [b'a', b'b'].map(|letter| Sha256::digest(vec![letter; LARGE]));
    let upload = Bytes::from(vec![b'x'; LARGE]);
    let stop = Arc::new(AtomicBool::new(false));
    let [downloads, uploads] = [(); 2].map(|()| Arc::new(Seen::default()));
    let mut workers = Vec::new();
    for protocol in BOTH {
        let (client, stopped, seen) = (host.client(), Arc::clone(&stop), downloads.clone());
        workers.push(tokio::spawn(async move {
            let mut connection = client.connect("localhost", protocol).await;
            let whole = async |connection: &mut Connection| {
                let reply = connection.send(ask("GET", "https://localhost/large")).await;
                assert!(hashes.contains(&Sha256::digest(&reply.body)), "{} bytes of both", reply.body.len());
                seen.count(reply.body[0]);
            };
            while !stopped.load(Ordering::Relaxed) {
                if protocol == Protocol::Http1 {
                    whole(&mut connection).await;
                    continue;
                }
                let mut streams = [(); 3].map(|()| connection.stream());
                let [one, two, three] = &mut streams;
                tokio::join!(whole(&mut connection), whole(one), whole(two), whole(three));
            }
        }));
        let (client, stopped, seen, upload) = (host.client(), Arc::clone(&stop), uploads.clone(), upload.clone());
        workers.push(tokio::spawn(async move {
            let mut connection = client.connect("localhost", protocol).await;
            while !stopped.load(Ordering::Relaxed) {
                let reply = connection.send(with_body("POST", "https://localhost/copy", &[], upload.clone())).await;
                assert!(reply.body == upload, "{} bytes came back", reply.body.len());
                seen.count(reply.field("letter").expect("who answered")[..].as_bytes()[0]);
            }
        }));
    }
    swap_to_and_fro(&host).await;
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        within(BUILT, "the load's end", worker).await.expect("each body was whole");
    }
    downloads.of_both("downloads");
    uploads.of_both("uploads");
}

/// What is swapped in, and what is said about it; the neighbour is served meanwhile, and so is what was there.
#[tokio::test]
async fn what_should_not_serve_does_not() {
    let setup = Setup::new(
        &[
            tables::guest("app", "hello", "probe = \"/healthz\"\nmemory = \"16MiB\"\ntimeout = \"2s\"\n"),
            tables::guest("neighbour", "hello", ""),
            tables::router(),
        ]
        .concat(),
    );
    let routes = setup.repository("routes");
    routes.commit("main", &[("a.test.toml", "upstream = \"app\"\n"), ("b.test.toml", "upstream = \"neighbour\"\n")]);
    let host = setup.start().await;
    let whole = fs::read(fixture("hello")).unwrap();
    let written = |name: &str, bytes: &[u8]| host.setup().write(name, bytes);
    let cases: Vec<(PathBuf, &str)> = vec![
        (host.setup().path("none.wasm"), "No such file or directory"),
        (written("empty.wasm", b""), "is not a WebAssembly component"),
        (written("text.wasm", b"hello"), "is not a WebAssembly component"),
        (written("module.wasm", b"\0asm\x01\0\0\0"), "is a core module, not a component"),
        (written("nothing.wasm", b"\0asm\x0d\0\x01\0"), "exports nothing that this host calls"),
        (written("truncated.wasm", &whole[..whole.len() / 2]), "can't be compiled: "),
        (written("components.wasm", &nested_components(20_000)), "can't be compiled within 2048 MiB of memory"),
        (written("types.wasm", &nested_types(2_000)), "exports nothing that this host calls"),
        (
            written("deeper.wasm", &nested_types(1_000_000)),
            "can't be compiled: it is nested too deep, and overflows the compiler's stack of 16 MiB",
        ),
        (written("slow.wasm", &slow(1_000)), "can't be compiled within 60 s of a processor's time"),
        (component("site"), "imports atoll:host/repository@0.1.0, which is not granted"),
        (
            changed("mischief", "atoll:host/repository@0.1.0", "atoll:host/depository@0.1.0"),
            "imports atoll:host/depository@0.1.0, which this host does not have",
        ),
        (
            changed("hello", "wasi:http/types@0.3.0", "wasi:http/typos@0.3.0"),
            "imports what this host does not have: component imports instance `wasi:http/typos@0.3.0`",
        ),
        (fixture("trap_at_start"), "trapped at its start: "),
        (written("table.wasm", &growing_a_table(&whole, 100_000, true)), "trapped at its start: "),
        (fixture("invalid"), "index.html:3: the first problem\nthe second problem"),
    ];
    let before = host.component("app").await["digest"].clone();
    let mut untold = Vec::new();
    for (file, reason) in cases {
        let name = file.file_name().unwrap().to_str().unwrap();
        let neighbour = Box::pin(async {
            loop {
                let client = host.client();
                let asked = Box::pin(client.get("https://b.test/"));
                let reply = within(PROMPT, "the neighbour", asked).await;
                assert_eq!(reply.brief(), (200, HELLO), "{name}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let outcome = tokio::select! {
            outcome = host.swap("app", &file) => outcome,
            () = neighbour => unreachable!("it is asked again and again"),
        };
        let said = outcome.failed();
        assert!(said.contains(reason) && said.contains(name), "{name}: {said}");
        assert_eq!(host.client().get("https://a.test/").await.brief(), (200, HELLO), "{name}");
        let component = host.component("app").await;
        assert_eq!(component["digest"], before, "{name}");
        // Of a file that is not there nothing was sent.
        if name != "none.wasm" {
            let reason = reason.lines().next().unwrap();
            if !component["error"].as_str().is_some_and(|error| error.contains(reason)) {
                untold.push(format!("{name}: ps says {}", component["error"]));
            }
            if !host.setup().log().contains(reason) {
                untold.push(format!("{name}: nothing in the log"));
            }
        }
    }
    assert!(untold.is_empty(), "{}", untold.join("\n"));
    // What serves, once more, is no reason to speak of what was refused.
    host.swap("app", &fixture("hello")).await.done();
    assert!(host.component("app").await["error"].is_null());
    // It is told that it may not, or it may.
    for (elements, may) in [(100_000, false), (99_000, true)] {
        host.swap("app", &host.setup().write("grows.wasm", growing_a_table(&whole, elements, may))).await.done();
        assert_eq!(host.client().get("https://a.test/").await.brief(), (200, HELLO));
        assert!(host.component("app").await["error"].is_null());
    }
}

/// The other version tries to set a field that is none, and has no answer.
#[tokio::test]
async fn a_version_that_fails_its_probe_does_not_serve() {
    let host = Setup::new(&tables::guest("app", "hello", "probe = \"/healthz\"\n")).start().await;
    let (bad, client) = (changed("hello", "text/plain", "text\nplain"), host.client());
    let (outcome, meanwhile) = tokio::join!(host.swap("app", &bad), client.get("https://localhost/"));
    assert_eq!(meanwhile.brief(), (200, HELLO));
    let said = outcome.failed();
    assert!(said.contains("probe /healthz: no response: "), "{said}");
    let error = host.component("app").await["error"].clone();
    assert!(error.as_str().is_some_and(|error| error.contains("probe /healthz: ")), "{error}");
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
    host.swap("app", &changed("hello", "Hello from a", "Hello from b")).await.done();
    assert!(host.component("app").await["error"].is_null());
}

/// What routes name must stay a service, and what decides a router.
#[tokio::test]
async fn a_component_of_another_role_does_not_take_the_place() {
    let setup = Setup::new(&[tables::guest("hello", "hello", ""), tables::router()].concat());
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"hello\"\n")]);
    let host = setup.start().await;
    for (name, file, words) in [
        ("hello", "router_one", "it is a router, and hello is a service"),
        ("hello", "agent_tick", "it is an agent, and hello is a service"),
        ("router", "hello", "it is a service, and router is a router"),
    ] {
        let (bad, client) = (fixture(file), host.client());
        let (outcome, meanwhile) = tokio::join!(host.swap(name, &bad), client.get("https://localhost/"));
        assert_eq!(meanwhile.brief(), (200, HELLO), "{name} by {file}");
        let said = outcome.failed();
        assert_eq!(said, format!("host: {}: {name} was not swapped: {words}\n", fixture(file).display()));
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO), "{name} by {file}");
    }
}

#[tokio::test]
async fn a_router_is_swapped_like_any_other() {
    let setup = Setup::new(&[tables::guest("hello", "hello", ""), tables::router()].concat());
    setup
        .repository("routes")
        .commit("main", &[("_.toml", "upstream = \"hello\"\n[[path]]\nprefix = \"/x\"\nrefuse = 403\n")]);
    let host = setup.start().await;
    let mut connection = host.client().connect("localhost", Protocol::Http2).await;
    assert_eq!(connection.send(ask("GET", "https://localhost/x")).await.status, 403);
    host.swap("router", &fixture("router_one")).await.done();
    assert_eq!(connection.send(ask("GET", "https://localhost/x")).await.brief(), (200, HELLO));
}

#[tokio::test]
async fn a_swap_lasts_until_the_host_stops() {
    let host = Setup::new(&tables::guest("app", "hello", "")).start().await;
    assert_eq!(host.component("app").await["swapped"], false);
    host.swap("app", &changed("hello", "Hello from a", "Hello from b")).await.done();
    assert_eq!(host.component("app").await["swapped"], true);
    assert_eq!(host.client().get("https://localhost/").await.text(), "Hello from b component\n");
    let host = host.terminate().await.start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
    assert_eq!(host.component("app").await["swapped"], false);
}

#[tokio::test]
async fn a_watched_file_is_swapped_when_it_changes() {
    let setup = Setup::new("[component.app]\npath = \"app.wasm\"\n").argument("--watch");
    setup.place("app.wasm", &fixture("hello"));
    let host = setup.start().await;
    let answers = async |body: &str| {
        let client: Client = host.client();
        until(BUILT, body, async || (client.get("https://localhost/").await.brief() == (200, body)).then_some(()))
            .await;
    };
    answers(HELLO).await;
    let other = changed("hello", "Hello from a", "Hello from b");
    host.setup().place("app.wasm", &other);
    answers("Hello from b component\n").await;
    host.setup().write("app.wasm", "no longer a component");
    host.logged("is not a WebAssembly component").await;
    assert_eq!(host.setup().log().matches("is not a WebAssembly component").count(), 1);
    answers("Hello from b component\n").await;
    assert!(host.component("app").await["error"].is_string());
    host.setup().place("app.wasm", &other);
    until(SOON, "no word of it", async || host.component("app").await["error"].is_null().then_some(())).await;
    host.setup().place("app.wasm", &fixture("hello"));
    answers(HELLO).await;
}

/// What is refused of the file that the manifest names is so until that is another one, whatever is pushed meanwhile; and it is
/// over when that is a component, be it one that does not pass.
#[tokio::test]
async fn what_a_watched_file_was_refused_for_is_told_until_it_changes() {
    let table =
        "[component.app]\npath = \"app.wasm\"\ngit = { pages = \"read\" }\n[git.pages]\nremote = \"pages.git\"\n";
    let setup = Setup::new(table).argument("--watch");
    setup.place("app.wasm", &fixture("mischief"));
    let pages = setup.repository("pages");
    pages.commit("main", &[("page", "one")]);
    let host = setup.start().await;
    let error = async || host.component("app").await["error"].as_str().unwrap_or_default().to_owned();
    host.setup().write("app.wasm", "no longer a component");
    until(BUILT, "a refusal", async || error().await.starts_with("not swapped: ").then_some(())).await;
    let refused = error().await;
    let two = pages.commit("main", &[("page", "two")]);
    until(SOON, "the push", async || (host.component("app").await["revisions"]["pages"] == two).then_some(())).await;
    assert_eq!(error().await, refused);
    host.setup().place("app.wasm", &fixture("invalid"));
    let words = "index.html:3: the first problem\nthe second problem";
    until(BUILT, "its problems alone", async || (error().await == words).then_some(())).await;
}

/// Two components of one file.
#[tokio::test]
async fn a_watched_file_is_swapped_for_all_that_are_of_it() {
    let table = |name: &str| format!("[component.{name}]\npath = \"app.wasm\"\n");
    let routes = [("one.test.toml", "upstream = \"one\"\n"), ("two.test.toml", "upstream = \"two\"\n")];
    let setup = Setup::new(&[table("one"), table("two"), tables::router()].concat()).argument("--watch");
    setup.repository("routes").commit("main", &routes);
    setup.place("app.wasm", &fixture("hello"));
    let host = setup.start().await;
    host.setup().place("app.wasm", &changed("hello", "Hello from a", "Hello from b"));
    for name in ["one", "two"] {
        until(BUILT, name, async || {
            let reply = host.client().get(&format!("https://{name}.test/")).await;
            (reply.brief() == (200, "Hello from b component\n")).then_some(())
        })
        .await;
        assert_eq!(host.component(name).await["swapped"], false, "a restart serves the same file");
    }
}

/// Of what drains, four generations are kept; beyond that the oldest is reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_of_too_many_generations_is_reset() {
    let host = app().await;
    let versions = [changed("mischief", A, B), fixture("mischief")];
    let mut bodies = Vec::new();
    for turn in 0..6 {
        let mut connection = host.client().narrow().connect("localhost", Protocol::Http1).await;
        let mut body = connection.open(ask("GET", "https://localhost/large")).await.unwrap().into_body();
        within(SOON, "the first bytes", body.frame()).await.unwrap().unwrap();
        bodies.push((connection, body));
        if turn < 5 {
            host.swap("app", &versions[turn % 2]).await.done();
        }
    }
    let mut whole = Vec::new();
    for (_connection, body) in bodies {
        whole.push(within(SOON, "the end of a body", body.collect()).await.is_ok());
    }
    assert_eq!(whole, [false, true, true, true, true, true]);
}

/// What is in flight for longer than `drain` is cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_generation_ends_after_its_drain() {
    let host = Setup::new(&tables::mischief("app", "drain = \"1s\"\n")).start().await;
    let mut connection = host.client().connect("localhost", Protocol::Http1).await;
    let mut body = connection.open(ask("GET", "https://localhost/slow-body?ms=100&n=1000")).await.unwrap().into_body();
    within(SOON, "the first bytes", body.frame()).await.unwrap().unwrap();
    host.swap("app", &changed("mischief", A, B)).await.done();
    assert_eq!(host.component("app").await["draining"], 1);
    assert!(within(SOON, "its end", body.collect()).await.is_err());
    until(SOON, "nothing that drains", async || (host.component("app").await["draining"] == 0).then_some(())).await;
}
