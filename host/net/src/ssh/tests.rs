//! Words for a shell; and a connection that is kept while nothing is asked of it, to a server that lets everybody in.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use russh::{
    keys::{
        PrivateKey,
        ssh_key::private::{Ed25519Keypair, KeypairData},
    },
    server::{self, Auth, ChannelOpenHandle},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
};

use super::*;
use crate::{Egress, Host, testing::LIMIT};

/// How often the server is asked.
const OFTEN: Duration = Duration::from_millis(20);

struct Anybody;

impl server::Handler for Anybody {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<server::Msg>,
        reply: ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }
}

/// What stands between the server and us.
struct Gate {
    /// Chunks that came from us.
    asked: Arc<AtomicUsize>,
    open: watch::Sender<bool>,
}

/// Connected, and idle.
async fn kept() -> (Ssh, Gate) {
    let key = PrivateKey::new(KeypairData::from(Ed25519Keypair::from_seed(&[7; 32])), "").unwrap();
    let pin = Trust::Pin(key.fingerprint(HashAlg::Sha256).to_string());
    let config = Arc::new(server::Config { keys: vec![key], ..server::Config::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let gate = Gate { asked: Arc::default(), open: watch::Sender::new(true) };
    let (asked, open) = (gate.asked.clone(), gate.open.subscribe());
    tokio::spawn(async move {
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move { server::run_stream(config, far, Anybody).await.unwrap().await });
        let (from_us, to_us) = listener.accept().await.unwrap().0.into_split();
        let (from_server, to_server) = tokio::io::split(near);
        tokio::spawn(pass(from_server, to_us, Arc::default(), open.clone()));
        pass(from_us, to_server, asked, open).await;
    });
    let host = Host::parse("127.0.0.1").unwrap();
    let target = Target { place: Place::Tcp { host, port }, tls: None, egress: Egress::Any, via: None };
    let ssh = Ssh { keep_alive: OFTEN, ..Ssh::new(&Dialler::system(), target, "me", None, pin) };
    drop(ssh.run("nothing", &[], LIMIT).await.unwrap());
    (ssh, gate)
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: Arc<AtomicUsize>,
    mut open: watch::Receiver<bool>,
) {
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        count.fetch_add(1, SeqCst);
        if open.wait_for(|open| *open).await.is_err() || to.write_all(&chunk[..length]).await.is_err() {
            break;
        }
    }
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

async fn is_closed(ssh: &Ssh) -> bool {
    ssh.session.lock().await.as_ref().is_none_or(|kept| kept.session.is_closed())
}

#[tokio::test]
async fn a_server_that_says_nothing_is_asked_and_one_that_answers_is_kept() {
    let (ssh, gate) = kept().await;
    let before = gate.asked.load(SeqCst);
    // More often than one that does not answer is.
    until("it is asked", async || gate.asked.load(SeqCst) >= before + 20).await;
    assert!(!is_closed(&ssh).await);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let (ssh, gate) = kept().await;
    gate.open.send_replace(false);
    until("it is given up", async || is_closed(&ssh).await).await;
    assert!(ssh.run("nothing", &[], OFTEN).await.is_err());
}

#[test]
fn a_path_is_one_word() {
    for (word, shown) in [
        ("/srv/x.git", "'/srv/x.git'"),
        ("it's", "'it'\\''s'"),
        ("$(touch x); a", "'$(touch x); a'"),
        ("no!", "'no'\\!''"),
    ] {
        assert_eq!(quoted(word), shown);
    }
}
