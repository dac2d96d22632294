//! The most memory of their own that a host takes while it fetches a large repository, and `git` while it clones it.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::ensure;

use super::{clients::command, origins::import};
use crate::{
    contenders::Noise,
    progress::Progress,
    support::{git_servers::Daemon, host::Setup, tables},
    table::{GIT, Lane, OURS, Row},
    usage::{anonymous, anonymous_of},
};

const FILES: usize = 500;
const FILE: usize = 1 << 20;

const STEP: Duration = Duration::from_millis(5);
const LIMIT: Duration = Duration::from_mins(10);
const MIB: f64 = 1024.0 * 1024.0;

pub(crate) async fn memory(rounds: usize, progress: &Progress) -> anyhow::Result<Vec<Row>> {
    progress.show("memory: making a repository");
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("root");
    fs::create_dir(&root)?;
    // Noise is not to be made smaller.
    import(&root.join("site.git"), "0", |stream| {
        let mut noise = Noise(3);
        write!(stream, "commit refs/heads/main\ncommitter A <a@test> 1 +0000\ndata 0\n")?;
        write!(stream, "M 100644 inline index.html\ndata 0\n\n")?;
        for file in 0..FILES {
            write!(stream, "M 100644 inline {file}.bin\ndata {FILE}\n")?;
            stream.write_all(&noise.bytes(FILE))?;
            stream.write_all(b"\n")?;
        }
        Ok(())
    })?;
    let daemon = Daemon::start(&root).await;
    let url = format!("git://{}/site.git", daemon.address());
    let mut lanes = [OURS, GIT].map(Lane::new);
    let mut seconds = [OURS, GIT].map(Lane::new);
    for round in 0..rounds {
        progress.show(&format!("memory: {}/{rounds}", round + 1));
        let (most, taken) = ours(&url).await?;
        lanes[0].values.push(most / MIB);
        seconds[0].values.push(taken);
        let (most, taken) = git(&url).await?;
        lanes[1].values.push(most / MIB);
        seconds[1].values.push(taken);
    }
    let row = |title: &str, unit, lanes: [Lane; 2]| {
        let title = format!("{title} 500 MiB in {FILES} files, git://");
        Row { scenario: "git-memory", title, unit, lanes: lanes.into(), note: String::new() }
    };
    Ok(vec![
        row("the most memory (anonymous) during a first fetch of", "MiB", lanes),
        row("from the start of the program to the end of a first fetch of", "s", seconds),
    ])
}

/// Of a host that starts with a site on it: until it has the head. Its compiler is a process of its own, and not counted.
async fn ours(url: &str) -> anyhow::Result<(f64, f64)> {
    let site = tables::site("site").replace("remote = \"site.git\"", &format!("remote = \"{url}\""));
    let setup = Setup::new(&site);
    let begun = Instant::now();
    let mut host = setup.spawn();
    let process = host.id().expect("it runs");
    let head = setup.state().join("git/site-pages.git/refs/heads/served");
    let most = watch(|| anonymous_of(process), || Ok(head.exists())).await?;
    let taken = begun.elapsed().as_secs_f64();
    host.kill().await?;
    Ok((most, taken))
}

/// Of the program and those that it starts.
async fn git(url: &str) -> anyhow::Result<(f64, f64)> {
    let folder = tempfile::tempdir()?;
    let mut clone = command("");
    clone.args(["clone", "--quiet", "--bare", "--depth=1", "--no-tags", url]).arg(folder.path().join("git"));
    let begun = Instant::now();
    let mut child = clone.spawn()?;
    let process = child.id();
    let most = watch(|| anonymous(process), || Ok(child.try_wait()?.is_some())).await;
    let taken = begun.elapsed().as_secs_f64();
    if most.is_err() {
        child.kill()?;
    }
    ensure!(child.wait()?.success(), "{clone:?}");
    Ok((most?, taken))
}

/// The most that was seen until it was done.
async fn watch(mut look: impl FnMut() -> f64, mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<f64> {
    let (begun, mut most) = (Instant::now(), 0.0_f64);
    while !done()? {
        most = most.max(look());
        ensure!(begun.elapsed() < LIMIT, "it was not fetched within {LIMIT:?}");
        tokio::time::sleep(STEP).await;
    }
    Ok(most)
}
