//! Committing and pushing, to a repository on this machine and to git's own receive-pack: git is the oracle of what came.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{runtime::Runtime, sync::Notify};

use super::{
    server::{self, Wire, daemon, upload_pack},
    support::{DATE, InFull as _, Room, fetch, files, now},
};
use crate::{
    Author, Fetched, Kind, ObjectId, Patience, PublishError, PushError, Remote, Repository, StageError, Staging,
};

/// Later than what the scripts commit.
pub(super) fn later() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(DATE + 60)
}

pub(super) fn author() -> Author {
    Author { name: "Ann Ø".into(), email: "ann@example.org".into() }
}

/// Fetches, and begins a tree on top of what is there.
pub(super) fn stage(repository: &Repository, remote: &Remote) -> Staging {
    let there = match fetch(repository, remote) {
        Ok(Fetched::Moved { .. } | Fetched::Unchanged) => true,
        Ok(Fetched::Unborn | Fetched::Gone(_)) => false,
        Err(error) => panic!("{}", error.in_full()),
    };
    let head = if there { repository.head() } else { None };
    let base = repository.snapshot(head.map(|head| head.id)).unwrap();
    let number = repository.next_follower();
    Staging::new(base, remote.clone(), number, Arc::<Notify>::default()).unwrap()
}

pub(super) fn write(staging: &mut Staging, path: &str, contents: &[u8]) -> ObjectId {
    try_write(staging, path, Kind::File, contents).unwrap()
}

fn try_write(staging: &mut Staging, path: &str, kind: Kind, contents: &[u8]) -> Result<ObjectId, StageError> {
    let mut upload = staging.uploads().begin();
    for piece in contents.chunks(100_000) {
        upload.push(piece).unwrap();
    }
    staging.write(path, kind, &upload)
}

pub(super) fn commit(staging: Staging, message: &str) -> Result<Option<ObjectId>, PublishError> {
    let committed = staging.commit(&author(), message, later())?;
    assert_eq!(committed.warnings, [""; 0]);
    Ok(committed.id)
}

/// The same repository by each way that needs no other program.
enum Way {
    Local,
    Git(#[expect(dead_code, reason = "the server lives as long as it")] Runtime, Arc<Wire>),
}

fn ways(room: &Room, name: &str) -> Vec<(Way, Remote)> {
    let runtime = server::runtime();
    let (address, wire) = upload_pack(room.path.clone(), "2");
    let served = daemon(&runtime, address, &format!("/{name}"), Patience::default());
    let local = Remote::local(room.path.join(name)).at("main");
    vec![(Way::Local, local), (Way::Git(runtime, wire), served)]
}

#[test]
fn a_commit_is_made_and_pushed() {
    for way in 0..2 {
        let room = Room::new();
        room.remote("site.git", &[("a.txt", "one"), ("dir/b.txt", "two"), ("gone/deep/c", "3")]);
        let (_way, remote) = ways(&room, "site.git").swap_remove(way);
        let pages = room.pages();
        let mut staging = stage(&pages, &remote);
        assert_eq!(staging.base().contents("a.txt", 10).unwrap(), "one");
        let base = pages.head().unwrap();
        let big = vec![b'x'; 3 << 20];
        let id = write(&mut staging, "new/deep/d.txt", b"four");
        assert_eq!(id.to_string(), room.feed("git hash-object --stdin", b"four").trim());
        write(&mut staging, "big", &big);
        try_write(&mut staging, "run", Kind::Executable, b"#!/bin/sh\n").unwrap();
        try_write(&mut staging, "link", Kind::Symlink, b"a.txt").unwrap();
        let placed = staging.base().entry("dir/b.txt").unwrap().id;
        staging.place("dir/copy.txt", Kind::File, placed).unwrap();
        staging.place("again", Kind::Directory, staging.base().entry("dir").unwrap().id).unwrap();
        staging.remove("gone/deep/c").unwrap();
        let id = commit(staging, "Say more\n\nAnd why.").unwrap().unwrap();

        let git = |script: &str| room.script(&format!("git -C site.git {script}"));
        assert_eq!(git("rev-parse main"), format!("{id}\n"));
        assert_eq!(
            git("log -1 --format='%P|%an|%ae|%at|%cn|%ce|%ct|%B' main").trim_end(),
            format!(
                "{}|Ann Ø|ann@example.org|{at}|Atoll|atoll@localhost|{at}|Say more\n\nAnd why.",
                base.id,
                at = DATE + 60
            )
        );
        let listed = git("ls-tree -r --format='%(objectmode) %(path)' main");
        assert_eq!(
            listed,
            "100644 a.txt\n100644 again/b.txt\n100644 big\n100644 dir/b.txt\n100644 dir/copy.txt\n120000 link\n100644 new/deep/d.txt\n100755 run\n"
        );
        assert_eq!(git("cat-file -s main:big"), format!("{}\n", big.len()));
        assert_eq!(git("fsck --full --strict --no-dangling 2>&1"), "");
        // Ours moved at once, and nothing else has to be fetched.
        assert_eq!(pages.head().unwrap().id, id);
        assert_eq!(pages.head().unwrap().committed, DATE + 60);
        assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged);
        assert_eq!(room.fsck(), "");
        assert_eq!(room.script("find state site.git -name 'tmp_*' -o -name '*.lock'"), "");
        // What does not change anything is no commit.
        let mut staging = stage(&pages, &remote);
        write(&mut staging, "a.txt", b"one");
        write(&mut staging, "dir/x", b"");
        staging.remove("dir/x").unwrap();
        assert_eq!(commit(staging, "nothing").unwrap(), Some(id));
        assert_eq!(git("rev-parse main"), format!("{id}\n"));
    }
}

/// By a server that looks at each object, and takes a pack apart or keeps it.
#[test]
fn equal_directories_are_pushed_once() {
    for (count, way) in [(2, 0), (150, 0), (2, 1), (150, 1)] {
        let room = Room::new();
        room.remote("site.git", &[("a.txt", "one")]);
        room.script("git -C site.git config receive.fsckObjects true");
        let (_way, remote) = ways(&room, "site.git").swap_remove(way);
        let pages = room.pages();
        let mut staging = stage(&pages, &remote);
        for copy in ["left", "right", "deep/left"] {
            for at in 0..count {
                write(&mut staging, &format!("{copy}/{at}"), at.to_string().as_bytes());
            }
        }
        let id = commit(staging, "twins").unwrap_or_else(|error| panic!("{count}: {}", error.in_full())).unwrap();
        assert_eq!(room.script("git -C site.git rev-parse main"), format!("{id}\n"));
        assert_eq!(room.script("git -C site.git ls-tree -r main | wc -l"), format!("{}\n", 3 * count + 1));
        assert_eq!(room.script("git -C site.git fsck --full --strict --no-dangling 2>&1"), "");
        let packed = room.script("cd site.git/objects/pack; ls | grep -q idx && git show-index <*.idx | cut -d' ' -f2 | sort | uniq -d || true");
        assert_eq!(packed, "", "{count} files each");
        assert_eq!(pages.head().unwrap().id, id);
        assert_eq!(room.fsck(), "");
    }
}

#[test]
fn a_branch_without_a_commit_gets_its_first() {
    for way in 0..2 {
        let room = Room::new();
        room.script("git init -q --bare -b main site.git");
        let (_way, remote) = ways(&room, "site.git").swap_remove(way);
        // What HEAD names, though it is not there yet.
        for remote in [remote.clone().at("other"), Remote { branch: None, ..remote }] {
            let repository = room.store().repository(remote.branch.as_deref().unwrap_or("head")).unwrap();
            let staging = Staging::new(repository.snapshot(None).unwrap(), remote.clone(), 0, Arc::default()).unwrap();
            assert_eq!(commit(staging, "nothing").unwrap(), None);
            let base = repository.snapshot(None).unwrap();
            let number = repository.next_follower();
            let mut staging = Staging::new(base, remote.clone(), number, Arc::default()).unwrap();
            write(&mut staging, "a", b"1");
            let id = commit(staging, "first").unwrap().unwrap();
            let branch = remote.branch.as_deref().unwrap_or("main");
            assert_eq!(
                room.script(&format!("git -C site.git log --format='%H %P|%s' {branch}")),
                format!("{id} |first\n")
            );
            assert_eq!(repository.head().unwrap().id, id);
            assert_eq!(fetch(&repository, &remote).unwrap(), Fetched::Unchanged);
        }
        assert_eq!(room.script("git -C site.git fsck --full --strict 2>&1"), "");
    }
}

#[test]
fn a_branch_that_moved_is_never_overwritten() {
    for way in 0..2 {
        let room = Room::new();
        room.remote("site.git", &[("a", "one")]);
        let (_way, remote) = ways(&room, "site.git").swap_remove(way);
        let pages = room.pages();
        let mut staging = stage(&pages, &remote);
        write(&mut staging, "b", b"two");
        let theirs = room.push("site.git", &[("a", "theirs")]);
        let error = commit(staging, "ours").unwrap_err();
        assert!(matches!(error, PublishError::Push(PushError::Moved)), "{error}");
        assert_eq!(room.script("git -C site.git rev-parse main"), format!("{theirs}\n"));
        // Nor one that was deleted, or that somebody else made.
        let mut staging = stage(&pages, &remote);
        write(&mut staging, "b", b"two");
        room.script("git -C site.git update-ref -d refs/heads/main");
        assert!(matches!(commit(staging, "ours").unwrap_err(), PublishError::Push(PushError::Moved)));
        let mut staging = stage(&pages, &remote);
        assert_eq!(staging.base().revision(), "");
        write(&mut staging, "b", b"two");
        room.push("site.git", &[("a", "again")]);
        assert!(matches!(commit(staging, "ours").unwrap_err(), PublishError::Push(PushError::Moved)));
        // And again on top of that.
        let mut staging = stage(&pages, &remote);
        write(&mut staging, "b", b"two");
        commit(staging, "ours").unwrap();
        assert_eq!(files(&pages), [("a".into(), "again".into()), ("b".into(), "two".into())]);
        assert_eq!(room.script("git -C site.git fsck --full --strict --no-dangling 2>&1"), "");
        assert_eq!(room.script("find state -name 'tmp_*'"), "");
    }
}

/// One file in a directory of ten thousand, as git would send it with a delta.
#[test]
fn one_file_among_many_sends_little() {
    let room = Room::new();
    let names: Vec<String> = (0..10_000).map(|at| format!("posts/file-{at:05}.txt")).collect();
    let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "the same")).collect();
    room.remote("site.git", &all);
    let (way, remote) = ways(&room, "site.git").swap_remove(1);
    let Way::Git(_, wire) = &way else { panic!("it is the other") };
    let pages = room.pages();
    let mut staging = stage(&pages, &remote);
    write(&mut staging, "posts/file-05000.txt", b"another");
    wire.sent.store(0, Ordering::SeqCst);
    let id = commit(staging, "one").unwrap().unwrap();
    let sent = wire.sent.load(Ordering::SeqCst);
    assert!(sent < 1_024, "{sent} bytes");
    assert_eq!(room.script("git -C site.git rev-parse main"), format!("{id}\n"));
    assert_eq!(room.script("git -C site.git ls-tree -r main | wc -l"), "10000\n");
    assert_eq!(room.script("git -C site.git fsck --full --strict --no-dangling 2>&1"), "");
    assert_eq!(room.fsck(), "");
}

/// A line of a long page, as what changed of it; of what shrank to nothing alike, all.
#[test]
fn one_line_of_a_page_sends_little() {
    let room = Room::new();
    let lines: Vec<String> = (0..5_000_u64).map(|at| format!("<p>{} and {}</p>\n", at * at * 7_919, at * 31)).collect();
    let (page, mut changed) = (lines.concat(), lines.clone());
    changed[2_500] = "<p>another</p>\n".to_owned();
    let (changed, other) =
        (changed.concat(), lines.iter().map(|line| line.to_uppercase().replace('1', "7")).collect::<String>());
    room.remote("site.git", &[("posts/page.html", &page), ("posts/other.html", &page)]);
    room.script("git -C site.git config receive.fsckObjects true");
    let (way, remote) = ways(&room, "site.git").swap_remove(1);
    let Way::Git(_, wire) = &way else { panic!("it is the other") };
    let pages = room.pages();
    for (path, contents, least, most) in [
        ("posts/page.html", &changed, 300, 700),
        ("posts/page.html", &other, 30_000, 100_000),
        ("new.html", &changed, 30_000, 100_000),
    ] {
        let mut staging = stage(&pages, &remote);
        write(&mut staging, path, contents.as_bytes());
        wire.sent.store(0, Ordering::SeqCst);
        let id = commit(staging, "one").unwrap().unwrap();
        let sent = wire.sent.load(Ordering::SeqCst);
        assert!((least..most).contains(&sent), "{path}: {sent} bytes");
        assert_eq!(room.script("git -C site.git rev-parse main"), format!("{id}\n"));
        assert_eq!(room.script(&format!("git -C site.git cat-file blob main:{path}")), *contents);
        assert_eq!(room.script("git -C site.git fsck --full --strict --no-dangling 2>&1"), "");
        assert_eq!(room.fsck(), "");
        room.script("git -C site.git gc -q");
    }
}

/// Two hosts with states of their own, at once, each staging again where the other was first.
#[test]
fn commits_of_two_hosts_all_land() {
    for (way, each) in [(0, 200), (1, 200)] {
        let room = Room::new();
        room.remote("site.git", &[("a", "one")]);
        let path: PathBuf = room.path.clone();
        std::thread::scope(|scope| {
            for host in ["left", "right"] {
                let (room, path) = (&room, &path);
                scope.spawn(move || {
                    let (_way, remote) = ways(room, "site.git").swap_remove(way);
                    let state = path.join(format!("{host}/git"));
                    std::fs::create_dir_all(&state).unwrap();
                    let store = crate::Store::open(&state, (8 << 20).try_into().unwrap(), now()).unwrap();
                    let pages = store.repository("pages").unwrap();
                    for at in 0..each {
                        loop {
                            let mut staging = stage(&pages, &remote);
                            write(&mut staging, &format!("{host}/{at}"), at.to_string().as_bytes());
                            match commit(staging, &format!("{host} {at}")) {
                                Ok(_) => break,
                                Err(PublishError::Push(PushError::Moved)) => {}
                                Err(error) => panic!("{}", error.in_full()),
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(room.script("git -C site.git rev-list --count main"), format!("{}\n", 2 * each + 1));
        assert_eq!(room.script("git -C site.git ls-tree -r main | wc -l"), format!("{}\n", 2 * each + 1));
        assert_eq!(room.script("git -C site.git fsck --full --strict --no-dangling 2>&1"), "");
    }
}
