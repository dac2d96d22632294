//! Remotes behind a forward proxy, as the environment says: a real one, asked for a tunnel for TLS and with the whole URL
//! for plain HTTP. Remotes alone go that way.

use std::path::PathBuf;

use http::Response;

use crate::{
    git_servers::{error, lives, repository, shows, site},
    support::{
        ca::Ca,
        client::Protocol,
        git_servers::Web,
        host::Setup,
        skip, tables,
        tinyproxy::Tinyproxy,
        upstream::{Upstream, dead, whole},
    },
};

const PROGRAMS: &[&str] = &["fcgiwrap", "nginx", "tinyproxy"];

fn with(setup: Setup, variables: &[(&'static str, String)]) -> Setup {
    variables.iter().fold(setup, |setup, (name, value)| setup.environment(name, PathBuf::from(value)))
}

#[tokio::test]
async fn over_http_and_tls_by_the_proxy_of_the_environment() {
    if skip::missing(PROGRAMS) {
        return;
    }
    let ca = Ca::new("private");
    for (path, secure, variable) in [
        ("/site.git", false, "http_proxy"),
        // Redirected.
        ("/site", false, "ALL_PROXY"),
        ("/private/site.git", true, "HTTPS_PROXY"),
    ] {
        let setup = Setup::without_manifest();
        let repository = repository(&setup);
        let web = Web::start(&setup.path("root"), &setup.path("web"), &ca, "http://127.0.0.1:1").await;
        let proxy = Tinyproxy::start(&setup.path("proxy")).await;
        setup.write("ca.pem", ca.pem());
        setup.secret("token", "token\n");
        let lines = if secure { "ca = \"ca.pem\"\ntoken = \"token\"\n" } else { "" };
        let origin = if secure { web.secure() } else { web.plain() };
        setup.manifest(&site(&format!("{origin}{path}"), lines));
        let setup = with(setup, &[(variable, format!("http://me:secret@{}", proxy.address()))]);
        let folder = setup.path("");
        lives(setup, &repository, || {
            let asked = proxy.asked();
            let place = origin.split_once("://").expect("a URL").1;
            let connect = format!("CONNECT {place} HTTP/1.1");
            // On as few connections as without a proxy: the tunnel is kept.
            let expected = if secure {
                asked == [connect]
            } else {
                asked[0].starts_with(&format!("GET {origin}{path}/info/refs?"))
            };
            assert!(expected, "{asked:?}");
            let log = std::fs::read_to_string(folder.join("log")).expect("the host logs");
            assert!(!log.contains("secret") && !log.contains("bWU6c2VjcmV0"), "{log}");
            drop(web);
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_excepted_needs_no_proxy_and_what_goes_wrong_is_told() {
    if skip::missing(PROGRAMS) {
        return;
    }
    let ca = Ca::new("private");
    let setup = Setup::without_manifest();
    repository(&setup);
    let web = Web::start(&setup.path("root"), &setup.path("web"), &ca, "http://127.0.0.1:1").await;
    let proxy = Tinyproxy::start(&setup.path("proxy")).await;
    setup.write("ca.pem", ca.pem());
    let (plain, secure) = (format!("{}/site.git", web.plain()), format!("{}/site.git", web.secure()));
    let place = web.secure().replace("https://", "");
    let (at, gone) = (proxy.address(), dead());
    setup.manifest(&site(&plain, ""));
    let excepted = [("all_proxy", format!("http://{gone}")), ("no_proxy", "b.test,127.0.0.0/8".to_owned())];
    let host = with(setup, &excepted).start().await;
    shows(&host, "one").await;
    let mut setup = host.terminate().await;
    for (remote, proxy, expected) in [
        (&secure, format!("me:wrong@{at}"), format!("R: {place}: by the proxy {at}: it answers 401 Unauthorized")),
        (
            &secure,
            at.to_string(),
            format!("R: {place}: by the proxy {at}: it answers 407 Proxy Authentication Required"),
        ),
        (&plain, at.to_string(), format!("R: the proxy {at} answers 407 Proxy Authentication Required")),
        (
            &plain,
            format!("me:wrong@{at}"),
            format!(
                "R: the proxy {at}, or the server behind it, answers 401 Unauthorized: what the proxy is shown is in the variable that names it, and plain HTTP carries no credentials to a server: use https:// or ssh://"
            ),
        ),
        (&secure, gone.to_string(), format!("R: {place}: by the proxy {gone}: connection refused")),
    ] {
        let lines = if *remote == secure { "ca = \"ca.pem\"\n" } else { "" };
        setup.manifest(&site(remote, lines));
        let host = with(setup, &[("all_proxy", proxy), ("no_proxy", String::new())]).start().await;
        assert_eq!(error(&host).await.replace(remote.as_str(), "R"), expected);
        // Another address is another remote.
        let status = if *remote == secure { 503 } else { 200 };
        assert_eq!(host.client().get("https://localhost/").await.status, status);
        assert!(!host.setup().log().contains("wrong"));
        setup = host.terminate().await;
    }
    let setup = with(setup, &[("all_proxy", "socks5://me:secret@a.test".to_owned())]);
    let said = setup.refuses().await.failed();
    let named = "the variable all_proxy names no proxy of a known kind: write http://HOST:PORT";
    assert!(said.contains(named) && !said.contains("secret"), "{said}");
    assert!(setup.command(&["check"]).await.failed().contains(named));
}

#[tokio::test]
async fn guests_and_upstreams_do_not_go_that_way() {
    if skip::missing(PROGRAMS) {
        return;
    }
    let upstream = Upstream::start(Protocol::Http1, |_| Response::new(whole("inside"))).await;
    let address = upstream.address();
    let setup = Setup::without_manifest();
    let proxy = Tinyproxy::start(&setup.path("proxy")).await;
    setup.manifest(&tables::mischief("mischief", &format!("http = [\"http://{address}\"]\n")));
    let proxied = format!("http://me:secret@{}", proxy.address());
    let host = with(setup, &[("http_proxy", proxied.clone()), ("ALL_PROXY", proxied)]).start().await;
    let reply = host.client().get(&format!("https://localhost/outbound?url=http://{address}/")).await;
    assert_eq!(reply.brief(), (200, "200\ninside"));
    assert_eq!(upstream.seen().len(), 1);
    assert!(proxy.asked().is_empty(), "{:?}", proxy.asked());
}
