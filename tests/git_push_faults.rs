//! A server that is fetched from as ever, and misbehaves when it is pushed to: what the component hears, what it costs the
//! host, and that everybody is served meanwhile.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::{
    git_push::{manifest, order, said},
    git_servers::{repository, shows},
    support::{
        client::{BOTH, ask},
        git_servers::Daemon,
        host::{Host, Setup},
        wait::{SOON, promptly, within},
    },
};

/// What one push may add to what the host holds, in bytes; and to what lies in its state, once it has come to nothing.
const MEMORY: usize = 32 << 20;
const DISK: u64 = 64 << 10;

#[derive(Clone, Default)]
struct Script {
    /// What is said at once, and what when the commit has come.
    greeting: Vec<u8>,
    answer: Vec<u8>,
    /// Of either what is said without end, behind it.
    flood: Vec<u8>,
}

/// Passes fetches on to `daemon`, and does as the script says with pushes.
async fn before(daemon: SocketAddr, script: Arc<Mutex<Script>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let script = script.lock().unwrap().clone();
            tokio::spawn(async move {
                let mut length = [0; 4];
                near.read_exact(&mut length).await.unwrap();
                let digits = usize::from_str_radix(std::str::from_utf8(&length).unwrap(), 16).unwrap();
                let mut opening = vec![0; digits - 4];
                near.read_exact(&mut opening).await.unwrap();
                if opening.starts_with(b"git-upload-pack") {
                    let mut far = TcpStream::connect(daemon).await.unwrap();
                    far.write_all(&[&length[..], &opening].concat()).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                    return;
                }
                let _ = near.write_all(&script.greeting).await;
                if !script.answer.is_empty() {
                    let mut sent = vec![0; 64 << 10];
                    // The commands, and a pack that is smaller than this.
                    let _ = near.read(&mut sent).await;
                    let _ = near.write_all(&script.answer).await;
                }
                while !script.flood.is_empty() && near.write_all(&script.flood).await.is_ok() {}
            });
        }
    });
    address
}

fn packets(lines: &[&[u8]]) -> Vec<u8> {
    lines.iter().flat_map(|line| [format!("{:04x}", line.len() + 4).as_bytes(), line].concat()).collect()
}

fn bytes(folder: &Path) -> u64 {
    let (mut bytes, mut folders) = (0, vec![PathBuf::from(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() { folders.push(entry.path()) } else { bytes += metadata.len() }
        }
    }
    bytes
}

/// The most that it has held since that was set back, in bytes.
fn peak(host: &Host) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", host.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

async fn neighbour(host: &Host) {
    let client = host.client();
    for protocol in BOTH {
        let asked = client.send_over(protocol, ask("GET", "https://localhost/"));
        assert_eq!(promptly("a neighbour", asked).await.brief(), (200, "one"), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_misbehaves_when_it_is_pushed_to() {
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let orders = setup.repository("orders");
    order(&orders, "");
    let daemon = Daemon::start(&setup.path("root")).await;
    let script = Arc::<Mutex<Script>>::default();
    let remote = format!("git://{}/site.git", before(daemon.address(), script.clone()).await);
    setup.manifest(&manifest(&remote, ""));
    let host = setup.start().await;
    shows(&host, "one").await;
    let head = repository.head("main").expect("it has a commit");
    let line = format!("{head} refs/heads/main\0report-status side-band-64k\n");
    let greeting = [packets(&[line.as_bytes()]), b"0000".to_vec()].concat();
    let band = |band: u8, bytes: &[u8]| packets(&[&[&[band], bytes].concat()]);
    let report = |lines: &[&[u8]]| [band(1, &[packets(lines), b"0000".to_vec()].concat()), b"0000".to_vec()].concat();
    let refs = packets(&vec![format!("{head} refs/heads/b\n").as_bytes(); 1_000]);
    let reports = band(1, &packets(&vec![&b"ok refs/heads/b\n"[..]; 1_000]));
    let progress = band(2, &vec![b'.'; 60_000]);
    let begun = band(1, &packets(&[b"unpack ok\n"]));
    let script_of = |answer: Vec<u8>, flood: Vec<u8>| Script { greeting: greeting.clone(), answer, flood };
    let unknown = "whether it took it is not known";
    let much = "the server says more than 16777216 bytes beside the pack";
    let quiet = host.setup().state();
    let away = "unreachable: the origin of site-pages can't be reached; the host's log says why";
    let broken = "unreachable: the origin of site-pages broke off, and whether it took the commit is not known; the host's log \
                  says why";
    for (name, does, expected, logged) in [
        ("refs", Script { flood: refs, ..Script::default() }, away, Some(much.to_owned())),
        ("reports", script_of(begun, reports), broken, Some(format!("{much}; {unknown}"))),
        ("leaves", script_of(band(2, b"..."), vec![]), broken, Some(format!("the connection ended early; {unknown}"))),
        (
            "lies",
            script_of(report(&[b"unpack \x1b[2J\n", b"ok refs/heads/main\n"]), vec![]),
            "refused: \\u{1b}[2J",
            None,
        ),
        (
            "refuses",
            script_of(
                [band(2, b"no \x1b]0;x\x07\n"), report(&[b"unpack ok\n", b"ng refs/heads/main no\n"])].concat(),
                vec![],
            ),
            "refused: no: no \\u{1b}]0;x\\u{7}",
            None,
        ),
    ] {
        *script.lock().unwrap() = does;
        fs::write(format!("/proc/{}/clear_refs", host.id()), "5").expect("a child of ours");
        let (before, kept) = (peak(&host), bytes(&quiet));
        let ordered = format!("commit Ann {name}");
        order(&orders, &format!("open site\nwrite index.html {name}\n{ordered}"));
        let (heard, ()) = tokio::join!(said(&host, &ordered), neighbour(&host));
        assert_eq!(heard, expected, "{name}");
        if let Some(words) = logged {
            let line = host.logged(&words).await;
            assert_eq!(line, format!("warning: binding site-pages: can't be pushed to: {remote}: {words}"));
        }
        neighbour(&host).await;
        let (held, left) = (peak(&host).saturating_sub(before), bytes(&quiet).saturating_sub(kept));
        assert!(held < MEMORY && left < DISK, "{name}: {held} bytes of memory, and {left} left on disk");
        assert_eq!(host.binding("site-pages").await["revision"], head, "{name}");
    }
    // Its hooks may take long, and say so: for an hour. The host serves, holds no more of it, and ends when it is to.
    *script.lock().unwrap() = script_of(progress.clone(), progress);
    fs::write(format!("/proc/{}/clear_refs", host.id()), "5").expect("a child of ours");
    let before = peak(&host);
    order(&orders, "open site\nwrite index.html hooks\ncommit Ann hooks");
    said(&host, "write index.html hooks").await;
    for _ in 0..20 {
        neighbour(&host).await;
        within(SOON, "a while", tokio::time::sleep(std::time::Duration::from_millis(100))).await;
    }
    let held = peak(&host).saturating_sub(before);
    assert!(held < MEMORY, "{held} bytes of memory");
    assert!(!host.setup().log().contains("commit Ann hooks: "), "it is at it");
    host.signal(Signal::TERM);
    let (setup, status) = host.ended(SOON).await;
    assert_eq!(status.code(), Some(0));
    crate::git_push::clean(&setup.state().join("git/site-pages.git"));
}
