//! How long after a `git push` has moved the branch a client gets the new page, on a machine that does nothing else.

use std::{
    os::fd::OwnedFd,
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
    support::{git::Repository, upstream::dead},
    table::{Lane, OURS, Row, median, quantile},
};

const LIMIT: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_micros(500);
/// For what the last one left to do.
const REST: Duration = Duration::from_millis(50);

pub(crate) async fn push(place: &Place, pushes: usize, progress: &Progress) -> anyhow::Result<Vec<Row>> {
    let (setup, site) = place.setup(dead(), "");
    let author = Repository::with_work_tree(setup.path("author"));
    author.fetch(site.path(), "main");
    let contender = Contender::ours(OURS, setup).await;
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
    let title = format!("from a moved branch to the new page (median {:.1} ms)", median(&times));
    Ok(vec![Row { scenario: "push", title, unit: "ms", lanes: vec![Lane::of(OURS, times)], note }])
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
