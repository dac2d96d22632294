//! Clients that are slow on purpose, as `slowhttptest` has them: it costs them their own requests, and a neighbour of the
//! same component is answered at once, from an address of its own.

use std::{process::Stdio, time::Duration};

use tokio::{process::Command, time::sleep};

use crate::support::{
    client::{BOTH, ask},
    host::{Host, Setup},
    skip::missing,
    tables,
    wait::{BUILT, promptly, within},
};

/// Runs it for six seconds, and asks for answers meanwhile. What it says.
async fn beside(host: &Host, connections: &str, path: &str, how: &[&str]) {
    let url = format!("https://127.0.0.1:{}{path}", host.https().port());
    let mut attack = Command::new("slowhttptest");
    attack.args(["-c", connections, "-r", connections, "-l", "6", "-u", &url]).args(how);
    let attack = attack.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let attack = attack.spawn().expect("slowhttptest is installed");
    let attack = tokio::spawn(within(BUILT, "slowhttptest", attack.wait_with_output()));
    let neighbour = host.client().connecting_from("127.0.0.2".parse().unwrap());
    let mut answers = 0;
    while !attack.is_finished() {
        for protocol in BOTH {
            let asked = neighbour.send_over(protocol, ask("GET", "https://localhost/"));
            let reply = promptly(&format!("{how:?} {protocol:?}"), asked).await;
            assert_eq!(reply.brief(), (200, "mischief\n"), "{how:?} {protocol:?}");
            answers += 1;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert!(answers > 20, "{answers}");
    let told = attack.await.unwrap().unwrap().stdout;
    let told = String::from_utf8_lossy(&told);
    // Its last word, behind a colour.
    let count = |of: &str| told.rsplit_once(of)?.1.split_whitespace().nth(1)?.parse::<u32>().ok();
    let held = count("connected:").zip(count("closed:")).is_some_and(|(open, closed)| open + closed > 0);
    // Answered, each of them, before it looked.
    assert!(held || told.contains("No open connections left"), "{told}");
}

async fn host() -> Host {
    Setup::new(&tables::mischief("mischief", "")).start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_do_not_end() {
    if missing(&["slowhttptest"]) {
        return;
    }
    beside(&host().await, "200", "/", &["-H", "-i", "1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_do_not_end() {
    if missing(&["slowhttptest"]) {
        return;
    }
    beside(&host().await, "200", "/echo", &["-B", "-i", "1", "-s", "8192"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_beyond_number() {
    if missing(&["slowhttptest"]) {
        return;
    }
    beside(&host().await, "200", "/", &["-R", "-a", "1", "-b", "3000"]).await;
}

/// Each holds an instance for as long as it reads: no more of them than a client's part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_do_not_read() {
    if missing(&["slowhttptest"]) {
        return;
    }
    let host = host().await;
    beside(&host, "300", "/large?mb=20", &["-X", "-w", "512", "-y", "1024", "-n", "2", "-z", "32"]).await;
}
