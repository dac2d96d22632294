//! The end: what was accepted is finished, nothing new is taken, and it does not wait for ever.

use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::support::{
    broken::slow as slow_to_compile,
    client::{BOTH, Protocol, ask},
    frames::{Frames, GOAWAY, HEADERS, PING, frame, get},
    host::{Host, Setup},
    tables,
    upstream::mute,
    wait::{SOON, until, within},
};

/// A host with a guest that answers at `/sleep?ms=MS` after that long.
async fn slow() -> Host {
    Setup::new(&tables::mischief("mischief", "timeout = \"30s\"\n")).start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_is_finished() {
    let host = slow().await;
    let mut asked = Vec::new();
    for protocol in BOTH {
        let mut connection = host.client().connect("localhost", protocol).await;
        asked.push(tokio::spawn(async move {
            let url = format!("https://localhost/sleep?ms=2000&{protocol:?}");
            let reply = connection.send(ask("GET", &url)).await;
            (reply, connection)
        }));
    }
    until(SOON, "both under way", async || {
        (host.component("mischief").await["instances"].as_u64() == Some(2)).then_some(())
    })
    .await;
    let address = host.https();
    host.signal(Signal::TERM);
    until(SOON, "a refusal", async || TcpStream::connect(address).await.err()).await;
    for (asked, protocol) in asked.into_iter().zip(BOTH) {
        let (reply, mut connection) = within(SOON, "the answer", asked).await.unwrap();
        assert_eq!(reply.status, 200, "{protocol:?}");
        let close = (protocol == Protocol::Http1).then_some("close");
        assert_eq!(reply.field("connection"), close, "{protocol:?}");
        assert!(connection.ends_within(SOON).await, "{protocol:?}");
    }
    let (_, status) = host.ended(SOON).await;
    assert_eq!(status.code(), Some(0));
}

/// HTTP/2 is told that nothing more is taken, and what was asked before is answered: by GOAWAY with NO_ERROR.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_is_told_to_go_and_answered() {
    let host = slow().await;
    let mut frames = Frames::open(&host.client(), "localhost", &[]).await;
    frames.send(&get(1, "localhost", "/sleep?ms=1500")).await;
    until(SOON, "it is under way", async || {
        (host.component("mischief").await["instances"].as_u64() == Some(1)).then_some(())
    })
    .await;
    host.signal(Signal::TERM);
    let (mut last, mut answered) = (None, false);
    while let Some(frame) = frames.next().await {
        match frame.kind {
            GOAWAY => {
                assert_eq!(frame.payload[4..8], [0; 4], "NO_ERROR");
                last = Some(u32::from_be_bytes(frame.payload[..4].try_into().unwrap()));
            }
            HEADERS if frame.stream == 1 => {
                assert!(last.is_some(), "answered before it was told to go");
                answered = true;
            }
            PING if frame.flags == 0 => frames.send(&pong(&frame.payload)).await,
            _ => {}
        }
    }
    assert_eq!((last, answered), (Some(1), true), "the last stream that is answered");
    let (_, status) = host.ended(SOON).await;
    assert_eq!(status.code(), Some(0));
}

fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PING, 1, 0, payload)
}

/// A connection that was accepted and is still in its handshake is one that a request comes by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_was_begun_leads_to_an_answer() {
    for protocol in BOTH {
        let host = slow().await;
        let client = host.client().hesitating(Duration::from_millis(700));
        let asked = tokio::spawn(async move { client.send_over(protocol, ask("GET", "https://localhost/")).await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        host.signal(Signal::TERM);
        host.logged("stopping").await;
        assert_eq!(within(SOON, "the answer", asked).await.unwrap().status, 200, "{protocol:?}");
        let (_, status) = host.ended(Duration::from_secs(5)).await;
        assert_eq!(status.code(), Some(0));
    }
}

#[tokio::test]
async fn idle_connections_are_ended_at_once() {
    let host = slow().await;
    let mut open = Vec::new();
    for protocol in BOTH {
        let mut connection = host.client().connect("localhost", protocol).await;
        assert_eq!(connection.send(ask("GET", "https://localhost/")).await.status, 200);
        open.push(connection);
    }
    let silent = TcpStream::connect(host.https()).await.unwrap();
    host.signal(Signal::TERM);
    let (_, status) = host.ended(Duration::from_secs(5)).await;
    assert_eq!(status.code(), Some(0));
    for connection in &mut open {
        assert!(connection.ends_within(SOON).await);
    }
    drop(silent);
}

/// A download that was begun is whole, however slow its reader; an upstream's too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_was_begun_is_whole() {
    let setup = Setup::new(&tables::site("site"));
    setup.repository("site").commit("main", &[("large.bin", &"x".repeat(10 << 20))]);
    let host = setup.start().await;
    let mut open = Vec::new();
    for protocol in BOTH {
        let mut connection = host.client().narrow().connect("localhost", protocol).await;
        let response = connection.open(ask("GET", "https://localhost/large.bin")).await.unwrap();
        open.push((connection, response));
    }
    host.signal(Signal::TERM);
    for (_connection, response) in open {
        let body = http_body_util::BodyExt::collect(response.into_body());
        let body = within(SOON, "the body", body).await.expect("it is whole").to_bytes();
        assert_eq!(body.len(), 10 << 20);
    }
    let (_, status) = host.ended(SOON).await;
    assert_eq!(status.code(), Some(0));
}

/// A second signal means now.
#[tokio::test]
async fn a_second_signal_ends_it_now() {
    let upstream = mute().await;
    let manifest = [tables::upstream("app", upstream.0), tables::router()].concat();
    let setup = Setup::new(&manifest);
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"app\"\n")]);
    let host = setup.start().await;
    let mut connection = host.client().connect("a.test", Protocol::Http1).await;
    let asked = tokio::spawn(async move { connection.try_send(ask("GET", "https://a.test/")).await });
    let _accepted = within(SOON, "the upstream's connection", upstream.1.accept()).await.unwrap();
    host.signal(Signal::TERM);
    host.logged("stopping").await;
    host.signal(Signal::TERM);
    let (_, status) = host.ended(Duration::from_secs(5)).await;
    assert_eq!(status.code(), Some(0));
    let cut = within(SOON, "its end", asked).await.unwrap();
    assert!(cut.is_err(), "{cut:?}");
}

/// With a socket that a supervisor holds, a host ends and the next one begins, and nobody who comes meanwhile is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_a_socket_that_was_handed_over_refuses_nobody() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("[listen]\nhttps = \"{}\"\n", socket.local_addr().unwrap());
    let setup = Setup::new(&[&*listen, &*tables::guest("hello", "hello", "")].concat()).handing_over(socket);
    let mut host = setup.start().await;
    let client = host.client();
    let asking = |protocol| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut answered = 0;
            loop {
                let reply = client.send_over(protocol, ask("GET", "https://localhost/")).await;
                assert_eq!(reply.status, 200);
                answered += 1;
                if answered == 300 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    let asking = BOTH.map(asking);
    for _ in 0..2 {
        let before = host.setup().access_log().lines().count();
        host.accessed(before + 50).await;
        host.signal(Signal::TERM);
        let (setup, status) = host.ended(SOON).await;
        assert_eq!(status.code(), Some(0));
        host = setup.start().await;
    }
    for asking in asking {
        within(SOON, "all answers", asking).await.expect("nobody was refused");
    }
}

/// A compiler is waited for by nobody: neither by the end of the host, nor by its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_compiles_holds_up_no_end() {
    let host = Setup::new(&tables::guest("hello", "hello", "")).start().await;
    let file = host.setup().write("slow.wasm", slow_to_compile(1_000));
    let state = host.setup().state();
    let mut swap = tokio::process::Command::new(env!("CARGO_BIN_EXE_host"));
    swap.args(["swap", "hello"]).arg(file).arg("--state").arg(state).kill_on_drop(true);
    let swap = swap.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let tasks = format!("/proc/{}/task", host.id());
    let compiler = until(SOON, "the compiler", async || {
        let tasks = std::fs::read_dir(&tasks).unwrap().flatten();
        let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        children.collect::<String>().split_whitespace().next().map(str::to_owned)
    })
    .await;
    // In it: one that reads, and one with a stack of our choice, whatever the machine has. A thread a core would take more
    // memory than it may.
    let threads = || std::fs::read_dir(format!("/proc/{compiler}/task")).map_or(0, Iterator::count);
    until(SOON, "its threads", async || (threads() == 2).then_some(())).await;
    for _ in 0..20 {
        assert_eq!(threads(), 2);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    host.terminate().await;
    until(SOON, "the end of the compiler", async || (threads() == 0).then_some(())).await;
    let said = swap.wait_with_output().await.unwrap();
    assert_eq!(
        (said.status.code(), &*String::from_utf8_lossy(&said.stderr)),
        (Some(1), "host: the host went away before it answered\n")
    );
}
