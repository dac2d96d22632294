//! What a kill, a remote that loses its past, and damage on our own disk leave behind.

use std::{fs, path::Path, sync::mpsc, time::Duration};

use notify::{
    EventKind, RecursiveMode, Watcher as _,
    event::{ModifyKind, RenameMode},
};

use super::support::{InFull as _, Room, fetch, files, id, moved};
use crate::Fetched;

#[test]
fn a_kept_revision_outlives_the_remote_and_the_head() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "kept")]);
    let pages = room.pages();
    let kept = moved(&pages, &remote);
    pages.keep("site", Some(kept.id)).unwrap();
    pages.keep("router", Some(kept.id)).unwrap();
    room.script("cd origin; git update-ref -d refs/heads/main");
    room.push("origin", &[("a", "forced")]);
    room.script("cd origin; git reflog expire --expire=now --all; git gc -q --prune=now");
    let forced = moved(&pages, &remote);
    let gone = format!("git -C origin cat-file -t {} 2>&1 || true", kept.id);
    assert_eq!(room.script(&gone), "fatal: git cat-file: could not get object info\n");
    drop(pages);

    // After a kill, without the remote.
    room.script("rm -rf origin");
    let pages = room.pages();
    assert_eq!(pages.head(), Some(forced));
    assert_eq!(pages.kept("site").unwrap(), Some(kept.id));
    pages.verify(kept.id).unwrap();
    assert_eq!(pages.snapshot(Some(kept.id)).unwrap().contents("a", 10).unwrap(), "kept");
    assert_eq!(room.fsck(), "");
    assert_eq!(
        room.script("git -C state/git/pages.git for-each-ref --format='%(refname) %(objectname)'"),
        format!(
            "refs/atoll/serving/router {kept}\nrefs/atoll/serving/site {kept}\nrefs/heads/served {}\n",
            forced.id,
            kept = kept.id
        )
    );
    // Git's own tidying, should somebody run it, takes neither.
    room.script("cd state/git/pages.git; git pack-refs --all; git gc -q --prune=now");
    assert_eq!(pages.snapshot(Some(kept.id)).unwrap().contents("a", 10).unwrap(), "kept");
    assert_eq!(pages.kept("site").unwrap(), Some(kept.id));

    pages.keep("site", Some(forced.id)).unwrap();
    assert_eq!(pages.kept("site").unwrap(), Some(forced.id));
    pages.keep("router", None).unwrap();
    assert_eq!(pages.kept("router").unwrap(), None);
    pages.release("router").unwrap();
    pages.release("site").unwrap();
    assert_eq!(pages.kept("site").unwrap(), None);
    assert_eq!(room.script("git -C state/git/pages.git for-each-ref --format='%(refname)'"), "refs/heads/served\n");
    assert_eq!(room.fsck(), "");
}

/// A power cut leaves files empty that were not synced, refs among them.
#[test]
fn an_empty_ref_is_none() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "one")]);
    let pages = room.pages();
    let head = moved(&pages, &remote);
    pages.keep("site", Some(head.id)).unwrap();
    pages.keep("router", Some(head.id)).unwrap();
    drop(pages);
    let empty = "cd state/git/pages.git/refs; : >atoll/serving/site; : >heads/served; mkdir -p x/y; head -c 41 /dev/zero >x/y/z";
    room.script(empty);
    let pages = room.pages();
    assert_eq!(pages.head(), None);
    assert_eq!(pages.kept("site").unwrap(), None);
    assert_eq!(pages.kept("router").unwrap(), Some(head.id));
    assert_eq!(room.script("cd state/git/pages.git; find refs -type f"), "refs/atoll/serving/router\n");
    assert_eq!(moved(&pages, &remote), head);
    // Nor does one keep another from its place, or from going.
    for prepare in [empty, "cd state/git/pages.git/refs; head -c 41 /dev/zero >atoll/serving/site"] {
        room.script(prepare);
        pages.keep("site", Some(head.id)).unwrap();
        assert_eq!(pages.kept("site").unwrap(), Some(head.id));
        room.script(prepare);
        pages.release("site").unwrap();
        assert_eq!(pages.kept("site").unwrap(), None);
    }
}

#[test]
fn what_is_not_here_cannot_be_kept() {
    let room = Room::new();
    room.remote("origin", &[("a", "x")]);
    let unknown = id("0123456789012345678901234567890123456789");
    let error = room.pages().keep("site", Some(unknown)).unwrap_err().to_string();
    assert_eq!(error, format!("object {unknown} is missing"));
    let error = room.pages().verify(unknown).unwrap_err().to_string();
    assert_eq!(error, format!("object {unknown} is missing"));
}

/// A fetch makes files one by one, each whole and by renaming. A kill between any two leaves a prefix of them, so each
/// prefix is tried: Git must find nothing wrong, we must start, and the next fetch must end where the first would have.
#[test]
fn a_kill_after_any_file_leaves_a_clean_repository() {
    for few in [true, false] {
        let room = Room::new();
        let remote = room.remote("origin", &[("a", "one"), ("dir/b", "two")]);
        let before = moved(&room.pages(), &remote);
        let many: Vec<(String, String)> = (0..120).map(|n| (format!("new/{n}"), format!("{n}"))).collect();
        let mut new: Vec<(&str, &str)> = vec![("a", "one"), ("dir/b", "changed"), ("dir/deep/c", "three")];
        if !few {
            new.extend(many.iter().map(|(path, contents)| (&**path, &**contents)));
        }
        // A parent that we do not have.
        room.push("origin", &[("a", "between")]);
        room.push("origin", &new);
        // So that the watch misses nothing.
        room.script("cd origin; git rev-list --objects main | cut -c-2 | sed 's,^,../state/git/pages.git/objects/,' | xargs mkdir -p");
        room.script("cp -r state before");
        let pages = room.pages();
        let (renamed, watcher) = renames(&room.path.join("state/git/pages.git"));
        let after = moved(&pages, &remote);
        let mut order: Vec<String> = Vec::new();
        while order.last().is_none_or(|last| last != "refs/heads/served") {
            order.push(renamed.recv_timeout(Duration::from_secs(10)).unwrap());
        }
        drop(watcher);
        let shallow = order.iter().position(|file| file == "shallow").unwrap();
        assert_eq!(shallow, if few { order.len() - 3 } else { 0 }, "{order:?}");
        // Two blobs, three trees and the commit; or a pack and its index.
        assert_eq!(order.len(), 2 + if few { 6 } else { 2 }, "{order:?}");
        room.script("mv state after");
        for killed in 0..order.len() {
            let files = order[..killed].join(" ");
            room.script(&format!(
                "rm -rf state; cp -r before state; cd after/git/pages.git
                 for file in {files}; do cp -f $file ../../../state/git/pages.git/$file; done"
            ));
            assert_eq!(room.fsck(), "", "after {:?}", &order[..killed]);
            let pages = room.pages();
            assert_eq!(pages.head(), Some(before), "after {:?}", &order[..killed]);
            assert_eq!(moved(&pages, &remote), after);
            pages.verify(after.id).unwrap();
            assert_eq!(room.fsck(), "", "after {:?}", &order[..killed]);
        }
    }
}

/// The files that are renamed into place below `directory`, or amended, in that order, as long as the watcher lives.
fn renames(directory: &Path) -> (mpsc::Receiver<String>, notify::RecommendedWatcher) {
    let (sender, receiver) = mpsc::channel();
    let root = directory.to_owned();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let event = event.unwrap();
        let path = &event.paths[0];
        let amended =
            path.ends_with("refs/heads/served") && matches!(event.kind, EventKind::Modify(ModifyKind::Data(_)));
        if amended || event.kind == EventKind::Modify(ModifyKind::Name(RenameMode::To)) {
            sender.send(path.strip_prefix(&root).unwrap().display().to_string()).unwrap();
        }
    })
    .unwrap();
    watcher.watch(directory, RecursiveMode::Recursive).unwrap();
    (receiver, watcher)
}

#[test]
fn damage_found_while_reading_is_put_right_by_the_next_fetch() {
    let room = Room::new();
    let large = "0123456789".repeat(50_000);
    let many: Vec<(String, String)> = (0..120).map(|n| (format!("many/{n}"), format!("{n}"))).collect();
    let mut all: Vec<(&str, &str)> = vec![("dir/a", "one"), ("large", &large)];
    let remote = room.remote("origin", &all);
    all.extend(many.iter().map(|(path, contents)| (&**path, &**contents)));
    for packed in [false, true] {
        let room_files = if packed {
            room.push("origin", &all);
            room.script("rm -rf state");
            all.len()
        } else {
            2
        };
        moved(&room.pages(), &remote);
        let pages = room.pages();
        let head = pages.head().unwrap();
        let snapshot = pages.snapshot(Some(head.id)).unwrap();
        if packed {
            // Somewhere in the middle, where the large one lies, or everywhere.
            room.script(
                "cd state/git/pages.git/objects/pack; chmod u+w *; p=$(ls *.pack); s=$(stat -c %s $p)
                 head -c 12 $p >x; head -c $((s - 32)) /dev/zero >>x; tail -c 20 $p >>x; cat x >$p; rm x",
            );
        } else {
            room.script(
                "cd state/git/pages.git; for id in $(git rev-parse served:dir served:dir/a served:large); do
                   o=objects/$(echo $id | sed 's,..,&/,'); chmod u+w $o; s=$(stat -c %s $o)
                   head -c $((s / 2)) $o >x; mv -f x $o; done",
            );
        }
        let error = snapshot.contents("dir/a", 10).unwrap_err().to_string();
        assert!(error.contains("is damaged"), "{error}");
        let error = snapshot.contents("large", 1 << 20).unwrap_err().to_string();
        assert!(error.contains("is damaged"), "{error}");
        assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged);
        assert_eq!(snapshot.contents("dir/a", 10).unwrap(), "one");
        assert_eq!(snapshot.contents("large", 1 << 20).unwrap(), large);
        assert_eq!(files(&pages).len(), room_files);
        pages.verify(head.id).unwrap();
        assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged);
    }
}

#[test]
fn a_fetch_that_cannot_write_leaves_the_head() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "one")]);
    let pages = room.pages();
    let head = moved(&pages, &remote);
    let new = room.push("origin", &[("a", "two")]);
    // A file where a directory has to be: root is refused too.
    let blob = room.script("git -C origin rev-parse main:a");
    let directory = room.path.join("state/git/pages.git/objects").join(&blob[..2]);
    fs::write(&directory, "").unwrap();
    let path = room.path.join("origin").display().to_string();
    let error = fetch(&pages, &remote).unwrap_err().in_full();
    assert_eq!(
        error,
        format!(
            "the head {new} of {path} cannot be copied: the object cannot be written: Not a directory (os error 20)"
        )
    );
    assert_eq!(pages.head(), Some(head));
    assert_eq!(room.script("cd state; find . -name 'tmp_*'"), "");
    fs::remove_file(directory).unwrap();
    // A lock that somebody else holds.
    fs::write(room.path.join("state/git/pages.git/refs/heads/served.lock"), "").unwrap();
    let error = fetch(&pages, &remote).unwrap_err().in_full();
    assert_eq!(error, "our copy cannot be written: File exists (os error 17)");
    assert_eq!(pages.head(), Some(head));
    assert_eq!(room.fsck(), "");
    fs::remove_file(room.path.join("state/git/pages.git/refs/heads/served.lock")).unwrap();
    assert_eq!(moved(&pages, &remote).id, new);
    assert_eq!(room.fsck(), "");
}

#[test]
fn a_remote_that_is_packed_anew_meanwhile_is_read_on() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "one"), ("b", "two")]);
    let objects = crate::objects::Objects::open_remote(room.path.join("origin/objects")).unwrap();
    room.script("git -C origin gc -q --prune=now");
    let blob = id(&room.script("git -C origin rev-parse main:a"));
    assert_eq!(objects.whole(&blob, 100).unwrap().1, b"one");
    room.push("origin", &[("a", "three")]);
    room.script("git -C origin gc -q --prune=now");
    assert_eq!(objects.whole(&blob, 100).unwrap().1, b"one");
    let blob = id(&room.script("git -C origin rev-parse main:a"));
    assert_eq!(objects.whole(&blob, 100).unwrap().1, b"three");
    moved(&room.pages(), &remote);
}
