//! Plain directories that stand in for a branch.

use std::{
    fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::support::{InFull as _, Room, fetch, files, moved, now};
use crate::{Fetched, Kind, Remote};

#[test]
fn a_directory_is_what_git_would_commit_of_it() {
    let room = Room::new();
    room.script(
        "mkdir -p site/dir/deep site/a site/empty/below; cd site
         echo one >a.txt; echo two >dir/b.txt; echo three >dir/deep/c.txt; echo four >a/x; echo five >a.b; echo six >a0
         echo run >run; chmod +x run; ln -s a.txt link; ln -s /etc/passwd outside; ln -s loop loop; ln -s nowhere broken
         ln -s dir to-dir; : >nothing; head -c 3M /dev/zero >large; echo x >\"$(printf '\\303\\274ber')\"
         find . -exec touch -h -d @1600000000 {} +; touch -d @1650000000 dir/b.txt; touch -d @1600000000 dir",
    );
    let pages = room.pages();
    let remote = Remote::local(room.path.join("site"));
    let revision = moved(&pages, &remote);
    let tree = room.script("cp -a site work; cd work; git init -q; git add -A; git write-tree; cd ..; rm -rf work");
    assert_eq!(revision.tree.to_string(), tree.trim());
    assert_eq!(revision.committed, 1_650_000_000);
    assert_eq!(room.fsck(), "");
    assert_eq!(
        room.script("git -C state/git/pages.git log --format='%an <%ae> %at %cn <%ce> %ct %P%n%B' served"),
        "atoll <atoll@localhost> 1650000000 atoll <atoll@localhost> 1650000000 \nThe directory as it stood\n\n"
    );
    let snapshot = pages.snapshot(Some(revision.id)).unwrap();
    assert_eq!(snapshot.entry("outside").unwrap().kind, Kind::Symlink);
    assert_eq!(snapshot.contents("outside", 100).unwrap(), "/etc/passwd");
    assert_eq!(snapshot.entry("to-dir/b.txt").unwrap_err().to_string(), "not found");
    assert_eq!(snapshot.size("large").unwrap(), 3 << 20);
    assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged);

    // The same on another machine, and after a start.
    let other = Room::new();
    assert_eq!(moved(&other.pages(), &remote), revision);
    assert_eq!(fetch(&room.pages(), &remote).unwrap(), Fetched::Unchanged);
    room.script("rm -rf state/git/pages.git/refs/heads/served");
    assert_eq!(moved(&room.pages(), &remote), revision);
}

#[test]
fn an_unchanged_tree_is_no_new_revision_and_a_changed_one_has_a_date_of_its_own() {
    let room = Room::new();
    room.script("mkdir site; cd site; echo one >a; echo two >b; touch -d @1600000000 a b .");
    let pages = room.pages();
    let remote = Remote::local(room.path.join("site"));
    let first = moved(&pages, &remote);
    assert_eq!(first.committed, 1_600_000_000);
    room.script("touch -d @1700000000 site/a; touch site");
    assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged);
    room.script("echo three >site/a; touch -d @1650000000 site/a site");
    let second = moved(&pages, &remote);
    assert_eq!(second.committed, 1_650_000_000);
    // An older file takes its place: when it was taken in, then.
    room.script("echo four >site/a; touch -d @1500000000 site/a site");
    let at = UNIX_EPOCH + Duration::from_secs(1_660_000_000);
    let Fetched::Moved { revision, .. } = pages.fetch(&remote, at).unwrap() else { panic!() };
    assert_eq!(revision.committed, 1_660_000_000);
    // A date that is still to come does not count either.
    room.script("echo five >site/a; touch -d @1700000000 site/a site");
    let at = UNIX_EPOCH + Duration::from_secs(1_670_000_000);
    let Fetched::Moved { revision, .. } = pages.fetch(&remote, at).unwrap() else { panic!() };
    assert_eq!(revision.committed, 1_670_000_000);
    // A file that is taken away dates its directory.
    room.script("rm site/b; touch -d @1680000000 site");
    assert_eq!(moved(&pages, &remote).committed, 1_700_000_000);
    assert_eq!(files(&pages), [("a".to_owned(), "five\n".to_owned())]);
    assert_eq!(room.fsck(), "");
}

#[test]
fn what_cannot_be_served_is_left_out_and_told() {
    let room = Room::new();
    room.script(
        "mkdir -p site/.git.d site/sub/.GIT; cd site; echo a >a; mkfifo pipe; echo x >sub/.GIT/config; echo x >'git~1'
         ln -s a .gitmodules; echo x >\"$(printf 'b\\377')\"; echo x >.git.d/x",
    );
    let pages = room.pages();
    let Fetched::Moved { mut notices, .. } = fetch(&pages, &Remote::local(room.path.join("site"))).unwrap() else {
        panic!()
    };
    notices.sort();
    assert_eq!(
        notices,
        [
            "\".gitmodules\" is left out: its entry \".gitmodules\" is a symbolic link",
            "\"b\\xff\" is left out, its name is not UTF-8",
            "\"git~1\" is left out: its entry \"git~1\" is a spelling of .git",
            "\"pipe\" is left out, it is neither file nor directory nor link",
            "\"sub/.GIT\" is left out: its entry \".GIT\" is a spelling of .git",
        ]
    );
    let found: Vec<String> = files(&pages).into_iter().map(|(path, _)| path).collect();
    assert_eq!(found, [".git.d/x", "a"]);
    assert_eq!(room.fsck(), "");
}

#[test]
fn the_state_directory_is_never_part_of_it() {
    let room = Room::new();
    let pages = room.pages();
    room.script("echo a >a; mkdir dir; echo b >dir/b; echo proved >state/proved");
    let remote = Remote::local(&room.path);
    let Fetched::Moved { notices, .. } = fetch(&pages, &remote).unwrap() else { panic!() };
    assert_eq!(notices, ["\"state\" is left out, it is the state directory of this very host"]);
    let found: Vec<String> = files(&pages).into_iter().map(|(path, _)| path).collect();
    assert_eq!(found, ["a", "dir/b"]);
    assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged);
    let state = room.path.join("state");
    let error = fetch(&pages, &Remote::local(&state)).unwrap_err().in_full();
    assert_eq!(error, format!("{} is the state directory of this very host, which cannot be served", state.display()));
}

#[test]
fn a_directory_has_no_branches() {
    let room = Room::new();
    room.script("mkdir site; echo one >site/a");
    let site = room.path.join("site");
    let error = fetch(&room.pages(), &Remote::local(&site).at("gh-pages")).unwrap_err().to_string();
    let expected = format!("{} is a plain folder, and has no branch gh-pages: leave the branch out", site.display());
    assert_eq!(error, expected);
}

#[test]
fn an_empty_directory_is_an_empty_tree() {
    let room = Room::new();
    room.script("mkdir -p site/empty");
    let (pages, site) = (room.pages(), room.path.join("site"));
    room.script("touch -d '2 seconds ago' site");
    assert!(matches!(pages.fetch(&Remote::local(site), SystemTime::now()).unwrap(), Fetched::Moved { .. }));
    let revision = pages.head().unwrap();
    assert_eq!(revision.tree.to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
    assert_eq!(pages.snapshot(Some(revision.id)).unwrap().children("").unwrap(), []);
    assert_eq!(room.fsck(), "");
}

/// What is to be in a new one may come yet: a clone is an empty directory first.
#[test]
fn a_new_directory_is_not_believed_to_be_empty() {
    let room = Room::new();
    let (pages, site) = (room.pages(), Remote::local(room.path.join("site")));
    room.script("mkdir site");
    let fetched = std::thread::scope(|scope| {
        let fetched = scope.spawn(|| pages.fetch(&site, SystemTime::now()));
        std::thread::sleep(std::time::Duration::from_millis(50));
        fs::write(room.path.join("site/a"), "one").unwrap();
        fetched.join().unwrap()
    });
    assert!(matches!(fetched.unwrap(), Fetched::Moved { .. }));
    assert_eq!(files(&pages), [("a".to_owned(), "one".to_owned())]);
}

#[test]
fn only_what_changed_is_read() {
    let room = Room::new();
    room.script("mkdir site; cd site; echo one >a; echo two >b; touch -d @1600000000 a b");
    let pages = room.pages();
    let remote = Remote::local(room.path.join("site"));
    moved(&pages, &remote);
    // The same length and the same date, which no change of a file's contents can have: ctime tells all the same.
    let stamp = fs::metadata(room.path.join("site/a")).unwrap();
    fs::write(room.path.join("site/a"), "eno\n").unwrap();
    room.script("touch -d @1600000000 site/a");
    assert_eq!(fs::metadata(room.path.join("site/a")).unwrap().modified().unwrap(), stamp.modified().unwrap());
    moved(&pages, &remote);
    assert_eq!(files(&pages)[0].1, "eno\n");
    // What changed a moment ago is not trusted to stand still: with a clock that stands at the change, all is read.
    let just_now = SystemTime::now();
    fs::write(room.path.join("site/a"), "neo\n").unwrap();
    pages.fetch(&remote, just_now).unwrap();
    assert_eq!(files(&pages)[0].1, "neo\n");
}

#[test]
fn many_files_become_one_pack() {
    let room = Room::new();
    room.script("mkdir site; cd site; for i in $(seq 300); do echo $i >$i; done");
    let pages = room.pages();
    let remote = Remote::local(room.path.join("site"));
    let revision = moved(&pages, &remote);
    assert_eq!(files(&pages).len(), 300);
    assert_eq!(room.script("ls state/git/pages.git/objects/pack | wc -l").trim(), "2");
    assert_eq!(room.fsck(), "");
    room.script("git verify-pack state/git/pages.git/objects/pack/*.idx");
    // After a start everything is read, and nothing written.
    let objects = || room.script("find state/git/pages.git -type f | sort");
    let before = objects();
    let pages = room.pages();
    assert_eq!(pages.head(), Some(revision));
    assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged);
    assert_eq!(objects(), before);
}

/// What was read, and could not be written, is read again.
#[test]
fn what_could_not_be_written_down_is_not_taken_for_seen() {
    let (room, twin) = (Room::new(), Room::new());
    room.script("mkdir site; cd site; for i in $(seq 300); do echo $i >$i; done");
    let (pages, remote) = (room.pages(), Remote::local(room.path.join("site")));
    moved(&twin.pages(), &remote);
    // Nothing can be called as the pack will be.
    let pack = twin.script("cd state/git/pages.git/objects/pack; ls *.pack");
    let in_the_way = format!("state/git/pages.git/objects/pack/{}", pack.trim());
    room.script(&format!("mkdir {in_the_way}"));
    let error = fetch(&pages, &remote).unwrap_err().in_full();
    assert_eq!(error, "the object cannot be written: Is a directory (os error 21)");
    room.script(&format!("rmdir {in_the_way}"));
    moved(&pages, &remote);
    assert_eq!(files(&pages).len(), 300);
    assert_eq!(room.fsck(), "");
}

#[test]
fn a_directory_that_changes_while_it_is_read_is_never_torn() {
    let room = Room::new();
    fs::create_dir(room.path.join("site")).unwrap();
    fs::create_dir(room.path.join("elsewhere")).unwrap();
    fs::write(room.path.join("elsewhere/secret"), "secret").unwrap();
    let site = room.path.join("site");
    let pages = room.pages();
    let remote = Remote::local(&site);
    let (begun, busy) = (Instant::now(), Duration::from_millis(700));
    std::thread::scope(|scope| {
        // Files grow, shrink and vanish; a directory becomes a link to another one.
        scope.spawn(|| {
            let elsewhere = room.path.join("elsewhere");
            let mut round = 0_usize;
            while begun.elapsed() < busy {
                round += 1;
                fs::write(site.join("large"), vec![b'x'; 2_000_000 + round % 7]).unwrap();
                fs::write(site.join("small"), vec![b'y'; round % 50]).unwrap();
                let _ = fs::remove_file(site.join(format!("gone{}", (round + 1) % 3)));
                fs::write(site.join(format!("gone{}", round % 3)), "z").unwrap();
                fs::create_dir(site.join("dir")).unwrap();
                fs::write(site.join("dir/secret"), "public").unwrap();
                fs::rename(site.join("dir"), site.join("aside")).unwrap();
                std::os::unix::fs::symlink(&elsewhere, site.join("dir")).unwrap();
                fs::remove_file(site.join("dir")).unwrap();
                fs::remove_dir_all(site.join("aside")).unwrap();
            }
        });
        let mut taken = 0;
        while begun.elapsed() < busy {
            match pages.fetch(&remote, now()) {
                Ok(_) => taken += 1,
                Err(error) => {
                    assert!(error.to_string().ends_with("changes while it is read; it is tried again"), "{error}");
                }
            }
            let head = pages.head();
            let snapshot = pages.snapshot(head.map(|head| head.id)).unwrap();
            for path in ["dir/secret", "aside/secret"] {
                if let Ok(secret) = snapshot.contents(path, 100) {
                    assert_ne!(secret, "secret");
                }
            }
            if let Ok(large) = snapshot.contents("large", 1 << 30) {
                assert!(large.iter().all(|byte| *byte == b'x'));
            }
        }
        assert!(taken > 0);
    });
    fetch(&pages, &remote).unwrap();
    pages.verify(pages.head().unwrap().id).unwrap();
    assert_eq!(room.fsck(), "");
    assert_eq!(room.script("cd state; find . -name 'tmp_*'"), "");
}

#[test]
fn a_directory_that_is_too_deep_is_refused() {
    let room = Room::new();
    room.script("mkdir site; echo a >site/a");
    let pages = room.pages();
    let remote = Remote::local(room.path.join("site"));
    let head = moved(&pages, &remote);
    room.script(&format!("cd site; {}; echo b >a", vec!["mkdir d; cd d"; 257].join("; ")));
    let error = fetch(&pages, &remote).unwrap_err().in_full();
    let deep = room.path.join("site").join(vec!["d"; 256].join("/"));
    assert_eq!(error, format!("{}: directories lie more than 256 deep", deep.display()));
    assert_eq!(pages.head(), Some(head));
}

#[test]
fn equal_files_are_taken_in_once() {
    let room = Room::new();
    room.script(
        "mkdir -p site/a site/b; for n in $(seq 200); do echo $n >site/a/$n; echo $n >site/b/$n; done; cp -r site/a site/c
         head -c 1500000 /dev/zero >site/b/zero; cp site/b/zero site/zero",
    );
    moved(&room.pages(), &Remote::local(room.path.join("site")));
    let counted = room.script("git -C state/git/pages.git count-objects -v");
    let number = |name: &str| -> usize {
        counted.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
    };
    // Files, the large one, three trees and the commit.
    assert_eq!(number("count:") + number("in-pack:"), 200 + 1 + 3 + 1, "{counted}");
    assert!(number("in-pack:") > 0, "{counted}");
    assert_eq!(room.fsck(), "");
}
