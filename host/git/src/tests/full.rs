//! A file system without room: what is said, what is served all the while, and that it goes on once there is room.

use std::{
    env,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::runtime::Runtime;

use super::{
    pushes::{commit, stage},
    server::{self, daemon, upload_pack},
    support::{InFull as _, Room, fetch, files, moved},
};
use crate::{Event, Follower, Kind, Location, Patience, Remote, Repository, Watcher, disk::lock};

/// Set in the process that may mount.
const WITHIN: &str = "ATOLL_TEST_MOUNTS";

/// What is left of the file system, in KiB: nothing, and enough to begin.
const LEFT: [usize; 4] = [0, 8, 64, 400];

const FULL: &str = "No space left on device (os error 28)";

/// This test once more, in a process whose mounts nobody else sees: where that is not allowed, it is left out and counted.
#[test]
fn a_full_disk_is_told_and_forgotten() {
    if env::var_os(WITHIN).is_some() {
        return within();
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user"]).stdin(Stdio::null());
        command
    };
    let allowed = unshare().args(["mount", "-t", "tmpfs", "none", "/mnt"]).stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        return left_out("a_full_disk_is_told_and_forgotten wants to mount (unshare --mount --map-root-user)\n");
    }
    let this = env::current_exe().unwrap();
    let name = "tests::full::a_full_disk_is_told_and_forgotten";
    let output = unshare().arg(this).args(["--exact", name, "--nocapture"]).env(WITHIN, "1").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// As the end-to-end tests have it.
fn left_out(line: &str) {
    use std::io::Write as _;

    assert!(env::var_os("REQUIRE_ALL").is_none_or(|all| all != "1"), "REQUIRE_ALL=1, but {line}");
    if let Some(file) = env::var_os("SKIPPED") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

fn within() {
    let room = Room::new();
    room.script("mkdir state; mount -t tmpfs -o size=4m none state");
    let runtime = server::runtime();
    for left in LEFT {
        for served in [false, true] {
            room.script("rm -rf state/* site.git");
            let local = room.remote("site.git", &[("a", "one"), ("b", "two")]).at("main");
            let (address, _wire) = upload_pack(room.path.clone(), "2");
            let remote = if served { daemon(&runtime, address, "/site.git", Patience::default()) } else { local };
            full(&room, &runtime, &remote, left);
        }
    }
    room.script("umount state");
}

/// How often it is told that fetching fails, when it fails three times.
async fn told(pages: &Repository, remote: &Remote) -> usize {
    let failures = Arc::<AtomicUsize>::default();
    let count = failures.clone();
    let report = move |event| {
        count.fetch_add(usize::from(matches!(event, Event::Failed(_))), Ordering::Relaxed);
    };
    let day = Duration::from_hours(24);
    let follower = Follower::start(pages.clone(), remote.clone(), Watcher::default(), day, report);
    for _ in 0..3 {
        assert!(follower.fetch().await.is_err());
    }
    failures.load(Ordering::Relaxed)
}

/// Without the path that it was at.
fn said(error: &str) -> String {
    error.split(" at path ").next().expect("there is a first").to_owned()
}

fn full(room: &Room, runtime: &Runtime, remote: &Remote, left: usize) {
    let pages = room.pages();
    let head = moved(&pages, remote);
    let noise = |mark: &str| {
        let words: Vec<String> = (0..120_000).map(|at| format!("{mark}{:x}", at * 7919 % 65_537)).collect();
        words.concat()
    };
    let stands = |pages: &Repository| {
        assert_eq!(pages.head(), Some(head), "{left}");
        pages.0.cache.forget();
        pages.verify(head.id).unwrap();
        assert_eq!(files(pages), [("a".into(), "one".into()), ("b".into(), "two".into())], "{left}");
        assert_eq!(room.fsck(), "", "{left}");
    };
    room.script(&format!("cat /dev/zero >state/filler 2>/dev/null || true; truncate -s -{left}K state/filler"));

    if left == 0 {
        let error = pages.0.tidy(&mut lock(&pages.0.fetching)).unwrap_err().in_full();
        assert_eq!(said(&error), format!("the object cannot be written: {FULL}"));
        stands(&pages);
    }
    // Pushed: what is large goes to the disk before it is an object.
    let refuses = |contents: &str| {
        let mut staging = stage(&pages, remote);
        let mut upload = staging.uploads().begin();
        let refused = upload.push(contents.as_bytes()).map_err(|error| error.to_string());
        let refused = refused.and_then(|()| {
            staging.write("c", Kind::File, &upload).map_err(|error| error.in_full())?;
            commit(staging, "ours").map(|_| ()).map_err(|error| error.in_full())
        });
        let refused = said(&refused.unwrap_err());
        assert_eq!(room.script("git -C site.git rev-parse main"), format!("{}\n", head.id));
        stands(&pages);
        refused
    };
    assert_eq!(refuses(&noise("ours")), FULL, "{left}");
    if left == 0 {
        assert_eq!(refuses("little"), format!("it cannot be written: {FULL}"));
    }
    // Fetched. A pack that comes is written down as it is, and then what is wanted of it.
    let next = room.push("site.git", &[("a", "three"), ("c", &noise("theirs"))]);
    let name = match &remote.location {
        Location::Local(path) => path.display().to_string(),
        Location::Server(server) => server.name().to_owned(),
    };
    let copied = format!("the head {next} of {name} cannot be copied: the object cannot be written: {FULL}");
    let words = [copied, format!("our copy cannot be written: {FULL}")];
    for _ in 0..3 {
        let error = said(&fetch(&pages, remote).unwrap_err().in_full());
        assert!(words.contains(&error), "{left}: {error}");
        stands(&pages);
    }
    // A server's is of no use once its follower has gone.
    if let Location::Local(_) = remote.location {
        assert_eq!(runtime.block_on(told(&pages, remote)), 1, "{left}");
    }
    // A start does not want room either.
    drop(pages);
    let pages = room.pages();
    stands(&pages);

    room.script("rm state/filler");
    assert_eq!(moved(&pages, remote).id, next);
    let mut staging = stage(&pages, remote);
    let mut upload = staging.uploads().begin();
    upload.push(b"four").unwrap();
    staging.write("d", Kind::File, &upload).unwrap();
    let id = commit(staging, "ours").unwrap().unwrap();
    assert_eq!(room.script("git -C site.git rev-parse main"), format!("{id}\n"));
    pages.0.tidy(&mut lock(&pages.0.fetching)).unwrap();
    assert_eq!(pages.0.objects.counts(), (1, 0));
    assert_eq!(room.fsck(), "");
    assert_eq!(room.script("find state -name 'tmp_*' -o -name '*.lock'"), "");
}
