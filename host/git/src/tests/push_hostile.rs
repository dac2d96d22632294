//! Servers that a commit is pushed to, and that lie, break off, hang or flood: what is said of each, exactly, and what it may
//! take. Meanwhile the old head is read and a neighbour is fetched; afterwards nothing of it is left on disk.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    push_faults::{flushed, greeting, outcome_of},
    pushes::stage,
    server::{self, BRIEF, daemon, packet, packets, serve, upload_pack},
    support::{Room, fetch, moved},
    taken::{self, Taken, is_alone},
};
use crate::{Fetched, Patience, Remote, Repository};

/// The most that any of them takes while it is pushed to, in bytes: of memory, and on disk, where what is pushed lies twice.
const MEMORY: u64 = 32 << 20;
const DISK: u64 = 2 * BIG + (4 << 20);

/// Of what a connection does not swallow by itself.
const BIG: u64 = 16 << 20;

/// So that one that never ends costs a test little.
pub(super) const SHORT: Patience = Patience { pack: Duration::from_secs(2), ..BRIEF };

/// While a server misbehaves, the others are fetched within this.
pub(super) const PROMPT: Duration = Duration::from_secs(2);

/// What a server does, one after another.
#[derive(Clone)]
pub(super) enum Act {
    Say(Vec<u8>),
    /// Reads until nothing more comes.
    Hear,
    /// Reads so many bytes.
    Take(u64),
    /// Says the same until nobody listens.
    Flood(Vec<u8>),
    Hang,
}

use Act::{Flood, Hang, Hear, Say, Take};

pub(super) fn play(stream: &mut TcpStream, acts: &[Act]) {
    let mut buffer = vec![0; 64 * 1024];
    for act in acts {
        // The client may have left at any of them.
        match act {
            Say(bytes) => drop(stream.write_all(bytes)),
            Flood(bytes) => while stream.write_all(bytes).is_ok() {},
            Hear => {
                stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                while let Ok(1..) = stream.read(&mut buffer) {}
            }
            Take(bytes) => drop(std::io::copy(&mut stream.take(*bytes), &mut std::io::sink())),
            Hang => thread::sleep(Duration::from_secs(3)),
        }
    }
}

/// Something that compresses to nothing less.
fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(usize::try_from(BIG).unwrap()).collect()
}

/// A repository with a head, and a neighbour beside it.
pub(super) struct Scene {
    pub(super) local: Remote,
    pub(super) head: String,
    room: Room,
    pages: Repository,
    neighbour: (Repository, Remote),
    noise: Vec<u8>,
}

impl Scene {
    pub(super) fn new(runtime: &tokio::runtime::Runtime) -> Self {
        let room = Room::new();
        let local = room.remote("site.git", &[("a", "one")]).at("main");
        room.remote("neighbour.git", &[("a", "near")]);
        let (address, _) = upload_pack(room.path.clone(), "2");
        let theirs = daemon(runtime, address, "/neighbour.git", Patience::default());
        let store = room.store();
        let (pages, neighbour) = (store.repository("pages").unwrap(), store.repository("neighbour").unwrap());
        moved(&neighbour, &theirs);
        let head = stage(&pages, &local).base().revision().to_owned();
        Self { local, head, room, pages, neighbour: (neighbour, theirs), noise: noise() }
    }

    /// Pushes to `remote` what goes well: it is taken there, and the next fetch says what the branch stands at after all.
    pub(super) fn is_taken(&self, what: &str, remote: &Remote, patience: Duration) {
        let begun = Instant::now();
        assert_eq!(self.push(what, remote, false), "taken: true", "{what}");
        assert!(begun.elapsed() < patience, "{what}: {:?}", begun.elapsed());
        assert_ne!(self.pages.head().unwrap().id.to_string(), self.head, "{what}");
        assert_eq!(stage(&self.pages, &self.local).base().revision(), self.head, "{what}");
    }

    /// Pushes to `remote` what does not: it says why, and all is as before.
    pub(super) fn is_not_taken(&self, what: &str, remote: &Remote, big: bool, expected: &str) {
        let (state, name) = (self.room.path.join("state"), remote_name(remote));
        let kept = taken::bytes(&state);
        let said = self.push(what, remote, big).replace(&name, "R");
        assert_eq!(said, expected, "a server that {what}");
        assert_eq!(self.pages.head().unwrap().id.to_string(), self.head, "a server that {what}");
        assert_eq!(taken::bytes(&state), kept, "a server that {what}");
        assert_eq!(self.room.fsck(), "", "a server that {what}");
    }

    fn push(&self, what: &str, remote: &Remote, big: bool) -> String {
        let contents = if big { &self.noise[..] } else { self.head.as_bytes() };
        let (taken, over) = (Taken::of(&self.room.path.join("state")), AtomicBool::new(false));
        let said = thread::scope(|scope| {
            let ((neighbour, theirs), over) = (&self.neighbour, &over);
            let old = self.pages.snapshot(self.pages.head().map(|head| head.id)).unwrap();
            let living = scope.spawn(move || {
                let mut seen = 0;
                while seen == 0 || !over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    assert_eq!(fetch(neighbour, theirs).unwrap(), Fetched::Unchanged, "a server that {what}");
                    assert_eq!(old.contents("a", 10).unwrap(), "one", "a server that {what}");
                    assert!(begun.elapsed() < PROMPT, "{what}: the neighbour took {:?}", begun.elapsed());
                    seen += 1;
                    thread::sleep(Duration::from_millis(50));
                }
            });
            let said = outcome_of(&self.pages, &self.local, remote, contents);
            over.store(true, Ordering::Relaxed);
            living.join().unwrap();
            said
        });
        let (memory, disk) = taken.most();
        assert!(
            memory <= MEMORY && disk <= DISK,
            "a server that {what} takes {memory} bytes of memory, and {disk} on disk"
        );
        said
    }
}

fn remote_name(remote: &Remote) -> String {
    let crate::Location::Server(server) = &remote.location else { panic!("it is a server") };
    server.name().to_owned()
}

/// One that plays what `script` holds just then.
fn scripted(script: Arc<Mutex<Vec<Act>>>) -> SocketAddr {
    let (address, _) = serve(move |mut stream| {
        let opening = packet(&mut stream);
        assert!(opening.starts_with("git-receive-pack /site.git\0"), "{opening:?}");
        let acts = script.lock().unwrap().clone();
        play(&mut stream, &acts);
    });
    address
}

pub(super) const USUAL: &str = "report-status report-status-v2 side-band-64k ofs-delta delete-refs atomic";

fn report(lines: &[&[u8]]) -> Vec<u8> {
    flushed(packets(lines))
}

fn banded(report: &[u8]) -> Vec<u8> {
    flushed(packets(&[&[&[1], report].concat()]))
}

/// Once it has the pack, it alone knows.
pub(super) fn unknown(words: &str) -> String {
    format!("{words}; whether it took it is not known")
}

fn framing(words: &str) -> String {
    format!("R: this is not the Git protocol: {words}")
}

pub(super) const TAKEN: &[&[u8]] = &[b"unpack ok\n", b"ok refs/heads/main\n"];

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn servers_that_do_not_take_it() {
    if !is_alone("push_hostile::servers_that_do_not_take_it") {
        return;
    }
    let runtime = server::runtime();
    let scene = Scene::new(&runtime);
    let hello = |capabilities: &str| greeting(&scene.head, capabilities);
    let early = || unknown("R: the connection ended early");
    let taken = report(TAKEN);
    let refused = report(&[b"unpack ok\n", b"ng refs/heads/main no \x1b[2Jway\n"]);
    let reports =
        |capabilities: &str, report: Vec<u8>| vec![Say(greeting(&scene.head, capabilities)), Hear, Say(report)];
    let silent = |greeting: Vec<u8>| vec![Say(greeting), Hang];
    let cases: Vec<(&str, Vec<Act>, String)> = vec![
        ("ends in its greeting", vec![Say(hello(USUAL)[..40].to_vec())], "R: the connection ended early".into()),
        ("ends before its report", reports(USUAL, vec![]), early()),
        ("ends in a band", reports(USUAL, banded(&taken)[..20].to_vec()), early()),
        ("ends in its report", reports(USUAL, banded(&taken[..30])), early()),
        ("refuses the service", silent(packets(&[b"ERR no \x1b[2J"])), "said: no \\u{1b}[2J".into()),
        (
            "gives up in its report",
            reports(USUAL, [packets(&[&[&[1], &taken[..30]].concat()]), packets(&[b"\x03no disk\n"])].concat()),
            "said: no disk".into(),
        ),
        ("gives up", reports(USUAL, packets(&[b"\x03no disk\x1b[2J\n"])), "said: no disk\\u{1b}[2J".into()),
        (
            "speaks another version",
            silent(flushed(packets(&[b"version 2\n"]))),
            framing("a version of it that cannot push"),
        ),
        (
            "cannot report",
            silent(hello("side-band-64k")),
            "said: the server does not know report-status, which is needed".into(),
        ),
        (
            "is of SHA-256",
            silent(hello("report-status object-format=sha256")),
            "said: it is a SHA-256 repository, which cannot be read here; make it one of SHA-1".into(),
        ),
        ("is no server", silent(b"HTTP/1.1 400 Bad Request\r\n".to_vec()), framing("a packet without a length")),
        (
            "reports nonsense",
            reports("report-status", report(&[b"hello\n"])),
            unknown(&framing("a report that begins otherwise")),
        ),
        (
            "unpacked it and says no more",
            reports(USUAL, banded(&report(&[b"unpack ok\n"]))),
            unknown(&framing("a report that does not name the branch")),
        ),
        (
            "speaks of another branch",
            reports(USUAL, banded(&report(&[b"unpack ok\n", b"ok refs/heads/mai\n"]))),
            unknown(&framing("a report that does not name the branch")),
        ),
        ("did not unpack it and took it", reports(USUAL, banded(&report(&[b"unpack \x1b[2J\n", TAKEN[1]]))), {
            "\\u{1b}[2J".into()
        }),
        ("refuses", reports(USUAL, banded(&refused)), "no \\u{1b}[2Jway".into()),
        ("refuses without bands", reports("report-status", refused.clone()), "no \\u{1b}[2Jway".into()),
        (
            "refuses and says why",
            reports(USUAL, [packets(&[b"\x02remote: policy\x1b]0;x\x07\r\n"]), banded(&refused)].concat()),
            "no \\u{1b}[2Jway: remote: policy\\u{1b}]0;x\\u{7}".into(),
        ),
        (
            "refuses at length",
            reports(
                "report-status",
                report(&[b"unpack ok\n", &[b"ng refs/heads/main ", &vec![b'x'; 60_000][..]].concat()]),
            ),
            format!("{}...", "x".repeat(1024)),
        ),
        (
            "cannot unpack",
            reports(USUAL, banded(&report(&[b"unpack index-pack failed\n", b"ng refs/heads/main unpacker error\n"]))),
            "unpacker error (index-pack failed)".into(),
        ),
        ("moved", silent(greeting(&"1".repeat(40), USUAL)), "the branch moved".into()),
        (
            "lost the branch",
            silent(flushed(packets(&[format!("{} capabilities^{{}}\0{USUAL}", "0".repeat(40)).as_bytes()]))),
            "the branch moved".into(),
        ),
    ];
    let script = Arc::<Mutex<Vec<Act>>>::default();
    let address = scripted(script.clone());
    let remote = daemon(&runtime, address, "/site.git", BRIEF);
    for (what, acts, expected) in cases {
        *script.lock().unwrap() = acts;
        scene.is_not_taken(what, &remote, false, &expected);
    }
    let nowhere = server::nowhere();
    let said = format!("R: {nowhere}: connection refused");
    scene.is_not_taken("is not there", &daemon(&runtime, nowhere, "/site.git", BRIEF), false, &said);
    // An answer that is no other's: it is taken, with a report in bands or without.
    for (what, acts) in [
        ("says it took it", reports(USUAL, banded(&taken))),
        ("says so without bands", reports("report-status", taken.clone())),
        ("says so before it can have it", vec![Say(hello(USUAL)), Say(banded(&taken)), Hear]),
    ] {
        *script.lock().unwrap() = acts;
        scene.is_taken(what, &remote, PROMPT);
    }
}

#[test]
fn servers_that_hang_or_flood() {
    if !is_alone("push_hostile::servers_that_hang_or_flood") {
        return;
    }
    let runtime = server::runtime();
    let scene = Scene::new(&runtime);
    let hello = || Say(greeting(&scene.head, USUAL));
    let heard = |then: Vec<Act>| [vec![Say(greeting(&scene.head, USUAL)), Hear], then].concat();
    let progress = packets(&[&[b"\x02\x1b[2J", &vec![b'.'; 60_000][..]].concat()]);
    let others: Vec<Vec<u8>> = (0..1_000).map(|at| format!("ok refs/heads/b{at}\n").into_bytes()).collect();
    let others = packets(&others.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let in_bands: Vec<u8> = others.chunks(60_000).flat_map(|part| packets(&[&[&[1], part].concat()])).collect();
    let refs: Vec<Vec<u8>> = (0..1_000).map(|at| format!("{at:040x} refs/heads/b{at}\n").into_bytes()).collect();
    let refs = packets(&refs.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let (talk, pause) = ("R: nothing came within 500ms", "R: nothing came within 400ms");
    let much = "R: the server says more than 16777216 bytes beside the pack";
    let begun = banded(&report(TAKEN))[..20].to_vec();
    let cases: Vec<(&str, Vec<Act>, bool, String)> = vec![
        ("says nothing", vec![Hang], false, talk.into()),
        ("hangs in a length", vec![Say(b"00".to_vec()), Hang], false, talk.into()),
        ("hangs in its greeting", vec![Say(greeting(&scene.head, USUAL)[..40].to_vec()), Hang], false, talk.into()),
        ("hangs before the end of its greeting", vec![Say(refs.clone()), Hang], false, talk.into()),
        ("says refs without end", vec![Flood(refs)], false, much.into()),
        ("says what it can do without end", vec![Flood(packets(&[&[b'x'; 60_000]]))], false, {
            framing("a ref without an id or a name")
        }),
        ("takes nothing", vec![hello(), Hang], true, unknown(pause)),
        ("hangs in the pack", vec![hello(), Take(1 << 20), Hang], true, unknown(pause)),
        ("leaves in the pack", vec![hello(), Take(1 << 20)], true, unknown("R: the connection was cut off")),
        ("leaves before the pack", vec![hello()], true, unknown("R: the connection was cut off")),
        ("hangs behind the pack", heard(vec![Hang]), true, unknown(pause)),
        ("hangs in its report", heard(vec![Say(begun), Hang]), false, unknown(pause)),
        ("hangs behind progress", heard(vec![Say(progress.clone()), Hang]), false, unknown(pause)),
        (
            "makes progress without end",
            heard(vec![Flood(progress.clone())]),
            false,
            unknown("R: it was not over within 2s"),
        ),
        (
            "reports without end",
            vec![Say(greeting(&scene.head, "report-status")), Hear, Say(packets(TAKEN)), Flood(others.clone())],
            false,
            unknown(much),
        ),
        (
            "reports without end, in bands",
            heard(vec![Say(packets(&[&[&[1], &packets(TAKEN)[..]].concat()])), Flood(in_bands)]),
            false,
            unknown(much),
        ),
    ];
    let script = Arc::<Mutex<Vec<Act>>>::default();
    let remote = daemon(&runtime, scripted(script.clone()), "/site.git", SHORT);
    for (what, acts, big, expected) in cases {
        *script.lock().unwrap() = acts;
        scene.is_not_taken(what, &remote, big, &expected);
    }
    // It took it, and whatever its hooks say then is heard for as long as talk may take.
    *script.lock().unwrap() = heard(vec![Say(packets(&[&[&[1], &report(TAKEN)[..]].concat()])), Flood(progress)]);
    scene.is_taken("takes it and chats", &remote, PROMPT);
}
