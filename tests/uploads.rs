//! Bodies that come to a component too slowly, or not whole: what the client is told, and whose fault it is in what is
//! written down.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{
    frames::{DATA, END_HEADERS, Frames, HEADERS, field, frame},
    host::{Host, Setup},
    raw, tables,
    wait::{SOON, within},
};

/// A component that has less time than its clients.
async fn host() -> Host {
    let limits = "[limits]\nbody-rate = 100\nbody-window = \"3s\"\n";
    Setup::new(&[limits, &tables::mischief("mischief", "timeout = \"1s\"\n")].concat()).start().await
}

fn post(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_too_slowly_is_told_so_and_the_component_is_not_blamed() {
    let host = host().await;
    let client = host.client();
    let before = host.setup().log();
    let mut lines = 0;
    // What the guest reads, and what the host hands on.
    for path in ["/size", "/echo"] {
        for http2 in [false, true] {
            if http2 {
                let mut frames = Frames::open(&client, "localhost", &[]).await;
                let fields = [
                    field(":method", "POST"),
                    field(":scheme", "https"),
                    field(":authority", "localhost"),
                    field(":path", path),
                    field("content-length", "1000"),
                ];
                let head = frame(HEADERS, END_HEADERS, 1, &fields.concat());
                frames.send(&[head, frame(DATA, 0, 1, b"some")].concat()).await;
                assert_eq!(frames.outcome().await, "answered 1", "{path}");
            } else {
                let answer = raw::tls(&client, "localhost", (post(path, 1000) + "some").as_bytes()).await;
                assert_eq!(raw::status(&answer), 408, "{path}");
            }
            lines += 1;
            let line = host.accessed(lines).await.remove(lines - 1);
            assert_eq!(
                (&line["status"], &line["error"]),
                (&408.into(), &"the client sent too little".into()),
                "{line}"
            );
        }
    }
    let mut stream = client.handshake(Some("localhost"), &[b"http/1.1"]).await.unwrap();
    stream.write_all((post("/size", 1000) + "some").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let line = host.accessed(lines + 1).await.remove(lines);
    assert_eq!(line["error"], "the request's body broke off", "{line}");
    assert_eq!(client.get("https://localhost/").await.brief(), (200, "mischief\n"));
    assert_eq!(host.component("mischief").await["traps"], 0);
    assert_eq!(host.setup().log(), before);
}

/// The pauses are the client's, of whose time there is more.
#[tokio::test]
async fn a_component_does_not_time_out_while_its_client_sends() {
    let host = host().await;
    for path in ["/size", "/copy"] {
        let stream = host.client().handshake(Some("localhost"), &[b"http/1.1"]).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        writer.write_all(post(path, 1600).as_bytes()).await.unwrap();
        let sending = tokio::spawn(async move {
            for _ in 0..4 {
                writer.write_all(&[b'x'; 400]).await.unwrap();
                writer.flush().await.unwrap();
                tokio::time::sleep(Duration::from_millis(1500)).await;
            }
            writer
        });
        let mut answer = Vec::new();
        let _ = within(SOON, "an answer", reader.read_to_end(&mut answer)).await;
        let text = String::from_utf8(answer).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {text}");
        assert!(path == "/size" || text.ends_with("\r\n0\r\n\r\n"), "{path}: {text}");
        assert!(
            if path == "/size" { text.contains("1600\n") } else { text.matches('x').count() >= 1600 },
            "{path}: {text}"
        );
        drop(sending.await.unwrap());
    }
}
