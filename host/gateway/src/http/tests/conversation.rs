//! Connections: many requests on one, how they end, and what is no request at all.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, future::join_all};
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf},
    sync::Semaphore,
};

use super::{Client, Guest, Setup, World, get, reply, secure, until};
use crate::tls::Protocol;

fn path() -> Arc<Guest> {
    Guest::service(1, |request| reply(200, &[("cache-control", "public")], request.uri().path().to_owned()))
}

/// Answers when it is let, or at once at `/now`.
fn held(gate: &Arc<Semaphore>) -> Arc<Guest> {
    let gate = gate.clone();
    Guest::asked(1, move |request, _| {
        let gate = gate.clone();
        async move {
            if request.uri().path() != "/now" {
                gate.acquire().await.unwrap().forget();
            }
            Ok(reply(200, &[], request.uri().path().to_owned()))
        }
        .boxed()
    })
}

#[tokio::test]
async fn requests_in_a_pipeline_are_answered_in_order() {
    let world = Setup::only(&path());
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let last = "GET /c HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";
    for _ in 0..2 {
        let answers = world.raw(secure(Protocol::Http1), &(ask("/a") + &ask("/b") + last)).await;
        let bodies: Vec<_> = answers.split("\r\n\r\n").skip(1).map(|rest| &rest[..2]).collect();
        assert_eq!(bodies, ["/a", "/b", "/c"], "{answers}");
    }
}

/// Notes how much was wanted when it was read last.
struct Noting(DuplexStream, Arc<AtomicUsize>);

impl crate::http::BreakOff for Noting {
    fn break_off(&self) {}
}

impl AsyncRead for Noting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.1.store(buffer.remaining(), Ordering::Relaxed);
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Noting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A connection that rests holds no buffers of HTTP's, and loses nothing of what comes next, however that comes.
#[tokio::test]
async fn a_connection_that_rests_goes_on_where_it_was() {
    const RESTING: usize = 512;
    let world = Setup::only(&path());
    let (near, mut far) = tokio::io::duplex(64 << 10);
    let wanted = Arc::<AtomicUsize>::default();
    let peer = secure(Protocol::Http1);
    let admission = world.gateway.admit(peer.address.ip()).unwrap();
    tokio::spawn(world.gateway.clone().serve(Noting(near, wanted.clone()), peer, admission));
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let rested = || wanted.load(Ordering::Relaxed) == RESTING;
    let read = async |far: &mut DuplexStream, answers: usize| {
        let mut text = String::new();
        while text.matches("\r\n\r\n/").count() < answers {
            let mut bytes = [0; 4096];
            let read = far.read(&mut bytes).await.unwrap();
            assert!(read > 0, "{text}");
            text.push_str(str::from_utf8(&bytes[..read]).unwrap());
        }
        text
    };
    // Before its first request it does not rest.
    for _ in 0..5 {
        world.gateway.look_around();
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!rested());
    let (long, pipeline) = (ask(&format!("/{}", "x".repeat(2000))), ask("/a") + &ask("/b"));
    for (sent, answers) in [(&*ask("/one"), 1), (&*pipeline, 2), (&*long, 1), (&*ask("/last"), 1)] {
        let (begin, rest) = sent.split_at(7);
        far.write_all(begin.as_bytes()).await.unwrap();
        for _ in 0..5 {
            // Nor within a head.
            world.gateway.look_around();
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert!(!rested(), "{sent}");
        }
        far.write_all(rest.as_bytes()).await.unwrap();
        let text = read(&mut far, answers).await;
        assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), answers, "{text}");
        assert!(!rested());
        until(|| {
            world.gateway.look_around();
            rested()
        })
        .await;
    }
    drop(far);
    world.open(0).await;
}

/// What a slow client has not taken, and what nobody has read of a request, is no reason to rest.
#[tokio::test]
async fn nothing_is_lost_to_a_rest() {
    const LARGE: usize = 300 << 10;
    let (gate, read) = (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default());
    let guest = Guest::service(1, {
        let (gate, read) = (gate.clone(), read.clone());
        move |request| {
            if request.method() == "POST" {
                let (gate, read) = (gate.clone(), read.clone());
                tokio::spawn(async move {
                    gate.acquire().await.unwrap().forget();
                    read.store(request.into_body().collect().await.unwrap().to_bytes().len(), Ordering::Relaxed);
                });
                return reply(202, &[], "accepted");
            }
            reply(200, &[("cache-control", "public")], "x".repeat(LARGE))
        }
    });
    let world = Setup::only(&guest);
    let look_around = async || {
        for _ in 0..5 {
            world.gateway.look_around();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let mut far = world.connect(secure(Protocol::Http1));
    for _ in 0..2 {
        far.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.unwrap();
        look_around().await;
        let (mut text, mut bytes) = (String::new(), [0; 4096]);
        while text.matches('x').count() < LARGE {
            let count = far.read(&mut bytes).await.unwrap();
            assert!(count > 0, "{} bytes came", text.len());
            text.push_str(str::from_utf8(&bytes[..count]).unwrap());
        }
        look_around().await;
    }
    far.write_all(b"POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
    let mut answer = [0; 1024];
    let count = far.read(&mut answer).await.unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 202 Accepted\r\n"));
    look_around().await;
    gate.add_permits(1);
    until(|| read.load(Ordering::Relaxed) == 5).await;
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let world = Setup::only(&path());
    let answer = world.raw(secure(Protocol::Http1), "GET /a HTTP/1.0\r\nhost: a.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\n/a"), "{answer}");
}

#[tokio::test]
async fn what_is_no_request() {
    let world = Setup::only(&path());
    let long = format!("GET /{} HTTP/1.1\r\nhost: a.test\r\n\r\n", "x".repeat(70_000));
    let fields = format!("GET / HTTP/1.1\r\nhost: a.test\r\n{}\r\n", "x-y: z\r\n".repeat(101));
    let large = format!("GET / HTTP/1.1\r\nhost: a.test\r\nx: {}\r\n\r\n", "x".repeat(40_000));
    for (request, status) in [
        ("nonsense\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\nhost: a.test\r\nx y: z\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\nhost : a.test\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: gzip\r\n\r\n", "400 Bad Request"),
        (&long, "431 Request Header Fields Too Large"),
        (&fields, "431 Request Header Fields Too Large"),
        (&large, "431 Request Header Fields Too Large"),
    ] {
        let seen = world.raw(secure(Protocol::Http1), request).await;
        assert!(seen.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{}: {seen}", &request[..40]);
    }
    // A neighbour doesn't feel it.
    assert_eq!(world.get("/a", &[]).await.text(), "/a");
}

#[tokio::test]
async fn a_body_is_asked_for_when_somebody_reads_it() {
    let guest = Guest::asked(1, |request, _| {
        async move {
            if request.uri().path() == "/refused" {
                return Ok(reply(403, &[], ""));
            }
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Ok(reply(200, &[], body))
        }
        .boxed()
    });
    let world = Setup::only(&guest);
    let mut far = world.connect(secure(Protocol::Http1));
    let head =
        "POST / HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 3\r\nconnection: close\r\n\r\n";
    far.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    far.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    far.write_all(b"abc").await.unwrap();
    let mut answer = String::new();
    far.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nabc"), "{answer}");
    let refused = world.raw(secure(Protocol::Http1), &head.replace("POST /", "POST /refused")).await;
    assert!(refused.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{refused}");
}

#[tokio::test]
async fn streams_do_not_wait_for_one_another() {
    let gate = Arc::new(Semaphore::new(0));
    let world = Setup::only(&held(&gate));
    let Client::Http2(client) = world.client(Protocol::Http2).await else { unreachable!() };
    let asking = |path: String| {
        let mut client = Client::Http2(client.clone());
        async move { client.get(&path, &[]).await.text().to_owned() }
    };
    let slow = tokio::spawn(join_all((0..100).map(|at| asking(format!("/{at}")))));
    let quick = tokio::time::timeout(Duration::from_secs(5), asking("/now".into())).await.unwrap();
    assert_eq!(quick, "/now");
    gate.add_permits(100);
    assert_eq!(slow.await.unwrap(), (0..100).map(|at| format!("/{at}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stream_that_its_client_resets_is_given_up() {
    let gate = Arc::new(Semaphore::new(0));
    let guest = held(&gate);
    let world = Setup::only(&guest);
    let Client::Http2(client) = world.client(Protocol::Http2).await else { unreachable!() };
    let mut resetting = Client::Http2(client.clone());
    let asking = tokio::spawn(async move { resetting.get("/a", &[]).await });
    until(|| guest.calls() == 1).await;
    asking.abort();
    let line = &world.log(1).await[0];
    assert_eq!(
        (super::logged(line, "status"), super::logged(line, "error")),
        (Some("499"), Some("\"the client left\""))
    );
    assert_eq!(Client::Http2(client).get("/now", &[]).await.text(), "/now");
}

async fn drained(world: &World) -> usize {
    tokio::time::timeout(Duration::from_secs(5), world.gateway.drain(Duration::from_mins(1))).await.unwrap()
}

#[tokio::test]
async fn what_was_begun_is_finished() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let gate = Arc::new(Semaphore::new(0));
        let guest = held(&gate);
        let world = Arc::new(Setup::only(&guest));
        let mut idle = world.client(protocol).await;
        assert_eq!(idle.get("/now", &[]).await.status, 200);
        let mut busy = world.client(protocol).await;
        let asking = tokio::spawn(async move { (busy.get("/a", &[]).await, busy) });
        until(|| guest.calls() == 2).await;
        world.open(2).await;
        let draining = tokio::spawn({
            let world = world.clone();
            async move { drained(&world).await }
        });
        // The idle one is closed at once.
        world.open(1).await;
        assert!(idle.send(get("/now", &[])).await.is_err());
        gate.add_permits(1);
        let (seen, mut busy) = asking.await.unwrap();
        assert_eq!(seen.text(), "/a");
        if protocol == Protocol::Http1 {
            assert_eq!(seen.field("connection"), Some("close"));
        }
        assert_eq!(draining.await.unwrap(), 0);
        assert!(busy.send(get("/now", &[])).await.is_err());
    }
}

#[tokio::test]
async fn who_has_just_come_gets_one_answer() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let world = Arc::new(Setup::only(&path()));
        let mut early = world.client(protocol).await;
        world.open(1).await;
        let draining = tokio::spawn({
            let world = world.clone();
            async move { drained(&world).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!draining.is_finished());
        let mut late = world.client(protocol).await;
        assert_eq!(early.get("/early", &[]).await.text(), "/early");
        assert_eq!(late.get("/late", &[]).await.text(), "/late");
        assert_eq!(draining.await.unwrap(), 0);
        assert!(late.send(get("/later", &[])).await.is_err());
    }
}

#[tokio::test]
async fn what_does_not_finish_is_cut_off() {
    let gate = Arc::new(Semaphore::new(0));
    let guest = held(&gate);
    let world = Setup::only(&guest);
    let mut clients = [world.client(Protocol::Http1).await, world.client(Protocol::Http2).await];
    let [one, two] = &mut clients;
    let draining = async {
        until(|| guest.calls() == 2).await;
        world.gateway.drain(Duration::from_millis(20)).await
    };
    let (one, two, cut) = tokio::join!(one.send(get("/a", &[])), two.send(get("/b", &[])), draining);
    assert_eq!((one.is_err(), two.is_err(), cut), (true, true, 2));
    assert_eq!(world.gateway.connections(), 0);
    for line in world.log(2).await {
        assert_eq!(
            (super::logged(&line, "status"), super::logged(&line, "error")),
            (Some("499"), Some("\"cut off by the host\""))
        );
    }
}

#[tokio::test]
async fn a_closed_connection_is_let_go() {
    let world = Setup::only(&path());
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut client = world.client(protocol).await;
        client.get("/", &[]).await;
        world.open(1).await;
        drop(client);
        world.open(0).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_what_it_holds() {
    let guest = Guest::service(1, |_| reply(200, &[], vec![b'x'; 1 << 20]));
    let world = Setup::only(&guest);
    let mut slow = world.connect(secure(Protocol::Http1));
    slow.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(world.get("/", &[]).await.body.unwrap().len(), 1 << 20, "a neighbour");
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).await.unwrap();
    assert!(answer.len() > 1 << 20);
}
