//! Packs as they come: however their bytes are cut up, what is in them is the same, and what of one changes on the disk
//! before it is copied is not taken.

use std::{
    cell::Cell,
    fs,
    io::{self, Read},
};

use gix::objs::Kind;

use super::{
    made::pack,
    support::{Room, id},
};
use crate::{
    disk::{Files, Unsettled},
    objects::{DECODE_LIMIT, Incoming, Intake, Objects, PackError, id_of},
};

/// So many bytes at once.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.1.min(self.0.len()).min(out.len());
        out[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        Ok(length)
    }
}

/// A repository with deltas, an empty file and one that is large; all of it as a pack, and what it is made of.
fn packed(room: &Room) -> (Vec<u8>, Vec<(String, String)>) {
    let large = (0..200_000).map(|line| format!("{line} is a line\n")).collect::<Vec<_>>().concat();
    let lines = (0..2_000).map(|line| format!("{} is a line\n", line * line)).collect::<Vec<_>>().concat();
    room.remote("site.git", &[("empty", ""), ("large", &large), ("lines", &lines)]);
    room.push("site.git", &[("empty", ""), ("large", &large), ("lines", &format!("{lines}and one more\n"))]);
    room.script("git -C site.git pack-objects -q --all --stdout --delta-base-offset </dev/null >pack");
    let listed =
        room.script("git -C site.git cat-file --batch-all-objects --batch-check='%(objectname) %(objecttype)'");
    let pack = fs::read(room.path.join("pack")).unwrap();
    let objects = listed.lines().map(|line| line.split_once(' ').unwrap());
    (pack, objects.map(|(id, kind)| (id.to_owned(), kind.to_owned())).collect())
}

fn ours(room: &Room) -> Objects {
    fs::create_dir_all(room.path.join("ours/pack")).unwrap();
    Objects::open(room.path.join("ours"), Files::default()).unwrap()
}

#[test]
fn a_pack_is_the_same_however_it_comes() {
    let room = Room::new();
    let (pack, objects) = packed(&room);
    let ours = ours(&room);
    for step in [1, 7, 20, 21, 4096, usize::MAX] {
        let incoming = Incoming::receive(Pieces(&pack, step), &ours).unwrap();
        for (hex, kind) in &objects {
            let (found, bytes) = incoming.objects().whole(&id(hex), u64::MAX).unwrap();
            assert_eq!(found.to_string(), *kind, "{step}");
            assert_eq!(room.feed(&format!("git hash-object -t {kind} --stdin"), &bytes).trim(), hex, "{step}");
        }
        for cut in [pack.len() - 1, pack.len() / 2, 31, 12] {
            let error = Incoming::receive(Pieces(&pack[..cut], step), &ours).err().unwrap().to_string();
            let short = if cut < 32 { "it is too short for one" } else { "its checksum is not that of its bytes" };
            assert_eq!(error, format!("the pack is damaged: {short}"), "{step}");
        }
    }
    assert_eq!(room.script("ls ours"), "pack\n");
}

#[test]
fn entries_are_copied_as_they_came_or_not_at_all() {
    let room = Room::new();
    let (pack, objects) = packed(&room);
    let ours = ours(&room);
    let incoming = Incoming::receive(&pack[..], &ours).unwrap();
    let unsettled = Unsettled::default();
    let mut intake = Intake::packing(&ours, &unsettled, objects.len());
    let mut copied = Vec::new();
    for (hex, _) in &objects {
        let (kind, _) = incoming.objects().header(&id(hex)).unwrap().unwrap();
        if intake.verbatim(id(hex), kind, &incoming).unwrap() {
            copied.push(hex.as_str());
        } else {
            intake.object(id(hex), incoming.objects().object(&id(hex)).unwrap()).unwrap();
        }
    }
    intake.finish().unwrap();
    // Neither a delta, of the file or of the tree, nor the large one.
    assert_eq!(copied.len(), objects.len() - 3, "{copied:?} of {objects:?}");
    let verified = room.script("git verify-pack -v ours/pack/*.idx | awk '$2 ~ /blob|tree|commit/ {print $1}' | sort");
    assert_eq!(verified.lines().collect::<Vec<_>>(), objects.iter().map(|(hex, _)| hex).collect::<Vec<_>>());

    // The last bit of each entry's contents, after it was looked at.
    let path = room.script("ls -d $PWD/ours/tmp_incoming_*/pack/*.pack").trim().to_owned();
    let offsets = room
        .script("git index-pack -o x.idx pack >/dev/null; git -C site.git show-index <x.idx | sort -n | cut -d' ' -f1");
    let mut damaged = pack.clone();
    for end in offsets.lines().skip(1).filter_map(|line| line.parse::<usize>().ok()).chain([pack.len() - 20]) {
        damaged[end - 1] ^= 1;
    }
    fs::write(path, damaged).unwrap();
    for hex in copied {
        let mut intake = Intake::packing(&ours, &unsettled, 1);
        let (kind, _) = ours.header(&id(hex)).unwrap().unwrap();
        let error = intake.verbatim(id(hex), kind, &incoming).unwrap_err().to_string();
        assert_eq!(error, format!("object {hex} is damaged: it is not what it was when it came"));
    }
}

/// A pack that has a fault at its beginning and no end, with how much of it was read.
struct Endless<'a>(&'a [u8], &'a Cell<usize>);

impl Read for Endless<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let begun = self.0.read(out)?;
        out[begun..].fill(0);
        self.1.set(self.1.get() + out.len());
        Ok(out.len())
    }
}

#[test]
fn a_pack_that_is_refused_is_not_read_on() {
    let room = Room::new();
    let ours = ours(&room);
    let read = Cell::new(0);
    let error = Incoming::receive(Endless(b"PACK\0\0\0\x02\0\0\0\x02\x31", &read), &ours).err().unwrap();
    assert_eq!(error.to_string(), "the pack's entry at 12 is damaged: its compressed data is invalid");
    // Some pieces wait to be looked at.
    assert!(read.get() <= 20 * 64 * 1024, "{} bytes", read.get());
    assert_eq!(room.script("ls ours"), "pack\n");
}

/// What of ours is put behind it counts with it.
#[test]
fn a_pack_takes_no_more_with_its_bases_than_it_may() {
    let room = Room::new();
    let zeros = "\0".repeat(65_536);
    room.remote("site.git", &[("zeros", &zeros)]);
    let ours = Objects::open(room.path.join("site.git/objects"), Files::default()).unwrap();
    let base = id_of(Kind::Blob, zeros.as_bytes()).unwrap();
    let copy = [0x80, 0x80, 0x04, 0x80, 0x80, 0x04, 0x80];
    let thin = pack(1, &[(7, copy.len() as u64, base.as_bytes(), &copy)]);
    let length = thin.len() as u64;
    let within = |most| Incoming::within(&thin[..], &ours, most);
    assert!(matches!(within(length - 1), Err(PackError::TooLong)));
    assert!(matches!(within(length + 20), Err(PackError::TooLong)));
    let incoming = within(length + 65_536).map_err(|error| error.to_string()).ok().unwrap();
    assert_eq!(incoming.objects().whole(&base, DECODE_LIMIT).unwrap().1, zeros.as_bytes());
}

/// However often an object is in a pack, and whatever each of them is made from: one that can be read is read.
#[test]
fn copies_that_are_made_from_one_another_go_round_nowhere() {
    let room = Room::new();
    let ours = ours(&room);
    let (a, b) = (b"aaaa", b"bbbb");
    let [a_id, b_id] = [a, b].map(|bytes| id_of(Kind::Blob, bytes).unwrap());
    let delta = |to: &[u8; 4]| [&[4, 4, 4], &to[..]].concat();
    let (to_a, to_b) = (delta(a), delta(b));
    for copies in [1, 64, 65, 200] {
        for first in [true, false] {
            let whole: (u8, u64, &[u8], &[u8]) = (3, 4, b"", a);
            let mut entries = vec![(7, 7, a_id.as_bytes(), &to_b[..])];
            entries.resize(1 + copies, (7, 7, b_id.as_bytes(), &to_a[..]));
            entries.insert(if first { 0 } else { entries.len() }, whole);
            let sent = pack(u32::try_from(entries.len()).unwrap(), &entries);
            let incoming = Incoming::receive(&sent[..], &ours).map_err(|error| error.to_string()).ok().unwrap();
            for (id, bytes) in [(a_id, a), (b_id, b)] {
                let read = incoming.objects().whole(&id, DECODE_LIMIT).map_err(|error| error.to_string());
                assert_eq!(read, Ok((Kind::Blob, bytes.to_vec())), "{copies} {first}");
            }
        }
    }
}
