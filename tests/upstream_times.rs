//! How long an upstream may take, as its table says: to be reached, to the head of an answer, and within a body.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use http_body_util::BodyExt;

use crate::support::{
    client::{BOTH, ask},
    frames::Frames,
    host::{Host, Setup},
    tables,
    upstream::mute,
    wait::{SOON, within},
};

async fn before(address: SocketAddr, lines: &str) -> Host {
    let setup = Setup::new(&[&tables::upstream("app", address), lines, &*tables::router()].concat());
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"app\"\n")]);
    setup.start().await
}

/// Takes connections of HTTP/2, and every request, and answers none.
async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut frames = Frames::accepted(socket).await.expect("a preface");
                while frames.next().await.is_some() {}
            });
        }
    });
    address
}

/// Each would be waited for three times as long as the test does, by default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_says_nothing_has_the_time_of_its_table() {
    let (mute, _listener) = mute().await;
    for (address, lines, error) in [
        (mute, "response = \"1s\"\n", "upstream timed out"),
        (silent().await, "protocol = \"h2c\"\nresponse = \"1s\"\n", "upstream timed out"),
        (mute, "protocol = \"h2c\"\nconnect = \"1s\"\n", "no HTTP/2 settings in time"),
    ] {
        let host = before(address, lines).await;
        for protocol in BOTH {
            let reply = host.client().send_over(protocol, ask("GET", "https://a.test/")).await;
            assert_eq!(reply.brief(), (504, "504 Gateway Timeout\n"), "{lines}");
        }
        let line = host.accessed(2).await.remove(1);
        assert!(line["error"].as_str().unwrap().contains(error), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_may_pause_for_the_time_of_its_upstreams_table() {
    let (address, listener) = mute().await;
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
            held.push(socket);
        }
    });
    let host = before(address, "response = \"1s\"\n").await;
    for protocol in BOTH {
        let mut connection = host.client().connect("a.test", protocol).await;
        let response = within(SOON, "a head", connection.open(ask("GET", "https://a.test/"))).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(within(SOON, "its end", response.into_body().collect()).await.is_err(), "{protocol:?}");
    }
}
