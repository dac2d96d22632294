//! Where is fetched from and pushed to: repositories of a known size, behind git's own servers, each by a relay that counts.

use std::{
    cell::Cell,
    fs,
    io::{BufWriter, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::{
    contenders::Noise,
    git::relay::Relay,
    support::{
        ca::Ca,
        git::Repository,
        git_servers::{Daemon, Web},
        sshd::{Sshd, fingerprint, keygen, user},
    },
};

/// How large a repository is. Of all commits but the first, each changes one file.
pub(crate) struct Size {
    pub(crate) title: &'static str,
    name: &'static str,
    files: usize,
    commits: usize,
}

pub(crate) const SIZES: [Size; 2] = [
    Size { title: "10,000 files, 2,000 commits", name: "large", files: 10_000, commits: 2_000 },
    Size { title: "100 files, 100 commits", name: "small", files: 100, commits: 100 },
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Daemon,
    Http,
    Https,
    Ssh,
    Local,
}

pub(crate) const WAYS: [Way; 5] = [Way::Daemon, Way::Http, Way::Https, Way::Ssh, Way::Local];

/// Both of a kind: one is ours to fetch from and to push to, one git's.
pub(crate) struct Origins {
    folder: TempDir,
    daemon: Relay,
    http: Relay,
    https: Relay,
    ssh: Relay,
    pub(crate) pin: String,
    made: Cell<usize>,
    _servers: (Daemon, Web, Sshd),
}

impl Way {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Daemon => "git://",
            Self::Http => "http://",
            Self::Https => "https://",
            Self::Ssh => "ssh://",
            Self::Local => "a local path",
        }
    }
}

impl Origins {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (root, ssh) = (folder.path().join("root"), folder.path().join("ssh"));
        for folder in [&root, &ssh] {
            fs::create_dir(folder)?;
        }
        for size in &SIZES {
            let first = root.join(format!("{}-atoll.git", size.name));
            import(&first, "-1", |stream| history(size, stream))?;
            let other = root.join(format!("{}-git.git", size.name));
            let copied = Command::new("cp").arg("-r").args([&first, &other]).status()?;
            ensure!(copied.success(), "{} can't be copied", first.display());
        }
        keygen(&ssh, "key", &["-t", "ed25519"]);
        let daemon = Daemon::start(&root).await;
        let ca = Ca::new("bench");
        fs::write(folder.path().join("ca.pem"), ca.pem())?;
        let web = Web::start(&root, &folder.path().join("web"), &ca, "http://127.0.0.1:1").await;
        let sshd = Sshd::start(&ssh, &["key"]).await;
        let plain = web.plain();
        let plain: SocketAddr = plain.strip_prefix("http://").context("an address")?.parse()?;
        let secure = web.secure();
        let port = secure.rsplit(':').next().context("a port")?.parse()?;
        Ok(Self {
            daemon: Relay::start(daemon.address())?,
            http: Relay::start(plain)?,
            https: Relay::start((plain.ip(), port).into())?,
            ssh: Relay::start(sshd.address())?,
            pin: fingerprint(&ssh, "host"),
            made: Cell::new(0),
            folder,
            _servers: (daemon, web, sshd),
        })
    }

    /// The number of a commit: none is made twice.
    pub(crate) fn next(&self) -> usize {
        self.made.replace(self.made.get() + 1)
    }

    /// What was counted of this way so far.
    pub(crate) fn forget(&self, way: Way) {
        self.relay(way).map(Relay::took);
    }

    /// Of the contender `who`.
    pub(crate) fn path(&self, size: &Size, who: &str) -> PathBuf {
        self.folder.path().join(format!("root/{}-{who}.git", size.name))
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("ssh/key")
    }

    /// Whom the server's certificate is by, a file.
    pub(crate) fn roots(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// What counts this way's bytes.
    pub(crate) fn relay(&self, way: Way) -> Option<&Relay> {
        match way {
            Way::Daemon => Some(&self.daemon),
            Way::Http => Some(&self.http),
            Way::Https => Some(&self.https),
            Way::Ssh => Some(&self.ssh),
            Way::Local => None,
        }
    }

    /// As `git` takes it. Of a path it would make links, and leave nothing out.
    pub(crate) fn url(&self, way: Way, size: &Size, who: &str) -> String {
        let path = self.path(size, who);
        match way {
            Way::Daemon => format!("git://{}/{}-{who}.git", self.daemon.address(), size.name),
            Way::Http => format!("http://{}/{}-{who}.git", self.http.address(), size.name),
            Way::Https => format!("https://{}/{}-{who}.git", self.https.address(), size.name),
            Way::Ssh => format!("ssh://{}@{}{}", user(), self.ssh.address(), path.display()),
            Way::Local => format!("file://{}", path.display()),
        }
    }
}

/// One more commit, which changes one file.
pub(crate) fn advance(repository: &Path, number: usize) -> String {
    Repository::open(repository).change("main", &[(&name(0), &format!("{number}\n"))])
}

/// The name of a file.
pub(crate) fn name(number: usize) -> String {
    format!("d{:02}/f{number:05}.html", number % 100)
}

/// A bare repository of what `write` says to `git fast-import`, packed, that may be pushed to by anybody, and that waits for
/// no disk. With zlib's `level`.
pub(crate) fn import(
    path: &Path,
    level: &str,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(path).args(arguments).stdout(Stdio::null());
        command
    };
    drop(Repository::bare(path));
    for (key, value) in
        [("http.receivepack", "true"), ("core.fsync", "none"), ("gc.auto", "0"), ("core.compression", level)]
    {
        ensure!(git(&["config", key, value]).status()?.success(), "git config {key}");
    }
    let mut child = git(&["fast-import", "--quiet", "--done"]).stdin(Stdio::piped()).spawn()?;
    let mut stream = BufWriter::new(child.stdin.take().expect("piped"));
    write(&mut stream)?;
    stream.write_all(b"done\n")?;
    drop(stream);
    ensure!(child.wait()?.success(), "git fast-import");
    Ok(())
}

fn history(size: &Size, stream: &mut dyn Write) -> std::io::Result<()> {
    let mut noise = Noise(2);
    for commit in 0..size.commits {
        let at = 1_600_000_000 + commit;
        write!(stream, "commit refs/heads/main\ncommitter A <a@test> {at} +0000\ndata 6\nCommit\n")?;
        let files = if commit == 0 { 0..size.files } else { commit % size.files..commit % size.files + 1 };
        for file in files {
            let text = noise.text(1500);
            write!(stream, "M 100644 inline {}\ndata {}\n", name(file), text.len())?;
            stream.write_all(&text)?;
            stream.write_all(b"\n")?;
        }
    }
    Ok(())
}
