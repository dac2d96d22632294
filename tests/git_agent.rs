//! A site on a branch that is reached by SSH with a key that an agent holds: the real `ssh-agent`, and OpenSSH's server.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tokio::net::UnixStream;

use crate::{
    git_push::{manifest, publishes},
    git_servers::{error, lives, repository, site},
    support::{
        host::Setup,
        skip,
        sshd::{ED25519, Sshd, keygen, keys, user},
        wait::{SOON, until},
    },
};

const PROGRAMS: &[&str] = &["git-shell", "ssh-add", "ssh-agent", "ssh-keygen", "sshd"];

/// Until it is dropped.
struct Agent {
    socket: PathBuf,
    process: Child,
}

impl Agent {
    async fn start(socket: PathBuf) -> Self {
        let process = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ssh-agent is installed");
        let agent = Self { socket, process };
        until(SOON, "ssh-agent", async || UnixStream::connect(&agent.socket).await.ok()).await;
        agent
    }

    fn add(&self, folder: &Path, name: &str) {
        let added =
            Command::new("ssh-add").env("SSH_AUTH_SOCK", &self.socket).arg("-q").arg(folder.join(name)).status();
        assert!(added.expect("ssh-add is installed").success(), "{name}");
        // Nobody else may have it.
        fs::remove_file(folder.join(name)).expect("it was made");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn by_the_first_key_of_an_agent_that_the_server_takes() {
    if skip::missing(PROGRAMS) {
        return;
    }
    for (kind, named) in [(ED25519, "agent"), (&["-t", "rsa", "-b", "2048"], "agent:ssh/agent")] {
        let setup = Setup::without_manifest();
        let repository = repository(&setup);
        let folder = keys(&setup, &[("key", kind)]);
        let sshd = Sshd::start(&folder, &["key"]).await;
        let agent = Agent::start(folder.join("agent")).await;
        // What people write beside a key need not be UTF-8.
        let commented = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C"])
            .arg(OsStr::from_bytes(b"J\xf6rg"))
            .arg("-f")
            .arg(folder.join("one"))
            .status();
        assert!(commented.expect("ssh-keygen is installed").success());
        agent.add(&folder, "one");
        for name in ["two", "three", "four"] {
            keygen(&folder, name, ED25519);
            agent.add(&folder, name);
        }
        agent.add(&folder, "key");
        let remote = sshd.url(repository.path());
        setup.manifest(&site(&remote, &format!("key = \"{named}\"\npin = \"{}\"\n", sshd.pin())));
        let setup = setup.environment("SSH_AUTH_SOCK", folder.join("agent"));
        lives(setup, &repository, || {
            // All of that on one connection.
            sshd.came_in(1);
            drop(sshd);
        })
        .await;
    }
}

#[tokio::test]
async fn a_push_by_an_agents_key() {
    if skip::missing(PROGRAMS) {
        return;
    }
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let (sshd, remote) = Sshd::beside(&setup, repository.path()).await;
    let agent = Agent::start(setup.path("ssh/agent")).await;
    agent.add(&setup.path("ssh"), "key");
    setup.manifest(&manifest(&remote, &format!("key = \"agent:ssh/agent\"\npin = \"{}\"\n", sshd.pin())));
    publishes(setup, &repository).await;
}

/// What is said of agents that do not help; the socket is `S`.
#[tokio::test]
async fn agents_that_do_not_help() {
    if skip::missing(PROGRAMS) {
        return;
    }
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let (sshd, remote) = Sshd::beside(&setup, repository.path()).await;
    let (folder, pin) = (setup.path("ssh"), sshd.pin());
    setup.manifest(&site(&remote, &format!("key = \"agent\"\npin = \"{pin}\"\n")));
    let said = setup.shown(&setup.command(&["check"]).await.failed());
    assert!(said.contains("`key`: there is no variable `SSH_AUTH_SOCK` in the environment"), "{said}");
    let socket = folder.join("agent");
    let mut setup = setup.environment("SSH_AUTH_SOCK", socket.clone());
    let mut agent = None;
    for (keys, expected) in [
        (0, "the agent at S cannot be reached: No such file or directory (os error 2)".to_owned()),
        (0, "the agent at S holds no key, or is locked: add one, ssh-add FILE, or unlock it, ssh-add -X".to_owned()),
        (
            3,
            format!(
                "the server refuses for {} what the agent at S holds, as far as it was offered: 3 of 3 keys",
                user()
            ),
        ),
        (
            4,
            format!(
                "the server refuses for {} what the agent at S holds, as far as it was offered: 5 of 7 keys",
                user()
            ),
        ),
    ] {
        for number in 0..keys {
            let name = format!("{keys}-{number}");
            keygen(&folder, &name, ED25519);
            let agent: &Agent = agent.as_ref().expect("it was started");
            agent.add(&folder, &name);
        }
        let host = setup.start().await;
        let found = error(&host).await.replace(&remote, "R").replace(&socket.display().to_string(), "S");
        assert_eq!(found, format!("R: {expected}"));
        setup = host.terminate().await;
        if agent.is_none() {
            agent = Some(Agent::start(socket.clone()).await);
        }
    }
}
