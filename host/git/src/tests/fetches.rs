//! What comes in, and how.

use super::support::{DATE, Room, fetch, files, id, moved};
use crate::{Fetched, Remote};

fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(path, contents)| ((*path).to_owned(), (*contents).to_owned())).collect()
}

#[test]
fn a_branch_is_fetched_and_followed() {
    let room = Room::new();
    let first = [("a.txt", "one"), ("dir/b.txt", "two"), ("dir/deep/c.txt", "three")];
    let remote = room.remote("origin", &first);
    let pages = room.pages();
    assert_eq!(pages.head(), None);
    let revision = moved(&pages, &remote);
    assert_eq!(revision.id, id(&room.script("git -C origin rev-parse main")));
    assert_eq!(revision.committed, DATE);
    assert_eq!(pages.head(), Some(revision));
    assert_eq!(files(&pages), owned(&first));
    assert_eq!(room.fsck(), "");
    assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged);

    // Only what is new is written: a blob, two trees, a commit.
    let objects = || room.script("find state/git/pages.git/objects -type f | wc -l").trim().parse::<u32>().unwrap();
    let before = objects();
    let second = [("a.txt", "one"), ("dir/b.txt", "new"), ("dir/deep/c.txt", "three")];
    let pushed = room.push("origin", &second);
    assert_eq!(moved(&pages, &remote).id, pushed);
    assert_eq!(objects() - before, 4);
    assert_eq!(files(&pages), owned(&second));
    assert_eq!(room.fsck(), "");
    assert_eq!(room.script("git -C state/git/pages.git log --format=%H served").trim(), pushed.to_string());
}

#[test]
fn an_older_snapshot_stands_still() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "old"), ("only-old", "x")]);
    let pages = room.pages();
    let old = moved(&pages, &remote);
    let snapshot = pages.snapshot(Some(old.id)).unwrap();
    room.push("origin", &[("a/b", "a file became a directory")]);
    let new = moved(&pages, &remote);
    assert_eq!(snapshot.contents("a", 10).unwrap(), "old");
    assert_eq!(snapshot.contents("only-old", 10).unwrap(), "x");
    let snapshot = pages.snapshot(Some(new.id)).unwrap();
    assert_eq!(snapshot.contents("a/b", 100).unwrap(), "a file became a directory");
    assert_eq!(snapshot.contents("a", 100).unwrap_err().to_string(), "not found");
}

#[test]
fn many_objects_become_one_pack_and_few_stay_loose() {
    let room = Room::new();
    let many: Vec<(String, String)> =
        (0..150).map(|number| (format!("f{number:03}"), "x".repeat(number * 100))).collect();
    let as_str: Vec<(&str, &str)> = many.iter().map(|(path, contents)| (&**path, &**contents)).collect();
    let remote = room.remote("origin", &as_str);
    let pages = room.pages();
    moved(&pages, &remote);
    assert_eq!(files(&pages), many);
    assert_eq!(room.script("ls state/git/pages.git/objects/pack | sed 's/.*[.]//' | sort").trim(), "idx\npack");
    assert_eq!(room.script("find state/git/pages.git/objects/?? -type f | wc -l").trim(), "0");
    assert_eq!(room.fsck(), "");
    room.script("git verify-pack state/git/pages.git/objects/pack/*.idx");
}

/// A film is as long as it was, a long text is not: loose, and in a pack.
#[test]
fn what_is_large_is_compressed_where_it_shrinks() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "0")]);
    room.script("git clone -q origin clone; git -C clone config core.bigFileThreshold 512m");
    let script = "cd clone; head -c 2000000 /dev/urandom >film; yes a line of text | head -c 2000000 >text; \
                  git add .; git commit -qm 1; git push -q";
    for (name, more) in [("loose", ""), ("packed", "mkdir clone/many; (cd clone/many; seq 150 | split -l 1); ")] {
        room.script(&format!("{more}{script}"));
        let ours = room.store().repository(name).unwrap();
        moved(&ours, &remote);
        let cat = |file: &str| room.script(&format!("git -C state/git/{name}.git cat-file blob HEAD:{file} | sha1sum"));
        let disk = |file: &str| {
            let script = format!(
                "cd state/git/{name}.git; git rev-parse HEAD:{file} | git cat-file --batch-check='%(objectsize:disk)'"
            );
            room.script(&script).trim().parse::<u32>().unwrap()
        };
        for file in ["film", "text"] {
            assert_eq!(cat(file), room.script(&format!("sha1sum <clone/{file}")), "{name} {file}");
        }
        // In 31 frames of zlib, at most 65,535 bytes each, as git too would write it without compression.
        assert!((2_000_000..2_001_000).contains(&disk("film")), "{name} {}", disk("film"));
        assert!(disk("text") < 30_000, "{name} {}", disk("text"));
        let packs = room.script(&format!("ls state/git/{name}.git/objects/pack | grep -c 'pack$' || true"));
        assert_eq!(packs.trim(), if name == "packed" { "1" } else { "0" });
        room.script(&format!("git -C state/git/{name}.git fsck --full --strict"));
    }
}

#[test]
fn packs_with_deltas_are_read() {
    let room = Room::new();
    // Long enough for deltas, and many versions for chains.
    let version = |number: usize| {
        let lines: Vec<String> =
            (0..400).map(|line| format!("line {line} of {}", if line == number { number } else { 0 })).collect();
        lines.join("\n")
    };
    let texts: Vec<(String, String)> = (0..20).map(|number| (format!("t{number}"), version(number))).collect();
    let as_str: Vec<(&str, &str)> = texts.iter().map(|(path, contents)| (&**path, &**contents)).collect();
    let remote = room.remote("origin", &as_str);
    for (name, by_offset) in [("offsets", "true"), ("ids", "false")] {
        let configuration = format!("-c repack.useDeltaBaseOffset={by_offset}");
        room.script(&format!("git -C origin {configuration} repack -qadf --window=50 --depth=20"));
        let deltas = room.script("git verify-pack -v origin/objects/pack/*.idx | grep -c '^chain length'");
        assert!(deltas.trim().parse::<u32>().unwrap() > 0, "{deltas}");
        let repository = room.store().repository(name).unwrap();
        moved(&repository, &remote);
        let mut found = files(&repository);
        found.sort_by_key(|(path, _)| path[1..].parse::<u32>().unwrap());
        assert_eq!(found, texts);
    }
}

#[test]
fn a_branch_is_named_or_is_what_head_names() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "main")]);
    room.script("git -C origin branch -q pages main");
    room.push("origin", &[("a", "newer")]);
    let main = id(&room.script("git -C origin rev-parse main"));
    let pages = id(&room.script("git -C origin rev-parse pages"));
    let repository = room.pages();
    assert_eq!(moved(&repository, &remote).id, main);
    assert_eq!(moved(&repository, &remote.clone().at("pages")).id, pages);
    assert_eq!(moved(&repository, &remote.clone().at("refs/heads/main")).id, main);
    // HEAD moves to another branch; it is packed, and a name for another; it is detached.
    for script in [
        "git symbolic-ref HEAD refs/heads/pages",
        "git pack-refs --all",
        "git symbolic-ref refs/heads/alias refs/heads/pages; git symbolic-ref HEAD refs/heads/alias",
        "git update-ref --no-deref HEAD pages",
    ] {
        room.script(&format!("cd origin; {script}"));
        fetch(&repository, &remote.clone().at("main")).unwrap();
        assert_eq!(moved(&repository, &remote).id, pages, "{script}");
    }
    assert_eq!(room.fsck(), "");
}

#[test]
fn a_work_tree_stands_for_its_branch_and_a_linked_one_for_its_own() {
    let room = Room::new();
    room.script(
        "git init -q work; cd work; echo committed >a; git add a; git commit -qm a; echo loose >a; echo new >b
         git worktree add -q ../linked -b other; cd ../linked; echo linked >a; git commit -qam b",
    );
    let pages = room.pages();
    moved(&pages, &Remote::local(room.path.join("work")));
    assert_eq!(files(&pages), owned(&[("a", "committed\n")]));
    moved(&pages, &Remote::local(room.path.join("linked")));
    assert_eq!(files(&pages), owned(&[("a", "linked\n")]));
    moved(&pages, &Remote::local(room.path.join("linked")).at("main"));
    assert_eq!(files(&pages), owned(&[("a", "committed\n")]));
    moved(&pages, &Remote::local(room.path.join("linked")));
    moved(&pages, &Remote::local(room.path.join("work/.git")));
    assert_eq!(files(&pages), owned(&[("a", "committed\n")]));
}

#[test]
fn a_force_push_is_followed_and_a_deleted_branch_keeps_its_head() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "one")]);
    let pages = room.pages();
    let first = moved(&pages, &remote);
    room.push("origin", &[("a", "two")]);
    moved(&pages, &remote);
    room.script(&format!("git -C origin update-ref refs/heads/main {}", first.id));
    assert_eq!(moved(&pages, &remote), first);
    assert_eq!(files(&pages), owned(&[("a", "one")]));

    room.script("git -C origin update-ref -d refs/heads/main");
    let path = room.path.join("origin").display().to_string();
    assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Gone(format!("{path} has no branch any more")));
    assert_eq!(pages.head(), Some(first));
    room.script(&format!("git -C origin update-ref refs/heads/other {}", first.id));
    let words = "its HEAD names main, which is not there; it has other; name one: branch = \"NAME\"";
    assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Gone(format!("{path}: {words}")));
    assert_eq!(room.pages().head(), Some(first));
    room.script(&format!("git -C origin update-ref refs/heads/main {}", first.id));
    assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged);
    assert_eq!(room.fsck(), "");
}

#[test]
fn a_repository_without_a_commit_is_an_empty_tree() {
    let room = Room::new();
    room.script("git init -q --bare -b main origin");
    let remote = Remote::local(room.path.join("origin"));
    let pages = room.pages();
    assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unborn);
    assert_eq!(fetch(&pages, &remote.clone().at("pages")).unwrap(), Fetched::Unborn);
    assert_eq!(pages.head(), None);
    assert_eq!(room.fsck(), "");
    let snapshot = pages.snapshot(None).unwrap();
    assert_eq!((snapshot.revision(), snapshot.committed()), ("", 0));
    assert_eq!(snapshot.children("").unwrap(), []);
    assert_eq!(snapshot.entry("").unwrap().id, id("4b825dc642cb6eb9a060e54bf8d69288fbee4904"));
    // And a commit of nothing is one too.
    room.push("origin", &[]);
    let revision = moved(&pages, &remote);
    assert_eq!(pages.snapshot(Some(revision.id)).unwrap().children("").unwrap(), []);
    assert_eq!(room.fsck(), "");
}

#[test]
fn what_a_revision_hides_is_told_once() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "one")]);
    let blob = room.blob("origin", "x");
    let below = room.bad_tree("origin", &[("100644", b"b\xff.html", &blob), ("100644", b"c", &blob)]);
    let tree = room.bad_tree("origin", &[("40000", b"dir", &below)]);
    room.commit_tree("origin", &tree);
    let pages = room.pages();
    let Fetched::Moved { notices, .. } = fetch(&pages, &remote).unwrap() else { panic!() };
    assert_eq!(notices, ["/dir: \"b\\xff.html\" is left out, its name is not UTF-8"]);
    assert_eq!(files(&pages), owned(&[("dir/c", "x")]));
    assert_eq!(room.fsck(), "");
    room.commit_tree("origin", &room.bad_tree("origin", &[("100644", b"d", &blob), ("40000", b"dir", &below)]));
    moved(&pages, &remote);
}

#[test]
fn a_wide_tree_of_one_subtree_is_looked_at_once() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "one")]);
    let mut tree = room.blob("origin", "x");
    let mut mode = "100644";
    // 10^30 paths.
    for _ in 0..30 {
        let names: Vec<[u8; 1]> = (b'0'..=b'9').map(|name| [name]).collect();
        let entries: Vec<(&str, &[u8], &str)> = names.iter().map(|name| (mode, &name[..], &*tree)).collect();
        tree = room.bad_tree("origin", &entries);
        mode = "40000";
    }
    room.commit_tree("origin", &tree);
    let pages = room.pages();
    let revision = moved(&pages, &remote);
    let path = ["7"; 30].join("/");
    assert_eq!(pages.snapshot(Some(revision.id)).unwrap().contents(&path, 1).unwrap(), "x");
    pages.verify(revision.id).unwrap();
}
