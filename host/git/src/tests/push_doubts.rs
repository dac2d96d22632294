//! Pushes of which something goes wrong once the origin may have taken them: what is said of each is what became of it.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    push_faults::{flushed, greeting, outcome, until_quiet},
    pushes::{author, commit, later, stage, write},
    server::{self, BRIEF, daemon, packet, packets, serve},
    support::{InFull as _, Room, fetch},
    taken::{Taken, is_alone},
};
use crate::{Fetched, Remote, Staging};

/// What the branch stands at when a server greets for the second time, and from then on.
#[derive(Clone, Copy, Debug)]
enum Then {
    Old,
    New,
    Another,
    /// It hangs up.
    Gone,
}

/// A server whose branch stands at `old`; what it says to a push is `report`, and `silent` whether it then keeps the
/// conversation open.
fn server(old: &str, report: Vec<u8>, silent: bool, then: Then) -> SocketAddr {
    let (old, new, turn) = (old.to_owned(), Mutex::new(String::new()), AtomicUsize::new(0));
    let (address, _) = serve(move |mut stream| {
        packet(&mut stream);
        let first = turn.fetch_add(1, Ordering::SeqCst) == 0;
        let at = match then {
            _ if first => old.clone(),
            Then::Old => old.clone(),
            Then::New => new.lock().unwrap().clone(),
            Then::Another => "1".repeat(40),
            Then::Gone => return,
        };
        let _ = stream.write_all(&greeting(&at, "report-status side-band-64k"));
        if first {
            let sent = until_quiet(&mut stream);
            *new.lock().unwrap() = String::from_utf8_lossy(&sent[45..85]).into_owned();
            let _ = stream.write_all(&report);
        }
        if first && silent {
            std::thread::sleep(Duration::from_secs(3));
        }
    });
    address
}

#[test]
fn a_push_that_breaks_off_is_looked_after() {
    if !is_alone("push_doubts::a_push_that_breaks_off_is_looked_after") {
        return;
    }
    let room = Room::new();
    let local = room.remote("site.git", &[("a", "one")]).at("main");
    let pages = room.pages();
    let runtime = server::runtime();
    let report = |lines: &[&[u8]]| {
        let report = flushed(packets(lines));
        flushed(packets(&[&[&[1], &report[..]].concat()]))
    };
    let refused = report(&[b"unpack ok\n", b"ng refs/heads/main no way\n"]);
    let moving = report(&[b"unpack ok\n", b"ng refs/heads/main failed to update ref\n"]);
    let fatal = packets(&[b"\x03no disk\n"]);
    let (taken, moved) = ("taken: true", "the branch moved");
    let (early, late) = ("R: the connection ended early", "R: nothing came within 400ms");
    let unknown = |words: &str| format!("{words}; whether it took it is not known");
    for (report, silent, then, expected) in [
        (vec![], false, Then::New, taken.to_owned()),
        // It may still be at it.
        (vec![], false, Then::Old, unknown(early)),
        (vec![], false, Then::Another, moved.to_owned()),
        (vec![], false, Then::Gone, unknown(early)),
        (vec![], true, Then::New, taken.to_owned()),
        (vec![], true, Then::Old, unknown(late)),
        (vec![], true, Then::Gone, unknown(late)),
        (fatal.clone(), false, Then::New, taken.to_owned()),
        (fatal.clone(), false, Then::Old, "said: no disk".to_owned()),
        (fatal, false, Then::Gone, "said: no disk".to_owned()),
        (refused.clone(), false, Then::Old, "no way".to_owned()),
        (refused.clone(), false, Then::Another, moved.to_owned()),
        (refused, false, Then::Gone, "no way".to_owned()),
        (moving, false, Then::Gone, "failed to update ref".to_owned()),
    ] {
        let old = stage(&pages, &local).base().revision().to_owned();
        let what = format!("{:?}, {silent}, {then:?}", report.escape_ascii().to_string());
        let address = server(&old, report, silent, then);
        let remote = daemon(&runtime, address, "/site.git", BRIEF);
        let bounds = Taken::of(&room.path.join("state"));
        let said = outcome(&pages, &local, &remote).replace(&format!("git://{address}/site.git"), "R");
        let (memory, disk) = bounds.most();
        assert_eq!(said, expected, "{what}");
        assert!(memory <= 16 << 20 && disk <= 1 << 20, "{what} takes {memory} bytes of memory, and {disk} on disk");
        // What was taken is the head here.
        let head = pages.head().unwrap().id.to_string();
        assert_eq!(head != old, said == taken, "{what}");
    }
    assert_eq!(room.fsck(), "");
}

#[test]
fn what_is_published_and_cannot_be_taken_in_is_said() {
    let room = Room::new();
    let remote = room.remote("site.git", &[("a", "one")]).at("main");
    let pages = room.pages();
    let mut staging = stage(&pages, &remote);
    let blob = write(&mut staging, "b", b"two");
    let head = pages.head();
    // A file where a directory has to be: root is refused too.
    let directory = room.path.join("state/git/pages.git/objects").join(&blob.to_string()[..2]);
    fs::write(&directory, "").unwrap();
    let committed = staging.commit(&author(), "ours", later()).unwrap();
    let id = committed.id.unwrap();
    assert_eq!(
        committed.warnings,
        [format!(
            "{id} is published and not here yet: the head {id} of what was staged cannot be copied: the object cannot be \
             written: Not a directory (os error 20)"
        )]
    );
    assert_eq!(room.script("git -C site.git rev-parse main"), format!("{id}\n"));
    assert_eq!(pages.head(), head);
    fs::remove_file(directory).unwrap();
    assert!(matches!(fetch(&pages, &remote).unwrap(), Fetched::Moved { revision, .. } if revision.id == id));
    assert_eq!(commit(stage(&pages, &remote), "nothing").unwrap(), Some(id));
}

/// Nobody may ever run `git gc` there, and each commit of many files would leave one more pack.
#[test]
fn an_origin_that_is_pushed_to_stays_readable() {
    let room = Room::new();
    let remote = room.remote("site.git", &[("a", "one")]).at("main");
    let pages = room.pages();
    let packs = || room.script("ls site.git/objects/pack | grep -c idx || true").trim().parse::<usize>().unwrap();
    let many = |count: usize, round: usize| {
        let mut staging = stage(&pages, &remote);
        for at in 0..count {
            write(&mut staging, &format!("many/{at}"), format!("{round} {at}").as_bytes());
        }
        staging.commit(&author(), "many", later()).unwrap()
    };
    assert_eq!(many(150, 0).warnings, [""; 0]);
    assert_eq!(packs(), 0);
    room.script(
        "cd site.git; for n in $(seq 300); do echo $n | git hash-object -w --stdin | git pack-objects -q objects/pack/pack; done >/dev/null
         git prune-packed",
    );
    let committed = many(150, 1);
    let loose = room.script("ls site.git/objects/17 | wc -l").trim().parse::<usize>().unwrap() * 256;
    let path = room.path.join("site.git");
    assert_eq!(
        committed.warnings,
        [format!("{} has 300 packs and about {loose} files of objects; run git gc in it now and then", path.display())]
    );
    // Said once; and what is not to be read anew is not in the way.
    let committed = many(2_100, 2);
    assert_eq!((committed.warnings, packs()), (vec![], 301));
    assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged);
    assert_eq!(room.script("git -C site.git fsck --full --strict --no-dangling 2>&1"), "");
    // What somebody else pushed is, and then it is said what to do.
    room.push("site.git", &[("a", "two")]);
    assert_eq!(
        fetch(&pages, &remote).unwrap_err().in_full(),
        format!("{} cannot be read: more than 256 packs; `git gc` there makes one of them", path.display())
    );
    room.script("git -C site.git gc -q");
    assert!(matches!(fetch(&pages, &remote).unwrap(), Fetched::Moved { .. }));
}

#[test]
fn refs_that_are_directories_of_each_other() {
    let room = Room::new();
    let main = room.remote("site.git", &[("a", "one")]).at("main");
    let pages = room.pages();
    let words = |other: &str, name: &str| format!("refs/heads/{other} exists; cannot create refs/heads/{name}");
    for pack in ["true", "git -C site.git pack-refs --all"] {
        room.script(&format!(
            "git -C site.git branch -f top main; git -C site.git branch -f deep/down/it main; {pack}"
        ));
        for (branch, expected) in [
            ("top/x", words("top", "top/x")),
            ("top/x/y", words("top", "top/x/y")),
            ("deep", words("deep/down/it", "deep")),
            ("deep/down", words("deep/down/it", "deep/down")),
            ("deep/down/other", "taken: true".to_owned()),
            ("deeper", "taken: true".to_owned()),
        ] {
            let remote = Remote::local(room.path.join("site.git")).at(branch);
            let base = pages.snapshot(None).unwrap();
            stage(&pages, &main);
            let mut staging = Staging::new(base, remote, pages.next_follower(), Arc::default()).unwrap();
            write(&mut staging, "b", b"two");
            let said =
                commit(staging, "ours").map_or_else(|error| error.in_full(), |id| format!("taken: {}", id.is_some()));
            assert_eq!(said, expected, "{branch}");
        }
        room.script("git -C site.git for-each-ref --format='delete %(refname)' refs/heads/deep refs/heads/deeper | git -C site.git update-ref --stdin");
        room.script("find site.git/refs -name '*.lock' | wc -l | grep -qx 0");
    }
    // Empty directories are not in the way of one.
    room.script("mkdir -p site.git/refs/heads/left/over/deep");
    let remote = Remote::local(room.path.join("site.git")).at("left");
    let base = pages.snapshot(None).unwrap();
    let mut staging = Staging::new(base, remote, pages.next_follower(), Arc::default()).unwrap();
    write(&mut staging, "b", b"two");
    let id = commit(staging, "ours").unwrap().unwrap();
    assert_eq!(room.script("git -C site.git rev-parse refs/heads/left"), format!("{id}\n"));
}
