//! HTTP/1.1 against servers that say exactly what the test wants.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::sleep,
};

use super::*;
use crate::{
    Proxies,
    testing::{Nobody, listen},
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server that answers the n-th request of the m-th connection with `answers[m][n]`, and closes after the last.
struct Scripted {
    address: SocketAddr,
    /// What it read, a connection.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    async fn new(answers: &[&[&str]]) -> Self {
        let answers: Vec<Vec<String>> =
            answers.iter().map(|answers| answers.iter().map(ToString::to_string).collect()).collect();
        let heard = Arc::new(Mutex::new(vec![String::new(); answers.len()]));
        let noted = heard.clone();
        let address = listen(move |mut socket, number| {
            let (answers, noted) = (answers.get(number).cloned().unwrap_or_default(), noted.clone());
            async move {
                for answer in answers {
                    let Some(asked) = read_head(&mut socket).await else { return };
                    noted.lock().unwrap()[number] += &asked;
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
                socket.shutdown().await.unwrap();
            }
        })
        .await;
        Self { address, heard }
    }

    fn origin(&self) -> Origin {
        origin("http", self.address.port(), Protocol::Http1, None)
    }

    /// How many requests came over each connection.
    fn requests(&self) -> Vec<usize> {
        self.heard.lock().unwrap().iter().map(|heard| heard.matches("\r\n\r\n").count()).collect()
    }
}

async fn read_head(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn targets_go_out_in_origin_form_with_the_authority_as_host() {
    let table = [
        ("http://b.test/x?y", None, "GET /x?y HTTP/1.1\r\nhost: b.test\r\n\r\n"),
        ("https://b.test:444/", None, "GET / HTTP/1.1\r\nhost: b.test:444\r\n\r\n"),
        ("http://u:p@b.test/", None, "GET / HTTP/1.1\r\nhost: b.test\r\n\r\n"),
        ("http://b.test", None, "GET / HTTP/1.1\r\nhost: b.test\r\n\r\n"),
        ("http://b.test?q", None, "GET /?q HTTP/1.1\r\nhost: b.test\r\n\r\n"),
        ("http://b.test/", Some("c.test"), "GET / HTTP/1.1\r\nhost: b.test\r\n\r\n"),
        ("/x", Some("c.test"), "GET /x HTTP/1.1\r\nhost: c.test\r\n\r\n"),
        ("/x", None, "GET /x HTTP/1.1\r\nhost: a.test:PORT\r\n\r\n"),
        ("//x", None, "GET //x HTTP/1.1\r\nhost: a.test:PORT\r\n\r\n"),
    ];
    for (uri, host, expected) in table {
        let server = Scripted::new(&[&[OK]]).await;
        let mut request = request(Method::GET, uri);
        *request.version_mut() = Version::HTTP_2;
        if let Some(host) = host {
            request.headers_mut().insert(HOST, host.parse().unwrap());
        }
        assert_eq!(outcome(&client(options()), &server.origin(), request).await, "200 ok");
        let expected = expected.replace("PORT", &server.address.port().to_string());
        assert_eq!(server.heard.lock().unwrap()[0], expected, "{uri}");
    }
}

#[tokio::test]
async fn connect_is_not_sent() {
    let server = Scripted::new(&[&[OK]]).await;
    for uri in ["a.test:80", "/"] {
        let got = outcome(&client(options()), &server.origin(), request(Method::CONNECT, uri)).await;
        assert_eq!(got, format!("{}: CONNECT is not sent", server.origin()));
    }
    assert_eq!(server.requests(), [0]);
}

#[tokio::test]
async fn connections_are_used_again() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let server = Scripted::new(&[&[OK, "HTTP/1.1 204 No\r\n\r\n", CHUNKED, OK], &[OK]]).await;
    let (client, origin) = (client(options()), server.origin());
    let mut got = Vec::new();
    for _ in 0..4 {
        got.push(get(&client, &origin).await);
    }
    assert_eq!(got, ["200 ok", "204 ", "200 ok", "200 ok"]);
    assert_eq!(server.requests(), [4, 0]);
}

#[tokio::test]
async fn as_many_rest_as_are_allowed_and_no_longer() {
    let open = Arc::new(AtomicUsize::new(0));
    let count = open.clone();
    let server = listen(move |mut socket, _| {
        let open = count.clone();
        async move {
            open.fetch_add(1, SeqCst);
            while read_head(&mut socket).await.is_some() {
                // Long enough for all three to be under way.
                sleep(Duration::from_millis(50)).await;
                socket.write_all(OK.as_bytes()).await.unwrap();
            }
            open.fetch_sub(1, SeqCst);
        }
    })
    .await;
    let client = client(Options { idle: Duration::from_millis(400), ..options() });
    let origin = origin("http", server.port(), Protocol::Http1, None);
    let got = tokio::join!(get(&client, &origin), get(&client, &origin), get(&client, &origin));
    assert_eq!((got.0.as_str(), got.1.as_str(), got.2.as_str()), ("200 ok", "200 ok", "200 ok"));
    sleep(Duration::from_millis(50)).await;
    assert_eq!(open.load(SeqCst), 2, "two may rest");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(open.load(SeqCst), 0, "none for long");
    assert_eq!(get(&client, &origin).await, "200 ok");
}

#[tokio::test]
async fn a_response_that_lies_ends_only_its_own_request() {
    let broken = |reason: &str| format!("http://a.test:PORT: {reason}");
    let table = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nevil", "200 ok".to_owned()),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", "200, then error reading a body from connection".into()),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk",
            broken("invalid content-length parsed"),
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nok", broken("invalid content-length parsed")),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", "200 ok".into()),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\nok", "200, then error reading a body from".into()),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", "200, then error reading a body".into()),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "200 ok".into()),
        ("HTTP/1.1 204 No\r\ncontent-length: 2\r\n\r\nok", "204 ".into()),
        ("HTTP/1.1 200 OK\r\n\r\nok", "200 ok".into()),
        ("HTTP/1.0 200 OK\r\n\r\nok", "200 ok".into()),
        ("HTTP/2 200 OK\r\n\r\nok", broken("invalid HTTP version parsed")),
        ("HTTP/1.1 99 No\r\n\r\n", broken("invalid HTTP status-code parsed")),
        ("HTTP/1.1 200 OK\r\na b: c\r\n\r\n", broken("invalid HTTP header parsed")),
        ("SSH-2.0-OpenSSH_9.2\r\n", broken("invalid HTTP version parsed")),
        ("", broken("connection closed before message completed")),
        ("HTTP/1.1 2", broken("connection closed before message completed")),
    ];
    for (answer, expected) in table {
        let server = Scripted::new(&[&[answer], &[OK]]).await;
        let (client, origin) = (client(options()), server.origin());
        let got = get(&client, &origin).await;
        let expected = expected.replace("PORT", &server.address.port().to_string());
        assert!(got.starts_with(&expected), "{answer:?}: {got}, not {expected}");
        assert_eq!(get(&client, &origin).await, "200 ok", "after {answer:?}");
        assert_eq!(server.requests(), [1, 1], "{answer:?}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_not_read_to_its_end() {
    let server = listen(|mut socket, _| async move {
        read_head(&mut socket).await;
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\na: ").await;
        let mut sent = 0;
        while socket.write_all(&[b'a'; 1000]).await.is_ok() {
            sent += 1000;
            assert!(sent < 100_000_000);
        }
    })
    .await;
    let origin = origin("http", server.port(), Protocol::Http1, None);
    assert_eq!(get(&client(options()), &origin).await, format!("{origin}: message head is too large"));
}

#[tokio::test]
async fn what_comes_unasked_is_nobodys_answer() {
    let (answered, sent) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let told = (answered.clone(), sent.clone());
    let server = listen(move |mut socket, number| {
        let (answered, sent) = told.clone();
        async move {
            read_head(&mut socket).await;
            socket.write_all(OK.as_bytes()).await.unwrap();
            if number == 0 {
                answered.notified().await;
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil").await.unwrap();
                sent.notify_one();
            }
            std::future::pending::<()>().await;
        }
    })
    .await;
    let (client, origin) = (client(options()), origin("http", server.port(), Protocol::Http1, None));
    assert_eq!(get(&client, &origin).await, "200 ok");
    answered.notify_one();
    sent.notified().await;
    sleep(Duration::from_millis(20)).await;
    assert_eq!(get(&client, &origin).await, "200 ok");
}

#[tokio::test]
async fn a_request_on_a_connection_closed_under_it_is_sent_again_where_that_is_safe() {
    let closed = "connection closed before message completed";
    let table = [
        (Method::GET, "", "", Ok("200 ok")),
        (Method::HEAD, "", "", Ok("200 ")),
        (Method::DELETE, "", "", Ok("200 ok")),
        (Method::PUT, "", "", Ok("200 ok")),
        (Method::POST, "", "", Err(closed)),
        (Method::PATCH, "", "", Err(closed)),
        // With a body, or after the answer began: once is enough.
        (Method::PUT, "body", "", Err(closed)),
        (Method::GET, "", "HTTP/1.1 2", Err(closed)),
        (Method::GET, "", "HTTP/1.1 100 Continue\r\n\r\n", Err(closed)),
    ];
    for (method, body, answer, expected) in table {
        // The first connection takes the second request and closes without an answer.
        let server = Scripted::new(&[&[OK, answer], &[OK]]).await;
        let (client, origin) = (client(options()), server.origin());
        assert_eq!(get(&client, &origin).await, "200 ok");
        let request = Request::builder().method(&method).uri("/").body(Full::from(body)).unwrap();
        let got = outcome(&client, &origin, request).await;
        let expected = expected.map_or_else(|reason| format!("{origin}: {reason}"), str::to_owned);
        assert_eq!(got, expected, "{method} {body:?} {answer:?}");
        let again = usize::from(got.starts_with("200"));
        assert_eq!(server.requests(), [2, again], "{method} {body:?} {answer:?}");
    }
}

#[tokio::test]
async fn it_is_sent_again_once_and_on_a_new_connection() {
    let server = Scripted::new(&[&[OK, ""], &[""], &[OK]]).await;
    let (client, origin) = (client(options()), server.origin());
    assert_eq!(get(&client, &origin).await, "200 ok");
    assert_eq!(get(&client, &origin).await, format!("{origin}: connection closed before message completed"));
    assert_eq!(server.requests(), [2, 1, 0]);
}

#[tokio::test]
async fn a_connection_that_the_peer_closed_while_it_rested_takes_nothing() {
    let server = Scripted::new(&[&[OK], &[OK]]).await;
    let (client, origin) = (client(options()), server.origin());
    assert_eq!(get(&client, &origin).await, "200 ok");
    sleep(Duration::from_millis(50)).await;
    assert_eq!(outcome(&client, &origin, request(Method::POST, "/")).await, "200 ok");
    assert_eq!(server.requests(), [1, 1]);
}

#[tokio::test]
async fn bodies_stream_both_ways_and_an_early_answer_does_not_end_the_upload() {
    let uploaded = Arc::new(AtomicUsize::new(0));
    let noted = uploaded.clone();
    let server = listen(move |mut socket, _| {
        let uploaded = noted.clone();
        async move {
            let head = read_head(&mut socket).await.unwrap();
            assert!(head.contains("content-length: 1000000\r\n"), "{head}");
            socket.write_all(OK.as_bytes()).await.unwrap();
            let mut rest = vec![0; 1_000_000];
            socket.read_exact(&mut rest).await.unwrap();
            uploaded.store(rest.len(), SeqCst);
            read_head(&mut socket).await.unwrap();
            socket.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let (client, origin) = (client(options()), origin("http", server.port(), Protocol::Http1, None));
    let (feed, body) = fed();
    let upload = Request::post("/").header("content-length", 1_000_000).body(body).unwrap();
    assert_eq!(outcome(&client, &origin, upload).await, "200 ok", "before anything of the body was there");
    for _ in 0..10 {
        feed.send(Ok(vec![1; 100_000].into())).await.unwrap();
    }
    drop(feed);
    while uploaded.load(SeqCst) == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_millis(50)).await;
    assert_eq!(get(&client, &origin).await, "200 ok", "over the same connection: the server takes one alone");
}

#[tokio::test]
async fn a_body_that_nobody_reads_holds_the_peer_back_and_is_dropped_with_its_connection() {
    let sent = Arc::new(AtomicUsize::new(0));
    let noted = sent.clone();
    let server = listen(move |mut socket, _| {
        let sent = noted.clone();
        async move {
            read_head(&mut socket).await;
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await.unwrap();
            while socket.write_all(&[0; 10_000]).await.is_ok() {
                sent.fetch_add(10_000, SeqCst);
            }
            sent.store(0, SeqCst);
        }
    })
    .await;
    let (client, origin) = (client(options()), origin("http", server.port(), Protocol::Http1, None));
    let mut response = client.send(&origin, request(Method::GET, "/")).await.unwrap();
    assert!(!response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap().is_empty());
    sleep(Duration::from_millis(100)).await;
    let held = sent.load(SeqCst);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(sent.load(SeqCst), held, "nothing moves while nobody reads");
    assert!(held < 20_000_000, "{held} bytes on their way");
    drop(response);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(sent.load(SeqCst), 0, "the peer saw the end");
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_is_not_waited_for() {
    let server = listen(|mut socket, _| async move {
        let mut all = Vec::new();
        let _ = socket.read_to_end(&mut all).await;
    })
    .await;
    let limit = Duration::from_millis(100);
    let (client, origin) =
        (client(Options { head: limit, ..options() }), origin("http", server.port(), Protocol::Http1, None));
    let begun = Instant::now();
    assert_eq!(get(&client, &origin).await, format!("{origin}: no answer in time"));
    assert!(begun.elapsed() >= limit, "{:?}", begun.elapsed());

    // An upload that goes on counts as life, and its end begins the wait anew.
    let (feed, body) = fed();
    let begun = Instant::now();
    let upload = tokio::spawn(async move { outcome(&client, &origin, Request::post("/").body(body).unwrap()).await });
    for _ in 0..5 {
        sleep(limit / 2).await;
        feed.send(Ok(Bytes::from_static(b"x"))).await.unwrap();
    }
    drop(feed);
    assert!(upload.await.unwrap().ends_with(": no answer in time"));
    assert!(begun.elapsed() >= limit * 7 / 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_requests_own_fault() {
    let server = listen(|mut socket, _| async move {
        let mut all = Vec::new();
        let _ = socket.read_to_end(&mut all).await;
    })
    .await;
    let (client, origin) = (client(options()), origin("http", server.port(), Protocol::Http1, None));
    let (feed, body) = fed();
    feed.send(Err("the client is gone".into())).await.unwrap();
    let got = outcome(&client, &origin, Request::post("/").body(body).unwrap()).await;
    assert_eq!(got, format!("{origin}: the request's body broke off"));
}

#[tokio::test]
async fn an_upgraded_connection_is_handed_over() {
    let server = listen(|mut socket, _| async move {
        let head = read_head(&mut socket).await.unwrap();
        assert!(head.contains("upgrade: echo\r\n"), "{head}");
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello ";
        socket.write_all(answer).await.unwrap();
        let (mut reading, mut writing) = socket.split();
        tokio::io::copy(&mut reading, &mut writing).await.unwrap();
    })
    .await;
    let (client, origin) = (client(options()), origin("http", server.port(), Protocol::Http1, None));
    let mut request = request(Method::GET, "/");
    request.headers_mut().insert("connection", "upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", "echo".parse().unwrap());
    let response = client.send(&origin, request).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    stream.write_all(b"there").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "hello there");
}

#[tokio::test]
async fn a_refused_connection_says_that_nothing_was_sent() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let origin = origin("http", gone.port(), Protocol::Http1, None);
    let error = client(options()).send(&origin, request(Method::GET, "/")).await.map(drop).unwrap_err();
    assert!(matches!(error, SendError::Connect(DialError::Refused { .. })), "{error:?}");
}

#[tokio::test]
async fn a_proxy_gets_the_whole_target_and_its_own_credentials() {
    let server = Scripted::new(&[&[OK, OK]]).await;
    let proxy = format!("http://me:s%20t@127.0.0.1:{}", server.address.port());
    let proxies = Proxies::of(|name| (name == "http_proxy").then(|| proxy.clone()));
    // Whose name nobody here can look up.
    let client = Client::new(Dialler::new(Nobody::Failing), options());
    let origin = proxies.route(&origin("http", 81, Protocol::Http1, None)).unwrap();
    for uri in ["/x?y", "http://b.test"] {
        assert_eq!(outcome(&client, &origin, request(Method::GET, uri)).await, "200 ok");
    }
    // printf 'me:s t' | base64
    let secret = "proxy-authorization: Basic bWU6cyB0\r\n\r\n";
    let expected = format!(
        "GET http://a.test:81/x?y HTTP/1.1\r\nhost: a.test:81\r\n{secret}\
         GET http://a.test:81/ HTTP/1.1\r\nhost: b.test\r\n{secret}"
    );
    assert_eq!(server.heard.lock().unwrap().concat(), expected);
}
