//! What somebody sees who has just built it: `host run components/*.wasm` and nothing else.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use rustix::process::Signal;

use crate::support::{
    browser::document,
    client::{BOTH, Client, Protocol, ask},
    curl::curl,
    git::Repository,
    guests::{component, fixture},
    host::{Host, Setup},
    raw,
    skip::missing,
    wait::{SOON, until},
};

async fn first_run() -> Host {
    Setup::without_manifest().argument(component("router")).argument(component("site")).start().await
}

/// The repository that people push to, and what one of them has made of it.
fn author(host: &Host) -> (PathBuf, Repository) {
    let remote = host.setup().state().join("remotes/pages.git");
    let author = Repository::with_work_tree(host.setup().path("author"));
    author.fetch(&remote, "main");
    (remote, author)
}

/// Until the page at `/` is this one.
async fn shows(client: &Client, page: &str) {
    let url = "https://localhost/";
    until(SOON, page, async || (client.get(url).await.text() == page).then_some(())).await;
}

#[tokio::test]
async fn it_serves_a_site_that_explains_itself() {
    let host = first_run().await;
    let ready = host.logged("ready").await;
    assert!(ready.ends_with(&format!("https://localhost:{}/", host.https().port())), "{ready}");
    for protocol in BOTH {
        let reply = host.client().send_over(protocol, ask("GET", "https://localhost/")).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.field("content-type"), Some("text/html; charset=utf-8"));
        assert!(reply.text().contains("git push"), "{}", reply.text());
    }
    let ps = host.ps().await;
    let names: Vec<_> =
        ps["components"].as_array().unwrap().iter().map(|each| each["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["router", "site"]);
}

#[tokio::test]
async fn plain_http_is_sent_to_https() {
    let host = first_run().await;
    let (plain, port) = (host.http().port(), host.https().port());
    let request = format!("GET /a/b?c=d HTTP/1.1\r\nHost: localhost:{plain}\r\nConnection: close\r\n\r\n");
    let response = raw::plain(host.http(), request.as_bytes()).await;
    assert_eq!(raw::status(&response), 308);
    let response = String::from_utf8(response).unwrap().to_lowercase();
    assert!(response.contains(&format!("\r\nlocation: https://localhost:{port}/a/b?c=d\r\n")), "{response}");
}

#[tokio::test]
async fn a_push_is_live() {
    let host = first_run().await;
    let (remote, author) = author(&host);
    for page in ["<h1>mine</h1>", "<h1>mine, mended</h1>"] {
        let revision = author.commit("main", &[("index.html", page)]);
        author.push(&remote, "main").unwrap();
        shows(&host.client(), page).await;
        assert_eq!(host.binding("pages").await["revision"], revision);
        assert_eq!(host.component("site").await["revisions"]["pages"], revision);
    }
}

/// What was pushed is served yet where the repository that it was pushed to is gone, and no first page is in its place.
#[tokio::test]
async fn a_lost_repository_is_told_and_brings_no_demonstration_back() {
    let host = first_run().await;
    let (remote, author) = author(&host);
    author.commit("main", &[("index.html", "mine")]);
    author.push(&remote, "main").unwrap();
    shows(&host.client(), "mine").await;
    let setup = host.terminate().await;
    fs::remove_dir_all(&remote).unwrap();
    let host = setup.start().await;
    let words = "remotes/pages.git was gone, and was made anew without a commit: push to it again";
    assert!(host.logged(words).await.starts_with("warning: "), "{}", host.setup().log());
    shows(&host.client(), "mine").await;
    author.commit("main", &[("index.html", "again")]);
    author.push(&remote, "main").unwrap();
    shows(&host.client(), "again").await;
}

#[tokio::test]
async fn a_folder_takes_the_place_of_the_demonstration() {
    let setup = Setup::without_manifest();
    setup.write("public/index.html", "one");
    let setup = setup.argument(component("site")).argument("--bind").argument("pages=public/");
    let host = setup.start().await;
    shows(&host.client(), "one").await;
    host.setup().write("public/index.html", "two");
    shows(&host.client(), "two").await;
}

#[tokio::test]
async fn without_a_router_every_name_goes_to_the_site() {
    let host = Setup::without_manifest().argument(component("site")).start().await;
    let page = host.client().get("https://localhost/").await.body;
    assert_eq!(host.client().get("https://blog.test/").await.body, page);
}

#[tokio::test]
async fn any_service_is_served() {
    for (name, greeting) in
        [("hello", "Hello from a component\n"), ("hello_p2", "Hello from a component of WASI 0.2\n")]
    {
        let host = Setup::without_manifest().argument(fixture(name)).start().await;
        for url in ["https://localhost/", "https://other.test/x"] {
            for protocol in BOTH {
                assert_eq!(host.client().send_over(protocol, ask("GET", url)).await.brief(), (200, greeting), "{url}");
            }
        }
    }
}

#[tokio::test]
async fn the_local_ca_is_kept_and_its_certificate_covers_this_machine() {
    let host = first_run().await;
    let ca = host.ca();
    let host = host.terminate().await.start().await;
    assert_eq!(host.ca(), ca, "the CA is made once");
    for name in [Some("localhost"), None] {
        host.client().handshake(name, &[b"h2"]).await.unwrap_or_else(|error| panic!("{name:?}: {error}"));
    }
}

#[tokio::test]
async fn the_state_directory_is_private_and_for_one_host() {
    let host = first_run().await;
    let state = host.setup().state();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&state.join("control.sock")), 0o600);
    let said = host.setup().refuses().await.failed();
    assert!(said.contains("another host runs with the state directory"), "{said}");

    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    let setup = host.terminate().await;
    let said = setup.refuses().await.failed();
    assert!(said.contains("may be entered by others (mode 0755): chmod 700 it"), "{said}");
}

#[tokio::test]
async fn curl_and_its_two_protocols_are_content() {
    if missing(&["curl"]) {
        return;
    }
    let host = first_run().await;
    for (option, version) in [("--http1.1", "HTTP/1.1 200"), ("--http2", "HTTP/2 200")] {
        for tls in ["--tls-max=1.2", "--tlsv1.3"] {
            let (tls, value) = tls.split_once('=').map_or((tls, None), |(tls, value)| (tls, Some(value)));
            let mut arguments = vec![option, tls];
            arguments.extend(value);
            arguments.push("https://localhost/");
            let printed = curl(host.https(), &host.ca_file(), &arguments).await;
            assert_eq!((printed.code, printed.status), (Some(0), 200), "{arguments:?}: {}", printed.said);
            assert!(printed.head.starts_with(version), "{arguments:?}: {}", printed.head);
            assert!(printed.body.contains("git push"), "{}", printed.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_browser_shows_it() {
    if missing(&["chromium", "certutil"]) {
        return;
    }
    let host = first_run().await;
    let url = format!("https://localhost:{}/", host.https().port());
    let page = document(&host.setup().path("profile"), host.https(), &host.ca_file(), &url).await;
    assert!(page.contains("git push"), "{page}");
}

#[tokio::test]
async fn commands_say_what_a_user_can_do_next() {
    let host = first_run().await;
    assert_eq!(host.command("swap", &["nobody", component("site").to_str().unwrap()]).await.code, Some(1));
    assert_eq!(host.command("swap", &[]).await.code, Some(2));
    let setup = host.terminate().await;
    let said = setup.command(&["ps", "--state", setup.state().to_str().unwrap()]).await.failed();
    assert!(said.contains("no host answers at"), "{said}");
    for name in ["run", "check", "ps", "swap", "logs", "inspect", "test", "wit", "reload"] {
        let help = setup.command(&[name, "--help"]).await.done();
        assert!(help.contains(&format!("host {name}")), "an example in {help}");
    }
}

#[tokio::test]
async fn a_signal_to_end_ends_it_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let host = first_run().await;
        let mut connection = host.client().connect("localhost", Protocol::Http2).await;
        assert_eq!(connection.send(ask("GET", "https://localhost/")).await.status, 200);
        host.signal(signal);
        let (_, status) = host.ended(SOON).await;
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(connection.ends_within(SOON).await);
    }
}
