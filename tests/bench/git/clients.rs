//! The two that fetch and push: this host's own client, in this process as it is in the host's, and the `git` program.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, ensure};
use atoll_git::{
    Author, Daemon, Fetched, Follower, Http, Kind, Patience, Remote, Repository, Ssh, Staging, Store, Watcher,
};
use atoll_net::{
    Client, Dialler, Egress, HTTP, Host, Options, Origin, Protocol, Proxies, Secret, Tls,
    ssh::{Key, Trust},
};
use tokio::task::spawn_blocking;

use crate::{
    git::origins::{Origins, Size, Way, advance, name},
    support::sshd::user,
    table::{GIT, OURS},
};

/// What trees and small files may take in memory: a host's.
pub(crate) const MEMORY: usize = 64 << 20;

/// Longer than a measurement.
const NEVER: Duration = Duration::from_hours(1);

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Clone,
    Unchanged,
    Fetch,
    Push,
}

/// One that has a copy of its own.
pub(crate) enum Copy {
    Ours { repository: Repository, remote: Remote, follower: Option<Box<Follower>> },
    Git { directory: PathBuf, url: String, ssh: String },
}

impl Copy {
    /// The copy in `folder`, which is not there yet, and how long it took to have it.
    pub(crate) async fn ours(
        origins: &Origins,
        way: Way,
        size: &Size,
        folder: &Path,
    ) -> anyhow::Result<(Self, Duration)> {
        let remote = remote(origins, way, size)?.at("main");
        let (there, wanted) = (folder.join("git"), remote.clone());
        fs::create_dir(folder)?;
        origins.forget(way);
        let (repository, taken) = spawn_blocking(move || {
            let begun = Instant::now();
            let store = Store::open(&there, MEMORY.try_into()?, SystemTime::now())?;
            let repository = store.repository("pages")?;
            let fetched = repository.fetch(&wanted, SystemTime::now())?;
            let taken = begun.elapsed();
            ensure!(matches!(fetched, Fetched::Moved { .. }), "{fetched:?}");
            anyhow::Ok((repository, taken))
        })
        .await??;
        Ok((Self::Ours { repository, remote, follower: None }, taken))
    }

    /// From now on it can push.
    pub(crate) fn follow(&mut self) {
        if let Self::Ours { repository, remote, follower } = self {
            let made = Follower::start(repository.clone(), remote.clone(), Watcher::default(), NEVER, |_| ());
            *follower = Some(Box::new(made));
        }
    }

    /// The same of the program.
    pub(crate) fn git(origins: &Origins, way: Way, size: &Size, folder: &Path) -> anyhow::Result<(Self, Duration)> {
        let url = origins.url(way, size, GIT);
        let ssh = format!(
            "ssh -F /dev/null -i {} -o IdentitiesOnly=yes -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR",
            origins.key().display()
        );
        let mut clone = command(&ssh);
        clone.env("GIT_SSL_CAINFO", origins.roots());
        clone.args(["clone", "--quiet", "--bare", "--depth=1", "--single-branch", "--no-tags", "--branch=main", &url]);
        origins.forget(way);
        let taken = timed(clone.arg(folder))?;
        Ok((Self::Git { directory: folder.to_owned(), url, ssh }, taken))
    }

    /// Does it once, with nothing counted of what comes before. How long it took.
    pub(crate) async fn run(
        &self,
        operation: Operation,
        origins: &Origins,
        way: Way,
        size: &Size,
    ) -> anyhow::Result<Duration> {
        let number = origins.next();
        match self {
            Self::Ours { follower: Some(follower), .. } if operation == Operation::Push => {
                let staging = follower.stage().await?;
                origins.forget(way);
                spawn_blocking(move || push(staging, number)).await?
            }
            Self::Ours { repository, remote, .. } => {
                let moves = operation == Operation::Fetch;
                let head = moves.then(|| advance(&origins.path(size, OURS), number));
                let (repository, remote) = (repository.clone(), remote.clone());
                origins.forget(way);
                spawn_blocking(move || fetch(&repository, &remote, head.as_deref())).await?
            }
            Self::Git { directory, url, ssh } => {
                let mut command = command(ssh);
                command.env("GIT_SSL_CAINFO", origins.roots());
                command.arg("-C").arg(directory);
                if operation == Operation::Push {
                    advance(directory, number);
                    command.args(["push", "--quiet", url, "main"]);
                } else {
                    if operation == Operation::Fetch {
                        advance(&origins.path(size, GIT), number);
                    }
                    let refspec = "+refs/heads/main:refs/heads/main";
                    command.args(["fetch", "--quiet", "--depth=1", "--no-tags", url, refspec]);
                }
                origins.forget(way);
                timed(&mut command)
            }
        }
    }
}

fn push(mut staging: Staging, number: usize) -> anyhow::Result<Duration> {
    let mut upload = staging.uploads().begin();
    upload.push(format!("{number}\n").as_bytes())?;
    staging.write(&name(0), Kind::File, &upload)?;
    let author = Author { name: "A".to_owned(), email: "a@test".to_owned() };
    let begun = Instant::now();
    let committed = staging.commit(&author, "Commit", SystemTime::now())?;
    let taken = begun.elapsed();
    ensure!(committed.warnings.is_empty(), "{:?}", committed.warnings);
    Ok(taken)
}

/// What moves to `head`, or stands where it stood.
fn fetch(repository: &Repository, remote: &Remote, head: Option<&str>) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let fetched = repository.fetch(remote, SystemTime::now())?;
    let taken = begun.elapsed();
    let found = match fetched {
        Fetched::Unchanged => None,
        Fetched::Moved { revision, .. } => Some(revision.id.to_string()),
        other => anyhow::bail!("{other:?}"),
    };
    ensure!(found.as_deref() == head, "{found:?} was fetched, and not {head:?}");
    Ok(taken)
}

fn remote(origins: &Origins, way: Way, size: &Size) -> anyhow::Result<Remote> {
    let path = origins.path(size, OURS);
    let Some(relay) = origins.relay(way) else { return Ok(Remote::local(path)) };
    let (address, dialler) = (relay.address(), Dialler::system());
    let (host, shown) = (Host::Address(address.ip()), path.display().to_string());
    let name = format!("/{}", path.file_name().and_then(|name| name.to_str()).context("a name of ours")?);
    Ok(Remote::server(match way {
        Way::Http | Way::Https => {
            let tls = Tls::with_roots("ca.pem", &fs::read(origins.roots())?, HTTP)?;
            let uri = format!("{}{address}", way.title()).parse()?;
            let origin = Origin::new(&uri, Protocol::Http1, &tls, Egress::Any)?;
            let client = Client::new(dialler, Options::default());
            Http::server(&client, &Proxies::default(), origin, &name, None, Patience::default())?
        }
        Way::Ssh => {
            let key = Key::Stored { at: Secret::File(origins.key()), passphrase: None };
            let (user, trust) = (user(), Trust::Pin(origins.pin.clone()));
            Ssh::server(&dialler, (&user, host, address.port()), &shown, Some(key), trust, Patience::default())
        }
        Way::Daemon | Way::Local => Daemon::server(&dialler, host, address.port(), &name, Patience::default()),
    }))
}

/// With nobody's configuration, and without waiting for the disk, which ours does not do either.
pub(crate) fn command(ssh: &str) -> Command {
    let mut command = Command::new("git");
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs([("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")])
        .envs([("GIT_TERMINAL_PROMPT", "0"), ("GIT_SSH_COMMAND", ssh)])
        .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "core.fsync=none"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn timed(command: &mut Command) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let status = command.status()?;
    let taken = begun.elapsed();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(taken)
}
