//! Following a remote: seen at once by the file watch, by the poll where there is none, and whoever asks.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use super::support::{Room, files, moved, spawned};
use crate::{Event, Fetched, Follower, Remote, Repository, Watcher};

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

/// What a follower said, shortened.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn follow(&self, repository: &Repository, remote: &Remote, watcher: &Watcher, poll: Duration) -> Follower {
        let log = self.clone();
        let report = move |event| {
            let line = match event {
                Event::Failed(error) => format!("failed: {error}"),
                event => format!("{event:?}"),
            };
            log.0.lock().unwrap().push(line);
        };
        Follower::start(repository.clone(), remote.clone(), watcher.clone(), poll, report)
    }

    fn said(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Waits until the head is one of which `wanted` is true.
async fn head(repository: &Repository, wanted: impl Fn(&Repository) -> bool) {
    let mut heads = repository.heads();
    let seen = async {
        while !wanted(repository) {
            heads.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(10), seen).await.expect("seen within ten seconds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_pushes_are_each_seen_at_once() {
    let room = Room::new();
    let remote = room.remote("origin", &[("index.html", "0"), ("dir/a", "x"), ("dir/b", "y")]);
    let pages = room.pages();
    let log = Log::default();
    let follower = log.follow(&pages, &remote, &Watcher::default(), NEVER);
    head(&pages, |pages| pages.head().is_some()).await;
    follower.fetch().await.unwrap();

    // One git for all: each push is a line to it, answered when the ref has moved.
    let mut git = spawned(&room.path.join("origin"), "git fast-import --quiet --done");
    let mut delays = Vec::new();
    for number in 1..=200 {
        let contents = number.to_string();
        let length = contents.len();
        let commit = format!(
            "commit refs/heads/main\ncommitter a <a@b> {number} +0000\ndata 0\nfrom refs/heads/main^0\n\
             M 100644 inline index.html\ndata {length}\n{contents}\ncheckpoint\nprogress done\n"
        )
        .replace("from refs/heads/main^0\n", if number == 1 { "from refs/heads/main^0\n" } else { "" });
        git.say(&commit);
        // The checkpoint has moved the ref before this comes: what is measured is no less than the delay.
        let mut heads = pages.heads();
        let begun = Instant::now();
        git.hear("progress done");
        let sought = u64::from(u32::try_from(number).unwrap());
        let seen = heads.wait_for(|head| head.is_some_and(|head| head.committed == sought));
        tokio::time::timeout(Duration::from_secs(2), seen).await.expect("seen within two seconds").unwrap();
        delays.push(begun.elapsed());
    }
    delays.sort();
    println!("median {:?}, p95 {:?}, most {:?}", delays[100], delays[190], delays[199]);
    assert!(delays[100] < Duration::from_millis(50), "{:?}", delays[100]);
    assert_eq!(files(&pages)[2], ("index.html".to_owned(), "200".to_owned()));
    assert_eq!(log.said().iter().filter(|line| line.starts_with("Moved")).count(), 201);
    drop(follower);
    pages.settle().unwrap();
    assert_eq!(room.fsck(), "");
}
