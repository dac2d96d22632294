//! What a guest may reach: the origins that its table lists, and behind a name no address that is not public. What it was
//! not given is denied at the call, and the log has the line that would grant it.

use std::{fs, net::ToSocketAddrs};

use http::Response;

use crate::support::{
    client::Protocol,
    host::{Host, Setup},
    tables,
    upstream::{Upstream, whole},
};

const DENIED: &str = "HTTP-request-denied";

/// A guest that fetches the URL that its query is, and answers with what came, or with the error's name.
async fn fetching(lines: &str) -> Host {
    Setup::new(&tables::guest("fetches", "fetches", lines)).start().await
}

async fn fetch(host: &Host, url: &str) -> String {
    host.client().get(&format!("https://localhost/?{url}")).await.text().to_owned()
}

#[tokio::test]
async fn nothing_is_reached_unless_it_is_listed() {
    let upstream = Upstream::start(Protocol::Http1, |_| Response::new(whole("inside"))).await;
    let address = upstream.address();
    let host = fetching("").await;
    for url in [format!("http://{address}/"), "https://api.example.org/".to_owned(), "http://[::1]/".to_owned()] {
        assert_eq!(fetch(&host, &url).await, DENIED, "{url}");
    }
    host.logged("add to [component.fetches]: http = [\"https://api.example.org\"]").await;
    assert!(upstream.seen().is_empty());

    let host = fetching(&format!("http = [\"http://{address}\"]\n")).await;
    assert_eq!(fetch(&host, &format!("http://{address}/x")).await, "inside");
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
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("Linux").trim().to_owned();
    let upstream = Upstream::start(Protocol::Http1, |_| Response::new(whole("inside"))).await;
    let port = upstream.address().port();
    let addresses: Vec<_> = (name.as_str(), port).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    if !addresses.iter().any(|address: &std::net::SocketAddr| address.ip().is_loopback()) {
        // Then no name does; the resolver's part is tested beside the code.
        return;
    }
    let host = fetching(&format!("http = [\"http://{name}:{port}\"]\n")).await;
    assert_eq!(fetch(&host, &format!("http://{name}:{port}/")).await, DENIED);
    assert!(upstream.seen().is_empty());
    let line = host.logged(&format!("http://{name}:{port}")).await;
    assert!(line.contains("127.0."), "{line}");
}

/// No variables, no arguments, no directories, no addresses: what a language's runtime imports is there, and empty.
#[tokio::test]
async fn the_host_has_no_surroundings() {
    let host = Setup::new(&tables::guest("looks_around", "looks_around", "env = { WORD = \"x\" }\n")).start().await;
    let seen = host.client().get("https://localhost/").await;
    assert_eq!(
        seen.brief(),
        (
            200,
            "arguments: 0\nvariables: WORD\ndirectories: 0\ntcp: access-denied\nudp: access-denied\nnames: access-denied\n"
        )
    );
}
