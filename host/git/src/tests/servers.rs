//! Fetching from a server by the Smart protocol, in each of its versions, against git's own upload-pack.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    pushes::{commit, stage, write},
    server::{self, BRIEF, daemon, upload_pack},
    support::{InFull as _, Room, fetch, files, moved},
};
use crate::{Fetched, Patience};

const VERSIONS: [&str; 3] = ["0", "1", "2"];

#[test]
fn a_branch_is_followed_in_each_version() {
    for version in VERSIONS {
        let room = Room::new();
        room.remote("site.git", &[("a.txt", "one"), ("dir/b.txt", "two")]);
        let runtime = server::runtime();
        let (address, _) = upload_pack(room.path.clone(), version);
        let remote = daemon(&runtime, address, "/site.git", Patience::default());
        let pages = room.pages();
        let first = moved(&pages, &remote);
        assert_eq!(files(&pages), [("a.txt".into(), "one".into()), ("dir/b.txt".into(), "two".into())], "{version}");
        assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged, "{version}");
        // Several commits at once, of which only the last is taken.
        for text in ["2", "3", "4"] {
            room.push("site.git", &[("a.txt", text), ("dir/b.txt", "two")]);
        }
        let last = moved(&pages, &remote);
        assert_ne!(last.id, first.id);
        assert_eq!(files(&pages)[0], ("a.txt".into(), "4".into()), "{version}");
        assert_eq!(room.fsck(), "", "{version}");
        // A restart knows what is here.
        let pages = room.pages();
        assert_eq!(pages.head(), Some(last));
        assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged, "{version}");
    }
}

#[test]
fn what_a_branch_may_do() {
    for version in VERSIONS {
        let room = Room::new();
        room.script("git init -q --bare -b main site.git");
        let runtime = server::runtime();
        let (address, _) = upload_pack(room.path.clone(), version);
        let remote = daemon(&runtime, address, "/site.git", BRIEF);
        let head = crate::Remote { branch: None, ..remote.clone() };
        let pages = room.pages();
        let url = format!("git://{address}/site.git");
        assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unborn, "{version}");
        room.push("site.git", &[("a", "1")]);
        let first = moved(&pages, &remote);
        // What HEAD names, by whatever name.
        assert_eq!(fetch(&pages, &head).unwrap(), Fetched::Unchanged, "{version}");
        let other = fetch(&pages, &remote.clone().at("other")).unwrap();
        assert_eq!(other, Fetched::Gone(format!("{url}: no branch other; it has main")), "{version}");
        let error = fetch(&room.store().repository("other").unwrap(), &remote.clone().at("mai")).unwrap_err();
        assert_eq!(error.in_full(), format!("{url}: no branch mai; it has main"), "{version}");
        // Forced, with nothing left of what was.
        room.script("git -C site.git update-ref -d refs/heads/main; git -C site.git gc -q --prune=now");
        assert_eq!(
            fetch(&pages, &remote).unwrap(),
            Fetched::Gone(format!("{url} has no branch any more")),
            "{version}"
        );
        room.push("site.git", &[("b", "2")]);
        moved(&pages, &remote);
        assert_eq!(files(&pages), [("b".into(), "2".into())], "{version}");
        // And back to one that is here.
        pages.keep("site", Some(first.id)).unwrap();
        room.push("site.git", &[("a", "1")]);
        room.script(&format!("git -C site.git fetch -q ../state/git/pages.git +{}:refs/heads/main", first.id));
        assert_eq!(moved(&pages, &remote), first, "{version}");
        assert_eq!(room.fsck(), "", "{version}");
    }
}

#[test]
fn an_unchanged_branch_costs_one_conversation_and_no_disk() {
    let room = Room::new();
    room.remote("site.git", &[("a.txt", "one")]);
    let runtime = server::runtime();
    let (address, wire) = upload_pack(room.path.clone(), "2");
    let remote = daemon(&runtime, address, "/site.git", BRIEF);
    let pages = room.pages();
    moved(&pages, &remote);
    wire.took();
    let before = room.script("find state | sort | xargs stat -c '%n %Y %Z %s'");
    for _ in 0..10 {
        assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged);
    }
    assert_eq!(room.script("find state | sort | xargs stat -c '%n %Y %Z %s'"), before);
    assert!(wire.took() < 10 * 1024, "each takes more than a KiB");
}

/// Whoever speaks is heard out before the other side is: as many turns as a server has are the times that it is waited for.
#[test]
fn an_unchanged_branch_is_one_question() {
    for version in VERSIONS {
        let room = Room::new();
        room.remote("site.git", &[("a.txt", "one")]);
        let runtime = server::runtime();
        let (behind, _) = upload_pack(room.path.clone(), version);
        let turns = Arc::<AtomicUsize>::default();
        let counted = turns.clone();
        let (address, _) = server::serve(move |mut client| {
            let mut server = TcpStream::connect(behind).unwrap();
            while let Some(said) = heard_out(&mut client) {
                server.write_all(&said).unwrap();
                let Some(answer) = heard_out(&mut server) else { return };
                counted.fetch_add(1, Ordering::SeqCst);
                if client.write_all(&answer).is_err() {
                    return;
                }
            }
        });
        let (pages, remote) = (room.pages(), daemon(&runtime, address, "/site.git", Patience::default()));
        moved(&pages, &remote);
        assert!(turns.swap(0, Ordering::SeqCst) > 1, "{version}");
        for _ in 0..2 {
            assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged, "{version}");
            assert_eq!(turns.swap(0, Ordering::SeqCst), 1, "{version}");
        }
    }
}

/// All that comes until nothing comes for a while; nothing at the end.
fn heard_out(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut heard, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    stream.set_read_timeout(None).unwrap();
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        heard.extend_from_slice(&buffer[..read]);
        stream.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    }
    Some(heard).filter(|heard| !heard.is_empty())
}

/// What other branches hold is neither fetched with the first commit nor with the next.
#[test]
fn another_branch_stays_where_it_is() {
    for version in VERSIONS {
        let room = Room::new();
        room.remote("site.git", &[("a.txt", "one")]);
        let other = room.script(
            "git init -q other; cd other; echo other >b.txt; git add b.txt; git commit -qm other
             git push -q ../site.git main:refs/heads/other main:refs/tags/v1; git rev-parse HEAD HEAD:b.txt",
        );
        let runtime = server::runtime();
        let (address, _) = upload_pack(room.path.clone(), version);
        let (pages, remote) = (room.pages(), daemon(&runtime, address, "/site.git", Patience::default()));
        moved(&pages, &remote);
        room.push("site.git", &[("a.txt", "two")]);
        let head = moved(&pages, &remote);
        room.script(&format!("git -C state/git/pages.git cat-file -e {}", head.id));
        for id in other.lines() {
            room.script(&format!("git -C site.git cat-file -e {id}; ! git -C state/git/pages.git cat-file -e {id}"));
        }
    }
}

/// A directory of many files, of which one changes: what comes is a delta, and is small.
#[test]
fn one_change_among_many_files_is_a_small_pack() {
    for version in VERSIONS {
        let room = Room::new();
        let names: Vec<String> = (0..5_000).map(|at| format!("file-{at:05}.txt")).collect();
        let mut all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "the same")).collect();
        room.script("git init -q --bare -b main site.git");
        room.push("site.git", &all);
        let runtime = server::runtime();
        let (address, wire) = upload_pack(room.path.clone(), version);
        let remote = daemon(&runtime, address, "/site.git", Patience::default());
        let pages = room.pages();
        moved(&pages, &remote);
        all[2_500].1 = "another";
        room.push("site.git", &all);
        wire.took();
        moved(&pages, &remote);
        let took = wire.took();
        assert!(took < 4_096, "{took} bytes in version {version}");
        assert_eq!(files(&pages)[2_500].1, "another");
        assert_eq!(room.fsck(), "", "{version}");
    }
}

/// Ten thousand refs: ours is found among them, to fetch and to push.
#[test]
fn a_branch_is_found_among_ten_thousand() {
    for version in VERSIONS {
        let room = Room::new();
        room.remote("site.git", &[("a.txt", "one")]);
        room.script(
            "cd site.git; id=$(git rev-parse main); git pack-refs --all; seq -f \"$id refs/heads/b%05.0f\" 0 9999 >more; \
             (head -n 1 packed-refs; cat more; tail -n +2 packed-refs) >all; mv all packed-refs; rm more",
        );
        let runtime = server::runtime();
        let (address, wire) = upload_pack(room.path.clone(), version);
        let remote = daemon(&runtime, address, "/site.git", Patience::default());
        let pages = room.pages();
        let head = moved(&pages, &remote);
        let said = fetch(&pages, &remote.clone().at("nowhere")).unwrap();
        let known: Vec<String> = (0..10).map(|at| format!("b{at:05}")).collect();
        let gone = format!("git://{address}/site.git: no branch nowhere; it has {}", known.join(", "));
        assert_eq!(said, Fetched::Gone(gone), "{version}");
        assert_eq!(pages.head(), Some(head), "{version}");
        wire.took();
        let mut staging = stage(&pages, &remote);
        write(&mut staging, "a.txt", b"two");
        let id = commit(staging, "ours").unwrap().unwrap();
        assert_eq!(room.script("git -C site.git rev-parse main"), format!("{id}\n"), "{version}");
        assert_eq!(room.fsck(), "", "{version}");
    }
}

/// What an SSH server may say before it says that it is one: it ends with the patience, and so does what is read.
#[test]
fn an_endless_banner_before_ssh() {
    let room = Room::new();
    let good = room.remote("good", &[("a.txt", "one")]);
    let pages = room.pages();
    let head = moved(&pages, &good);
    let runtime = server::runtime();
    for banner in [&b"hello\x1b[2J\r\n"[..], b"x", b"SSH-2.0-x"] {
        let (sender, left) = std::sync::mpsc::channel();
        let (address, _) = server::serve(move |mut stream| {
            let many = banner.repeat(4_096);
            while std::io::Write::write_all(&mut stream, &many).is_ok() {}
            let _ = sender.send(());
        });
        let remote = {
            let _within = runtime.enter();
            let host = atoll_net::Host::Address(address.ip());
            let trust = atoll_net::ssh::Trust::Pin("SHA256:x".to_owned());
            let to = ("me", host, address.port());
            crate::Remote::server(crate::Ssh::server(&atoll_net::Dialler::system(), to, "/x.git", None, trust, BRIEF))
        };
        let error = fetch(&pages, &remote).unwrap_err().in_full();
        assert_eq!(error.replace(&format!("ssh://me@{address}/x.git"), "R"), "R: invalid SSH version string");
        left.recv_timeout(std::time::Duration::from_secs(10)).expect("it is read no more");
        assert_eq!(pages.head(), Some(head));
    }
    assert_eq!(room.fsck(), "");
}

#[test]
fn a_server_that_is_not_there() {
    let room = Room::new();
    let runtime = server::runtime();
    let address = server::nowhere();
    let remote = daemon(&runtime, address, "/x.git", BRIEF);
    let error = fetch(&room.pages(), &remote).unwrap_err();
    assert_eq!(error.in_full(), format!("git://{address}/x.git: {address}: connection refused"));
}

#[test]
fn a_follower_that_ends_waits_for_nobody() {
    let room = Room::new();
    let runtime = server::runtime();
    let (address, wire) = server::serve(|stream| {
        std::thread::sleep(std::time::Duration::from_secs(20));
        drop(stream);
    });
    let remote = daemon(&runtime, address, "/x.git", Patience::default());
    let began = std::time::Instant::now();
    runtime.block_on(async {
        let follower = crate::Follower::start(
            room.pages(),
            remote,
            crate::Watcher::default(),
            std::time::Duration::from_mins(1),
            |_| (),
        );
        while wire.connections.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        drop(follower);
    });
    // Waits for the threads.
    drop(runtime);
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
}

#[test]
fn what_a_kill_left_of_a_pack_is_swept() {
    let room = Room::new();
    let good = room.remote("good", &[("a.txt", "one")]);
    let head = moved(&room.pages(), &good);
    room.script("mkdir -p state/git/pages.git/objects/tmp_incoming_x/pack; echo half >state/git/pages.git/objects/tmp_incoming_x/pack/pack-incoming.pack");
    let pages = room.pages();
    assert_eq!(pages.head(), Some(head));
    assert_eq!(room.script("find state -name 'tmp_*'"), "");
    assert_eq!(room.fsck(), "");
}
