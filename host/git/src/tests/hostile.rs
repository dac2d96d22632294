//! Servers that lie, break off, hang or flood: what is said of each, exactly, and what it may take. The old head is served,
//! nothing of what came is left on disk, and `git fsck` calls our copy clean.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use gix::hash::Kind as HashKind;

use super::{
    made::{deflated, pack, sealed, tiny},
    server::{self, BRIEF, banded, daemon, packet, packets},
    support::{InFull as _, Room, fetch, moved},
    taken::{self, Taken, is_alone},
};
use crate::ObjectId;

/// The most that any of them takes while it is heard, in bytes: of memory, and on disk.
const MEMORY: u64 = 64 << 20;
const DISK: u64 = 16 << 20;

/// What a server does, message by message.
#[derive(Clone)]
enum Act {
    Say(Vec<u8>),
    /// Waits for the client's next message to end.
    Hear,
    Hang,
}

use Act::{Hang, Hear, Say};

const V2: &[&[u8]] = &[b"version 2\n", b"agent=x\n", b"ls-refs=unborn\n", b"fetch=shallow\n"];

fn v2() -> Vec<u8> {
    [packets(V2), b"0000".to_vec()].concat()
}

/// Runs each of the cases of a test on a repository that has a head.
fn table(test: &str, cases: &[(&str, Vec<Act>, &str)]) {
    if !is_alone(&format!("hostile::{test}")) {
        return;
    }
    let room = Room::new();
    let good = room.remote("good", &[("a.txt", "one")]);
    let pages = room.pages();
    let head = moved(&pages, &good);
    let kept = taken::bytes(&room.path.join("state"));
    let runtime = server::runtime();
    let script = Arc::new(Mutex::new(Vec::new()));
    let acts = script.clone();
    let (address, _) = server::serve(move |mut stream| {
        packet(&mut stream);
        let acts: Vec<Act> = acts.lock().unwrap().clone();
        play(&mut stream, acts);
    });
    for (name, acts, words) in cases {
        *script.lock().unwrap() = acts.clone();
        // Nothing is remembered of the one before.
        let remote = daemon(&runtime, address, "/x.git", BRIEF);
        let taken = Taken::of(&room.path.join("state"));
        let said = match fetch(&pages, &remote) {
            Err(error) => error.in_full(),
            Ok(fetched) => format!("{fetched:?}"),
        };
        let (memory, disk) = taken.most();
        let said = said.replace(&format!("git://{address}/x.git"), "R");
        assert_eq!(said, *words, "{name}");
        assert_eq!(pages.head(), Some(head), "{name}");
        assert_eq!(room.fsck(), "", "{name}");
        assert_eq!(taken::bytes(&room.path.join("state")), kept, "{name}");
        assert!(memory <= MEMORY && disk <= DISK, "{name} takes {memory} bytes of memory, and {disk} on disk");
    }
}

fn play(stream: &mut TcpStream, acts: Vec<Act>) {
    for act in acts {
        match act {
            // The client may have left.
            Say(bytes) => {
                if stream.write_all(&bytes).is_err() {
                    return;
                }
            }
            Hear => {
                let mut digits = [0; 4];
                // A message of version 2 ends with a flush.
                while stream.read_exact(&mut digits).is_ok() && &digits != b"0000" {
                    let length = usize::from_str_radix(str::from_utf8(&digits).unwrap(), 16).unwrap();
                    let _ = stream.read_exact(&mut vec![0; length.saturating_sub(4)]);
                }
            }
            Hang => thread::sleep(Duration::from_secs(2)),
        }
    }
}

fn lines(lines: &[&str]) -> Vec<u8> {
    let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
    [packets(&lines), b"0000".to_vec()].concat()
}

/// 10,000 branches, and `main` behind them.
fn many(main: Option<&str>) -> Vec<u8> {
    let refs = (0..10_000).map(|at| format!("{at:040x} refs/heads/b{at}\n"));
    let refs: Vec<String> = refs.chain(main.map(|id| format!("{id} refs/heads/main\n"))).collect();
    lines(&refs.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn servers_that_hang_at_each_stage() {
    let head = lines(&["1234567890123456789012345678901234567890 refs/heads/main\n"]);
    let talk = "R: nothing came within 500ms";
    table(
        "servers_that_hang_at_each_stage",
        &[
            ("at once", vec![Hang], talk),
            ("in a length", vec![Say(b"00".to_vec()), Hang], talk),
            ("in its greeting", vec![Say(packets(V2)), Hang], talk),
            ("before its refs", vec![Say(v2()), Hear, Hang], talk),
            ("in its refs", vec![Say(v2()), Hear, Say(head[..20].to_vec()), Hang], talk),
            ("before the pack", vec![Say(v2()), Hear, Say(head.clone()), Hear, Hang], "R: nothing came within 400ms"),
            (
                "in the pack",
                vec![Say(v2()), Hear, Say(head.clone()), Hear, Say(packets(&[b"packfile\n", b"\x01PACK"])), Hang],
                "R: nothing came within 400ms",
            ),
            (
                "after progress",
                vec![Say(v2()), Hear, Say(head), Hear, Say(packets(&[b"packfile\n", b"\x02..."])), Hang],
                "R: nothing came within 400ms",
            ),
        ],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn servers_that_break_off_or_speak_otherwise() {
    let id = "1234567890123456789012345678901234567890";
    let head = lines(&[&format!("{id} refs/heads/main\n")]);
    let old = |capabilities: &str| lines(&[&format!("{id} refs/heads/main\0{capabilities}\n")]);
    let asked = |after: Vec<Act>| [vec![Say(v2()), Hear, Say(head.clone()), Hear], after].concat();
    table(
        "servers_that_break_off_or_speak_otherwise",
        &[
            ("nothing", vec![], "R: the connection ended early"),
            ("half a packet", vec![Say(b"0010ab".to_vec())], "R: the connection ended early"),
            (
                "another protocol",
                vec![Say(b"SSH-2.0-x\r\n".to_vec())],
                "R: this is not the Git protocol: a packet without a length",
            ),
            (
                "an error",
                vec![Say(packets(&[b"ERR no \x1b]0;x\x07such\n"]))],
                "R: the server says \"no \\u{1b}]0;x\\u{7}such\"",
            ),
            (
                "an endless banner",
                vec![Say([packets(V2), packets(&[&[b'x'; 60_000][..]; 300])].concat())],
                "R: the server says more than 16777216 bytes beside the pack",
            ),
            (
                "SHA-256",
                vec![Say(lines(&["version 2\n", "object-format=sha256\n"]))],
                "R: it is a SHA-256 repository, which cannot be read here; make it one of SHA-1",
            ),
            (
                "SHA-256, before version 2",
                vec![Say(old("object-format=sha256"))],
                "R: it is a SHA-256 repository, which cannot be read here; make it one of SHA-1",
            ),
            (
                "refs that are none",
                vec![Say(v2()), Hear, Say(lines(&["main\n"]))],
                "R: this is not the Git protocol: a ref without an id or a name",
            ),
            (
                "an id that is none",
                vec![Say(v2()), Hear, Say(lines(&["../../etc/passwd refs/heads/main\n"]))],
                "R: this is not the Git protocol: a ref without an id",
            ),
            (
                "hostile names",
                vec![
                    Say(v2()),
                    Hear,
                    Say(b"0000".to_vec()),
                    Hear,
                    Say(lines(&[&format!("{id} refs/heads/../x\n"), &format!("{id} refs/heads/\x1b[31m\n")])),
                ],
                "Gone(\"R: no branch main; it has ../x, \\\\u{1b}[31m\")",
            ),
            (
                "10,000 refs, ours the last",
                vec![Say(v2()), Hear, Say(many(Some(id))), Hear, Say(b"0000".to_vec())],
                "R: this is not the Git protocol: an answer without a pack",
            ),
            (
                "10,000 refs, none of them ours",
                vec![Say(v2()), Hear, Say(b"0000".to_vec()), Hear, Say(many(None))],
                "Gone(\"R: no branch main; it has b0, b1, b2, b3, b4, b5, b6, b7, b8, b9\")",
            ),
            ("no side-band", vec![Say(old("agent=x"))], "R: the server does not know side-band-64k, which is needed"),
            (
                "no pack",
                asked(vec![Say(b"0000".to_vec())]),
                "R: this is not the Git protocol: an answer without a pack",
            ),
            (
                "escape codes beside the pack",
                asked(vec![Say(packets(&[
                    b"packfile\n",
                    b"\x02\x1b]0;x\x07\x1b[2J\r",
                    b"\x01PACK",
                    b"\x03\x1b[1mno\n",
                ]))]),
                "R: the server says \"\\u{1b}[1mno\"",
            ),
            (
                "an error in place of a pack",
                asked(vec![Say(packets(&[b"ERR upload-pack: not our ref\n"]))]),
                "R: the server says \"upload-pack: not our ref\"",
            ),
            (
                "an error in the pack",
                asked(vec![Say(packets(&[b"packfile\n", b"\x01PACK", b"\x03no disk\x1b[2J\n"]))]),
                "R: the server says \"no disk\\u{1b}[2J\"",
            ),
            (
                "no more of the pack",
                asked(vec![Say(packets(&[b"packfile\n", b"\x01PACK\0\0\0\x02\0\0\0\x05xxxxxxxxxxxxxxxxxxxxxxxxx"]))]),
                "R: the connection ended early",
            ),
            (
                "another band",
                asked(vec![Say(packets(&[b"packfile\n", b"\x07PACK"]))]),
                "R: this is not the Git protocol: a packet of no side-band",
            ),
        ],
    );
}

/// What a server says it has at the branch.
const ID: &str = "1234567890123456789012345678901234567890";

/// A server that sends `pack` for it.
fn sent(pack: &[u8]) -> Vec<Act> {
    sent_for(ID, pack)
}

/// The same of another.
pub(super) fn serving(id: ObjectId, pack: &[u8]) -> SocketAddr {
    let acts = sent_for(&id.to_string(), pack);
    let serving = server::serve(move |mut stream| {
        packet(&mut stream);
        play(&mut stream, acts.clone());
    });
    serving.0
}

fn sent_for(id: &str, pack: &[u8]) -> Vec<Act> {
    let head = lines(&[&format!("{id} refs/heads/main\n")]);
    let all = [packets(&[b"packfile\n"]), banded(pack)].concat();
    vec![Say(v2()), Hear, Say(head), Hear, Say(all)]
}

fn refused(why: &str) -> String {
    format!("the head {ID} of R is refused: {why}")
}

/// Each costs a hundred times what it is; they are looked at, and nothing of them stays.
#[test]
fn packs_of_many_tiny_objects() {
    let many = tiny(100_000);
    let counted = |count: u32| {
        let mut pack = many[..many.len() - 20].to_vec();
        pack[8..12].copy_from_slice(&count.to_be_bytes());
        sealed(pack)
    };
    let missing = refused(&format!("object {ID} is missing"));
    let fewer = refused("the pack says that it has 1048576 objects, and ends after 100000");
    let more = refused("the pack is damaged: it has more in it than it says");
    table(
        "packs_of_many_tiny_objects",
        &[
            ("none of which is wanted", sent(&many), &missing),
            ("fewer than it says", sent(&counted(1 << 20)), &fewer),
            ("more than it says", sent(&counted(99_999)), &more),
        ],
    );
}

/// What a few bytes say of each other, that would take hours to follow as it is said.
#[test]
fn packs_whose_deltas_lead_nowhere() {
    let (blob, offset, reference) = (3, 6, 7);
    let nothing = gix::ObjectId::empty_blob(HashKind::Sha1);
    // Each makes its own base once more, which all of them name.
    let mut same: Vec<(u8, u64, &[u8], &[u8])> = vec![(blob, 0, b"", b"")];
    same.resize(20_001, (reference, 2, nothing.as_bytes(), &[0, 0]));
    // Each is the whole of the one before.
    let (zeros, copy) = (vec![0; 65_536], [0x80, 0x80, 0x04, 0x80, 0x80, 0x04, 0x80]);
    let first = 3 + deflated(&zeros).len();
    let first = [0x80 | u8::try_from((first - 128) >> 7).unwrap(), u8::try_from((first - 128) & 0x7f).unwrap()];
    let (second, next) =
        ([u8::try_from(3 + deflated(&copy).len()).unwrap()], [u8::try_from(2 + deflated(&copy).len()).unwrap()]);
    let mut chain: Vec<(u8, u64, &[u8], &[u8])> = vec![(blob, 65_536, b"", &zeros), (offset, 7, &first, &copy)];
    chain.push((offset, 7, &second, &copy));
    chain.resize(600, (offset, 7, &next, &copy));
    table(
        "packs_whose_deltas_lead_nowhere",
        &[
            ("all from one", sent(&pack(20_001, &same)), &refused(&format!("object {ID} is missing"))),
            (
                "each from the one before",
                sent(&pack(600, &chain)),
                &refused("the pack's deltas are made from one another in chains that are too long"),
            ),
        ],
    );
}

#[test]
fn packs_that_are_not_right() {
    let (blob, offset, reference) = (3, 6, 7);
    let raw = ObjectId::from_hex(ID.as_bytes()).unwrap();
    let good = pack(1, &[(blob, 1, b"", b"x")]);
    let mut torn = good.clone();
    torn[14] ^= 1;
    let zeros = vec![0; 8 << 20];
    // Copies the first 64 KiB of its base a thousand times.
    let mut bomb = vec![0x80, 0x80, 0x04, 0x80, 0x80, 0x80, 0x80, 0x08];
    bomb.extend([0x80].repeat(32_768));
    let first = 3 + deflated(&zeros[..65_536]).len();
    let distance = [0x80 | u8::try_from((first - 128) >> 7).unwrap(), u8::try_from((first - 128) & 0x7f).unwrap()];
    let cases: Vec<(&str, Vec<u8>, String)> = vec![
        ("empty", Vec::new(), refused("the pack is damaged: it is too short for one")),
        (
            "no pack",
            sealed(b"PACK\0\0\0\x07\0\0\0\0".to_vec()),
            refused("the pack is damaged: it is none of version 2"),
        ),
        ("a flipped bit", torn, refused("the pack is damaged: its checksum is not that of its bytes")),
        (
            "cut short",
            good[..good.len() - 3].to_vec(),
            refused("the pack is damaged: its checksum is not that of its bytes"),
        ),
        (
            "fewer than it says",
            pack(2, &[(blob, 1, b"", b"x")]),
            refused("the pack says that it has 2 objects, and ends after 1"),
        ),
        (
            "more than it says",
            pack(1, &[(blob, 1, b"", b"x"), (blob, 1, b"", b"y")]),
            refused("the pack is damaged: it has more in it than it says"),
        ),
        (
            "far more than it may",
            pack(u32::MAX, &[]),
            refused("the pack has 4294967295 objects, and more than 1048576 are not taken"),
        ),
        (
            "longer than its size",
            pack(1, &[(blob, 1, b"", b"xy")]),
            refused("the pack's entry at 12 is damaged: it is longer than its header says"),
        ),
        (
            "shorter than its size",
            pack(1, &[(blob, 9, b"", b"xy")]),
            refused("the pack's entry at 12 is damaged: it is shorter than its header says"),
        ),
        (
            "a zlib bomb",
            pack(1, &[(blob, 1 << 40, b"", &zeros)]),
            refused("the objects of the pack take more than 17179869184 bytes"),
        ),
        (
            "no base",
            pack(1, &[(reference, 4, raw.as_bytes(), b"\x01\x01\x01x")]),
            refused("the pack has 1 deltas whose bases are nowhere"),
        ),
        (
            "a base before the pack",
            pack(1, &[(offset, 4, b"\x7f", b"\x01\x01\x01x")]),
            refused("the pack's entry at 12 is damaged: its base lies before the pack"),
        ),
        (
            "a base between two objects",
            pack(2, &[(blob, 1, b"", b"x"), (offset, 4, b"\x01", b"\x01\x01\x01x")]),
            refused("the pack has 1 deltas whose bases are nowhere"),
        ),
        (
            "a delta of nothing",
            pack(2, &[(blob, 1, b"", b"x"), (offset, 3, b"\x0a", b"\x01\x01\x00")]),
            refused("the pack's entry at 22 is damaged: its delta has an instruction that does not exist"),
        ),
        (
            "a delta bomb",
            pack(2, &[(blob, 65_536, b"", &zeros[..65_536]), (offset, bomb.len() as u64, &distance, &bomb)]),
            refused(&format!(
                "the pack's entry at {} takes 2147483648 bytes, and is stored as a delta or is not a blob",
                12 + first
            )),
        ),
        ("nothing of what was asked for", good, refused(&format!("object {ID} is missing"))),
    ];
    let cases: Vec<(&str, Vec<Act>, &str)> =
        cases.iter().map(|(name, pack, words)| (*name, sent(pack), words.as_str())).collect();
    table("packs_that_are_not_right", &cases);
}
