//! Against git's own receive-pack, which is the oracle of what came; and what is refused before anything is sent.

use std::{
    io,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use tempfile::TempDir;

use crate::{Connection as _, Duplex, Error, Kind, ObjectId, Pack, PackWriter, Report, Session, Update, id_of};

const MAIN: &str = "refs/heads/main";
const OTHER: &str = "refs/heads/other";

/// A folder with the bare repository `site.git` in it.
struct Room(TempDir);

impl Room {
    fn new() -> Self {
        let room = Self(tempfile::tempdir().unwrap());
        room.script("git init -q --bare -b main site.git");
        room
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn script(&self, script: &str) -> String {
        let done = Command::new("sh").args(["-ec", script]).current_dir(self.path()).output().unwrap();
        assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    fn refs(&self) -> String {
        self.script("git -C site.git for-each-ref --format='%(refname:short)=%(objectname)'").replace('\n', " ")
    }

    fn server(&self) -> (Child, Session<Duplex<ChildStdout, ChildStdin>>) {
        let mut command = Command::new("git");
        command.arg("receive-pack").arg(self.path().join("site.git"));
        let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (server.stdin.take().unwrap(), server.stdout.take().unwrap());
        let session = Session::open(Duplex::new(from, to), &[MAIN, OTHER]).unwrap();
        (server, session)
    }

    /// What becomes of these updates, with `pack`.
    fn push(&self, updates: &[Update<'_>], pack: Option<&Pack>) -> Vec<Report> {
        let (mut server, session) = self.server();
        let (reports, rest) = session.push(updates, pack, "test/1").unwrap();
        rest.hear();
        assert!(server.wait().unwrap().success());
        assert_eq!(self.script("git -C site.git fsck --full --strict --no-dangling 2>&1"), "");
        reports
    }
}

fn commit(tree: ObjectId, parent: Option<ObjectId>) -> Vec<u8> {
    let parent = parent.map(|parent| format!("parent {parent}\n")).unwrap_or_default();
    format!("tree {tree}\n{parent}author A <a@b> 0 +0000\ncommitter A <a@b> 0 +0000\n\nx\n").into_bytes()
}

/// A tree of `count` files that are all `blob`, but for the first, which is `first`.
fn tree(count: usize, blob: ObjectId, first: ObjectId) -> Vec<u8> {
    let entry = |at: usize| {
        let id = if at == 0 { first } else { blob };
        [format!("100644 file-{at:05}\0").as_bytes(), id.as_bytes()].concat()
    };
    (0..count).flat_map(entry).collect()
}

#[test]
fn commits_are_pushed_and_refs_are_deleted() {
    let room = Room::new();
    let (one, two) = (b"one".as_slice(), b"two".repeat(50_000));
    let (blob, next) = (id_of(Kind::Blob, one).unwrap(), id_of(Kind::Blob, &two).unwrap());
    let (old, new) = (tree(5_000, blob, blob), tree(5_000, blob, next));
    let first = commit(id_of(Kind::Tree, &old).unwrap(), None);
    let first_id = id_of(Kind::Commit, &first).unwrap();
    let mut pack = PackWriter::create(room.path(), 3).unwrap();
    pack.whole(Kind::Commit, &first).unwrap();
    pack.tree(&old, None).unwrap();
    pack.whole(Kind::Blob, one).unwrap();
    let pack = pack.finish().unwrap();
    let made = |name| Update { name, old: None, new: Some(first_id) };
    assert_eq!(room.push(&[made(MAIN), made(OTHER)], Some(&pack)), [Report::Taken, Report::Taken]);
    assert_eq!(room.refs(), format!("main={first_id} other={first_id} "));

    // One file of it, and the other ref goes: of the tree what changed, from the one that is there.
    let second = commit(id_of(Kind::Tree, &new).unwrap(), Some(first_id));
    let second_id = id_of(Kind::Commit, &second).unwrap();
    let mut pack = PackWriter::create(room.path(), 3).unwrap();
    pack.whole(Kind::Commit, &second).unwrap();
    pack.tree(&new, Some((id_of(Kind::Tree, &old).unwrap(), &old))).unwrap();
    let mut rest = &two[..];
    pack.stream::<io::Error>(Kind::Blob, two.len() as u64, |out| io::Read::read(&mut rest, out)).unwrap();
    let pack = pack.finish().unwrap();
    assert!(pack.length() < 2_000, "{} bytes", pack.length());
    let moved = Update { name: MAIN, old: Some(first_id), new: Some(second_id) };
    let gone = |old| Update { name: OTHER, old: Some(old), new: None };
    // All of it or nothing: this one never stood there, which the server would not mind where it knows no such object.
    let (mut server, session) = room.server();
    let error = session.push(&[moved, gone(second_id)], Some(&pack), "test/1").err().unwrap();
    assert_eq!(error.to_string(), "refs/heads/other stands elsewhere: look again");
    server.wait().unwrap();
    assert_eq!(room.refs(), format!("main={first_id} other={first_id} "));
    let elsewhere = Update { name: MAIN, old: Some(second_id), new: Some(second_id) };
    let refused = room.push(&[elsewhere, gone(first_id)], Some(&pack));
    assert!(refused.iter().all(|report| matches!(report, Report::Refused(_))), "{refused:?}");
    assert_eq!(room.refs(), format!("main={first_id} other={first_id} "));
    assert_eq!(room.push(&[moved, gone(first_id)], Some(&pack)), [Report::Taken, Report::Taken]);
    assert_eq!(room.refs(), format!("main={second_id} "));
    assert_eq!(room.script("git -C site.git cat-file -s main:file-00000"), "150000\n");

    // Without a pack, and with one that nobody gets.
    room.script(&format!("git -C site.git update-ref {OTHER} {first_id}"));
    assert_eq!(room.push(&[gone(first_id)], None), [Report::Taken]);
    room.script(&format!("git -C site.git update-ref {OTHER} {first_id}"));
    assert_eq!(room.push(&[gone(first_id)], Some(&pack)), [Report::Taken]);
    assert_eq!(room.refs(), format!("main={second_id} "));

    // A hook's words, for a terminal.
    room.script(
        "git -C site.git config receive.denyDeleteCurrent ignore; printf '#!/bin/sh\\nprintf \"no \\\\033[2J\" >&2; exit 1\\n' >site.git/hooks/update; chmod +x site.git/hooks/update",
    );
    let [Report::Refused(words)] = &room.push(&[Update { name: MAIN, old: Some(second_id), new: None }], None)[..]
    else {
        panic!("it was deleted");
    };
    assert!(words.starts_with("hook declined: no \\u{1b}[2J"), "{words}");
    assert_eq!(room.refs(), format!("main={second_id} "));
}

fn packets(lines: &[&str]) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        lines.iter().flat_map(|line| format!("{:04x}{line}", line.len() + 4).into_bytes()).collect();
    bytes.extend(b"0000");
    bytes
}

fn empty_pack(room: &Room) -> Pack {
    PackWriter::create(room.path(), 0).unwrap().finish().unwrap()
}

#[test]
fn what_cannot_be_asked_for_is_not_sent() {
    let room = Room::new();
    let pack = empty_pack(&room);
    let one = ObjectId::from_hex("1".repeat(40).as_bytes()).unwrap();
    let all = "report-status delete-refs atomic";
    let moved = Update { name: MAIN, old: Some(one), new: Some(one) };
    let gone = Update { name: OTHER, old: Some(one), new: None };
    for (capabilities, updates, packed, expected) in [
        (all, &[][..], true, "there is nothing to update"),
        (all, &[Update { old: None, ..gone }], true, "there is nothing to update"),
        (
            all,
            &[Update { new: Some(ObjectId::null(gix::hash::Kind::Sha1)), ..moved }],
            true,
            "there is nothing to update",
        ),
        (all, &[moved, moved], true, "refs/heads/main is to be updated twice"),
        (all, &[moved], false, "a ref is to be moved, and no pack goes along"),
        (
            all,
            &[Update { name: "refs/heads/x\nrefs", ..moved }],
            true,
            "\"refs/heads/x\\nrefs\" cannot be a branch's name",
        ),
        ("report-status atomic", &[gone], true, "the server deletes no refs: delete-refs is not among what it can do"),
        ("report-status delete-refs", &[moved, gone], true, "the server does not know atomic, which is needed"),
        ("atomic delete-refs", &[gone], false, "the server does not know report-status, which is needed"),
    ] {
        let greeting = packets(&[&format!("{one} {MAIN}\0{capabilities}\n"), &format!("{one} {OTHER}\n")]);
        let mut sent = Vec::new();
        let session = Session::open(Duplex::new(&greeting[..], &mut sent), &[MAIN, OTHER]).unwrap();
        assert_eq!((session.at(MAIN), session.at("refs/heads/x")), (Some(one), None));
        let error = session.push(updates, packed.then_some(&pack), "test/1").err().unwrap();
        assert_eq!(error.to_string(), expected);
        assert_eq!(sent, b"", "{expected}");
    }
    for name in ["main", "HEAD", "refs/heads/a..b", "refs/heads/a b", "refs/heads/\u{7f}"] {
        let mut sent = Vec::new();
        let error = Session::open(Duplex::new(&b""[..], &mut sent), &[MAIN, name]).err().unwrap();
        assert!(matches!(error, Error::Name(refused) if refused == name));
        assert_eq!(sent, b"");
    }
}

#[test]
fn a_command_is_what_the_protocol_says() {
    let room = Room::new();
    let one = ObjectId::from_hex("1".repeat(40).as_bytes()).unwrap();
    let capabilities =
        "report-status report-status-v2 delete-refs atomic quiet ofs-delta object-format=sha1 agent=git/2";
    let mut said = packets(&[&format!("{one} {MAIN}\0{capabilities}\n"), &format!("{one} {OTHER}\n")]);
    said.extend(packets(&["unpack ok\n", &format!("ng {OTHER} no\n"), &format!("ok {MAIN}\n")]));
    let mut sent = Vec::new();
    let session = Session::open(Duplex::new(&said[..], &mut sent), &[MAIN, OTHER]).unwrap();
    let updates =
        [Update { name: MAIN, old: Some(one), new: Some(one) }, Update { name: OTHER, old: Some(one), new: None }];
    let pack = empty_pack(&room);
    let (reports, _) = session.push(&updates, Some(&pack), "x/1\0 push-options\n").unwrap();
    assert_eq!(reports, [Report::Taken, Report::Refused("no".into())]);
    let zero = "0".repeat(40);
    let asked = "report-status-v2 atomic quiet object-format=sha1 agent=x/1push-options";
    let mut expected = packets(&[&format!("{one} {one} {MAIN}\0{asked}"), &format!("{one} {zero} {OTHER}")]);
    expected.extend(pack.piece(0).unwrap());
    assert_eq!(sent, expected);

    // With deletions alone no pack goes along, though there is one.
    let mut said = packets(&[&format!("{one} {OTHER}\0report-status delete-refs\n")]);
    said.extend(packets(&["unpack ok\n", &format!("ok {OTHER}\n")]));
    let mut sent = Vec::new();
    let session = Session::open(Duplex::new(&said[..], &mut sent), &[OTHER]).unwrap();
    assert_eq!(session.push(&updates[1..], Some(&pack), "x/1").unwrap().0, [Report::Taken]);
    assert_eq!(sent, packets(&[&format!("{one} {zero} {OTHER}\0report-status")]));

    // What opens a conversation with a daemon; and what would be another line.
    let mut sent = Vec::new();
    Duplex::daemon(&b""[..], &mut sent, "/site.git", "localhost:9418").unwrap().greet().unwrap();
    assert_eq!(sent, b"0033git-receive-pack /site.git\0host=localhost:9418\0");
    for (path, host) in [("/a\0b", "c"), ("/a", "b\0c"), (&"/a".repeat(3_000), "b")] {
        assert!(Duplex::daemon(&b""[..], Vec::new(), path, host).is_err());
    }
}

#[test]
fn a_pack_is_made_of_what_was_promised() {
    let room = Room::new();
    let start = |count| PackWriter::create(room.path(), count).unwrap();
    let miscounted = "the pack has not as many objects as it says";
    assert_eq!(start(1).finish().err().unwrap().to_string(), miscounted);
    assert_eq!(start(0).whole(Kind::Blob, b"x").unwrap_err().to_string(), miscounted);
    for (given, expected) in [(0, "the object is shorter than its size"), (11, "the object is longer than its size")] {
        let error = start(1).stream(Kind::Blob, 10, |_| Ok::<_, io::Error>(given)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(room.script("ls"), "site.git\n");
}

#[test]
fn a_blob_goes_as_what_changed_of_the_one_that_is_named() {
    let room = Room::new();
    let page = |changed: usize| {
        let line =
            |at: usize| if at == changed { "changed\n".to_owned() } else { format!("{at} {}\n", at * at * 7919) };
        (0..5_000).flat_map(|at| line(at).into_bytes()).collect::<Vec<u8>>()
    };
    let (old, new, other) = (page(5_000), page(2_500), b"another".repeat(1_000));
    let mut parent = None;
    let mut lengths = Vec::new();
    for (bytes, base) in [(&old, None), (&new, Some(&old)), (&other, Some(&new)), (&old, None)] {
        let blob = id_of(Kind::Blob, bytes).unwrap();
        let tree = [&b"100644 page\0"[..], blob.as_bytes()].concat();
        let commit = commit(id_of(Kind::Tree, &tree).unwrap(), parent);
        let id = id_of(Kind::Commit, &commit).unwrap();
        let mut pack = PackWriter::create(room.path(), 3).unwrap();
        pack.whole(Kind::Commit, &commit).unwrap();
        pack.tree(&tree, None).unwrap();
        let named = base.map(|base| (id_of(Kind::Blob, base).unwrap(), &base[..]));
        pack.blob(bytes, named).unwrap();
        let pack = pack.finish().unwrap();
        assert_eq!(room.push(&[Update { name: MAIN, old: parent, new: Some(id) }], Some(&pack)), [Report::Taken]);
        assert_eq!(room.script("git -C site.git rev-parse main:page"), format!("{blob}\n"));
        lengths.push(pack.length());
        parent = Some(id);
    }
    // Whole where there is no base, as what changed where that is less, and whole where it is not.
    assert!(lengths[0] > 20_000 && lengths[1] < 1_000, "{lengths:?}");
}
