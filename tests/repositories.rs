//! Repositories as they should not be, and as large as they may be: what is said of them, and a neighbour that is served
//! meanwhile.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, SystemTime},
};

use crate::{
    git_servers,
    push::{shows, site},
    support::{
        client::{BOTH, ask, with_fields},
        git::{Item, Repository},
        git_servers::Daemon,
        guests::{HELLO, component},
        host::{Host, Setup},
        tables,
        wait::{BUILT, SOON, until},
    },
};

/// A site for every name but one, which is a neighbour's; its repository is still to be made.
fn beside_a_neighbour() -> Setup {
    let setup = Setup::new(&[tables::site("site"), tables::guest("neighbour", "hello", ""), tables::router()].concat());
    let routes = [("_.toml", "upstream = \"site\"\n"), ("neighbour.test.toml", "upstream = \"neighbour\"\n")];
    setup.repository("routes").commit("main", &routes);
    setup
}

async fn neighbour(host: &Host) {
    assert_eq!(host.client().get("https://neighbour.test/").await.brief(), (200, HELLO));
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
        let setup = beside_a_neighbour();
        make(&setup);
        let host = setup.start().await;
        let client = host.client();
        let (reply, ()) = tokio::join!(client.get("https://localhost/"), neighbour(&host));
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
        let setup = beside_a_neighbour();
        let site = setup.repository("site");
        let good = site.commit("main", &[("index.html", "good")]);
        let host = setup.start().await;
        let blob = site.object("blob", b"bad");
        site.commit_tree("main", &[("100644", name, &blob), ("100644", "index.html", &blob)]);
        let error = until(SOON, "an error on the binding", async || {
            host.binding("site-pages").await["error"].as_str().map(str::to_owned)
        });
        let (error, ()) = tokio::join!(error, neighbour(&host));
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
    host.logged("/work, branch main, what is committed is served, and not what is only edited in its work tree").await;
}

#[tokio::test]
async fn a_file_becomes_a_directory_and_back() {
    let setup = beside_a_neighbour();
    let site = setup.repository("site");
    let host = setup.start().await;
    site.commit("main", &[("index.html", "x"), ("a", "file")]);
    shows(&host.client(), "https://localhost/a", "file").await;
    site.commit("main", &[("index.html", "x"), ("a/index.html", "folder")]);
    shows(&host.client(), "https://localhost/a/", "folder").await;
    assert_eq!(host.client().get("https://localhost/a").await.status, 308);
    neighbour(&host).await;
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

/// All that lies beside the state, with what is in it and when it was changed: whatever it serves, by a path and by a server,
/// a host leaves it as it is, and so its temporary files.
#[tokio::test]
async fn nothing_is_written_outside_the_state_directory() {
    let setup = Setup::without_manifest();
    let (served, local) = (git_servers::repository(&setup), setup.repository("local"));
    local.commit("main", &[("index.html", "one")]);
    let daemon = Daemon::start(&setup.path("root")).await;
    setup.write("folder/index.html", "one");
    setup.write("secret", "a secret of the hook\n");
    fs::create_dir(setup.path("tmp")).unwrap();
    let remote = format!("git://{}/site.git", daemon.address());
    let (folder, local_site) = (tables::site("folder"), tables::site("local"));
    setup.manifest(&format!(
        "{}{}{local_site}",
        git_servers::site(&remote, "hook = \"secret\"\n"),
        folder.replace("remote = \"folder.git\"\nbranch = \"main\"", "remote = \"folder/\"")
    ));
    let temporary = setup.path("tmp");
    let setup = setup.environment("TMPDIR", temporary);
    let before = outside(&setup);
    assert!(before.contains_key("root/site.git/HEAD") && before.contains_key("folder/index.html"), "{before:?}");
    let host = setup.start().await;
    git_servers::shows(&host, "one").await;
    assert_eq!(outside(host.setup()), before);
    // What others change is theirs; trees that reach outside are among it.
    let blob = served.object("blob", b"bad");
    for name in ["..", "../../escaped", "/escaped", ".git", "a\\.git"] {
        served.commit_tree("main", &[("100644", name, &blob)]);
        local.commit_tree("main", &[("100644", name, &blob)]);
        let theirs = outside(host.setup());
        for (binding, repository) in [("site-pages", &served), ("local-pages", &local)] {
            let refused = format!("the head {} of ", repository.head("main").unwrap());
            until(SOON, &refused, async || {
                host.binding(binding).await["error"].as_str().is_some_and(|e| e.contains(&refused)).then_some(())
            })
            .await;
        }
        assert_eq!(outside(host.setup()), theirs, "{name}");
    }
    served.commit("main", &[("index.html", "two")]);
    let theirs = outside(host.setup());
    git_servers::shows(&host, "two").await;
    host.swap("site", &component("site")).await.done();
    host.reload().await.done();
    let setup = host.terminate().await;
    assert_eq!(outside(&setup), theirs);
}

/// Files and folders by their path, but for the state and what the test itself has the host's words in.
fn outside(setup: &Setup) -> BTreeMap<String, (SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![setup.path("")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(setup.path("")).unwrap().to_str().unwrap().to_owned();
            if ["state", "log", "access"].contains(&&*name) {
                continue;
            }
            let about = fs::symlink_metadata(&path).unwrap();
            let contents = if about.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            if about.is_dir() {
                folders.push(path);
            }
            found.insert(name, (about.modified().unwrap(), contents));
        }
    }
    found
}
