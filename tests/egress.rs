//! What a guest may reach: the origins that its table lists, and behind a name no address that is not public. What it was
//! not given is denied at the call, and the log has the line that would grant it.

use std::{fs, net::ToSocketAddrs};

use http::Response;

use crate::support::{
    client::Protocol,
    host::{Host, Setup},
    skip::left_out,
    tables,
    upstream::{Upstream, whole},
};

const DENIED: &str = "ErrorCode::HttpRequestDenied\n";
const INSIDE: &str = "200\ninside";

async fn fetching(lines: &str) -> Host {
    Setup::new(&tables::mischief("mischief", lines)).start().await
}

/// What a guest gets for a URL: its status and body, or the error.
async fn fetch(host: &Host, url: &str) -> String {
    host.client().get(&format!("https://localhost/outbound?url={url}")).await.text().to_owned()
}

#[tokio::test]
async fn nothing_is_reached_unless_it_is_listed() {
    let upstream = Upstream::start(Protocol::Http1, |_| Response::new(whole("inside"))).await;
    let address = upstream.address();
    let host = fetching("").await;
    for url in [format!("http://{address}/"), "https://api.example.org/".to_owned(), "http://[::1]/".to_owned()] {
        assert_eq!(fetch(&host, &url).await, DENIED, "{url}");
    }
    host.logged("add to [component.mischief]: http = [\"https://api.example.org\"]").await;
    assert!(upstream.seen().is_empty());

    let host = Setup::new(&tables::guest("older", "mischief_p2", "")).start().await;
    assert_eq!(host.client().get("https://localhost/outbound").await.brief(), (200, DENIED), "by WASI 0.2");
    host.logged("add to [component.older]: http = [\"https://api.example.org\"]").await;

    let host = fetching(&format!("http = [\"http://{address}\"]\n")).await;
    assert_eq!(fetch(&host, &format!("http://{address}/x")).await, INSIDE);
    for url in [
        format!("https://{address}/"),
        format!("http://127.0.0.1:{}/", address.port() ^ 1),
        format!("http://localhost:{}/", address.port()),
        format!("http://127.0.0.2:{}/", address.port()),
    ] {
        assert_eq!(fetch(&host, &url).await, DENIED, "{url}");
    }
    assert_eq!(upstream.seen().len(), 1);
}

/// A name of this machine's that resolves to an address of this machine's: it is listed, and denied all the same.
#[tokio::test]
async fn a_name_leads_to_public_addresses_only() {
    let own = fs::read_to_string("/proc/sys/kernel/hostname").expect("Linux").trim().to_owned();
    let upstream = Upstream::start(Protocol::Http1, |_| Response::new(whole("inside"))).await;
    let port = upstream.address().port();
    let inside = |name: &&str| {
        let addresses: Vec<_> = (*name, port).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
        addresses.iter().any(|address: &std::net::SocketAddr| address.ip().is_loopback())
    };
    // The last two are in Debian's /etc/hosts, whatever the machine is called.
    let Some(name) = [&*own, "ip6-localhost", "ip6-loopback"].into_iter().find(inside) else {
        return left_out("a name, but localhost, that resolves to a loopback address");
    };
    let host = fetching(&format!("http = [\"http://{name}:{port}\"]\n")).await;
    assert_eq!(fetch(&host, &format!("http://{name}:{port}/")).await, "ErrorCode::DestinationIpProhibited\n");
    assert!(upstream.seen().is_empty());
}

/// Of the host's own environment a guest sees nothing.
#[tokio::test]
async fn the_environment_is_what_the_table_says() {
    let host = fetching("env = { WORD = \"x\", OTHER = \"y z\" }\n").await;
    assert_eq!(host.client().get("https://localhost/env").await.brief(), (200, "OTHER=y z\nWORD=x\n"));
    let host = fetching("").await;
    assert_eq!(host.client().get("https://localhost/env").await.brief(), (200, ""));
}
