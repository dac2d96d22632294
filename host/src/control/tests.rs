//! Both ends over a real socket, and strangers in place of one of them.

use std::{
    io::{Read, Write},
    os::{
        fd::AsFd as _,
        unix::{
            fs::{PermissionsExt, symlink},
            net::UnixStream,
        },
    },
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use atoll_runtime::{Journal, Level, Line, Source};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{
    client::{Client, ClientError, LogEvent},
    messages::{ComponentStatus, Refusal, Reloaded, Status},
    server::{self, Bounds, Control},
};
use crate::{journal::Log, problem::Problem};

/// A host that takes any component but a broken one; also for what the commands make of its answers.
/// Its start is over at this time.
struct Host(Instant);

impl Control for Host {
    async fn started(&self) {
        tokio::time::sleep_until(self.0.into()).await;
    }

    async fn status(&self) -> Status {
        let component = ComponentStatus { name: "site".into(), ..ComponentStatus::default() };
        Status { components: vec![component], ..Status::default() }
    }

    async fn swap(&self, name: &str, component: Vec<u8>) -> Result<String, Refusal> {
        match &*component {
            b"broken" => {
                let problem = Problem { file: Some("_headers".into()), line: Some(3), message: "bad".into() };
                Err(Refusal { message: format!("{name} failed its proof"), problems: vec![problem] })
            }
            component => Ok(format!("{name} {}", component.len())),
        }
    }

    async fn reload(&self) -> Result<Reloaded, Refusal> {
        Ok(Reloaded {
            components: vec!["site".into()],
            certificates: vec!["a.pem, valid until 2027".into()],
            warnings: vec![Problem::new("slow\u{1b}")],
            ..Reloaded::default()
        })
    }
}

pub(crate) struct Running {
    pub(crate) state: TempDir,
    log: Arc<Log>,
    shutdown: CancellationToken,
    runtime: tokio::runtime::Runtime,
    served: tokio::task::JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(bounds: Bounds, admits: impl Fn(u32) -> bool + Send + 'static) -> Self {
        Self::starting(Duration::ZERO, bounds, admits)
    }

    fn starting(time: Duration, bounds: Bounds, admits: impl Fn(u32) -> bool + Send + 'static) -> Self {
        let state = tempfile::tempdir().unwrap();
        std::fs::set_permissions(state.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let log = Arc::new(Log::new(Box::new(jiff::Timestamp::default)));
        let shutdown = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _entered = runtime.enter();
            server::listen(state.path()).unwrap()
        };
        let served = runtime.spawn(server::serve(
            listener,
            Arc::new(Host(Instant::now() + time)),
            log.clone(),
            bounds,
            admits,
            shutdown.clone(),
        ));
        Self { state, log, shutdown, runtime, served }
    }

    fn client(&self) -> Client {
        Client::new(self.state.path())
    }

    pub(crate) fn file(&self, bytes: &[u8]) -> std::path::PathBuf {
        let path = self.state.path().join("component.wasm");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(super::socket(self.state.path())).unwrap()
    }

    /// What the host says to these bytes.
    fn says(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        said
    }

    pub(crate) fn write(&self, source: Source, text: &str) {
        self.log.write(Line { level: Level::Info, source, text: text.into() });
    }
}

pub(crate) fn everybody(_: u32) -> bool {
    true
}

#[test]
fn requests_are_answered() {
    let host = Running::start(Bounds::default(), everybody);
    assert_eq!(host.client().status().unwrap().components[0].name, "site");
    assert_eq!(host.client().reload().unwrap().components, ["site"]);
    let large = vec![7; 3 << 20];
    assert_eq!(host.client().swap("site", &host.file(&large)).unwrap(), "site 3145728");
    let ClientError::Refused(refusal) = host.client().swap("site", &host.file(b"broken")).unwrap_err() else {
        panic!("not refused");
    };
    assert_eq!(refusal.message, "site failed its proof");
    assert_eq!(refusal.problems[0].to_string(), "_headers:3: bad");
    let mode = std::fs::metadata(super::socket(host.state.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn logs_are_kept_followed_and_chosen_by_name() {
    let host = Running::start(Bounds::default(), everybody);
    host.write(Source::Host, "started");
    host.write(Source::Guest("site".into()), "hello");
    let texts = |name: Option<&str>| {
        let mut texts = Vec::new();
        let client = host.client();
        let logs = client.logs(false, name.map(str::to_owned), std::io::stdin().as_fd(), |event| {
            let LogEvent::Entry(entry) = event else { panic!("{event:?}") };
            texts.push(entry.text);
            Ok(())
        });
        logs.map(|()| texts).map_err(|error| error.to_string())
    };
    assert_eq!(texts(None).unwrap(), ["started", "hello"]);
    assert_eq!(texts(Some("site")).unwrap(), ["hello"]);
    assert_eq!(texts(Some("siet")).unwrap_err(), "no component `siet`; did you mean `site`?");

    let mut seen = Vec::new();
    let followed = host.client().logs(true, None, std::io::stdin().as_fd(), |event| {
        let LogEvent::Entry(entry) = event else { panic!("{event:?}") };
        seen.push(entry.text);
        match seen.len() {
            2 => host.write(Source::Host, "later"),
            3 => return Err(std::io::ErrorKind::BrokenPipe.into()),
            _ => {}
        }
        Ok(())
    });
    assert!(matches!(followed, Err(ClientError::Output(_))), "{followed:?}");
    assert_eq!(seen, ["started", "hello", "later"]);
}

/// `host logs --follow | head -1`: it ends with its reader, though no further line comes.
#[test]
fn who_follows_for_nobody_ends() {
    let host = Running::start(Bounds::default(), everybody);
    host.write(Source::Host, "started");
    let (reader, writer) = std::io::pipe().unwrap();
    let mut reader = Some(reader);
    let followed = host.client().logs(true, None, writer.as_fd(), |_| {
        drop(reader.take());
        Ok(())
    });
    let Err(ClientError::Output(error)) = followed else { panic!("{followed:?}") };
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

/// What may take as long as a start waits for it; of the rest it is said that the host starts, and the log is there.
#[test]
fn who_asks_during_a_start_waits_or_is_told() {
    let bounds = Bounds { start: Duration::from_millis(50), ..Bounds::default() };
    let host = Running::starting(Duration::from_secs(2), bounds, everybody);
    host.write(Source::Host, "compiling");
    let mut lines = Vec::new();
    let said = host.client().logs(false, None, std::io::stdout().as_fd(), |event| {
        lines.push(event);
        Ok(())
    });
    assert!(said.is_ok() && lines.len() == 1, "{said:?} {lines:?}");
    let starting = "the host is starting: `host logs` says what it has come to";
    assert_eq!(host.client().status().unwrap_err().to_string(), starting);
    assert_eq!(host.client().reload().unwrap().components, ["site"]);
    assert_eq!(host.client().status().unwrap().components.len(), 1);
}

#[test]
fn another_user_is_refused() {
    let (asked, peer) = std::sync::mpsc::channel();
    let host = Running::start(Bounds::default(), move |peer| asked.send(peer).is_err());
    assert_eq!(host.client().status().unwrap_err().to_string(), "this host belongs to another user");
    assert_eq!(peer.recv().unwrap(), rustix::process::geteuid().as_raw());
    for (owner, peer, admitted) in [(1000, 1000, true), (1000, 0, true), (1000, 1001, false), (0, 1000, false)] {
        assert_eq!(server::admits(owner, peer), admitted, "{owner} {peer}");
    }
}

#[test]
fn broken_clients_are_told_and_forgotten() {
    let bounds =
        Bounds { arrival: Duration::from_millis(200), progress: Duration::from_millis(200), ..Bounds::default() };
    let host = Running::start(bounds, everybody);
    let failed = |message: &str| format!("{{\"reply\":\"failed\",\"message\":\"{message}\"}}\n");
    let unknown = "not a request that this host knows:";
    for (bytes, reply) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], failed(&format!("{unknown} expected value at line 1 column 1"))),
        (b"\xff\xfe\n", failed(&format!("{unknown} expected value at line 1 column 1"))),
        (
            b"{\"request\":\"stop\"}\n",
            failed(&format!(
                "{unknown} unknown variant `stop`, expected one of `ps`, `swap`, `reload`, `logs` at line 1 column 17"
            )),
        ),
        (&[b'x'; 5000], failed("a request is at most 4096 bytes")),
        (b"{\"request\":", failed("no request came in time")),
        (
            b"{\"request\":\"swap\",\"name\":\"site\",\"length\":67108865}\n",
            failed("a component is at most 67108864 bytes, and this has 67108865"),
        ),
        (
            b"{\"request\":\"swap\",\"name\":\"site\",\"length\":9}\nonly",
            failed("the component's bytes did not come in time"),
        ),
    ] {
        assert_eq!(host.says(bytes), reply, "{}", String::from_utf8_lossy(bytes));
    }
    let mut stream = host.connect();
    stream.write_all(b"{\"request\":\"swap\",\"name\":\"site\",\"length\":9}\nonly").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, failed("the component ended after 4 of 9 bytes"));
    // The others are served meanwhile, and after it.
    assert_eq!(host.client().status().unwrap().components.len(), 1);
}

#[test]
fn clients_are_bounded_in_number() {
    let host = Running::start(Bounds { clients: 2, ..Bounds::default() }, everybody);
    let mut waiting = [host.connect(), host.connect()];
    let refused = "too many clients at once: close some (`host logs --follow`?), or try again";
    assert_eq!(host.client().status().unwrap_err().to_string(), refused);
    waiting[0].write_all(b"{\"request\":\"ps\"}\n").unwrap();
    waiting[0].read_to_string(&mut String::new()).unwrap();
    // The place is free a moment after its reply.
    while host.client().status().is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn a_shutdown_cuts_off_who_follows() {
    let host = Running::start(Bounds::default(), everybody);
    host.write(Source::Host, "started");
    let followed = host.client().logs(true, None, std::io::stdin().as_fd(), |_| {
        host.shutdown.cancel();
        Ok(())
    });
    followed.expect("what is followed ends with the host");
    host.runtime.block_on(host.served).unwrap();
}

#[test]
fn no_host_runs() {
    let state = tempfile::tempdir().unwrap();
    let socket = super::socket(state.path());
    let message = format!(
        "no host answers at {}: start one with `host run`, or name its state directory with --state DIR",
        socket.display()
    );
    assert_eq!(Client::new(state.path()).status().unwrap_err().to_string(), message);
    // One that was killed leaves its socket behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert_eq!(Client::new(state.path()).status().unwrap_err().to_string(), message);
}

#[test]
fn strangers_in_the_hosts_place() {
    let answers = |bytes: &'static [u8]| {
        let state = tempfile::tempdir().unwrap();
        let listener = std::os::unix::net::UnixListener::bind(super::socket(state.path())).unwrap();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(bytes).unwrap();
        });
        let error = Client::new(state.path()).status().unwrap_err().to_string();
        answering.join().unwrap();
        error
    };
    assert_eq!(answers(b""), "the host went away before it answered");
    assert_eq!(answers(b"{\"reply\":"), "the host went away before it answered");
    let unexpected = "the host answered what this version does not understand: are both of one version?";
    assert_eq!(answers(b"hello\n"), unexpected);
    assert_eq!(answers(b"{\"reply\":\"end\"}\n"), unexpected);
}

#[test]
fn the_sockets_place_is_ours_alone() {
    let state = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let listen = |path: &Path| server::listen(path).map(drop).map_err(|error| error.to_string());
    let chmod = |mode| std::fs::set_permissions(state.path(), PermissionsExt::from_mode(mode)).unwrap();
    let shown = state.path().display();

    chmod(0o755);
    assert_eq!(listen(state.path()), Err(format!("{shown} is open to other users: chmod 700 it")));
    chmod(0o700);
    assert_eq!(listen(state.path()), Ok(()));
    assert_eq!(listen(state.path()), Ok(()), "the socket of one that was killed is taken over");

    let socket = super::socket(state.path());
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "").unwrap();
    assert_eq!(listen(state.path()), Err(format!("{shown}/control.sock is in the way: it is not a socket")));
    std::fs::remove_file(&socket).unwrap();
    symlink("/etc/passwd", &socket).unwrap();
    assert_eq!(listen(state.path()), Err(format!("{shown}/control.sock is in the way: it is not a socket")));

    let file = state.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(listen(&file), Err(format!("{shown}/file is not a directory")));
    let long = state.path().join("x".repeat(120));
    std::fs::create_dir(&long).unwrap();
    std::fs::set_permissions(&long, PermissionsExt::from_mode(0o700)).unwrap();
    let words = "is longer than the path of a socket may be (107 bytes): give the state a shorter one with --state";
    assert_eq!(listen(&long), Err(format!("{}/control.sock {words}", long.display())));
}
