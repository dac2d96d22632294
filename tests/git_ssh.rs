//! Sites that are served from a branch that is reached by SSH: OpenSSH's server with `git-shell`. Who answers is checked,
//! and whoever is not known is refused with the words that would accept it.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, process::Command};

use crate::{
    git_hooks::{HOOK, SECRET},
    git_push::{manifest, order, publishes, said},
    git_servers::{error, lives, repository, shows, site},
    support::{
        client::with_body,
        git::Repository,
        guests::root,
        host::Setup,
        skip,
        sshd::{ED25519, PROGRAMS, Sshd, VERSIONS, fingerprint, keygen, keys, public, run_keygen, user},
        upstream::dead,
        wait::{BUILT, until},
    },
};

#[tokio::test]
async fn by_each_kind_of_key_and_each_kind_of_trust() {
    if skip::missing(PROGRAMS) {
        return;
    }
    for (kind, trust) in [
        (ED25519, "known_hosts"),
        (&["-t", "rsa", "-b", "2048"], "hashed"),
        (&["-t", "ecdsa", "-b", "256"], "pin"),
        (ED25519, "authority"),
        (&["-t", "ed25519", "-N", "a passphrase"], "pin"),
        (&["seed", "ed25519"], "pin"),
        (&["seed", "rsa-2048"], "hashed"),
    ] {
        let setup = Setup::without_manifest();
        let repository = repository(&setup);
        let folder = keys(&setup, &[("host", ED25519), ("ca", ED25519)]);
        let path = |name: &str| setup.path(name).to_str().expect("text").to_owned();
        let key = if let ["seed", kind] = kind {
            setup.secret("ssh/seed", "71da85e98b12732faf66939f5c9980511f8a194400170602243265079a265efa");
            let of = if *kind == "ed25519" { "ed25519" } else { "rsa" };
            let (key, seed) = (path("ssh/key"), path("ssh/seed"));
            let mut made = vec!["keygen", "--type", of, "--output", &key, "--seed-file", &seed];
            if of == "rsa" {
                made.extend(["--bits", "2048"]);
            }
            setup.write("ssh/key.pub", setup.command(&made).await.done().lines().next().expect("a line"));
            &format!("key = \"seed:{kind}:ssh/seed\"\n")
        } else {
            keygen(&folder, "key", kind);
            setup.secret("ssh/passphrase", "a passphrase\n");
            if kind.contains(&"-N") {
                "key = \"ssh/key\"\npassphrase = \"ssh/passphrase\"\n"
            } else {
                "key = \"ssh/key\"\n"
            }
        };
        if trust == "authority" {
            run_keygen(&folder, &["-q", "-s", "ca", "-I", "host", "-h", "-n", "127.0.0.1", "host.pub"]);
        }
        let sshd = Sshd::start(&folder, &["key"]).await;
        let line = match trust {
            "pin" => format!("pin = \"{}\"\n", sshd.pin()),
            "authority" => {
                // For all of its ports, as in OpenSSH.
                setup.write("known_hosts", format!("@cert-authority 127.0.0.1 {}\n", public(&folder, "ca")));
                "known_hosts = \"known_hosts\"\n".to_owned()
            }
            _ => {
                setup.write("known_hosts", sshd.line());
                if trust == "hashed" {
                    run_keygen(&setup.path(""), &["-H", "-f", "known_hosts"]);
                    assert!(fs::read_to_string(setup.path("known_hosts")).unwrap().starts_with("|1|"));
                }
                "known_hosts = \"known_hosts\"\n".to_owned()
            }
        };
        setup.manifest(&site(&sshd.url(repository.path()), &format!("{key}{line}")));
        sshd.came_in(0);
        lives(setup, &repository, || {
            // All of that on one connection.
            sshd.came_in(1);
            drop(sshd);
        })
        .await;
    }
}

/// The short form of an address, which has no port: by one of loopback's addresses whose port 22 nobody has.
#[tokio::test]
async fn by_user_at_host_and_a_path() {
    if skip::missing(PROGRAMS) {
        return;
    }
    let Some(address) = port_of_ssh(22) else { return skip::left_out("port 22 of loopback") };
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let folder = keys(&setup, &[("key", ED25519)]);
    let sshd = Sshd::with(&folder, &["key"], address, VERSIONS).await;
    // As ssh-keyscan writes it where the port is SSH's own.
    setup.write("known_hosts", format!("{} {}\n", address.ip(), public(&folder, "host")));
    let remote = format!("{}@{}:{}", user(), address.ip(), repository.path().display());
    setup.manifest(&manifest(&remote, "key = \"ssh/key\"\nknown_hosts = \"known_hosts\"\n"));
    let _host = publishes(setup, &repository).await;
    sshd.came_in(1);
}

/// What stands in the README: from a bare repository that SSH reaches to a site that is live, and live again. Only who and
/// where it is are the test's, the ports, and how often the host looks.
#[tokio::test]
async fn the_commands_of_the_readme() {
    if skip::missing(&[PROGRAMS, &["ssh-keyscan"]].concat()) {
        return;
    }
    let Some(address) = port_of_ssh(23) else { return skip::left_out("port 22 of loopback") };
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, block) = readme.split_once("on a server of one's own, reached by SSH:\n\n```sh\n").unwrap();
    let (block, _) = block.split_once("```\n").unwrap();
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let folder = keys(&setup, &[]);
    let sshd = Sshd::with(&folder, &[], address, VERSIONS).await;
    std::os::unix::fs::symlink(root().join("components"), setup.path("components")).unwrap();
    let path = repository.path().display().to_string();
    let mut commands = block.to_owned();
    for (written, here) in [
        ("me@", format!("{}@", user())),
        ("git.example.org", address.ip().to_string()),
        ("/home/me/blog.git", path),
        (
            "[component.site]\n",
            "poll = \"1s\"\n[listen]\nhttp = \"127.0.0.1:0\"\nhttps = \"127.0.0.1:0\"\n[component.site]\n".into(),
        ),
    ] {
        assert!(commands.contains(written), "{written} in {block}");
        commands = commands.replace(written, &here);
    }
    let (make, rest) = commands.split_once('\n').unwrap();
    let (scan, rest) = rest.split_once('\n').unwrap();
    let (write, run) = rest.split_once("\nEND\n").unwrap();
    let words = |line: &str| line.split(" #").next().unwrap().trim_end().to_owned();
    let made = words(make);
    let said = setup.command(&made.strip_prefix("host ").unwrap().split(' ').collect::<Vec<_>>()).await.done();
    // "Into ~/.ssh/authorized_keys there", where the server that the test has looks for it.
    fs::write(folder.join("authorized_keys"), said.lines().next().unwrap()).unwrap();
    for line in [scan, &format!("{write}\nEND\n")] {
        let done = Command::new("sh").args(["-euc", line]).current_dir(setup.path("")).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }
    assert_eq!(words(run), "host check && host run");
    setup.command(&["check"]).await.done();
    let host = setup.start().await;
    shows(&host, "one").await;
    repository.commit("main", &[("index.html", "two")]);
    shows(&host, "two").await;
    sshd.came_in(1);
}

/// SSH's own port at an address of this process's alone, if it may be had.
fn port_of_ssh(net: u8) -> Option<SocketAddr> {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let address = SocketAddr::from(([127, net, high, low], 22));
    std::net::TcpListener::bind(address).ok().map(|_| address)
}

/// The processes that serve connections stand still; the one that takes new ones does not.
#[tokio::test]
async fn a_server_that_has_gone_without_a_word_is_asked_anew() {
    if skip::missing(PROGRAMS) {
        return;
    }
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let (sshd, remote) = Sshd::beside(&setup, repository.path()).await;
    let pin = sshd.pin();
    setup.manifest(&site(&remote, &format!("key = \"ssh/key\"\npin = \"{pin}\"\n")));
    let host = setup.start().await;
    shows(&host, "one").await;
    let still = sshd.stop_sessions();
    repository.commit("main", &[("index.html", "two")]);
    shows(&host, "two").await;
    sshd.came_in(2);
    drop(still);
}

/// By the real server's own account of what it hears: with nothing to do for it, it is asked whether it is there.
#[tokio::test]
async fn a_connection_is_kept_alive() {
    if skip::missing(PROGRAMS) {
        return;
    }
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let folder = keys(&setup, &[("key", ED25519)]);
    let sshd = Sshd::with(&folder, &["key"], dead(), "LogLevel DEBUG1\n").await;
    setup.secret("secret", format!("{SECRET}\n"));
    let lines = format!("key = \"ssh/key\"\npin = \"{}\"\nhook = \"secret\"\n", sshd.pin());
    setup.manifest(&site(&sshd.url(repository.path()), &lines).replace("poll = \"1s\"", "poll = \"24h\""));
    let host = setup.start().await;
    shows(&host, "one").await;
    let asked = || sshd.log().matches("server_input_global_request: rtype keepalive@openssh.com want_reply 1").count();
    until(BUILT, "a second question", async || (asked() >= 2).then_some(())).await;
    // Still that connection.
    repository.commit("main", &[("index.html", "two")]);
    let told = with_body("POST", &format!("{HOOK}?wait"), &[("authorization", &format!("Bearer {SECRET}"))], "");
    assert_eq!(host.client().send(told).await.status, 200);
    shows(&host, "two").await;
    sshd.came_in(1);
}

/// A connection is kept; what was read for it is looked at again each time that it is used.
#[tokio::test]
async fn what_a_connection_rests_on_counts_while_it_is_kept() {
    if skip::missing(PROGRAMS) {
        return;
    }
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let (sshd, remote) = Sshd::beside(&setup, repository.path()).await;
    let (key, line) = (public(&setup.path("ssh"), "host"), sshd.line());
    setup.write("known_hosts", &line);
    setup.manifest(&site(&remote, "key = \"ssh/key\"\nknown_hosts = \"known_hosts\"\n"));
    let host = setup.start().await;
    shows(&host, "one").await;
    let private = host.setup().path("ssh/key");
    let mode = |mode| fs::set_permissions(&private, fs::Permissions::from_mode(mode)).unwrap();
    let revoked = |lines: &str| drop(host.setup().write("known_hosts", lines));
    for (number, page, words) in [(1, "two", "is revoked in"), (2, "three", "can be read by others (mode 0644)")] {
        if number == 1 {
            revoked(&format!("{line}@revoked * {key}\n"));
        } else {
            mode(0o644);
        }
        repository.commit("main", &[("index.html", page)]);
        let told = error(&host).await;
        assert!(told.contains(words), "{told}");
        if number == 1 {
            revoked(&line);
        } else {
            mode(0o600);
        }
        shows(&host, page).await;
    }
}

/// Whichever of its keys is pinned, and however few its owner knows of.
#[tokio::test]
async fn a_server_with_several_keys_is_known_by_any_that_is_pinned() {
    if skip::missing(PROGRAMS) {
        return;
    }
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let (rsa, ecdsa) = (["-t", "rsa", "-b", "2048"], ["-t", "ecdsa", "-b", "256"]);
    let folder = keys(&setup, &[("key", ED25519), ("rsa", &rsa), ("ecdsa", &ecdsa), ("other", &rsa)]);
    let here = folder.display();
    let lines = format!("{VERSIONS}HostKey {here}/rsa\nHostKey {here}/ecdsa\n");
    let sshd = Sshd::with(&folder, &["key"], dead(), &lines).await;
    let remote = sshd.url(repository.path());
    let pinned = |print: &str| site(&remote, &format!("key = \"ssh/key\"\npin = \"{print}\"\n"));
    let [first, second, third] = ["host", "ecdsa", "rsa"].map(|name| fingerprint(&folder, name));
    setup.manifest(&pinned(&third));
    let host = setup.start().await;
    shows(&host, "one").await;
    // Which of them it is has to be found out once.
    let before = sshd.connections();
    assert!(before >= 3, "{}", sshd.log());
    let still = sshd.stop_sessions();
    repository.commit("main", &[("index.html", "again")]);
    shows(&host, "again").await;
    assert_eq!(sshd.connections(), before + 1, "{}", sshd.log());
    drop(still);
    for (print, page) in [(&second, "two"), (&first, "three"), (&third, "four")] {
        host.setup().manifest(&pinned(print));
        host.reload().await.done();
        repository.commit("main", &[("index.html", page)]);
        shows(&host, page).await;
    }
    sshd.came_in(5);
    let (other, name) = (fingerprint(&folder, "other"), sshd.name());
    host.setup().manifest(&pinned(&other));
    host.reload().await.done();
    assert_eq!(
        error(&host).await,
        format!(
            "{remote}: none of the host keys of {name} is the one that is pinned, {other}: somebody may be in the middle. They are ssh-ed25519 {first}, ecdsa-sha2-nistp256 {second}, ssh-rsa {third}; if one of them is right, write pin = \"{first}\", or another's"
        )
    );
    sshd.came_in(5);
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "four"));
}

/// Stock sshd does not hear which version of the protocol is wanted, and in the oldest one an empty repository says nothing of
/// its HEAD: who would begin its branch is told so before anything is staged, and begins the one that is named.
#[tokio::test]
async fn a_branch_without_a_commit_is_begun_where_it_is_named() {
    if skip::missing(PROGRAMS) {
        return;
    }
    let setup = Setup::without_manifest();
    let repository = Repository::bare(setup.path("empty.git"));
    let orders = setup.repository("orders");
    order(&orders, "open site\ncommit Ann early");
    let folder = keys(&setup, &[("key", ED25519), ("host", ED25519)]);
    let sshd = Sshd::with(&folder, &["key"], dead(), "").await;
    let remote = sshd.url(repository.path());
    let lines = format!("key = \"ssh/key\"\npin = \"{}\"\n", sshd.pin());
    let named = manifest(&remote, &lines);
    setup.manifest(&named.replacen("branch = \"main\"\n", "", 1));
    let host = setup.start().await;
    let words = "the server does not say which branch its HEAD is; name one: branch = \"NAME\"";
    assert_eq!(said(&host, "open site").await, format!("refused: {words}"));
    let line = host.logged(&format!("can't be written to: {remote}: ")).await;
    assert_eq!(line, format!("warning: binding site-pages: can't be written to: {remote}: {words}"));
    host.setup().manifest(&named);
    host.reload().await.done();
    order(&orders, "open site\nwrite index.html first\ncommit Ann begun");
    shows(&host, "first").await;
    assert_eq!(repository.git(&["log", "--format=%an %s", "main"]), "Ann begun");
}

/// What is said of servers that are not let in on, or do not let in; `R` is the remote.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table")]
async fn servers_that_are_refused_or_refuse() {
    if skip::missing(PROGRAMS) {
        return;
    }
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let plain = ["key", "stranger", "other", "open"].map(|name| (name, ED25519));
    let folder = keys(&setup, &plain);
    keygen(&folder, "locked", &["-t", "ed25519", "-N", "passphrase"]);
    fs::set_permissions(folder.join("open"), fs::Permissions::from_mode(0o644)).unwrap();
    setup.secret("ssh/nonsense", "nonsense");
    let sshd = Sshd::start(&folder, &["key", "open"]).await;
    let (host, print) = (public(&folder, "host"), sshd.pin());
    let other = fingerprint(&folder, "other");
    let name = sshd.name();
    let user = user();
    setup.write("good", sshd.line());
    setup.write("nobody", "");
    setup.write("changed", format!("{name} {}\n", public(&folder, "other")));
    setup.write("revoked", format!("{name} {host}\n@revoked * {host}\n"));
    let path = |name: &str| setup.path(name).display().to_string();
    let remote = sshd.url(repository.path());
    let key = "key = \"ssh/key\"\n";
    let good = "known_hosts = \"good\"\n";
    let cases: &[(String, String)] = &[
        (
            key.to_owned(),
            format!(
                "the host key of {name} is ssh-ed25519 {print}, and none is known; if it is right, write pin = \"{print}\""
            ),
        ),
        (
            format!("{key}pin = \"{other}\"\n"),
            format!(
                "the host key of {name} is not the one that is pinned, {other}: somebody may be in the middle. It is ssh-ed25519 {print}; if that is right, write pin = \"{print}\""
            ),
        ),
        (
            format!("{key}known_hosts = \"nobody\"\n"),
            format!(
                "the host key of {name} is ssh-ed25519 {print}, and not in {}; if it is right, this line there accepts it: {name} {host}",
                path("nobody")
            ),
        ),
        (
            format!("{key}known_hosts = \"changed\"\n"),
            format!(
                "the host key of {name} has changed: somebody may be in the middle. It is ssh-ed25519 {print}, and {}:1 has ssh-ed25519 {other}; if the new one is right, this line in its place accepts it: {name} {host}",
                path("changed")
            ),
        ),
        (
            format!("{key}known_hosts = \"revoked\"\n"),
            format!("the host key of {name}, ssh-ed25519 {print}, is revoked in {}:2", path("revoked")),
        ),
        (good.to_owned(), format!("the server wants a key for {user}: name its file, key = \"FILE\"")),
        (
            format!("key = \"ssh/stranger\"\n{good}"),
            format!(
                "the server refuses the key in {} for {user}; its line for authorized_keys: {}",
                path("ssh/stranger"),
                public(&folder, "stranger")
            ),
        ),
        (
            format!("key = \"ssh/open\"\n{good}"),
            format!("{0} can be read by others (mode 0644); run chmod 600 {0}", path("ssh/open")),
        ),
        (
            format!("key = \"ssh/open.pub\"\n{good}"),
            format!("{0}.pub is the public key: name the private one, {0}", path("ssh/open")),
        ),
        (
            format!("key = \"ssh/locked\"\n{good}"),
            format!(
                "the key in {} has a passphrase: put it in a file and name it, passphrase = \"FILE\"",
                path("ssh/locked")
            ),
        ),
        (
            format!("key = \"ssh/nonsense\"\n{good}"),
            format!("{} holds no private key in OpenSSH's form", path("ssh/nonsense")),
        ),
        (
            format!("key = \"ssh/locked\"\npassphrase = \"ssh/nonsense\"\n{good}"),
            format!("the passphrase in {} does not open the key in {}", path("ssh/nonsense"), path("ssh/locked")),
        ),
        (
            format!("key = \"seed:ed25519:ssh/nonsense\"\n{good}"),
            format!(
                "the seed in {} is refused: the seed could be guessed: it is short; 32 bytes are wanted, which are 64 characters in hexadecimal and 43 in Base64; `openssl rand -hex 32` makes a good one",
                path("ssh/nonsense")
            ),
        ),
    ];
    setup.manifest(&site(&remote, &format!("{key}{good}")));
    let running = setup.start().await;
    shows(&running, "one").await;
    for (lines, expected) in cases {
        running.setup().manifest(&site(&remote, lines));
        running.reload().await.done();
        assert_eq!(error(&running).await, format!("{remote}: {expected}"));
        assert_eq!(running.client().get("https://localhost/").await.brief(), (200, "one"), "{expected}");
    }
    // Nobody is asked for a password, and none is tried.
    let log = sshd.log();
    assert!(!log.contains("Failed password") && !log.contains("keyboard-interactive"), "{log}");
    // What the server itself says, of a path that its shell must not take for more than one.
    let remote = format!("ssh://{user}@{}/none.git;touch$IFS'x'", sshd.address());
    running.setup().manifest(&site(&remote, &format!("{key}{good}")));
    running.reload().await.done();
    let said = error(&running).await;
    assert!(said.contains("the server says \"fatal: '/none.git;touch$IFS'x''"), "{said}");
}
