//! Components that write to a branch: what they may, how it fails, and what it leaves.

use atoll_testkit::{PublishError, Tree, TreeError, World};

use crate::support::fixture;

/// The guest does what the orders say.
fn world(orders: &str) -> World {
    World::new().branch("orders", Tree::new().file("orders", orders.to_owned()))
}

fn site() -> Tree {
    Tree::new().file("a.txt", "one").file("dir/b.txt", "two").symlink("link", "a.txt")
}

/// What it said of each order, less the orders.
fn said(world: World) -> Vec<String> {
    let guest = fixture("publisher").given(world).unwrap();
    guest.tick(1_700_000_000).unwrap();
    guest.log().iter().map(|line| line.rsplit_once(": ").map_or(line.clone(), |(_, said)| said.to_owned())).collect()
}

#[test]
fn a_commit_is_what_the_guest_staged() {
    let orders = "open site\nread a.txt\nwrite new/c.txt three\nlink again a.txt\ncopy moved dir\ncopy d.txt a.txt\n\
                  remove dir/b.txt\ncommit Ann Say more";
    let guest = fixture("publisher").given(world(orders).writable("site", site())).unwrap();
    guest.tick(1_700_000_600).unwrap();
    let published = guest.published();
    let [commit] = &published[..] else { panic!("{:?}", guest.log()) };
    assert_eq!((&*commit.branch, &*commit.message, &*commit.author.name), ("site", "Say more", "Ann"));
    assert_eq!(commit.author.email, "pub@example.org");
    let files: Vec<(&str, &[u8])> = commit.files.iter().map(|(path, bytes)| (&**path, &bytes[..])).collect();
    let expected: [(&str, &[u8]); 6] = [
        ("a.txt", b"one"),
        ("again", b"a.txt"),
        ("d.txt", b"one"),
        ("link", b"a.txt"),
        ("moved/b.txt", b"two"),
        ("new/c.txt", b"three"),
    ];
    assert_eq!(files, expected);
    assert_eq!(commit.text("d.txt").as_deref(), Some("one"));
    let log = guest.log();
    assert_eq!(log.last().unwrap(), &format!("commit Ann Say more: {}", commit.revision));
    // As `git hash-object` has it.
    assert_eq!(log[2], "write new/c.txt three: 1d19714ffbc272ba0da6eb419d66123c20527174");
    // The next one is on top of it.
    guest.tick(1_700_000_700).unwrap();
    assert_eq!(guest.log()[0], format!("open site: {}", commit.revision));
    assert_eq!(guest.published().len(), 0, "{:?}", guest.log());
}

#[test]
fn what_goes_wrong_is_told_to_the_guest() {
    let other = |words: &str| PublishError::Failed(TreeError::Other(words.into()));
    let long_name = format!("write {}/x 1", "n".repeat(256));
    let long_target = format!("link x {}", "t".repeat(4097));
    let long_message = format!("write x 1\ncommit a {}", "m".repeat(64 * 1024 + 1));
    let cases: &[(&[PublishError], &str, &[&str])] = &[
        (&[], "open nothing", &["denied"]),
        (&[PublishError::Conflict], "write x 1\ncommit a m", &["commit: conflict"]),
        (&[PublishError::Refused("no".into())], "write x 1\ncommit a m", &["commit: refused: no"]),
        (&[PublishError::Unreachable("gone".into())], "write x 1\ncommit a m", &["commit: unreachable: gone"]),
        (&[other("full")], "write x 1\ncommit a m", &["commit: full"]),
        (&[], "remove nothing", &["not found"]),
        (&[], "place x 1234", &["not found"]),
        (&[], "write a.txt/x 1", &["what is on the way there is no directory"]),
        (&[], "directory x", &["a file, an executable or a symbolic link is written"]),
        (&[], "write a/../b 1", &["its entry \"..\" means another directory"]),
        (&[], "write .GIT/config 1", &["its entry \".GIT\" is a spelling of .git"]),
        (&[], "write git~1 1", &["its entry \"git~1\" is a spelling of .git"]),
        (&[], "link a/.gitmodules b", &["its entry \".gitmodules\" is a symbolic link"]),
        (&[], "write a\\0b 1", &["a name has no NUL"]),
        (&[], "write  1", &["the root is a directory"]),
        (&[], "remove a//b", &["its entry \"\" has no name"]),
        (&[], "copy x/.. a.txt", &["its entry \"..\" means another directory"]),
        (&[], &long_name, &["a name has at most 255 bytes"]),
        (&[], &long_target, &["too large"]),
        (&[], "write x 1\ncommit a<b m", &["an author's name has no control characters, '<' or '>'"]),
        (&[], "write x 1\ncommit  m", &["an author's name has 1 to 256 bytes, and no spaces around them"]),
        (&[], &long_message, &["too large"]),
    ];
    for (failing, orders, expected) in cases {
        let mut world = world(&format!("open site\n{orders}")).writable("site", site());
        for failure in *failing {
            world = world.commit_fails("site", failure.clone());
        }
        let guest = fixture("publisher").given(world).unwrap();
        guest.tick(1_700_000_000).unwrap();
        let log = guest.log();
        let last = log.last().unwrap();
        for words in *expected {
            let words = words.strip_prefix("commit: ").unwrap_or(words);
            assert!(last.ends_with(&format!(": {words}")), "{orders}: {log:?}");
        }
        assert!(guest.published().is_empty());
    }
}

#[test]
fn only_what_is_granted_for_writing_is_written() {
    // Without any such grant it is not even linked.
    let refused = fixture("publisher").given(world("").branch("site", site())).unwrap_err().to_string();
    assert_eq!(
        refused,
        "imports atoll:host/publication@0.1.0, which is not granted; add to [component.publisher]: \
         git = { NAME = \"write\" }, NAME being a [git.NAME] of the manifest"
    );
    // With one for another branch, it is denied at the call, in words that say what would allow it.
    let world = world("open site").branch("site", site()).writable("other", Tree::unborn());
    let guest = fixture("publisher").given(world).unwrap();
    guest.tick(1_700_000_000).unwrap();
    assert_eq!(
        guest.log(),
        [
            "asked to write to site, which is granted for reading; add to [component.publisher]: git = { site = \"write\" }",
            "open site: denied"
        ]
    );
}

#[test]
fn nothing_is_published_while_a_generation_is_proved() {
    let world = world("validate site").writable("site", site());
    let problems = fixture("publisher").given(world).unwrap().validate().unwrap();
    let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
    assert_eq!(messages, ["nothing is published while a generation is proved"]);
}

#[test]
fn what_one_instance_stages_is_bounded() {
    for (orders, expected) in [
        ("open site\nopen site\nopen site\nopen site\nopen site", "too many stagings are open"),
        ("open site\nmany x 100001", "too large"),
        // Committed ones are given back.
        ("open site\nmany x 60000\ncommit a m\nopen site\nmany x 60000", "done"),
    ] {
        let world = world(orders).writable("site", site());
        assert_eq!(said(world).last().unwrap(), expected, "{orders}");
    }
}
