//! HTTP/2, with prior knowledge and by ALPN, against hyper's server.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use hyper::{body::Incoming as Received, service::service_fn};
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncRead, AsyncWrite};

use super::*;
use crate::testing::{Authority, listen, listen_tls};

/// Says what it got: method, URI, `Host`, and the length of the body.
async fn describe(request: Request<Received>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let length = body.collect().await?.to_bytes().len();
    let host = head.headers.get("host").map_or("-", |host| host.to_str().unwrap());
    let text = format!("{} {} {host} {length}", head.method, head.uri);
    Ok(Response::new(text.into()))
}

async fn serve_http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(TokioIo::new(stream), service_fn(describe)).await;
}

async fn serve_http1(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let builder = hyper::server::conn::http1::Builder::new();
    let _ = builder.serve_connection(TokioIo::new(stream), service_fn(describe)).await;
}

async fn many(client: &Client, origin: &Origin, count: usize) -> Vec<String> {
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            let (client, origin) = (client.clone(), origin.clone());
            tokio::spawn(async move {
                let uri = format!("http://b.test/{number}");
                outcome(&client, &origin, request(Method::GET, &uri)).await
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_carries_all_requests() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let plain = listen(move |socket, _| {
        count.fetch_add(1, SeqCst);
        serve_http2(socket)
    })
    .await;
    let authority = Authority::new();
    let count = connections.clone();
    let secure = listen_tls(authority.acceptor(&["a.test"], 4000, HTTP), move |stream, _| {
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        count.fetch_add(1, SeqCst);
        serve_http2(stream)
    })
    .await;
    let table = [
        (origin("http", plain.port(), Protocol::H2c, None), "http"),
        (origin("https", secure.port(), Protocol::Http1, Some(&authority.tls(HTTP))), "https"),
    ];
    for (origin, scheme) in table {
        connections.store(0, SeqCst);
        let client = client(options());
        for _ in 0..2 {
            for (number, answer) in many(&client, &origin, 50).await.into_iter().enumerate() {
                assert_eq!(answer, format!("200 GET {scheme}://b.test/{number} - 0"));
            }
        }
        assert_eq!(connections.load(SeqCst), 1);
    }
}

#[tokio::test]
async fn targets_and_bodies_of_http2() {
    let server = listen(|socket, _| serve_http2(socket)).await;
    let origin = origin("http", server.port(), Protocol::H2c, None);
    let port = server.port();
    let table = [
        ("https://b.test/x?y", None, "http://b.test/x?y".to_owned()),
        ("/x", Some("c.test"), "http://c.test/x".into()),
        ("/x", None, format!("http://a.test:{port}/x")),
        ("http://b.test", None, "http://b.test/".into()),
    ];
    let client = client(options());
    for (uri, host, expected) in table {
        let mut request = Request::put(uri).body(Full::from("body")).unwrap();
        if let Some(host) = host {
            request.headers_mut().insert(HOST, host.parse().unwrap());
        }
        assert_eq!(outcome(&client, &origin, request).await, format!("200 PUT {expected} - 4"), "{uri}");
    }
}

#[tokio::test]
async fn a_server_that_wants_http1_gets_it() {
    let authority = Authority::new();
    let table: [&[&[u8]]; 2] = [&[b"http/1.1"], &[]];
    for offered in table {
        let server = listen_tls(authority.acceptor(&["a.test"], 4000, offered), |stream, _| serve_http1(stream)).await;
        let origin = origin("https", server.port(), Protocol::Http1, Some(&authority.tls(HTTP)));
        let client = client(options());
        for (number, answer) in many(&client, &origin, 5).await.into_iter().enumerate() {
            assert_eq!(answer, format!("200 GET /{number} b.test 0"));
        }
        assert_eq!(get(&client, &origin).await, "200 GET / a.test 0");
    }
}

#[tokio::test]
async fn all_who_wait_for_a_connection_learn_why_there_is_none() {
    let dialled = Arc::new(AtomicUsize::new(0));
    let count = dialled.clone();
    let server = listen(move |socket, _| {
        count.fetch_add(1, SeqCst);
        async move {
            let _held = socket;
            std::future::pending::<()>().await;
        }
    })
    .await;
    let tls = Authority::new().tls(HTTP);
    let origin = origin("https", server.port(), Protocol::Http1, Some(&tls));
    let client = client(Options { connect: Duration::from_millis(100), ..options() });
    let expected = format!("a.test:{}: timed out", server.port());
    assert_eq!(many(&client, &origin, 20).await, vec![expected.clone(); 20]);
    assert_eq!(dialled.load(SeqCst), 1);
    assert_eq!(get(&client, &origin).await, expected, "and the next one tries again");
    assert_eq!(dialled.load(SeqCst), 2);
}

#[tokio::test]
async fn a_connection_that_went_away_is_replaced() {
    // The first says GOAWAY after its first answer, the second vanishes under a request, the third stays.
    let server = listen(|socket, number| async move {
        let serve = |request: Request<Received>| async move {
            if number == 1 { std::future::pending().await } else { describe(request).await }
        };
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service_fn(serve)));
        let pause = tokio::time::sleep(Duration::from_millis(100));
        tokio::select! {
            _ = &mut connection => return,
            () = pause => {}
        }
        match number {
            0 => connection.as_mut().graceful_shutdown(),
            1 => return,
            _ => {}
        }
        let _ = connection.await;
    })
    .await;
    let origin = origin("http", server.port(), Protocol::H2c, None);
    let client = client(options());
    let expected = "200 GET http://a.test/ - 0";
    assert_eq!(get(&client, &origin).await, expected);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let broken = outcome(&client, &origin, request(Method::POST, "/")).await;
    assert!(broken.starts_with(&format!("{origin}: ")), "{broken}");
    assert_eq!(get(&client, &origin).await, expected);
}

#[tokio::test]
async fn an_idempotent_request_survives_the_connection_that_it_was_sent_on() {
    let server = listen(|socket, number| async move {
        let asked = AtomicUsize::new(0);
        let serve = |request: Request<Received>| {
            let first = asked.fetch_add(1, SeqCst) == 0;
            async move { if number == 0 && !first { std::future::pending().await } else { describe(request).await } }
        };
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let connection = builder.serve_connection(TokioIo::new(socket), service_fn(serve));
        let life = if number == 0 { Duration::from_millis(100) } else { LIMIT };
        let _ = tokio::time::timeout(life, connection).await;
    })
    .await;
    let origin = origin("http", server.port(), Protocol::H2c, None);
    let client = client(options());
    let expected = "200 GET http://a.test/ - 0";
    assert_eq!([get(&client, &origin).await, get(&client, &origin).await], [expected, expected]);
}

#[tokio::test]
async fn a_connection_that_does_not_answer_is_not_used_again() {
    let server = listen(|socket, number| async move {
        let serve = move |request: Request<Received>| async move {
            if number == 0 { std::future::pending().await } else { describe(request).await }
        };
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(socket), service_fn(serve)).await;
    })
    .await;
    let origin = origin("http", server.port(), Protocol::H2c, None);
    let client = client(Options { head: Duration::from_millis(100), ..options() });
    assert_eq!(get(&client, &origin).await, format!("{origin}: no answer in time"));
    assert_eq!(get(&client, &origin).await, "200 GET http://a.test/ - 0");
}

#[tokio::test]
async fn an_unused_connection_is_closed() {
    let open = Arc::new(AtomicUsize::new(0));
    let count = open.clone();
    let server = listen(move |socket, _| {
        let open = count.clone();
        async move {
            open.fetch_add(1, SeqCst);
            serve_http2(socket).await;
            open.fetch_sub(1, SeqCst);
        }
    })
    .await;
    let origin = origin("http", server.port(), Protocol::H2c, None);
    let client = client(Options { idle: Duration::from_millis(100), ..options() });
    assert_eq!(get(&client, &origin).await, "200 GET http://a.test/ - 0");
    assert_eq!(open.load(SeqCst), 1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(open.load(SeqCst), 0);
}

#[tokio::test]
async fn an_http1_server_on_an_h2c_origin_is_a_broken_one() {
    let server = listen(|socket, _| serve_http1(socket)).await;
    let origin = origin("http", server.port(), Protocol::H2c, None);
    let got = get(&client(options()), &origin).await;
    assert!(got.starts_with(&format!("a.test:{}: no HTTP/2: connection ", server.port())), "{got}");
}
