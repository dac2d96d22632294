//! An upstream over HTTP/2 that lies on one stream of a connection: what its own request gets, and what one gets that was
//! under way on the same connection.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::{join, join_all};
use http::{Request, Response};
use http_body_util::Full;
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::support::{
    client::{BOTH, Client, Protocol, ask, with_body},
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PUSH_PROMISE, RST_STREAM, SETTINGS,
        WINDOW_UPDATE, field, frame,
    },
    host::{Host, Setup},
    tables,
    upstream::{Upstream, whole},
    wait::{SOON, promptly, until},
};

/// `:status 200`, `:method GET` and `:method POST` out of the static table (RFC 7541, appendix A).
const OK: u8 = 0x88;
const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// What is said on the liar's stream, and on the one of its sibling, which came after it.
type Deed = fn(liar: u32, sibling: u32) -> Vec<u8>;

/// Where that is not the end of it: what is said again and again behind it, every so often.
type Dripping = (Duration, fn(liar: u32) -> Vec<u8>);

/// What a deed ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// Its own stream.
    Stream,
    /// The connection, of which nobody knows what was done.
    Connection,
    /// The connection, or the sibling's stream, of which nothing was done.
    Unprocessed,
}

use Ends::{Connection, Stream, Unprocessed};

/// A head with a field that no head has.
fn odd(name: &str, value: &str, stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &[&[OK], &*field(name, value)].concat())
}

fn status(code: &str, flags: u8, stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &field(":status", code))
}

fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// So many fields of 100 bytes, in frames that are full, of which the last says that it is.
fn large(stream: u32, fields: usize, end: bool) -> Vec<u8> {
    let mut block = vec![OK];
    block.extend(field("x-a", &"a".repeat(95)).repeat(fields));
    let parts: Vec<_> = block.chunks(16 << 10).collect();
    let part = |(number, part): (usize, &&[u8])| {
        let kind = if number == 0 { HEADERS } else { CONTINUATION };
        let last = end && number + 1 == parts.len();
        frame(kind, if last { END_HEADERS } else { 0 }, stream, part)
    };
    parts.iter().enumerate().flat_map(part).collect()
}

fn deeds() -> Vec<(&'static str, Ends, Deed)> {
    vec![
        ("an upper-case name", Connection, |liar, _| odd("X-A", "1", liar)),
        ("a line's end in a value", Connection, |liar, _| odd("x-a", "a\r\nb: c", liar)),
        ("a NUL in a value", Connection, |liar, _| odd("x-a", "a\0b", liar)),
        ("a field of the connection", Stream, |liar, _| odd("connection", "x-a", liar)),
        ("a status that is none", Connection, |liar, _| status("9999", END_STREAM, liar)),
        ("no number", Connection, |liar, _| status("ok", END_STREAM, liar)),
        ("no status", Stream, |liar, _| frame(HEADERS, END_HEADERS | END_STREAM, liar, &field("x-a", "1"))),
        ("switches", Connection, |liar, _| [status("101", 0, liar), frame(DATA, END_STREAM, liar, b"x")].concat()),
        ("switches and ends", Stream, |liar, _| status("101", END_STREAM, liar)),
        ("a body before its head", Connection, |liar, _| frame(DATA, END_STREAM, liar, b"x")),
        ("interim heads without end", Connection, |liar, _| status("103", 0, liar).repeat(200)),
        ("a large head", Stream, |liar, _| large(liar, 700, true)),
        ("a larger head", Connection, |liar, _| large(liar, 10_000, true)),
        ("an endless head", Connection, |liar, _| large(liar, 10_000, false)),
        ("a head in frames without end", Connection, |liar, _| {
            [frame(HEADERS, 0, liar, &[OK]), frame(CONTINUATION, 0, liar, &[]).repeat(100)].concat()
        }),
        ("no compression", Connection, |liar, _| frame(HEADERS, END_HEADERS | END_STREAM, liar, &[0xff, 0xff])),
        ("two lengths", Stream, |liar, _| {
            let fields = [vec![OK], field("content-length", "1"), field("content-length", "2")].concat();
            [frame(HEADERS, END_HEADERS, liar, &fields), frame(DATA, END_STREAM, liar, b"x")].concat()
        }),
        ("a length in an empty answer", Stream, |liar, _| odd("content-length", "5", liar)),
        ("resets", Stream, |liar, _| frame(RST_STREAM, 0, liar, &[0, 0, 0, 2])),
        ("a promise", Connection, |liar, _| frame(PUSH_PROMISE, END_HEADERS, liar, &[0, 0, 0, 2, GET])),
        ("too large a window", Connection, |_, _| frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("half a setting", Connection, |_, _| frame(SETTINGS, 0, 0, &[0; 5])),
        ("too large a frame", Connection, |liar, _| frame(DATA, 0, liar, &vec![0; 17 << 10])),
        ("another's stream", Connection, |_, sibling| frame(HEADERS, END_HEADERS, sibling + 40, &[OK])),
        ("goes away before all", Unprocessed, |_, _| goaway(0, 0)),
        ("goes away before all, with an error", Unprocessed, |_, _| goaway(0, 2)),
        ("goes away after it", Unprocessed, |liar, _| [goaway(liar, 0), odd("X-A", "1", liar)].concat()),
        ("goes away after all, and breaks off", Connection, |liar, sibling| {
            [goaway(sibling, 0), odd("X-A", "1", liar)].concat()
        }),
        ("refuses the others", Unprocessed, |liar, sibling| {
            [frame(RST_STREAM, 0, sibling, &[0, 0, 0, 7]), odd("x-a", "1\n", liar)].concat()
        }),
    ]
}

/// What an upstream begins, and does not end for as long as it is waited for.
fn begun() -> Vec<(&'static str, Deed, Dripping)> {
    /// Of a frame of 16 KiB, what says so.
    fn large(kind: u8, stream: u32) -> Vec<u8> {
        frame(kind, 0, stream, &[0; 16 << 10])[..9].to_vec()
    }
    let (tick, silent) = (Duration::from_millis(100), (Duration::from_secs(1), (|_| vec![]) as fn(u32) -> Vec<u8>));
    let more: fn(u32) -> Vec<u8> = |liar| frame(CONTINUATION, 0, liar, &field("x-a", "b"));
    vec![
        ("a head", |liar, _| frame(HEADERS, 0, liar, &[OK]), silent),
        ("a head's frame", |liar, _| large(HEADERS, liar), silent),
        ("a head's frame, byte by byte", |liar, _| large(HEADERS, liar), (tick, |_| vec![OK])),
        ("a head of many frames", |liar, _| frame(HEADERS, 0, liar, &[OK]), (8 * tick, more)),
        ("a promise", |liar, _| large(PUSH_PROMISE, liar), silent),
        ("a frame's head", |_, _| vec![0], silent),
        ("what nobody knows, byte by byte", |_, _| large(0x55, 0), (tick, |_| vec![0])),
    ]
}

/// Who asked, and on which connection.
type Asked = Arc<Mutex<Vec<(usize, &'static str)>>>;

/// Does it where it is asked by DELETE; on its first connection once the sibling is there too. All others get `x`.
async fn does(deed: Deed, then: Option<Dripping>) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Asked::default());
    let notes = asked.clone();
    tokio::spawn(async move {
        for number in 0.. {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(connection(deed, then, socket, number, notes.clone()));
        }
    });
    (address, asked)
}

async fn connection(deed: Deed, then: Option<Dripping>, socket: TcpStream, number: usize, asked: Asked) {
    let Some(mut frames) = Frames::accepted(socket).await else { return };
    let (mut liar, mut sibling) = (None, None);
    while let Some(frame) = frames.next().await {
        if frame.kind == HEADERS {
            let others = [(GET, "GET"), (POST, "POST")].into_iter().find(|(method, _)| frame.payload[0] == *method);
            asked.lock().unwrap().push((number, others.map_or("DELETE", |(_, name)| name)));
            if others.is_none() {
                liar = Some(frame.stream);
            }
        }
        if liar != Some(frame.stream) && matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
            sibling = Some(frame.stream);
        }
        match (liar, sibling) {
            (None, Some(sibling)) if number > 0 => frames.send(&answer(sibling)).await,
            (Some(liar), _) if number > 0 || sibling.is_some() => {
                let sibling = sibling.unwrap_or(liar + 2);
                frames.send(&deed(liar, sibling)).await;
                let Some((pause, more)) = then else {
                    frames.send(&answer(sibling)).await;
                    continue;
                };
                while frames.try_send(&more(liar)).await.is_ok() {
                    sleep(pause).await;
                }
            }
            _ => {}
        }
    }
}

fn answer(stream: u32) -> Vec<u8> {
    [frame(HEADERS, END_HEADERS, stream, &[OK]), frame(DATA, END_STREAM, stream, b"x")].concat()
}

/// Each at `https://NUMBER.test/`.
async fn host(upstreams: &[(SocketAddr, Asked)], lines: &str) -> Host {
    let (mut manifest, mut routes) = (tables::router(), Vec::new());
    for (number, (address, _)) in upstreams.iter().enumerate() {
        manifest.push_str(&tables::upstream(&format!("u{number}"), address));
        manifest.push_str("protocol = \"h2c\"\n");
        manifest.push_str(lines);
        routes.push((format!("{number}.test.toml"), format!("upstream = \"u{number}\"\n")));
    }
    let setup = Setup::new(&manifest);
    let routes: Vec<_> = routes.iter().map(|(name, text)| (&**name, &**text)).collect();
    setup.repository("routes").commit("main", &routes);
    setup.start().await
}

async fn gets(client: Client, protocol: Protocol, request: Request<Full<bytes::Bytes>>) -> (u16, String) {
    let reply = client.send_over(protocol, request).await;
    (reply.status.as_u16(), reply.text().to_owned())
}

/// How a sibling asks, and with what.
const SIBLINGS: [(&str, &str); 3] = [("GET", ""), ("POST", ""), ("POST", "sent")];

/// What a liar and its sibling get at `https://NUMBER.test/`, and how often each was asked for.
async fn beside(host: &Host, number: usize, asked: &Asked, name: &str, ends: Ends, sibling: (&str, &'static str)) {
    let (method, body) = sibling;
    let (url, protocol) = (format!("https://{number}.test/"), BOTH[number % 2]);
    let liar = tokio::spawn(gets(host.client(), protocol, ask("DELETE", &url)));
    until(SOON, "the liar's request", async || (!asked.lock().unwrap().is_empty()).then_some(())).await;
    let seen = gets(host.client(), protocol, with_body(method, &url, &[], body)).await;
    // What was done for the sibling is known, or is as good done twice, and nothing of a body is gone.
    let (expected, times) = match (ends, method, body) {
        (Stream, ..) => ((200, "x"), 1),
        (Unprocessed, _, "") | (Connection, "GET", _) => ((200, "x"), 2),
        _ => ((502, "502 Bad Gateway\n"), 1),
    };
    let what = format!("{name}, beside {method} {body:?}: {:?}", asked.lock().unwrap());
    assert_eq!((seen.0, &*seen.1), expected, "{what}");
    let (status, text) = liar.await.unwrap();
    assert_eq!((status, &*text), (502, "502 Bad Gateway\n"), "{what}");
    let asked = asked.lock().unwrap();
    let count = |who| asked.iter().filter(|(_, asked)| *asked == who).count();
    assert_eq!(count(method), times, "{what}");
    assert!(count("DELETE") <= 2, "{what}");
    assert!(asked.iter().all(|(on, _)| asked.iter().filter(|(number, _)| number == on).count() == 1 || *on == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liar_costs_its_siblings_nothing_that_can_be_asked_again() {
    let all: Vec<_> = deeds().into_iter().flat_map(|deed| SIBLINGS.map(|sibling| (deed, sibling))).collect();
    let mut upstreams = Vec::new();
    for ((_, _, deed), _) in &all {
        upstreams.push(does(*deed, None).await);
    }
    let host = host(&upstreams, "").await;
    for (number, ((name, ends, _), sibling)) in all.into_iter().enumerate() {
        beside(&host, number, &upstreams[number].1, name, ends, sibling).await;
    }
}

/// All at once, since it takes its time: that of `connect`, where they would be waited for a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_begins_and_does_not_end_costs_its_siblings_no_more_than_a_liar() {
    let all: Vec<_> = begun().into_iter().flat_map(|deed| SIBLINGS.map(|sibling| (deed, sibling))).collect();
    let mut upstreams = Vec::new();
    for ((_, deed, then), _) in &all {
        upstreams.push(does(*deed, Some(*then)).await);
    }
    let good = Upstream::start(Protocol::Http2, |_| Response::new(whole("x"))).await;
    upstreams.push((good.address(), Asked::default()));
    let (host, neighbour) = (host(&upstreams, "connect = \"3s\"\n").await, format!("https://{}.test/", all.len()));
    let rows = all
        .into_iter()
        .enumerate()
        .map(|(number, ((name, ..), sibling))| beside(&host, number, &upstreams[number].1, name, Connection, sibling));
    let neighbours = async {
        for protocol in BOTH {
            let asked = gets(host.client(), protocol, ask("GET", &neighbour));
            assert_eq!(promptly("a neighbour", asked).await, (200, "x".to_owned()));
        }
    };
    join(join_all(rows), neighbours).await;
}

/// However many they are: the second time each has a connection of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liar_hits_none_of_many_twice() {
    const MANY: usize = 30;
    let upstream = does(|liar, _| odd("X-A", "1", liar), None).await;
    let host = host(std::slice::from_ref(&upstream), "").await;
    // The deed is done once the first sibling is there: each of these is before it, with it, or behind it.
    let liars = tokio::spawn(gets(host.client(), Protocol::Http2, ask("DELETE", "https://0.test/")));
    let siblings: Vec<_> =
        (0..MANY).map(|_| tokio::spawn(gets(host.client(), Protocol::Http1, ask("GET", "https://0.test/")))).collect();
    for sibling in siblings {
        assert_eq!(sibling.await.unwrap(), (200, "x".to_owned()));
    }
    assert_eq!(liars.await.unwrap().0, 502);
    assert!(upstream.1.lock().unwrap().len() <= 2 * (MANY + 1));
}
