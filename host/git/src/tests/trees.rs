//! Trees that Git would not make, and those that nobody could check out; `git fsck` is the oracle of their names.

use std::path::Path;

use gix::hash::{Kind as HashKind, hasher};

use super::{
    hostile::serving,
    made::{deflated, pack},
    server::{self, daemon},
    support::{DATE, InFull as _, Room, fetch, id, moved},
    taken::{self, Taken, is_alone},
};
use crate::{ObjectId, Patience, tree::Tree};

#[test]
fn a_tree_that_git_would_not_make() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a.txt", "one")]);
    let pages = room.pages();
    let head = moved(&pages, &remote);
    let path = room.path.join("origin").display().to_string();
    let blob = room.blob("origin", "x");
    let fine = room.bad_tree("origin", &[("100644", b"x", &blob)]);
    for (entries, words) in [
        (&[("100644", &b".."[..], &*blob)][..], "its entry \"..\" means another directory"),
        (&[("40000", b".", &fine)], "its entry \".\" means another directory"),
        (&[("40000", b".git", &fine)], "its entry \".git\" is a spelling of .git"),
        (&[("40000", b".GIT", &fine)], "its entry \".GIT\" is a spelling of .git"),
        (&[("40000", b"git~1", &fine)], "its entry \"git~1\" is a spelling of .git"),
        (&[("40000", b"a\\.git", &fine)], "its entry \"a\\\\.git\" is a spelling of .git"),
        (&[("100644", b".git\\x", &blob)], "its entry \".git\\\\x\" is a spelling of .git"),
        (&[("100644", b"a/b", &blob)], "its entry \"a/b\" has a slash in its name"),
        (&[("100644", b"", &blob)], "its entry \"\" has no name"),
        (&[("100644", b"a", &blob), ("100644", b"a", &blob)], "it has two entries named \"a\""),
        (&[("100644", b"a", &blob), ("40000", b"a", &fine)], "it has two entries named \"a\""),
        (&[("100644", b"b", &blob), ("100644", b"a", &blob)], "its entry \"a\" is out of order"),
        (
            &[("100000000", b"a", &blob)],
            "it ends in the middle of an entry, or has one with a mode that does not exist",
        ),
    ] {
        let bad = room.bad_tree("origin", entries);
        let above = room.bad_tree("origin", &[("40000", b"dir", &bad)]);
        let top = room.bad_tree("origin", &[("40000", b"top", &above)]);
        let new = room.commit_tree("origin", &top);
        let said = fetch(&pages, &remote).unwrap_err().in_full().replace(&path, "R");
        assert_eq!(said, format!("the head {new} of R is refused: the tree {bad} at /top/dir: {words}"));
        assert_eq!(pages.head(), Some(head));
        assert_eq!(room.fsck(), "");
    }
    // Named where it cannot be: a blob for a directory, a tree for a file.
    for (entry, words) in [
        (("40000", &b"dir"[..], &*blob), format!("{blob} is a blob, where a tree is named")),
        (("100644", b"file", &fine), format!("{fine} is a tree, where a blob is named")),
    ] {
        let new = room.commit_tree("origin", &room.bad_tree("origin", &[entry]));
        let said = fetch(&pages, &remote).unwrap_err().in_full().replace(&path, "R");
        assert_eq!(said, format!("the head {new} of R is refused: {words}"));
    }
    assert_eq!(pages.head(), Some(head));
}

/// What git's own check refuses is refused here, and little else: as a file, a link and a directory.
#[test]
fn names_that_git_refuses() {
    let room = Room::new();
    room.remote("origin", &[("a.txt", "one")]);
    let blob = room.blob("origin", "x");
    let parts: &[&[u8]] = &[
        b".git",
        b".GiT",
        b"git~1",
        b"GIT~1",
        b"git~2",
        b".gitx",
        b"x.git",
        b".git.",
        b".git ",
        b".git . .",
        b".git:x",
        b".git::$INDEX_ALLOCATION",
        b"a:.git",
        b".g\xe2\x80\x8cit",
        b".git\xef\xbb\xbf",
        b".gitmodules",
        b".GITMODULES ",
        b".gitmodules:x",
        b"gitmod~1",
        b"gi7eba~1",
        b".gitattributes",
        b".GitAttributes. ",
        b".gitattributes:x",
        b"gitatt~1",
        b"GITATT~5",
        b"gi7d29~1",
        b"gi7d2~12",
        b".git\xe2\x80\x8cattributes",
        b".gitignore",
        b".mailmap",
        b"..",
        b".",
        b"con",
        b"x",
    ];
    let (in_front, behind): (&[&[u8]], &[&[u8]]) = (&[b"", b"\\", b"a\\"], &[b"", b"\\", b"\\b"]);
    let names = parts.iter().flat_map(|part| in_front.iter().map(move |front| [front, *part].concat()));
    let names: Vec<_> = names.flat_map(|name| behind.iter().map(move |back| [&name, *back].concat())).collect();
    // Git names what stands where a file of its own is expected, and not the tree: each name has one to itself.
    let below = |at: usize| [b"100644 ", format!("{at:04}").as_bytes(), b"\0", id(&blob).as_bytes()].concat();
    let below = written(&room, (0..names.len()).map(below));
    let mut trees = Vec::new();
    for (name, below) in names.iter().zip(&below) {
        for (mode, object) in [("100644", &blob), ("120000", &blob), ("40000", below), ("160000", below)] {
            let raw = [mode.as_bytes(), b" ", name, b"\0", id(object).as_bytes()].concat();
            trees.push((format!("{mode} {}", name.escape_ascii()), object, raw));
        }
    }
    let ids = written(&room, trees.iter().map(|(.., raw)| raw.clone()));
    let said = room.script("git -C origin fsck --strict --no-dangling 2>&1 || true");
    let mut ours_alone = Vec::new();
    for ((name, object, raw), tree) in trees.iter().zip(&ids) {
        let is_wrong = |tree| said.contains(&format!("error in tree {tree}: "));
        let (git, ours) = (is_wrong(tree) || is_wrong(object), Tree::decode(raw).err());
        match (git, ours) {
            (true, None) => panic!("{name} is taken, and git says {said}"),
            (false, Some(_)) => ours_alone.push(name.as_str()),
            _ => {}
        }
    }
    assert_eq!(ids.len(), parts.len() * 36);
    // Spellings for HFS, and links and directories that are .gitmodules, are looked for between backslashes too.
    let modules = ["gitmod", "GITMOD", "gi7eba"];
    ours_alone.retain(|name| {
        let other = !name.starts_with("100644 ") && modules.iter().any(|part| name.contains(part));
        !other && !name.contains("\\xe2\\x80\\x8c") && !name.contains("\\xef\\xbb\\xbf")
    });
    assert_eq!(ours_alone, [""; 0]);
}

/// Writes trees as they are, and yields their ids.
fn written(room: &Room, trees: impl Iterator<Item = Vec<u8>>) -> Vec<String> {
    for (at, raw) in trees.enumerate() {
        std::fs::write(room.path.join(format!("{at:04}.raw")), raw).unwrap();
    }
    let ids = room.script("ls $PWD/*.raw | git -C origin hash-object -t tree -w --literally --stdin-paths; rm *.raw");
    ids.lines().map(str::to_owned).collect()
}

#[test]
fn directories_that_lie_too_deep() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a.txt", "one")]);
    let pages = room.pages();
    let deep = |depth: usize| vec!["d"; depth - 1].join("/") + "/f";
    let allowed = deep(atoll_paths::MAX_DEPTH);
    room.push("origin", &[(&allowed, "x")]);
    let head = moved(&pages, &remote);
    assert_eq!(pages.snapshot(Some(head.id)).unwrap().contents(&allowed, 1).unwrap(), "x");
    // What was known before counts too.
    let tree = room.script("git -C origin rev-parse main:").trim().to_owned();
    let new = room.commit_tree("origin", &room.bad_tree("origin", &[("40000", b"more", &tree)]));
    let path = room.path.join("origin").display().to_string();
    let said = fetch(&pages, &remote).unwrap_err().in_full().replace(&path, "R");
    assert_eq!(said, format!("the head {new} of R is refused: directories lie more than 256 deep, at /"));
    let new = room.push("origin", &[(&deep(atoll_paths::MAX_DEPTH + 1), "another")]);
    let said = fetch(&pages, &remote).unwrap_err().in_full().replace(&path, "R");
    let at = vec!["d"; atoll_paths::MAX_DEPTH].join("/");
    assert_eq!(said, format!("the head {new} of R is refused: directories lie more than 256 deep, at /{at}"));
    assert_eq!(pages.head(), Some(head));
}

/// Ten thousand directories, one in the other, by a path and in a pack: nobody goes down all of them. Git itself would not
/// pack them.
#[test]
fn ten_thousand_directories_deep() {
    const DEPTH: usize = 10_000;
    if !is_alone("trees::ten_thousand_directories_deep") {
        return;
    }
    let room = Room::new();
    let local = room.remote("site.git", &[("a.txt", "one")]);
    let pages = room.pages();
    let head = moved(&pages, &local);
    let mut objects = vec![(TREE, b"100644 f\0".to_vec())];
    objects[0].1.extend(id(&room.blob("site.git", "x")).as_bytes());
    for above in 0..DEPTH {
        let below = named(&objects[above]);
        objects.push((TREE, [b"40000 d\0", below.as_bytes()].concat()));
    }
    let top = named(&objects[DEPTH]);
    let commit = format!("tree {top}\nauthor a <a@b> {DATE} +0000\ncommitter a <a@b> {DATE} +0000\n\nm\n");
    objects.extend([(COMMIT, commit.into_bytes()), (BLOB, b"x".to_vec())]);
    for (kind, contents) in &objects {
        loose(&room.path.join("site.git/objects"), *kind, contents);
    }
    let new = named(&objects[DEPTH + 1]);
    room.script(&format!("echo {new} >site.git/refs/heads/main"));
    let entries: Vec<(u8, u64, &[u8], &[u8])> =
        objects.iter().map(|(kind, contents)| (kind.1, contents.len() as u64, &b""[..], &contents[..])).collect();
    let runtime = server::runtime();
    let address = serving(new, &pack(u32::try_from(entries.len()).unwrap(), &entries));
    let served = daemon(&runtime, address, "/site.git", Patience::default());
    let at = vec!["d"; atoll_paths::MAX_DEPTH].join("/");
    let words = format!("the head {new} of R is refused: directories lie more than 256 deep, at /{at}");
    let path = room.path.join("site.git").display().to_string();
    let (state, kept) = (room.path.join("state"), taken::bytes(&room.path.join("state")));
    for (name, remote) in [(path, local), (format!("git://{address}/site.git"), served)] {
        let taken = Taken::of(&state);
        let said = fetch(&pages, &remote).unwrap_err().in_full();
        let (memory, disk) = taken.most();
        assert_eq!(said.replace(&name, "R"), words);
        assert_eq!(pages.head(), Some(head));
        assert_eq!(room.fsck(), "");
        assert_eq!(taken::bytes(&state), kept);
        assert!(memory <= 16 << 20 && disk <= 4 << 20, "{name} takes {memory} bytes of memory, and {disk} on disk");
    }
}

/// What a kind is called, and its number in a pack.
type Kind = (&'static str, u8);

const COMMIT: Kind = ("commit", 1);
const TREE: Kind = ("tree", 2);
const BLOB: Kind = ("blob", 3);

/// As a file of its own has it.
fn whole((kind, contents): (Kind, &[u8])) -> Vec<u8> {
    [kind.0.as_bytes(), b" ", contents.len().to_string().as_bytes(), b"\0", contents].concat()
}

fn named((kind, contents): &(Kind, Vec<u8>)) -> ObjectId {
    let mut hash = hasher(HashKind::Sha1);
    hash.update(&whole((*kind, contents)));
    hash.try_finalize().unwrap()
}

fn loose(objects: &Path, kind: Kind, contents: &[u8]) {
    let hex = named(&(kind, contents.to_vec())).to_string();
    std::fs::create_dir_all(objects.join(&hex[..2])).unwrap();
    std::fs::write(objects.join(&hex[..2]).join(&hex[2..]), deflated(&whole((kind, contents)))).unwrap();
}
