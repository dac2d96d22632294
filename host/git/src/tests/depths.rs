//! How much of a branch's history is here: of local repositories and over the Smart protocol, in each of its versions.

use std::{
    collections::{BTreeSet, HashSet},
    num::NonZeroUsize,
};

use super::{
    server::{self, daemon, upload_pack},
    support::{InFull as _, Room, fetch, files, id, moved},
};
use crate::{
    Depth, Fetched, Patience, Remote,
    cache::Cache,
    disk::{Files, lock},
    history::{Held, History},
    objects::Objects,
    repository::parse_commit,
    walk::{Reached, Walk, Whole},
};

/// The subjects of what git finds in our copy, newest first.
fn log(room: &Room) -> String {
    room.script("git -C state/git/pages.git log --format=%s refs/heads/served | tr '\\n' ' '").trim_end().to_owned()
}

/// One more commit that is named for its file's text.
fn push(room: &Room, text: &str) {
    room.script(&format!(
        "git clone -q site.git work; cd work; mkdir -p dir; echo {text} >dir/a.txt; echo {text} >{text}.txt; git add .
         git commit -q -m {text}; git push -q origin main; cd ..; rm -rf work"
    ));
}

/// Local and in each version, of a repository with the commits `1` to `5`.
fn each(check: impl Fn(&Room, Remote, &str)) {
    for way in ["local", "0", "1", "2"] {
        let room = Room::new();
        room.script("git init -q --bare -b main site.git");
        ["1", "2", "3", "4", "5"].iter().for_each(|text| push(&room, text));
        if way == "local" {
            check(&room, Remote::local(room.path.join("site.git")), way);
            continue;
        }
        let runtime = server::runtime();
        let (address, _) = upload_pack(room.path.clone(), way);
        check(&room, daemon(&runtime, address, "/site.git", Patience::default()), way);
    }
}

fn deep(remote: &Remote, commits: u32) -> Remote {
    remote.clone().deep(Depth::new(commits).unwrap())
}

/// What is held to its first commit is not read: neither of these has it to be read. Where it ends before, or less is wanted,
/// there is more to be found out.
#[test]
fn a_history_that_is_held_is_not_read_again() {
    let room = Room::new();
    let there = Objects::open(room.path.clone(), Files::default()).unwrap();
    let parent = id(&"1".repeat(40));
    let commit = format!("tree {parent}\nparent {parent}\nauthor a <a@b> 0 +0000\ncommitter a <a@b> 0 +0000\n\nx\n");
    let commit = parse_commit(id(&"2".repeat(40)), commit.into_bytes()).unwrap();
    let (whole, none, one) = (Whole::new(), HashSet::new(), HashSet::from([parent]));
    let cache = Cache::new(NonZeroUsize::MIN);
    for (depth, commits, ends, suspects, held) in [
        (Depth::ALL, &one, vec![], &none, true),
        (Depth::ALL, &none, vec![], &none, false),
        (Depth::ALL, &one, vec![parent], &none, false),
        (Depth::ALL, &one, vec![], &one, false),
        (Depth::new(9).unwrap(), &one, vec![], &none, false),
    ] {
        let walk = Walk { ours: Some(&there), theirs: None, cache: &cache, whole: &whole, suspects, lost: &none };
        let held_by_us = Held { commits: commits.clone(), ends };
        let history = History::before(&commit, depth, &BTreeSet::new(), &walk, &held_by_us, &mut Reached::default());
        assert_eq!(history.ends.is_empty(), held);
        assert_eq!(history.whole.contains(&commit.revision.id), held);
        assert!(history.commits.is_empty());
    }
}

#[test]
fn as_many_commits_as_are_wanted_are_here_and_whole() {
    each(|room, remote, way| {
        for (commits, there) in [(1, "5"), (3, "5 4 3"), (5, "5 4 3 2 1"), (9, "5 4 3 2 1")] {
            room.script("rm -rf state");
            let pages = room.pages();
            moved(&pages, &deep(&remote, commits));
            assert_eq!((log(room).as_str(), room.fsck().as_str()), (there, ""), "{way} {commits}");
            assert_eq!(files(&pages).len(), 6);
            assert_eq!(fetch(&pages, &deep(&remote, commits)).unwrap(), Fetched::Unchanged, "{way} {commits}");
        }
        room.script("rm -rf state");
        moved(&room.pages(), &remote.clone().deep(Depth::ALL));
        assert_eq!((log(room).as_str(), room.fsck().as_str()), ("5 4 3 2 1", ""), "{way}");
        assert_eq!(room.script("cat state/git/pages.git/shallow 2>/dev/null || true"), "", "{way}");
        // Nothing else is wanted for it.
        let copy = "git -C state/git/pages.git bundle";
        room.script(&format!("{copy} create -q ../../../all.bundle refs/heads/served"));
        let verified = room.script(&format!("{copy} verify ../../../all.bundle 2>&1"));
        assert!(verified.contains("The bundle records a complete history."), "{way}: {verified}");
        room.script(
            "git clone -q -b served all.bundle theirs; git -C theirs fsck --full --strict; rm -rf theirs all.bundle",
        );
    });
}

#[test]
fn a_head_that_moves_takes_its_depth_along() {
    each(|room, remote, way| {
        let three = deep(&remote, 3);
        let mut pages = room.pages();
        moved(&pages, &three);
        for (text, there) in [("6", "6 5 4"), ("7", "7 6 5")] {
            push(room, text);
            moved(&pages, &three);
            assert_eq!((log(room).as_str(), room.fsck().as_str()), (there, ""), "{way}");
            // As after a restart.
            pages = room.pages();
        }
        // What is behind it goes, and the rest stays.
        pages.0.tidy(&mut lock(&pages.0.fetching)).unwrap();
        assert_eq!((log(room).as_str(), room.fsck().as_str()), ("7 6 5", ""), "{way}");
        assert_eq!(room.script("git -C state/git/pages.git cat-file --batch-all-objects --batch-check=%\\(objecttype\\) | grep -c commit"), "3\n", "{way}");
        assert_eq!(room.script("wc -l <state/git/pages.git/shallow").trim(), "1", "{way}");
        push(room, "8");
        moved(&room.pages(), &three);
        assert_eq!((log(room).as_str(), room.fsck().as_str()), ("8 7 6", ""), "{way}");
    });
}

#[test]
fn another_depth_is_had_where_the_head_stands() {
    each(|room, remote, way| {
        let pages = room.pages();
        moved(&pages, &remote);
        pages.keep("site", pages.head().map(|head| head.id)).unwrap();
        for (commits, there) in [(2, "5 4"), (4, "5 4 3 2"), (1, "5 4 3 2"), (7, "5 4 3 2 1")] {
            let deep = deep(&remote, commits);
            assert_eq!(fetch(&pages, &deep).unwrap(), Fetched::Unchanged, "{way} {commits}");
            assert_eq!((log(room).as_str(), room.fsck().as_str()), (there, ""), "{way} {commits}");
            // And asked again, nothing is written.
            let before = room.script("find state | sort | xargs stat -c '%n %Y %Z %s'");
            assert_eq!(fetch(&pages, &deep).unwrap(), Fetched::Unchanged, "{way} {commits}");
            assert_eq!(room.script("find state | sort | xargs stat -c '%n %Y %Z %s'"), before, "{way} {commits}");
        }
        push(room, "6");
        moved(&pages, &remote);
        assert_eq!((log(room).as_str(), room.fsck().as_str()), ("6", ""), "{way}");
    });
}

/// Of two ways to a commit the shorter one counts, and whose parents are not all here has none.
#[test]
fn merges_are_cut_as_git_cuts_them() {
    each(|room, remote, way| {
        room.script(
            "git clone -q site.git work; cd work; git checkout -q -b side HEAD~3; echo s >s.txt; git add .
             git commit -q -m side; git checkout -q main; git merge -q -m merge side; git push -q origin main",
        );
        for commits in 1..8 {
            room.script(&format!("rm -rf state theirs; git clone -q --depth {commits} file://$PWD/site.git theirs"));
            moved(&room.pages(), &deep(&remote, commits));
            assert_eq!(room.fsck(), "", "{way} {commits}");
            let sorted = |folder: &str| room.script(&format!("git -C {folder} rev-list HEAD | sort"));
            assert_eq!(sorted("state/git/pages.git"), sorted("theirs"), "{way} {commits}");
        }
    });
}

#[test]
fn a_remote_that_is_shallow_itself_gives_what_it_has() {
    each(|room, remote, way| {
        room.script("git clone -q --bare --depth 2 file://$PWD/site.git s; rm -rf site.git; mv s site.git");
        let pages = room.pages();
        moved(&pages, &deep(&remote, 4));
        assert_eq!((log(room).as_str(), room.fsck().as_str()), ("5 4", ""), "{way}");
        assert_eq!(fetch(&pages, &deep(&remote, 4)).unwrap(), Fetched::Unchanged, "{way}");
    });
}

/// A past that nobody could check out ends before that, and the head is served all the same.
#[test]
fn a_past_that_is_refused_keeps_no_head() {
    let room = Room::new();
    let remote = room.remote("site.git", &[("a", "1")]);
    let blob = room.blob("site.git", "x");
    let tree = room.bad_tree("site.git", &[("100644", b"..", &blob)]);
    let bad = room.commit_tree("site.git", &tree);
    let head = room.push("site.git", &[("a", "2")]);
    let pages = room.pages();
    let fetched = fetch(&pages, &deep(&remote, 3)).map_err(|error| error.in_full()).unwrap();
    let Fetched::Moved { revision, notices } = fetched else { panic!("{fetched:?}") };
    assert_eq!(revision.id, head);
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    assert!(notice.starts_with(&format!("the history ends after {bad}: the tree {tree} at /: ")), "{notice}");
    assert_eq!(room.fsck(), "");
    assert_eq!(files(&pages), [("a".to_owned(), "2".to_owned())]);
}

/// However a file of it is lost, of which nobody but the past knows: the history ends before that, and what is later is here.
#[test]
fn a_past_whose_files_are_lost_keeps_no_head() {
    for (how, what) in [
        ("rm $o", "is missing"),
        (": >$o", "is damaged: its file is empty"),
        ("echo nonsense >$o", "is damaged: its compressed data is invalid"),
        // Which is seen when it is copied.
        ("head -c 15 $o >x; mv x $o", "is damaged: it could not be copied"),
        ("cp objects/$(git rev-parse main:a | sed 's,..,&/,') $o", "is damaged: it could not be copied"),
        ("cp objects/$(git rev-parse main^{tree} | sed 's,..,&/,') $o", "is a tree, where a blob is named"),
    ] {
        for lost in 1..=3 {
            let room = Room::new();
            room.script("git init -q --bare -b main site.git");
            let commits = ["1", "2", "3", "4"]
                .map(|text| room.push("site.git", &[("a", &format!("the file a of {text}\n")), (text, "x")]));
            room.script(&format!(
                "cd site.git; git unpack-objects -q <$(ls objects/pack/*.pack 2>/dev/null || echo /dev/null) || true
                 b=$(git rev-parse {}:a); o=objects/$(echo $b | sed 's,..,&/,'); chmod u+w $o; {how}",
                commits[lost - 1]
            ));
            let remote = deep(&Remote::local(room.path.join("site.git")), 4);
            let pages = room.pages();
            let fetched = fetch(&pages, &remote).map_err(|error| error.in_full()).unwrap();
            let Fetched::Moved { revision, notices } = fetched else { panic!("{fetched:?}") };
            assert_eq!(revision.id, commits[3], "{how}");
            let [notice] = &notices[..] else { panic!("{how}: {notices:?}") };
            assert!(notice.starts_with(&format!("the history ends after {}: ", commits[lost - 1])), "{notice}");
            assert!(notice.ends_with(what), "{notice}");
            assert_eq!((room.fsck().as_str(), files(&pages).len()), ("", 2), "{how}");
            let there = room.script("git -C state/git/pages.git rev-list --count refs/heads/served");
            assert_eq!(there.trim(), (4 - lost).to_string(), "{how}");
            assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged, "{how}");
        }
    }
}

/// Where what is here of a past is damaged, be it the contents of a file, that is forgotten and the rest is tidied.
#[test]
fn a_past_whose_files_are_lost_is_tidied() {
    for how in ["rm $o", "head -c 15 $o >x; mv x $o"] {
        let room = Room::new();
        let remote = room.remote("site.git", &[("a", "the file a of 1\n")]);
        let commits = ["2", "3"].map(|text| room.push("site.git", &[("a", &format!("the file a of {text}\n"))]));
        let pages = room.pages();
        moved(&pages, &deep(&remote, 3));
        room.script(&format!(
            "cd state/git/pages.git; o=objects/$(git rev-parse served~2:a | sed 's,..,&/,'); chmod u+w $o; {how}"
        ));
        pages.0.tidy(&mut lock(&pages.0.fetching)).unwrap();
        let there = room.script("git -C state/git/pages.git rev-list refs/heads/served");
        assert_eq!(there, format!("{}\n{}\n", commits[1], commits[0]), "{how}");
        assert_eq!(room.fsck(), "", "{how}");
        // But of the head it may be put right.
        let head = room.script("git -C state/git/pages.git rev-parse served:a").trim().to_owned();
        room.script(
            "cd state/git/pages.git; mv objects/pack/*.pack x; rm -f objects/pack/*; git unpack-objects -q <x; rm x",
        );
        let pages = room.pages();
        room.script(&format!("cd state/git/pages.git; o=objects/$(echo {head} | sed 's,..,&/,'); chmod u+w $o; {how}"));
        let error = pages.0.tidy(&mut lock(&pages.0.fetching)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("object {head} is ")), "{error}");
    }
}

/// What is damaged of it is forgotten when it is tidied, and fetched again where it is wanted.
#[test]
fn a_past_that_is_damaged_is_had_again() {
    each(|room, remote, way| {
        let pages = room.pages();
        moved(&pages, &deep(&remote, 4));
        let third = room.script("git -C state/git/pages.git rev-parse refs/heads/served~2");
        let (folder, file) = third.trim().split_at(2);
        room.script(&format!("rm state/git/pages.git/objects/{folder}/{file}"));
        let pages = room.pages();
        assert_eq!(fetch(&pages, &deep(&remote, 4)).unwrap(), Fetched::Unchanged, "{way}");
        assert_eq!((log(room).as_str(), room.fsck().as_str()), ("5 4 3 2", ""), "{way}");
        room.script(&format!("rm state/git/pages.git/objects/{folder}/{file}"));
        pages.0.tidy(&mut lock(&pages.0.fetching)).unwrap();
        assert_eq!((log(room).as_str(), room.fsck().as_str()), ("5 4", ""), "{way}");
    });
}
