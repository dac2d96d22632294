//! A branch that moves thousands of times while the host runs: what that leaves is bounded.

use std::{fmt::Write as _, fs, sync::atomic::Ordering};

use super::{
    server::{self, daemon, upload_pack},
    support::{DATE, Room, drain, id, moved},
};
use crate::{ObjectId, Patience, Remote};

const FETCHES: usize = 5_000;

/// So often a commit is large enough for a pack; the others' objects stay loose.
const LARGE: usize = 100;

/// So many of each hundred commits and the next are fetched from a server, one after the other: half of the large ones are
/// among them.
const SERVED: usize = 40;

/// A branch `all` of `origin`, each commit of which is another text in `page`; the commits, the oldest first.
fn history(room: &Room) -> Vec<ObjectId> {
    room.script("git init -q --bare -b main origin");
    let mut stream = String::new();
    for round in 0..FETCHES {
        write!(stream, "commit refs/heads/all\ncommitter a <a@b> {DATE} +0000\ndata 0\n").unwrap();
        let mut file = |name: &str, text: &str| {
            writeln!(stream, "M 100644 inline {name}\ndata {}\n{text}", text.len()).unwrap();
        };
        file("page", &round.to_string());
        if round % LARGE == 0 {
            (0..150).for_each(|at| file(&format!("many/{at}"), &format!("{round} {at}")));
        }
    }
    stream += "done\n";
    room.feed("git -C origin fast-import --quiet --done", stream.as_bytes());
    room.script("git -C origin rev-list --reverse all").lines().map(id).collect()
}

/// Files of this process that are open below `room`: tests beside this one have others.
fn open_files(room: &Room) -> usize {
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter(|file| fs::read_link(file.path()).is_ok_and(|path| path.starts_with(&room.path))).count()
}

#[test]
fn five_thousand_fetches_leave_a_bounded_number_of_files() {
    let room = Room::new();
    let commits = history(&room);
    assert_eq!(commits.len(), FETCHES);
    let (pages, local) = (room.pages(), Remote::local(room.path.join("origin")).at("main"));
    // By its path, and a thousand times by git's own server, which takes a process each time.
    let runtime = server::runtime();
    let (address, wire) = upload_pack(room.path.clone(), "2");
    let remotes = [local, daemon(&runtime, address, "/origin", Patience::default())];
    let (mut packs, mut loose, mut open, mut shallow) = (0, 0, 0, 0);
    let (mut snapshot, mut reader) = (None, None);
    for (round, commit) in commits.iter().enumerate() {
        fs::write(room.path.join("origin/refs/heads/main"), format!("{commit}\n")).unwrap();
        assert_eq!(moved(&pages, &remotes[usize::from(round % (2 * LARGE) < SERVED)]).id, *commit);
        // As a follower does when the head has moved.
        pages.tidy().unwrap();
        let counts = pages.0.objects.counts();
        (packs, loose) = (packs.max(counts.0), loose.max(counts.1));
        match round {
            100 => {
                let opened = pages.snapshot(Some(*commit)).unwrap();
                reader = Some(opened.read("many/149").unwrap());
                snapshot = Some(opened);
            }
            200 => pages.keep("site", Some(*commit)).unwrap(),
            _ => {}
        }
        if round % 250 == 249 {
            open = open.max(open_files(&room));
            let lines = fs::read_to_string(room.path.join("state/git/pages.git/shallow")).unwrap();
            shallow = shallow.max(lines.lines().count());
            let found = pages.snapshot(Some(*commit)).unwrap().contents("page", 10).unwrap();
            assert_eq!(found, round.to_string());
        }
        if round % 1000 == 999 {
            assert_eq!(room.fsck(), "", "{round}");
        }
    }
    assert_eq!(wire.connections.load(Ordering::SeqCst), FETCHES / (2 * LARGE) * SERVED);
    // More than so many are tidied before the next fetch; a pack and its index are open.
    assert!(packs <= 20 && loose <= 6_700, "{packs} packs, {loose} loose objects");
    assert!(open <= 45 && shallow <= 2_250, "{open} open files, {shallow} commits without their parents");
    let counted = "cd state/git/pages.git/objects; ls pack/*.pack | wc -l; find ?? -type f | wc -l";
    let (packs, loose) = pages.0.objects.counts();
    assert_eq!(room.script(counted), format!("{packs}\n{loose}\n"));
    assert_eq!(room.script("find state -name 'tmp_*' -o -name '*.lock'"), "");
    // What was open all the while, and what was kept.
    let snapshot = snapshot.unwrap();
    pages.0.cache.forget();
    assert_eq!(snapshot.contents("page", 10).unwrap(), "100");
    assert_eq!(snapshot.contents("many/7", 10).unwrap(), "100 7");
    let mut read = Vec::new();
    drain(reader.unwrap(), |chunk| read.extend_from_slice(chunk));
    assert_eq!(read, b"100 149");
    pages.verify(commits[200]).unwrap();
    pages.verify(commits[300]).unwrap_err();
}
