//! A branch that moves: it is live, or it is held back and why is told; and what was proved outlives everything that is
//! done to the host and to the remote.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use crate::support::{
    client::{BOTH, Client, Protocol, ask, with_fields},
    git::{Item, Repository},
    guests::{HELLO, changed},
    host::{Host, Setup},
    tables,
    wait::{BUILT, SOON, until},
};

const PUSHES: usize = 2_000;
const BROKEN: &str = "/*\n  no colon here\n";

async fn site(page: &str) -> (Host, Repository) {
    let setup = Setup::new(&tables::site("site"));
    let site = setup.repository("site");
    site.commit("main", &[("index.html", page)]);
    (setup.start().await, site)
}

async fn shows(client: &Client, url: &str, page: &str) {
    until(SOON, page, async || (client.get(url).await.brief() == (200, page)).then_some(())).await;
}

/// The error that stands on a component, once there is one with these words.
async fn held_back(host: &Host, component: &str, words: &str) -> String {
    until(SOON, words, async || {
        let error = host.component(component).await["error"].as_str().map(str::to_owned);
        error.filter(|error| error.contains(words))
    })
    .await
}

#[tokio::test]
async fn a_push_is_live_on_every_connection_that_is_open() {
    let (host, site) = site("one").await;
    let author = Repository::with_work_tree(host.setup().path("author"));
    author.fetch(site.path(), "main");
    let mut open = Vec::new();
    for protocol in BOTH {
        open.push(host.client().connect("localhost", protocol).await);
    }
    let revision = author.commit("main", &[("index.html", "two")]);
    author.push(site.path(), "main").unwrap();
    shows(&host.client(), "https://localhost/", "two").await;
    for connection in &mut open {
        assert_eq!(connection.send(ask("GET", "https://localhost/")).await.brief(), (200, "two"));
    }
    assert_eq!(host.component("site").await["revisions"]["pages"], revision);
    assert_eq!(host.binding("site-pages").await["revision"], revision);
}

/// Each is seen within two seconds, and once it is seen, nobody gets an older one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_pushes() {
    let (host, site) = site("0").await;
    let mut connections = Vec::new();
    for protocol in [Protocol::Http1, Protocol::Http1, Protocol::Http2, Protocol::Http2] {
        connections.push(host.client().connect("localhost", protocol).await);
    }
    let mut newest = 0;
    for push in 1..=PUSHES {
        site.commit("main", &[("index.html", &push.to_string())]);
        let pushed = Instant::now();
        let turn = connections.len();
        for asked in 0.. {
            let reply = connections[asked % turn].send(ask("GET", "https://localhost/")).await;
            let seen: usize = reply.text().parse().unwrap_or_else(|_| panic!("{reply:?}"));
            assert!(seen >= newest, "after {newest} there came {seen}");
            newest = seen;
            if newest == push {
                break;
            }
            assert!(pushed.elapsed() < Duration::from_secs(2), "push {push} was not seen");
        }
    }
    let objects = fs::read_dir(host.setup().state().join("git/site-pages.git/objects/pack")).unwrap().count();
    assert!(objects < 100, "{objects} files of packs");
}

#[tokio::test]
async fn a_bad_push_is_held_back_and_says_why() {
    let (host, site) = site("one").await;
    let before = host.component("site").await["revisions"].clone();
    let bad = site.commit("main", &[("index.html", "two"), ("_headers", BROKEN)]);
    let error = held_back(&host, "site", "_headers:2").await;
    assert!(host.setup().log().contains(&error), "{error}");
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"));
    assert_eq!(host.component("site").await["revisions"], before);
    assert_eq!(host.binding("site-pages").await["revision"], bad, "what was fetched stands beside what serves");
    site.commit("main", &[("index.html", "three")]);
    shows(&host.client(), "https://localhost/", "three").await;
    assert!(host.component("site").await["error"].is_null());
}

#[tokio::test]
async fn what_was_pushed_while_no_host_ran_is_served_by_the_next() {
    let (host, site) = site("one").await;
    shows(&host.client(), "https://localhost/", "one").await;
    let stopped = host.terminate().await;
    site.commit("main", &[("index.html", "two")]);
    let host = stopped.start().await;
    shows(&host.client(), "https://localhost/", "two").await;
}

#[tokio::test]
async fn a_broken_route_is_told_by_file_and_line() {
    let manifest = [tables::guest("app", "hello", ""), tables::router()].concat();
    let setup = Setup::new(&manifest);
    let routes = setup.repository("routes");
    routes.commit("main", &[("a.test.toml", "upstream = \"app\"\n")]);
    let host = setup.start().await;
    for (text, words) in [
        ("upstream = \"app\"\n[[path]\n", "a.test.toml:2"),
        ("# a comment\nupstream = \"nobody\"\n", "a.test.toml:2: no upstream `nobody`"),
        ("upstream = \"app\"\nupsteam = \"app\"\n", "a.test.toml:2: unknown key `upsteam`"),
        ("upstream = \"app\"\nredirect = { to = \"/x\", status = 200 }\n", "a.test.toml:"),
        ("refuse = 200\n", "a.test.toml:1"),
    ] {
        routes.commit("main", &[("a.test.toml", text)]);
        held_back(&host, "router", words).await;
        assert_eq!(host.client().get("https://a.test/").await.brief(), (200, HELLO), "{text}");
    }
}

/// The probe reads `page` of the branch `a`: a head without it is not proved.
#[tokio::test]
async fn a_bad_branch_holds_up_neither_the_other_nor_a_swap_nor_a_reload() {
    let table = |word: &str| {
        let lines = format!(
            "git = {{ a = \"read\", b = \"read\" }}\nenv = {{ WORD = \"{word}\" }}\nprobe = \"/read?from=a&path=page\"\n\
             [git.a]\nremote = \"a.git\"\n[git.b]\nremote = \"b.git\"\n"
        );
        tables::guest("app", "mischief", &lines)
    };
    let (a_page, b_page) = ("https://localhost/read?from=a&path=page", "https://localhost/read?from=b&path=page");
    let setup = Setup::new(&table("one"));
    let (a, b) = (setup.repository("a"), setup.repository("b"));
    a.commit("main", &[("page", "a1")]);
    b.commit("main", &[("page", "b1")]);
    let host = setup.start().await;
    let client = host.client();
    shows(&client, a_page, "a1").await;
    a.commit("main", &[("no page", "")]);
    held_back(&host, "app", "/read?from=a&path=page").await;
    b.commit("main", &[("page", "b2")]);
    shows(&client, b_page, "b2").await;
    assert_eq!(client.get(a_page).await.text(), "a1");
    let digest = host.component("app").await["digest"].clone();
    host.swap("app", &changed("mischief", "the letter is a", "the letter is c")).await.done();
    assert_ne!(host.component("app").await["digest"], digest);
    host.setup().manifest(&table("two"));
    host.reload().await.done();
    assert_eq!(client.get("https://localhost/env").await.text(), "WORD=two\n");
    assert_eq!(client.get(a_page).await.text(), "a1");
    a.commit("main", &[("page", "a3")]);
    shows(&client, a_page, "a3").await;
    assert!(host.component("app").await["error"].is_null());
}

#[tokio::test]
async fn a_push_to_one_site_leaves_another_asleep() {
    let manifest = [tables::site("one"), tables::site("two"), tables::router()].concat();
    let setup = Setup::new(&manifest);
    let (one, two) = (setup.repository("one"), setup.repository("two"));
    one.commit("main", &[("index.html", "one")]);
    two.commit("main", &[("index.html", "two")]);
    let routes = [("one.test.toml", "upstream = \"one\"\n"), ("two.test.toml", "upstream = \"two\"\n")];
    setup.repository("routes").commit("main", &routes);
    let host = setup.start().await;
    assert_eq!(host.client().get("https://two.test/").await.text(), "two");
    let before = host.component("two").await;
    one.commit("main", &[("index.html", "one, mended")]);
    shows(&host.client(), "https://one.test/", "one, mended").await;
    assert_eq!(host.client().get("https://two.test/").await.text(), "two");
    let after = host.component("two").await;
    assert_eq!((&after["misses"], &after["requests"]), (&before["misses"], &before["requests"]), "{after}");
}

/// Whatever happens to the host and to the remote in between.
#[tokio::test]
async fn what_was_proved_serves_after_a_restart() {
    type Deed = (&'static str, fn(&Setup, &Repository));
    let deeds: &[Deed] = &[
        ("nothing", |_, _| ()),
        ("the remote is gone", |_, site| fs::remove_dir_all(site.path()).unwrap()),
        ("the remote is empty", |_, site| {
            fs::remove_dir_all(site.path()).unwrap();
            Repository::bare(site.path());
        }),
        ("a bad head was forced and the old one pruned", |_, site| {
            site.replace("main", &[("index.html", "two"), ("_headers", BROKEN)]);
            site.prune();
        }),
        ("the kept code was changed", |setup, _| damage(&setup.state().join("compiled"))),
        ("the kept bytes were changed", |setup, _| damage(&setup.state().join("components"))),
        ("the record is no record", |setup, _| fs::write(setup.state().join("proved"), "x").unwrap()),
    ];
    for (deed, done) in deeds {
        let (host, site) = site("one").await;
        shows(&host.client(), "https://localhost/", "one").await;
        let revisions = host.component("site").await["revisions"].clone();
        let setup = host.kill().await;
        done(&setup, &site);
        let host = setup.start().await;
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"), "{deed}");
        assert_eq!(host.component("site").await["revisions"], revisions, "{deed}");
    }
}

/// The head that fails was forced while it ran, and its predecessor is nowhere but with us.
#[tokio::test]
async fn a_forced_bad_head_does_not_take_the_good_one_with_it() {
    let (host, site) = site("one").await;
    site.replace("main", &[("index.html", "two"), ("_headers", BROKEN)]);
    held_back(&host, "site", "_headers:2").await;
    site.prune();
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"));
    let host = host.kill().await.start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"));
    held_back(&host, "site", "_headers:2").await;
    site.replace("main", &[("index.html", "three")]);
    shows(&host.client(), "https://localhost/", "three").await;
}

/// A repository, what is said of it on its binding, and what the site answers.
#[tokio::test]
async fn repositories_that_are_not_right() {
    type Case = (&'static str, fn(&Setup), Option<&'static str>, u16);
    let cases: &[Case] = &[
        ("missing", |_| (), Some("site.git: there is nothing here"), 503),
        ("empty", |setup| drop(setup.repository("site")), None, 503),
        (
            "a file",
            |setup| drop(setup.write("site.git", "x")),
            Some("site.git is a file; a remote is a repository or a directory"),
            503,
        ),
        (
            "another branch",
            |setup| drop(setup.repository("site").commit("other", &[("index.html", "x")])),
            Some("site.git: no branch main"),
            503,
        ),
        (
            "an object is missing",
            |setup| {
                let site = setup.repository("site");
                site.commit("main", &[("index.html", "x")]);
                let blob = site.git(&["rev-parse", "main:index.html"]);
                fs::remove_file(site.path().join("objects").join(&blob[..2]).join(&blob[2..])).unwrap();
            },
            Some("is missing"),
            503,
        ),
        (
            "an object is damaged",
            |setup| {
                let site = setup.repository("site");
                site.commit("main", &[("index.html", "x")]);
                let blob = site.git(&["rev-parse", "main:index.html"]);
                let file = site.path().join("objects").join(&blob[..2]).join(&blob[2..]);
                fs::remove_file(&file).unwrap();
                fs::write(&file, "damaged").unwrap();
            },
            Some("is damaged"),
            503,
        ),
        (
            "SHA-256",
            |setup| {
                let path = setup.path("site.git");
                let made = std::process::Command::new("git")
                    .args(["init", "--quiet", "--bare", "--object-format=sha256"])
                    .arg(&path)
                    .status();
                assert!(made.unwrap().success());
            },
            Some("is a SHA-256 repository"),
            503,
        ),
        (
            "alternates",
            |setup| {
                let site = setup.repository("site");
                site.commit("main", &[("index.html", "x")]);
                fs::write(site.path().join("objects/info/alternates"), "/elsewhere\n").unwrap();
            },
            Some("borrows objects from another repository"),
            503,
        ),
    ];
    for (name, make, error, status) in cases {
        let setup = Setup::new(&tables::site("site"));
        make(&setup);
        let host = setup.start().await;
        let reply = host.client().get("https://localhost/").await;
        assert_eq!(reply.status, *status, "{name}");
        assert!(reply.field("retry-after").is_some(), "{name}");
        let binding = host.binding("site-pages").await;
        match error {
            None => assert!(binding["error"].is_null(), "{name}: {binding}"),
            Some(words) => assert!(binding["error"].as_str().is_some_and(|e| e.contains(words)), "{name}: {binding}"),
        }
    }
}

/// A tree with a name in it that could reach outside is not taken in at all.
#[tokio::test]
async fn trees_that_git_refuses() {
    for name in ["..", ".", ".git", ".GIT", "a/b", ""] {
        let setup = Setup::new(&tables::site("site"));
        let site = setup.repository("site");
        let good = site.commit("main", &[("index.html", "good")]);
        let host = setup.start().await;
        let blob = site.object("blob", b"bad");
        site.commit_tree("main", &[("100644", name, &blob), ("100644", "index.html", &blob)]);
        let error = until(SOON, "an error on the binding", async || {
            host.binding("site-pages").await["error"].as_str().map(str::to_owned)
        });
        let error = error.await;
        assert!(error.contains("is refused: the tree "), "{name:?}: {error}");
        assert_eq!(host.binding("site-pages").await["revision"], good, "{name:?}");
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "good"), "{name:?}");
    }
}

/// Of a repository with a work tree it is the branch that is served, and nothing of `.git`; what it says is not obeyed.
#[tokio::test]
async fn a_work_tree_is_served_by_its_branch() {
    let setup = Setup::new(&tables::site("site").replace("site.git", "work"));
    let site = Repository::with_work_tree(setup.path("work"));
    site.commit("main", &[("index.html", "committed")]);
    setup.write("work/index.html", "not committed");
    let marker = setup.path("ran");
    let program = setup.write("program", format!("#!/bin/sh\ntouch {}\n", marker.display()));
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["post-checkout", "reference-transaction", "post-index-change"] {
        fs::copy(&program, setup.path("work/.git/hooks").join(name)).unwrap();
    }
    for key in ["core.fsmonitor", "uploadpack.packObjectsHook", "core.sshCommand", "core.alternateRefsCommand"] {
        site.git(&["config", key, program.to_str().unwrap()]);
    }
    let _ = fs::remove_file(&marker);
    let host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "committed"));
    for path in ["/.git/config", "/.git/HEAD", "/.git/"] {
        assert_eq!(host.client().get(&format!("https://localhost{path}")).await.status, 404, "{path}");
    }
    assert!(!marker.exists(), "a program of the repository was run");
}

#[tokio::test]
async fn a_file_becomes_a_directory_and_back() {
    let (host, site) = site("one").await;
    site.commit("main", &[("index.html", "x"), ("a", "file")]);
    shows(&host.client(), "https://localhost/a", "file").await;
    site.commit("main", &[("index.html", "x"), ("a/index.html", "folder")]);
    shows(&host.client(), "https://localhost/a/", "folder").await;
    assert_eq!(host.client().get("https://localhost/a").await.status, 308);
    site.commit("main", &[("index.html", "x"), ("a", "file")]);
    shows(&host.client(), "https://localhost/a", "file").await;
    assert_eq!(host.client().get("https://localhost/a/").await.status, 404);
}

#[tokio::test]
async fn a_large_file_streams_whole() {
    let (host, site) = site("one").await;
    // Not the same byte everywhere, so that a hole would show.
    let large: Vec<u8> =
        (0..32_u32 << 20).map(|at| u8::try_from(at.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    site.commit_items("main", &[("large.bin", Item::File(&large))]);
    until(SOON, "the large file", async || {
        (host.client().send(ask("HEAD", "https://localhost/large.bin")).await.status == 200).then_some(())
    })
    .await;
    for protocol in BOTH {
        let reply = host.client().send_over(protocol, ask("GET", "https://localhost/large.bin")).await;
        assert!(reply.body == large, "{} bytes over {protocol:?}", reply.body.len());
        assert_eq!(reply.field("content-length"), Some("33554432"), "over {protocol:?}");
    }
}

/// 2 GiB, which no part of the host ever holds: told by its head, and cut to its last bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_two_gibibytes_is_only_passed_on() {
    const SIZE: u64 = 2 << 30;
    let (host, site) = site("one").await;
    let file = fs::File::create(host.setup().path("huge")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", SIZE - 3).unwrap();
    let huge =
        site.git(&["-c", "core.looseCompression=1", "hash-object", "-w", host.setup().path("huge").to_str().unwrap()]);
    let page = site.object("blob", b"two");
    site.commit_tree("main", &[("100644", "huge.bin", &huge), ("100644", "index.html", &page)]);
    let client = host.client().patient();
    until(BUILT, "the large file", async || (client.get("https://localhost/").await.text() == "two").then_some(()))
        .await;
    let before = host.resident();
    for protocol in BOTH {
        let head = client.send_over(protocol, ask("HEAD", "https://localhost/huge.bin")).await;
        assert_eq!((head.status.as_u16(), head.field("content-length")), (200, Some("2147483648")));
        let request = with_fields("GET", "https://localhost/huge.bin", &[("range", "bytes=-5")]);
        let (tail, neighbour) = tokio::join!(client.send_over(protocol, request), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            host.client().get("https://localhost/index.html").await
        });
        assert_eq!((tail.status.as_u16(), &*tail.body), (206, &b"\0\0end"[..]), "over {protocol:?}");
        assert_eq!(neighbour.brief(), (200, "two"));
    }
    let grown = host.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB more", grown >> 20);
}

/// Flips a byte in the middle of each file.
fn damage(folder: &Path) {
    let mut damaged = 0;
    for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs::write(&file, bytes).unwrap();
        damaged += 1;
    }
    assert!(damaged > 0, "nothing in {}", folder.display());
}
