//! OpenSSH's server, with `git-shell` for whoever comes in, and keys made by `ssh-keygen`.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::{daemon::daemon, host::Setup, upstream::dead};

/// The programs that a test with a server asks for.
pub(crate) const PROGRAMS: &[&str] = &["git-shell", "ssh-keygen", "sshd"];

/// Whoever comes in may say which version of Git's protocol is wanted.
pub(crate) const VERSIONS: &str = "AcceptEnv GIT_PROTOCOL\n";

/// What `ssh-keygen` makes where it does not matter which.
pub(crate) const ED25519: &[&str] = &["-t", "ed25519"];

/// `sshd`, until it is dropped. It lets the keys in that are named when it starts, and no passwords.
pub(crate) struct Sshd {
    address: SocketAddr,
    folder: PathBuf,
    process: Child,
}

impl Sshd {
    /// Its host keys are `host` (ed25519, unless it is there) and, where there is one, a certificate `host-cert.pub`; all in
    /// `folder`, as `keys`, whose public halves may come in.
    pub(crate) async fn start(folder: &Path, keys: &[&str]) -> Self {
        Self::with(folder, keys, dead(), VERSIONS).await
    }

    /// At an address that is free, with further lines of its configuration, which come first.
    pub(crate) async fn with(folder: &Path, keys: &[&str], address: SocketAddr, lines: &str) -> Self {
        let here = folder.display();
        if !folder.join("host").exists() {
            keygen(folder, "host", ED25519);
        }
        let authorized: String = keys.iter().map(|key| public(folder, key) + "\n").collect();
        write(folder, "authorized_keys", &authorized);
        let certificate = if folder.join("host-cert.pub").exists() {
            format!("HostCertificate {here}/host-cert.pub\n")
        } else {
            String::new()
        };
        let configuration = format!(
            "{lines}ListenAddress {address}\nHostKey {here}/host\n{certificate}PidFile none\nUsePAM no\nStrictModes no\n\
             PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             AuthorizedKeysFile {here}/authorized_keys\nLogLevel VERBOSE\n\
             ForceCommand echo \"$SSH_ORIGINAL_COMMAND\" >>{here}/commands; exec git-shell -c \"$SSH_ORIGINAL_COMMAND\"\n"
        );
        write(folder, "sshd_config", &configuration);
        // What Debian's unit makes for it; where that is not allowed, sshd does not want it either.
        let _ = fs::create_dir_all("/run/sshd");
        let mut sshd = Command::new("/usr/sbin/sshd");
        sshd.arg("-D").arg("-f").arg(folder.join("sshd_config")).arg("-E").arg(folder.join("sshd.log"));
        let process = daemon("sshd", &mut sshd, address, || log(folder)).await;
        Self { address, folder: folder.to_owned(), process }
    }

    /// With one key, `ssh/key` beside the manifest; and the URL of what lies at `path` by it.
    pub(crate) async fn beside(setup: &Setup, path: &Path) -> (Self, String) {
        let sshd = Self::start(&keys(setup, &[("key", ED25519)]), &["key"]).await;
        let url = sshd.url(path);
        (sshd, url)
    }

    /// Of what lies at `path`, for whoever runs the tests.
    pub(crate) fn url(&self, path: &Path) -> String {
        format!("ssh://{}@{}{}", user(), self.address, path.display())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// As `known_hosts` names it.
    pub(crate) fn name(&self) -> String {
        format!("[{}]:{}", self.address.ip(), self.address.port())
    }

    /// Of its host key, for `pin`.
    pub(crate) fn pin(&self) -> String {
        fingerprint(&self.folder, "host")
    }

    /// What `known_hosts` has of it.
    pub(crate) fn line(&self) -> String {
        format!("{} {}\n", self.name(), public(&self.folder, "host"))
    }

    pub(crate) fn log(&self) -> String {
        log(&self.folder)
    }

    /// What it was asked to run.
    pub(crate) fn commands(&self) -> Vec<String> {
        let commands = fs::read_to_string(self.folder.join("commands")).unwrap_or_default();
        commands.lines().map(str::to_owned).collect()
    }

    /// How many connections were made to it, whatever came of them.
    pub(crate) fn connections(&self) -> usize {
        self.log().matches("Connection from ").count()
    }

    /// How often somebody came in, which is the number of connections that were let in.
    #[track_caller]
    pub(crate) fn came_in(&self, times: usize) {
        let log = self.log();
        assert_eq!(log.matches("Accepted publickey").count(), times, "{log}");
    }

    /// Stops all that serve a connection now, until what is returned is dropped: then they end.
    pub(crate) fn stop_sessions(&self) -> Stopped {
        let all = |parent: i32| -> Vec<i32> {
            let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
            children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
        };
        let mut sessions = all(self.process.id().expect("it runs").try_into().expect("a process id"));
        let mut at = 0;
        while at < sessions.len() {
            sessions.extend(all(sessions[at]));
            at += 1;
        }
        assert!(!sessions.is_empty(), "no session");
        signal(&sessions, Signal::STOP);
        Stopped(sessions)
    }
}

/// Processes that stand still.
pub(crate) struct Stopped(Vec<i32>);

impl Drop for Stopped {
    fn drop(&mut self) {
        signal(&self.0, Signal::KILL);
    }
}

fn signal(processes: &[i32], signal: Signal) {
    for pid in processes {
        let pid = Pid::from_raw(*pid).expect("a process id");
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }
}

/// A folder `ssh` beside the manifest, with pairs of keys of these names.
pub(crate) fn keys(setup: &Setup, pairs: &[(&str, &[&str])]) -> PathBuf {
    let folder = setup.path("ssh");
    fs::create_dir(&folder).expect("the folder is new");
    for (name, arguments) in pairs {
        keygen(&folder, name, arguments);
    }
    folder
}

/// A pair of keys, `NAME` and `NAME.pub`.
pub(crate) fn keygen(folder: &Path, name: &str, arguments: &[&str]) {
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-C", "", "-f"])
        .arg(folder.join(name))
        .args(arguments)
        .args(if arguments.contains(&"-N") { &[][..] } else { &["-N", ""] })
        .status()
        .expect("ssh-keygen is installed");
    assert!(made.success(), "ssh-keygen {arguments:?}");
}

/// Whatever else `ssh-keygen` does; what it printed.
pub(crate) fn run_keygen(folder: &Path, arguments: &[&str]) -> String {
    let output = std::process::Command::new("ssh-keygen").current_dir(folder).args(arguments).output();
    let output = output.expect("ssh-keygen is installed");
    assert!(output.status.success(), "ssh-keygen {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

/// The public half of a key: two words.
pub(crate) fn public(folder: &Path, name: &str) -> String {
    let line = fs::read_to_string(folder.join(format!("{name}.pub"))).expect("it was made");
    line.trim_end().to_owned()
}

/// As `ssh-keygen -l` prints it.
pub(crate) fn fingerprint(folder: &Path, name: &str) -> String {
    let line = run_keygen(folder, &["-l", "-f", &format!("{name}.pub")]);
    line.split(' ').nth(1).expect("bits, fingerprint, comment").to_owned()
}

/// Who runs the tests.
pub(crate) fn user() -> String {
    let output = std::process::Command::new("id").arg("-un").output().expect("id is everywhere");
    String::from_utf8(output.stdout).expect("a name").trim_end().to_owned()
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("the folder is the test's");
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("sshd.log")).unwrap_or_default()
}
