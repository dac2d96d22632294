//! HTTP/2's flow control, which nobody can starve: who reads nothing, or is not read, holds back no other on the same
//! connection.

use bytes::Bytes;
use http::Response;
use tokio::task::JoinHandle;

use crate::support::{
    client::{BOTH, Protocol, ask, with_body},
    host::{Host, Setup},
    tables,
    upstream::{Upstream, mute, whole},
};

/// As large that no buffer of the system's on the way takes it all.
const LARGE: usize = 32 << 20;
/// Clients that take nothing.
const STALLED: usize = 40;
/// More than any window.
const MIB: usize = 1 << 20;

/// All clients' requests go to one upstream over one connection, for as long as it allows more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_an_upstream_that_do_not_read_hold_back_nobody() {
    let (large, page) = (Bytes::from(vec![b'x'; LARGE]), Bytes::from(vec![b'y'; 8 * MIB]));
    let answer = move |seen: &crate::support::upstream::Seen| {
        let body = if seen.target.ends_with("/large") { &large } else { &page };
        Response::new(whole(body.clone()))
    };
    let upstream = Upstream::start(Protocol::Http2, answer).await;
    let lines = format!("[upstream.app]\nurl = \"http://{}\"\nprotocol = \"h2c\"\n", upstream.address());
    let setup = Setup::new(&[lines, tables::router()].concat());
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"app\"\n")]);
    let host = setup.start().await;
    let mut held = Vec::new();
    for _ in 0..STALLED {
        let mut connection = host.client().narrow().connect("a.test", Protocol::Http1).await;
        let response = connection.open(ask("GET", "https://a.test/large")).await.unwrap();
        assert_eq!(response.status(), 200);
        held.push((connection, response));
    }
    for protocol in BOTH {
        let reply = host.client().send_over(protocol, ask("GET", "https://a.test/")).await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 8 * MIB), "{protocol:?}");
    }
}

/// Uploads over one connection of a client's, which `path` does not read; those that follow are served.
async fn uploads_that_nobody_reads(host: &Host, path: &str) {
    let connection = host.client().patient().connect("a.test", Protocol::Http2).await;
    let body = Bytes::from(vec![b'x'; LARGE]);
    let unread: Vec<JoinHandle<_>> = (0..6)
        .map(|number| {
            let (mut stream, body) = (connection.stream(), body.clone());
            let url = format!("https://a.test{path}&{number}");
            tokio::spawn(
                async move { stream.try_send(with_body("POST", &url, &[], body)).await.map(|reply| reply.status) },
            )
        })
        .collect();
    // Whoever sends more than their windows has them full by then.
    for _ in 0..4 {
        let request = with_body("POST", "https://a.test/echo", &[], vec![b'y'; MIB]);
        let reply = connection.stream().send(request).await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (200, MIB), "{path}");
    }
    assert!(!unread.iter().any(JoinHandle::is_finished), "{path}: they are under way");
    unread.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_are_not_read_hold_back_nobody() {
    let (address, listener) = mute().await;
    let lines = "timeout = \"30s\"\n";
    let manifest = [tables::upstream("mute", address), tables::mischief("mischief", lines), tables::router()];
    let setup = Setup::new(&manifest.concat());
    let routes = "upstream = \"mischief\"\n[[path]]\nprefix = \"/mute\"\nupstream = \"mute\"\n";
    setup.repository("routes").commit("main", &[("_.toml", routes)]);
    let host = setup.start().await;
    let accepting = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Ok(one) = listener.accept().await {
            all.push(one);
        }
    });
    uploads_that_nobody_reads(&host, "/sleep?ms=25000").await;
    uploads_that_nobody_reads(&host, "/mute?").await;
    accepting.abort();
}
