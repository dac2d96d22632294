//! Upstreams that lie, break off and never end: what their client sees, exactly, and a neighbour that is served meanwhile as if
//! nothing had happened. And bodies of a GiB, both ways, of which little is held.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::Response;
use http_body_util::BodyExt as _;
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    client::{BOTH, Client, Protocol, ask},
    host::{Host, Setup},
    tables,
    upstream::{Upstream, mute, whole},
    wait::{SOON, within},
};

/// While others misbehave, the neighbour's page takes no longer than this.
const PROMPT: Duration = Duration::from_secs(5);

/// What an upstream does when it was asked.
#[derive(Clone, Copy)]
enum Deed {
    /// Says this and closes.
    Say(&'static [u8]),
    /// The same, and the kernel says that it is gone.
    Reset(&'static [u8]),
    /// Says the first, and the second for as long as somebody takes it.
    Endless(&'static [u8], &'static [u8]),
}

/// What its client gets.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// A whole answer.
    Whole(u16, String),
    /// No end; where that is known at once, no head either over HTTP/1.1.
    Cut,
    /// A head of this status, and so much behind it that it went away.
    Left(u16),
}

use Deed::{Endless, Reset, Say};

/// A body is left when there was this much of it.
const ENOUGH: usize = 4 << 20;

fn bad_gateway() -> Seen {
    Seen::Whole(502, "502 Bad Gateway\n".into())
}

fn deeds() -> Vec<(&'static str, Deed, Seen)> {
    vec![
        ("closes", Say(b""), bad_gateway()),
        ("resets", Reset(b""), bad_gateway()),
        // Said in our version.
        ("an older one", Say(b"HTTP/1.0 200 OK\r\n\r\nold"), Seen::Whole(200, "old".into())),
        ("half a head", Say(b"HTTP/1.1 200 OK\r\nContent-Le"), bad_gateway()),
        ("no http", Say(b"nonsense\r\n\r\n"), bad_gateway()),
        (
            "http2",
            Say(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01"),
            bad_gateway(),
        ),
        ("two lengths", Say(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"), bad_gateway()),
        ("no number", Say(b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\nx"), bad_gateway()),
        (
            "unasked",
            Say(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            bad_gateway(),
        ),
        (
            "endless head",
            Endless(b"HTTP/1.1 200 OK\r\n", b"X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
            bad_gateway(),
        ),
        (
            "endless line",
            Endless(b"HTTP/1.1 200 OK\r\nX-A: ", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            bad_gateway(),
        ),
        ("endless interim heads", Endless(b"", b"HTTP/1.1 103 Early Hints\r\nX-A: a\r\n\r\n"), bad_gateway()),
        (
            "interim heads",
            Say(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            Seen::Whole(200, "ok".into()),
        ),
        ("short", Say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), Seen::Cut),
        ("reset within", Reset(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), Seen::Cut),
        ("bad chunk", Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n"), Seen::Cut),
        ("no last chunk", Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"), Seen::Cut),
        ("long", Say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour and more"), Seen::Whole(200, "four".into())),
        (
            "a length and a coding",
            Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
            bad_gateway(),
        ),
        ("a coding alone", Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok"), bad_gateway()),
        (
            "a coding before chunked",
            Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
            bad_gateway(),
        ),
        (
            "chunked twice",
            Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            bad_gateway(),
        ),
        (
            "two lengths in one line",
            Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok"),
            bad_gateway(),
        ),
        (
            "one length in one line",
            Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"),
            Seen::Whole(200, "ok".into()),
        ),
        (
            "one length in two lines",
            Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
            Seen::Whole(200, "ok".into()),
        ),
        ("to the end", Say(b"HTTP/1.1 200 OK\r\n\r\nall"), Seen::Whole(200, "all".into())),
        ("endless body", Endless(b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 4096]), Seen::Left(200)),
        (
            "endless chunks",
            Endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"8\r\nxxxxxxxx\r\n"),
            Seen::Left(200),
        ),
    ]
}

async fn does(deed: Deed) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 4096]).await;
                match deed {
                    Say(words) => drop(socket.write_all(words).await),
                    Reset(words) => {
                        let _ = socket.write_all(words).await;
                        // So that what was said is there before the word that all is over.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        let _ = socket.set_zero_linger();
                    }
                    Endless(first, more) => {
                        let (mut said, more) = (socket.write_all(first).await, more.repeat(4096 / more.len() + 1));
                        while said.is_ok() {
                            said = socket.write_all(&more).await;
                        }
                    }
                }
            });
        }
    });
    address
}

async fn sees(client: Client, protocol: Protocol, url: &str, name: &str) -> Seen {
    let mut connection = client.connect(name, protocol).await;
    let Ok(response) = within(SOON, "a head", connection.open(ask("GET", url))).await else { return Seen::Cut };
    let lengths: Vec<_> = response.headers().get_all("content-length").iter().collect();
    assert!(
        matches!(lengths[..], [] | [_]) && !lengths.iter().any(|length| length.as_bytes().contains(&b',')),
        "{lengths:?}"
    );
    let (status, mut body) = (response.status().as_u16(), response.into_body());
    let mut bytes = Vec::new();
    while bytes.len() < ENOUGH {
        match within(SOON, "more of it", body.frame()).await {
            None => return Seen::Whole(status, String::from_utf8(bytes).unwrap()),
            Some(Err(_)) => return Seen::Cut,
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
        }
    }
    Seen::Left(status)
}

/// Each at `https://NUMBER.test/`, and a neighbour at `https://neighbour.test/`.
async fn host(upstreams: &[SocketAddr], neighbour: SocketAddr) -> Host {
    let mut manifest = tables::router();
    let mut routes = vec![("neighbour.test.toml".to_owned(), "upstream = \"neighbour\"\n".to_owned())];
    manifest.push_str(&tables::upstream("neighbour", neighbour));
    for (number, address) in upstreams.iter().enumerate() {
        manifest.push_str(&tables::upstream(&format!("u{number}"), address));
        routes.push((format!("{number}.test.toml"), format!("upstream = \"u{number}\"\n")));
    }
    let setup = Setup::new(&manifest);
    let routes: Vec<_> = routes.iter().map(|(name, text)| (&**name, &**text)).collect();
    setup.repository("routes").commit("main", &routes);
    setup.start().await
}

async fn neighbour(client: &Client) {
    let begun = Instant::now();
    assert_eq!(client.get("https://neighbour.test/").await.brief(), (200, "x"));
    assert!(begun.elapsed() < PROMPT, "the neighbour took {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_upstreams_do_costs_their_own_requests_alone() {
    let good = Upstream::start(Protocol::Http1, |_| Response::new(whole("x"))).await;
    let mut addresses = Vec::new();
    for (_, deed, _) in deeds() {
        addresses.push(does(deed).await);
    }
    let host = host(&addresses, good.address()).await;
    neighbour(&host.client()).await;
    for (number, (name, _, expected)) in deeds().into_iter().enumerate() {
        for protocol in BOTH {
            let (host_name, url) = (format!("{number}.test"), format!("https://{number}.test/"));
            let client = host.client();
            let (seen, ()) = tokio::join!(sees(host.client(), protocol, &url, &host_name), neighbour(&client));
            assert_eq!(seen, expected, "{name} over {protocol:?}");
        }
    }
    for why in ["it said a length and a transfer coding", "it said a transfer coding that is not just chunked"] {
        host.logged(&format!("upstream broke off: {why}")).await;
    }
}

/// In the midst of all that: what was begun is finished where it can be, the rest is cut off, and it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_in_the_midst_of_it() {
    let page = "x".repeat(8 << 20);
    let good = Upstream::start(Protocol::Http1, move |_| Response::new(whole(page.clone()))).await;
    let (silent, listener) = mute().await;
    let mut addresses = vec![silent];
    for (_, deed, _) in deeds() {
        addresses.push(does(deed).await);
    }
    let host = host(&addresses, good.address()).await;
    let mut connection = host.client().narrow().connect("neighbour.test", Protocol::Http2).await;
    let begun = connection.open(ask("GET", "https://neighbour.test/")).await.unwrap();
    let asked: Vec<_> = (0..addresses.len())
        .flat_map(|number| BOTH.map(|protocol| (number, protocol)))
        .map(|(number, protocol)| {
            let (client, name) = (host.client(), format!("{number}.test"));
            tokio::spawn(async move {
                let mut connection = client.connect(&name, protocol).await;
                let _held = connection.open(ask("GET", &format!("https://{name}/"))).await;
                std::future::pending::<()>().await;
            })
        })
        .collect();
    let _held = (
        within(SOON, "the silent one is asked", listener.accept()).await.unwrap(),
        within(SOON, "the silent one is asked", listener.accept()).await.unwrap(),
    );
    host.signal(Signal::TERM);
    let whole = within(SOON, "the neighbour's page", begun.into_body().collect()).await.expect("it is whole");
    assert_eq!(whole.to_bytes().len(), 8 << 20);
    asked.iter().for_each(tokio::task::JoinHandle::abort);
    let (_, status) = host.ended(SOON).await;
    assert_eq!(status.code(), Some(0));
}

const GIB: usize = 1 << 30;
/// Whoever is slow rests each time that this much went by.
const STEP: usize = 4 << 20;
const REST: Duration = Duration::from_millis(4);

/// What a GiB may add to what the host holds.
const HELD: usize = 48 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_gib_for_a_slow_reader_little_is_held() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n";
    let host = host(&[does(Endless(head, &[b'x'; 4096])).await], mute().await.0).await;
    for protocol in BOTH {
        let mut connection = host.client().connect("0.test", protocol).await;
        let before = host.resident();
        let mut body = connection.open(ask("GET", "https://0.test/")).await.unwrap().into_body();
        let (mut read, mut rested, mut most) = (0, 0, before);
        while let Some(frame) = within(SOON, "more of it", body.frame()).await {
            read += frame.expect("it is whole").data_ref().map_or(0, bytes::Bytes::len);
            if read >= rested + STEP {
                rested = read;
                tokio::time::sleep(REST).await;
                most = most.max(host.resident());
            }
        }
        assert_eq!(read, GIB, "{protocol:?}");
        assert!(most - before < HELD, "{} more over {protocol:?}", most - before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_gib_for_a_slow_upstream_little_is_held() {
    let (address, listener) = mute().await;
    let listen = "[listen]\nhttp = \"127.0.0.1:0\"\nhttps = \"127.0.0.1:0\"\nredirect = false\n";
    let setup = Setup::new(&[listen, &tables::upstream("app", address), &tables::router()].concat());
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"app\"\n")]);
    let host = setup.start().await;
    let before = host.resident();
    let reader = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let (mut bytes, mut read, mut rested) = (vec![0; 64 << 10], 0, 0);
        while read < GIB {
            let some = socket.read(&mut bytes).await.unwrap();
            assert!(some > 0, "it ended after {read}");
            read += some;
            if read >= rested + STEP {
                rested = read;
                tokio::time::sleep(REST).await;
            }
        }
        // With the head, which is less than was read at once; the last of the body may still be to come.
        socket.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ndone").await.unwrap();
        while socket.read(&mut bytes).await.is_ok_and(|some| some > 0) {}
    });
    let mut client = TcpStream::connect(host.http()).await.unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1073741824\r\n\r\n").await.unwrap();
    let (part, mut most) = (vec![b'x'; STEP], before);
    for _ in 0..GIB / STEP {
        within(SOON, "it is taken", client.write_all(&part)).await.unwrap();
        most = most.max(host.resident());
    }
    let mut answer = vec![0; 12];
    within(SOON, "an answer", client.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200");
    assert!(most - before < HELD, "{} more", most - before);
    drop(client);
    within(SOON, "the upstream's end", reader).await.unwrap();
}
