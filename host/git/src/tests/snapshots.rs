//! Reading a revision.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use gix::odb::pack::data::entry::Header;

use super::{
    server::{self, daemon, upload_pack},
    support::{DATE, Room, alone, anonymous, drain, fetch, moved},
};
use crate::{Entry, Kind, Patience, Remote, Snapshot};

/// A tree with everything in it.
fn everything(room: &Room) -> Snapshot {
    let remote = room.remote("origin", &[("a", "x")]);
    let blob = room.blob("origin", "hello");
    let link = room.blob("origin", "../a");
    let round = room.blob("origin", "loop");
    let commit = room.script("git -C origin rev-parse main");
    let deep = room.bad_tree("origin", &[("100644", b"file", &blob)]);
    let tree = room.bad_tree(
        "origin",
        &[
            ("100644", b"a.txt", &blob),
            ("40000", b"a", &deep),
            ("100664", b"group", &blob),
            ("120000", b"link", &link),
            ("120000", b"loop", &round),
            ("160000", b"module", commit.trim()),
            ("100755", b"run", &blob),
            ("100644", "\u{fc}ber.txt".as_bytes(), &blob),
            ("100644", b"\xfc.txt", &blob),
        ],
    );
    room.commit_tree("origin", &tree);
    let pages = room.pages();
    fetch(&pages, &remote).unwrap();
    pages.snapshot(pages.head().map(|head| head.id)).unwrap()
}

#[test]
fn entries_are_what_git_says() {
    let room = Room::new();
    let snapshot = everything(&room);
    assert_eq!(snapshot.revision(), room.script("git -C origin rev-parse main").trim());
    assert_eq!(snapshot.committed(), DATE);
    let listed: Vec<String> =
        snapshot.children("").unwrap().iter().map(|Entry { name, kind, id }| format!("{kind:?} {id} {name}")).collect();
    let expected = room.script("git -C origin -c core.quotePath=false ls-tree main");
    let expected: Vec<String> = expected
        .lines()
        .filter(|line| !line.contains('\u{fffd}'))
        .map(|line| {
            let (mode, rest) = line.split_once(' ').unwrap();
            let (_, rest) = rest.split_once(' ').unwrap();
            let kind = match mode {
                "040000" => "Directory",
                "120000" => "Symlink",
                "160000" => "Submodule",
                "100755" => "Executable",
                _ => "File",
            };
            format!("{kind} {}", rest.replace('\t', " "))
        })
        .collect();
    assert_eq!(listed, expected);
    assert_eq!(snapshot.children("a").unwrap().len(), 1);
    let Entry { name, kind, id } = snapshot.entry("").unwrap();
    assert_eq!((name.as_str(), kind), ("", Kind::Directory));
    assert_eq!(id.to_string(), room.script("git -C origin rev-parse main^{tree}").trim());
    assert_eq!(snapshot.entry("a/file").unwrap().name, "file");
}

#[test]
fn contents_are_what_git_says() {
    let room = Room::new();
    let snapshot = everything(&room);
    for (path, contents) in
        [("a.txt", "hello"), ("run", "hello"), ("a/file", "hello"), ("link", "../a"), ("loop", "loop")]
    {
        assert_eq!(snapshot.size(path).unwrap(), contents.len() as u64, "{path}");
        assert_eq!(snapshot.contents(path, 5).unwrap(), contents, "{path}");
        let mut read = Vec::new();
        let reader = snapshot.read(path).unwrap();
        assert_eq!(reader.size(), contents.len() as u64);
        drain(reader, |chunk| read.extend_from_slice(chunk));
        assert_eq!(read, contents.as_bytes(), "{path}");
    }
    assert_eq!(snapshot.contents("a.txt", 4).unwrap_err().to_string(), "too large");
}

#[test]
fn what_is_not_there_is_not_found() {
    let room = Room::new();
    let snapshot = everything(&room);
    for path in [
        "/",
        "a/",
        "/a",
        "a//file",
        ".",
        "..",
        "a/.",
        "a/..",
        "./a",
        "a/../a.txt",
        "no",
        "a/no",
        "a.txt/x",
        "link/x",
        "module/x",
        "a.txt/",
        "A.TXT",
        ".git",
        "a\0",
        "\u{fffd}.txt",
    ] {
        assert_eq!(snapshot.entry(path).unwrap_err().to_string(), "not found", "{path:?}");
        assert_eq!(snapshot.children(path).unwrap_err().to_string(), "not found", "{path:?}");
        assert_eq!(snapshot.contents(path, 10).unwrap_err().to_string(), "not found", "{path:?}");
    }
    for path in ["", "a", "module"] {
        assert_eq!(snapshot.size(path).unwrap_err().to_string(), "not found", "{path:?}");
        assert_eq!(snapshot.contents(path, 10).unwrap_err().to_string(), "not found", "{path:?}");
        assert_eq!(snapshot.read(path).err().unwrap().to_string(), "not found", "{path:?}");
    }
    for path in ["a.txt", "link", "module"] {
        assert_eq!(snapshot.children(path).unwrap_err().to_string(), "not found", "{path:?}");
    }
}

#[test]
fn what_was_read_is_answered_at_once() {
    let room = Room::new();
    let large = "x".repeat(200_000);
    let remote = room.remote("origin", &[("dir/small", "hello"), ("dir/large", &large)]);
    let revision = moved(&room.pages(), &remote);
    let pages = room.pages();
    let snapshot = pages.snapshot(Some(revision.id)).unwrap();
    // The root is always there.
    assert_eq!(snapshot.cached_entry("dir").unwrap().unwrap().kind, Kind::Directory);
    assert_eq!(snapshot.cached_entry("no").unwrap().unwrap_err().to_string(), "not found");
    assert!(snapshot.cached_entry("dir/small").is_none());
    assert!(snapshot.cached_children("dir").is_none());
    snapshot.entry("dir/small").unwrap();
    assert_eq!(snapshot.cached_entry("dir/small").unwrap().unwrap().kind, Kind::File);
    assert_eq!(snapshot.cached_entry("dir/no").unwrap().unwrap_err().to_string(), "not found");
    assert_eq!(snapshot.cached_children("dir").unwrap().unwrap().len(), 2);

    assert!(snapshot.cached_size("dir/small").is_none());
    assert!(snapshot.cached_contents("dir/small", 10).is_none());
    assert!(snapshot.cached_read("dir/small").is_none());
    assert_eq!(snapshot.size("dir/small").unwrap(), 5);
    assert_eq!(snapshot.cached_contents("dir/small", 10).unwrap().unwrap(), "hello");
    assert_eq!(snapshot.cached_contents("dir/small", 4).unwrap().unwrap_err().to_string(), "too large");
    assert_eq!(snapshot.cached_read("dir/small").unwrap().unwrap().chunk_at_hand(10).unwrap().unwrap(), "hello");

    // Of a large one the size alone.
    assert_eq!(snapshot.size("dir/large").unwrap(), 200_000);
    assert_eq!(snapshot.cached_size("dir/large").unwrap().unwrap(), 200_000);
    assert_eq!(snapshot.cached_contents("dir/large", 10).unwrap().unwrap_err().to_string(), "too large");
    assert!(snapshot.cached_contents("dir/large", 1 << 20).is_none());
    assert_eq!(snapshot.contents("dir/large", 1 << 20).unwrap(), large);
    // What was written just now the kernel has in memory; but the end is checked where one may wait.
    let mut reader = snapshot.read("dir/large").unwrap();
    let mut read = reader.chunk_at_hand(1000).unwrap().unwrap().to_vec();
    assert_eq!(read.len(), 1000);
    while let Some(chunk) = reader.chunk_at_hand(1 << 20).unwrap() {
        read.extend(chunk);
    }
    assert_eq!(read.len(), 199_999);
    read.extend(reader.chunk(1 << 20).unwrap());
    assert!(read == large.as_bytes());
}

#[test]
fn a_large_blob_streams_through_little_memory() {
    let _alone = alone();
    let room = Room::new();
    // Alone it becomes a loose file, among many others an entry of a pack, which is a remote for another then.
    room.script(
        "mkdir few many; truncate -s 300M few/big; truncate -s 100M many/big; for i in $(seq 150); do echo $i >many/$i; done",
    );
    let store = room.store();
    let before = anonymous();
    for (name, remote, size) in
        [("loose", "few", 300 << 20), ("packed", "many", 100 << 20), ("repacked", "state/git/packed.git", 100 << 20)]
    {
        let repository = store.repository(name).unwrap();
        let revision = moved(&repository, &Remote::local(room.path.join(remote)));
        let snapshot = repository.snapshot(Some(revision.id)).unwrap();
        let packs = room.script(&format!("ls state/git/{name}.git/objects/pack"));
        assert_eq!(packs.is_empty(), name == "loose", "{packs}");
        assert_eq!(snapshot.size("big").unwrap(), size);
        let (mut zeros, mut most, mut chunks) = (true, 0, 0);
        let length = drain(snapshot.read("big").unwrap(), |chunk| {
            zeros &= chunk.iter().all(|byte| *byte == 0);
            chunks += 1;
            if chunks % 100 == 0 {
                most = most.max(anonymous().saturating_sub(before));
            }
        });
        assert_eq!((length, zeros), (size, true));
        assert!(most < 64 << 20, "{most} bytes more");
    }
}

/// It is made on the disk, where it comes from a repository and where it comes in a pack.
#[test]
fn a_delta_that_takes_too_much_memory_is_a_file_like_any_other() {
    let _alone = alone();
    let room = Room::new();
    room.script("git init -q --bare origin");
    // A base of 64 KiB, a delta that copies it 1,040 times, which is 65 MiB, and one of that, which is a byte more.
    let base: Vec<u8> =
        (0..0x1_0000_u32).map(|at| u8::try_from(at.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    let id_of = |bytes: &[u8]| gix::objs::compute_hash(gix::hash::Kind::Sha1, gix::objs::Kind::Blob, bytes).unwrap();
    let mut large = base.repeat(1040);
    let (base_id, large_id) = (id_of(&base), id_of(&large));
    let mut first = vec![0x80, 0x80, 0x04, 0x80, 0x80, 0xc0, 0x20];
    first.extend([0x80; 1040]);
    let mut second = vec![0x80, 0x80, 0xc0, 0x20, 0x81, 0x80, 0xc0, 0x20];
    for part in 0..5_u8 {
        // 13 MiB each, from where the last one ended.
        second.push(0xff);
        second.extend((u32::from(part) * 0xd0_0000).to_le_bytes());
        second.extend([0, 0, 0xd0]);
    }
    second.extend(b"\x01!");
    let mut pack = b"PACK\0\0\0\x02\0\0\0\x03".to_vec();
    for (header, bytes) in [
        (Header::Blob, &base),
        (Header::RefDelta { base_id }, &first),
        (Header::RefDelta { base_id: large_id }, &second),
    ] {
        header.write_to(bytes.len() as u64, &mut pack).unwrap();
        pack.extend(deflated(bytes));
    }
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(&pack);
    pack.extend(hasher.try_finalize().unwrap().as_bytes());
    room.feed("git -C origin index-pack --stdin", &pack);
    large.push(b'!');
    let (large_id, larger_id) = (large_id.to_string(), id_of(&large).to_string());
    let tree = room.bad_tree("origin", &[("100644", b"large", &large_id), ("100644", b"larger", &larger_id)]);
    room.commit_tree("origin", &tree);

    let runtime = server::runtime();
    let (address, _) = upload_pack(room.path.clone(), "2");
    let store = room.store();
    for (name, remote) in [
        ("here", Remote::local(room.path.join("origin"))),
        ("there", daemon(&runtime, address, "/origin", Patience::default())),
    ] {
        let repository = store.repository(name).unwrap();
        let before = anonymous();
        let revision = moved(&repository, &remote);
        let more = anonymous().saturating_sub(before);
        assert!(more < 48 << 20, "{name}: {more} bytes");
        for (path, length) in [("large", large.len() - 1), ("larger", large.len())] {
            let mut reader = repository.snapshot(Some(revision.id)).unwrap().read(path).unwrap();
            let mut bytes = Vec::new();
            while bytes.len() < length {
                bytes.extend(reader.chunk(1 << 20).unwrap());
            }
            assert!(bytes == large[..length], "{name}: {path}");
        }
        room.script(&format!("git -C state/git/{name}.git fsck --full --strict"));
    }
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut out = gix::zlib::stream::deflate::Write::new(Vec::new(), gix::zlib::Compression::BEST_SPEED);
    out.write_all(bytes).unwrap();
    out.flush().unwrap();
    out.into_inner()
}

#[test]
fn a_wide_directory_is_looked_up_quickly() {
    let _alone = alone();
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "x")]);
    let blob = room.blob("origin", "x");
    let names: Vec<String> = (0..100_000).map(|number| format!("file-{number:06}.html")).collect();
    let entries: Vec<(&str, &[u8], &str)> = names.iter().map(|name| ("100644", name.as_bytes(), &*blob)).collect();
    let wide = room.bad_tree("origin", &entries);
    room.commit_tree("origin", &room.bad_tree("origin", &[("40000", b"wide", &wide)]));
    let pages = room.pages();
    let revision = moved(&pages, &remote);
    let snapshot = pages.snapshot(Some(revision.id)).unwrap();
    snapshot.entry("wide/file-000000.html").unwrap();
    let mut fastest = Duration::MAX;
    for some in names.chunks(1000) {
        let begun = Instant::now();
        for name in some.iter().step_by(10) {
            assert!(snapshot.cached_entry(&format!("wide/{name}")).unwrap().is_ok());
        }
        fastest = fastest.min(begun.elapsed() / 100);
    }
    assert!(fastest < Duration::from_micros(20), "{fastest:?}");
}
