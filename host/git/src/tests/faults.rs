//! What a remote may be, and what we say of it. The old head is served all the while.

use super::support::{InFull as _, Room, fetch, files, id, moved};
use crate::{Fetched, Remote};

/// Runs each script on a fresh copy of a good remote that was fetched before, and compares what is said. In the words, `R`
/// is the remote's path and `H` its new head.
fn table<S: AsRef<str>>(cases: &[(S, S)]) {
    let room = Room::new();
    let remote = room.remote("good", &[("a.txt", "one"), ("dir/b.txt", "two")]);
    let pages = room.pages();
    let head = moved(&pages, &remote);
    for (script, words) in cases.iter().map(|(script, words)| (script.as_ref(), words.as_ref())) {
        room.script(&format!("rm -rf bad; cp -r good bad; {script}"));
        let path = room.path.join("bad");
        let said = match fetch(&pages, &Remote::local(&path)) {
            Err(error) => error.in_full(),
            Ok(fetched) => format!("{fetched:?}"),
        };
        let said = said.replace(path.to_str().unwrap(), "R");
        let said = match said.strip_prefix("the head ") {
            Some(rest) => said.replace(&rest[..40], "H"),
            None => said,
        };
        assert_eq!(said, words, "{script}");
        assert_eq!(pages.head(), Some(head), "{script}");
        assert_eq!(room.fsck(), "", "{script}");
    }
    assert_eq!(files(&pages).len(), 2);
}

#[test]
fn a_place_that_is_no_repository() {
    table(&[
        ("rm -rf bad", "R: there is nothing here; create it, or name another remote"),
        ("rm -rf bad; echo >bad", "R is a file; a remote is a repository or a directory"),
        ("rm bad/HEAD", "R looks like a git repository, but has no HEAD; restore it, or clone it anew"),
        ("rm -r bad/objects", "R looks like a git repository, but has no objects; restore it, or clone it anew"),
        ("rm -r bad/refs", "R looks like a git repository, but has no refs; restore it, or clone it anew"),
        (
            "rm -rf bad; mkdir -p bad/.git",
            "R looks like a git repository, but has no HEAD; restore it, or clone it anew",
        ),
        (
            "rm -rf bad; mkdir bad; echo nonsense >bad/.git",
            "R looks like a git repository, but has no directory that its .git file names; restore it, or clone it anew",
        ),
        (
            "rm -rf bad; mkdir bad; echo gitdir: /nowhere >bad/.git",
            "R looks like a git repository, but has no HEAD; restore it, or clone it anew",
        ),
    ]);
}

#[test]
fn a_repository_that_cannot_be_read() {
    table(&[
        (
            "rm -rf bad; git init -q --bare --object-format=sha256 bad",
            "R is a SHA-256 repository, which cannot be read here; make it one of SHA-1 (git init --object-format=sha1)",
        ),
        (
            "rm -rf bad; git init -q --bare bad; git config -f bad/config core.repositoryFormatVersion 1; \
             git config -f bad/config extensions.refStorage reftable",
            "R keeps its refs in a reftable, which cannot be read here; run git refs migrate --ref-format=files in it",
        ),
        (
            "git config -f bad/config extensions.objectFormat sha3",
            "R: its configuration asks for extensions.objectFormat = sha3, which is not known here",
        ),
        (
            "git config -f bad/config extensions.refStorage stone",
            "R: its configuration asks for extensions.refStorage = stone, which is not known here",
        ),
        (
            "rm -rf bad; git clone -q --bare --shared good bad",
            "R borrows objects from another repository (objects/info/alternates); run git repack -ad in it and remove that file",
        ),
        ("git -C bad update-ref -d refs/heads/main; git -C bad pack-refs --all", "Gone(\"R has no branch yet\")"),
        ("echo nonsense >bad/refs/heads/main", "R: the ref refs/heads/main cannot be read: The reference at \"refs/heads/main\" could not be decoded"),
        ("git -C bad symbolic-ref refs/heads/main refs/heads/b; git -C bad symbolic-ref refs/heads/b refs/heads/main", "R: the ref refs/heads/b cannot be read: its names go round in a circle"),
        // Its configuration runs nothing, its hooks neither.
        (
            "git -C bad config core.fsmonitor 'touch ../ran; true'; git -C bad config core.sshCommand 'touch ../ran'
             git -C bad config include.path ../evil; printf '[extensions]\\n\\tobjectFormat = sha3\\n' >evil
             for hook in post-checkout pre-receive reference-transaction; do printf '#!/bin/sh\\ntouch ../ran' >bad/hooks/$hook; chmod +x bad/hooks/$hook; done",
            "Unchanged",
        ),
        ("test ! -e ran", "Unchanged"),
    ]);
}

/// None of them may be waited for, or read without end.
#[test]
fn pipes_and_devices_in_place_of_files() {
    let strange = |file: &str, limit: u64| format!("R/{file} is no file, or one of more than {limit} bytes");
    let cases = [
        ("ln -sf /dev/zero bad/config", strange("config", 1 << 20)),
        ("rm bad/config; mkfifo bad/config", strange("config", 1 << 20)),
        ("truncate -s 2M bad/config", strange("config", 1 << 20)),
        ("mkfifo bad/packed-refs", strange("packed-refs", 64 << 20)),
        ("ln -sf /dev/zero bad/refs/heads/main", strange("refs/heads/main", 4096)),
        ("rm bad/refs/heads/main; mkfifo bad/refs/heads/main", strange("refs/heads/main", 4096)),
        ("truncate -s 1G bad/refs/heads/main", strange("refs/heads/main", 4096)),
        ("mkfifo bad/objects/info/alternates", strange("objects/info/alternates", 1 << 20)),
        ("rm -r bad; mkdir bad; mkfifo bad/.git", strange(".git", 64 << 10)),
        ("mkfifo bad/commondir", strange("commondir", 64 << 10)),
        ("rm -r bad; mkdir bad; ln -s /dev/zero bad/.git", strange(".git", 64 << 10)),
        ("ln -s /dev/zero bad/commondir", strange("commondir", 64 << 10)),
        (
            "rm bad/HEAD; mkfifo bad/HEAD",
            "R looks like a git repository, but has no HEAD; restore it, or clone it anew".to_owned(),
        ),
        (
            "c=$(git -C bad commit-tree -m new main:); git -C bad update-ref refs/heads/main $c
             o=bad/objects/$(echo $c | sed 's,..,&/,'); rm $o; mkfifo $o",
            "the head H of R is refused: object H cannot be read: it is no file".to_owned(),
        ),
        (
            "git -C bad update-ref refs/heads/main $(git -C bad commit-tree -m new main:); mkfifo bad/objects/pack/x.idx",
            "R cannot be read: it is no file".to_owned(),
        ),
    ];
    let cases: Vec<(String, String)> = cases.map(|(script, words)| (script.to_owned(), words)).into();
    table(&cases);
}

#[test]
fn a_branch_that_is_not_there_is_told_with_those_that_are() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "one")]);
    room.script("git -C origin branch dev main");
    let pages = room.pages();
    let path = room.path.join("origin").display().to_string();
    for (branch, words) in [
        (Some("gh-pages"), "R: no branch gh-pages; it has dev, main"),
        (Some("refs/tags/v1"), "R: no branch v1; it has dev, main"),
        (Some("a..b"), "R: \"a..b\" cannot be a branch's name"),
        (Some("../../etc/passwd"), "R: \"../../etc/passwd\" cannot be a branch's name"),
        (Some("a\nb"), "R: \"a\\nb\" cannot be a branch's name"),
        (Some(""), "R: \"\" cannot be a branch's name"),
    ] {
        let remote = Remote { branch: branch.map(str::to_owned), ..remote.clone() };
        let said = fetch(&pages, &remote).unwrap_err().in_full();
        assert_eq!(said.replace(&path, "R"), words);
    }
    room.script("git -C origin symbolic-ref HEAD refs/heads/master");
    let said = fetch(&pages, &remote).unwrap_err().in_full();
    assert_eq!(
        said.replace(&path, "R"),
        "R: its HEAD names master, which is not there; it has dev, main; name one: branch = \"NAME\""
    );
    room.script("git -C origin tag -a -m m v1 main");
    let said = fetch(&pages, &remote.clone().at("refs/tags/v1")).unwrap_err().in_full();
    let tag = room.script("git -C origin rev-parse v1");
    let tag = tag.trim();
    assert_eq!(
        said.replace(&path, "R"),
        format!(
            "the head {tag} of R is refused: {tag} is a tag, where a commit is named: name a branch, or a tag that was made without -a"
        )
    );
    assert_eq!(pages.head(), None);
    assert_eq!(room.fsck(), "");
}

/// A new commit, its tree and the one blob of it: missing, empty, cut short, changed.
#[test]
fn objects_that_are_missing_or_damaged() {
    // $o is the file of one of them.
    let harm = |object: &str, how: &str| {
        format!(
            "cd bad; b=$(echo new | git hash-object -w --stdin); t=$(printf '100644 blob %s\\tnew' $b | git mktree)
             c=$(git commit-tree -p main -m m $t); git update-ref refs/heads/main $c
             o=objects/$(echo {object} | sed 's,..,&/,'); chmod u+w $o; {how}"
        )
    };
    let blob = "3e757656cf36eca53338e520d134963a44f793f8";
    let tree = "1687e7e6a36c62bdd0f07c1cb9a8166e839df422";
    let refused = |words: &str| format!("the head H of R is refused: object {words}");
    let copied = |words: &str| format!("the head H of R cannot be copied: object {words}");
    table(&[
        (harm("$b", "rm $o"), refused(&format!("{blob} is missing"))),
        (harm("$b", ": >$o"), refused(&format!("{blob} is damaged: its file is empty"))),
        (harm("$b", "echo nonsense >$o"), refused(&format!("{blob} is damaged: its compressed data is invalid"))),
        (
            harm("$b", "head -c 15 $o >x; mv x $o"),
            copied(&format!("{blob} is damaged: its compressed data ends early")),
        ),
        (harm("$t", "rm $o"), refused(&format!("{tree} is missing"))),
        (harm("$t", ": >$o"), refused(&format!("{tree} is damaged: its file is empty"))),
        (harm("$c", "rm $o"), refused("H is missing")),
        (harm("$c", "head -c 30 $o >x; mv x $o"), refused("H is damaged: its compressed data ends early")),
    ]);
}

#[test]
fn an_object_that_is_not_what_its_id_says() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "one"), ("b", "other")]);
    let pages = room.pages();
    let path = room.path.join("origin").display().to_string();
    let place = |id: &str| format!("objects/{}/{}", &id[..2], &id[2..]);
    let (a, b, tree, head) = (
        room.script("git -C origin rev-parse main:a").trim().to_owned(),
        room.script("git -C origin rev-parse main:b").trim().to_owned(),
        room.script("git -C origin rev-parse main:").trim().to_owned(),
        room.script("git -C origin rev-parse main").trim().to_owned(),
    );
    for (there, instead, words) in [
        (
            &a,
            &b,
            format!("the head H of R cannot be copied: object {a} is damaged: its contents are not what its id says"),
        ),
        (&a, &tree, format!("the head H of R is refused: {a} is a tree, where a blob is named")),
        (
            &tree,
            &a,
            format!("the head H of R is refused: object {tree} is damaged: its contents are not what its id says"),
        ),
        (
            &head,
            &a,
            "the head H of R is refused: object H is damaged: its contents are not what its id says".to_owned(),
        ),
    ] {
        room.script(&format!("cd origin; mv {0} kept; cp {1} {0}", place(there), place(instead)));
        let said = fetch(&pages, &remote).unwrap_err().in_full();
        assert_eq!(said.replace(&path, "R").replace(&head, "H"), words);
        room.script(&format!("cd origin; mv -f kept {}", place(there)));
    }
    assert_eq!(pages.head(), None);
    moved(&pages, &remote);
    assert_eq!(room.fsck(), "");
}

#[test]
fn a_pack_that_is_damaged() {
    let room = Room::new();
    let text = |last: &str| (0..300).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n") + last;
    let remote = room.remote("good", &[("a", &text("a")), ("b", &text("b")), ("c", "c")]);
    room.script("git -C good repack -qadf");
    let head = room.script("git -C good rev-parse main");
    for script in [
        "head -c 12 $p >x; yes | head -c 500 >>x; tail -c +513 $p >>x",
        "head -c 100 $p >x",
        ": >x",
        "head -c 1032 $i >y; head -c 60 /dev/zero >>y; tail -c +1093 $i >>y",
        "head -c 8 $i >y; head -c 1024 /dev/zero | tr '\\0' '\\377' >>y; tail -c +1033 $i >>y",
        "head -c 2000 /dev/zero >y",
        "head -c 1040 $i >y",
        "rm $p",
    ] {
        room.script(&format!(
            "rm -rf bad; cp -r good bad; cd bad/objects/pack; p=$(ls *.pack); i=$(ls *.idx); chmod u+w *; {script}
             test ! -e x || mv x $p; test ! -e y || mv y $i"
        ));
        let pages = room.store().repository("pages").unwrap();
        let error = fetch(&pages, &Remote::local(room.path.join("bad"))).expect_err(script).in_full();
        assert!(
            ["is missing", "is damaged", "cannot be read", "cannot be copied"]
                .iter()
                .any(|words| error.contains(words)),
            "{script}: {error}"
        );
        assert_eq!(pages.head(), None, "{script}");
        assert_eq!(room.fsck(), "", "{script}");
    }
    assert_eq!(moved(&room.pages(), &remote).id, id(&head));
}

#[test]
fn our_own_repository_is_put_right_at_the_start() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a.txt", "one")]);
    let head = moved(&room.pages(), &remote);
    for script in [
        "rm HEAD",
        ": >HEAD",
        "rm config",
        "rm -r objects/info",
        "touch HEAD.lock config.lock refs/heads/served.lock shallow.lock objects/tmp_obj_x objects/pack/tmp_pack_x",
        "mkdir -p objects/12; : >objects/12/34567890123456789012345678901234567890",
    ] {
        room.script(&format!("cd state/git/pages.git; {script}"));
        assert_eq!(room.pages().head(), Some(head), "{script}");
        assert_eq!(room.fsck(), "", "{script}");
        assert_eq!(room.script("cd state; find . -name '*.lock' -o -name 'tmp_*'"), "");
    }
    for (script, words) in [
        ("rm -r objects refs", None),
        ("echo nonsense >refs/heads/served", None),
        ("rm refs/heads/served", None),
        ("rm -rf ../pages.git", None),
        ("rm objects/$(git rev-parse served | sed 's,..,&/,')", Some("H is missing")),
        ("o=objects/$(git rev-parse served:a.txt | sed 's,..,&/,'); rm $o", Some("B is missing")),
        (
            "o=objects/$(git rev-parse served:a.txt | sed 's,..,&/,'); chmod u+w $o; echo x >$o",
            Some("B is damaged: its compressed data is invalid"),
        ),
        ("o=objects/$(git rev-parse served:a.txt | sed 's,..,&/,'); chmod u+w $o; : >$o", Some("B is missing")),
        (
            "o=objects/$(git rev-parse served: | sed 's,..,&/,'); cp objects/$(git rev-parse served:a.txt | sed 's,..,&/,') x; mv -f x $o",
            Some("T is damaged: its contents are not what its id says"),
        ),
    ] {
        let blob = room.script("git -C origin rev-parse main:a.txt");
        let tree = room.script("git -C origin rev-parse main:");
        room.script(&format!("cd state/git/pages.git; {script}"));
        let pages = room.pages();
        let damage = pages.damage().map(ToString::to_string);
        let damage = damage
            .map(|said| said.replace(&head.id.to_string(), "H").replace(blob.trim(), "B").replace(tree.trim(), "T"));
        assert_eq!(damage, words.map(|words| format!("object {words}")), "{script}");
        assert_eq!(pages.head(), None, "{script}");
        assert_eq!(fetch(&pages, &remote).unwrap(), Fetched::Moved { revision: head, notices: vec![] }, "{script}");
        assert_eq!(files(&pages), [("a.txt".to_owned(), "one".to_owned())]);
        assert_eq!(room.fsck(), "", "{script}");
    }
}

#[test]
fn names_that_are_no_files_are_refused() {
    let room = Room::new();
    let store = room.store();
    for name in ["", ".", "..", ".git", "a/b", "../a", "a b", "-a", "a..b", "a.lock", "\u{fc}", "a\0", &"a".repeat(101)]
    {
        let error = store.repository(name).err().expect(name).to_string();
        assert_eq!(
            error,
            format!("{name:?} cannot name a repository: letters, digits, '-', '_' and '.' inside, at most 100")
        );
        let error = store.repository("pages").unwrap().keep(name, None).unwrap_err().to_string();
        assert_eq!(error, format!("{name:?} cannot name who serves a revision"));
    }
    store.repository("a.b-c_D9").unwrap();
}
