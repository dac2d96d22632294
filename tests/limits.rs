//! How many may be there at once, who makes room, and what a reload changes: `[limits]`.

use std::time::{Duration, Instant};

use http::Response;
use http_body_util::BodyExt as _;
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::support::{
    client::{BOTH, Client, Protocol, ask},
    host::{Host, Setup},
    raw, tables,
    upstream::{Seen, Upstream, dead, whole},
    wait::{SOON, promptly, within},
};

const URL: &str = "https://localhost/";

fn manifest(limits: &str) -> String {
    format!("[limits]\n{limits}\n{}", tables::mischief("mischief", "timeout = \"30s\"\n"))
}

async fn host(limits: &str) -> Host {
    Setup::new(&manifest(limits)).start().await
}

async fn served(client: &Client) {
    assert_eq!(promptly("a neighbour", client.send_over(Protocol::Http2, ask("GET", URL))).await.status, 200);
}

async fn closed(stream: &mut TcpStream) {
    let end = within(SOON, "the end of a connection", stream.read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

/// One address has its share, of which the oldest idle one goes first; another has its own.
#[tokio::test]
async fn an_address_has_its_share() {
    let host = host("address-connections = 3").await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut connection = host.client().connect("localhost", Protocol::Http2).await;
        assert_eq!(connection.send(ask("GET", URL)).await.status, 200);
        open.push(connection);
    }
    let mut fourth = host.client().connect("localhost", Protocol::Http1).await;
    assert_eq!(fourth.send(ask("GET", URL)).await.status, 200);
    assert!(open[0].ends_within(SOON).await, "the oldest");
    let mut kept = Vec::new();
    for mut connection in open.drain(1..).chain([fourth]) {
        kept.push(tokio::spawn(async move { connection.send(ask("GET", "https://localhost/sleep?ms=1500")).await }));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let error = host.client().handshake(Some("localhost"), &[]).await.expect_err("all are busy");
    assert!(matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset), "{error}");
    served(&host.client().connecting_from("127.0.0.2".parse().unwrap())).await;
    for kept in kept {
        assert_eq!(within(SOON, "an answer", kept).await.unwrap().status, 200);
    }
    served(&host.client()).await;
}

/// When all places are taken, who says nothing goes for who comes.
#[tokio::test]
async fn when_all_is_full_the_oldest_idle_one_goes() {
    let host = host("connections = 20").await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(host.https()).await.unwrap());
    }
    for protocol in BOTH {
        let begun = Instant::now();
        assert_eq!(host.client().send_over(protocol, ask("GET", URL)).await.status, 200);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    closed(&mut silent[0]).await;
}

/// 64 descriptors, and somebody who takes them all.
#[tokio::test]
async fn running_out_of_descriptors_is_survived() {
    let host = host("handshake = \"2s\"").await;
    let id = rustix::process::Pid::from_raw(i32::try_from(host.id()).unwrap()).unwrap();
    let least = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
    rustix::process::prlimit(Some(id), rustix::process::Resource::Nofile, least).unwrap();
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(host.https()).await.unwrap());
    }
    host.logged("no connection could be accepted").await;
    let begun = Instant::now();
    assert_eq!(host.client().get(URL).await.status, 200, "room was made");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    drop(silent);
    served(&host.client()).await;
}

/// What the system lets it have it takes, and says where that is less than its own limits.
#[tokio::test]
async fn all_the_descriptors_that_there_are() {
    let host = Setup::new(&manifest("connections = 3000")).descriptors(256, 4000).start().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", host.id())).unwrap();
    let line: Vec<_> =
        limits.lines().find(|line| line.starts_with("Max open files")).unwrap().split_whitespace().collect();
    assert_eq!(line[3..5], ["4000", "4000"]);
    let words = "4000 files and sockets may be open at once, and 3000 `connections`, with what goes along, may come to 4024: \
                 raise that (LimitNOFILE=, ulimit -n), or lower `connections` in [limits]";
    host.logged(words).await;
    host.setup().manifest(&manifest("connections = 2976"));
    host.reload().await.done();
    assert_eq!(host.setup().log().matches("files and sockets may be open").count(), 1);
}

/// Of what an upstream carries at once a client has a part, however slowly it takes that; it waits for its own, and another
/// has what is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_has_a_part_of_an_upstream() {
    let large = bytes::Bytes::from(vec![b'x'; 32 << 20]);
    let answer = move |seen: &Seen| {
        Response::new(whole(if seen.target.ends_with("/large") { large.clone() } else { "x".into() }))
    };
    // On eight connections that is sixteen.
    let upstream = Upstream::taking(2, answer).await;
    let lines = format!("[upstream.app]\nurl = \"http://{}\"\nprotocol = \"h2c\"\n", upstream.address());
    let setup = Setup::new(&[lines, tables::router()].concat());
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"app\"\n")]);
    let host = setup.start().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut connection = host.client().narrow().connect("a.test", Protocol::Http1).await;
        let response = connection.open(ask("GET", "https://a.test/large")).await.unwrap();
        assert_eq!(response.status(), 200);
        held.push((connection, response));
    }
    let client = host.client();
    let beyond = tokio::spawn(async move { client.get("https://a.test/").await });
    let neighbour = host.client().connecting_from("127.0.0.2".parse().unwrap());
    for protocol in BOTH {
        assert_eq!(neighbour.send_over(protocol, ask("GET", "https://a.test/")).await.brief(), (200, "x"));
    }
    assert!(!beyond.is_finished(), "it waits for its own");
    assert_eq!(beyond.await.unwrap().brief(), (503, "503 Service Unavailable\n"));
    let lines = host.accessed(3).await;
    assert_eq!((&lines[2]["status"], &lines[2]["error"]), (&503.into(), &"overloaded".into()), "{lines:?}");
    assert_eq!(upstream.seen().len(), 6);
    assert!(!host.setup().log().contains("[upstream.app]"), "it is not the upstream's fault");
    let client = host.client();
    let waits = tokio::spawn(async move { client.get("https://a.test/").await });
    drop(held);
    assert_eq!(waits.await.unwrap().brief(), (200, "x"));
}

/// Bytes over a window: who takes nothing goes, who takes little at a time stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_has_a_least_rate() {
    let host = host("body-rate = 1000\nbody-window = \"2s\"").await;
    for protocol in BOTH {
        let url = "https://localhost/large?mb=20";
        let mut stopped = host.client().narrow().connect("localhost", protocol).await;
        let mut slow = host.client().narrow().connect("localhost", protocol).await;
        let (stalls, goes) = (stopped.open(ask("GET", url)).await.unwrap(), slow.open(ask("GET", url)).await.unwrap());
        let mut body = goes.into_body();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(7) {
            within(SOON, "some bytes", body.frame()).await.unwrap().expect("it goes on");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        served(&host.client()).await;
        let whole = within(SOON, "its end", stalls.into_body().collect()).await;
        assert!(whole.is_err(), "{protocol:?}: who took nothing was cut off");
    }
}

/// Behind a balancer that says of whom a connection is, the client is counted and logged, and not the balancer.
#[tokio::test]
async fn a_proxy_header_tells_the_client() {
    let (http, https) = (dead(), dead());
    let listen = format!("[listen]\nhttp = \"{http}\"\nhttps = \"{https}\"\nproxied = \"{http}\"\nredirect = false\n");
    let manifest =
        [&listen, "[limits]\naddress-connections = 1\nhandshake = \"1s\"\n", &*tables::guest("hello", "hello", "")];
    let host = Setup::new(&manifest.concat()).start().await;
    let ask = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\0\x01\0\x02";
    let cases = [
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 7 80\r\n".to_vec(), Some("192.0.2.1")),
        (b"PROXY TCP6 2001:db8::1 ::1 7 80\r\n".to_vec(), Some("2001:db8::1")),
        (b"PROXY UNKNOWN\r\n".to_vec(), Some("127.0.0.1")),
        (v2.to_vec(), Some("192.0.2.7")),
        (vec![], None),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 7 80\n".to_vec(), None),
        (b"PROXY TCP4 ".to_vec(), None),
    ];
    let mut lines = 0;
    for (header, client) in cases {
        let answer = raw::plain(http, &[&header[..], ask.as_bytes()].concat()).await;
        let Some(client) = client else {
            assert!(answer.is_empty(), "{header:?}");
            continue;
        };
        assert_eq!(raw::status(&answer), 200, "{header:?}");
        lines += 1;
        assert_eq!(host.accessed(lines).await[lines - 1]["client"], client, "{header:?}");
    }
    // No other listener believes it.
    assert_eq!(host.client().get(URL).await.status, 200);
    let answer = raw::plain(https, b"PROXY TCP4 192.0.2.1 192.0.2.2 7 80\r\n").await;
    assert_eq!(answer[..6], [0x15, 3, 3, 0, 2, 2]);
}

/// The same before TLS.
#[tokio::test]
async fn a_proxy_header_comes_before_tls() {
    let https = dead();
    let listen = format!("[listen]\nhttp = \"127.0.0.1:0\"\nhttps = \"{https}\"\nproxied = \"{https}\"\n");
    let manifest = [&*listen, "[limits]\nhandshake = \"1s\"\n", &tables::guest("hello", "hello", "")].concat();
    let host = Setup::new(&manifest).start().await;
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\0\x01\0\x02";
    let mut lines = 0;
    for (header, client) in [
        (&b"PROXY TCP4 192.0.2.1 192.0.2.2 7 443\r\n"[..], "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 ::1 7 443\r\n", "2001:db8::1"),
        (v2, "192.0.2.7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ] {
        for protocol in BOTH {
            let reply = host.client().announced(header).send_over(protocol, ask("GET", URL)).await;
            assert_eq!(reply.status, 200, "{header:?} {protocol:?}");
            lines += 1;
            assert_eq!(host.accessed(lines).await[lines - 1]["client"], client, "{header:?}");
        }
    }
    // Without one, with half of one, and with one more.
    for header in [&b""[..], b"PROXY TCP4 192.0.2.1 ", &[v2, &v2[..]].concat()] {
        let error = host.client().announced(header).handshake(Some("localhost"), &[]).await.expect_err("closed");
        let name = format!("{:?}", error.kind());
        assert!(
            ["UnexpectedEof", "ConnectionReset", "BrokenPipe", "InvalidData"].contains(&&*name),
            "{header:?}: {error}"
        );
    }
    assert_eq!(host.accessed(lines).await.len(), lines);
}

/// A reload changes them for connections that come after it.
#[tokio::test]
async fn a_reload_changes_limits() {
    let host = host("handshake = \"1h\"").await;
    let mut before = TcpStream::connect(host.https()).await.unwrap();
    // It is in its handshake.
    served(&host.client()).await;
    host.setup().manifest(&manifest("handshake = \"1s\""));
    host.reload().await.done();
    let mut after = TcpStream::connect(host.https()).await.unwrap();
    closed(&mut after).await;
    assert!(raw::silent(&mut before, Duration::from_millis(100)).await);
    host.setup().manifest(&manifest("handshak = \"1s\""));
    let failed = host.reload().await.failed();
    assert!(failed.contains("host.toml:2: unknown key `handshak` in [limits]; did you mean `handshake`?"), "{failed}");
}
