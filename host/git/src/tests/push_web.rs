//! Web servers that a commit is pushed to, and that lie, break off, hang or flood: what is said of each, exactly, within the
//! bounds of [`super::push_hostile`].

use std::{
    io::{BufReader, Read as _, Write as _},
    sync::{Arc, Mutex},
};

use super::{
    push_faults::{flushed, greeting},
    push_hostile::{
        Act::{self, Flood, Hang, Say, Take},
        PROMPT, SHORT, Scene, TAKEN, USUAL, play, unknown,
    },
    server::{packets, runtime, serve},
    taken::is_alone,
    web::{answer, head, remote},
};

const RESULT: &str = "application/x-git-receive-pack-result";

/// What it does when it is asked what it has, and when it is sent a commit.
type Script = (Vec<Act>, Vec<Act>);

/// A head without a length: what follows ends with the connection.
fn endless(kind: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n").into_bytes()
}

/// An answer behind which the connection ends.
fn closing(bytes: Vec<u8>) -> Vec<u8> {
    let text = b"HTTP/1.1 200 OK\r\n";
    [text, &b"Connection: close\r\n"[..], &bytes[text.len()..]].concat()
}

fn scripted(script: Arc<Mutex<Script>>) -> std::net::SocketAddr {
    let (address, _) = serve(move |stream| {
        let mut stream = BufReader::new(stream);
        let Some(asked) = head(&mut stream) else { return };
        let (greets, takes) = script.lock().unwrap().clone();
        if asked.line.starts_with("GET ") {
            assert_eq!(asked.line, "GET /site.git/info/refs?service=git-receive-pack HTTP/1.1");
            return play(stream.get_mut(), &greets);
        }
        assert_eq!(asked.line, "POST /site.git/git-receive-pack HTTP/1.1");
        if !matches!(takes[..], [Hang] | [Take(_), ..]) {
            let _ = std::io::copy(&mut stream.by_ref().take(asked.length), &mut std::io::sink());
        }
        play(stream.get_mut(), &takes);
        let _ = stream.get_mut().flush();
    });
    address
}

const ADVERTISEMENT: &str = "application/x-git-receive-pack-advertisement";

/// What a server says of the scene's repository to who would push.
fn hello(scene: &Scene) -> Vec<u8> {
    let refs = [packets(&[b"# service=git-receive-pack\n"]), b"0000".to_vec(), greeting(&scene.head, USUAL)].concat();
    answer(ADVERTISEMENT, &refs)
}

#[test]
fn web_servers_that_do_not_take_it() {
    if !is_alone("push_web::web_servers_that_do_not_take_it") {
        return;
    }
    let runtime = runtime();
    let scene = Scene::new(&runtime);
    let hello = hello(&scene);
    let greets = || vec![Say(closing(hello.clone()))];
    let takes = |acts: Vec<Act>| (greets(), acts);
    let report = |lines: &[&[u8]]| flushed(packets(&[&[&[1], &flushed(packets(lines))[..]].concat()]));
    let said = |bytes: &[u8]| takes(vec![Say(closing(answer(RESULT, bytes)))]);
    let (refs, progress) = (
        packets(&[format!("{} refs/heads/b\n", "1".repeat(40)).as_bytes(); 1_000]),
        packets(&[&[b"\x02\x1b[2J", &vec![b'.'; 60_000][..]].concat()]),
    );
    let others = packets(&[&[b"\x01", &packets(&[&b"ok refs/heads/b\n"[..]; 1_000])[..]].concat()]);
    let begun = packets(&[&[b"\x01", &packets(TAKEN)[..]].concat()]);
    let (talk, pause) = ("R: nothing came within 500ms", "R: nothing came within 400ms");
    let much = "R: the server says more than 16777216 bytes beside the pack";
    let cases: Vec<(&str, Script, bool, String)> = vec![
        ("says nothing", (vec![Hang], vec![]), false, talk.into()),
        ("hangs in what it has", (vec![Say(endless(ADVERTISEMENT)), Hang], vec![]), false, talk.into()),
        ("has refs without end", (vec![Say(endless(ADVERTISEMENT)), Flood(refs)], vec![]), false, much.into()),
        ("takes nothing", takes(vec![Hang]), true, unknown(pause)),
        ("hangs behind the pack", takes(vec![Say(vec![]), Hang]), true, unknown(pause)),
        ("hangs in its report", takes(vec![Say(endless(RESULT)), Say(begun.clone()), Hang]), false, unknown(pause)),
        ("ends in its report", said(&begun), false, unknown("R: the connection ended early")),
        (
            "makes progress without end",
            takes(vec![Say(endless(RESULT)), Flood(progress.clone())]),
            false,
            unknown("R: it was not over within 2s"),
        ),
        (
            "reports without end",
            takes(vec![Say(endless(RESULT)), Say(begun.clone()), Flood(others)]),
            false,
            unknown(much),
        ),
        (
            "answers with a page",
            takes(vec![Say(closing(answer("text/html", b"<h1>")))]),
            false,
            unknown(&format!("R: no repository answers there: what came is \"text/html\", and not {RESULT}")),
        ),
        (
            "is out of order in plain words",
            takes(vec![Say(
                b"HTTP/1.1 502 No\r\nContent-Type: text/plain\r\nContent-Length: 8\r\nConnection: close\r\n\r\nno\x1b[2Jno"
                    .to_vec(),
            )]),
            false,
            unknown("R: the server answers 502 Bad Gateway: \"no\\u{1b}[2Jno\""),
        ),
        (
            "sends the commit elsewhere",
            takes(vec![Say(
                b"HTTP/1.1 307 No\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
            )]),
            false,
            unknown("R: the server answers 307 Temporary Redirect"),
        ),
        (
            "refuses",
            said(&[packets(&[b"\x02policy\x1b[2J\n"]), report(&[b"unpack ok\n", b"ng refs/heads/main no\n"])].concat()),
            false,
            "no: policy\\u{1b}[2J".into(),
        ),
    ];
    let script = Arc::<Mutex<Script>>::default();
    let address = scripted(script.clone());
    for (what, acts, big, expected) in cases {
        *script.lock().unwrap() = acts;
        scene.is_not_taken(what, &remote(&runtime, address, SHORT), big, &expected);
    }
    *script.lock().unwrap() = said(&report(TAKEN));
    scene.is_taken("says it took it", &remote(&runtime, address, SHORT), PROMPT);
}

/// What is answered to a push, when it is asked what is there or when the commit has come, and what is made of it: who is told
/// that it is refused does not ask again, and who is told that nobody answers does.
#[test]
fn answers_that_refuse_and_answers_that_do_not() {
    let runtime = runtime();
    let scene = Scene::new(&runtime);
    let hello = hello(&scene);
    let script = Arc::<Mutex<Script>>::default();
    let address = scripted(script.clone());
    for (status, refuses) in [
        ("400 Bad Request", true),
        ("401 Unauthorized", true),
        ("403 Forbidden", true),
        ("404 Not Found", true),
        ("405 Method Not Allowed", true),
        ("413 Payload Too Large", true),
        ("407 Proxy Authentication Required", false),
        ("408 Request Timeout", false),
        ("421 Misdirected Request", false),
        ("425 Too Early", false),
        ("429 Too Many Requests", false),
        ("403 Forbidden\r\nRetry-After: 60", false),
        ("500 Internal Server Error", false),
        ("502 Bad Gateway", false),
        ("503 Service Unavailable", false),
    ] {
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n");
        let no = Say(format!("{head}\r\nno").into_bytes());
        let respite = if status.contains("Retry-After: 60") { ", Retry-After: 60" } else { "" };
        let status = status.split('\r').next().unwrap();
        let words = match status {
            "401 Unauthorized" => format!("the server answers {status}"),
            "407 Proxy Authentication Required" => format!("the proxy answers {status}: \"no\""),
            _ => format!("the server answers {status}: \"no\"{respite}"),
        };
        let greets = Say(closing(hello.clone()));
        for (acts, late) in [((vec![no.clone()], vec![]), false), ((vec![greets], vec![no]), true)] {
            *script.lock().unwrap() = acts;
            let expected = match (refuses, late) {
                (true, _) => format!("said: {words}"),
                (false, false) => format!("R: {words}"),
                (false, true) => unknown(&format!("R: {words}")),
            };
            scene.is_not_taken(status, &remote(&runtime, address, SHORT), false, &expected);
        }
    }
}

/// Web servers and what stands before them answer as soon as they have read a head, and close: with what was sent them unread
/// that is a reset, and their answer stands all the same.
#[test]
fn answers_before_a_reset_are_heard() {
    if !is_alone("push_web::answers_before_a_reset_are_heard") {
        return;
    }
    let runtime = runtime();
    let scene = Scene::new(&runtime);
    let hello = hello(&scene);
    let script = Arc::<Mutex<Script>>::default();
    let address = scripted(script.clone());
    for (status, fields, refuses) in [
        ("413 Payload Too Large", "Connection: close\r\n", true),
        ("403 Forbidden", "", true),
        ("503 Service Unavailable", "Connection: close\r\n", false),
    ] {
        let no = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n{fields}\r\nno");
        let words = format!("the server answers {status}: \"no\"");
        let expected = if refuses { format!("said: {words}") } else { unknown(&format!("R: {words}")) };
        for taken in [0, 1 << 16, 1 << 20, 3 << 20, 5 << 20] {
            let acts = vec![Take(taken), Say(no.clone().into_bytes())];
            *script.lock().unwrap() = (vec![Say(closing(hello.clone()))], acts);
            let what = format!("{status} after {taken}");
            scene.is_not_taken(&what, &remote(&runtime, address, SHORT), true, &expected);
        }
    }
}
