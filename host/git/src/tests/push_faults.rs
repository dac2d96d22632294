//! What keeps a commit from being published, each with its exact outcome: the origin stands where it stood, and nothing of
//! it is kept here.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use super::{
    pushes::{commit, later, stage, write},
    server::{self, BRIEF, daemon, packet, packets, serve, upload_pack},
    support::{InFull as _, Room},
};
use crate::{Author, Kind, PublishError, PushError, Remote, Repository, ServerError, StageError, Staging};

/// What happens to a push of one small file from `base` to `remote`.
pub(super) fn outcome(pages: &Repository, base: &Remote, remote: &Remote) -> String {
    // Of no tree before it.
    let contents = stage(pages, base).base().revision().to_owned();
    outcome_of(pages, base, remote, contents.as_bytes())
}

/// The same of a file of these bytes.
pub(super) fn outcome_of(pages: &Repository, base: &Remote, remote: &Remote, contents: &[u8]) -> String {
    let base = stage(pages, base).base().clone();
    let mut staging = Staging::new(base, remote.clone(), pages.next_follower(), Arc::default()).unwrap();
    write(&mut staging, "b", contents);
    match commit(staging, "ours") {
        Ok(id) => format!("taken: {}", id.is_some()),
        Err(error) => {
            let refusal = match &error {
                PublishError::Push(PushError::Server(ServerError { why, .. })) => why.refusal(),
                _ => None,
            };
            refusal.map_or_else(|| error.in_full(), |words| format!("said: {words}"))
        }
    }
}

pub(super) fn until_quiet(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let (mut all, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        all.extend_from_slice(&buffer[..read]);
    }
    all
}

pub(super) fn flushed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(b"0000");
    bytes
}

/// What a server of git's would say of the head `id`.
pub(super) fn greeting(id: &str, capabilities: &str) -> Vec<u8> {
    flushed(packets(&[format!("{id} refs/heads/main\0{capabilities}\n").as_bytes()]))
}

/// A server that takes no thin pack gets one that stands alone.
#[test]
fn a_pack_stands_alone_where_it_must() {
    let room = Room::new();
    let names: Vec<String> = (0..200).map(|at| format!("file-{at:03}")).collect();
    let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let local = room.remote("site.git", &all).at("main");
    room.script("git init -q --bare -b main empty.git");
    let pages = room.pages();
    let runtime = server::runtime();
    for (capabilities, alone) in [("report-status", false), ("report-status no-thin", true)] {
        let head = stage(&pages, &local).base().revision().to_owned();
        let (sender, sent) = std::sync::mpsc::channel();
        let greeting = greeting(&head, capabilities);
        let (address, _) = serve(move |mut stream| {
            packet(&mut stream);
            stream.write_all(&greeting).unwrap();
            sender.send(until_quiet(&mut stream)).unwrap();
            let report = flushed(packets(&[b"unpack ok\n", b"ok refs/heads/main\n"]));
            stream.write_all(&report).unwrap();
        });
        let remote = daemon(&runtime, address, "/site.git", BRIEF);
        assert_eq!(outcome(&pages, &local, &remote), "taken: true");
        let sent = sent.recv().unwrap();
        let pack = sent.windows(4).position(|bytes| bytes == b"PACK").unwrap();
        let fix = if alone { "" } else { "|| echo thin" };
        let indexed = room.feed(&format!("git -C empty.git index-pack --stdin 2>/dev/null {fix}"), &sent[pack..]);
        assert_eq!(indexed.contains("thin"), !alone, "{indexed}");
    }
}

#[test]
fn hooks_and_work_trees_of_real_servers() {
    let room = Room::new();
    let runtime = server::runtime();
    let (address, _) = upload_pack(room.path.clone(), "2");
    for (name, prepare, served, here) in [
        (
            "pre.git",
            "printf '#!/bin/sh\\nprintf \"policy: \\\\033[2Jno\" >&2; exit 1\\n' >H/pre-receive; chmod +x H/pre-receive",
            "pre-receive hook declined: policy: \\u{1b}[2Jno",
            // Not one of them is ever run.
            "taken: true",
        ),
        (
            "update.git",
            "printf '#!/bin/sh\\nexit 1\\n' >H/update; chmod +x H/update",
            "hook declined: error: hook declined to update refs/heads/main",
            "taken: true",
        ),
        // A commit on top of the head is a fast-forward, whatever else is denied.
        (
            "forward.git",
            "git -C forward.git config receive.denyNonFastForwards true",
            "taken: true",
            "the branch moved",
        ),
    ] {
        let local = room.remote(name, &[("a", "one")]).at("main");
        room.script(&format!("mkdir -p {name}/hooks; {}", prepare.replace("H/", &format!("{name}/hooks/"))));
        let pages = room.store().repository(name).unwrap();
        let remote = daemon(&runtime, address, &format!("/{name}"), crate::Patience::default());
        let base = stage(&pages, &local).base().clone();
        assert_eq!(outcome(&pages, &local, &remote), served, "{name}");
        let mut staging = Staging::new(base, local.clone(), pages.next_follower(), Arc::default()).unwrap();
        write(&mut staging, "b", b"two");
        let said =
            commit(staging, "ours").map_or_else(|error| error.in_full(), |id| format!("taken: {}", id.is_some()));
        assert_eq!(said, here, "{name}");
        assert_eq!(room.script(&format!("git -C {name} fsck --full --strict --no-dangling 2>&1")), "");
    }
}

#[test]
fn a_branch_that_is_checked_out_is_left_alone() {
    let room = Room::new();
    let words = |branch: &str| {
        format!(
            "refusing to update checked out branch: refs/heads/{branch}: push to a bare repository, or to another branch"
        )
    };
    room.script("git init -q -b main tree; cd tree; echo 1 >a; git add a; git commit -qm 1; git branch side; git branch linked; git worktree add -q ../linked linked");
    let pages = room.pages();
    for (path, branch, expected) in [
        ("tree", Some("main"), words("main")),
        ("tree", None, words("main")),
        ("tree/.git", Some("main"), words("main")),
        ("tree", Some("linked"), words("linked")),
        ("linked", Some("main"), words("main")),
        ("tree", Some("side"), "taken: true".to_owned()),
    ] {
        let remote = Remote { branch: branch.map(str::to_owned), ..Remote::local(room.path.join(path)) };
        assert_eq!(outcome(&pages, &remote, &remote), expected, "{path} {branch:?}");
    }
    // A HEAD that is of no branch is what lies in the work tree.
    room.script("git -C tree checkout -q --detach; git -C linked checkout -q --detach");
    let heads = room.script("cat tree/.git/HEAD tree/.git/worktrees/linked/HEAD");
    for path in ["tree", "linked", "tree/.git"] {
        let remote = Remote::local(room.path.join(path));
        let expected =
            format!("{}: its HEAD is of no branch; name one: branch = \"NAME\"", room.path.join(path).display());
        assert_eq!(outcome(&pages, &remote, &remote), expected);
    }
    let pseudo = Remote::local(room.path.join("tree")).at("refs/heads/pseudo");
    room.script("echo ref: ORIG_HEAD >tree/.git/refs/heads/pseudo; cp tree/.git/HEAD tree/.git/ORIG_HEAD");
    let expected =
        format!("{}: its HEAD is of no branch; name one: branch = \"NAME\"", room.path.join("tree").display());
    assert_eq!(outcome(&pages, &pseudo, &pseudo), expected);
    assert_eq!(room.script("cat tree/.git/HEAD tree/.git/worktrees/linked/HEAD"), heads);
    assert_eq!(room.script("cat tree/.git/ORIG_HEAD"), room.script("cat tree/.git/HEAD"));
    room.script("rm tree/.git/refs/heads/pseudo");
    // What a work tree has for itself is written where it was read.
    room.script("git -C linked update-ref refs/worktree/own HEAD");
    let own = Remote::local(room.path.join("linked")).at("refs/worktree/own");
    assert_eq!(outcome(&pages, &own, &own), "taken: true");
    assert_eq!(room.script("git -C linked rev-parse refs/worktree/own"), format!("{}\n", pages.head().unwrap().id));
    assert_eq!(room.script("git -C tree for-each-ref refs/worktree"), "");
    room.script("git -C tree checkout -q main; git -C linked checkout -q linked");
    room.script("git -C tree config core.bare true");
    let remote = Remote::local(room.path.join("tree")).at("main");
    assert_eq!(outcome(&pages, &remote, &remote), "taken: true");
    // The same by git's own server.
    room.script("git -C tree config core.bare false");
    let runtime = server::runtime();
    let (address, _) = upload_pack(room.path.clone(), "2");
    let served = daemon(&runtime, address, "/tree/.git", BRIEF);
    let said = outcome(&pages, &served, &served);
    assert!(
        said.starts_with("branch is currently checked out: error: refusing to update checked out branch"),
        "{said}"
    );
    assert_eq!(room.script("git -C tree fsck --full --strict --no-dangling 2>&1"), "");
}

#[test]
fn places_that_cannot_be_written() {
    let room = Room::new();
    let local = room.remote("site.git", &[("a", "one")]).at("main");
    let pages = room.pages();
    room.script("mkdir plain; echo x >plain/index.html");
    let plain = Remote::local(room.path.join("plain"));
    let path = room.path.display();
    assert_eq!(
        outcome(&pages, &local, &plain),
        format!("{path}/plain is a plain directory, which has no commits: nothing can be pushed there")
    );
    room.script("git -C site.git tag v1 main");
    let words = "refs/tags/v1 is a tag, which nobody moves from here: name a branch";
    assert_eq!(outcome(&pages, &local, &local.clone().at("refs/tags/v1")), words);
    room.script("touch site.git/refs/heads/main.lock");
    let said = outcome(&pages, &local, &local);
    let lock = format!("{path}/site.git/refs/heads/main.lock");
    assert_eq!(said, format!("the object cannot be written: {lock} is held by somebody else"));
    // What a kill leaves of our own is taken away at the next start, and nobody else's.
    let record = room.path.join("state/git/pages.git/atoll-pushing");
    let (ours, theirs) = ("1".repeat(40), "2".repeat(40));
    for (held, left) in [(&ours, false), (&theirs, true)] {
        std::fs::write(&lock, format!("{held}\n")).unwrap();
        std::fs::write(&record, format!("{ours}\n{lock}")).unwrap();
        room.pages();
        assert_eq!((std::path::Path::new(&lock).exists(), record.exists()), (left, false));
    }
    room.script("rm site.git/refs/heads/main.lock");
    assert_eq!(outcome(&pages, &local, &local), "taken: true");
    assert_eq!(room.script("git -C site.git fsck --full --strict --no-dangling 2>&1"), "");
}

#[test]
fn paths_that_no_tree_has() {
    let room = Room::new();
    let remote = room.remote("site.git", &[("a", "one"), ("dir/b", "two")]).at("main");
    let pages = room.pages();
    let mut staging = stage(&pages, &remote);
    let deep = vec!["d"; 257].join("/");
    let long = "l".repeat(5_000);
    for (path, kind, words) in [
        ("", Kind::File, "the root is a directory"),
        ("..", Kind::File, "its entry \"..\" means another directory"),
        ("a/../b", Kind::File, "its entry \"..\" means another directory"),
        ("./a", Kind::File, "its entry \".\" means another directory"),
        ("/a", Kind::File, "its entry \"\" has no name"),
        ("x/", Kind::File, "its entry \"\" has no name"),
        ("x//y", Kind::File, "its entry \"\" has no name"),
        (".git", Kind::File, "its entry \".git\" is a spelling of .git"),
        ("x/.GIT/config", Kind::File, "its entry \".GIT\" is a spelling of .git"),
        ("git~1", Kind::File, "its entry \"git~1\" is a spelling of .git"),
        ("x/a\\.git\\b", Kind::File, "its entry \"a\\\\.git\\\\b\" is a spelling of .git"),
        (".git ", Kind::File, "its entry \".git \" is a spelling of .git"),
        (".g\u{200c}it", Kind::File, "its entry \".g\\xe2\\x80\\x8cit\" is a spelling of .git"),
        (".gitmodules", Kind::Symlink, "its entry \".gitmodules\" is a symbolic link"),
        ("a\0b", Kind::File, "a name has no NUL"),
        (&deep, Kind::File, "directories lie at most 256 deep"),
        (&long, Kind::File, "a path has at most 4096 bytes"),
        ("a/below", Kind::File, "what is on the way there is no directory"),
        ("x", Kind::Directory, "a file, an executable or a symbolic link is written"),
        ("x", Kind::Submodule, "a file, an executable or a symbolic link is written"),
    ] {
        let mut upload = staging.uploads().begin();
        upload.push(b"x").unwrap();
        let error = staging.write(path, kind, &upload).unwrap_err().to_string();
        assert_eq!(error, words, "{path:?}");
    }
    let id = staging.base().entry("a").unwrap().id;
    let tree = staging.base().entry("dir").unwrap().id;
    let unknown = super::support::id("0123456789012345678901234567890123456789");
    let empty = gix::ObjectId::empty_tree(gix::hash::Kind::Sha1);
    for (path, kind, id, words) in [
        ("x", Kind::File, unknown, "not found"),
        ("x", Kind::Directory, id, "not found"),
        ("x", Kind::File, tree, "not found"),
        ("x", Kind::Directory, empty, "not found"),
        ("", Kind::File, id, "the root is a directory"),
        ("../x", Kind::File, id, "its entry \"..\" means another directory"),
    ] {
        assert_eq!(staging.place(path, kind, id).unwrap_err().to_string(), words, "{path:?} {kind:?}");
    }
    for path in ["nothing", "a/b", "dir/none", "dir/b/c"] {
        assert!(matches!(staging.remove(path), Err(StageError::NotFound)), "{path}");
    }
    let mut target = staging.uploads().begin();
    target.push(&[b'x'; 5_000]).unwrap();
    assert!(matches!(staging.write("link", Kind::Symlink, &target), Err(StageError::TooLarge)));
    // None of that changed anything.
    let before = pages.head().map(|head| head.id);
    assert_eq!(commit(staging, "nothing").unwrap(), before);
}

#[test]
fn authors_and_messages_that_no_commit_has() {
    let room = Room::new();
    let remote = room.remote("site.git", &[("a", "one")]).at("main");
    let pages = room.pages();
    let lines = "has no control characters, '<' or '>'";
    let spaces = "has 1 to 256 bytes, and no spaces around them";
    let long = "x".repeat(257);
    for (name, email, message, words) in [
        ("", "a@b", "m", format!("an author's name {spaces}")),
        (" a", "a@b", "m", format!("an author's name {spaces}")),
        (&*long, "a@b", "m", format!("an author's name {spaces}")),
        ("a\nb", "a@b", "m", format!("an author's name {lines}")),
        ("a <b", "a@b", "m", format!("an author's name {lines}")),
        ("a", "", "m", format!("an author's address {spaces}")),
        ("a", "a@b>", "m", format!("an author's address {lines}")),
        ("a", "a@b", "m\0", "a message has no NUL".to_owned()),
        ("a", "a@b", &*"m".repeat(70_000), "too large".to_owned()),
    ] {
        let mut staging = stage(&pages, &remote);
        write(&mut staging, "b", b"two");
        let author = Author { name: name.into(), email: email.into() };
        let error = staging.commit(&author, message, later()).unwrap_err();
        assert!(matches!(error, PublishError::Stage(_)), "{error}");
        assert_eq!(error.to_string(), words, "{name:?} {email:?}");
    }
    // An empty tree is one, and everything can be put back.
    let mut staging = stage(&pages, &remote);
    let root = staging.base().entry("").unwrap().id;
    staging.remove("").unwrap();
    commit(staging, "away").unwrap().unwrap();
    assert_eq!(room.script("git -C site.git ls-tree -r main"), "");
    let staging = stage(&pages, &remote);
    assert_eq!(staging.base().entry("").unwrap().id, gix::ObjectId::empty_tree(gix::hash::Kind::Sha1));
    let mut staging = staging;
    assert!(matches!(staging.place("", Kind::Directory, root), Err(StageError::NotFound)));
    write(&mut staging, "a", b"one");
    commit(staging, "back").unwrap().unwrap();
    assert_eq!(room.script("git -C site.git log --format=%s main"), "back\naway\n\n");
}
