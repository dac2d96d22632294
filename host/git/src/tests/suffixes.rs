//! A path that leaves `.git` out: where git finds a repository, so do we, and there we watch and write.

use std::{fs, time::Duration};

use super::{
    pushes::{commit, stage, write},
    support::{InFull as _, Room, fetch, files, id, moved},
};
use crate::{Follower, Remote, Watcher};

#[test]
fn a_repository_is_found_where_git_finds_it() {
    // What lies there, which git takes, and what we read or say, with `P` for the path.
    let cases = [
        ("true", None, "P: there is nothing here; create it, or name another remote"),
        ("git clone -q --bare one site.git", Some("one"), "one"),
        ("git clone -q one site.git", Some("one"), "one"),
        ("git clone -q --bare one site; git clone -q --bare two site.git", Some("one"), "one"),
        ("git clone -q one site; git clone -q --bare two site.git", Some("one"), "one"),
        ("git clone -q --bare two site.git; ln -s nowhere site", Some("two"), "two"),
        ("git clone -q --bare two other; ln -s other site.git", Some("two"), "two"),
        // It is no repository, and what we serve of a folder.
        ("mkdir site; echo folder >site/a; git clone -q --bare two site.git", Some("two"), "folder"),
        (
            "mkdir site.git; echo folder >site.git/a",
            None,
            "P: there is nothing here; create it, or name another remote",
        ),
        ("echo x >site.git", None, "P: there is nothing here; create it, or name another remote"),
        (
            "git clone -q --bare one site.git; rm -r site.git/objects",
            None,
            "P.git looks like a git repository, but has no objects; restore it, or clone it anew",
        ),
        (
            "git clone -q --bare one site.git; rm -f site.git/refs/heads/main site.git/packed-refs",
            None,
            "P.git has no branch yet, and is no new repository: what is being cloned or copied there is waited for",
        ),
    ];
    for (layout, gits, ours) in cases {
        for spelling in ["site", "site/", "./site//"] {
            let room = Room::new();
            for name in ["one", "two"] {
                room.remote(name, &[("a", name)]);
            }
            room.script(layout);
            let path = room.path.join(spelling);
            let tip = room.script(&format!("git ls-remote {} refs/heads/main 2>/dev/null || true", path.display()));
            let git = ["one", "two"].into_iter().find(|name| {
                let tip_of = room.script(&format!("git -C {name} rev-parse main"));
                tip.starts_with(tip_of.trim())
            });
            assert_eq!(git, gits, "{layout}");
            let pages = room.pages();
            let said = match fetch(&pages, &Remote::local(&path)) {
                Ok(_) => files(&pages)[0].1.trim_end().to_owned(),
                Err(error) => error.in_full(),
            };
            let named = path.display().to_string();
            let said = said.replace(named.trim_end_matches('/'), "P").replace("P//:", "P:").replace("P/:", "P:");
            assert_eq!(said, ours, "{layout}, {spelling}");
        }
    }
}

#[test]
fn what_is_written_goes_where_it_was_read() {
    let room = Room::new();
    room.remote("site.git", &[("a", "one")]);
    let remote = Remote::local(room.path.join("site")).at("main");
    let tip = |name: &str| id(&room.script(&format!("git -C {name} rev-parse main")));
    assert!(remote.look().is_ok() && remote.look_at_pushing().is_ok());
    let pages = room.pages();
    let mut staging = stage(&pages, &remote);
    write(&mut staging, "b", b"two");
    let written = commit(staging, "ours").unwrap().unwrap();
    assert_eq!(tip("site.git"), written);
    // Once there is one at the path itself, that is it.
    room.script("git clone -q --bare site.git site");
    let mut staging = stage(&pages, &remote);
    write(&mut staging, "b", b"three");
    let other = commit(staging, "ours").unwrap().unwrap();
    assert_eq!((tip("site"), tip("site.git")), (other, written));
    // A work tree is left alone there too.
    room.script("rm -r site; git clone -q site.git tree.git");
    let tree = Remote::local(room.path.join("tree")).at("main");
    moved(&pages, &tree);
    assert!(tree.has_work_tree());
    let words =
        "refusing to update checked out branch: refs/heads/main: push to a bare repository, or to another branch";
    assert_eq!(tree.look_at_pushing().unwrap_err().to_string(), words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_it_comes_to_lie_it_is_seen() {
    let room = Room::new();
    let pages = room.pages();
    let remote = Remote::local(room.path.join("site"));
    let _follower =
        Follower::start(pages.clone(), remote, Watcher::default(), Duration::from_hours(1), |_: crate::Event| ());
    room.script("git init -q --bare -b main other");
    room.push("other", &[("a", "other")]);
    for (script, contents) in [
        ("git init -q --bare -b main site.git; git -C other push -q ../site.git main", "other"),
        ("git clone -q site.git work; cd work; echo one >a; git commit -qam 1; git push -q", "one"),
        ("cp -r other site", "other"),
        ("cd work; git push -q ../site main", "one"),
        // Nobody asks what is there now.
        ("cd work; echo two >a; git commit -qam 2; git push -q; git push -q ../site main", "two"),
        ("cd work; echo three >a; git commit -qam 3; git push -q; cd ..; rm -rf site", "three"),
        ("cd work; echo four >a; git commit -qam 4; git push -q", "four"),
        ("mv site.git away; mkdir made; echo five >made/a; mv made site", "five"),
        ("mv away site.git; rm -r site", "four"),
        ("rm -rf site.git; cd work; echo six >a; git commit -qam 5; cd ..; git clone -q work site.git", "six"),
        ("cd site.git; echo seven >a; git commit -qam 6", "seven"),
        ("rm -rf site.git; cp -r other r1; cp -r other r2; git -C work push -q ../r2 main; ln -s r1 site.git", "other"),
        ("ln -s r2 next; mv -T next site.git", "six"),
    ] {
        println!("{script}");
        room.script(script);
        let mut standings = pages.standings();
        let seen = async {
            while pages.head().is_none() || files(&pages)[0].1.trim_end() != contents {
                standings.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(10), seen).await.unwrap_or_else(|_| panic!("{script}: not seen"));
    }
    assert!(fs::metadata(room.path.join("site")).is_err());
    assert_eq!(room.fsck(), "");
}
