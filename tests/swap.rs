//! Replacing a component while it runs: no request is lost, each body is of one generation, and what should not serve does
//! not.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use crate::support::{
    broken::{nested_components, nested_types},
    client::{BOTH, Client, Protocol, ask, with_body},
    guests::{component, fixture},
    host::{Host, Setup},
    load::load,
    skip::missing,
    tables,
    wait::{BUILT, SOON, until, within},
};

const SWAPS: usize = 20;
const LARGE: usize = 10 << 20;

/// `app` answers as `version_a` does, to start with: `a` at `/`, 10 MiB of `a` at `/large`, and to a `POST` with how much
/// came; `version_b` likewise.
async fn app() -> Host {
    Setup::new(&tables::guest("app", "version_a", "")).start().await
}

/// Swaps `app` to the other version and back, until it was done this often.
async fn swap_to_and_fro(host: &Host) {
    for turn in 0..SWAPS {
        host.swap("app", &fixture(if turn % 2 == 0 { "version_b" } else { "version_a" })).await.done();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_under_load() {
    let host = app().await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut workers = Vec::new();
    for worker in 0..16 {
        let (client, stop, answered) = (host.client(), Arc::clone(&stop), Arc::clone(&answered));
        workers.push(tokio::spawn(async move {
            let mut connection = client.connect("localhost", BOTH[worker % 2]).await;
            while !stop.load(Ordering::Relaxed) {
                let reply = connection.send(ask("GET", "https://localhost/")).await;
                assert!(matches!(reply.brief(), (200, "a" | "b")), "{reply:?}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    swap_to_and_fro(&host).await;
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        within(SOON, "the load's end", worker).await.expect("no request failed");
    }
    assert!(answered.load(Ordering::Relaxed) > 1000, "that was no load");
    assert!(!host.setup().access_log().contains("\"status\":5"));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_wholly_of_one_generation() {
    let host = app().await;
    let hashes = [b'a', b'b'].map(|letter| Sha256::digest(vec![letter; LARGE]));
    let upload = Bytes::from(vec![b'x'; LARGE]);
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for protocol in BOTH {
        let (client, stopped) = (host.client(), Arc::clone(&stop));
        workers.push(tokio::spawn(async move {
            let mut connection = client.connect("localhost", protocol).await;
            while !stopped.load(Ordering::Relaxed) {
                let reply = connection.send(ask("GET", "https://localhost/large")).await;
                assert!(hashes.contains(&Sha256::digest(&reply.body)), "{} bytes of both", reply.body.len());
            }
        }));
        let (client, stopped, upload) = (host.client(), Arc::clone(&stop), upload.clone());
        workers.push(tokio::spawn(async move {
            let mut connection = client.connect("localhost", protocol).await;
            while !stopped.load(Ordering::Relaxed) {
                let reply = connection.send(with_body("POST", "https://localhost/", &[], upload.clone())).await;
                assert!(matches!(reply.text(), "a 10485760" | "b 10485760"), "{reply:?}");
            }
        }));
    }
    swap_to_and_fro(&host).await;
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        within(BUILT, "the load's end", worker).await.expect("each body was whole");
    }
}

/// What is swapped in, and what is said about it; the neighbour is served meanwhile, and so is what was there.
#[tokio::test]
async fn what_should_not_serve_does_not() {
    let setup = Setup::new(
        &[
            tables::guest("app", "version_a", "probe = \"/healthz\"\nmemory = \"16MiB\"\ntimeout = \"2s\"\n"),
            tables::guest("neighbour", "hello", ""),
            tables::router(),
        ]
        .concat(),
    );
    let routes = setup.repository("routes");
    routes.commit("main", &[("a.test.toml", "upstream = \"app\"\n"), ("b.test.toml", "upstream = \"neighbour\"\n")]);
    let host = setup.start().await;
    let whole = fs::read(fixture("version_b")).unwrap();
    let written = |name: &str, bytes: &[u8]| host.setup().write(name, bytes);
    let cases: Vec<(PathBuf, &str)> = vec![
        (host.setup().path("none.wasm"), "cannot be read: No such file or directory"),
        (written("empty.wasm", b""), "is not a component"),
        (written("text.wasm", b"hello"), "is not a component"),
        (written("module.wasm", b"\0asm\x01\0\0\0"), "is a core module, not a component"),
        (written("nothing.wasm", b"\0asm\x0d\0\x01\0"), "exports nothing that this host calls"),
        (written("truncated.wasm", &whole[..whole.len() / 2]), "is not a component"),
        (written("components.wasm", &nested_components(20_000)), "took more than"),
        (written("types.wasm", &nested_types(2_000)), "ended the process that read it"),
        (component("router"), "is a router, and `app` is a service"),
        (component("site"), "imports atoll:host/repository@0.1.0, which is not granted"),
        (fixture("starts_with_a_trap"), "trapped: "),
        (fixture("starts_with_a_loop"), "timed out"),
        (fixture("invalid"), "a.toml:3: it is never right"),
        (fixture("unhealthy"), "probe `/healthz`: 500"),
    ];
    let before = host.component("app").await["digest"].clone();
    for (file, reason) in cases {
        let swap = host.swap("app", &file);
        let neighbour = async { host.client().get("https://b.test/").await };
        let (outcome, neighbour) = tokio::join!(swap, neighbour);
        let name = file.file_name().unwrap().to_str().unwrap();
        let said = outcome.failed();
        assert!(said.contains(reason), "{name}: {said}");
        assert_eq!(neighbour.brief(), (200, "hello\n"), "{name}");
        assert_eq!(host.client().get("https://a.test/").await.brief(), (200, "a"), "{name}");
        let component = host.component("app").await;
        assert_eq!(component["digest"], before, "{name}");
        assert!(component["error"].as_str().is_some_and(|error| error.contains(reason)), "{name}: {component}");
        assert!(host.setup().log().contains(reason), "{name}");
    }
    host.swap("app", &fixture("version_b")).await.done();
    assert_eq!(host.client().get("https://a.test/").await.brief(), (200, "b"));
    assert!(host.component("app").await["error"].is_null());
}

#[tokio::test]
async fn a_router_is_swapped_like_any_other() {
    let manifest = [tables::guest("app", "hello", ""), tables::guest("router", "router_to_app", "")].concat();
    let host = Setup::new(&manifest).start().await;
    let mut connection = host.client().connect("localhost", Protocol::Http2).await;
    assert_eq!(connection.send(ask("GET", "https://localhost/x")).await.brief(), (200, "hello\n"));
    host.swap("router", &fixture("router_that_refuses")).await.done();
    assert_eq!(connection.send(ask("GET", "https://localhost/x")).await.status, 403);
}

#[tokio::test]
async fn a_swap_lasts_until_the_host_stops() {
    let host = app().await;
    host.swap("app", &fixture("version_b")).await.done();
    assert_eq!(host.component("app").await["swapped"], true);
    let host = host.terminate().await.start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "a"));
    assert_eq!(host.component("app").await["swapped"], false);
}

#[tokio::test]
async fn a_watched_file_is_swapped_when_it_changes() {
    let setup = Setup::new("[component.app]\npath = \"app.wasm\"\n").argument("--watch");
    place(&setup, &fixture("version_a"));
    let host = setup.start().await;
    let answers = async |body: &str| {
        let client: Client = host.client();
        until(BUILT, body, async || (client.get("https://localhost/").await.brief() == (200, body)).then_some(()))
            .await;
    };
    answers("a").await;
    place(host.setup(), &fixture("version_b"));
    answers("b").await;
    host.setup().write("app.wasm", "no longer a component");
    host.logged("app.wasm: is not a component").await;
    answers("b").await;
    place(host.setup(), &fixture("version_a"));
    answers("a").await;
}

/// Of what drains, four generations are kept; beyond that the oldest is reset.
#[tokio::test]
async fn the_oldest_of_too_many_generations_is_reset() {
    let host = app().await;
    let mut bodies = Vec::new();
    for turn in 0..6 {
        let mut connection = host.client().narrow().connect("localhost", Protocol::Http1).await;
        let mut body = connection.open(ask("GET", "https://localhost/large")).await.unwrap().into_body();
        within(SOON, "the first bytes", body.frame()).await.unwrap().unwrap();
        bodies.push((connection, body));
        if turn < 5 {
            host.swap("app", &fixture(if turn % 2 == 0 { "version_b" } else { "version_a" })).await.done();
        }
    }
    let mut whole = Vec::new();
    for (_connection, body) in bodies {
        whole.push(within(SOON, "the end of a body", body.collect()).await.is_ok());
    }
    assert_eq!(whole, [false, true, true, true, true, true]);
}

fn place(setup: &Setup, file: &Path) {
    let fresh = setup.path("app.wasm.new");
    fs::copy(file, &fresh).unwrap();
    fs::rename(fresh, setup.path("app.wasm")).unwrap();
}
