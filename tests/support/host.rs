//! A running host: the real program in a folder of its own, with listeners on ports that the system picks.
//!
//! What is relied on: on standard error a line `listening on https://ADDRESS` or `listening on http://ADDRESS` for each
//! listener, then one that begins with `ready`; the log there too, the access log on standard output; the local CA's
//! certificate in `local-ca/root.pem` of the state directory.

use std::{
    fs::{self, File, OpenOptions},
    net::SocketAddr,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, SystemTime},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{
    client::Client,
    tables::EMPTY,
    wait::{BUILT, SOON, until, within},
};

const LISTEN: &str = "\n[listen]\nhttp = \"127.0.0.1:0\"\nhttps = \"127.0.0.1:0\"\n";

/// What a host is started with, and all that is left of it when it has stopped.
pub(crate) struct Setup {
    folder: TempDir,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, PathBuf)>,
    /// Handed over to it, as a supervisor would.
    socket: Option<std::net::TcpListener>,
    /// How many descriptors it may have at first, and at most.
    descriptors: Option<(u32, u32)>,
}

/// What a supervisor does with a socket (sd_listen_fds(3)); ours comes as standard input.
const HAND_OVER: &str = r#"exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@""#;

/// A host that runs. It is killed when it is dropped.
pub(crate) struct Host {
    setup: Setup,
    child: Child,
    http: Option<SocketAddr>,
    https: Option<SocketAddr>,
}

/// How a command ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Setup {
    /// Under a manifest, `host.toml`. Where it says nothing of listeners, both are on loopback; that is added at the end,
    /// so that the lines keep their numbers.
    pub(crate) fn new(manifest: &str) -> Self {
        let setup = Self::without_manifest();
        setup.manifest(manifest);
        setup
    }

    /// On the built-in default.
    pub(crate) fn without_manifest() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let empty = folder.path().join(EMPTY);
        fs::create_dir(&empty).expect("the folder is the test's");
        // A new one might be about to be filled.
        let before =
            File::open(empty).expect("it is a folder").set_modified(SystemTime::now() - Duration::from_mins(1));
        before.expect("the folder is the test's");
        Self {
            folder,
            program: env!("CARGO_BIN_EXE_host").into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            socket: None,
            descriptors: None,
        }
    }

    /// Writes the manifest anew.
    pub(crate) fn manifest(&self, text: &str) {
        let listen = if text.contains("[listen]") { "" } else { LISTEN };
        self.write("host.toml", format!("{text}{listen}"));
    }

    /// Of the folder that the manifest is in.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("the folder is the test's");
        fs::write(&path, contents).expect("the folder is the test's");
        path
    }

    pub(crate) fn argument(mut self, argument: impl AsRef<Path>) -> Self {
        self.arguments.push(argument.as_ref().to_str().expect("the tests' paths are text").to_owned());
        self
    }

    /// A file that nobody else can read.
    pub(crate) fn secret(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.write(name, contents);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it was written");
        path
    }

    /// Puts a copy of `file` in the place of what is at `name`, at once.
    pub(crate) fn place(&self, name: &str, file: &Path) {
        let fresh = self.path(&format!("{name}.new"));
        fs::copy(file, &fresh).expect("it is there");
        fs::rename(fresh, self.path(name)).expect("the folder is the test's");
    }

    /// Hands a socket over to each host that is started.
    pub(crate) fn handing_over(mut self, socket: std::net::TcpListener) -> Self {
        self.socket = Some(socket);
        self
    }

    /// So many descriptors at first, and at most.
    pub(crate) fn descriptors(mut self, soft: u32, hard: u32) -> Self {
        self.descriptors = Some((soft, hard));
        self
    }

    /// A variable that says where a file is.
    pub(crate) fn environment(mut self, name: &'static str, path: PathBuf) -> Self {
        self.environment.push((name, path));
        self
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// Starts it, and waits until it is ready.
    pub(crate) async fn start(self) -> Host {
        let before = self.log().len();
        let mut child = self.spawn();
        let ready = until(BUILT, "ready", async || {
            let log = self.log()[before..].to_owned();
            let ready = log.split_inclusive('\n').any(|line| line.starts_with("ready") && line.ends_with('\n'));
            let ended = child.try_wait().expect("a child of ours");
            assert!(ready || ended.is_none(), "the host did not start: {}\n{}", ended.unwrap_or_default(), self.log());
            ready.then_some(log)
        });
        let log = ready.await;
        let (http, https) = (address(&log, "http"), address(&log, "https"));
        Host { setup: self, child, http, https }
    }

    /// Starts what must refuse to start: its code, and what it said.
    pub(crate) async fn refuses(&self) -> Outcome {
        let before = self.log().len();
        let mut child = self.spawn();
        let status = within(BUILT, "a refusal to start", child.wait()).await.expect("a child of ours");
        Outcome { code: status.code(), stdout: self.access_log(), stderr: self.log()[before..].to_owned() }
    }

    /// Another command of the program, in the same folder.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Outcome {
        self.command_reading(Stdio::null(), arguments).await
    }

    /// With something at its standard input.
    pub(crate) async fn command_reading(&self, input: Stdio, arguments: &[&str]) -> Outcome {
        let output = self.invocation(arguments).stdin(input).output();
        let output = within(BUILT, &format!("host {arguments:?}"), output).await.expect("the program runs");
        let text = |bytes| String::from_utf8(bytes).expect("the program says text");
        Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// What was said, with the names of files as they are in this folder.
    pub(crate) fn shown(&self, said: &str) -> String {
        said.replace(&format!("{}/", self.folder.path().display()), "")
    }

    /// All that hosts in this folder have logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// All that hosts in this folder have written to standard output.
    pub(crate) fn access_log(&self) -> String {
        fs::read_to_string(self.path("access")).unwrap_or_default()
    }

    /// Starts it, and waits for nothing.
    pub(crate) fn spawn(&self) -> Child {
        let state = self.state();
        let mut arguments = vec!["run", "--state", state.to_str().expect("the tests' paths are text")];
        if !self.path("host.toml").exists() {
            arguments.extend(["--http", "127.0.0.1:0", "--https", "127.0.0.1:0"]);
        }
        arguments.extend(self.arguments.iter().map(String::as_str));
        let (mut command, stdin) = match (&self.socket, self.descriptors) {
            (None, None) => (self.invocation(&arguments), Stdio::null()),
            (None, Some((soft, hard))) => {
                let program = self.program.to_str().expect("a path of ours");
                let limited = format!(r#"ulimit -S -n {soft}; ulimit -H -n {hard}; exec "$0" "$@""#);
                let arguments = [&["-c", &limited, program], &arguments[..]].concat();
                (self.invocation_of("bash".as_ref(), &arguments), Stdio::null())
            }
            (Some(socket), _) => {
                let program = self.program.to_str().expect("a path of ours");
                let arguments = [&["-c", HAND_OVER, program], &arguments[..]].concat();
                let socket = socket.try_clone().expect("a descriptor");
                (self.invocation_of("bash".as_ref(), &arguments), Stdio::from(OwnedFd::from(socket)))
            }
        };
        command
            .stdin(stdin)
            .stdout(self.append("access"))
            .stderr(self.append("log"))
            .spawn()
            .expect("the program is built")
    }

    fn invocation(&self, arguments: &[&str]) -> Command {
        self.invocation_of(&self.program, arguments)
    }

    fn invocation_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        // The host runs no program, and so it is not told where there are any.
        let path = if program == Path::new(env!("CARGO_BIN_EXE_host")) { Some("/nowhere".into()) } else { None };
        command
            .env_clear()
            .env("PATH", path.or_else(|| std::env::var_os("PATH")).expect("a PATH"))
            .env("HOME", self.folder.path())
            .envs(self.environment.iter().map(|(name, path)| (name, path)))
            .current_dir(self.folder.path())
            .args(arguments)
            .kill_on_drop(true);
        command
    }

    fn append(&self, name: &str) -> File {
        OpenOptions::new().append(true).create(true).open(self.path(name)).expect("the folder is the test's")
    }
}

impl Host {
    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.http.expect("a plain listener")
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.https.expect("a TLS listener")
    }

    /// A client that trusts the local CA.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.https(), &self.ca())
    }

    /// The local CA's certificate, PEM.
    pub(crate) fn ca(&self) -> String {
        fs::read_to_string(self.ca_file()).expect("the local CA was made at the start")
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.setup.state().join("local-ca/root.pem")
    }

    /// A client command: `host NAME --state DIR ARGUMENTS`.
    pub(crate) async fn command(&self, name: &str, arguments: &[&str]) -> Outcome {
        let state = self.setup.state();
        let mut all = vec![name, "--state", state.to_str().expect("the tests' paths are text")];
        all.extend(arguments);
        self.setup.command(&all).await
    }

    pub(crate) async fn swap(&self, name: &str, file: &Path) -> Outcome {
        self.command("swap", &[name, file.to_str().expect("the tests' paths are text")]).await
    }

    pub(crate) async fn reload(&self) -> Outcome {
        self.command("reload", &[]).await
    }

    pub(crate) async fn ps(&self) -> serde_json::Value {
        let outcome = self.command("ps", &["--json"]).await;
        assert_eq!(outcome.code, Some(0), "host ps: {}", outcome.stderr);
        serde_json::from_str(&outcome.stdout).expect("host ps --json prints JSON")
    }

    /// Of the components that there are.
    pub(crate) async fn names(&self) -> Vec<String> {
        let ps = self.ps().await;
        ps["components"].as_array().unwrap().iter().map(|each| each["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The entry of `ps` for a component.
    pub(crate) async fn component(&self, name: &str) -> serde_json::Value {
        entry(&self.ps().await, "components", name)
    }

    /// The entry of `ps` for a binding.
    pub(crate) async fn binding(&self, name: &str) -> serde_json::Value {
        entry(&self.ps().await, "bindings", name)
    }

    /// Waits until the log has a line with `text`; the first such line.
    pub(crate) async fn logged(&self, text: &str) -> String {
        until(SOON, &format!("{text:?} in the log"), async || {
            self.setup.log().lines().find(|line| line.contains(text)).map(str::to_owned)
        })
        .await
    }

    /// Waits until the access log has this many lines; each parsed.
    pub(crate) async fn accessed(&self, lines: usize) -> Vec<serde_json::Value> {
        let what = format!("{lines} requests in the access log");
        let log = until(SOON, &what, async || Some(self.setup.access_log()).filter(|log| log.lines().count() >= lines));
        log.await.lines().map(|line| serde_json::from_str(line).expect("the access log is JSON")).collect()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// What it holds of the machine's memory, in bytes.
    pub(crate) fn resident(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, signal).expect("a child of ours");
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(mut self, limit: Duration) -> (Setup, ExitStatus) {
        let status = within(limit, "the end of the host", self.child.wait()).await.expect("a child of ours");
        (self.setup, status)
    }

    /// SIGTERM; it must end in order.
    pub(crate) async fn terminate(self) -> Setup {
        self.signal(Signal::TERM);
        let (setup, status) = self.ended(SOON).await;
        assert_eq!(status.code(), Some(0), "after SIGTERM: {status}\n{}", setup.log());
        setup
    }

    /// SIGKILL: nothing in the host gets to run any more.
    pub(crate) async fn kill(self) -> Setup {
        self.signal(Signal::KILL);
        self.ended(SOON).await.0
    }
}

/// A test that fails shows what the host had to say.
impl Drop for Setup {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the host's log:\n{}\nits access log:\n{}", self.log(), self.access_log());
        }
    }
}

impl Outcome {
    /// That it was done, and what it printed.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// That it was not done, and the reason it gave.
    #[track_caller]
    pub(crate) fn failed(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.stdout, self.stderr);
        self.stderr
    }
}

fn entry(ps: &serde_json::Value, list: &str, name: &str) -> serde_json::Value {
    let entries = ps[list].as_array().expect("a list");
    entries.iter().find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("no {name} in {ps}")).clone()
}

fn address(log: &str, scheme: &str) -> Option<SocketAddr> {
    let line = log.lines().find_map(|line| line.strip_prefix(&format!("listening on {scheme}://")))?;
    Some(line.parse().expect("an address after its scheme"))
}

/// In place of the program, for the tests of this file.
fn script(text: &str) -> Setup {
    let mut setup = Setup::new("[memory]\n");
    setup.program = setup.write("program", format!("#!/bin/sh\n{text}"));
    fs::set_permissions(&setup.program, fs::Permissions::from_mode(0o755)).expect("the folder is the test's");
    setup
}

#[tokio::test]
async fn a_start_reads_the_addresses_that_are_printed() {
    let setup = script(
        "echo listening on http://127.0.0.1:81 >&2; echo listening on https://[::1]:82 >&2\necho ready >&2; exec sleep 60",
    );
    assert_eq!(fs::read_to_string(setup.path("host.toml")).unwrap(), format!("[memory]\n{LISTEN}"));
    let host = setup.start().await;
    assert_eq!((host.http(), host.https()), ("127.0.0.1:81".parse().unwrap(), "[::1]:82".parse().unwrap()));
    assert_eq!(host.logged("ready").await, "ready");
    let host = host.kill().await.start().await;
    assert_eq!(host.setup().log().matches("ready").count(), 2);
}

#[tokio::test]
#[should_panic(expected = "the host did not start: exit status: 3\nno such upstream")]
async fn a_host_that_does_not_start_says_why() {
    script("echo no such upstream >&2; exit 3").start().await;
}

#[tokio::test]
async fn an_end_and_a_refusal_tell_their_code() {
    let setup = script("echo bad line >&2; exit 1");
    assert_eq!(setup.refuses().await.failed(), "bad line\n");
    let host = script("trap 'exit 0' TERM; echo ready >&2; while :; do sleep 0.01; done").start().await;
    assert_eq!(host.terminate().await.log(), "ready\n");
}

#[tokio::test]
async fn a_command_gets_the_state_directory() {
    let host = script("[ $1 = run ] && { echo ready >&2; exec sleep 60; }\necho \"$*\"").start().await;
    let state = host.setup().state();
    assert_eq!(host.command("logs", &["site"]).await.done(), format!("logs --state {} site\n", state.display()));
}
