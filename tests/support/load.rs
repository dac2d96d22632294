//! Load: by clients of ours, which fail at the first wrong answer, and by h2load, which counts what failed with an eye of its
//! own.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{process::Command, task::JoinHandle};

use super::{
    client::{BOTH, Protocol, ask},
    host::Host,
    wait::{BUILT, SOON, within},
};

/// Clients that ask for the first page all the time, each over a connection of its own.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<usize>>,
}

impl Clients {
    /// Half of them over either protocol. Each answer is to be 200, with this `body`.
    pub(crate) fn ask(host: &Host, count: usize, body: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let work = |at: usize| {
            let (client, stop) = (host.client(), stop.clone());
            tokio::spawn(async move {
                let mut connection = client.connect("localhost", BOTH[at % 2]).await;
                let mut asked = 0;
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(connection.send(ask("GET", "https://localhost/")).await.brief(), (200, body));
                    asked += 1;
                }
                asked
            })
        };
        Self { workers: (0..count).map(work).collect(), stop }
    }

    /// Ends them: no request failed of so many.
    pub(crate) async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut asked = 0;
        for worker in self.workers {
            asked += within(SOON, "the load's end", worker).await.expect("no request failed");
        }
        asked
    }
}

/// What h2load says of a run, its line of requests and its line of statuses.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) requests: String,
    pub(crate) statuses: String,
}

/// Asks for `url` at `address` for some seconds: eight connections, over HTTP/2 with eight streams each.
pub(crate) async fn load(address: SocketAddr, protocol: Protocol, seconds: u32, url: &str) -> Load {
    let mut h2load = Command::new("h2load");
    if protocol == Protocol::Http1 {
        h2load.arg("--h1");
    }
    h2load.args(["--duration", &seconds.to_string(), "--clients", "8", "--max-concurrent-streams", "8"]);
    h2load.arg(format!("--connect-to={address}")).arg(url).kill_on_drop(true);
    let output = within(BUILT, "h2load", h2load.output()).await.expect("h2load is installed");
    let said = String::from_utf8_lossy(&output.stdout);
    let line = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {said}")).trim().to_owned()
    };
    Load { requests: line("requests:"), statuses: line("status codes:") }
}

impl Load {
    /// That there were many requests, and every one was answered with a 2xx.
    #[track_caller]
    pub(crate) fn all_succeeded(&self) {
        let total: u64 = self.requests.split(' ').next().and_then(|total| total.parse().ok()).expect("a number first");
        assert!(total > 1000, "that was no load: {self:?}");
        assert!(self.requests.ends_with(" 0 failed, 0 errored, 0 timeout"), "{self:?}");
        assert!(self.statuses.ends_with(", 0 3xx, 0 4xx, 0 5xx"), "{self:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn h2load_counts_over_both_protocols() {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{
        ca::Ca,
        client::BOTH,
        upstream::{Upstream, whole},
    };

    if super::skip::missing(&["h2load"]) {
        return;
    }
    let pair = Ca::new("test").issue(&["a.test"]);
    for protocol in BOTH {
        let asked = AtomicU32::new(0);
        let good = Upstream::start_tls(protocol, &pair, |_| http::Response::new(whole("x"))).await;
        load(good.address(), protocol, 1, "https://a.test/").await.all_succeeded();
        let bad = Upstream::start_tls(protocol, &pair, move |_| {
            let status = if asked.fetch_add(1, Ordering::Relaxed) == 99 { 502 } else { 200 };
            http::Response::builder().status(status).body(whole("x")).unwrap()
        });
        let seen = load(bad.await.address(), protocol, 1, "https://a.test/").await;
        assert!(seen.statuses.ends_with(", 0 3xx, 0 4xx, 1 5xx"), "{seen:?}");
    }
}
