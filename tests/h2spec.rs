//! The cases of h2spec that `http2` does not have already, by the sections of RFC 9113 that they are of: what is sent, what
//! comes of it to the frame and its code, and a neighbour that is served meanwhile. Where h2 says PROTOCOL_ERROR for a finer
//! code, or ends the connection for what a stream could have borne, it stands here as it is: RFC 9113, section 5.4.2, lets it.
//! Two faults it does not see, and nobody behind it can: a connection without settings, and a pseudo field in trailers, which
//! it drops.

use std::time::Duration;

use crate::{
    http2::{NAME, each, neighbour},
    support::{
        frames::{
            CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
            WINDOW_UPDATE, field, frame, get, head,
        },
        host::{Host, Setup},
        tables,
    },
};

async fn host() -> Host {
    Setup::new(&tables::mischief("mischief", "")).start().await
}

const PRIORITIZED: u8 = 0x20;

fn fields(all: &[(&str, &str)]) -> Vec<u8> {
    all.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A head that is whole and ends its stream.
fn only(all: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(all))
}

/// A head of an upload.
fn upload(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    let all =
        [&[(":method", "POST"), (":scheme", "https"), (":authority", NAME), (":path", "/echo")][..], more].concat();
    frame(HEADERS, END_HEADERS, stream, &fields(&all))
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "https");
const AUTHORITY: (&str, &str) = (":authority", NAME);
const PATH: (&str, &str) = (":path", "/");

fn settings(all: &[(u8, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = all.iter().flat_map(|(id, value)| [&[0, *id][..], &value.to_be_bytes()].concat()).collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// Something slow, so that its stream is still there.
fn slow(stream: u32) -> Vec<u8> {
    get(stream, NAME, "/sleep?ms=1000")
}

/// What it is, what is sent, and what comes of it.
type Case = (&'static str, Vec<u8>, &'static str);

fn frames() -> Vec<Case> {
    vec![
        ("4.1 a frame of no known type", [frame(0x16, 0, 0, &[0; 8]), get(1, NAME, "/")].concat(), "answered 1"),
        (
            "4.1 one of a stream",
            [upload(1, &[]), frame(0x10, 0, 1, b"u=1"), frame(DATA, 1, 1, b"x")].concat(),
            "answered 1",
        ),
        ("4.1 flags of no known meaning", [frame(PING, 0x16, 0, &[0; 8]), get(1, NAME, "/")].concat(), "answered 1"),
        ("4.1 a reserved bit", [frame(PING, 0, 1 << 31, &[0; 8]), get(1, NAME, "/")].concat(), "answered 1"),
        (
            "4.2 data above the frame size",
            [upload(1, &[]), frame(DATA, END_STREAM, 1, &[0; 16_385])].concat(),
            "GOAWAY 6",
        ),
        ("4.2 a head above the frame size", frame(HEADERS, END_HEADERS, 1, &[0; 16_385]), "GOAWAY 6"),
        ("4.3 a head amid a head", [frame(HEADERS, 0, 1, &head(NAME, "/")), get(3, NAME, "/")].concat(), "GOAWAY 1"),
        (
            "4.3 a frame of no known type amid a head",
            [frame(HEADERS, 0, 1, &head(NAME, "/")), frame(0x16, 0, 1, &[0; 8])].concat(),
            "GOAWAY 1",
        ),
    ]
}

fn streams() -> Vec<Case> {
    let prioritized = |depends: u32| {
        let payload = [&depends.to_be_bytes()[..], &[15], &head(NAME, "/")].concat();
        frame(HEADERS, END_HEADERS | END_STREAM | PRIORITIZED, 1, &payload)
    };
    vec![
        ("5.1 a window of an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100]), "GOAWAY 1"),
        ("5.1 a continuation of an idle stream", frame(CONTINUATION, END_HEADERS, 1, &head(NAME, "/")), "GOAWAY 1"),
        ("5.1 data of a half-closed stream", [slow(1), frame(DATA, END_STREAM, 1, b"x")].concat(), "GOAWAY 1"),
        ("5.1 a head of a half-closed stream", [slow(1), get(1, NAME, "/")].concat(), "GOAWAY 1"),
        (
            "5.1 data of a stream that was reset",
            [upload(1, &[]), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), frame(DATA, 1, 1, b"x"), get(3, NAME, "/")]
                .concat(),
            "RST_STREAM 1 5",
        ),
        (
            "5.1 a head of a stream that was reset",
            [upload(1, &[]), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), get(1, NAME, "/")].concat(),
            "GOAWAY 1",
        ),
        ("5.1.1 an id below the last", [slow(5), get(3, NAME, "/")].concat(), "GOAWAY 1"),
        ("5.1.1 an even id", get(2, NAME, "/"), "GOAWAY 1"),
        ("5.1.1 ids left out", [get(101, NAME, "/")].concat(), "answered 101"),
        ("5.3.1 a stream that waits for itself", prioritized(1), "RST_STREAM 1 1"),
        ("5.3.1 a stream that waits for another", prioritized(7), "answered 1"),
        ("5.5 a setting of no known meaning", [settings(&[(0x99, 7)]), get(1, NAME, "/")].concat(), "answered 1"),
    ]
}

fn kinds() -> Vec<Case> {
    vec![
        ("6.2 a head of the connection", frame(HEADERS, END_HEADERS | END_STREAM, 0, &head(NAME, "/")), "GOAWAY 1"),
        ("6.3 a priority of the connection", frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 0]), "GOAWAY 1"),
        ("6.3 a priority of four bytes", frame(PRIORITY, 0, 1, &[0; 4]), "GOAWAY 1"),
        ("6.4 a reset of the connection", frame(RST_STREAM, 0, 0, &[0; 4]), "GOAWAY 1"),
        ("6.5 a frame size too large", settings(&[(5, 1 << 24)]), "GOAWAY 1"),
        (
            "6.7 a ping's answer nobody asked for",
            [frame(PING, 1, 0, b"unasked!"), get(1, NAME, "/")].concat(),
            "answered 1",
        ),
        ("6.8 a goaway of a stream", frame(GOAWAY, 0, 1, &[0; 8]), "GOAWAY 1"),
        ("6.10 a continuation of the connection", frame(CONTINUATION, END_HEADERS, 0, &head(NAME, "/")), "GOAWAY 1"),
        (
            "6.10 a continuation of another stream",
            [frame(HEADERS, END_STREAM, 1, &head(NAME, "/")), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
            "GOAWAY 1",
        ),
        (
            "6.10 a continuation behind the end",
            [get(1, NAME, "/sleep?ms=1000"), frame(CONTINUATION, END_HEADERS, 1, &head(NAME, "/"))].concat(),
            "GOAWAY 1",
        ),
        (
            "6.10 a head in many frames",
            {
                let head = head(NAME, "/");
                let (first, rest) = head.split_at(5);
                let rest = rest.chunks(30).flat_map(|part| frame(CONTINUATION, 0, 1, part));
                let end = frame(CONTINUATION, END_HEADERS, 1, &[]);
                [frame(HEADERS, END_STREAM, 1, first), rest.collect(), end].concat()
            },
            "answered 1",
        ),
    ]
}

fn messages() -> Vec<Case> {
    let trailers = |flags, all: &[(&str, &str)]| frame(HEADERS, END_HEADERS | flags, 1, &fields(all));
    vec![
        (
            "8.1 a second head that does not end",
            [upload(1, &[]), trailers(0, &[("x", "y")])].concat(),
            "RST_STREAM 1 1",
        ),
        (
            "8.1 trailers",
            [upload(1, &[]), frame(DATA, 0, 1, b"x"), trailers(END_STREAM, &[("x", "y")])].concat(),
            "answered 1",
        ),
        (
            "8.1 a pseudo field in trailers",
            [upload(1, &[]), frame(DATA, 0, 1, b"x"), trailers(END_STREAM, &[PATH])].concat(),
            "answered 1",
        ),
        (
            "8.2.1 an upper-case name in trailers",
            [upload(1, &[]), trailers(END_STREAM, &[("X", "y")])].concat(),
            "GOAWAY 1",
        ),
        ("8.2.1 a name with a space", only(&[METHOD, SCHEME, AUTHORITY, PATH, ("x y", "z")]), "GOAWAY 1"),
        ("8.2.2 keep-alive", only(&[METHOD, SCHEME, AUTHORITY, PATH, ("keep-alive", "5")]), "RST_STREAM 1 1"),
        (
            "8.2.2 proxy-connection",
            only(&[METHOD, SCHEME, AUTHORITY, PATH, ("proxy-connection", "x")]),
            "RST_STREAM 1 1",
        ),
        ("8.2.2 upgrade", only(&[METHOD, SCHEME, AUTHORITY, PATH, ("upgrade", "x")]), "RST_STREAM 1 1"),
        ("8.2.2 te: trailers", only(&[METHOD, SCHEME, AUTHORITY, PATH, ("te", "trailers")]), "answered 1"),
        ("8.3 a pseudo field behind others", only(&[METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH]), "RST_STREAM 1 1"),
        ("8.3.1 no method", only(&[SCHEME, AUTHORITY, PATH]), "RST_STREAM 1 1"),
        ("8.3.1 no scheme", only(&[METHOD, AUTHORITY, PATH]), "RST_STREAM 1 1"),
        ("8.3.1 an empty path", only(&[METHOD, SCHEME, AUTHORITY, (":path", "")]), "RST_STREAM 1 1"),
        ("8.3.1 two methods", only(&[METHOD, METHOD, SCHEME, AUTHORITY, PATH]), "RST_STREAM 1 1"),
        ("8.3.1 two schemes", only(&[METHOD, SCHEME, SCHEME, AUTHORITY, PATH]), "RST_STREAM 1 1"),
        ("8.3.1 two authorities", only(&[METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH]), "RST_STREAM 1 1"),
        (
            "8.1.1 less data than was told",
            [upload(1, &[("content-length", "2")]), frame(DATA, END_STREAM, 1, b"x")].concat(),
            "RST_STREAM 1 1",
        ),
        (
            "8.1.1 more in two frames",
            [upload(1, &[("content-length", "1")]), frame(DATA, 0, 1, b"x"), frame(DATA, END_STREAM, 1, b"x")].concat(),
            "RST_STREAM 1 1",
        ),
        (
            "8.1.1 none of what was told",
            only(&[METHOD, SCHEME, AUTHORITY, PATH, ("content-length", "1")]),
            "RST_STREAM 1 1",
        ),
    ]
}

#[tokio::test]
async fn each_case_has_its_outcome() {
    let host = host().await;
    let client = host.client();
    each(&client, &[frames(), streams(), kinds(), messages()].concat()).await;
}

/// Section 3.4: nothing stands in place of the preface. Settings that are not there are those that nobody changed.
#[tokio::test]
async fn a_connection_begins_as_it_should() {
    let host = host().await;
    let client = host.client();
    for (what, bytes, expected) in [
        ("another preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX".to_vec(), "closed"),
        ("no settings", [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &get(1, NAME, "/")].concat(), "answered 1"),
    ] {
        let mut frames = Frames::silent(&client, NAME).await;
        frames.send(&bytes).await;
        neighbour(&client).await;
        assert_eq!(frames.outcome().await, expected, "{what}");
    }
}

/// A ping's answer is the ping, and settings are acknowledged (sections 6.5.3 and 6.7).
#[tokio::test]
async fn pings_and_settings_are_answered() {
    let host = host().await;
    let mut frames = Frames::open(&host.client(), NAME, &[]).await;
    frames.send(&[frame(PING, 0, 0, b"whatever"), settings(&[(4, 100)])].concat()).await;
    let (mut pongs, mut acknowledged) = (0, 0);
    while pongs < 1 || acknowledged < 2 {
        let frame = frames.next().await.expect("a frame");
        match (frame.kind, frame.flags) {
            (PING, 1) => {
                assert_eq!(frame.payload, b"whatever");
                pongs += 1;
            }
            (SETTINGS, 1) => acknowledged += 1,
            _ => {}
        }
    }
}

/// A body comes as its windows allow, to the byte, also where settings make one negative (sections 6.9.1 and 6.9.2).
#[tokio::test]
async fn a_window_is_kept_to_the_byte() {
    const BODY: &[u8] = b"mischief\n";
    let host = host().await;
    let client = host.client();
    let window = |size: u8| frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, size]);
    for (first, then, expected) in [
        (0, vec![window(1), window(1), window(9)], &[1, 1, 7][..]),
        (1, vec![window(1), window(3), window(9)], &[1, 1, 3, 4]),
        (3, vec![settings(&[(4, 0)]), window(3), window(1), window(9)], &[3, 1, 5]),
        (0, vec![settings(&[(4, 2)]), settings(&[(4, 5)]), window(4)], &[2, 3, 4]),
    ] {
        let mut frames = Frames::open(&client, NAME, &[0, 4, 0, 0, 0, first]).await;
        frames.send(&get(1, NAME, "/")).await;
        let (mut body, mut pieces) = (Vec::new(), Vec::new());
        let mut then = then.into_iter();
        loop {
            // What it may send is here before it may send more.
            while let Ok(frame) = tokio::time::timeout(Duration::from_millis(300), frames.next()).await {
                let frame = frame.expect("it goes on");
                if frame.kind == DATA && !frame.payload.is_empty() {
                    pieces.push(frame.payload.len());
                    body.extend(frame.payload);
                }
            }
            let Some(more) = then.next() else { break };
            frames.send(&more).await;
        }
        assert_eq!((&body[..], &pieces[..]), (BODY, expected));
    }
    neighbour(&client).await;
}
