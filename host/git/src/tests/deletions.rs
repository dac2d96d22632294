//! Refs that are deleted on a server, each with its exact outcome: only one that stands where it was seen goes.

use std::{
    io::Write as _,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{
    push_faults::{flushed, greeting, until_quiet},
    server::{self, BRIEF, daemon, packet, packets, serve, upload_pack},
    support::{InFull as _, Room},
};
use crate::{Location, ObjectId, Patience, Remote, Server};

fn server(remote: Remote) -> Server {
    let Location::Server(server) = remote.location else { panic!("it is on a server") };
    server
}

fn outcome(server: &Server, branch: &str, old: &str) -> String {
    match server.delete(branch, ObjectId::from_hex(old.as_bytes()).unwrap()) {
        Ok(()) => "deleted".to_owned(),
        Err(error) => error.in_full().replace(server.name(), "R"),
    }
}

#[test]
fn a_ref_goes_if_it_stands_where_it_was_seen() {
    let room = Room::new();
    room.remote("site.git", &[("a.txt", "one")]);
    let first = room.script("git -C site.git rev-parse main").trim().to_owned();
    room.push("site.git", &[("a.txt", "two")]);
    let second = room.script("git -C site.git rev-parse main").trim().to_owned();
    room.script(&format!(
        "cd site.git; git branch other {first}; git branch more/deep {first}; git tag v1 {first}; \
         git branch kept {first}; git config receive.denyDeleteCurrent refuse; \
         printf '#!/bin/sh\\ncase $1 in */kept) echo it stays >&2; exit 1;; esac\\n' >hooks/update; chmod +x hooks/update"
    ));
    let runtime = server::runtime();
    let (address, wire) = upload_pack(room.path.clone(), "2");
    let there = server(daemon(&runtime, address, "/site.git", Patience::default()));
    let refs = || room.script("git -C site.git for-each-ref --format='%(refname:short)'").replace('\n', " ");
    for (branch, old, expected, left) in [
        ("other", &second, "the branch moved", "kept main more/deep other v1 "),
        ("oth", &first, "the branch moved", "kept main more/deep other v1 "),
        ("other", &first, "deleted", "kept main more/deep v1 "),
        ("other", &first, "the branch moved", "kept main more/deep v1 "),
        ("more/deep", &first, "deleted", "kept main v1 "),
        ("refs/tags/v1", &first, "deleted", "kept main "),
        ("kept", &first, "hook declined: it stays\\nerror: hook declined to update refs/heads/kept", "kept main "),
        ("../main", &second, "R: \"refs/heads/../main\" cannot be a branch's name", "kept main "),
    ] {
        wire.sent.store(0, Ordering::SeqCst);
        assert_eq!(outcome(&there, branch, old), expected, "{branch}");
        assert_eq!(refs(), left, "{branch}");
        // A command, and no pack.
        assert!(wire.sent.load(Ordering::SeqCst) < 512, "{branch}");
    }
    let said = outcome(&there, "main", &second);
    assert!(said.starts_with("deletion of the current branch prohibited: error: refusing to delete"), "{said}");
    assert_eq!(room.script("git -C site.git fsck --full --strict --no-dangling 2>&1"), "");
}

/// What a server with these capabilities says of its refs.
type Greets<'a> = &'a dyn Fn(&str) -> Vec<u8>;

#[test]
fn servers_that_delete_nothing() {
    let runtime = server::runtime();
    let id = "1".repeat(40);
    let report = |lines: &[&[u8]]| flushed(packets(lines));
    // What is said of the branch when it is asked for once more.
    let there = |capabilities: &str| greeting(&id, capabilities);
    let gone = |capabilities: &str| {
        let nothing = format!("{} capabilities^{{}}\0{capabilities}\n", "0".repeat(40));
        flushed(packets(&[nothing.as_bytes()]))
    };
    let otherwise = report(&[b"unpack ok\n", b"ok refs/heads/main\n", b"option refname refs/heads/other\n"]);
    for (what, capabilities, report, later, expected) in [
        (
            "does not offer it",
            "report-status atomic",
            None,
            &there as Greets<'_>,
            "R: the server deletes no refs: delete-refs is not among what it can do",
        ),
        (
            "reports nothing",
            "delete-refs atomic",
            None,
            &there,
            "R: the server does not know report-status, which is needed",
        ),
        (
            "refuses",
            "report-status delete-refs",
            Some(report(&[b"unpack ok\n", b"ng refs/heads/main no \x1b[2Jway\n"])),
            &there,
            "no \\u{1b}[2Jway",
        ),
        (
            "speaks of another",
            "report-status delete-refs",
            Some(report(&[b"unpack ok\n", b"ok refs/heads/other\n"])),
            &there,
            "R: this is not the Git protocol: a report that does not name the branch; whether it took it is not known",
        ),
        (
            "does it",
            "report-status delete-refs ofs-delta",
            Some(report(&[b"unpack ok\n", b"ok refs/heads/main\n"])),
            &there,
            "deleted",
        ),
        ("does it in its own way", "report-status-v2 delete-refs", Some(otherwise.clone()), &gone, "deleted"),
        (
            "does something else",
            "report-status-v2 delete-refs",
            Some(otherwise.clone()),
            &there,
            "the server took the deletion, and the ref is still there",
        ),
    ] {
        let (hello, reports) = (greeting(&id, capabilities), report.clone());
        let (later, asked) = (later(capabilities), AtomicUsize::new(0));
        let (sender, sent) = std::sync::mpsc::channel();
        let (address, _) = serve(move |mut stream| {
            packet(&mut stream);
            let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
            stream.write_all(if first { &hello } else { &later }).unwrap();
            // It may be asked again where the branch stands.
            let _ = sender.send(until_quiet(&mut stream));
            let _ = stream.write_all(reports.as_deref().unwrap_or_default());
        });
        let there = server(daemon(&runtime, address, "/site.git", BRIEF));
        assert_eq!(outcome(&there, "main", &id), expected, "a server that {what}");
        let sent = sent.recv().unwrap();
        let command = format!("{id} {} refs/heads/main\0report-status", "0".repeat(40));
        if report.is_none() {
            assert_eq!(sent, b"", "a server that {what}");
        } else {
            assert_eq!(&sent[4..4 + command.len()], command.as_bytes(), "a server that {what}");
            assert!(sent.ends_with(b"0000") && !sent.windows(4).any(|bytes| bytes == b"PACK"), "a server that {what}");
        }
    }
}
