//! The listening side: which certificate a name gets, what is refused before anybody decides, and the plain side.

use rustls::ProtocolVersion;

use crate::support::{
    ca::Ca,
    client::{BOTH, Client, Protocol, ask, with_fields},
    guests::{HELLO, fixture},
    host::{Host, Setup},
    raw,
    skip::missing,
    tables,
    wait::{SOON, promptly, within},
};

const UNRECOGNIZED_NAME: &str = "UnrecognisedName";

/// A host with pairs of its own for `a.test` and `*.b.test`, and a router that refuses every other name.
async fn with_pairs() -> (Host, Client) {
    let ca = Ca::new("test");
    let manifest = [
        "[[certificate]]\nchain = \"a.pem\"\nkey = \"a.key\"\n[[certificate]]\nchain = \"b.pem\"\nkey = \"b.key\"\n",
        &tables::guest("hello", "hello", ""),
        &tables::router(),
    ];
    let setup = Setup::new(&manifest.concat());
    ca.issue(&["a.test"]).write(&setup.path(""), "a");
    ca.issue(&["*.b.test", "b.test"]).write(&setup.path(""), "b");
    let to_hello = "upstream = \"hello\"\n";
    let routes = [
        ("a.test.toml", to_hello),
        ("b.test.toml", to_hello),
        ("*.b.test.toml", to_hello),
        ("localhost.toml", to_hello),
        ("_.toml", "refuse = 404\n"),
    ];
    setup.repository("routes").commit("main", &routes);
    let host = setup.start().await;
    let client = Client::new(host.https(), ca.pem());
    (host, client)
}

#[tokio::test]
async fn each_name_gets_its_own_certificate() {
    let (host, client) = with_pairs().await;
    for name in ["a.test", "b.test", "x.b.test"] {
        for protocol in BOTH {
            let reply = client.send_over(protocol, ask("GET", &format!("https://{name}/"))).await;
            assert_eq!(reply.brief(), (200, HELLO), "{name} over {protocol:?}");
        }
    }
    assert_eq!(host.client().get("https://localhost/").await.status, 200, "from the local CA");
}

/// A browser is told to come by https alone where its own roots vouch for us, and never by a guest's word.
#[tokio::test]
async fn strict_transport_security_is_for_chains_that_the_systems_roots_know() {
    const STRICT: &str = "strict-transport-security";
    let (public, private) = (Ca::new("public"), Ca::new("private"));
    let pairs =
        ["public", "private"].map(|name| format!("[[certificate]]\nchain = \"{name}.pem\"\nkey = \"{name}.key\"\n"));
    let setup = Setup::new(&[&pairs.concat(), &*tables::guest("hello", "hello", "")].concat());
    public.issue(&["public.test"]).write(&setup.path(""), "public");
    private.issue(&["private.test"]).write(&setup.path(""), "private");
    let roots = setup.write("roots.pem", public.pem());
    let host = setup.environment("SSL_CERT_FILE", roots).start().await;
    let strict = async |ca: &Ca, name: &str| {
        let reply = Client::new(host.https(), ca.pem()).get(&format!("https://{name}/")).await;
        assert_eq!(reply.brief(), (200, HELLO), "{name}");
        reply.field(STRICT).map(str::to_owned)
    };
    assert_eq!(strict(&public, "public.test").await.as_deref(), Some("max-age=31536000"));
    assert_eq!(strict(&private, "private.test").await, None);
    assert_eq!(host.client().get("https://localhost/").await.field(STRICT), None, "from the local CA");
}

#[tokio::test]
async fn an_unknown_name_gets_an_alert_and_no_certificate() {
    let (host, client) = with_pairs().await;
    let names = ["c.test", "x.y.b.test", "aa.test", "test"];
    for name in names {
        let error = client.handshake(Some(name), &[]).await.expect_err(name);
        assert!(error.to_string().contains(UNRECOGNIZED_NAME), "{name}: {error}");
    }
    // Its owner is told, once a minute, of the one that was done with first.
    let told = host.logged("was refused").await;
    let told_of = |name: &&str| told == format!("warning: 127.0.0.1 was refused: no certificate for \"{name}\"");
    assert!(names.iter().any(told_of), "{told}");
    assert_eq!(host.setup().log().matches("was refused").count(), 1);
}

#[tokio::test]
async fn without_a_name_the_address_counts() {
    let host = Setup::new(&tables::guest("hello", "hello", "")).start().await;
    let stream = host.client().handshake(None, &[b"h2"]).await.expect("localhost's covers 127.0.0.1");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    // The local CA is for this machine alone: on a listener for others nothing covers the address.
    let listen = "[listen]\nhttps = \"0.0.0.0:0\"\n";
    let host = Setup::new(&format!("{listen}{}", tables::guest("hello", "hello", ""))).start().await;
    let error = host.client().handshake(None, &[]).await.expect_err("no certificate");
    assert!(error.to_string().contains(UNRECOGNIZED_NAME), "{error}");
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken() {
    let (_host, client) = with_pairs().await;
    for version in [ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3] {
        let stream = client.clone().version(version).handshake(Some("a.test"), &[b"http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version));
    }
}

#[tokio::test]
async fn openssl_sees_the_same() {
    if missing(&["openssl"]) {
        return;
    }
    let (host, _) = with_pairs().await;
    let address = host.https().to_string();
    for (arguments, expected) in [
        (&["-servername", "a.test", "-alpn", "h2,http/1.1"][..], "ALPN protocol: h2"),
        (&["-servername", "a.test", "-alpn", "http/1.1"], "ALPN protocol: http/1.1"),
        (&["-servername", "a.test", "-tls1_2"], "Protocol  : TLSv1.2"),
        (&["-servername", "a.test", "-tls1_1"], "alert handshake failure"),
        (&["-servername", "nobody.test"], "unrecognized name"),
    ] {
        let mut openssl = tokio::process::Command::new("openssl");
        openssl.args(["s_client", "-connect", &address]).args(arguments).stdin(std::process::Stdio::null());
        let output = within(SOON, "openssl", openssl.kill_on_drop(true).output()).await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

/// What OpenSSL is told by an alert, and what it may do again.
#[tokio::test]
async fn openssl_resumes_and_is_refused() {
    if missing(&["openssl"]) {
        return;
    }
    let (host, _) = with_pairs().await;
    let session = host.setup().path("session").display().to_string();
    let early = host.setup().write("early", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").display().to_string();
    let address = host.https().to_string();
    for (arguments, expected) in [
        (&["-alpn", "spdy/3"][..], "no application protocol"),
        (&["-alpn", "http/1.1", "-sess_out", &session, "-ign_eof"], "New, TLSv1.3"),
        (&["-alpn", "http/1.1", "-sess_in", &session], "Reused, TLSv1.3"),
        // Nothing is taken before the handshake is over: it could be a replay.
        (&["-alpn", "http/1.1", "-sess_in", &session, "-early_data", &early], "Early data was not sent"),
        (&["-groups", "X25519"], "Server Temp Key: X25519"),
        (&["-groups", "P-521:P-384"], "Server Temp Key: ECDH"),
    ] {
        let mut openssl = tokio::process::Command::new("openssl");
        openssl.args(["s_client", "-connect", &address, "-servername", "a.test"]).args(arguments);
        openssl.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = openssl.stderr(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut words = child.stdin.take().unwrap();
        // The ticket comes with the first answer at the latest, and the end after it.
        let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        let _ = tokio::io::AsyncWriteExt::write_all(&mut words, request).await;
        drop(words);
        let output = within(SOON, "openssl", child.wait_with_output()).await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

/// Who speaks plain HTTP here is told what to do; who speaks nothing that is known gets an alert.
#[tokio::test]
async fn what_is_no_tls() {
    let (host, client) = with_pairs().await;
    let said = "This port speaks HTTPS: use https:// in place of http:// in the address.\n";
    let long = [&[0x16, 3, 1, 0x40, 0][..], &[1, 0, 0x3f, 0xfc], &[3; 0x4000]].concat();
    for (what, bytes, expected) in [
        ("HTTP", &b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"[..], said.as_bytes()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", said.as_bytes()),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n", &[0x15, 3, 3, 0, 2, 2]),
        ("zeros", &[0; 100], &[0x15, 3, 3, 0, 2, 2]),
        ("a hello that is none", &long, &[0x15, 3, 3, 0, 2, 2]),
    ] {
        let answer = raw::plain(host.https(), bytes).await;
        let shown = String::from_utf8_lossy(&answer);
        assert!(answer.windows(expected.len()).any(|window| window == expected), "{what}: {shown}");
        if expected == said.as_bytes() {
            assert_eq!(raw::status(&answer), 400, "{what}");
        } else {
            assert_eq!(answer.len(), 7, "{what}: {answer:?}");
        }
        for protocol in BOTH {
            let asked = client.send_over(protocol, ask("GET", "https://a.test/"));
            assert_eq!(promptly("a neighbour", asked).await.brief(), (200, HELLO), "{what}, over {protocol:?}");
        }
    }
}

/// A request on a connection whose certificate does not cover its authority.
#[tokio::test]
async fn an_authority_that_the_certificate_does_not_cover_is_misdirected() {
    let (_host, client) = with_pairs().await;
    for protocol in BOTH {
        let mut connection = client.connect("a.test", protocol).await;
        for (url, status) in [("https://b.test/", 421), ("https://nobody.test/", 421), ("https://a.test/", 200)] {
            assert_eq!(connection.send(ask("GET", url)).await.status, status, "{url} over {protocol:?}");
        }
        let mut connection = client.connect("x.b.test", protocol).await;
        assert_eq!(connection.send(ask("GET", "https://y.b.test/")).await.status, 200, "the wildcard covers it");
    }
}

#[tokio::test]
async fn a_request_must_say_whom_it_is_for() {
    let (host, client) = with_pairs().await;
    for (head, plain, tls) in [
        ("GET / HTTP/1.1\r\n", 400, 400),
        ("GET / HTTP/1.1\r\nHost:\r\n", 400, 400),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n", 400, 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n", 400, 400),
        ("GET / HTTP/1.1\r\nHost: a.test/x\r\n", 400, 400),
        ("GET / HTTP/1.1\r\nHost: u@a.test\r\n", 400, 400),
        ("GET / HTTP/1.0\r\n", 400, 400),
        ("GET / HTTP/1.1\r\nHost: a.test\r\n", 308, 200),
        // The target's authority wins, RFC 9112 section 3.2.2.
        ("GET https://a.test/ HTTP/1.1\r\nHost: nobody.test\r\n", 308, 200),
        ("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n", 501, 501),
        ("TRACE / HTTP/1.1\r\nHost: a.test\r\n", 501, 501),
    ] {
        let request = format!("{head}Connection: close\r\n\r\n");
        assert_eq!(raw::status(&raw::plain(host.http(), request.as_bytes()).await), plain, "{head:?}");
        assert_eq!(raw::status(&raw::tls(&client, "a.test", request.as_bytes()).await), tls, "{head:?}");
    }
}

#[tokio::test]
async fn the_plain_side_redirects_and_keeps_a_place_for_challenges() {
    let (host, _) = with_pairs().await;
    let (plain, port) = (host.http().port(), host.https().port());
    let here = format!("a.test:{plain}");
    for (target, name, status, location) in [
        ("/", &*here, 308, Some(format!("https://a.test:{port}/"))),
        ("/x?y=z", &here, 308, Some(format!("https://a.test:{port}/x?y=z"))),
        // Somebody in front of us maps the ports.
        ("/x?y=z", "a.test", 308, Some("https://a.test/x?y=z".to_owned())),
        ("//evil.test/", &here, 308, Some(format!("https://a.test:{port}//evil.test/"))),
        ("/.well-known/acme-challenge/none", &here, 404, None),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        let response = String::from_utf8(raw::plain(host.http(), request.as_bytes()).await).unwrap();
        assert_eq!(raw::status(response.as_bytes()), status, "{target}");
        let found = response.lines().find_map(|line| line.strip_prefix("location: "));
        assert_eq!(found, location.as_deref(), "{target}: {response}");
    }
}

/// One line a request: enough to answer what happened, and nothing of a client's that a terminal would obey.
#[tokio::test]
async fn the_access_log_has_a_line_a_request() {
    let (host, client) = with_pairs().await;
    let fields = [("user-agent", "curl"), ("x", "y")];
    client.send_over(Protocol::Http2, with_fields("GET", "https://a.test/x?y", &fields)).await;
    client.get("https://a.test/").await;
    let line = host.accessed(2).await.remove(0);
    for (key, value) in [
        ("method", "GET"),
        ("authority", "a.test"),
        ("target", "/x?y"),
        ("protocol", "HTTP/2.0"),
        ("client", "127.0.0.1"),
        ("upstream", "hello"),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!(
        (&line["status"], &line["bytes"], &line["remembered"]),
        (&200.into(), &HELLO.len().into(), &false.into()),
        "{line}"
    );
    assert!(line["duration"].is_number() && line["error"].is_null(), "{line}");
}

/// For an error the reason, in one line: of what a component did, of what cut it off, and of what was no request.
#[tokio::test]
async fn the_access_log_has_the_reason_of_an_error() {
    let table = tables::mischief("app", "drain = \"100ms\"\n");
    let host = Setup::new(&table).start().await;
    let mut seen = 0;
    let mut reason = async |host: &Host| {
        seen += 1;
        let line = host.accessed(seen).await.remove(seen - 1);
        (line["target"].clone(), line["status"].clone(), line["error"].clone())
    };
    let client = host.client();
    let of = |target: &str, status: u16, error: &str| (target.into(), status.into(), error.into());
    for (path, error) in [
        ("/trap", "trapped: wasm trap: wasm `unreachable` instruction executed"),
        ("/exit", "trapped: Exited with i32 exit status 1"),
    ] {
        assert_eq!(client.get(&format!("https://localhost{path}")).await.status, 502);
        assert_eq!(reason(&host).await, of(path, 502, error));
    }
    for (request, status, error) in [
        ("GET /?x=< HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 400, "invalid URI"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400, "invalid HTTP version parsed"),
        (
            format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(70_000)),
            431,
            "message head is too large",
        ),
    ] {
        let answer = raw::tls(&client, "localhost", request.as_bytes()).await;
        assert_eq!(raw::status(&answer), status);
        assert_eq!(reason(&host).await, of("*", status, error));
    }
    let mut connection = client.connect("localhost", Protocol::Http1).await;
    let (cut, ()) = tokio::join!(connection.try_send(ask("GET", "https://localhost/slow-body?ms=200&n=100")), async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        host.swap("app", &fixture("hello")).await.done();
    });
    assert!(cut.is_err());
    let words = "cut off: it was of an older generation, whose time was over";
    assert_eq!(reason(&host).await, of("/slow-body?ms=200&n=100", 200, words));
}
