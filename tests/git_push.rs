//! Components that write: an agent commits to the branch that a site is served from, by each way to a repository; what it
//! publishes is live, and it is not woken by it. Git is the oracle of what came.

use std::{fs, process::Command, time::Duration};

use atoll_git::{self as git, Http, ObjectId, Patience};
use atoll_net::{self as net, Client, Dialler, Egress, HTTP, Options, Origin, Protocol, Proxies, SystemRoots, Tls};

use crate::{
    git_servers::{repository, shows, site},
    support::{
        ca::Ca,
        git::Repository,
        git_servers::{Daemon, Secure, Web},
        host::{Host, Setup},
        skip,
        sshd::{ED25519, PROGRAMS, Sshd, VERSIONS, keys},
        tables,
        upstream::dead,
        wait::{SOON, until},
    },
};

/// The site, and beside it the agent that does what `orders.git` says; `lines` end the site's binding.
pub(crate) fn manifest(remote: &str, lines: &str) -> String {
    let publisher = tables::guest(
        "publisher",
        "publisher",
        "git = { orders = \"read\", site = { from = \"site-pages\", mode = \"write\" } }",
    );
    format!("{}[git.orders]\nremote = \"orders.git\"\nbranch = \"main\"\n{publisher}", site(remote, lines))
}

pub(crate) fn order(orders: &Repository, lines: &str) {
    orders.commit("main", &[("orders", lines)]);
}

/// What the agent said of an order, once it has.
pub(crate) async fn said(host: &Host, order: &str) -> String {
    until(SOON, order, async || {
        let log = host.setup().log();
        let line = log.lines().find_map(|line| Some(line.split_once(order)?.1.to_owned()));
        line.and_then(|said| said.strip_prefix(": ").map(str::to_owned))
    })
    .await
}

fn fsck(repository: &std::path::Path) -> std::process::Output {
    let fsck =
        Command::new("git").arg("-C").arg(repository).args(["fsck", "--full", "--strict", "--no-dangling"]).output();
    fsck.expect("git is installed")
}

pub(crate) fn clean(repository: &std::path::Path) {
    let fsck = fsck(repository);
    assert!(fsck.status.success(), "{}: {fsck:?}", repository.display());
}

/// The agent publishes what is ordered, twice; the site shows it, and the agent was woken by the orders alone.
pub(crate) async fn publishes(setup: Setup, repository: &Repository) -> Host {
    let orders = setup.repository("orders");
    order(&orders, "");
    let first = repository.head("main").expect("it has a commit");
    let host = setup.start().await;
    shows(&host, "one").await;
    order(&orders, "open site\nread index.html\nwrite index.html two\nwrite more/page.html x\ncommit Ann number two");
    shows(&host, "two").await;
    assert_eq!(said(&host, "read index.html").await, "one");
    let second = said(&host, "commit Ann number two").await;
    assert_eq!(repository.head("main").as_deref(), Some(&*second));
    order(&orders, "open site\nremove more/page.html\nwrite index.html three\ncommit Ann number three");
    shows(&host, "three").await;
    let third = said(&host, "commit Ann number three").await;
    assert_eq!(
        repository.git(&["log", "--format=%H %P %an %cn %s", "main"]),
        format!("{third} {second} Ann Atoll number three\n{second} {first} Ann Atoll number two\n{first}  A A Commit")
    );
    assert_eq!(repository.git(&["ls-tree", "-r", "--name-only", "main"]), "index.html");
    until(SOON, "the revision", async || (host.binding("site-pages").await["revision"] == third).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let log = host.setup().log();
    assert_eq!(log.matches("open site: ").count(), 2, "{log}");
    clean(repository.path());
    clean(&host.setup().state().join("git/site-pages.git"));
    // Nothing else is wanted for what came.
    let bundle = host.setup().path("bundle");
    let bundle = bundle.to_str().expect("text");
    repository.git(&["bundle", "create", "--quiet", bundle, "main"]);
    repository.git(&["bundle", "verify", "--quiet", bundle]);
    let listed = repository.git(&["bundle", "list-heads", bundle]);
    assert_eq!(listed, format!("{third} refs/heads/main"));
    host
}

#[tokio::test]
async fn to_a_repository_on_this_machine() {
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    setup.manifest(&manifest("root/site.git", ""));
    publishes(setup, &repository).await;
}

#[tokio::test]
async fn to_a_file_url() {
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    setup.manifest(&manifest(&format!("file://localhost{}", repository.path().display()), ""));
    publishes(setup, &repository).await;
}

#[tokio::test]
async fn to_git_daemon() {
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let daemon = Daemon::start(&setup.path("root")).await;
    setup.manifest(&manifest(&format!("git://{}/site.git", daemon.address()), ""));
    publishes(setup, &repository).await;
}

/// By the client itself: no component can ask for it.
#[tokio::test]
async fn a_branch_is_deleted_at_git_daemon_and_over_http() {
    if skip::missing(&["fcgiwrap", "nginx"]) {
        return;
    }
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    repository.git(&["config", "http.receivepack", "true"]);
    let root = setup.path("root");
    let daemon = Daemon::start(&root).await;
    let web = Web::start(&root, &setup.path("web"), &Ca::new("private"), "http://127.0.0.1:1").await;
    let (dialler, address) = (Dialler::system(), daemon.address());
    let tls = Tls::system(&SystemRoots::default(), HTTP);
    let uri = web.plain().parse().expect("an address");
    let origin = Origin::new(&uri, Protocol::Http1, &tls, Egress::Any).expect("an origin");
    let client = Client::new(dialler.clone(), Options::default());
    let http = Http::server(&client, &Proxies::default(), origin, "/site.git", None, Patience::default());
    let host = net::Host::Address(address.ip());
    for server in
        [git::Daemon::server(&dialler, host, address.port(), "/site.git", Patience::default()), http.expect("no proxy")]
    {
        let first = repository.head("main").expect("it has a commit");
        repository.commit("main", &[("more", server.name())]);
        let second = repository.head("main").expect("it has a commit");
        repository.git(&["branch", "old", &first]);
        for (old, said) in [(&second, "the branch moved"), (&first, "deleted"), (&first, "the branch moved")] {
            let (server, old) = (server.clone(), ObjectId::from_hex(old.as_bytes()).expect("an id"));
            let deleted = tokio::task::spawn_blocking(move || server.delete("old", old)).await.expect("no panic");
            assert_eq!(deleted.map_or_else(|error| error.to_string(), |()| "deleted".to_owned()), said);
        }
        assert_eq!(
            repository.git(&["for-each-ref", "--format=%(refname) %(objectname)"]),
            format!("refs/heads/main {second}")
        );
    }
    clean(repository.path());
}

#[tokio::test]
async fn over_http_and_tls_with_and_without_credentials() {
    if skip::missing(&["fcgiwrap", "nginx"]) {
        return;
    }
    let ca = Ca::new("private");
    for (path, secure, token) in [
        ("/site.git", Secure::No, None),
        ("/site.git", Secure::Roots, None),
        ("/moved/site.git", Secure::No, None),
        ("/private/site.git", Secure::System, Some("me:secret")),
        ("/private/site.git", Secure::Roots, Some("token")),
        ("/bearer/site.git", Secure::Roots, Some("token")),
    ] {
        let setup = Setup::without_manifest();
        let repository = repository(&setup);
        // Whom the server knows by name may push anyway.
        if !path.starts_with("/private") {
            repository.git(&["config", "http.receivepack", "true"]);
        }
        let web = Web::start(&setup.path("root"), &setup.path("web"), &ca, "http://127.0.0.1:1").await;
        let (setup, remote, lines) = web.binding(setup, path, secure, token);
        setup.manifest(&manifest(&remote, &lines));
        publishes(setup, &repository).await;
    }
}

/// By each type of key, on both sides; and by a server that does not hear which version of the protocol is asked for.
#[tokio::test]
async fn by_ssh() {
    if skip::missing(PROGRAMS) {
        return;
    }
    let (rsa, ecdsa) = (["-t", "rsa", "-b", "2048"], ["-t", "ecdsa", "-b", "256"]);
    for (kind, version) in [(ED25519, VERSIONS), (&rsa, VERSIONS), (&ecdsa, VERSIONS), (ED25519, "")] {
        let setup = Setup::without_manifest();
        let repository = repository(&setup);
        let folder = keys(&setup, &[("key", kind), ("host", kind)]);
        let sshd = Sshd::with(&folder, &["key"], dead(), version).await;
        setup.write("known_hosts", sshd.line());
        setup.manifest(&manifest(&sshd.url(repository.path()), "key = \"ssh/key\"\nknown_hosts = \"known_hosts\"\n"));
        let _host = publishes(setup, &repository).await;
        // All of that on one connection.
        sshd.came_in(1);
    }
}

/// What a push is before it is taken.
fn hook(repository: &Repository, script: &str) {
    let hook = repository.path().join("hooks/pre-receive");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// What the agent hears, and what the log says of it.
#[tokio::test]
async fn what_goes_wrong_is_told() {
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let orders = setup.repository("orders");
    order(&orders, "");
    hook(&repository, "echo policy >&2; exit 1");
    let daemon = Daemon::start(&setup.path("root")).await;
    let address = daemon.address();
    setup.manifest(&manifest(&format!("git://{address}/site.git"), ""));
    let host = setup.start().await;
    shows(&host, "one").await;
    order(&orders, "open site\nwrite index.html two\ncommit Ann refused");
    assert_eq!(said(&host, "commit Ann refused").await, "refused: pre-receive hook declined: policy");
    // Nothing of it is kept.
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"));
    drop(daemon);
    order(&orders, "open site\ncommit Ann late");
    assert_eq!(
        said(&host, "open site").await.len(),
        40,
        "the first of them, while the server was there: {}",
        host.setup().log()
    );
    let unreachable = "open site: unreachable: the origin of site-pages can't be reached; the host's log says why";
    until(SOON, unreachable, async || host.setup().log().contains(unreachable).then_some(())).await;
    let why = format!("binding site-pages: can't be fetched: git://{address}/site.git: {address}: connection refused");
    assert!(host.setup().log().contains(&why), "{}", host.setup().log());
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"));
    // And goes right once it is there again.
    hook(&repository, "exit 0");
    let _daemon = Daemon::at(&host.setup().path("root"), address).await;
    order(&orders, "open site\nwrite index.html back\ncommit Ann again");
    assert_eq!(said(&host, "commit Ann again").await, repository.head("main").expect("it has a commit"));
    shows(&host, "back").await;
}

/// By a web server, too: what will be answered the next time as well is `refused`, in the server's words.
#[tokio::test]
async fn what_a_web_server_answers_a_push_is_told() {
    if skip::missing(&["fcgiwrap", "nginx"]) {
        return;
    }
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let orders = setup.repository("orders");
    order(&orders, "");
    repository.git(&["config", "http.receivepack", "false"]);
    let web = Web::start(&setup.path("root"), &setup.path("web"), &Ca::new("private"), "http://127.0.0.1:1").await;
    setup.write("ca.pem", web.ca());
    let (plain, secure, nobody) = (web.plain(), web.secure(), format!("http://{}", dead()));
    setup.manifest(&manifest(&format!("{plain}/site.git"), ""));
    let host = setup.start().await;
    shows(&host, "one").await;
    let away = "unreachable: the origin of site-pages can't be reached; the host's log says why";
    let credentials = "the server asks for credentials: put a token in a file and name it, token = \"FILE\"";
    for (remote, lines, step, heard, logged) in [
        (format!("{plain}/site.git"), "", "commit", "refused: the server answers 403 Forbidden", ""),
        (format!("{plain}/403/site.git"), "", "commit", "refused: the server answers 403 Forbidden", ""),
        (format!("{plain}/404/site.git"), "", "commit", "refused: the server answers 404 Not Found", ""),
        (
            format!("{secure}/401/site.git"),
            "ca = \"ca.pem\"",
            "commit",
            "refused: the server answers 401 Unauthorized",
            { credentials },
        ),
        (format!("{plain}/500/site.git"), "", "commit", away, "the server answers 500 Internal Server Error"),
        (format!("{plain}/502/site.git"), "", "commit", away, "the server answers 502 Bad Gateway"),
        (
            format!("{secure}/private/site.git"),
            "ca = \"ca.pem\"",
            "open",
            "refused: the server answers 401 Unauthorized",
            { credentials },
        ),
        (format!("{nobody}/site.git"), "", "open", away, "connection refused"),
    ] {
        host.setup().manifest(&manifest(&remote, &format!("{lines}\n")));
        host.reload().await.done();
        let last = format!("commit Ann {}", remote.replace(['/', ':'], "-"));
        order(&orders, &format!("open site\nwrite index.html two\n{last}"));
        if step == "commit" {
            assert_eq!(said(&host, &last).await, heard, "{remote}");
            let logged = if logged.is_empty() { &heard["refused: ".len()..] } else { logged };
            let line = host.logged(&format!("can't be pushed to: {remote}: {logged}")).await;
            assert!(line.starts_with("warning: binding site-pages: "), "{line}");
        } else {
            let line = host.logged(&format!("can't be fetched: {remote}: ")).await;
            assert!(line.ends_with(logged), "{line}");
            let heard = format!("open site: {heard}");
            until(SOON, &heard, async || host.setup().log().contains(&heard).then_some(())).await;
        }
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"), "{remote}");
    }
    clean(repository.path());
}

/// Killed at any moment of its commits, it starts again, and neither repository is hurt.
#[tokio::test]
async fn a_kill_while_it_pushes_hurts_nothing() {
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let orders = setup.repository("orders");
    let daemon = Daemon::start(&setup.path("root")).await;
    let mut setup = setup;
    for (round, remote) in [format!("git://{}/site.git", daemon.address()), "root/site.git".into()].iter().enumerate() {
        for moment in 0_u64..3 {
            let lines: Vec<String> = (0..40)
                .map(|at| format!("open site\nwrite file-{round}-{moment}-{at} {at}\ncommit Ann {round}-{moment}-{at}"))
                .collect();
            order(&orders, &lines.join("\n"));
            setup.manifest(&manifest(remote, ""));
            let host = setup.start().await;
            let begun = format!("{round}-{moment}-1");
            let subjects = || repository.git(&["log", "--format=%s", "main"]);
            until(SOON, &begun, async || subjects().lines().any(|subject| subject == begun).then_some(())).await;
            tokio::time::sleep(Duration::from_millis(7 * moment)).await;
            setup = host.kill().await;
            // Its server may still be at work on what came.
            until(SOON, "a clean origin", async || fsck(repository.path()).status.success().then_some(())).await;
            clean(repository.path());
            clean(&setup.state().join("git/site-pages.git"));
        }
    }
    order(&orders, "open site\nwrite index.html alive\ncommit Ann at last");
    let host = setup.start().await;
    shows(&host, "alive").await;
}

/// Two hosts with states of their own, each of whose agents stages again on `conflict`: all that they commit lands.
#[tokio::test]
async fn two_hosts_push_to_one_branch_and_lose_nothing() {
    const EACH: usize = 10;
    let shared = Setup::without_manifest();
    let repository = repository(&shared);
    // So that they are at it at once whatever the scheduler does: the first push stands at the door until another has passed.
    let until_moved = "while test $(git rev-parse refs/heads/main) = $old; do sleep 0.02; done";
    hook(&repository, &format!("mkdir first 2>&- || exit 0\nread old new name\n{until_moved}"));
    let daemon = Daemon::start(&shared.path("root")).await;
    let remote = format!("git://{}/site.git", daemon.address());
    let (mut hosts, mut orders) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let setup = Setup::without_manifest();
        orders.push(setup.repository("orders"));
        order(&orders[orders.len() - 1], "");
        setup.manifest(&manifest(&remote, ""));
        hosts.push(setup.start().await);
    }
    for host in &hosts {
        shows(host, "one").await;
    }
    let line = |name: &str| format!("land {name} {EACH}");
    for (orders, name) in orders.iter().zip(["left", "right"]) {
        order(orders, &line(name));
    }
    let mut conflicts = 0;
    for (host, name) in hosts.iter().zip(["left", "right"]) {
        let said = said(host, &line(name)).await;
        let count = said.strip_suffix(" conflicts").and_then(|count| count.parse::<usize>().ok());
        conflicts += count.unwrap_or_else(|| panic!("{name}: {said}\n{}", host.setup().log()));
    }
    assert!(conflicts > 0, "what stood at the door was let in on top of the other");
    let subjects = repository.git(&["log", "--format=%s", "main"]);
    for name in ["left", "right"] {
        let landed: Vec<&str> = subjects.lines().filter(|subject| subject.starts_with(name)).collect();
        let expected: Vec<String> = (0..EACH).rev().map(|at| format!("{name}/{at}")).collect();
        assert_eq!(landed, expected);
    }
    assert_eq!(repository.git(&["rev-list", "--count", "--first-parent", "main"]), (2 * EACH + 1).to_string());
    assert_eq!(repository.git(&["ls-tree", "-r", "--name-only", "main"]).lines().count(), 2 * EACH + 1);
    clean(repository.path());
    let head = repository.head("main").expect("it has commits");
    for host in &hosts {
        until(SOON, "the last commit", async || (host.binding("site-pages").await["revision"] == head).then_some(()))
            .await;
        clean(&host.setup().state().join("git/site-pages.git"));
    }
}
