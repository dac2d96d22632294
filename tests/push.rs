//! A branch that moves: it is live, or it is held back and why is told; and what was proved outlives everything that is
//! done to the host and to the remote.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use crate::support::{
    client::{BOTH, Client, Protocol, ask},
    git::{Item, Repository},
    guests::{HELLO, changed, component, fixture},
    host::{Host, Setup},
    tables,
    wait::{SOON, until},
};

const PUSHES: usize = 2_000;
const BROKEN: &str = "/*\n  no colon here\n";

pub(crate) async fn site(page: &str) -> (Host, Repository) {
    let setup = Setup::new(&tables::site("site"));
    let site = setup.repository("site");
    site.commit("main", &[("index.html", page)]);
    (setup.start().await, site)
}

pub(crate) async fn shows(client: &Client, url: &str, page: &str) {
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
    let (newest, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut readers = Vec::new();
    for protocol in [Protocol::Http1, Protocol::Http1, Protocol::Http2, Protocol::Http2] {
        let mut connection = host.client().connect("localhost", protocol).await;
        let (newest, stop) = (newest.clone(), stop.clone());
        readers.push(tokio::spawn(async move {
            let mut asked = 0;
            while !stop.load(Ordering::SeqCst) {
                let before = newest.load(Ordering::SeqCst);
                let reply = connection.send(ask("GET", "https://localhost/")).await;
                let seen: usize = reply.text().parse().unwrap_or_else(|_| panic!("{reply:?}"));
                assert!(seen >= before, "after {before} there came {seen}");
                newest.fetch_max(seen, Ordering::SeqCst);
                asked += 1;
                // The pushes want a processor too.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            asked
        }));
    }
    for push in 1..=PUSHES {
        site.commit("main", &[("index.html", &push.to_string())]);
        let pushed = Instant::now();
        while newest.load(Ordering::SeqCst) < push {
            assert!(pushed.elapsed() < Duration::from_secs(2), "push {push} was not seen");
            assert!(!readers.iter().any(JoinHandle::is_finished), "somebody got an older one");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    stop.store(true, Ordering::SeqCst);
    for reader in readers {
        let asked = reader.await.expect("none got an older one");
        assert!(asked > PUSHES, "{asked} requests while so much was pushed");
    }
    let objects = fs::read_dir(host.setup().state().join("git/site-pages.git/objects/pack")).unwrap().count();
    assert!(objects < 100, "{objects} files of packs");
}

/// A body that the host carries alone belongs to no generation: it is not among the four that drain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_outlives_any_number_of_pushes() {
    let large: Vec<u8> = (0..10_u32 << 20).map(|at| u8::try_from(at >> 16).unwrap()).collect();
    let setup = Setup::new(&tables::site("site"));
    let site = setup.repository("site");
    site.commit_items("main", &[("large.bin", Item::File(&large)), ("index.html", Item::File(b"0"))]);
    let host = setup.start().await;
    let mut open = Vec::new();
    for protocol in BOTH {
        let mut connection = host.client().narrow().connect("localhost", protocol).await;
        let response = connection.open(ask("GET", "https://localhost/large.bin")).await.unwrap();
        open.push((connection, response));
    }
    for push in 1..=6 {
        site.change("main", &[("index.html", &push.to_string())]);
        shows(&host.client(), "https://localhost/", &push.to_string()).await;
    }
    assert_eq!(host.component("site").await["draining"], 0);
    for (_connection, response) in open {
        let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("it is whole").to_bytes();
        assert!(body == large, "{} bytes", body.len());
    }
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
        ("upstream = \"app\"\n[response]\nset = { Date = \"x\" }\n", "a.test.toml:3: `Date` is the host's own"),
        ("upstream = \"app\"\n[request]\nremove = [\"Forwarded\"]\n", "a.test.toml:3: `Forwarded` is the host's own"),
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
    let (given, routes) = (routes, setup.repository("routes"));
    routes.commit("main", &given);
    let host = setup.start().await;
    assert_eq!(host.client().get("https://two.test/").await.text(), "two");
    let before = host.component("two").await;
    one.commit("main", &[("index.html", "one, mended")]);
    shows(&host.client(), "https://one.test/", "one, mended").await;
    untouched(&host, &before, "a push").await;

    // The same, but for a custom section `x`.
    let another = [&*fs::read(component("site")).unwrap(), &[0, 2, 1, b'x']].concat();
    host.swap("one", &host.setup().write("one.wasm", another)).await.done();
    untouched(&host, &before, "a swap").await;
    host.setup().manifest(&manifest.replacen("[component.one]", "[component.one]\nprobe = \"/\"", 1));
    assert_eq!(host.reload().await.done(), "one\n");
    untouched(&host, &before, "a reload").await;
    one.commit("main", &[("_headers", BROKEN)]);
    held_back(&host, "one", "_headers:2:").await;
    untouched(&host, &before, "a push that is refused").await;
    // The decision is another router's; the answer is the one that there was.
    let route = "upstream = \"one\"\n[[path]]\nprefix = \"/old\"\nrefuse = 403\n";
    routes.commit("main", &[("one.test.toml", route), given[1]]);
    let refused = async || (host.client().get("https://one.test/old").await.status == 403).then_some(());
    until(SOON, "the new route", refused).await;
    untouched(&host, &before, "a push to the router").await;
}

/// `two` answers, and its guest was not asked.
async fn untouched(host: &Host, before: &serde_json::Value, deed: &str) {
    assert_eq!(host.client().get("https://two.test/").await.text(), "two", "{deed}");
    let after = host.component("two").await;
    assert_eq!((&after["misses"], &after["requests"]), (&before["misses"], &before["requests"]), "{deed}: {after}");
}

/// Whatever happens to the host and to the remote in between.
#[tokio::test]
async fn what_was_proved_serves_after_a_restart() {
    type Deed = (&'static str, bool, fn(&Setup, &Repository));
    let deeds: &[Deed] = &[
        ("nothing", false, |_, _| ()),
        ("the remote is gone", false, |_, site| fs::remove_dir_all(site.path()).unwrap()),
        ("the remote is empty", false, |_, site| {
            fs::remove_dir_all(site.path()).unwrap();
            Repository::bare(site.path());
        }),
        ("a bad head was forced and the old one pruned", false, |_, site| {
            site.replace("main", &[("index.html", "two"), ("_headers", BROKEN)]);
            site.prune();
        }),
        ("the kept code was changed", false, |setup, _| damage(&setup.state().join("compiled"))),
        ("the kept bytes were changed", false, |setup, _| damage(&setup.state().join("components"))),
        ("an object of the page was changed", false, |setup, _| damage_objects(setup)),
        ("the record is no record", true, |setup, _| fs::write(setup.state().join("proved"), "x").unwrap()),
    ];
    for (deed, again, done) in deeds {
        let (host, site) = site("one").await;
        shows(&host.client(), "https://localhost/", "one").await;
        let revisions = host.component("site").await["revisions"].clone();
        let setup = host.kill().await;
        done(&setup, &site);
        let proofs = |log: &str| {
            log.lines().filter(|line| line.contains("serves ") && !line.contains("as proved before")).count()
        };
        let before = proofs(&setup.log());
        let host = setup.start().await;
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"), "{deed}");
        assert_eq!(host.component("site").await["revisions"], revisions, "{deed}");
        // What is whole, or fetched again and the same, is not proved again; the kept bytes are not asked for while the
        // file holds the same.
        let log = host.setup().log();
        assert_eq!(*again, proofs(&log) > before, "{deed}: {log}");
        if !again {
            let words = format!("serves pages {}, component ", revisions["pages"].as_str().unwrap());
            let told = log.lines().any(|line| line.contains(&words) && line.ends_with(", as proved before"));
            assert!(told, "{deed}: {log}");
        }
    }
}

/// What serves is damaged in all that is kept of it, and the branch has moved: what it stands at is proved as at first. With
/// nothing to fetch it from there is nothing to serve, and a neighbour does not notice.
#[tokio::test]
async fn what_is_damaged_is_proved_again() {
    let setup = Setup::new(&[tables::site("site"), tables::guest("hello", "hello", ""), tables::router()].concat());
    let site = setup.repository("site");
    site.commit("main", &[("index.html", "one")]);
    let routes = [("hello.test.toml", "upstream = \"hello\"\n"), ("_.toml", "upstream = \"site\"\n")];
    setup.repository("routes").commit("main", &routes);
    let damaged = async |host: Host| {
        let setup = host.kill().await;
        damage(&setup.state().join("components"));
        damage_objects(&setup);
        setup
    };
    let setup = damaged(setup.start().await).await;
    let two = site.commit("main", &[("index.html", "two")]);
    let host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "two"));
    let told = host.logged(&format!("site: serves pages {two}, component ")).await;
    assert!(!told.contains("as proved before"), "{told}");

    let setup = damaged(host).await;
    let (away, back) = (setup.path("away.git"), site.path().to_owned());
    fs::rename(&back, &away).unwrap();
    let host = setup.start().await;
    let reply = host.client().get("https://localhost/").await;
    assert_eq!(reply.brief(), (503, "503 Service Unavailable: this site has not been fetched yet\n"));
    assert_eq!(host.client().get("https://hello.test/").await.brief(), (200, HELLO));
    fs::rename(&away, &back).unwrap();
    shows(&host.client(), "https://localhost/", "two").await;
}

/// Its file is no component any more; what serves is kept, though it was swapped away from in between.
#[tokio::test]
async fn a_broken_file_costs_nothing_but_its_mention() {
    let setup = Setup::new("[component.app]\npath = \"app.wasm\"\n");
    let whole = fs::read(fixture("hello")).unwrap();
    let file = setup.write("app.wasm", &whole);
    let host = setup.start().await;
    host.swap("app", &changed("hello", "Hello from a", "Hello from b")).await.done();
    host.swap("app", &file).await.done();
    let setup = host.kill().await;
    fs::write(&file, "no component").unwrap();
    let host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
    let app = host.component("app").await;
    let words = "is not a WebAssembly component: it does not begin with \\0asm";
    assert!(app["error"].as_str().is_some_and(|error| error.ends_with(words)), "{app}");
    assert_eq!(app["swapped"], true);

    // What the disk does to the kept bytes is put right while they are not needed.
    let setup = host.kill().await;
    fs::write(&file, &whole).unwrap();
    let kept = fs::read_dir(setup.state().join("components")).unwrap().map(|file| file.unwrap().path());
    let kept = kept.collect::<Vec<_>>();
    assert_eq!(kept.len(), 1, "{kept:?}");
    fs::write(&kept[0], "damaged").unwrap();
    let host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
    until(SOON, "the kept bytes", async || (fs::read(&kept[0]).unwrap() == whole).then_some(())).await;
    assert!(host.component("app").await["error"].is_null());
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

/// All that was fetched of the site.
fn damage_objects(setup: &Setup) {
    let objects = setup.state().join("git/site-pages.git/objects");
    let folders = fs::read_dir(objects).unwrap().map(|entry| entry.unwrap().path());
    folders.filter(|path| path.file_name().is_some_and(|name| name.len() == 2)).for_each(|folder| damage(&folder));
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
