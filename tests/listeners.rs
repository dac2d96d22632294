//! Several listeners, of both families of addresses: whichever a request comes by, it gets the same answer.

use std::net::{SocketAddr, TcpListener};

use crate::support::{
    ca::Ca,
    client::{BOTH, Client, Reply, with_fields},
    host::{Host, Setup},
    raw, skip, tables,
};

/// Whether this machine has IPv6.
fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok() || {
        skip::left_out("an address of IPv6 on loopback");
        false
    }
}

/// Where it is reached, by what the log says it listens on; one for all addresses of a family on loopback.
fn listening(host: &Host, scheme: &str) -> Vec<SocketAddr> {
    let (log, begin) = (host.setup().log(), format!("listening on {scheme}://"));
    let lines = log.lines().filter_map(|line| line.strip_prefix(&begin));
    let reached = |address: &str| address.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]");
    lines.map(|line| reached(line).parse().expect("an address")).collect()
}

/// All of it that does not tell the time.
fn timeless(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let fields = reply.fields.iter().filter(|(name, _)| !["date", "age"].contains(&name.as_str()));
    let fields = fields.map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()));
    (reply.status.as_u16(), fields.collect(), reply.text().to_owned())
}

#[tokio::test]
async fn each_listener_gives_the_same_answer() {
    if !has_ipv6() {
        return;
    }
    let ca = Ca::new("test");
    let listen = "[listen]\nhttp = [\"127.0.0.1:0\", \"[::1]:0\"]\nhttps = [\"127.0.0.1:0\", \"127.0.0.2:0\", \"0.0.0.0:0\", \"[::1]:0\", \"[::]:0\"]\n\
                  redirect = false\n[[certificate]]\nchain = \"a.pem\"\nkey = \"a.key\"\n";
    let setup = Setup::new(&[listen, &tables::site("site")].concat());
    ca.issue(&["a.test"]).write(&setup.path(""), "a");
    setup.repository("site").commit("main", &[("index.html", "one"), ("large.txt", &"two\n".repeat(1_000))]);
    let host = setup.start().await;
    let secure = listening(&host, "https");
    assert_eq!(secure.len(), 5, "{secure:?}");
    let log = host.setup().log();
    let all: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("listening on ")).collect();
    assert_eq!((all.len(), &host.ps().await["listening"]), (7, &all.into()));
    for protocol in BOTH {
        for (method, path, fields, status) in [
            ("GET", "/", &[][..], 200),
            ("HEAD", "/", &[], 200),
            ("GET", "/large.txt", &[("accept-encoding", "gzip")], 200),
            ("GET", "/large.txt", &[("range", "bytes=4-7")], 206),
            ("GET", "/nothing", &[], 404),
            ("POST", "/", &[], 405),
        ] {
            let mut seen: Vec<_> = Vec::new();
            for address in &secure {
                let client = Client::new(*address, ca.pem());
                let asked = client.send_over(protocol, with_fields(method, &format!("https://a.test{path}"), fields));
                let mut reply = asked.await;
                assert_eq!(reply.status.as_u16(), status, "{method} {path} by {address} over {protocol:?}");
                if fields.iter().any(|(name, _)| *name == "accept-encoding") {
                    assert_eq!(reply.field("content-encoding"), Some("gzip"), "{address}");
                    reply.body = format!("{:?}", reply.body).into();
                }
                seen.push(timeless(&reply));
            }
            assert!(seen.windows(2).all(|two| two[0] == two[1]), "{method} {path} over {protocol:?}: {seen:#?}");
        }
    }
    let mut seen = Vec::new();
    for address in listening(&host, "http") {
        let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        let answer = String::from_utf8(raw::plain(address, request).await).expect("text");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\none"), "{address}: {answer}");
        seen.push(answer.lines().filter(|line| !line.starts_with("date: ")).map(str::to_owned).collect::<Vec<_>>());
    }
    assert!(seen.len() == 2 && seen[0] == seen[1], "{seen:#?}");
    // By whatever it came, it is written down whose it was.
    let clients: Vec<String> =
        host.accessed(2).await.iter().map(|line| line["client"].as_str().expect("text").to_owned()).collect();
    for client in ["127.0.0.1", "::1"] {
        assert!(clients.iter().any(|known| known == client), "{client}: {clients:?}");
    }
}
