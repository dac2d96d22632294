//! Crowds: thousands of connections that send nothing, and the end amid all that clients hold open.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit, setrlimit};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};

use crate::support::{
    client::{BOTH, Protocol, ask},
    frames::{Frames, HEADERS, frame, head},
    host::{Host, Setup},
    skip, tables,
    upstream::dead,
    wait::{SOON, promptly, until, within},
};

const CROWD: usize = 10_000;

/// As many descriptors as it takes at either end, with what goes along.
const ENOUGH: u64 = 11_500;

/// What one address may have, unless the manifest says otherwise.
const SHARE: usize = 1_000;

async fn host(limits: &str) -> Host {
    let limits = format!("[limits]\n{limits}\n");
    Setup::new(&[&*limits, &tables::mischief("mischief", "timeout = \"30s\"\n")].concat()).start().await
}

/// From one of the loopback addresses, of which there are 16 million.
async fn connect(address: SocketAddr, source: [u8; 2]) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a descriptor");
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, source[0], source[1]));
    socket.bind((source, 0).into()).expect("an address of this machine");
    within(SOON, "a connection", socket.connect(address)).await.expect("somebody listens")
}

async fn neighbour(host: &Host) {
    let client = host.client().connecting_from("127.0.0.3".parse().expect("an address"));
    for protocol in BOTH {
        let asked = client.send_over(protocol, ask("GET", "https://localhost/"));
        assert_eq!(promptly("a neighbour", asked).await.brief(), (200, "mischief\n"), "{protocol:?}");
    }
}

fn descriptors(host: &Host) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", host.id())).expect("it runs").count()
}

/// Ten addresses have their share, and no place is left: the oldest goes for whoever comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_that_send_nothing() {
    // For both processes: the host is a child of this one.
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if most < ENOUGH {
        return skip::left_out(&format!("{ENOUGH} descriptors, of which {most} may be had (ulimit -Hn)"));
    }
    let current = Some(most.min(65_536));
    setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum }).expect("no more than the hard limit");
    let host = host(&format!("connections = {CROWD}\nhandshake = \"10m\"")).await;
    let before = (host.resident(), descriptors(&host));
    let mut silent = Vec::new();
    for number in 0..CROWD {
        let source = u8::try_from(number / SHARE).expect("ten of them");
        silent.push(connect(host.https(), [1, source]).await);
        if silent.len() % SHARE == 0 {
            neighbour(&host).await;
        }
    }
    until(SOON, "all of them", async || (descriptors(&host) >= before.1 + CROWD - 100).then_some(())).await;
    neighbour(&host).await;
    // 20 KiB is what an idle connection may take that has been served.
    let grown = host.resident().saturating_sub(before.0);
    assert!(grown < CROWD * 20 * 1024, "{grown} bytes more");
    host.signal(Signal::TERM);
    let (_, status) = host.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0));
}

/// Silence, half heads, slow bodies, and not a descriptor left: what was asked is answered, and it ends in order and by
/// itself before the grace of 30 s is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_amid_all_of_them() {
    let host = host("handshake = \"10m\"\nhead = \"10m\"\nbody-rate = 1000\nbody-window = \"3s\"").await;
    let (client, mut open) = (host.client().connecting_from("127.0.2.1".parse().expect("an address")), Vec::new());
    let asked: Vec<_> = BOTH
        .into_iter()
        .map(|protocol| {
            let client = host.client();
            tokio::spawn(async move {
                client.send_over(protocol, ask("GET", &format!("https://localhost/sleep?ms=6000&{protocol:?}"))).await
            })
        })
        .collect();
    until(SOON, "both are under way", async || {
        (host.component("mischief").await["instances"].as_u64() == Some(2)).then_some(())
    })
    .await;
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..30 {
        // Half a head, after TLS and without it; half a body, and a byte of it now and then.
        let mut plain = connect(host.http(), [2, 2]).await;
        plain.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.expect("it is read");
        open.push(plain);
        let mut half = client.handshake(Some("localhost"), &[b"http/1.1"]).await.expect("TLS");
        half.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.expect("it is read");
        let mut frames = Frames::open(&client, "localhost", &[]).await;
        frames.send(&frame(HEADERS, 0, 1, &head("localhost", "/"))).await;
        let mut body = client.handshake(Some("localhost"), &[b"http/1.1"]).await.expect("TLS");
        let post = b"POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
        body.write_all(post).await.expect("it is read");
        slow.spawn(async move {
            let _held = (half, frames);
            while body.write_all(b"x").await.is_ok() && body.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            std::future::pending::<()>().await;
        });
    }
    let most = u64::try_from(descriptors(&host) + 50).expect("some hundreds");
    let id = i32::try_from(host.id()).ok().and_then(Pid::from_raw);
    prlimit(id, Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) }).expect("a child of ours");
    for number in 0..400 {
        open.push(connect(if number % 2 == 0 { host.https() } else { host.http() }, [2, 3]).await);
    }
    host.logged("no connection could be accepted").await;
    host.signal(Signal::TERM);
    for (asked, protocol) in asked.into_iter().zip(BOTH) {
        assert_eq!(within(SOON, "an answer", asked).await.expect("no panic").status, 200, "{protocol:?}");
    }
    let (setup, status) = host.ended(Duration::from_secs(25)).await;
    assert_eq!(status.code(), Some(0));
    assert!(!setup.log().contains("were cut"), "nothing was left to be cut at the end of the grace");
    drop((open, slow));
}

/// Whoever has sent nothing of a request has nothing that could be finished: a moment for what may be on its way is all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_not_waited_for() {
    let behind = dead();
    let listen =
        format!("[listen]\nhttp = [\"127.0.0.1:0\", \"{behind}\"]\nhttps = \"127.0.0.1:0\"\nproxied = \"{behind}\"\n");
    let host = Setup::new(&[listen, tables::mischief("mischief", "")].concat()).start().await;
    let client = host.client();
    let silent = [
        connect(host.http(), [3, 1]).await,
        connect(host.https(), [3, 1]).await,
        // Of whom a PROXY header is awaited.
        connect(behind, [3, 1]).await,
    ];
    let mut quiet = Vec::new();
    for protocol in [&b"http/1.1"[..], b"h2"] {
        quiet.push(client.handshake(Some("localhost"), &[protocol]).await.expect("TLS"));
    }
    let greeted = Frames::open(&client, "localhost", &[]).await;
    let mut kept = client.connect("localhost", Protocol::Http2).await;
    assert_eq!(kept.send(ask("GET", "https://localhost/")).await.status, 200);
    host.signal(Signal::TERM);
    let (_, status) = host.ended(Duration::from_secs(6)).await;
    assert_eq!(status.code(), Some(0));
    drop((silent, quiet, greeted));
}
