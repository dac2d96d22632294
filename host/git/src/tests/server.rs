//! Servers on loopback: `git upload-pack` itself, in each version of the protocol, and ones that do as a script says.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use atoll_net::{Dialler, Host};
use tokio::runtime::Runtime;

use crate::{Daemon, Patience, Remote};

/// So that a server that says nothing costs a test little.
pub(super) const BRIEF: Patience = Patience {
    connect: Duration::from_millis(500),
    talk: Duration::from_millis(500),
    pause: Duration::from_millis(400),
    pack: Duration::from_secs(20),
};

/// What the waiting is done on.
pub(super) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// What went over the wire.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) connections: AtomicUsize,
    /// In bytes, from the server.
    pub(super) received: AtomicU64,
    /// In bytes, to the server.
    pub(super) sent: AtomicU64,
}

/// `git://` to `address`.
pub(super) fn daemon(runtime: &Runtime, address: SocketAddr, path: &str, patience: Patience) -> Remote {
    let _within = runtime.enter();
    let host = Host::Address(address.ip());
    Remote::server(Daemon::server(&Dialler::system(), host, address.port(), path, patience)).at("main")
}

/// A server whose conversations are `serve`'s.
pub(super) fn serve(each: impl Fn(TcpStream) + Send + Sync + 'static) -> (SocketAddr, Arc<Wire>) {
    let wire = Arc::<Wire>::default();
    (listen(wire.clone(), each), wire)
}

/// The same, counted on `wire`.
fn listen(wire: Arc<Wire>, each: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let each = Arc::new(each);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            wire.connections.fetch_add(1, Ordering::SeqCst);
            // What a program says in two writes comes at once, and not when the first was acknowledged.
            stream.set_nodelay(true).unwrap();
            let each = each.clone();
            thread::spawn(move || each(stream));
        }
    });
    address
}

/// `git upload-pack` and `git receive-pack` of what lies below `root`, as `git daemon` runs them; the first in version
/// `version`.
pub(super) fn upload_pack(root: PathBuf, version: &'static str) -> (SocketAddr, Arc<Wire>) {
    let wire = Arc::<Wire>::default();
    let counting = wire.clone();
    let address = listen(wire.clone(), move |mut stream| {
        let opening = packet(&mut stream);
        let (service, path) = opening.split('\0').next().unwrap().split_once(" /").unwrap();
        let fetches = service == "git-upload-pack";
        assert_eq!(opening.contains("\0version=2\0"), fetches, "{opening:?}");
        let mut child = Command::new("git")
            .args(["-c", "uploadpack.allowFilter=true"])
            .args(if fetches { &["upload-pack", "--strict"][..] } else { &["receive-pack"] })
            .arg(root.join(path))
            .env("GIT_PROTOCOL", format!("version={version}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (mut asked, mut asks, sent) = (stream.try_clone().unwrap(), child.stdin.take().unwrap(), counting.clone());
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = asked.read(&mut buffer) {
                sent.sent.fetch_add(read as u64, Ordering::SeqCst);
                if asks.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
        });
        let mut said = child.stdout.take().unwrap();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = said.read(&mut buffer) {
            counting.received.fetch_add(read as u64, Ordering::SeqCst);
            if stream.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
        child.wait().unwrap();
    });
    (address, wire)
}

/// Reads one packet of a client's.
pub(super) fn packet(stream: &mut TcpStream) -> String {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let length = usize::from_str_radix(str::from_utf8(&length).unwrap(), 16).unwrap();
    let mut packet = vec![0; length.saturating_sub(4)];
    stream.read_exact(&mut packet).unwrap();
    String::from_utf8(packet).unwrap()
}

/// Packets of these lines.
pub(super) fn packets(lines: &[&[u8]]) -> Vec<u8> {
    lines.iter().flat_map(|line| [format!("{:04x}", line.len() + 4).as_bytes(), line].concat()).collect()
}

/// A pack in its side-band.
pub(super) fn banded(pack: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = pack.chunks(60_000).flat_map(|part| packets(&[&[&[1], part].concat()])).collect();
    bytes.extend(b"0000");
    bytes
}

impl Wire {
    /// Since it was asked last.
    pub(super) fn took(&self) -> u64 {
        self.received.swap(0, Ordering::SeqCst)
    }
}

/// Where a server is not.
pub(super) fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
