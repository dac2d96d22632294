//! HTTP/1.1 as it should not be: what is refused with which status, what reaches an upstream of it, and in which form.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Mutex,
};

use crate::support::{
    client::{BOTH, Client, Protocol, ask as get},
    frames::{DATA, END_HEADERS, Frames, HEADERS, RST_STREAM, field, frame},
    host::{Host, Setup},
    raw, tables,
    upstream::dead,
    wait::{SOON, promptly, until, within},
};

/// An upstream that keeps the bytes of each connection, and answers each head at once, or when it has the body's end.
struct Ears {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Ears {
    async fn start(end: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let all = heard.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let all = all.clone();
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    while !bytes.windows(end.len()).any(|window| window == end) {
                        let mut some = [0; 4096];
                        match stream.read(&mut some).await {
                            Ok(read @ 1..) => bytes.extend_from_slice(&some[..read]),
                            _ => break,
                        }
                    }
                    all.lock().await.push(bytes);
                    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { address, heard }
    }

    async fn heard(&self) -> Vec<String> {
        self.heard.lock().await.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

async fn before(ears: &Ears, lines: &str) -> Host {
    let upstreams = [tables::upstream("app", ears.address), tables::upstream("dead", dead())].concat();
    let manifest = [lines, &upstreams, &tables::router()].concat();
    let setup = Setup::new(&manifest);
    let private = "upstream = \"app\"\n[[path]]\nprefix = \"/private\"\nrefuse = 403\n\
                   [[path]]\nprefix = \"/dead\"\nupstream = \"dead\"\n";
    setup.repository("routes").commit("main", &[("_.toml", private)]);
    setup.start().await
}

/// Whoever asks for something else meanwhile, over each protocol.
async fn neighbour(client: &Client) {
    for protocol in BOTH {
        let asked = client.send_over(protocol, get("GET", "https://a.test/private"));
        assert_eq!(promptly("a neighbour", asked).await.status, 403, "a neighbour over {protocol:?}");
    }
}

/// Statuses of all that came back.
fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    text.split("HTTP/1.1 ").skip(1).map(|rest| rest[..3].parse().unwrap()).collect()
}

/// Whatever could be read in two ways is read in none.
#[tokio::test]
async fn what_is_smuggled() {
    let ears = Ears::start(b"\r\n\r\n").await;
    let host = before(&ears, "").await;
    let client = host.client();
    let host_field = "Host: a.test\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let inner = "GET /private HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut wrong = Vec::new();
    for (what, request, expected) in [
        (
            "both lengths",
            format!("POST / HTTP/1.1\r\n{host_field}Content-Length: 5\r\n{chunked}\r\n0\r\n\r\n{inner}"),
            400,
        ),
        (
            "the other way round",
            format!("POST / HTTP/1.1\r\n{host_field}{chunked}Content-Length: 5\r\n\r\n0\r\n\r\n{inner}"),
            400,
        ),
        (
            "both, after an empty line",
            format!("\r\nPOST / HTTP/1.1\r\n{host_field}{chunked}cOntent-length:5\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            "differing lengths",
            format!("POST / HTTP/1.1\r\n{host_field}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
            400,
        ),
        ("a list of lengths", format!("POST / HTTP/1.1\r\n{host_field}Content-Length: 5, 6\r\n\r\nhello!"), 400),
        ("a length with a sign", format!("POST / HTTP/1.1\r\n{host_field}Content-Length: +5\r\n\r\nhello"), 400),
        ("a negative length", format!("POST / HTTP/1.1\r\n{host_field}Content-Length: -1\r\n\r\n"), 400),
        ("a hexadecimal length", format!("POST / HTTP/1.1\r\n{host_field}Content-Length: 0x5\r\n\r\nhello"), 400),
        (
            "a length too large",
            format!("POST / HTTP/1.1\r\n{host_field}Content-Length: 99999999999999999999\r\n\r\n"),
            400,
        ),
        ("no length", format!("POST / HTTP/1.1\r\n{host_field}Content-Length:\r\n\r\n"), 400),
        ("a folded field", format!("GET / HTTP/1.1\r\n{host_field}X: a\r\n b\r\n\r\n"), 400),
        (
            "a folded coding",
            format!("POST / HTTP/1.1\r\n{host_field}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            "a space before the colon",
            format!("POST / HTTP/1.1\r\n{host_field}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        ("a space before the name", format!("GET / HTTP/1.1\r\n {host_field}\r\n"), 400),
        ("a tab in a name", format!("GET / HTTP/1.1\r\n{host_field}Content\tLength: 5\r\n\r\n"), 400),
        ("no name", format!("GET / HTTP/1.1\r\n{host_field}: x\r\n\r\n"), 400),
        ("NUL in a value", format!("GET / HTTP/1.1\r\n{host_field}X: a\0b\r\n\r\n"), 400),
        ("NUL in a name", format!("GET / HTTP/1.1\r\n{host_field}X\0: b\r\n\r\n"), 400),
        ("NUL in the target", format!("GET /\0 HTTP/1.1\r\n{host_field}\r\n"), 400),
        ("a bare CR in a value", format!("GET / HTTP/1.1\r\n{host_field}X: a\rb\r\n\r\n"), 400),
        ("a bare CR for an end", format!("GET / HTTP/1.1\r{host_field}\r\n"), 400),
        ("another coding", format!("POST / HTTP/1.1\r\n{host_field}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 400),
        (
            "a coding behind chunked",
            format!("POST / HTTP/1.1\r\n{host_field}Transfer-Encoding: chunked, gzip\r\n\r\n"),
            400,
        ),
        (
            "a coding before chunked",
            format!("POST / HTTP/1.1\r\n{host_field}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            501,
        ),
        (
            "chunked twice",
            format!("POST / HTTP/1.1\r\n{host_field}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
            501,
        ),
        ("chunked in two fields", format!("POST / HTTP/1.1\r\n{host_field}{chunked}{chunked}\r\n0\r\n\r\n"), 501),
        ("a coding of HTTP/1.0", format!("POST / HTTP/1.0\r\n{host_field}{chunked}\r\n0\r\n\r\n"), 400),
        ("two spaces", format!("GET  / HTTP/1.1\r\n{host_field}\r\n"), 400),
        ("a third word", format!("GET / x HTTP/1.1\r\n{host_field}\r\n"), 400),
        ("another protocol", format!("GET / HTTP/3.0\r\n{host_field}\r\n"), 400),
        ("no version", "GET /\r\n\r\n".to_owned(), 400),
        ("a fragment", format!("GET /#x HTTP/1.1\r\n{host_field}Connection: close\r\n\r\n"), 200),
    ] {
        let answer = raw::tls(&client, "a.test", request.as_bytes()).await;
        let heard = ears.heard().await;
        if expected == 200 {
            assert_eq!(statuses(&answer), [200], "{what}");
            continue;
        }
        if statuses(&answer) != [expected] || !heard.is_empty() {
            wrong.push(format!("{what}: {} {heard:?}", String::from_utf8_lossy(&answer)));
        }
        neighbour(&client).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert!(raw::tls(&client, "a.test", preface).await.is_empty(), "HTTP/2 where HTTP/1.1 was agreed on");
}

/// A body that breaks the rules of its coding ends there; nothing of it is a request.
#[tokio::test]
async fn bad_chunks() {
    let ears = Ears::start(b"0\r\n\r\n").await;
    let host = before(&ears, "").await;
    let client = host.client();
    let long = "x".repeat(40_000);
    for (what, body) in [
        ("a bare line feed behind a size", "5\nhello\r\n0\r\n\r\n"),
        ("a bare line feed in an extension", "5;a\nhello\r\n0\r\n\r\n"),
        ("a bare line feed behind data", "5\r\nhello\n0\r\n\r\n"),
        ("a bare line feed for an end", "5\r\nhello\r\n0\r\n\n"),
        ("a bare line feed behind a trailer", "5\r\nhello\r\n0\r\nx: y\n\r\n"),
        ("a bare line feed behind trailers", "5\r\nhello\r\n0\r\nx: y\r\n\n"),
        ("two bare line feeds", "5\r\nhello\r\n0\r\nx: y\n\n"),
        ("data longer than its size", "5\r\nhello!\r\n0\r\n\r\n"),
        ("a size that is none", "x\r\nhello\r\n0\r\n\r\n"),
        ("no size", "\r\nhello\r\n0\r\n\r\n"),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("a size with a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("a size too large", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("an extension without end", &format!("5;{long}")),
        ("trailers without end", &format!("5\r\nhello\r\n0\r\nx: {long}{long}\r\n\r\n")),
    ] {
        let head = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let inner = "GET /inner HTTP/1.1\r\nHost: a.test\r\n\r\n";
        let answer = raw::tls(&client, "a.test", format!("{head}{body}{inner}").as_bytes()).await;
        assert_eq!(statuses(&answer), [400], "{what}: {}", String::from_utf8_lossy(&answer));
        neighbour(&client).await;
    }
    for heard in ears.heard().await {
        assert!(!heard.contains("GET /inner"), "{heard}");
    }
}

/// A client of HTTP/2 that resets its upload, whatever it calls that, has not sent it whole: nothing that an upstream hears
/// says so.
#[tokio::test]
async fn an_upload_that_is_reset_has_no_end() {
    let ears = Ears::start(b"0\r\n\r\n").await;
    let host = before(&ears, "").await;
    let fields =
        [field(":method", "POST"), field(":scheme", "https"), field(":authority", "a.test"), field(":path", "/")];
    for (number, code) in [0_u32, 8].into_iter().enumerate() {
        let mut frames = Frames::open(&host.client(), "a.test", &[]).await;
        frames.send(&frame(HEADERS, END_HEADERS, 1, &fields.concat())).await;
        frames.send(&frame(DATA, 0, 1, b"half")).await;
        neighbour(&host.client()).await;
        frames.send(&frame(RST_STREAM, 0, 1, &code.to_be_bytes())).await;
        until(SOON, "what came of it", async || (ears.heard().await.len() > number).then_some(())).await;
        let heard = ears.heard().await.pop().unwrap();
        assert!(heard.contains("half") && !heard.contains("\r\n0\r\n"), "{code}: {heard}");
    }
}

/// RFC 9112 section 2.2 lets a lone line feed end a line: it is taken, and no upstream gets to see one.
#[tokio::test]
async fn a_bare_line_feed_is_taken_and_not_passed_on() {
    let ears = Ears::start(b"\r\n\r\n").await;
    let host = before(&ears, "").await;
    let request = b"GET /x HTTP/1.1\nHost: a.test\nX-A: b\nConnection: close\n\n";
    assert_eq!(statuses(&raw::tls(&host.client(), "a.test", request).await), [200]);
    let heard = ears.heard().await.remove(0);
    assert!(heard.starts_with("GET /x HTTP/1.1\r\n") && heard.contains("\r\nx-a: b\r\n"), "{heard:?}");
    assert_eq!(heard.matches('\n').count(), heard.matches("\r\n").count(), "{heard:?}");
}

/// RFC 9112 section 3.2.
#[tokio::test]
async fn forms_of_a_target() {
    let ears = Ears::start(b"\r\n\r\n").await;
    let host = before(&ears, "").await;
    let client = host.client();
    for (line, authority, status, heard) in [
        ("GET https://a.test/x?y HTTP/1.1", "other.test", 200, Some("GET /x?y HTTP/1.1")),
        ("GET http://a.test/x HTTP/1.1", "other.test", 200, Some("GET /x HTTP/1.1")),
        ("GET https://a.test HTTP/1.1", "a.test", 200, Some("GET / HTTP/1.1")),
        ("GET https://b.test/ HTTP/1.1", "a.test", 421, None),
        ("GET ftp://a.test/ HTTP/1.1", "a.test", 400, None),
        ("GET https:///x HTTP/1.1", "a.test", 400, None),
        ("GET a.test:443 HTTP/1.1", "a.test", 400, None),
        ("GET a.test HTTP/1.1", "a.test", 400, None),
        ("GET x HTTP/1.1", "a.test", 400, None),
        ("GET * HTTP/1.1", "a.test", 400, None),
        ("OPTIONS * HTTP/1.1", "a.test", 204, None),
        ("OPTIONS /x HTTP/1.1", "a.test", 200, Some("OPTIONS /x HTTP/1.1")),
        ("CONNECT a.test:443 HTTP/1.1", "a.test:443", 501, None),
        ("CONNECT a.test HTTP/1.1", "a.test", 501, None),
        ("CONNECT / HTTP/1.1", "a.test", 501, None),
        ("CONNECT https://a.test/ HTTP/1.1", "a.test", 501, None),
    ] {
        let before = ears.heard().await.len();
        let request = format!("{line}\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        let answer = raw::tls(&client, "a.test", request.as_bytes()).await;
        assert_eq!(statuses(&answer), [status], "{line}: {}", String::from_utf8_lossy(&answer));
        let all = ears.heard().await;
        let first = all.get(before).and_then(|heard| heard.split("\r\n").next());
        assert_eq!(first, heard, "{line}");
        if let Some(heard) = all.get(before) {
            assert!(heard.contains("\r\nhost: a.test\r\n") && !heard.contains("other.test"), "{line}: {heard}");
        }
    }
}

#[tokio::test]
async fn requests_in_a_pipeline_are_answered_in_order() {
    let ears = Ears::start(b"\r\n\r\n").await;
    let host = before(&ears, "").await;
    let ask = |target: &str, more: &str| format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{more}\r\n");
    let post = "POST /c HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi";
    let last = ask("/d", "Connection: close\r\n");
    let all = [ask("/a", ""), ask("/private", ""), post.to_owned(), ask("/../", ""), last].concat();
    let answer = raw::tls(&host.client(), "a.test", all.as_bytes()).await;
    assert_eq!(statuses(&answer), [200, 403, 200, 400, 200], "{}", String::from_utf8_lossy(&answer));
    let last = ask("/d", "Connection: close\r\n");
    let chunked = |more: &str, body: &str| {
        format!("POST /e HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n{more}\r\n{body}0\r\n\r\n")
    };
    let (empty, some) = (chunked("", ""), chunked("", "2\r\nhi\r\n"));
    let answer = raw::tls(&host.client(), "a.test", [&*empty, &last].concat().as_bytes()).await;
    assert_eq!(statuses(&answer), [200, 200], "{}", String::from_utf8_lossy(&answer));
    let all = [&ask("/private", ""), &some, &*empty, post, &some, &last].concat();
    let answer = raw::tls(&host.client(), "a.test", all.as_bytes()).await;
    assert_eq!(statuses(&answer), [403, 200, 200, 200, 200, 200], "{}", String::from_utf8_lossy(&answer));
    // What could be read in two ways is refused in its place, and nothing behind it is read.
    let both = chunked("Content-Length: 5\r\n", "");
    let answer = raw::tls(&host.client(), "a.test", [&*some, &both, &some, &last].concat().as_bytes()).await;
    assert_eq!(statuses(&answer), [200, 400], "{}", String::from_utf8_lossy(&answer));
}

/// 100 Continue comes when the upstream is there to read, and not where nobody will.
#[tokio::test]
async fn a_body_is_asked_for_when_somebody_reads_it() {
    let ears = Ears::start(b"hello").await;
    let host = before(&ears, "").await;
    for (target, continues, status) in [("/", true, 200), ("/private", false, 403), ("/dead", false, 502)] {
        let mut stream = host.client().handshake(Some("a.test"), &[b"http/1.1"]).await.unwrap();
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        if continues {
            let mut interim = [0; 25];
            within(SOON, "100 Continue", stream.read_exact(&mut interim)).await.unwrap();
            assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
            stream.write_all(b"hello").await.unwrap();
        }
        let mut answer = Vec::new();
        let _ = within(SOON, "the answer", stream.read_to_end(&mut answer)).await;
        assert_eq!(statuses(&answer), [status], "{target}");
    }
    assert_eq!(ears.heard().await.len(), 1);
    assert!(!ears.heard().await[0].to_lowercase().contains("expect"));
}

/// What stands behind a body goes along with it, either way.
#[tokio::test]
async fn trailers_are_carried() {
    let ears = Ears::start(b"x-sum: 1\r\n\r\n").await;
    let host = before(&ears, "").await;
    let request = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\nConnection: close\r\n\r\n\
                   2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n";
    assert_eq!(statuses(&raw::tls(&host.client(), "a.test", request.as_bytes()).await), [200]);
    assert!(ears.heard().await[0].ends_with("2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n"), "{:?}", ears.heard().await);

    let answer: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let manifest = [tables::upstream("app", listener.local_addr().unwrap()), tables::router()].concat();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer).await;
        }
    });
    let setup = Setup::new(&manifest);
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"app\"\n")]);
    let host = setup.start().await;
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n";
    let answer = String::from_utf8(raw::tls(&host.client(), "a.test", request).await).unwrap();
    assert!(answer.ends_with("2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"), "{answer}");
    let mut connection = host.client().connect("a.test", Protocol::Http2).await;
    let response = connection.open(get("GET", "https://a.test/")).await.unwrap();
    let whole = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    assert_eq!(whole.trailers().unwrap()["x-sum"], "1");
}

/// An answer before the request is all there is an answer.
#[tokio::test]
async fn an_upstream_may_answer_early() {
    let ears = Ears::start(b"\r\n\r\n").await;
    let host = before(&ears, "").await;
    let half = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\nhalf";
    let client = host.client();
    let (answer, ()) = tokio::join!(raw::tls(&client, "a.test", half.as_bytes()), neighbour(&client));
    assert_eq!(statuses(&answer), [200], "{}", String::from_utf8_lossy(&answer));
    assert!(answer.ends_with(b"\r\n\r\nok"));
}

/// Time for a head, for a body, and between two requests: the others do not feel it.
#[tokio::test]
async fn who_is_slow_is_told_so() {
    let ears = Ears::start(b"no such end").await;
    let lines = "[limits]\nhead = \"1s\"\nidle = \"2s\"\nbody-rate = 100\nbody-window = \"1s\"\n";
    let host = before(&ears, lines).await;
    let client = host.client();
    let ask = "GET /private HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for (what, sent, drip, expected) in [
        ("nothing", "", "", &[][..]),
        ("a head that does not end", "GET / HTTP/1.1\r\nX: ", "x", &[408]),
        ("the second one", &format!("{ask}GET / HTTP/1.1\r\nX: "), "x", &[403, 408]),
        ("a second one later", ask, "", &[403]),
        (
            "a body that comes too slowly",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\n",
            "x",
            &[408],
        ),
        ("a body that stops", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\n", "", &[408]),
    ] {
        let stream = client.handshake(Some("a.test"), &[b"http/1.1"]).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let sent = sent.to_owned();
        let dripping = tokio::spawn(async move {
            writer.write_all(sent.as_bytes()).await.unwrap();
            while writer.write_all(drip.as_bytes()).await.is_ok() && writer.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let mut answer = Vec::new();
        let end = within(SOON, what, reader.read_to_end(&mut answer));
        tokio::join!(async { drop(end.await) }, neighbour(&client));
        assert_eq!(statuses(&answer), expected, "{what}");
        dripping.abort();
    }
    let mut connection = client.connect("a.test", Protocol::Http1).await;
    assert_eq!(connection.send(get("GET", "https://a.test/private")).await.status, 403);
    until(SOON, "the end of an idle one", async || {
        connection.ends_within(Duration::from_millis(100)).await.then_some(())
    })
    .await;
}
