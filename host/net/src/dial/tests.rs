use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::atomic::Ordering::SeqCst,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, UnixListener},
};

use super::*;
use crate::{
    HTTP,
    testing::{Authority, Everywhere, LIMIT, Nobody, listen, listen_tls, missing, target},
};

async fn ping(mut stream: impl AsyncWriteExt + Unpin) {
    stream.write_all(b"ping").await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn read(mut stream: Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn a_name_that_leads_home_is_not_dialled_for_a_guest() {
    let server = listen(|_, _| async { panic!("dialled") }).await;
    for address in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"] {
        let everywhere = Everywhere::at(&[address]);
        let target = target("a.test", server.port(), None, Egress::Public);
        let error = everywhere.dialler().connect(&target, LIMIT).await.unwrap_err();
        let expected = format!("a.test:{}: the name leads to addresses that are not allowed", server.port());
        assert_eq!(error.to_string(), expected, "{address}");
        assert_eq!(everywhere.asked.load(SeqCst), 1);
    }
}

#[tokio::test]
async fn what_the_operator_or_the_table_wrote_down_is_dialled() {
    let server = listen(|socket, _| ping(socket)).await;
    let table = [
        ("a.test", Egress::Any, 1),
        ("127.0.0.1", Egress::Public, 0),
        ("localhost", Egress::Public, 0),
        ("localhost", Egress::Any, 0),
    ];
    for (host, egress, lookups) in table {
        let everywhere = Everywhere::at(&["127.0.0.1"]);
        let target = target(host, server.port(), None, egress);
        let stream = everywhere.dialler().connect(&target, LIMIT).await.unwrap();
        let Stream::Tcp(socket) = &stream else { panic!("{stream:?}") };
        assert!(socket.nodelay().unwrap());
        assert_eq!(read(stream).await, b"ping", "{host} {egress:?}");
        assert_eq!(everywhere.asked.load(SeqCst), lookups, "{host} {egress:?}");
    }
}

#[tokio::test]
async fn the_next_address_is_tried_where_one_refuses_or_is_mute() {
    // Its queue is full, so that further connections are not answered.
    let full = TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.3:0".parse().unwrap()).unwrap();
    let full = full.listen(0).unwrap();
    let port = full.local_addr().unwrap().port();
    let _waiting = TcpStream::connect(full.local_addr().unwrap()).await.unwrap();
    let server = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        loop {
            ping(server.accept().await.unwrap().0).await;
        }
    });
    for first in ["127.0.0.2", "127.0.0.3"] {
        let dialler = Everywhere::at(&[first, "127.0.0.1"]).dialler();
        let target = target("a.test", port, None, Egress::Any);
        let stream = dialler.connect(&target, Duration::from_millis(600)).await.unwrap();
        assert_eq!(read(stream).await, b"ping", "{first}");
    }
}

#[tokio::test]
async fn failures_say_which_peer_and_why() {
    let mute = listen(|socket, _| async move {
        let _held = socket;
        std::future::pending::<()>().await;
    })
    .await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let here = Everywhere::at(&["127.0.0.1"]).dialler();
    let tls = Authority::new().tls(HTTP);
    let short = Duration::from_millis(50);
    let table = [
        (&here, target("a.test", gone.port(), None, Egress::Any), LIMIT, "connection refused"),
        (&here, target("a.test", mute.port(), Some(&tls), Egress::Any), short, "timed out"),
        (&Dialler::new(Nobody::Silent), target("a.test", 1, None, Egress::Any), short, "timed out"),
        (&Dialler::new(Nobody::Failing), target("a.test", 1, None, Egress::Any), LIMIT, "name not found: no such name"),
        (
            &Everywhere::default().dialler(),
            target("a.test", 1, None, Egress::Any),
            LIMIT,
            "name not found: no addresses",
        ),
    ];
    for (dialler, target, limit, expected) in table {
        let error = dialler.connect(&target, limit).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{}: {expected}", target.place));
    }
}

#[tokio::test]
async fn tls_trusts_only_what_it_was_told_to() {
    let (ours, other) = (Authority::new(), Authority::new());
    let serve = |acceptor| listen_tls(acceptor, |stream, _| ping(stream));
    let good = serve(ours.acceptor(&["a.test", "127.0.0.1"], 4000, &[b"http/1.1"])).await;
    let expired = serve(ours.acceptor(&["a.test"], 2020, &[b"http/1.1"])).await;
    let own = serve(ours.own_acceptor()).await;
    let plain = listen(|socket, _| ping(socket)).await;
    let closing = listen(|mut socket, _| async move {
        let _ = socket.read(&mut [0; 16_384]).await;
    })
    .await;
    let dialler = Everywhere::at(&["127.0.0.1"]).dialler();
    let (tls, stranger, spdy) = (ours.tls(HTTP), other.tls(HTTP), ours.tls(&[b"spdy/3"]));
    let named = tls.clone().named(ServerName::try_from("b.test").unwrap());
    let table = [
        ("a.test", good, &tls, Ok(())),
        ("127.0.0.1", good, &tls, Ok(())),
        ("a.test", good, &stranger, Err("certificate not trusted: signed by no authority that is trusted")),
        ("a.test", good, &named, Err("certificate not trusted: certificate not valid for name \"b.test\"")),
        ("b.test", good, &tls, Err("certificate not trusted: certificate not valid for name \"b.test\"")),
        ("a.test", expired, &tls, Err("certificate not trusted: certificate expired")),
        ("a.test", good, &spdy, Err("tls failed: received fatal alert: NoApplicationProtocol")),
        ("a.test", own, &tls, Err("certificate not trusted: an authority's own certificate; let it sign one")),
        ("a.test", plain, &tls, Err("tls failed: received corrupt message of type InvalidContentType")),
        ("a.test", closing, &tls, Err("tls failed: the peer hung up")),
    ];
    for (host, server, tls, expected) in table {
        let target = target(host, server.port(), Some(tls), Egress::Any);
        match (dialler.connect(&target, LIMIT).await, expected) {
            (Ok(stream), Ok(())) => {
                assert_eq!(stream.protocol(), Some(&b"http/1.1"[..]));
                assert_eq!(read(stream).await, b"ping");
            }
            (Err(error), Err(expected)) => {
                let expected = format!("{}: {expected}", target.place);
                assert!(error.to_string().starts_with(&expected), "{error}\n{expected}");
            }
            (got, expected) => panic!("{host}: {got:?}, not {expected:?}"),
        }
    }
}

#[tokio::test]
async fn roots_are_read_from_a_file() {
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let table = [
        ("", "ca.pem: no certificate in it"),
        ("not PEM at all", "ca.pem: no certificate in it"),
        (certificate, "ca.pem: certificate 1 can't be read"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "ca.pem: certificate 1 can't be read"),
    ];
    for (pem, expected) in table {
        assert_eq!(Tls::with_roots("ca.pem", pem.as_bytes(), HTTP).unwrap_err().to_string(), expected, "{pem:?}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_a_peer_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let target = |path: &Path| Target { place: Place::Unix(path.into()), tls: None, egress: Egress::Any, via: None };
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move { ping(listener.accept().await.unwrap().0).await });
    assert_eq!(read(Dialler::system().connect(&target(&path), LIMIT).await.unwrap()).await, b"ping");
    let gone = folder.path().join("gone");
    let error = Dialler::system().connect(&target(&gone), LIMIT).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{}: No such file or directory (os error 2)", gone.display()));
}

#[tokio::test]
async fn the_systems_resolver_and_another_tls_are_understood() {
    if missing(&["openssl"]) {
        return;
    }
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&["localhost"], 4000);
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("pair.pem");
    std::fs::write(&pem, certificate.pem() + &key.serialize_pem()).unwrap();
    let mut openssl = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-alpn", "http/1.1", "-cert"])
        .arg(&pem)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(openssl.stdout.take().unwrap()).lines();
    let port = lines.find_map(|line| line.unwrap().strip_prefix("ACCEPT 127.0.0.1:")?.parse().ok()).unwrap();
    let target = target("localhost", port, Some(&authority.tls(HTTP)), Egress::Public);
    let stream = Dialler::system().connect(&target, LIMIT).await;
    openssl.kill().unwrap();
    openssl.wait().unwrap();
    assert_eq!(stream.unwrap().protocol(), Some(&b"http/1.1"[..]));

    let addresses = SystemResolver::default().resolve("localhost").await.unwrap();
    assert!(addresses.iter().all(IpAddr::is_loopback) && !addresses.is_empty(), "{addresses:?}");
}

#[tokio::test]
async fn tls_goes_through_a_proxy_that_looks_the_name_up() {
    let authority = Authority::new();
    let server = listen_tls(authority.acceptor(&["a.test"], 4000, &[]), |stream, _| ping(stream)).await;
    let proxy = listen(move |mut socket, number| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"CONNECT a.test:443 HTTP/1.1\r\n"));
        let answer: &[u8] = if number == 0 { b"HTTP/1.1 200 OK\r\n\r\n" } else { b"HTTP/1.1 403 No\r\n\r\n" };
        socket.write_all(answer).await.unwrap();
        let mut onward = TcpStream::connect(server).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut socket, &mut onward).await;
    })
    .await;
    let nobody = Dialler::new(Nobody::Failing);
    let by = |proxy: SocketAddr, egress| {
        let via = Proxy::new(Host::Address(proxy.ip()), proxy.port(), None);
        Target { via: Some(via), ..target("a.test", 443, Some(&authority.tls(&[])), egress) }
    };
    let through = nobody.connect(&by(proxy, Egress::Any), LIMIT).await.unwrap();
    assert_eq!(read(through).await, b"ping");
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (proxy, egress, expected) in [
        (proxy, Egress::Any, format!("a.test:443: by the proxy {proxy}: it answers 403 Forbidden")),
        (gone, Egress::Any, format!("a.test:443: by the proxy {gone}: connection refused")),
        // Where the address has to be checked, nobody else looks it up.
        (proxy, Egress::Public, "a.test:443: the name leads to addresses that are not allowed".to_owned()),
    ] {
        let error = nobody.connect(&by(proxy, egress), LIMIT).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
