//! What is known of a branch, and by whom: over restarts, and as remotes change.

use std::fs;

use super::support::{Room, fetch, files, moved, now};
use crate::{FetchError, Fetched, Remote, Repository};

const UNKNOWN: (bool, bool, &str) = (false, false, "");

/// Whether it has a head, whether that is known, and who said so: as it stands, and as it would after a restart with the same
/// remote.
fn stands<'a>(
    room: &Room,
    pages: &Repository,
    remote: &Remote,
    remotes: &'a [(&str, &Remote)],
) -> (bool, bool, &'a str) {
    let restarted = room.pages();
    restarted.claim(remote);
    let [now, again] = [pages.standing(), restarted.standing()].map(|standing| {
        let by = remotes.iter().find(|(_, remote)| remote.identity() == standing.origin);
        let by = if standing.origin.is_empty() { "" } else { by.map_or("somebody", |(name, _)| name) };
        (standing.head.is_some(), standing.is_known(), by)
    });
    assert_eq!(now, again);
    now
}

#[test]
fn that_there_is_nothing_is_known_once_it_was_said() {
    let room = Room::new();
    room.script("git init -q --bare -b main one; git init -q --bare -b main other");
    let (one, other) = (Remote::local(room.path.join("one")), Remote::local(room.path.join("other")));
    let remotes = [("one", &one), ("other", &other)];
    let pages = room.pages();
    assert_eq!(stands(&room, &pages, &one, &remotes), UNKNOWN);
    let gone = Remote::local(room.path.join("gone"));
    fetch(&pages, &gone).unwrap_err();
    assert_eq!(stands(&room, &pages, &gone, &remotes), UNKNOWN, "nobody said anything");
    assert_eq!(fetch(&pages, &one).unwrap(), Fetched::Unborn);
    assert_eq!(stands(&room, &pages, &one, &remotes), (false, true, "one"));
    // Whoever waits is woken once.
    let mut standings = pages.standings();
    assert_eq!(fetch(&pages, &one).unwrap(), Fetched::Unborn);
    assert!(!standings.has_changed().unwrap());
    assert_eq!(fetch(&pages, &other).unwrap(), Fetched::Unborn);
    assert!(standings.has_changed().unwrap());
    assert_eq!(standings.borrow_and_update().origin, other.identity());
    assert_eq!(stands(&room, &pages, &other, &remotes), (false, true, "other"));

    // A commit is known by itself, and what was said before it is over: where it is lost, nothing is known.
    room.push("other", &[("a", "1")]);
    moved(&pages, &other);
    assert_eq!(stands(&room, &pages, &other, &remotes), (true, true, "other"));
    fs::remove_dir_all(room.path.join("state/git/pages.git/objects")).unwrap();
    let again = room.pages();
    for remote in [&other, &one] {
        again.claim(remote);
        assert_eq!((again.head(), again.standing().is_known()), (None, false));
    }
}

#[test]
fn what_one_remote_said_is_not_anothers_word() {
    let room = Room::new();
    let one = room.remote("one", &[("a", "1")]);
    room.script("git init -q --bare -b main other");
    let other = Remote::local(room.path.join("other"));
    let remotes = [("one", &one), ("other", &other)];
    let pages = room.pages();
    moved(&pages, &one);
    let born = (true, true, "one");
    assert_eq!(stands(&room, &pages, &one, &remotes), born);
    assert_eq!(pages.claim(&one), None);
    assert_eq!(pages.claim(&other), Some(one.title()));
    assert_eq!(stands(&room, &pages, &other, &remotes), UNKNOWN);
    // When it is that one's turn again, it is here; whatever the other said of itself.
    assert_eq!(pages.claim(&one), None);
    assert_eq!(stands(&room, &pages, &one, &remotes), born);
    for _ in 0..2 {
        pages.claim(&other);
        assert_eq!(fetch(&pages, &other).unwrap(), Fetched::Unborn);
        assert_eq!(stands(&room, &pages, &other, &remotes), (false, true, "other"));
        assert_eq!(pages.claim(&one), None);
        assert_eq!(stands(&room, &pages, &one, &remotes), born);
    }
    // Once it has a commit, nothing is known of the former.
    pages.claim(&other);
    room.push("other", &[("a", "2")]);
    moved(&pages, &other);
    assert_eq!(stands(&room, &pages, &other, &remotes), (true, true, "other"));
    pages.claim(&one);
    assert_eq!(stands(&room, &pages, &one, &remotes), UNKNOWN);
}

/// A clone is a repository without a commit first, and so is a copy.
#[test]
fn what_is_about_to_have_a_commit_is_not_said_to_have_none() {
    for (made, done) in [
        // As git leaves it until all objects are there.
        (
            "git init -q --bare -b main copy; git -C copy config remote.origin.url ../one",
            "git -C copy fetch -q origin main:main",
        ),
        (
            "mkdir copy; cp -r one/HEAD one/config one/objects copy; mkdir copy/refs",
            "cp -r one/refs one/packed-refs copy || true",
        ),
        (
            "mkdir copy; git -C one repack -qad; cp -r one/HEAD one/config one/objects copy; mkdir copy/refs",
            "cp -r one/refs one/packed-refs copy || true",
        ),
    ] {
        let room = Room::new();
        room.remote("one", &[("a", "1")]);
        room.script(made);
        let (pages, copy) = (room.pages(), Remote::local(room.path.join("copy")));
        let error = fetch(&pages, &copy.clone().at("main")).unwrap_err();
        // Who writes begins what has only objects, which a kill may have left; not what git is making.
        assert_eq!(error.is_no_branch(), !made.contains("remote.origin.url"), "{made}");
        let words = format!(
            "{} has no branch yet, and is no new repository: what is being cloned or copied there is waited for",
            room.path.join("copy").display()
        );
        assert_eq!((error.to_string(), pages.standing().is_known()), (words, false), "{made}");
        room.script(done);
        moved(&pages, &copy.at("main"));
        assert_eq!(files(&pages), [("a".to_owned(), "1".to_owned())], "{made}");
    }
}

/// Its insides are no files to be served, in whatever order they come; nor are those of a repository that takes another's place.
#[test]
fn what_becomes_a_repository_is_no_folder() {
    for made in [
        "mkdir copy; cp -r one/info one/description copy",
        "mkdir copy; cp -r one/packed-refs one/info copy",
        "mkdir -p copy/objects; cp -r one/objects/pack one/objects/info copy/objects; touch copy/index.html",
        "mkdir copy; cp -r one/HEAD one/info copy",
        "mkdir -p copy/objects/pack; cp one/objects/pack/*.pack copy/objects/pack",
        "mkdir copy; cp one/config copy",
        "mkdir copy; echo 'Unnamed repository; edit this file to name it.' >copy/description",
        "mkdir -p copy/hooks; touch copy/hooks/post-receive copy/hooks/pre-push.sample",
        "mkdir -p copy/info; cp one/info/exclude copy/info",
        "mkdir copy; cp -r one/config one/hooks one/info copy",
    ] {
        let room = Room::new();
        room.remote("one", &[("a", "1")]);
        room.script("git -C one pack-refs --all; git -C one repack -qad; mkdir -p one/info; touch one/info/exclude one/description");
        room.script(made);
        let (pages, copy) = (room.pages(), Remote::local(room.path.join("copy")));
        let error = fetch(&pages, &copy).unwrap_err().to_string();
        assert!(error.ends_with("what is being cloned or copied there is waited for"), "{made}: {error}");
        room.script("rm -r copy; cp -r one copy");
        moved(&pages, &copy);
        // A moment later there is another one.
        let copy_again = "rm -r copy; mkdir copy; (sleep 0.3; cp -r one/. copy) >/dev/null 2>&1 &";
        room.script(copy_again);
        while match pages.fetch(&copy, std::time::SystemTime::now()) {
            Ok(fetched) => {
                assert_eq!(fetched, Fetched::Unchanged, "{made}");
                false
            }
            // It is not whole yet.
            Err(_) => true,
        } {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(files(&pages), [("a".to_owned(), "1".to_owned())]);
    }
}

/// Who follows no more has no say.
#[test]
fn a_former_follower_says_nothing() {
    let room = Room::new();
    room.script("git init -q --bare -b main one; git init -q --bare -b main other");
    let (one, other) = (Remote::local(room.path.join("one")), Remote::local(room.path.join("other")));
    let pages = room.pages();
    let (first, second) = (pages.next_follower(), pages.next_follower());
    let fetch = |follower, remote| pages.fetch_as(follower, remote, std::time::SystemTime::now());
    assert!(matches!(fetch(first, &one), Err(FetchError::Ended)));
    assert!(!pages.standing().is_known());
    assert_eq!(fetch(second, &other).unwrap(), Fetched::Unborn);
    assert!(matches!(fetch(first, &one), Err(FetchError::Ended)));
    assert_eq!(pages.standing().origin, other.identity());
}

/// What of a folder is damaged here is brought again from the same folder, by who follows it.
#[test]
fn a_folder_that_is_mended_is_still_what_it_was() {
    let room = Room::new();
    room.script("mkdir site; echo one >site/a");
    let (pages, site) = (room.pages(), Remote::local(room.path.join("site")));
    moved(&pages, &site);
    let standing = pages.standing();
    assert_eq!(standing.origin, site.identity());
    let lose = || {
        room.script("cd state/git/pages.git; rm objects/$(git rev-parse served:a | sed 's,..,&/,')");
        pages.snapshot(pages.head().map(|head| head.id)).unwrap().contents("a", 10).unwrap_err();
    };
    lose();
    assert_eq!(fetch(&pages, &site).unwrap(), Fetched::Unchanged);
    assert_eq!(pages.standing(), standing);
    assert_eq!(files(&pages), [("a".to_owned(), "one\n".to_owned())]);
    let former = pages.next_follower();
    pages.next_follower();
    pages.0.cache.forget();
    lose();
    room.script("echo two >site/a");
    assert!(matches!(pages.fetch_as(former, &site, now()), Err(FetchError::Ended)));
    assert_eq!(pages.standing(), standing);
}

/// Names that a repository has, too, make none of a folder.
#[test]
fn a_folder_may_have_names_that_are_gits() {
    for made in [
        "mkdir site; echo a >site/config",
        "mkdir -p site/info; echo a >site/info/a",
        "mkdir -p site/objects; echo a >site/objects/a.html",
        "mkdir -p site/refs site/hooks; echo a >site/refs/a.html",
        "mkdir -p site/hooks; echo a >site/hooks/a.html; touch site/hooks/update",
        "mkdir site; mkfifo site/config; echo a >site/description",
    ] {
        let room = Room::new();
        room.script(made);
        let fetched = fetch(&room.pages(), &Remote::local(room.path.join("site")));
        assert!(matches!(fetched, Ok(Fetched::Moved { .. })), "{made}: {fetched:?}");
    }
}
