//! Guests that misbehave: what their client sees, exactly, and a neighbour that is served as if nothing had happened.

use std::time::{Duration, Instant};

use http::StatusCode;

use crate::support::{
    client::{BOTH, Protocol, ask, with_body},
    host::{Host, Setup},
    tables,
    wait::{SOON, until, within},
};

/// While a neighbour misbehaves, a page takes no longer than this.
const PROMPT: Duration = Duration::from_secs(2);

/// A host with these guests, each at `https://NAME.test/`, and `hello` at `https://neighbour.test/`.
async fn with_guests(guests: &[(&str, &str)]) -> Host {
    let mut manifest = [tables::router(), tables::guest("neighbour", "hello", "")].concat();
    let mut routes = vec![("neighbour.test.toml".to_owned(), "upstream = \"neighbour\"\n".to_owned())];
    for (name, lines) in guests {
        manifest.push_str(&tables::guest(name, name, lines));
        routes.push((format!("{}.test.toml", name.replace('_', "-")), format!("upstream = \"{name}\"\n")));
    }
    let setup = Setup::new(&manifest);
    let files: Vec<_> = routes.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    setup.repository("routes").commit("main", &files);
    setup.repository("pages").commit("main", &[("index.html", "page")]);
    setup.start().await
}

async fn neighbour(host: &Host) {
    let begun = Instant::now();
    assert_eq!(host.client().get("https://neighbour.test/").await.brief(), (200, "hello\n"));
    assert!(begun.elapsed() < PROMPT, "the neighbour took {:?}", begun.elapsed());
}

/// A guest, the lines of its table, the status, and what the log says of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_gives_no_answer() {
    const SHORT: &str = "timeout = \"1s\"\nmemory = \"16MiB\"\n";
    let cases = [
        ("loops", 504, "timed out"),
        ("sleeps", 504, "timed out"),
        ("traps", 502, "trapped: "),
        ("recurses", 502, "call stack exhausted"),
        ("eats_memory", 502, "trapped: "),
        ("says_nothing", 502, "no response: "),
        ("returns_an_error", 502, "no response: "),
    ];
    let guests: Vec<_> = cases.iter().map(|(name, ..)| (*name, SHORT)).collect();
    let host = with_guests(&guests).await;
    for (name, status, logged) in cases {
        let url = format!("https://{}.test/", name.replace('_', "-"));
        for protocol in BOTH {
            let client = host.client();
            let (reply, ()) = tokio::join!(client.send_over(protocol, ask("GET", &url)), neighbour(&host));
            assert_eq!(reply.status, status, "{name} over {protocol:?}");
            // What went wrong is not a client's to know.
            assert!(!reply.text().contains("wasm"), "{name}: {}", reply.text());
        }
        let line = host.logged(&format!("{name}: {logged}")).await;
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
    for name in ["traps", "recurses"] {
        assert_eq!(host.component(name).await["traps"], 2, "{name}");
        let log = host.setup().log();
        assert!(log.contains("wasm backtrace"), "{log}");
    }
}

/// The bounds on what the host holds for a guest: the guest is told no, or dies; the host does not grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_takes_what_is_the_hosts() {
    let pages = "git = { pages = \"read\" }\n";
    let mut manifest = [tables::guest("neighbour", "hello", ""), tables::router()].concat();
    manifest.push_str("[git.pages]\nremote = \"pages.git\"\n");
    let mut files = vec![("neighbour.test.toml", "upstream = \"neighbour\"\n")];
    for (name, file, route) in [
        ("opens_branches", "opens-branches.test.toml", "upstream = \"opens_branches\"\n"),
        ("reads_streams", "reads-streams.test.toml", "upstream = \"reads_streams\"\n"),
        ("makes_fields", "makes-fields.test.toml", "upstream = \"makes_fields\"\n"),
    ] {
        manifest.push_str(&tables::guest(name, name, pages));
        files.push((file, route));
    }
    let setup = Setup::new(&manifest);
    setup.repository("routes").commit("main", &files);
    setup.repository("pages").commit("main", &[("page", &"x".repeat(100_000))]);
    let host = setup.start().await;
    let before = resident(&host);
    for name in ["opens-branches", "reads-streams", "makes-fields"] {
        let url = format!("https://{name}.test/");
        let client = host.client();
        let (reply, ()) = tokio::join!(client.get(&url), neighbour(&host));
        assert_eq!(reply.status, 502, "{name}");
        let grown = resident(&host).saturating_sub(before);
        assert!(grown < 128 << 20, "{name} put {} MiB beside itself", grown >> 20);
    }
}

/// Answers that are not what they say. The body breaks off so that the client can tell, over both protocols.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_whole_does_not_look_whole() {
    let names = ["traps_in_the_body", "promises_more", "promises_less", "stalls_in_the_body"];
    let guests: Vec<_> = names.iter().map(|name| (*name, "timeout = \"1s\"\n")).collect();
    let host = with_guests(&guests).await;
    for name in names {
        let url = format!("https://{}.test/", name.replace('_', "-"));
        for protocol in BOTH {
            let mut connection = host.client().connect(url[8..].trim_end_matches('/'), protocol).await;
            match connection.try_send(ask("GET", &url)).await {
                Err(_) => {}
                // A guest that is found out before the head has gone is refused whole.
                Ok(reply) => assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{name} over {protocol:?}: {reply:?}"),
            }
            neighbour(&host).await;
        }
    }
}

/// What HTTP has no form for never reaches a client.
#[tokio::test]
async fn an_answer_that_is_no_answer() {
    let names = ["bad_status", "bad_field", "splits_the_response", "sets_connection"];
    let guests: Vec<_> = names.iter().map(|name| (*name, "")).collect();
    let host = with_guests(&guests).await;
    for name in names {
        let url = format!("https://{}.test/", name.replace('_', "-"));
        for protocol in BOTH {
            let reply = host.client().send_over(protocol, ask("GET", &url)).await;
            // The guest is told by its own binding that the field is forbidden, and answers with that.
            let expected = if name == "bad_status" { 502 } else { 500 };
            assert_eq!(reply.status, expected, "{name} over {protocol:?}");
            assert_eq!((reply.field("x-evil"), reply.field("keep-alive")), (None, None), "{name}");
        }
    }
}

#[tokio::test]
async fn a_guest_that_logs_without_end_is_heard_in_part() {
    let host = with_guests(&[("logs", "")]).await;
    for _ in 0..3 {
        assert_eq!(host.client().get("https://logs.test/").await.status, 200);
    }
    let line = host.logged("logs: ").await;
    assert!(line.contains("\\u{1b}[2J"), "escaped: {line:?}");
    let log = host.setup().log();
    assert!(log.len() < 1 << 20, "{} bytes", log.len());
    assert!(log.contains("lines left out"), "{log}");
    neighbour(&host).await;
}

/// A guest that is killed takes one request with it: the next one has an instance of its own.
#[tokio::test]
async fn a_trap_costs_one_request() {
    let host = with_guests(&[("traps_when_asked", "")]).await;
    let mut connection = host.client().connect("traps-when-asked.test", Protocol::Http1).await;
    for _ in 0..10 {
        assert_eq!(connection.send(ask("GET", "https://traps-when-asked.test/trap")).await.status, 502);
        assert_eq!(connection.send(ask("GET", "https://traps-when-asked.test/")).await.brief(), (200, "fine"));
    }
    assert_eq!(host.component("traps_when_asked").await["traps"], 10);
}

/// With four instances and a hundred clients that hardly read, a small page is there at once: the host's own bodies hold
/// no instance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_hold_no_instance() {
    let setup = Setup::new(&format!("{}instances = 4\n", tables::site("site")));
    let site = setup.repository("site");
    site.commit("main", &[("large.bin", &"x".repeat(10 << 20)), ("small.txt", "small")]);
    let host = setup.start().await;
    let mut readers = Vec::new();
    for _ in 0..100 {
        let mut connection = host.client().narrow().connect("localhost", Protocol::Http1).await;
        let response = connection.open(ask("GET", "https://localhost/large.bin")).await.unwrap();
        assert_eq!(response.status(), 200);
        readers.push((connection, response));
    }
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(host.client().get("https://localhost/small.txt").await.brief(), (200, "small"));
        // A miss: what is remembered would say nothing.
        assert_eq!(host.client().get("https://localhost/nothing").await.status, 404);
        assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
    }
}

/// A router that is wrong costs the requests that it was asked about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_misbehaves() {
    for (router, status) in [
        ("router_to_nowhere", 502),
        ("router_that_splits", 502),
        ("router_that_traps", 502),
        ("router_that_loops", 504),
    ] {
        // Each does so below `/wrong` alone, and forwards the rest to `app`.
        let manifest =
            [tables::guest("app", "hello", ""), tables::guest("router", router, "timeout = \"1s\"\n")].concat();
        let host = Setup::new(&manifest).start().await;
        assert_eq!(host.client().get("https://localhost/right").await.brief(), (200, "hello\n"), "{router}");
        let mut connection = host.client().connect("localhost", Protocol::Http2).await;
        let mut other = connection.stream();
        for _ in 0..3 {
            let (wrong, right) = tokio::join!(
                connection.send(ask("GET", "https://localhost/wrong")),
                other.send(ask("GET", "https://localhost/right"))
            );
            assert_eq!(wrong.status, status, "{router}");
            assert_eq!(wrong.field("x-evil"), None);
            assert_eq!(right.brief(), (200, "hello\n"), "{router}");
        }
    }
}

/// A component that never gets as far as serving does not stop the start; it is tried again, later and later.
#[tokio::test]
async fn a_component_that_never_starts_is_tried_again_with_growing_delays() {
    let host = with_guests(&[("starts_with_a_trap", "")]).await;
    let reply = host.client().get("https://starts-with-a-trap.test/").await;
    assert_eq!(reply.status, 503);
    assert!(reply.field("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{reply:?}");
    neighbour(&host).await;
    let error = host.component("starts_with_a_trap").await["error"].clone();
    assert!(error.as_str().is_some_and(|error| error.contains("trapped: ")), "{error}");
    let tries = || host.setup().log().matches("starts_with_a_trap: trapped: ").count();
    until(SOON, "three tries", async || (tries() >= 3).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(tries() < 10, "{} tries", tries());
}

/// A large upload to a guest that does not read it is answered, and holds nothing.
#[tokio::test]
async fn an_upload_that_nobody_reads() {
    let host = with_guests(&[]).await;
    let body = vec![0; 4 << 20];
    for protocol in BOTH {
        let mut connection = host.client().connect("neighbour.test", protocol).await;
        let sent = connection.try_send(with_body("POST", "https://neighbour.test/", &[], body.clone()));
        // It may be told early; what counts is that it does not hang, and that the next is served.
        let _ = within(SOON, "an answer or an end", sent).await;
        neighbour(&host).await;
    }
}

/// In bytes, of the host's process.
fn resident(host: &Host) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}
