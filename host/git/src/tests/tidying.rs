//! A repository of ours stays small, and what is still used stays whole.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::{
    pushes::{commit, stage, write},
    support::{Room, drain, files, moved, now},
};
use crate::{Remote, disk::lock};

/// A hundred and fifty files of their own: a pack each time.
fn many(room: &Room, round: usize) {
    let texts: Vec<(String, String)> =
        (0..150).map(|number| (format!("f{number}"), format!("{round} {number}"))).collect();
    let texts: Vec<(&str, &str)> = texts.iter().map(|(path, contents)| (&**path, &**contents)).collect();
    room.push("origin", &texts);
}

#[test]
fn packs_stay_few_and_what_is_used_stays_whole() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "x")]);
    let pages = room.pages();
    moved(&pages, &remote);
    let mut revisions = Vec::new();
    for round in 0..24 {
        many(&room, round);
        revisions.push(moved(&pages, &remote).id);
        // What is not too much stays as it is.
        if round < 20 {
            pages.tidy().unwrap();
        }
    }
    drop(pages);
    let packs = || room.script("ls state/git/pages.git/objects/pack/*.pack | wc -l").trim().parse::<usize>().unwrap();
    let loose = || room.script("find state/git/pages.git/objects/?? -type f | wc -l").trim().parse::<usize>().unwrap();
    let pages = room.pages();
    assert_eq!((packs(), loose()), (24, 3));
    assert_eq!(pages.0.objects.counts(), (24, 3));

    // One is kept, one is open, one is the head; the others go.
    pages.keep("site", Some(revisions[20])).unwrap();
    let open = pages.snapshot(Some(revisions[21])).unwrap();
    let reader = open.read("f7").unwrap();
    assert_eq!(room.script("wc -l <state/git/pages.git/shallow").trim(), "24");
    pages.tidy().unwrap();
    assert_eq!((packs(), loose()), (1, 0));
    assert_eq!(pages.0.objects.counts(), (1, 0));
    assert_eq!(room.script("wc -l <state/git/pages.git/shallow").trim(), "3");
    assert_eq!(room.fsck(), "");
    assert_eq!(open.contents("f149", 100).unwrap(), "21 149");
    let mut read = Vec::new();
    drain(reader, |chunk| read.extend_from_slice(chunk));
    assert_eq!(read, b"21 7");
    assert_eq!(pages.snapshot(Some(revisions[20])).unwrap().contents("f0", 100).unwrap(), "20 0");
    assert_eq!(files(&pages)[0], ("f0".to_owned(), "23 0".to_owned()));
    assert_eq!(pages.verify(revisions[19]).unwrap_err().to_string(), format!("object {} is missing", revisions[19]));
    // And what was open goes when it is closed.
    drop(open);
    pages.0.tidy(&mut lock(&pages.0.fetching)).unwrap();
    assert_eq!(pages.verify(revisions[21]).unwrap_err().to_string(), format!("object {} is missing", revisions[21]));
    pages.verify(revisions[20]).unwrap();
    assert_eq!(room.fsck(), "");
    // It can be fetched again.
    room.script(&format!("git -C origin update-ref refs/heads/main {}", revisions[19]));
    assert_eq!(moved(&pages, &remote).id, revisions[19]);
    assert_eq!(room.fsck(), "");
}

/// Few, and large: loose files and packs in turn, with restarts between.
#[test]
fn what_is_large_does_not_pile_up() {
    const FILE: usize = 10 * 1024 * 1024;
    let room = Room::new();
    room.script("git init -q --bare -b main origin");
    let remote = Remote::local(room.path.join("origin"));
    let taken = || room.script("du -sb state/git/pages.git/objects | cut -f1").trim().parse::<usize>().unwrap();
    let mut taking = Vec::new();
    for _ in 0..4 {
        let pages = room.pages();
        for beside in [1, 150, 1, 150, 1] {
            room.script(&format!(
                "cd origin; large=$(head -c {FILE} /dev/urandom | git hash-object -w --stdin)
                 for n in $(seq {beside}); do mkdir -p files; echo $n $large >files/$n; done
                 ls -d $PWD/files/* | git hash-object -w --stdin-paths | sed 's/.*/100644 blob &\t&/' >entries
                 printf '100644 blob %s\tlarge\n' $large >>entries
                 git update-ref refs/heads/main $(git commit-tree -m large $(git mktree <entries)); rm -r files"
            ));
            moved(&pages, &remote);
            pages.tidy().unwrap();
            taking.push(taken());
        }
    }
    // As much as that, and what came last; and not each time, since that is copied.
    let most = 64 * 1024 * 1024 + 2 * FILE;
    assert!(taking.iter().all(|taken| *taken < most), "{taking:?}");
    assert_eq!(taking.windows(2).filter(|two| two[1] < two[0]).count(), 2, "{taking:?}");
    assert_eq!(room.fsck(), "");
}

#[test]
fn nobody_who_reads_meanwhile_notices() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "x")]);
    many(&room, 0);
    // Half in packs, half loose.
    let pages = room.pages();
    moved(&pages, &remote);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let head = pages.head().unwrap();
                    // It may have moved on, and been tidied away, before it was opened.
                    let Ok(snapshot) = pages.snapshot(Some(head.id)) else { continue };
                    for path in snapshot.children("").unwrap().iter().step_by(9).map(|entry| &entry.name) {
                        // Not from memory.
                        pages.0.cache.forget();
                        snapshot.contents(path, 100).unwrap();
                    }
                }
            });
        }
        let tidied = (1..12).try_for_each(|round| {
            match round % 3 {
                0 => _ = room.push("origin", &[("a", "x")]),
                _ => many(&room, round),
            }
            pages.fetch(&remote, now()).map_err(|error| error.to_string())?;
            pages.0.tidy(&mut lock(&pages.0.fetching)).map_err(|error| error.to_string())
        });
        stop.store(true, Ordering::Relaxed);
        tidied.unwrap();
    });
    assert_eq!(room.fsck(), "");
}

/// A kill in the middle of it leaves the new pack and any part of the old files.
#[test]
fn a_kill_while_tidying_loses_nothing() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "x")]);
    many(&room, 0);
    let pages = room.pages();
    moved(&pages, &remote);
    room.push("origin", &[("a", "x"), ("dir/b", "y")]);
    let head = moved(&pages, &remote);
    pages.keep("site", Some(head.id)).unwrap();
    room.script("cp -r state before");
    pages.0.tidy(&mut lock(&pages.0.fetching)).unwrap();
    drop(pages);
    room.script("mv state after; cp before/git/pages.git/shallow after/git/pages.git/shallow");
    let gone = room.script(
        "cd before/git/pages.git; find objects -type f | while read f; do test -e ../../../after/git/pages.git/$f || echo $f; done",
    );
    let gone: Vec<&str> = gone.lines().collect();
    assert_eq!(gone.len(), 7, "{gone:?}");
    for killed in 0..=gone.len() {
        let files = gone[killed..].join(" ");
        room.script(&format!(
            "rm -rf state; cp -r after state; cd before/git/pages.git
             for file in {files}; do cp $file ../../../state/git/pages.git/$file; done"
        ));
        assert_eq!(room.fsck(), "", "{killed}");
        let pages = room.pages();
        assert_eq!(pages.head(), Some(head));
        pages.verify(head.id).unwrap();
        assert_eq!(
            super::support::fetch(&pages, &Remote::local(room.path.join("origin"))).unwrap(),
            crate::Fetched::Unchanged
        );
    }
}

#[test]
fn what_is_being_staged_stays() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "x")]).at("main");
    let pages = room.pages();
    let mut staging = stage(&pages, &remote);
    write(&mut staging, "b", b"before");
    let mut upload = staging.uploads().begin();
    upload.push(&vec![b'u'; 300 * 1024]).unwrap();
    pages.0.tidy(&mut lock(&pages.0.fetching)).unwrap();
    assert_eq!(pages.0.objects.counts(), (1, 0));
    staging.write("c", crate::Kind::File, &upload).unwrap();
    write(&mut staging, "d", b"after");
    let id = commit(staging, "ours").unwrap().unwrap();
    assert_eq!(room.script("git -C origin rev-parse main"), format!("{id}\n"));
    let found: Vec<String> = files(&pages).into_iter().map(|(path, _)| path).collect();
    assert_eq!(found, ["a", "b", "c", "d"]);
    assert_eq!(room.fsck(), "");
    assert_eq!(room.script("find state -name 'tmp_*'"), "");
}

/// What went before it broke off is not counted on any more: a fetch brings it again.
#[test]
fn tidying_that_breaks_off_loses_nothing() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "x")]);
    let pages = room.pages();
    many(&room, 0);
    moved(&pages, &remote);
    let texts: Vec<(String, String)> = (0..50).map(|number| (format!("f{number}"), format!("one {number}"))).collect();
    let texts: Vec<(&str, &str)> = texts.iter().map(|(path, contents)| (&**path, &**contents)).collect();
    room.push("origin", &texts);
    let before = moved(&pages, &remote);
    room.push("origin", &[("a", "y")]);
    let head = moved(&pages, &remote);
    // Nothing but a file is expected there.
    room.script("for d in state/git/pages.git/objects/??; do mkdir $d/zz; done");
    let error = pages.0.tidy(&mut lock(&pages.0.fetching)).unwrap_err();
    assert_eq!(error.to_string(), "the repository cannot be written");
    pages.verify(head.id).unwrap();
    pages.verify(before.id).unwrap_err();
    room.script(&format!("git -C origin update-ref refs/heads/main {}", before.id));
    assert_eq!(moved(&pages, &remote), before);
    pages.verify(before.id).unwrap();
    room.script("rmdir state/git/pages.git/objects/??/zz");
    assert_eq!(room.fsck(), "");
    pages.0.tidy(&mut lock(&pages.0.fetching)).unwrap();
    pages.verify(before.id).unwrap();
    assert_eq!(room.fsck(), "");
}

/// Though nothing is pushed any more.
#[test]
fn what_could_not_be_synced_is_tried_again() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "x")]);
    let pages = room.pages();
    moved(&pages, &remote);
    // Neither there nor gone.
    let served = "state/git/pages.git/refs/heads/served";
    room.script(&format!("mv {served} kept; ln -s served {served}"));
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let runtime = super::server::runtime();
    runtime.block_on(async {
        let (notify, telling) = (std::sync::Arc::new(tokio::sync::Notify::new()), told.clone());
        let report = std::sync::Arc::new(move |event| lock(&telling).push(format!("{event:?}")));
        let settling = crate::follow::settle(pages.clone(), notify.clone(), Duration::from_millis(5), report);
        let settling = tokio::spawn(settling);
        notify.notify_one();
        until(|| !lock(&told).is_empty()).await;
        room.script(&format!("mv -f kept {served}"));
        until(|| pages.0.unsettled.is_empty()).await;
        settling.abort();
    });
    assert_eq!(*lock(&told), ["Untidy(\"Too many levels of symbolic links (os error 40)\")"]);
}

async fn until(so: impl Fn() -> bool) {
    while !so() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
