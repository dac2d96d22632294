//! HTTP/2 as nobody should speak it: what each gets, to the frame and its code, while a neighbour is served.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::support::{
    client::{Client, Protocol, ask},
    curl::curl,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY,
        PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, field, frame, get, head,
    },
    host::{Host, Setup},
    skip::missing,
    tables,
    wait::{SOON, promptly, within},
};

pub(crate) const NAME: &str = "localhost";

async fn host(limits: &str) -> Host {
    let manifest = format!("[limits]\n{limits}\n{}", tables::mischief("mischief", ""));
    Setup::new(&manifest).start().await
}

/// What a neighbour gets meanwhile, and how soon.
pub(crate) async fn neighbour(client: &Client) {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let asked = client.send_over(protocol, ask("GET", &format!("https://{NAME}/")));
        assert_eq!(promptly("a neighbour", asked).await.brief(), (200, "mischief\n"));
    }
}

/// Each on a connection of its own: what it is, its bytes, and what must come of them.
pub(crate) async fn each(client: &Client, table: &[(&str, Vec<u8>, &str)]) {
    let mut wrong = Vec::new();
    for (what, bytes, expected) in table {
        let mut frames = Frames::open(client, NAME, &[]).await;
        frames.send(bytes).await;
        neighbour(client).await;
        let outcome = frames.outcome().await;
        if outcome != *expected {
            wrong.push(format!("{what}: {outcome}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A request whose body is to follow.
fn post(stream: u32) -> Vec<u8> {
    let fields =
        [field(":method", "POST"), field(":scheme", "https"), field(":authority", NAME), field(":path", "/echo")];
    frame(HEADERS, END_HEADERS, stream, &fields.concat())
}

/// Who uploads what nobody reads hears the answer, and is not cut off in the midst of it.
#[tokio::test]
async fn an_answer_before_the_upload_was_read() {
    if missing(&["curl"]) {
        return;
    }
    let setup = Setup::new(&tables::site("site"));
    setup.repository("site").commit("main", &[("index.html", "x")]);
    let upload = setup.write("upload", vec![b'x'; 8 << 20]);
    let host = setup.start().await;
    let data = format!("@{}", upload.display());
    for (path, status) in [("/", 405), ("/../x", 400)] {
        let url = format!("https://{NAME}{path}");
        let arguments = ["--http2", "--path-as-is", "--data-binary", &data, &url];
        let printed = curl(host.https(), &host.ca_file(), &arguments).await;
        assert_eq!((printed.code, printed.status), (Some(0), status), "{}", printed.said);
    }
}

fn with(fields: &[(&str, &str)]) -> Vec<u8> {
    let more: Vec<_> = fields.iter().map(|(name, value)| field(name, value)).collect();
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &[head(NAME, "/"), more.concat()].concat())
}

/// A request behind these bytes of its head.
fn sized(before: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &[before, &head(NAME, "/")].concat())
}

/// And before these.
fn with_bytes(behind: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &[&head(NAME, "/"), behind].concat())
}

/// The h2 crate says PROTOCOL_ERROR for the whole connection where RFC 9113 has a finer code, or would let it live.
#[tokio::test]
async fn what_breaks_the_protocol() {
    let host = host("").await;
    let client = host.client();
    let only = |kind, flags, stream, payload: &[u8]| frame(kind, flags, stream, payload);
    let setting = |id: u8, value: u32| {
        let payload = [&[0, id][..], &value.to_be_bytes()].concat();
        frame(SETTINGS, 0, 0, &payload)
    };
    let table: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a whole request", get(1, NAME, "/"), "answered 1"),
        (
            "padding of nothing else",
            [post(1), only(DATA, PADDED | END_STREAM, 1, &[3, 0, 0, 0])].concat(),
            "answered 1",
        ),
        ("padding longer than its frame", [post(1), only(DATA, PADDED, 1, &[9, 0, 0])].concat(), "GOAWAY 1"),
        ("padded fields longer than their frame", only(HEADERS, PADDED | END_HEADERS, 1, &[200, 0x82]), "GOAWAY 1"),
        ("no window at all", only(WINDOW_UPDATE, 0, 0, &[0; 4]), "GOAWAY 1"),
        ("no window for a stream", [post(1), only(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(), "GOAWAY 1"),
        ("a window that overflows", only(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), "GOAWAY 3"),
        (
            "a stream's window that overflows",
            [post(1), only(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff])].concat(),
            "RST_STREAM 1 3",
        ),
        ("an initial window too large", setting(4, 1 << 31), "GOAWAY 1"),
        ("a frame size too small", setting(5, 100), "GOAWAY 1"),
        ("push neither on nor off", setting(2, 2), "GOAWAY 1"),
        ("a frame too large", only(DATA, 0, 1, &[0; 20_000]), "GOAWAY 6"),
        ("settings of five bytes", only(SETTINGS, 0, 0, &[0; 5]), "GOAWAY 1"),
        ("an acknowledgement with settings", only(SETTINGS, 1, 0, &[0; 6]), "GOAWAY 1"),
        ("settings of a stream", only(SETTINGS, 0, 1, &[0; 6]), "GOAWAY 1"),
        ("a ping of seven bytes", only(PING, 0, 0, &[0; 7]), "GOAWAY 1"),
        ("a ping of a stream", only(PING, 0, 1, &[0; 8]), "GOAWAY 1"),
        ("a window of three bytes", only(WINDOW_UPDATE, 0, 0, &[0; 3]), "GOAWAY 1"),
        ("a reset of three bytes", [post(1), only(RST_STREAM, 0, 1, &[0; 3])].concat(), "GOAWAY 1"),
        ("a reset of nobody", only(RST_STREAM, 0, 1, &[0; 4]), "GOAWAY 1"),
        ("data of nobody", only(DATA, 0, 1, b"x"), "GOAWAY 1"),
        ("data of the connection", only(DATA, 0, 0, b"x"), "GOAWAY 1"),
        ("a request on the connection", get(0, NAME, "/"), "GOAWAY 1"),
        ("a request on our stream", get(2, NAME, "/"), "GOAWAY 1"),
        ("a promise", only(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]), "GOAWAY 1"),
        ("a continuation of nothing", only(CONTINUATION, END_HEADERS, 1, &[0x82]), "GOAWAY 1"),
        ("another frame amid a head", [only(HEADERS, 0, 1, &[0x82]), only(PING, 0, 0, &[0; 8])].concat(), "GOAWAY 1"),
        ("a head that is no HPACK", only(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), "GOAWAY 1"),
        ("a field out of no table", only(HEADERS, END_HEADERS, 1, &[0xfe]), "GOAWAY 1"),
        ("a field beyond the tables, by one", only(HEADERS, END_HEADERS, 1, &[0xbe]), "GOAWAY 1"),
        ("field 0", only(HEADERS, END_HEADERS, 1, &[0x80]), "GOAWAY 1"),
        ("a table as large as was agreed", sized(&[0x3f, 0xe1, 0x1f]), "answered 1"),
        ("a table larger than was agreed", sized(&[0x3f, 0xe2, 0x1f]), "GOAWAY 1"),
        ("a table of a size without end", sized(&[0x3f, 0xff, 0xff, 0xff, 0xff, 0x0f]), "GOAWAY 1"),
        ("a table's size behind a field", with_bytes(&[0x20]), "GOAWAY 1"),
        ("a name longer than its head", with_bytes(&[0, 0x7f, 0xff, 0x7f, b'x']), "GOAWAY 1"),
        ("a value longer than its head", with_bytes(&[0, 1, b'x', 0x7f, 0xff, 0x7f]), "GOAWAY 1"),
        ("a name without an end in Huffman's code", with_bytes(&[0, 0x84, 0xff, 0xff, 0xff, 0xff, 0]), "GOAWAY 1"),
        ("a stream that waits for itself", only(PRIORITY, 0, 1, &[0, 0, 0, 1, 0]), "RST_STREAM 1 1"),
        ("a name in upper case", with(&[("X-A", "b")]), "GOAWAY 1"),
        ("a field of one connection", with(&[("connection", "close")]), "RST_STREAM 1 1"),
        ("a transfer coding", with(&[("transfer-encoding", "chunked")]), "RST_STREAM 1 1"),
        ("te that is not trailers", with(&[("te", "gzip")]), "RST_STREAM 1 1"),
        ("a second path", with(&[(":path", "/x")]), "RST_STREAM 1 1"),
        ("an unknown pseudo field", with(&[(":x", "y")]), "GOAWAY 1"),
        ("a response's pseudo field", with(&[(":status", "200")]), "RST_STREAM 1 1"),
        ("a line feed in a value", with(&[("x", "a\nb")]), "GOAWAY 1"),
        (
            "no path",
            only(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[field(":method", "GET"), field(":scheme", "https"), field(":authority", NAME)].concat(),
            ),
            "RST_STREAM 1 1",
        ),
        (
            "differing lengths",
            only(
                HEADERS,
                END_HEADERS,
                1,
                &[head(NAME, "/echo"), field("content-length", "5"), field("content-length", "6")].concat(),
            ),
            "RST_STREAM 1 1",
        ),
        (
            "more data than was told",
            [
                only(HEADERS, END_HEADERS, 1, &[head(NAME, "/echo"), field("content-length", "1")].concat()),
                only(DATA, END_STREAM, 1, b"xx"),
            ]
            .concat(),
            "RST_STREAM 1 1",
        ),
    ];
    each(&client, &table).await;
    let mut frames = Frames::silent(&client, NAME).await;
    frames.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(frames.outcome().await, "closed", "no preface");
}

/// Each costs the sender little and would cost us much; all get ENHANCE_YOUR_CALM.
#[tokio::test]
async fn floods() {
    const STREAMS: u32 = 400;
    let host = host("resets = 100\ncontrol-frames = 200").await;
    let client = host.client();
    let stream = |at: u32| at * 2 + 1;
    let reset =
        |at: u32| [get(stream(at), NAME, "/sleep?ms=500"), frame(RST_STREAM, 0, stream(at), &[0, 0, 0, 8])].concat();
    let many = |bytes: &[u8]| bytes.repeat(1000);
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("streams reset at once", (0..STREAMS).flat_map(reset).collect()),
        ("settings", many(&frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]))),
        ("settings without any", many(&frame(SETTINGS, 0, 0, &[]))),
        ("pings", many(&frame(PING, 0, 0, &[7; 8]))),
        ("pongs", many(&frame(PING, 1, 0, &[7; 8]))),
        ("priorities", many(&frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 0]))),
        ("windows", many(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))),
        ("frames that nobody knows", many(&frame(0xbe, 0, 0, &[0; 100]))),
        ("empty data", [post(1), many(&frame(DATA, 0, 1, &[]))].concat()),
        ("padding alone", [post(1), many(&frame(DATA, PADDED, 1, &[1, 0]))].concat()),
        ("continuations", [frame(HEADERS, 0, 1, &[0x82]), many(&frame(CONTINUATION, 0, 1, &[]))].concat()),
        (
            "continuations with fields",
            [frame(HEADERS, 0, 1, &head(NAME, "/")), many(&frame(CONTINUATION, 0, 1, &field("x", "y").repeat(50)))]
                .concat(),
        ),
    ];
    for (what, bytes) in table {
        let mut frames = Frames::open(&client, NAME, &[]).await;
        frames.send(&bytes).await;
        neighbour(&client).await;
        let outcome = frames.outcome().await;
        if what == "padding alone" {
            // It counts against the stream's window like any other, and no further.
            assert_ne!(outcome, "closed", "{what}");
        } else {
            assert_eq!(outcome, "GOAWAY 11", "{what}");
        }
    }
    // One after the other, so that each is begun before it is reset.
    let mut frames = Frames::open(&client, NAME, &[]).await;
    for at in 0..STREAMS {
        frames.send(&reset(at)).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    neighbour(&client).await;
    assert_eq!(frames.outcome().await, "GOAWAY 11", "streams reset one after the other");
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_the_others_go_on() {
    let host = host("streams = 4").await;
    let client = host.client();
    let mut frames = Frames::open(&client, NAME, &[]).await;
    let slow = |stream| get(stream, NAME, "/sleep?ms=300");
    frames.send(&[slow(1), slow(3), slow(5), slow(7), slow(9)].concat()).await;
    assert_eq!(frames.outcome().await, "RST_STREAM 9 7");
    let mut answered = Vec::new();
    for _ in 0..4 {
        answered.push(frames.outcome().await);
    }
    answered.sort();
    assert_eq!(answered, ["answered 1", "answered 3", "answered 5", "answered 7"]);
}

#[tokio::test]
async fn a_head_beyond_the_limits_is_told_so() {
    let host = host("head-size = \"4KiB\"\nfields = 20").await;
    let client = host.client();
    let many: Vec<_> = (0..30).map(|at| (format!("x-{at}"), "y")).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (&**name, *value)).collect();
    let large = "x".repeat(5000);
    for fields in [&many[..], &[("x", &large)]] {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let request = crate::support::client::with_fields("GET", &format!("https://{NAME}/"), fields);
            let mut connection = client.connect(NAME, protocol).await;
            assert_eq!(connection.send(request).await.status, 431, "{protocol:?} {}", fields.len());
        }
    }
    neighbour(&client).await;
}

/// Windows that stay shut hold a stream and no more than a window; the connection goes when its time is up.
#[tokio::test]
async fn who_opens_no_window_is_let_go() {
    let host = host("body-rate = 1000\nbody-window = \"2s\"\nidle = \"2s\"").await;
    let client = host.client();
    // SETTINGS_INITIAL_WINDOW_SIZE 0.
    for path in ["/", "/large?mb=5"] {
        let mut frames = Frames::open(&client, NAME, &[0, 4, 0, 0, 0, 0]).await;
        frames.send(&get(1, NAME, path)).await;
        let begun = Instant::now();
        let end = async {
            loop {
                match frames.next().await {
                    None => return,
                    Some(frame) => assert!(frame.kind != DATA, "{frame:?}"),
                }
            }
        };
        let ((), ()) = tokio::join!(neighbour(&client), within(SOON, "its end", end));
        assert!(begun.elapsed() > Duration::from_secs(1), "{path}: {:?}", begun.elapsed());
    }
}

/// A connection over which nothing is asked has as much time as a head, and not the time for a farewell beside.
#[tokio::test]
async fn who_asks_nothing_is_let_go() {
    let host = host("head = \"2s\"").await;
    let client = host.client();
    let settings = frame(SETTINGS, 0, 0, &[]);
    let half = frame(HEADERS, 0, 1, &head(NAME, "/"));
    for (what, bytes) in [
        ("a preface", PREFACE.to_vec()),
        ("settings", [PREFACE, &settings].concat()),
        ("half a head", [PREFACE, &settings, &half].concat()),
    ] {
        let mut frames = Frames::silent(&client, NAME).await;
        frames.send(&bytes).await;
        let mut last = None;
        let end = async {
            while let Some(frame) = frames.next().await {
                last = Some((frame.kind, frame.stream));
            }
        };
        let ((), ()) = tokio::join!(neighbour(&client), within(Duration::from_secs(9), what, end));
        // Whoever has begun to speak HTTP/2 is told.
        assert!(what == "a preface" || last.is_some(), "{what}: {last:?}");
    }
}

/// All else that the connection says would stand behind it.
#[tokio::test]
async fn a_head_that_does_not_end_is_waited_for_like_any_other() {
    let host = host("head = \"2s\"").await;
    let client = host.client();
    let half = frame(HEADERS, 0, 3, &head(NAME, "/"));
    let large = frame(HEADERS, 0, 3, &[0; 16 << 10])[..9].to_vec();
    let more: fn() -> Vec<u8> = || frame(CONTINUATION, 0, 3, &field("x", "y"));
    let byte: fn() -> Vec<u8> = || vec![0x82];
    for (what, before, bytes, then, expected) in [
        ("nothing behind it", "/", &half, None, "GOAWAY 11"),
        ("frames without end", "/", &half, Some((700, more)), "GOAWAY 11"),
        ("a frame, byte by byte", "/", &large, Some((100, byte)), "GOAWAY 11"),
        // Whose windows it shuts behind it.
        ("beside an answer", "/large?mb=5", &half, None, "closed"),
        ("beside an answer, byte by byte", "/large?mb=5", &large, Some((100, byte)), "closed"),
    ] {
        let mut frames = Frames::open(&client, NAME, &[]).await;
        frames.send(&get(1, NAME, before)).await;
        if before == "/" {
            assert_eq!(frames.outcome().await, "answered 1", "{what}");
        }
        frames.send(bytes).await;
        let (mut heard, mut said) = frames.split();
        let saying = async {
            if let Some((pause, more)) = then {
                while said.try_send(&more()).await.is_ok() {
                    sleep(Duration::from_millis(pause)).await;
                }
            }
        };
        let end = within(Duration::from_secs(9), what, heard.outcome());
        let (end, (), ()) = tokio::join!(end, saying, neighbour(&client));
        assert_eq!(end, expected, "{what}");
    }
}

/// What is left of a connection's time is told before it is used up.
#[tokio::test]
async fn an_idle_connection_is_told_to_go() {
    let host = host("idle = \"1s\"").await;
    let mut frames = Frames::open(&host.client(), NAME, &[]).await;
    frames.send(&get(1, NAME, "/")).await;
    assert_eq!(frames.outcome().await, "answered 1");
    let goaway = async {
        loop {
            match frames.next().await {
                Some(frame) if frame.kind == GOAWAY => return frame.payload,
                Some(_) => {}
                None => panic!("closed without a word"),
            }
        }
    };
    assert_eq!(within(SOON, "a GOAWAY", goaway).await[4..8], [0; 4]);
}
