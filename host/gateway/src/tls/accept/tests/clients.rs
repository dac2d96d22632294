//! Proper clients: rustls and OpenSSL.

use std::process::{Command, Stdio};

use rustls::{
    HandshakeKind, NamedGroup, ProtocolVersion,
    version::{TLS12, TLS13},
};

use super::*;

const BOTH: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];

/// All that `openssl s_client` says.
async fn s_client(address: SocketAddr, arguments: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string()]).args(arguments.split_whitespace());
    command.stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}

#[tokio::test]
async fn openssl_sees_the_exact_alert_or_protocol() {
    if missing(&["openssl"]) {
        return;
    }
    let authority = Authority::new("alerts");
    let mut server = Server::start(&[authority.issue(&["a.test", "*.b.test"])]).await;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    std::fs::write(&root, authority.pem()).unwrap();
    let trusting = format!("-verify_return_error -CAfile {}", root.display());
    let unknown = "tlsv1 unrecognized name";
    let table = [
        ("-servername a.test -tls1_2", "Protocol  : TLSv1.2", r#"Http1 "a.test""#),
        ("-servername a.test -tls1_3", "New, TLSv1.3", r#"Http1 "a.test""#),
        ("-servername a.test -alpn h2,http/1.1", "ALPN protocol: h2", r#"Http2 "a.test""#),
        ("-servername a.test -alpn http/1.1,h2", "ALPN protocol: h2", r#"Http2 "a.test""#),
        ("-servername a.test -alpn http/1.1", "ALPN protocol: http/1.1", r#"Http1 "a.test""#),
        ("-servername a.test", "No ALPN negotiated", r#"Http1 "a.test""#),
        ("-servername A.Test.", "Verification: OK", r#"Http1 "a.test""#),
        ("-servername x.b.test", "Verification: OK", r#"Http1 "x.b.test""#),
        ("-servername b.test -tls1_2", unknown, r#"no certificate for "b.test""#),
        ("-servername b.test -tls1_3", unknown, r#"no certificate for "b.test""#),
        ("-servername x.y.b.test", unknown, r#"no certificate for "x.y.b.test""#),
        ("-servername b.test -alpn spdy/3", unknown, r#"no certificate for "b.test""#),
        ("-noservername", unknown, "no server name, and no certificate for 127.0.0.1"),
        ("-servername 127.0.0.1", unknown, "no server name, and no certificate for 127.0.0.1"),
        (
            "-servername a.test -alpn spdy/3",
            "alert no application protocol",
            "handshake: peer doesn't support any known protocol",
        ),
        (
            "-servername a.test -tls1_1 -cipher DEFAULT@SECLEVEL=0",
            "alert handshake failure",
            "no tls: peer is incompatible: SignatureAlgorithmsExtensionRequired",
        ),
        (
            "-servername a.test -tls1_2 -cipher AES128-SHA",
            "alert handshake failure",
            "handshake: peer is incompatible: NoKxGroupsInCommon",
        ),
    ];
    for (arguments, said, outcome) in table {
        let text = s_client(server.address, &format!("{arguments} {trusting}")).await;
        assert!(text.contains(said), "{arguments}: {text}");
        assert!(!said.contains("alert") || text.contains("no peer certificate available"), "{arguments}: {text}");
        assert_eq!(server.outcome().await, outcome, "{arguments}");
    }
}

/// Ours, with AES of 256 bits first; but a client without AES in hardware gets what it can do fast.
#[tokio::test]
async fn the_order_of_ciphers() {
    if missing(&["openssl"]) {
        return;
    }
    let authority = Authority::new("ciphers");
    let server = Server::start(&[authority.issue(&["a.test"])]).await;
    let (aes128, aes256, chacha) = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256");
    let [old128, old256, old_chacha] = ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"];
    let old = |suite: &str| format!("ECDHE-ECDSA-{suite}");
    let three = |suites: [&str; 3]| format!("-tls1_3 -ciphersuites {}", suites.join(":"));
    let two = |suites: [&str; 3]| format!("-tls1_2 -cipher {}", suites.map(old).join(":"));
    for (arguments, expected) in [
        (three([aes128, aes256, chacha]), aes256.to_owned()),
        (three([aes128, chacha, aes256]), aes256.to_owned()),
        (three([chacha, aes128, aes256]), chacha.to_owned()),
        (two([old128, old256, old_chacha]), old(old256)),
        (two([old128, old_chacha, old256]), old(old256)),
        (two([old_chacha, old128, old256]), old(old_chacha)),
    ] {
        let text = s_client(server.address, &format!("-servername a.test {arguments}")).await;
        assert!(text.contains(&format!("Cipher is {expected}\n")), "{arguments}: {text}");
    }
}

#[tokio::test]
async fn each_name_gets_its_own_certificate_in_every_version() {
    let authority = Authority::new("names");
    let certificates =
        [authority.issue(&["a.test"]), authority.issue(&["*.a.test"]), authority.issue(&["localhost", "127.0.0.1"])];
    let server = Server::start(&certificates).await;
    let table = [("a.test", 0), ("x.a.test", 1), ("localhost", 2), ("127.0.0.1", 2)];
    for (name, number) in table {
        for version in [&TLS12, &TLS13] {
            let config = Arc::new(client(authority.roots(), &[version], &[]));
            let stream = connect(&config, server.address, name).await.unwrap();
            let session = stream.get_ref().1;
            assert_eq!(session.peer_certificates(), Some(certificates[number].chain()), "{name} {version:?}");
            assert_eq!(session.protocol_version(), Some(version.version));
        }
    }
}

#[tokio::test]
async fn keys_are_agreed_on_so_that_no_later_machine_finds_them() {
    let authority = Authority::new("groups");
    let server = Server::start(&[authority.issue(&["a.test"])]).await;
    let config = Arc::new(client(authority.roots(), BOTH, &[]));
    let stream = connect(&config, server.address, "a.test").await.unwrap();
    let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
    let text = s_client(server.address, "-servername a.test -groups X25519").await;
    assert!(text.contains("Server Temp Key: X25519"), "{text}");
}

#[tokio::test]
async fn sessions_are_resumed_at_any_listener_that_shares_the_tickets() {
    let authority = Authority::new("tickets");
    let certificates = [authority.issue(&["a.test", "b.test"])];
    let tickets = Tickets::new().unwrap();
    let one = Server::with(&certificates, None, tickets.clone(), LIMIT).await;
    let two = Server::with(&certificates, None, tickets, LIMIT).await;
    let stranger = Server::start(&certificates).await;
    for version in [&TLS12, &TLS13] {
        let mut config = client(authority.roots(), &[version], &[]);
        config.enable_early_data = true;
        let config = Arc::new(config);
        let kind = async |server: &Server, name| {
            let mut stream = connect(&config, server.address, name).await.unwrap();
            // The ticket comes after the handshake, and the server's end after that.
            stream.shutdown().await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
            stream.get_ref().1.handshake_kind().unwrap()
        };
        assert_eq!(kind(&one, "a.test").await, HandshakeKind::Full);
        assert_eq!(kind(&one, "a.test").await, HandshakeKind::Resumed, "{version:?}");
        assert_eq!(kind(&two, "a.test").await, HandshakeKind::Resumed, "{version:?}");
        let mut next = ClientConnection::new(config.clone(), ServerName::try_from("a.test").unwrap()).unwrap();
        assert!(next.early_data().is_none(), "nothing may be sent before the handshake");
        assert_eq!(kind(&two, "b.test").await, HandshakeKind::Full);
        assert_eq!(kind(&stranger, "a.test").await, HandshakeKind::Full);
        // What is no longer served is not resumed either.
        two.certificates.replace(&[], SystemTime::now());
        let error = connect(&config, two.address, "a.test").await.unwrap_err();
        assert_eq!(error.to_string(), "received fatal alert: UnrecognisedName");
        two.certificates.replace(&certificates, SystemTime::now());
    }
}

#[tokio::test]
async fn a_set_is_swapped_without_dropping_a_connection() {
    let authority = Authority::new("swap");
    let (old, new) = (authority.issue(&["a.test"]), authority.issue(&["a.test"]));
    let mut server = Server::start(std::slice::from_ref(&old)).await;
    let config = Arc::new(client(authority.roots(), &[&TLS13], &[]));
    let mut before = connect(&config, server.address, "a.test").await.unwrap();
    server.certificates.replace(std::slice::from_ref(&new), SystemTime::now());
    let fresh = Arc::new(client(authority.roots(), &[&TLS13], &[]));
    let after = connect(&fresh, server.address, "a.test").await.unwrap();
    assert_eq!(before.get_ref().1.peer_certificates(), Some(old.chain()));
    assert_eq!(after.get_ref().1.peer_certificates(), Some(new.chain()));
    before.write_all(b"still here").await.unwrap();
    before.shutdown().await.unwrap();
    assert_eq!(before.read(&mut [0; 1]).await.unwrap(), 0, "ended in order");
    assert_eq!(server.outcome().await, r#"Http1 "a.test""#);
}

#[tokio::test]
async fn a_challenge_is_answered_where_it_alone_is_asked_for() {
    let authority = Authority::new("challenge");
    let (usual, answer) = (authority.issue(&["a.test"]), authority.issue(&["a.test"]));
    let mut server = Server::start(std::slice::from_ref(&usual)).await;
    server.challenges.publish_tls("a.test", answer.clone()).unwrap();
    let shown = async |alpn: &[&[u8]]| {
        let connector = TlsConnector::from(Arc::new(client(authority.roots(), &[&TLS13], alpn)));
        let socket = TcpStream::connect(server.address).await.unwrap();
        let stream = connector.connect(ServerName::try_from("a.test").unwrap(), socket).await?;
        let session = stream.get_ref().1;
        Ok::<_, io::Error>((session.peer_certificates().unwrap().to_vec(), session.alpn_protocol().map(<[u8]>::to_vec)))
    };
    assert_eq!(shown(&[ACME_TLS]).await.unwrap(), (answer.chain().to_vec(), Some(ACME_TLS.to_vec())));
    assert_eq!(shown(&[ACME_TLS, b"h2"]).await.unwrap(), (usual.chain().to_vec(), Some(b"h2".to_vec())));
    server.challenges.withdraw_tls("a.test");
    let error = shown(&[ACME_TLS]).await.unwrap_err();
    assert_eq!(error.to_string(), "received fatal alert: NoApplicationProtocol");
    assert_eq!(server.outcome().await, "a challenge was answered");
}

#[tokio::test]
async fn names_of_this_machine_are_vouched_for_by_its_own_authority() {
    struct Only;
    impl Admits for Only {
        fn admits<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<bool>> {
            Box::pin(async move { Some(name == "a.test") })
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let local = LocalCa::open(folder.path(), Arc::new(Only), SystemTime::now()).unwrap();
    let root = folder.path().join("root.pem");
    let own = Authority::new("own").issue(&["own.test"]);
    let mut server = Server::with(&[own], Some(Arc::new(local)), Tickets::new().unwrap(), LIMIT).await;
    let table = [
        ("-servername localhost", "Verification: OK", r#"Http1 "localhost""#),
        ("-noservername -verify_ip 127.0.0.1", "Verification: OK", r#"Http1 "-""#),
        ("-servername a.test -verify_hostname a.test", "Verification: OK", r#"Http1 "a.test""#),
        ("-servername a.example", "tlsv1 unrecognized name", r#"no certificate for "a.example""#),
    ];
    for (arguments, said, outcome) in table {
        let arguments = format!("{arguments} -verify_return_error -CAfile {}", root.display());
        let text = s_client(server.address, &arguments).await;
        assert!(text.contains(said), "{arguments}: {text}");
        assert_eq!(server.outcome().await, outcome, "{arguments}");
    }
    // What the operator brought comes first.
    let text = s_client(server.address, "-servername own.test").await;
    assert!(text.contains("issuer=CN = own"), "{text}");
}

#[tokio::test]
async fn requests_for_names_that_the_certificate_does_not_cover_are_told_apart() {
    let authority = Authority::new("covers");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let resolver = Arc::new(Resolver::default());
    resolver.replace(&[authority.issue(&["a.test", "*.b.test", "127.0.0.1"])], SystemTime::now());
    let acceptor = Acceptor::new(Options {
        certificates: resolver,
        local: None,
        challenges: Arc::default(),
        tickets: Tickets::new().unwrap(),
    });
    let config = Arc::new(client(authority.roots(), BOTH, &[b"h2"]));
    let connecting = tokio::spawn(async move {
        let socket = TcpStream::connect(address).await.unwrap();
        TlsConnector::from(config).connect(ServerName::try_from("x.b.test").unwrap(), socket).await
    });
    let (socket, _) = listener.accept().await.unwrap();
    let secured = acceptor.accept(socket, address.ip(), SystemTime::now(), LIMIT).await.unwrap();
    connecting.await.unwrap().unwrap();
    assert_eq!(secured.stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    for (host, expected) in
        [("x.b.test", true), ("y.b.test", true), ("a.test", true), ("127.0.0.1", true), ("b.test", false)]
    {
        assert_eq!(secured.covers(host), expected, "{host}");
    }
}
