//! Requests that go on to a URL: what the upstream is told, what the client gets back, and what becomes of an upstream that
//! does not do its part.

use std::{
    fs,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use crate::support::{
    ca::Ca,
    client::{BOTH, Protocol, ask, with_body, with_fields},
    host::{Host, Setup},
    nginx::Nginx,
    raw,
    skip::missing,
    tables,
    upstream::{Seen, Upstream, dead, mute, whole},
    wait::{SOON, until, within},
};

/// A host whose router sends everything to the upstream of these lines.
async fn before(lines: &str) -> Host {
    prepared(lines).start().await
}

fn prepared(lines: &str) -> Setup {
    let setup = Setup::new(&format!("[upstream.app]\n{lines}\n{}", tables::router()));
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"app\"\n")]);
    setup
}

#[tokio::test]
async fn each_protocol_is_spoken_to_the_upstream() {
    let ca = Ca::new("upstream");
    let pair = ca.issue(&["127.0.0.1"]);
    for (protocol, tls) in
        [(Protocol::Http1, false), (Protocol::Http2, false), (Protocol::Http1, true), (Protocol::Http2, true)]
    {
        let answer =
            |seen: &Seen| Response::builder().status(201).header("x-mine", "1").body(whole(seen.body.clone())).unwrap();
        let (upstream, lines) = if tls {
            let upstream = Upstream::start_tls(protocol, &pair, answer).await;
            let lines = format!("url = \"https://{}\"\nca = \"ca.pem\"", upstream.address());
            (upstream, lines)
        } else {
            let upstream = Upstream::start(protocol, answer).await;
            let how = if protocol == Protocol::Http2 { "protocol = \"h2c\"" } else { "" };
            let lines = format!("url = \"http://{}\"\n{how}", upstream.address());
            (upstream, lines)
        };
        let setup = prepared(&lines);
        setup.write("ca.pem", ca.pem());
        let host = setup.start().await;
        for client in BOTH {
            let request = with_body("PUT", "https://a.test/x?y", &[("content-type", "text/x")], "sent");
            let reply = host.client().send_over(client, request).await;
            assert_eq!(
                (reply.brief(), reply.field("x-mine")),
                ((201, "sent"), Some("1")),
                "{protocol:?} {tls} {client:?}"
            );
        }
        for seen in upstream.seen() {
            assert_eq!((&seen.method, &seen.body[..]), (&http::Method::PUT, &b"sent"[..]));
            assert!(seen.target.ends_with("/x?y"), "{}", seen.target);
            assert_eq!(seen.field("content-type"), "text/x");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_who_it_should_be_is_not_spoken_to() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    for pair in [theirs.issue(&["127.0.0.1"]), ours.issue(&["other.test"])] {
        let upstream = Upstream::start_tls(Protocol::Http1, &pair, |_| Response::new(whole("x"))).await;
        let setup = prepared(&format!("url = \"https://{}\"\nca = \"ca.pem\"", upstream.address()));
        setup.write("ca.pem", ours.pem());
        let host = setup.start().await;
        assert_eq!(host.client().get("https://a.test/").await.status, 502);
        assert!(upstream.seen().is_empty());
    }
}

/// What the upstream is told of the client is what the host knows, whatever the client claims.
#[tokio::test]
async fn fields_about_the_client_are_the_hosts() {
    let upstream = Upstream::start(Protocol::Http1, |_| {
        Response::builder()
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .header("keep-alive", "timeout=5")
            .header("x-end", "2")
            .body(whole("x"))
            .unwrap()
    });
    let upstream = upstream.await;
    let host = before(&format!("url = \"http://{}\"", upstream.address())).await;
    let claims = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-host", "evil.test"),
        ("forwarded", "for=10.0.0.1"),
        // To what reads fields as CGI does, the same names.
        ("x_forwarded_for", "10.0.0.1"),
        ("x-real_ip", "10.0.0.1"),
        ("te", "trailers, gzip"),
        ("x-end", "kept"),
        // As a browser cuts them up.
        ("cookie", "a=1"),
        ("cookie", "b=2"),
    ];
    for protocol in BOTH {
        let reply = host.client().send_over(protocol, with_fields("GET", "https://a.test/", &claims)).await;
        assert_eq!((reply.field("x-hop"), reply.field("keep-alive"), reply.field("x-end")), (None, None, Some("2")));
    }
    let hop = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close, x-named\r\nX-Named: 1\r\nKeep-Alive: 1\r\n\
               Proxy-Authorization: x\r\nProxy-Connection: x\r\nUpgrade: x\r\n\r\n";
    assert_eq!(raw::status(&raw::tls(&host.client(), "a.test", hop.as_bytes()).await), 200);
    let seen = upstream.seen();
    assert_eq!(seen.len(), 3);
    for seen in &seen {
        assert_eq!(seen.field("x-forwarded-for"), "127.0.0.1");
        assert_eq!(seen.field("x-forwarded-proto"), "https");
        assert_eq!(seen.field("x-forwarded-host"), "a.test");
        let gone =
            "forwarded x_forwarded_for x-real_ip x-named keep-alive proxy-authorization proxy-connection upgrade";
        for gone in gone.split(' ') {
            assert_eq!(seen.field(gone), "", "{gone}");
        }
    }
    assert_eq!(seen[0].field("x-end"), "kept");
    assert_eq!(seen[0].field("te"), "trailers", "and no coding");
    let cookies = seen.iter().map(|seen| seen.fields.get_all("cookie").iter().count());
    assert_eq!(cookies.collect::<Vec<_>>(), [2, 1, 0], "over HTTP/2 they are one line again");
    assert_eq!(seen[1].field("cookie"), "a=1; b=2");
}

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let upstream = Upstream::start(Protocol::Http1, |_| Response::new(whole("x"))).await;
    let listen = "[listen]\nhttp = \"127.0.0.1:0\"\nhttps = \"127.0.0.1:0\"\ntrusted = [\"127.0.0.2/32\"]\n";
    let manifest = [listen, &tables::upstream("app", upstream.address()), &tables::router()].concat();
    let setup = Setup::new(&manifest);
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"app\"\n")]);
    let host = setup.start().await;
    for (from, claimed, expected) in
        [("127.0.0.2", "192.0.2.7", "192.0.2.7, 127.0.0.2"), ("127.0.0.1", "192.0.2.7", "127.0.0.1")]
    {
        let client = host.client().connecting_from(from.parse().unwrap());
        client.send(with_fields("GET", "https://a.test/", &[("x-forwarded-for", claimed)])).await;
        assert_eq!(upstream.seen().pop().unwrap().field("x-forwarded-for"), expected);
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_do_its_part() {
    let cut = cuts_off().await;
    let rude = says(b"nonsense\r\n\r\n").await;
    let lying = says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello").await;
    for (name, address) in [("dead", dead()), ("cut off", cut), ("rude", rude), ("lying", lying)] {
        let host = before(&format!("url = \"http://{address}\"")).await;
        for protocol in BOTH {
            let begun = Instant::now();
            let reply = host.client().send_over(protocol, ask("GET", "https://a.test/")).await;
            assert_eq!(reply.brief(), (502, "502 Bad Gateway\n"), "{name} over {protocol:?}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{name}: {:?}", begun.elapsed());
        }
        for line in host.accessed(2).await {
            assert!(line["status"] == 502 && line["error"].is_string(), "{name}: {line}");
        }
    }
}

/// It has a minute to begin its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_says_nothing_is_waited_for_and_then_no_longer() {
    let (address, _listener) = mute().await;
    let host = before(&format!("url = \"http://{address}\"")).await;
    let begun = Instant::now();
    let reply = host.client().patient().get("https://a.test/").await;
    assert_eq!(reply.brief(), (504, "504 Gateway Timeout\n"));
    assert!(begun.elapsed() > Duration::from_secs(50), "{:?}", begun.elapsed());
}

/// Over HTTP/2 it speaks first, and has as long for that as to be reached. Its neighbour knows nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_never_begins_http2_is_waited_for_and_then_no_longer() {
    let (address, _listener) = mute().await;
    let neighbour = Upstream::start(Protocol::Http1, |_| Response::new(whole("x"))).await;
    let app = format!("[upstream.app]\nurl = \"http://{address}\"\nprotocol = \"h2c\"\n");
    let setup = Setup::new(&[app, tables::upstream("neighbour", neighbour.address()), tables::router()].concat());
    let routes = [("_.toml", "upstream = \"app\"\n"), ("neighbour.test.toml", "upstream = \"neighbour\"\n")];
    setup.repository("routes").commit("main", &routes);
    let host = setup.start().await;
    let client = host.client();
    let (reply, ()) = tokio::join!(client.get("https://a.test/"), async {
        let begun = Instant::now();
        assert_eq!(client.get("https://neighbour.test/").await.brief(), (200, "x"));
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    });
    assert_eq!(reply.brief(), (504, "504 Gateway Timeout\n"));
    let line = host.logged("[upstream.app]").await;
    let reason = format!("[upstream.app]: upstream unreachable: {address}: no HTTP/2 settings in time");
    assert!(line.ends_with(&reason), "{line}");
}

#[tokio::test]
async fn where_one_refuses_the_next_is_tried() {
    let upstream = Upstream::start(Protocol::Http1, |_| Response::new(whole("second"))).await;
    let host = before(&format!("url = [\"http://{}\", \"http://{}\"]", dead(), upstream.address())).await;
    for _ in 0..3 {
        assert_eq!(host.client().get("https://a.test/").await.brief(), (200, "second"));
    }
}

/// One that refused is left alone for a while, and then asked again.
#[tokio::test]
async fn one_that_refused_is_left_alone_for_a_while() {
    let second = Upstream::start(Protocol::Http1, |_| Response::new(whole("second"))).await;
    let first = dead();
    let host = before(&format!("url = [\"http://{first}\", \"http://{}\"]", second.address())).await;
    let ask = async || host.client().get("https://a.test/").await.text().to_owned();
    // As `ps` shows it: the URL, and how often it could not be reached.
    let shown = async || {
        let upstreams = host.ps().await["upstreams"].as_array().unwrap().clone();
        upstreams
            .into_iter()
            .map(|one| (one["url"].as_str().unwrap().to_owned(), one["refusals"].clone()))
            .collect::<Vec<_>>()
    };
    let urls = [first, second.address()].map(|address| format!("http://{address}"));
    let states = |refusals: u64| vec![(urls[0].clone(), refusals.into()), (urls[1].clone(), 0.into())];
    assert_eq!(shown().await, states(0));
    assert_eq!(ask().await, "second");
    let begun = Instant::now();
    assert_eq!(shown().await, states(1));
    says_at(first, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nfirst").await;
    let soon = ask().await;
    assert!(soon == "second" || begun.elapsed() > Duration::from_millis(900), "{soon}");
    let again = until(SOON, "the first one asked again", async || (ask().await == "first").then_some(()));
    again.await;
    assert_eq!(shown().await, states(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// The host's log says why, whatever becomes of the access log; once, and not for each request.
#[tokio::test]
async fn why_an_upstream_fails_is_in_the_log() {
    let address = dead();
    let host = before(&format!("url = \"http://{address}\"\n[log]\naccess = \"off\"")).await;
    for _ in 0..3 {
        assert_eq!(host.client().get("https://a.test/").await.status, 502);
    }
    let line = host.logged("[upstream.app]").await;
    let reason = format!("[upstream.app]: upstream unreachable: {address}: connection refused");
    assert!(line.ends_with(&reason), "{line}");
    assert_eq!(host.setup().log().matches("[upstream.app]").count(), 1);
}

/// One plain page, as the client would have it.
#[tokio::test]
async fn a_failure_is_told_in_the_clients_form() {
    let host = before(&format!("url = \"http://{}\"", dead())).await;
    for (accept, media, body) in [
        ("application/json", "application/json", "{\"status\":502,\"error\":\"Bad Gateway\"}\n"),
        ("text/html, application/json;q=0.5", "text/plain; charset=utf-8", "502 Bad Gateway\n"),
        ("*/*", "text/plain; charset=utf-8", "502 Bad Gateway\n"),
    ] {
        for protocol in BOTH {
            let request = with_fields("GET", "https://a.test/", &[("accept", accept)]);
            let reply = host.client().send_over(protocol, request).await;
            assert_eq!((reply.brief(), reply.field("content-type")), ((502, body), Some(media)), "{accept}");
        }
    }
}

/// The client must be able to tell.
#[tokio::test]
async fn a_response_that_breaks_off_does_not_look_whole() {
    let address = says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
    let host = before(&format!("url = \"http://{address}\"")).await;
    for protocol in BOTH {
        let mut connection = host.client().connect("a.test", protocol).await;
        assert!(connection.try_send(ask("GET", "https://a.test/")).await.is_err(), "{protocol:?}");
    }
}

/// Bodies are passed on as they come, both ways, and neither is held whole: the upstream answers when it has the first bytes.
#[tokio::test]
async fn bodies_stream() {
    let upstream = Upstream::start(Protocol::Http1, |_| {
        let frames = futures_util::stream::unfold(0, |sent| async move {
            match sent {
                0 => Some((Ok(Frame::data(Bytes::from_static(b"first"))), 1)),
                _ => std::future::pending().await,
            }
        });
        Response::new(BodyExt::boxed(StreamBody::new(SyncStream(Box::pin(frames)))))
    });
    let upstream = upstream.await;
    let host = before(&format!("url = \"http://{}\"", upstream.address())).await;
    for protocol in BOTH {
        let mut connection = host.client().connect("a.test", protocol).await;
        let mut body = connection.open(ask("GET", "https://a.test/")).await.unwrap().into_body();
        let frame = within(SOON, "the first bytes", body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "first", "{protocol:?}");
    }
}

#[tokio::test]
async fn raw_path_is_passed_on_as_it_came() {
    let upstream = Upstream::start(Protocol::Http1, |_| Response::new(whole("x"))).await;
    for (raw, target, expected) in
        [(false, "/a/./b//c%7Ed?e=%7E", "/a/b/c~d?e=%7E"), (true, "/a/./b//c%7Ed%2Fe?e=%7E", "/a/./b//c%7Ed%2Fe?e=%7E")]
    {
        let host = before(&format!("url = \"http://{}\"\nraw-path = {raw}", upstream.address())).await;
        assert_eq!(host.client().get(&format!("https://a.test{target}")).await.status, 200);
        assert_eq!(upstream.seen().pop().unwrap().target, expected);
    }
}

/// A stranger's server, its ranges and preconditions untouched.
#[tokio::test]
async fn nginx_is_passed_through() {
    if missing(&["nginx"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("www")).unwrap();
    fs::write(folder.path().join("www/a.txt"), "0123456789").unwrap();
    let nginx = Nginx::start(folder.path(), "location /gone { return 410; }").await;
    let host = before(&format!("url = \"http://{}\"", nginx.address())).await;
    for protocol in BOTH {
        let url = "https://a.test/a.txt";
        let whole = host.client().send_over(protocol, ask("GET", url)).await;
        assert_eq!(whole.brief(), (200, "0123456789"));
        let tag = whole.field("etag").unwrap().to_owned();
        for (fields, status, body) in [
            (&[("range", "bytes=2-3")][..], 206, "23"),
            (&[("if-none-match", &*tag)], 304, ""),
            (&[("range", "bytes=20-")], 416, ""),
        ] {
            let reply = host.client().send_over(protocol, with_fields("GET", url, fields)).await;
            assert_eq!(reply.status, status, "{fields:?}");
            assert!(status == 416 || reply.text() == body, "{fields:?}: {reply:?}");
        }
        assert_eq!(host.client().send_over(protocol, ask("GET", "https://a.test/gone")).await.status, 410);
    }
}

/// It takes four streams a connection, and refuses those beyond; each of these answers takes it a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_one_connection_carries_goes_by_others() {
    if missing(&["nginx"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("www")).unwrap();
    let text = "0123456789".repeat(600);
    fs::write(folder.path().join("www/a.txt"), &text).unwrap();
    let root = folder.path().join("www");
    let server = |address| {
        let root = root.display();
        format!(
            "server {{ listen {address} http2; http2_max_concurrent_streams 4; root {root}; limit_rate 4k;\n\
                 add_header x-connection $connection; }}"
        )
    };
    let nginx = Nginx::serving(folder.path(), server).await;
    let host = before(&format!("url = \"http://{}\"\nprotocol = \"h2c\"", nginx.address())).await;
    let client = host.client();
    let asked = (0..40).map(|_| client.get("https://a.test/a.txt"));
    let mut connections = std::collections::BTreeSet::new();
    for reply in futures_util::future::join_all(asked).await {
        assert_eq!(reply.brief(), (200, &*text));
        connections.insert(reply.field("x-connection").unwrap().to_owned());
    }
    assert!((2..=8).contains(&connections.len()), "{connections:?}");
}

/// A GET that says only by an empty frame that it has no body has none over HTTP/1.1 either; one that has some keeps it.
#[tokio::test]
async fn a_body_that_is_none_is_not_sent_in_chunks() {
    use crate::support::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, frame, head};

    let upstream = Upstream::start(Protocol::Http1, |_| Response::new(whole("x"))).await;
    let host = before(&format!("url = \"http://{}\"", upstream.address())).await;
    for (data, coding) in
        [(&[][..], ""), (&[b"".to_vec(), b"".to_vec()], ""), (&[b"ab".to_vec(), b"c".to_vec()], "chunked")]
    {
        let mut frames = Frames::open(&host.client(), "a.test", &[]).await;
        frames.send(&frame(HEADERS, END_HEADERS, 1, &head("a.test", "/"))).await;
        for piece in data {
            frames.send(&frame(DATA, 0, 1, piece)).await;
        }
        frames.send(&frame(DATA, END_STREAM, 1, &[])).await;
        assert_eq!(frames.outcome().await, "answered 1");
        let seen = upstream.seen().pop().unwrap();
        let fields = ["transfer-encoding", "content-length"].map(|name| seen.field(name));
        assert_eq!((&*fields[0], &*fields[1], &seen.body[..]), (coding, "", &data.concat()[..]));
    }
}

/// Takes a request, says these bytes, and goes.
async fn says(bytes: &'static [u8]) -> std::net::SocketAddr {
    let (address, listener) = mute().await;
    serves(listener, bytes);
    address
}

/// The same, where nobody listened before.
async fn says_at(address: std::net::SocketAddr, bytes: &'static [u8]) {
    serves(tokio::net::TcpListener::bind(address).await.unwrap(), bytes);
}

fn serves(listener: tokio::net::TcpListener, bytes: &'static [u8]) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(bytes).await;
        }
    });
}

async fn cuts_off() -> std::net::SocketAddr {
    says(b"").await
}

/// A stream of one owner at a time: what `BoxBody` wants to hear.
struct SyncStream<S>(S);

impl<S: futures_util::Stream + Unpin> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::pin::Pin::new(&mut self.0).poll_next(cx)
    }
}
