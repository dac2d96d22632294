//! How long after a `git push` has moved the branch a client gets the new page, on a machine that does nothing else.

use std::{
    fs,
    net::SocketAddr,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};

use crate::{
    contenders::{Contender, Place, SITE},
    progress::Progress,
    pusher::NEWS,
    support::{git::Repository, git_servers::Daemon, host::Setup, upstream::dead},
    table::{Lane, OURS, Row, median, quantile},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

const LIMIT: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_micros(500);
/// For what the last one left to do.
const REST: Duration = Duration::from_millis(50);

/// Of a branch that is watched, and of one on a server, whose repository tells of a push.
pub(crate) async fn push(place: &Place, hook: bool, pushes: usize, progress: &Progress) -> anyhow::Result<Vec<Row>> {
    let (setup, site) = place.setup(dead(), "");
    let author = Repository::with_work_tree(setup.path("author"));
    author.fetch(site.path(), "main");
    let roots = setup.write("ca.pem", place.ca.pem());
    let daemon = if hook { Some(served(&setup).await?) } else { None };
    let contender = Contender::ours(OURS, setup).await;
    if hook {
        tells(site.path(), contender.address, &roots)?;
    }
    let moves = moves(&site.path().join("refs/heads"))?;
    let mut line = place.dialler.connect(contender.address, SITE).await?;
    let path = format!("/{NEWS}");
    let mut times = Vec::new();
    let mut author = Some(author);
    for number in 0..pushes {
        progress.show(&format!("push: {number}/{pushes}"));
        let page = format!("{number}\n");
        let (own, remote) = (author.take().expect("given back"), site.path().to_owned());
        let contents = page.clone();
        let pushing = thread::spawn(move || {
            own.change("main", &[(NEWS, &contents)]);
            own.push(&remote, "main").map(|()| own)
        });
        let begun = Instant::now();
        while line.get(SITE, &path).await?.body != page.as_bytes() {
            ensure!(begun.elapsed() < LIMIT, "push {number} was not seen within {LIMIT:?}");
            tokio::time::sleep(STEP).await;
        }
        let seen = Instant::now();
        let moved = moves.recv_timeout(LIMIT).context("the branch's move was not seen")?;
        times.push(seen.saturating_duration_since(moved).as_secs_f64() * 1e3);
        let pushed = pushing.join().map_err(|_| anyhow::anyhow!("git could not be run"))?;
        author = Some(pushed.map_err(anyhow::Error::msg)?);
        tokio::time::sleep(REST).await;
    }
    let note = format!("95% of {pushes} within {:.1} ms", quantile(&times, 0.95));
    drop(daemon);
    let (scenario, how) = if hook { ("push-hook", ", told by curl in post-receive") } else { ("push", "") };
    let title = format!("from a moved branch to the new page{how} (median {:.1} ms)", median(&times));
    Ok(vec![Row { scenario, title, unit: "ms", lanes: vec![Lane::of(OURS, times)], note }])
}

/// The site's repository is behind a server, and nobody asks it.
async fn served(setup: &Setup) -> anyhow::Result<Daemon> {
    let daemon = Daemon::start(&setup.path("")).await;
    let remote = format!("remote = \"git://{}/site.git\"\npoll = \"24h\"\nhook = \"secret\"", daemon.address());
    let manifest = fs::read_to_string(setup.path("host.toml"))?;
    fs::write(setup.path("host.toml"), manifest.replace("remote = \"site.git\"", &remote))?;
    setup.write("secret", SECRET);
    Ok(daemon)
}

/// As the README has it done.
fn tells(repository: &Path, host: SocketAddr, roots: &Path) -> anyhow::Result<()> {
    let (port, roots) = (host.port(), roots.display());
    let file = repository.join("hooks/post-receive");
    let script = format!(
        "#!/bin/sh\nexec curl --silent --fail-with-body --cacert {roots} --resolve {SITE}:{port}:{} \
         -H 'Authorization: Bearer {SECRET}' -X POST https://{SITE}:{port}/.well-known/host/hook/site-pages\n",
        host.ip()
    );
    fs::create_dir_all(repository.join("hooks"))?;
    fs::write(&file, script)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// When a file was put in place in a folder, as the kernel tells: git moves a branch by that.
fn moves(folder: &Path) -> anyhow::Result<mpsc::Receiver<Instant>> {
    let events: OwnedFd = init(CreateFlags::CLOEXEC)?;
    add_watch(&events, folder, WatchFlags::MOVED_TO)?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(events, &mut buffer);
        // Until nobody listens any more.
        while reader.next().is_ok() && sender.send(Instant::now()).is_ok() {}
    });
    Ok(receiver)
}
