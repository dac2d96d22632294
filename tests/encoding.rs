//! Answers that nobody encoded before they passed by: what a real client decodes, of a real upstream, and when it comes.

use std::{fs, process::Stdio};

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    sync::mpsc,
};

use crate::support::{
    client::{Protocol, with_fields},
    curl::curl,
    host::{Host, Setup},
    nginx::Nginx,
    skip::missing,
    tables,
    upstream::{Upstream, whole},
    wait::{SOON, within},
};

/// What curl calls them.
const BOTH: [&str; 2] = ["--http1.1", "--http2"];

async fn before(address: impl std::fmt::Display) -> Host {
    let setup = Setup::new(&format!("{}{}", tables::upstream("app", address), tables::router()));
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"app\"\n")]);
    setup.start().await
}

fn line<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(each, _)| each.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[tokio::test]
async fn what_an_upstream_did_not_encode_is_encoded_for_who_asks() {
    if missing(&["curl", "nginx"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let www = folder.path().join("www");
    fs::create_dir_all(www.join("kept")).unwrap();
    let text: String = (0..60_000).map(|at| at.to_string() + " of many\n").collect();
    for name in ["a.txt", "kept/a.txt", "a.png"] {
        fs::write(www.join(name), &text).unwrap();
    }
    fs::write(www.join("small.txt"), "small\n").unwrap();
    let directives = "gzip off; types { text/plain txt; image/png png; }\n\
                      location /kept/ { add_header Cache-Control no-transform; }";
    let nginx = Nginx::start(folder.path(), directives).await;
    let host = before(nginx.address()).await;
    let ask = async |arguments: &[&str]| curl(host.https(), &host.ca_file(), arguments).await;
    for protocol in BOTH {
        let plain = ask(&[protocol, "https://a.test/a.txt"]).await;
        let tag = line(&plain.head, "etag").unwrap().to_owned();
        assert_eq!((line(&plain.head, "content-encoding"), &*plain.body), (None, &*text));
        assert_eq!(line(&plain.head, "vary"), Some("accept-encoding"));
        for (accepting, coding) in [("br, gzip", "br"), ("gzip", "gzip")] {
            let accepting = format!("Accept-Encoding: {accepting}");
            let got = ask(&[protocol, "--compressed", "-H", &accepting, "https://a.test/a.txt"]).await;
            assert_eq!((got.code, got.status, &*got.body), (Some(0), 200, &*text), "{got:?}");
            let own = format!("{}-{coding}\"", tag.trim_end_matches('"'));
            for (name, value) in [
                ("content-encoding", Some(coding)),
                ("vary", Some("accept-encoding")),
                ("etag", Some(&*own)),
                ("content-length", None),
                ("accept-ranges", None),
            ] {
                assert_eq!(line(&got.head, name), value, "{protocol} {name}");
            }
            let held = format!("If-None-Match: {own}");
            let again = ask(&[protocol, "-H", &accepting, "-H", &held, "https://a.test/a.txt"]).await;
            assert_eq!((again.status, line(&again.head, "etag")), (304, Some(&*own)), "{again:?}");
            let head = ask(&[protocol, "--head", "-H", &accepting, "https://a.test/a.txt"]).await;
            assert_eq!(
                (line(&head.head, "content-encoding"), line(&head.head, "content-length")),
                (Some(coding), None)
            );
        }
        for path in ["kept/a.txt", "a.png", "small.txt"] {
            let got = ask(&[protocol, "--compressed", &format!("https://a.test/{path}")]).await;
            assert_eq!((got.status, line(&got.head, "content-encoding")), (200, None), "{path}");
            assert!(line(&got.head, "content-length").is_some(), "{path}");
        }
        let part = ask(&[protocol, "--compressed", "--range", "5-9", "https://a.test/a.txt"]).await;
        assert_eq!((part.status, line(&part.head, "content-encoding"), &*part.body), (206, None, &text[5..10]));
    }
}

/// A route's changes leave what tells others apart: the host's own coding, and that an answer depends on what is accepted.
#[tokio::test]
async fn a_route_can_not_make_an_encoded_answer_another() {
    let upstream = Upstream::start(Protocol::Http1, |_| {
        http::Response::builder().header("content-type", "text/plain").body(whole("text\n".repeat(1_000))).unwrap()
    });
    let upstream = upstream.await;
    let setup = Setup::new(&format!("{}{}", tables::upstream("app", upstream.address()), tables::router()));
    let route = |change: &str| format!("upstream = \"app\"\n[response]\n{change}\n");
    let routes = setup.repository("routes");
    routes.commit(
        "main",
        &[("a.test.toml", &*route("set = { Vary = \"Cookie\" }")), ("b.test.toml", &*route("remove = [\"vary\"]"))],
    );
    let host = setup.start().await;
    for (name, vary) in [("a.test", &["Cookie", "accept-encoding"][..]), ("b.test", &["accept-encoding"])] {
        for (accepting, coding) in [("gzip", Some("gzip")), ("identity", None)] {
            let request = with_fields("GET", &format!("https://{name}/"), &[("accept-encoding", accepting)]);
            let reply = host.client().send(request).await;
            assert_eq!((reply.status.as_u16(), reply.field("content-encoding")), (200, coding));
            assert_eq!(reply.fields.get_all("vary").iter().collect::<Vec<_>>(), vary, "{name} {accepting}");
        }
    }
    routes.change("main", &[("a.test.toml", &*route("set = { Content-Encoding = \"gzip\" }"))]);
    host.logged("a.test.toml:3: `Content-Encoding` is the host's own, and can't be changed here").await;
}

/// An event is decoded before the next one is made, and a stream that breaks off does not look whole.
#[tokio::test]
async fn events_are_encoded_as_they_come() {
    if missing(&["curl"]) {
        return;
    }
    let (sender, mut events) = mpsc::unbounded_channel();
    let upstream = Upstream::start(Protocol::Http1, move |_| {
        let (event, mut next) = mpsc::channel(1);
        sender.send(event).expect("the test waits for it");
        let frames = futures_util::stream::poll_fn(move |cx| next.poll_recv(cx));
        let body = StreamBody::new(frames).boxed();
        Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
    })
    .await;
    let host = before(upstream.address()).await;
    for protocol in BOTH {
        for coding in ["br", "gzip"] {
            for breaks in [false, true] {
                let mut curl = Command::new("curl")
                    .args(["--silent", "--include", "--no-buffer", "--compressed", protocol, "--max-time", "30"])
                    .args(["-H", &format!("Accept-Encoding: {coding}"), "--connect-to", &format!("::{}", host.https())])
                    .arg("--cacert")
                    .arg(host.ca_file())
                    .arg("https://a.test/")
                    .stdout(Stdio::piped())
                    .kill_on_drop(true)
                    .spawn()
                    .unwrap();
                let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines();
                let event = within(SOON, "a request", events.recv()).await.unwrap();
                let text = |at: u32| format!("data: {at}\n");
                let send = async |at| event.send(Ok(Frame::data(Bytes::from(text(at))))).await.unwrap();
                // curl shows the head with the first of them.
                send(0).await;
                let mut head = Vec::new();
                loop {
                    let line = within(SOON, "the head", lines.next_line()).await.unwrap().unwrap();
                    if line.is_empty() {
                        break;
                    }
                    head.push(line.to_lowercase());
                }
                assert!(head.contains(&format!("content-encoding: {coding}")), "{head:?}");
                for at in 0..5 {
                    let line = within(SOON, "an event", lines.next_line()).await.unwrap().unwrap();
                    assert_eq!(line + "\n", text(at));
                    send(at + 1).await;
                }
                if breaks {
                    event.send(Err(std::io::Error::other("broken"))).await.unwrap();
                }
                drop(event);
                let status = within(SOON, "curl", curl.wait()).await.unwrap();
                assert_eq!(status.success(), !breaks, "{protocol} {coding}: {status}");
            }
        }
    }
}

/// Who may change only what it has seen has seen it encoded: the upstream knows the tag of the bytes.
#[tokio::test]
async fn an_upstream_is_told_its_own_tags() {
    let answer = |_: &_| {
        let response = Response::builder().header("content-type", "text/plain").header("etag", "\"a\"");
        response.body(whole("text ".repeat(1000))).unwrap()
    };
    let upstream = Upstream::start(Protocol::Http1, answer).await;
    let host = before(upstream.address()).await;
    let url = "https://a.test/";
    let got = host.client().send(with_fields("GET", url, &[("accept-encoding", "gzip")])).await;
    assert_eq!(got.field("etag"), Some("\"a-gzip\""));
    host.client().send(with_fields("PUT", url, &[("if-match", "\"a-gzip\"")])).await;
    let seen = upstream.seen();
    assert_eq!(seen[1].field("if-match"), "\"a-gzip\", \"a\"");
}
