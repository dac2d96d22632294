//! Over HTTP: what is asked of the server, request by request, and what is made of answers that are not right.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex, atomic::Ordering},
    thread,
    time::Duration,
};

use atoll_net::{Client, Dialler, Egress, HTTP, Options, Origin, Protocol, Proxies, SystemRoots, Tls};

use super::{
    server::{BRIEF, Wire, packets, runtime, serve},
    support::{InFull as _, Room, fetch, files, moved},
    taken::{self, Taken, is_alone},
};
use crate::{Fetched, Http, Patience, Remote};

/// A request, as it came.
struct Asked {
    line: String,
    fields: Vec<String>,
    body: Vec<u8>,
}

/// The head of one.
pub(super) struct Head {
    pub(super) line: String,
    fields: Vec<String>,
    /// Of its body, in bytes.
    pub(super) length: u64,
}

pub(super) fn head(stream: &mut BufReader<TcpStream>) -> Option<Head> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let line = lines.remove(0);
    let length = lines.iter().find_map(|field| field.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    Some(Head { line, fields: lines, length: length.unwrap_or(0) })
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let Head { line, fields, length } = head(stream)?;
    let mut body = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some(Asked { line, fields, body })
}

pub(super) fn answer(kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The same in two chunks, whose end comes by itself: a web server learns of it when the program behind it has ended.
fn chunked(kind: &str, body: &[u8]) -> [Vec<u8>; 2] {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let (one, other) = body.split_at(1);
    let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    [[head.as_bytes(), &chunk(one), &chunk(other)].concat(), b"0\r\n\r\n".to_vec()]
}

/// As `git http-backend` answers, with each request's line written down.
fn backend(root: PathBuf, version: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>, Arc<Wire>) {
    answering(root, version, |kind, body| chunked(kind, body).into())
}

/// The same, with each answer as `framed` has it.
fn answering(
    root: PathBuf,
    version: &'static str,
    framed: impl Fn(&str, &[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<String>>>, Arc<Wire>) {
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let written = lines.clone();
    let (address, wire) = serve(move |stream| {
        let mut stream = BufReader::new(stream);
        while let Some(asked) = read(&mut stream) {
            written.lock().unwrap().push(asked.line.clone());
            assert!(asked.fields.iter().any(|field| field == "git-protocol: version=2"), "{:?}", asked.fields);
            let advertise = asked.line.starts_with("GET ");
            let run = |arguments: &[&str]| {
                let mut child = Command::new("git")
                    .arg("upload-pack")
                    .args(arguments)
                    .arg(root.join("site.git"))
                    .env("GIT_PROTOCOL", format!("version={version}"))
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                child.stdin.take().unwrap().write_all(&asked.body).unwrap();
                child.wait_with_output().unwrap().stdout
            };
            let pieces = if advertise {
                let greeting = run(&["--http-backend-info-refs"]);
                let service = if version == "2" { Vec::new() } else { packets(&[b"# service=git-upload-pack\n"]) };
                let flush = if version == "2" { "" } else { "0000" };
                let body = [&service[..], flush.as_bytes(), &greeting].concat();
                // Types are read as any other is: in either case, whatever stands behind them.
                framed("Application/X-Git-Upload-Pack-Advertisement; charset=utf-8", &body)
            } else {
                framed("application/x-git-upload-pack-result", &run(&["--stateless-rpc"]))
            };
            for piece in pieces {
                if stream.get_mut().write_all(&piece).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
    });
    (address, lines, wire)
}

pub(super) fn remote(runtime: &tokio::runtime::Runtime, address: SocketAddr, patience: Patience) -> Remote {
    let _within = runtime.enter();
    let client = Client::new(Dialler::system(), Options::default());
    let tls = Tls::system(&SystemRoots::default(), HTTP);
    let uri = format!("http://{address}").parse().unwrap();
    let origin = Origin::new(&uri, Protocol::Http1, &tls, Egress::Any).unwrap();
    let server = Http::server(&client, &Proxies::default(), origin, "/site.git", None, patience);
    Remote::server(server.unwrap()).at("main")
}

#[test]
fn an_unchanged_branch_costs_one_request_on_a_connection_that_is_there() {
    for version in ["0", "1", "2"] {
        let room = Room::new();
        room.remote("site.git", &[("a.txt", "one")]);
        let runtime = runtime();
        let (address, lines, wire) = backend(room.path.clone(), version);
        let remote = remote(&runtime, address, Patience::default());
        let pages = room.pages();
        moved(&pages, &remote);
        let connections = || wire.connections.load(Ordering::SeqCst);
        assert_eq!(connections(), 1, "{version}");
        // The end of the last answer is read by the way.
        let spared = (0..100).any(|_| {
            let before = connections();
            assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged);
            connections() == before
        });
        assert!(spared, "{version}");
        lines.lock().unwrap().clear();
        assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged);
        let asked = if version == "2" {
            "POST /site.git/git-upload-pack HTTP/1.1"
        } else {
            "GET /site.git/info/refs?service=git-upload-pack HTTP/1.1"
        };
        assert_eq!(*lines.lock().unwrap(), [asked], "{version}");
        room.push("site.git", &[("a.txt", "two")]);
        moved(&pages, &remote);
        assert_eq!(files(&pages), [("a.txt".into(), "two".into())], "{version}");
        assert_eq!(lines.lock().unwrap().len(), 3, "{version}: look, and fetch");
        assert_eq!(room.fsck(), "", "{version}");
    }
}

/// As servers answer that do not know chunks, or gather an answer first: a pack, too.
#[test]
fn an_answer_may_say_how_long_it_is() {
    for version in ["0", "1", "2"] {
        let room = Room::new();
        room.remote("site.git", &[("a.txt", "one")]);
        let runtime = runtime();
        let (address, lines, _) = answering(room.path.clone(), version, |kind, body| vec![answer(kind, body)]);
        let (pages, remote) = (room.pages(), remote(&runtime, address, Patience::default()));
        moved(&pages, &remote);
        assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged, "{version}");
        room.push("site.git", &[("a.txt", "two")]);
        moved(&pages, &remote);
        assert_eq!(files(&pages), [("a.txt".into(), "two".into())], "{version}");
        assert!(lines.lock().unwrap().iter().any(|line| line.starts_with("POST ")), "{version}");
        assert_eq!(room.fsck(), "", "{version}");
    }
}

/// A redirect for now is asked for anew each time, and one for good until what it leads to fails.
#[test]
fn a_redirect_is_followed_for_as_long_as_it_says() {
    for (status, lasts) in
        [("302 Found", false), ("307 Temporary Redirect", false), ("301 Moved", true), ("308 Moved", true)]
    {
        let (room, one, two) = (Room::new(), Room::new(), Room::new());
        one.remote("site.git", &[("a.txt", "one")]);
        two.remote("site.git", &[("a.txt", "two")]);
        let runtime = runtime();
        let places = [&one, &two].map(|room| backend(room.path.clone(), "2").0);
        let leads = Arc::new(Mutex::new(places[0]));
        let to = leads.clone();
        let (address, _) = serve(move |stream| {
            let mut stream = BufReader::new(stream);
            while let Some(asked) = read(&mut stream) {
                let target = asked.line.split(' ').nth(1).unwrap();
                let location = format!("http://{}{target}", to.lock().unwrap());
                let answer = format!("HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        let (pages, remote) = (room.pages(), remote(&runtime, address, Patience::default()));
        moved(&pages, &remote);
        assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged, "{status}");
        *leads.lock().unwrap() = places[1];
        if lasts {
            assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Unchanged, "{status}");
            one.script("rm -r site.git");
            fetch(&pages, &remote).unwrap_err();
        }
        moved(&pages, &remote);
        assert_eq!(files(&pages), [("a.txt".into(), "two".into())], "{status}");
    }
}

#[test]
fn answers_that_are_not_right() {
    if !is_alone("web::answers_that_are_not_right") {
        return;
    }
    let advertisement = "application/x-git-upload-pack-advertisement";
    let greeting: Vec<u8> = [packets(&[b"version 2\n", b"fetch=shallow\n"]), b"0000".to_vec()].concat();
    let cut = |bytes: Vec<u8>, by: usize| bytes[..bytes.len() - by].to_vec();
    let cases: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        ("nothing", vec![Vec::new()], "A: connection closed before message completed"),
        ("no HTTP", vec![b"SSH-2.0-x\r\n\r\n".to_vec()], "A: invalid HTTP version parsed"),
        ("half a head", vec![b"HTTP/1.1 200 OK\r\nConte".to_vec()], "A: connection closed before message completed"),
        (
            "half a body",
            vec![cut(answer(advertisement, &greeting), 7)],
            "the connection ended early",
        ),
        ("a body that ends early", vec![answer(advertisement, &cut(greeting.clone(), 7))], "the connection ended early"),
        (
            "another kind of page",
            vec![answer("text/html\x1b[2J", b"<h1>")],
            "A: invalid HTTP header parsed",
        ),
        (
            "a page in place of a result",
            vec![answer(advertisement, &greeting), answer("text/html", b"<h1>")],
            "no repository answers there: what came is \"text/html\", and not application/x-git-upload-pack-result",
        ),
        (
            "redirects without end",
            vec![
                b"HTTP/1.1 301 Moved\r\nLocation: /site.git/info/refs?service=git-upload-pack\r\nContent-Length: 0\r\n\r\n"
                    .to_vec();
                30
            ],
            "the server redirects without end",
        ),
        (
            "a redirect to nowhere",
            vec![b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n".to_vec()],
            "the server redirects to \"\", which is no URL",
        ),
        (
            "a redirect to a file",
            vec![
                b"HTTP/1.1 301 Moved\r\nLocation: file:///etc/info/refs?service=git-upload-pack\r\nContent-Length: 0\r\n\r\n"
                    .to_vec(),
            ],
            "the server redirects to \"file:///etc/info/refs?service=git-upload-pack\", which is no URL",
        ),
        (
            "an endless banner",
            vec![answer(advertisement, &[packets(&[b"version 2\n"]), packets(&[&[b'x'; 60_000][..]; 300])].concat())],
            "the server says more than 16777216 bytes beside the pack",
        ),
        (
            "words that are not for a terminal",
            vec![b"HTTP/1.1 503 No\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nno\x1b[2Jno".to_vec()],
            "the server answers 503 Service Unavailable: \"no\\u{1b}[2Jno\"",
        ),
    ];
    let room = Room::new();
    let good = room.remote("good", &[("a.txt", "one")]);
    let pages = room.pages();
    let head = moved(&pages, &good);
    let (state, kept) = (room.path.join("state"), taken::bytes(&room.path.join("state")));
    let runtime = runtime();
    for (name, answers, words) in cases {
        let left = Arc::new(Mutex::new(answers.into_iter().rev().collect::<Vec<_>>()));
        let (address, _) = serve(move |stream| {
            let mut stream = BufReader::new(stream);
            while read(&mut stream).is_some() {
                let mut left = left.lock().unwrap();
                let Some(next) = left.pop() else { return };
                if stream.get_mut().write_all(&next).is_err() || left.is_empty() {
                    return;
                }
            }
        });
        let taken = Taken::of(&state);
        let error = fetch(&pages, &remote(&runtime, address, BRIEF)).unwrap_err().in_full();
        let (memory, disk) = taken.most();
        let error = error.replace(&format!("http://{address}/site.git"), "R");
        let error = error.replace(&format!("http://{address}"), "A");
        assert_eq!(error, format!("R: {words}"), "{name}");
        assert_eq!(pages.head(), Some(head), "{name}");
        assert_eq!(taken::bytes(&state), kept, "{name}");
        assert!(memory <= 16 << 20 && disk <= 1 << 20, "{name} takes {memory} bytes of memory, and {disk} on disk");
    }
}

#[test]
fn a_web_server_that_hangs() {
    let room = Room::new();
    let runtime = runtime();
    for said in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nContent-Length: 100\r\n\r\n0",
    ] {
        let (address, _) = serve(move |stream| {
            let mut stream = BufReader::new(stream);
            read(&mut stream);
            let _ = stream.get_mut().write_all(said);
            thread::sleep(Duration::from_secs(2));
        });
        let error = fetch(&room.pages(), &remote(&runtime, address, BRIEF)).unwrap_err().in_full();
        assert_eq!(error, format!("http://{address}/site.git: nothing came within 500ms"));
    }
}
