//! Clients that are none: what they send, byte by byte, and what they get.

use tokio::time::{Instant, sleep};

use super::*;

/// A handshake of somebody else's meanwhile: a bound on what these cost others, and no measure.
const PROMPT: Duration = Duration::from_secs(2);

/// What a real client sends first.
fn hello(name: &str) -> Vec<u8> {
    let config = client(RootCertStore::empty(), &[&rustls::version::TLS13], &[b"h2"]);
    let mut connection =
        ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// A handshake record.
fn record(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0x16, 3, 1, length[0], length[1]], payload].concat()
}

/// The first message of a handshake, in records of 16 KiB.
fn message(claimed: u32, length: usize) -> Vec<u8> {
    let [_, high, middle, low] = claimed.to_be_bytes();
    let whole = [&[1, high, middle, low][..], &vec![0; length]].concat();
    whole.chunks(16 * 1024).flat_map(record).collect()
}

/// A hello whose server name is `name`, whatever that is.
fn named(name: &[u8]) -> Vec<u8> {
    let mut bytes = hello("aaaaaaaaaa.test");
    let place = bytes.windows(15).position(|window| window == b"aaaaaaaaaa.test").unwrap();
    bytes[place..place + 15].copy_from_slice(name);
    bytes
}

const HTTP: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\
                    content-length: 73\r\n\r\nThis port speaks HTTPS: use https:// in place of http:// in the address.\n";

#[tokio::test]
async fn whatever_is_sent_gets_its_exact_answer_and_a_neighbour_is_served() {
    let authority = Authority::new("bytes");
    let mut server = Server::start(&[authority.issue(&["a.test"])]).await;
    let good = hello("a.test");
    let quarter = |quarters: usize| good[..good.len() * quarters / 4].to_vec();
    let two = [good.clone(), good.clone()].concat();
    let spread: Vec<u8> = good[5..].chunks(7).flat_map(record).collect();
    let left = "the client left before its handshake was over";
    let malformed = |what: &str| format!("no tls: received corrupt message of type {what}");
    let illegal = alert(ILLEGAL_PARAMETER).to_vec();
    let unexpected = alert(UNEXPECTED_MESSAGE).to_vec();
    let decode = alert(DECODE_ERROR).to_vec();
    let table: Vec<(&str, Vec<u8>, Vec<u8>, String)> = vec![
        ("nothing", vec![], vec![], left.into()),
        ("a byte", vec![0x16], vec![], left.into()),
        ("a quarter", quarter(1), vec![], left.into()),
        ("a half", quarter(2), vec![], left.into()),
        ("three quarters", quarter(3), vec![], left.into()),
        ("all but one", good[..good.len() - 1].to_vec(), vec![], left.into()),
        ("an unknown name", hello("b.test"), alert(UNRECOGNIZED_NAME).into(), r#"no certificate for "b.test""#.into()),
        ("http", b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n".into(), HTTP.into(), "plain http on a tls port".into()),
        (
            "http with a body",
            [b"POST / HTTP/1.1\r\n".as_slice(), &vec![b'a'; 30_000]].concat(),
            HTTP.into(),
            "plain http on a tls port".into(),
        ),
        ("http/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), HTTP.into(), "plain http on a tls port".into()),
        ("half a method", b"GE".into(), vec![], left.into()),
        ("another word", b"GREAT TIMES\r\n".into(), decode.clone(), malformed("InvalidContentType")),
        ("small letters", b"get / HTTP/1.1\r\n\r\n".into(), decode.clone(), malformed("InvalidContentType")),
        ("ssh", b"SSH-2.0-OpenSSH_9.2p1\r\n".into(), decode.clone(), malformed("InvalidContentType")),
        ("zeros", vec![0; 100], decode.clone(), malformed("InvalidContentType")),
        ("sslv2", [&[0x80, 0x2e, 1, 3, 1][..], &[0; 43]].concat(), decode.clone(), malformed("InvalidContentType")),
        ("an empty record", record(b""), decode.clone(), malformed("InvalidEmptyPayload")),
        ("a record too long", vec![0x16, 3, 1, 0xff, 0xff, 1], decode.clone(), malformed("MessageTooLarge")),
        ("a hello of zeros", message(100, 100), decode.clone(), malformed("IllegalEmptyList(\"CipherSuites\")")),
        ("a hello of 60 KiB", message(60_000, 20_000), illegal.clone(), "a client hello too large".into()),
        ("a hello of 16 MiB", message(0xff_ffff, 100), decode.clone(), malformed("HandshakePayloadTooLarge")),
        (
            "many small records",
            (0..3000).flat_map(|_| record(&[1, 0, 0xff, 0xff, 0, 0])).collect(),
            illegal.clone(),
            "a client hello too large".into(),
        ),
        ("two hellos", two, vec![0x16], "handshake: cannot decrypt peer's message".into()),
        (
            "a name that is none",
            named(b"aaaaa..aaa.test"),
            illegal.clone(),
            "no tls: peer misbehaved: ServerNameMustContainOneHostName".into(),
        ),
        (
            "a name with a slash",
            named(b"../../etc/passw"),
            illegal.clone(),
            "no tls: peer misbehaved: ServerNameMustContainOneHostName".into(),
        ),
        (
            "an alert",
            vec![0x15, 3, 3, 0, 2, 2, 40],
            unexpected.clone(),
            "no tls: received unexpected message: got Alert".into(),
        ),
        (
            "data",
            vec![0x17, 3, 3, 0, 1, 0],
            unexpected,
            "no tls: received unexpected message: got ApplicationData".into(),
        ),
        ("spread over records", spread, vec![0x16], left.into()),
    ];
    let config = Arc::new(client(authority.roots(), &[&rustls::version::TLS13], &[]));
    for (what, sent, expected, outcome) in table {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(&sent).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut got = Vec::new();
        timeout(LIMIT, socket.read_to_end(&mut got)).await.expect(what).expect(what);
        // A handshake that begins is the client's to end.
        let got = if expected == [0x16] { &got[..1] } else { &got[..] };
        assert_eq!(got, expected, "{what}");
        let told = server.outcome().await;
        assert!(told.starts_with(&outcome), "{what}: {told}");
        let near = timeout(PROMPT, connect(&config, server.address, "a.test")).await;
        drop(near.unwrap_or_else(|_| panic!("{what}: the neighbour waits")).expect(what));
        assert_eq!(server.outcome().await, r#"Http1 "a.test""#);
    }
}

#[tokio::test]
async fn a_hello_that_comes_byte_by_byte_is_a_hello() {
    let authority = Authority::new("drip");
    let mut server = Server::start(&[authority.issue(&["a.test"])]).await;
    for sent in [hello("a.test"), b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        for byte in sent {
            if socket.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let _ = socket.shutdown().await;
        let mut got = Vec::new();
        let _ = socket.read_to_end(&mut got).await;
        assert!(got.starts_with(&[0x16, 3, 3]) || got == HTTP.as_bytes(), "{}", String::from_utf8_lossy(&got));
        server.outcome().await;
    }
}

#[tokio::test]
async fn who_says_nothing_or_not_enough_is_dropped_in_time() {
    let authority = Authority::new("slow");
    let limit = Duration::from_millis(200);
    let certificates = [authority.issue(&["a.test"])];
    let mut server = Server::with(&certificates, None, Tickets::new().unwrap(), limit).await;
    let whole = hello("a.test");
    let table: [(&[u8], usize); 5] =
        [(b"", 0), (b"G", 0), (&whole[..5], 0), (&whole[..whole.len() - 1], 10), (&whole, 0)];
    for (sent, drip) in table {
        let begun = Instant::now();
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        // The last bytes come one by one, and too slowly.
        let (at_once, slowly) = sent.split_at(sent.len() - drip);
        socket.write_all(at_once).await.unwrap();
        for byte in slowly {
            let _ = socket.write_all(&[*byte]).await;
            sleep(limit / 4).await;
        }
        assert_eq!(server.outcome().await, "no handshake in time", "{} bytes", sent.len());
        let mut got = Vec::new();
        let _ = timeout(LIMIT, socket.read_to_end(&mut got)).await.unwrap();
        assert!(drip > 0 || (limit..LIMIT).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_of_a_refusal_is_dropped_in_time() {
    let server = Server::start(&[]).await;
    let mut outcomes = server.outcomes;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    assert_eq!(outcomes.recv().await.unwrap(), "plain http on a tls port");
    assert!((LINGER..LIMIT).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}
