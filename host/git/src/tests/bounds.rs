//! What is too much for one staging: it is refused before anybody hears of it, and what was staged otherwise stays.

use super::{
    pushes::{commit, stage, write},
    support::{InFull as _, Room, fetch},
};
use atoll_paths::MAX_DEPTH;

use crate::{Fetched, Kind, MAX_ENTRIES, PublishError, StageError};

/// A path so deep, and a file at its end.
fn deep(depth: usize) -> String {
    format!("{}f", "d/".repeat(depth))
}

#[test]
fn a_tree_that_could_not_come_back_is_not_published() {
    let room = Room::new();
    let path = deep(MAX_DEPTH - 2);
    let remote = room.remote("site.git", &[(&path, "x")]).at("main");
    let pages = room.pages();
    let before = room.script("git -C site.git rev-parse main");
    for (above, taken) in [("x/", true), ("x/y/", false), ("x/y/z/", false)] {
        let mut staging = stage(&pages, &remote);
        let tree = staging.base().entry("d/d").unwrap().id;
        staging.place(&format!("{above}e/d"), Kind::Directory, tree).unwrap();
        match commit(staging, "deeper") {
            Ok(_) => assert!(taken, "{above}"),
            Err(PublishError::Stage(StageError::TooLarge)) => assert!(!taken, "{above}"),
            Err(error) => panic!("{}", error.in_full()),
        }
        if taken {
            room.script(&format!("git -C site.git update-ref refs/heads/main {before}"));
        }
        assert_eq!(room.script("git -C site.git rev-parse main"), before, "{above}");
    }
    assert!(matches!(fetch(&pages, &remote), Ok(Fetched::Unchanged | Fetched::Moved { .. })));
    assert_eq!(room.script("find state site.git -name 'tmp_*'"), "");
}

#[test]
fn a_directory_that_is_full_takes_no_more() {
    let room = Room::new();
    let remote = room.remote("site.git", &[("a", "x")]).at("main");
    let pages = room.pages();
    let mut staging = stage(&pages, &remote);
    let id = staging.base().entry("a").unwrap().id;
    for at in 0..MAX_ENTRIES {
        staging.place(&format!("full/{at}"), Kind::File, id).unwrap();
    }
    for path in ["full/one-more", "full/one/more"] {
        assert!(matches!(staging.place(path, Kind::File, id), Err(StageError::TooMany)), "{path}");
    }
    staging.place("full/7", Kind::Executable, id).unwrap();
    write(&mut staging, "b", b"y");
    let id = commit(staging, "full").unwrap().unwrap();
    assert_eq!(room.script("git -C site.git rev-parse main"), format!("{id}\n"));
    assert_eq!(room.script("git -C site.git ls-tree main:full | wc -l"), format!("{MAX_ENTRIES}\n"));
    assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged);
}

#[test]
fn long_names_are_counted() {
    let room = Room::new();
    let remote = room.remote("site.git", &[("a", "x")]).at("main");
    let pages = room.pages();
    let mut staging = stage(&pages, &remote);
    let id = staging.base().entry("a").unwrap().id;
    let error = staging.place(&format!("x/{}/y", "n".repeat(256)), Kind::File, id).unwrap_err();
    assert_eq!(error.to_string(), "a name has at most 255 bytes");
    let mut held = 0;
    let refused = loop {
        // In directories of their own.
        let path = format!("{:0255}/{held:0255}", held / 100_000);
        match staging.place(&path, Kind::File, id) {
            Ok(()) => held += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StageError::TooMany), "{refused}");
    // 96 MiB of 355 bytes each, less the root's own entries.
    assert_eq!(held, (96 * 1024 * 1024 - (100 + 1) - 3 * 355) / 355);
    commit(staging, "long").unwrap().unwrap();
    assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged);
}
