//! Clients of HTTP/1.0, as `ab` still is one: they know of no chunks.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::support::{host::Setup, raw, tables};

/// To a client of HTTP/1.0, the end of an answer of unknown length is that of the connection; and only of such a one.
#[tokio::test]
async fn http_1_0_is_told_where_an_answer_ends() {
    for (framing, connection, rest) in [
        ("Content-Length: 2\r\n\r\nok", "keep-alive", "ok"),
        ("Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "close", "ok"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let manifest = [tables::upstream("app", listener.local_addr().unwrap()), tables::router()].concat();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}").as_bytes()).await;
            }
        });
        let setup = Setup::new(&manifest);
        setup.repository("routes").commit("main", &[("_.toml", "upstream = \"app\"\n")]);
        let host = setup.start().await;
        let request = "GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n";
        // A second one that ends the connection, where it goes on.
        let again = if connection == "close" { "" } else { "GET / HTTP/1.0\r\nHost: a.test\r\n\r\n" };
        let answer = raw::tls(&host.client(), "a.test", format!("{request}{again}").as_bytes()).await;
        let answer = String::from_utf8(answer).unwrap().to_lowercase();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("http/1.0 200 ok\r\n"), "{answer}");
        assert!(head.contains(&format!("\r\nconnection: {connection}")), "{answer}");
        assert!(body.starts_with(rest) && !head.contains("transfer-encoding"), "{answer}");
    }
}
