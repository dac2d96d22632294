//! Hosts that are killed while a branch comes from a server: what was served before serves at once, and what had come of
//! the rest is gone.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    git_push::clean,
    git_servers::{repository, shows, site},
    support::{
        git::Item,
        git_servers::Daemon,
        host::Setup,
        wait::{SOON, until},
    },
};

/// Before a server: of each conversation so many bytes of what it says go on, and then none do.
struct Gate {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    server: SocketAddr,
    allowed: AtomicU64,
    /// Conversations that got no further.
    stopped: AtomicUsize,
}

impl Gate {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a bound listener");
        let state = Arc::new(State { server, allowed: AtomicU64::new(u64::MAX), stopped: AtomicUsize::new(0) });
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(shared.clone().pass(client));
            }
        });
        Self { address, state }
    }

    fn allow(&self, bytes: u64) {
        self.state.allowed.store(bytes, Ordering::SeqCst);
    }

    fn stopped(&self) -> usize {
        self.state.stopped.load(Ordering::SeqCst)
    }
}

impl State {
    async fn pass(self: Arc<Self>, client: TcpStream) {
        let server = TcpStream::connect(self.server).await.expect("the server is there");
        let ((mut asks, mut hears), (mut answers, mut asked)) = (client.into_split(), server.into_split());
        let asking = tokio::spawn(async move { tokio::io::copy(&mut asks, &mut asked).await });
        let mut left = self.allowed.load(Ordering::SeqCst);
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = answers.read(&mut buffer).await {
            let part = buffer.len().min(read).min(usize::try_from(left).unwrap_or(usize::MAX));
            left -= part as u64;
            if hears.write_all(&buffer[..part]).await.is_err() {
                return;
            }
            if part < read {
                self.stopped.fetch_add(1, Ordering::SeqCst);
                // Until the client has gone.
                let _ = asking.await;
                return;
            }
        }
    }
}

/// What lies below a directory: files, those that are not there for good, and the bytes of all.
fn held(directory: &Path) -> (usize, usize, u64) {
    let (mut files, mut temporary, mut bytes) = (0, 0, 0);
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("it is there").map(|entry| entry.expect("it is there")) {
            let (name, metadata) = (entry.file_name(), entry.metadata().expect("nobody else is there"));
            let is_lock = Path::new(&name).extension().is_some_and(|extension| extension == "lock");
            temporary += usize::from(is_lock || name.to_str().expect("text").starts_with("tmp_"));
            if metadata.is_dir() {
                directories.push(entry.path());
            } else {
                (files, bytes) = (files + 1, bytes + metadata.len());
            }
        }
    }
    (files, temporary, bytes)
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_fetch_leaves_nothing_behind() {
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let daemon = Daemon::start(&setup.path("root")).await;
    let gate = Gate::before(daemon.address()).await;
    setup.manifest(&site(&format!("git://{}/site.git", gate.address), ""));
    let host = setup.start().await;
    shows(&host, "one").await;
    let copy = host.setup().state().join("git/site-pages.git");
    let before = held(&copy);
    let mut setup = host.terminate().await;
    // Of which no byte can be saved.
    let large: Vec<u8> = (0..3_u32 << 20)
        .map(|at| u8::try_from(at.wrapping_mul(2_654_435_761).rotate_left(at % 31) >> 24).unwrap())
        .collect();
    repository.commit_items("main", &[("index.html", Item::File(b"two")), ("large", Item::File(&large))]);
    let mut most = 0;
    // In its greeting, before its branches, in the head of the pack, and twice in the middle of it.
    for allowed in [20, 180, 400, 1 << 20, 1 << 20] {
        let stopped = gate.stopped();
        gate.allow(allowed);
        let host = setup.start().await;
        until(SOON, "a fetch that gets no further", async || (gate.stopped() > stopped).then_some(())).await;
        if allowed == 1 << 20 {
            let come = async || (held(&copy).2 > before.2 + (512 << 10)).then_some(());
            until(SOON, "half a MiB of it", come).await;
        }
        // Whatever comes, the page is served meanwhile.
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"), "{allowed}");
        setup = host.kill().await;
        most = most.max(held(&copy).1);

        // Nothing comes after the start.
        gate.allow(0);
        let stopped = gate.stopped();
        let host = setup.start().await;
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"), "{allowed}");
        until(SOON, "another fetch", async || (gate.stopped() > stopped).then_some(())).await;
        assert_eq!(held(&copy), before, "{allowed}");
        clean(&copy);
        setup = host.kill().await;
        assert_eq!(held(&copy), before, "{allowed}");
    }
    assert!(most > 0, "no kill came in the middle of a pack");
    gate.allow(u64::MAX);
    let host = setup.start().await;
    shows(&host, "two").await;
    assert_eq!(host.client().get("https://localhost/large").await.body, large);
    clean(&copy);
    assert_eq!(held(&copy).1, 0);
}
