//! The manifest: a mistake is told with its file and line, by whoever reads it, and nothing is changed by it.

use std::os::unix::net::UnixListener;

use rustix::process::Signal;

use crate::support::{
    broken::nested_types,
    git::Repository,
    guests::{HELLO, component, fixture},
    host::Setup,
    tables,
};

/// By `openssl rand`.
const DRAWN: &str = "9c3f1e0a7b5d2846c1f0e9d8a7b6530412fedcba";

/// One of each kind; all of them are in the tests beside the code.
const MISTAKES: &[(&str, &str)] = &[
    ("[gti.pages]\nremote = \"x\"\n", "host.toml:1: unknown key `gti` in the manifest; did you mean `git`?"),
    ("[log]\naccess = \"json\"\naccess = \"off\"\n", "host.toml:3: `access` is here a second time"),
    (
        "[memory]\nanswers = \"64MB\"\n",
        "host.toml:2: `answers`: `64MB` is not a size (units are KiB, MiB, GiB): write \"64MiB\"",
    ),
    (
        "[[certificate]]\nchain = \"none.pem\"\nkey = \"none.key\"\n",
        "host.toml:2: `chain`: there is no file `none.pem`\nhost.toml:3: `key`: there is no file `none.key`",
    ),
    (
        "[component.x]\npath = \"host.toml\"\ngit = { pagse = \"read\" }\n",
        "host.toml:3: there is no binding `pagse`; define it in a table [git.pagse]",
    ),
];

#[tokio::test]
async fn run_and_check_say_the_same_and_start_nothing() {
    for (lines, expected) in MISTAKES {
        let setup = Setup::new(&format!("{lines}{}", tables::guest("hello", "hello", "")));
        for outcome in [setup.refuses().await, setup.command(&["check"]).await] {
            let said = setup.shown(&outcome.failed());
            assert!(said.contains(expected), "{lines}{said}");
            assert!(!said.contains("listening on"), "{said}");
        }
        assert!(!setup.state().exists(), "{lines}");
    }
    let setup = Setup::new(&tables::guest("hello", "hello", ""));
    assert_eq!(setup.command(&["check"]).await.done(), "1 component: nothing is wrong\n");
    assert_eq!(setup.command(&["check", "--strict"]).await.done(), "1 component: nothing is wrong\n");
    assert!(!setup.state().exists());
}

/// What is wrong with what the manifest names is said in the same words, with its line, by the three that read it.
#[tokio::test]
async fn run_check_and_reload_say_the_same_of_a_component() {
    let hello = tables::guest("site", "hello", "");
    let bad = "[component.bad]\npath = \"bad.wasm\"\n";
    let running = Setup::new(&hello).start().await;
    let ungranted = "imports atoll:host/repository@0.1.0, which is not granted; add to [component.bad]: git = { NAME = \"read\" \
                     }, NAME being a [git.NAME] of the manifest";
    for (bytes, words) in [
        (&std::fs::read(component("site")).unwrap()[..], ungranted),
        (b"text", "bad.wasm: is not a WebAssembly component: it does not begin with \\0asm"),
        (b"\0asm\x01\0\0\0", "bad.wasm: is a core module, not a component; build it for the target wasm32-wasip2"),
        (
            &nested_types(50_000),
            "bad.wasm: can't be compiled: it is nested too deep, and overflows the compiler's stack of 16 MiB",
        ),
    ] {
        let setup = Setup::new(&format!("{bad}{hello}"));
        setup.write("bad.wasm", bytes);
        running.setup().write("bad.wasm", bytes);
        running.setup().manifest(&format!("{bad}{hello}"));
        let line = format!("host.toml:1: [component.bad]: {words}\nhost: ");
        let (run, check, reload) = (setup.refuses().await, setup.command(&["check"]).await, running.reload().await);
        assert_eq!(setup.shown(&check.failed()), format!("{line}1 mistake; a fresh host would not start\n"));
        assert_eq!(setup.shown(&run.failed()), format!("{line}nothing was started\n"));
        assert_eq!(running.setup().shown(&reload.failed()), format!("{line}nothing was changed\n"));
    }
}

/// Another program has the port: which option names another is said where no line of a manifest does.
#[tokio::test]
async fn a_port_that_is_taken_is_told_with_the_option() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words = format!("can't listen on {address}: Address already in use (os error 98)");
    let setup = Setup::new(&tables::guest("hello", "hello", "")).argument("--https").argument(&address);
    assert!(
        setup
            .refuses()
            .await
            .failed()
            .ends_with(&format!("{words}; for another address: --https ADDR\nhost: nothing was started\n"))
    );
    let setup = Setup::new(&format!("[listen]\nhttp = \"{address}\"\n{}", tables::guest("hello", "hello", "")));
    // Before anything is proved in vain.
    assert_eq!(
        setup.shown(&setup.refuses().await.failed()),
        format!("host.toml:1: {words}\nhost: nothing was started\n")
    );
}

/// Two services, none of them `site`, and nobody who tells them apart.
#[tokio::test]
async fn a_host_that_would_answer_nobody_is_told() {
    const WORDS: &str = "there are several services and no router, so every name is answered with 404: add a router, or \
                         call the service for all names `site`";
    let (one, two) = (tables::guest("one", "hello", ""), tables::guest("two", "hello", ""));
    let setup = Setup::new(&format!("{one}{two}"));
    let outcome = setup.command(&["check"]).await;
    assert_eq!(outcome.stderr, format!("{WORDS}\n"));
    assert_eq!(outcome.done(), "2 components: nothing is wrong, but for the warning\n");
    let host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/").await.status, 404);
    assert_eq!(host.setup().log().matches(WORDS).count(), 1);
    host.setup().manifest(&format!("{one}{}", two.replace("[component.two]", "[component.site]")));
    host.reload().await.done();
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
    assert_eq!(host.setup().log().matches(WORDS).count(), 1);
}

/// What the words of a manifest don't show, but the files that they name.
#[tokio::test]
async fn check_looks_into_the_files() {
    let setup = Setup::new("");
    setup.write("blank", "");
    setup.write("nothing.wasm", b"\0asm\x0d\0\x01\0");
    let hello = tables::guest("hello", "hello", "");
    let router = |name: &str| {
        let path = component("router");
        format!("[component.{name}]\npath = \"{}\"\ngit = {{ routes = \"read\" }}\n", path.display())
    };
    let routes = "[git.routes]\nremote = \"empty/\"\n";
    for (lines, expected) in [
        (
            "[upstream.u]\nurl = \"https://u.test\"\nca = \"blank\"\n".to_owned(),
            "host.toml:1: [upstream.u]: blank: no certificate in it",
        ),
        (
            "[git.b]\nremote = \"https://u.test/b.git\"\nca = \"blank\"\n".to_owned(),
            "host.toml:1: [git.b]: blank: no certificate in it",
        ),
        (
            "[git.b]\nremote = \"b.git\"\nhook = \"blank\"\n".to_owned(),
            "host.toml:1: [git.b]: `hook`: blank has no secret in its first line: nobody could tell of a push",
        ),
        (
            "[component.n]\npath = \"nothing.wasm\"\n".to_owned(),
            "host.toml:1: [component.n]: exports nothing that this host calls: no atoll:host/routing, ",
        ),
        (
            [router("one"), router("two"), routes.to_owned()].concat(),
            "host.toml:4: [component.two]: is a second router, beside `one`: a host has one; \
             give the other to a host of its own",
        ),
    ] {
        setup.manifest(&format!("{lines}{hello}"));
        let said = setup.shown(&setup.command(&["check"]).await.failed());
        assert!(said.contains(expected), "{lines}{said}");
    }
}

#[tokio::test]
async fn a_reload_that_is_wrong_changes_nothing() {
    let host = Setup::new(&tables::guest("hello", "hello", "")).start().await;
    for (lines, expected) in MISTAKES {
        host.setup().manifest(&format!("{lines}{}", tables::guest("hello", "hello", "")));
        let client = host.client();
        let (reloaded, reply) = tokio::join!(host.reload(), client.get("https://localhost/"));
        assert!(host.setup().shown(&reloaded.failed()).contains(expected), "{lines}");
        assert_eq!(reply.brief(), (200, HELLO));
    }
    host.setup().manifest("[gti.pages]\n");
    host.signal(Signal::HUP);
    host.logged("unknown key `gti`").await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
}

/// What is no mistake, but would keep a branch from being fetched, before anybody is asked for it.
#[tokio::test]
async fn check_tells_what_could_not_be_fetched() {
    let setup = Setup::new("");
    setup.repository("there").commit("main", &[("index.html", "x")]);
    std::fs::create_dir(setup.path("folder")).unwrap();
    setup.secret("blank", "");
    readable(&setup, "open", "x");
    readable(&setup, "key.pub", "ssh-ed25519 AAAA me@here");
    readable(&setup, "public", "ecdsa-sha2-nistp256 AAAA");
    setup.secret("text", "no key");
    drop(UnixListener::bind(setup.path("dead")).unwrap());
    let _listening = UnixListener::bind(setup.path("alive")).unwrap();
    let [one, other] = ["JdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ", "A6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X"]
        .map(|key| format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{key}"));
    readable(&setup, "revoking", &format!("# x\n@revoked * {one}\nh.test {one}\n@revoked h.test {other}\n"));
    readable(&setup, "replaced", &format!("@revoked * {one}\nh.test {other}\n"));
    let hello = tables::guest("hello", "hello", "");
    let pin = format!("SHA256:{}", "A".repeat(43));
    let ssh = |key: &str| format!("remote = \"a@h.test:b.git\"\nkey = \"{key}\"\npin = \"{pin}\"\n");
    for (lines, expected) in [
        ("remote = \"there.git\"\nbranch = \"mian\"\n".to_owned(), "there.git: no branch mian; it has main"),
        (
            "remote = \"folder\"\nbranch = \"main\"\n".to_owned(),
            "folder is a plain folder, and has no branch main: leave the branch out",
        ),
        ("remote = \"none\"\n".to_owned(), "none: there is nothing here; create it, or name another remote"),
        (ssh("open"), "open can be read by others (mode 0644); run chmod 600 open"),
        (
            "remote = \"ssh://a@h.test:222/b.git\"\nknown_hosts = \"open\"\n".to_owned(),
            "open has no key of h.test, so it is refused: ssh-keyscan -p 222 h.test >> open, and compare it with what you know of it",
        ),
        (
            "remote = \"a@h.test:b.git\"\nknown_hosts = \"revoking\"\n".to_owned(),
            "revoking:2 revokes the key of h.test, and no other is there, so it is refused: ssh-keyscan h.test >> revoking, and compare it with what you know of it",
        ),
        (ssh("agent:none"), "the agent at none cannot be reached: No such file or directory (os error 2)"),
        (ssh("agent:dead"), "the agent at dead cannot be reached: nobody listens at this socket"),
        (ssh("agent:folder"), "the agent at folder cannot be reached: it is a directory, and no socket"),
        (ssh("agent:text"), "the agent at text cannot be reached: it is a file, and no socket"),
        (ssh("text"), "text holds no private key in OpenSSH's form"),
        (ssh("seed:ed25519:open"), "open can be read by others (mode 0644); run chmod 600 open"),
        (ssh("key.pub"), "key.pub is the public key: name the private one, key"),
        (ssh("public"), "public is the public key: name the private one"),
        (
            "remote = \"a@h.test:b.git\"\n".to_owned(),
            "there is neither `known_hosts` nor `pin`, so every server is refused: make one, ssh-keyscan h.test > known_hosts",
        ),
        ("remote = \"https://u.test/b.git\"\ntoken = \"blank\"\n".to_owned(), "the token in blank is empty"),
    ] {
        setup.manifest(&format!("[git.b]\n{lines}{hello}git = {{ b = \"read\" }}\n"));
        let outcome = setup.command(&["check"]).await;
        assert_eq!(setup.shown(&outcome.stderr), format!("host.toml:1: [git.b]: can't be fetched: {expected}\n"));
        assert_eq!(outcome.done(), "1 component: nothing is wrong, but for the warning\n");
        let strict = setup.command(&["check", "--strict"]).await.failed();
        assert!(
            strict.ends_with("host: nothing is wrong, but for the warning, which --strict does not take\n"),
            "{strict}"
        );
    }
    for lines in [ssh("agent:alive"), "remote = \"a@h.test:b.git\"\nknown_hosts = \"replaced\"\n".to_owned()] {
        setup.manifest(&format!("[git.b]\n{lines}{hello}git = {{ b = \"read\" }}\n"));
        assert_eq!(setup.command(&["check", "--strict"]).await.done(), "1 component: nothing is wrong\n", "{lines}");
    }
    // As `run` takes them.
    setup.manifest(&format!("[git.b]\nremote = \"there.git\"\n{hello}"));
    let outcome = setup.command(&["check", "--bind", "b=folder#main"]).await;
    assert!(outcome.stderr.contains("folder is a plain folder, and has no branch main"), "{}", outcome.stderr);
}

/// What a component is to write to, and never could.
#[tokio::test]
async fn check_tells_what_could_not_be_pushed_to() {
    let setup = Setup::new("");
    setup.repository("there").commit("main", &[("index.html", "x")]);
    std::fs::create_dir(setup.path("folder")).unwrap();
    let work = Repository::with_work_tree(setup.path("work"));
    work.commit("main", &[("index.html", "x")]);
    work.git(&["branch", "other"]);
    work.git(&["tag", "v1"]);
    let tag = "refs/tags/v1 is a tag, which nobody moves from here: name a branch";
    let detached = Repository::with_work_tree(setup.path("detached"));
    let id = detached.commit("main", &[("index.html", "x")]);
    detached.git(&["update-ref", "--no-deref", "HEAD", &id]);
    let hello = tables::guest("hello", "hello", "");
    let out = "refusing to update checked out branch: refs/heads/main: push to a bare repository, or to another branch";
    for (lines, expected) in [
        (
            "remote = \"folder\"\n",
            Some("folder is a plain directory, which has no commits: nothing can be pushed there"),
        ),
        ("remote = \"work\"\n", Some(out)),
        ("remote = \"work\"\nbranch = \"main\"\n", Some(out)),
        ("remote = \"detached\"\n", Some("detached: its HEAD is of no branch; name one: branch = \"NAME\"")),
        ("remote = \"work\"\nbranch = \"refs/tags/v1\"\n", Some(tag)),
        ("remote = \"work\"\nbranch = \"other\"\n", None),
        ("remote = \"there.git\"\n", None),
    ] {
        for (mode, expected) in [("write", expected), ("read", None)] {
            setup.manifest(&format!("[git.b]\n{lines}{hello}git = {{ b = \"{mode}\" }}\n"));
            let outcome = setup.command(&["check"]).await;
            let at = 2 + lines.lines().count();
            let line = |why| format!("host.toml:{at}: [component.hello]: can't push to `b`: {why}\n");
            assert_eq!(setup.shown(&outcome.stderr), expected.map(line).unwrap_or_default(), "{lines}{mode}");
            let strict = setup.command(&["check", "--strict"]).await;
            assert_eq!(strict.code == Some(0), expected.is_none(), "{lines}{mode}");
        }
    }
}

/// A file that others can read.
fn readable(setup: &Setup, name: &str, contents: &str) {
    let path = setup.write(name, contents);
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
}

/// It is used, as container engines mount theirs for all to read; a key would be refused.
#[tokio::test]
async fn a_secret_that_others_can_read_is_told_by_check_reload_and_the_log() {
    let manifest = "[git.web]\nremote = \"https://127.0.0.1:1/b.git\"\ntoken = \"token\"\nhook = \"hook\"\npoll = \"24h\"\n\
                    [git.ssh]\nremote = \"a@127.0.0.1:b.git\"\nkey = \"key\"\npassphrase = \"word\"\npin = \"PIN\"\n";
    let pin = format!("SHA256:{}", "x".repeat(43));
    let hello = tables::guest("hello", "hello", "git = { web = \"read\", ssh = \"read\" }\n");
    let setup = Setup::new(&format!("{}{hello}", manifest.replace("PIN", &pin)));
    setup.secret("key", "no key");
    ["token", "hook", "word"].into_iter().for_each(|name| readable(&setup, name, DRAWN));
    let told = [(3, "token", "token"), (4, "hook", "hook"), (9, "passphrase", "word")].map(|(line, key, file)| {
        format!("host.toml:{line}: `{key}`: {file} can be read by others (mode 0644); run chmod 600 {file}")
    });
    let checked = setup.command(&["check"]).await;
    let said = setup.shown(&checked.stderr);
    assert_eq!(said.lines().take(3).collect::<Vec<_>>(), told);
    assert_eq!(checked.done(), "1 component: nothing is wrong, but for 4 warnings\n");
    let host = setup.start().await;
    let log = host.setup().shown(&host.setup().log());
    told.iter().for_each(|line| assert!(log.contains(line), "{line} in {log}"));
    let reloaded = host.reload().await;
    let said = host.setup().shown(&reloaded.stderr);
    assert_eq!(said.lines().take(3).collect::<Vec<_>>(), told);
    reloaded.done();
}

/// By whoever reads the manifest, with its line, before anything is begun.
#[tokio::test]
async fn files_that_are_of_no_use_are_told_by_check_start_and_reload() {
    let hello = tables::guest("hello", "hello", "");
    let running = Setup::new(&hello).start().await;
    let (web, upstream) =
        ("[git.b]\nremote = \"https://127.0.0.1:1/b.git\"\n", "[upstream.u]\nurl = \"https://u.test\"\n");
    let binding = |lines: &str| format!("{web}{lines}{hello}git = {{ b = \"read\" }}\n");
    for (manifest, contents, words) in [
        (binding("ca = \"file\"\n"), &b"x"[..], "[git.b]: file: no certificate in it"),
        (binding("ca = \"file\"\n"), CERTIFICATE, "[git.b]: file: certificate 1 can't be read"),
        (format!("{upstream}ca = \"file\"\n{hello}"), b"x", "[upstream.u]: file: no certificate in it"),
        (
            binding("hook = \"file\"\n"),
            b" \nsecret",
            "[git.b]: `hook`: file has no secret in its first line: nobody could tell of a push",
        ),
        (binding("hook = \"file\"\n"), b"\xff", "[git.b]: `hook`: file is not text: nobody could tell of a push"),
        (
            binding("hook = \"file\"\n"),
            b"fifteen letters\nand more",
            "[git.b]: `hook`: file has a secret of 15 characters in its first line, which could be guessed: 16 are the \
             least; `openssl rand -hex 32` makes a good one",
        ),
        (
            binding("hook = \"file\"\n"),
            &[b'a'; 4097],
            "[git.b]: `hook`: file cannot be read: it has more than 4096 bytes",
        ),
    ] {
        let setup = Setup::new(&manifest);
        for setup in [&setup, running.setup()] {
            setup.secret("file", contents);
            setup.manifest(&manifest);
        }
        let line = format!("host.toml:1: {words}\nhost: ");
        let (run, check, reload) = (setup.refuses().await, setup.command(&["check"]).await, running.reload().await);
        assert_eq!(setup.shown(&check.failed()), format!("{line}1 mistake; a fresh host would not start\n"));
        assert_eq!(setup.shown(&run.failed()), format!("{line}nothing was started\n"));
        assert_eq!(running.setup().shown(&reload.failed()), format!("{line}nothing was changed\n"));
    }
}

/// It is what a certificate's letters are, and no certificate.
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

/// It is taken; a forge may have chosen it.
#[tokio::test]
async fn a_hooks_secret_that_could_be_guessed_is_told_by_check_reload_and_the_log() {
    let hello = tables::guest("hello", "hello", "git = { b = \"read\" }\n");
    let setup = Setup::new(&format!("[git.b]\nremote = \"b.git\"\nhook = \"secret\"\n{hello}"));
    setup.repository("b").commit("main", &[("x", "x")]);
    let tell = |why: &str| {
        format!(
            "host.toml:1: [git.b]: `hook`: the secret in secret could be guessed: {why}; `openssl rand -hex 32` makes a good one"
        )
    };
    for (secret, why) in [
        (DRAWN, None),
        (
            "Xk29dL0pQz7vB4nM1cR8tW6y",
            Some("it is short; 20 bytes are wanted, which are 40 characters in hexadecimal and 27 in Base64"),
        ),
        (
            "a passphrase that somebody thought of",
            Some("it is text, and not 20 bytes that were drawn, in hexadecimal, in Base64 or as they are"),
        ),
        ("abcdabcdabcdabcdabcdabcdabcdabcdabcdabcd", Some("it counts, or repeats itself")),
    ] {
        setup.secret("secret", format!("{secret}\n"));
        let checked = setup.command(&["check"]).await;
        assert_eq!(setup.shown(&checked.stderr).trim_end(), why.map(tell).unwrap_or_default(), "{secret}");
        checked.done();
    }
    let host = setup.start().await;
    let told = tell("it counts, or repeats itself");
    assert_eq!(host.setup().shown(&host.setup().log()).matches(&told).count(), 1);
    let reloaded = host.reload().await;
    assert_eq!(host.setup().shown(&reloaded.stderr).trim_end(), told);
    reloaded.done();
}

/// Which of two would decide, nobody could tell.
#[tokio::test]
async fn a_second_router_is_refused_by_all() {
    let second = tables::router().replace("[component.router]", "[component.second]");
    let second = second.split_once("[component").map(|(_, table)| format!("[component{table}")).unwrap();
    let one = format!("{}{}", tables::router(), tables::guest("hello", "hello", ""));
    let expected = "[component.second]: is a second router, beside `router`: a host has one; give the other to a host of \
                    its own";
    let setup = Setup::new(&[&*one, &second].concat());
    setup.repository("routes").commit("main", &[("_.toml", "upstream = \"hello\"\n")]);
    let said = setup.refuses().await.failed();
    assert!(said.contains(expected), "{said}");
    setup.manifest(&one);
    let host = setup.start().await;
    host.setup().manifest(&[&*one, &second].concat());
    let said = host.reload().await.failed();
    assert!(said.contains(expected), "{said}");
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
}

#[tokio::test]
async fn what_is_not_granted_is_refused_with_the_line_that_grants_it() {
    let site = component("site");
    let setup = Setup::new(&format!("[component.site]\npath = \"{}\"\n", site.display()));
    let said = setup.refuses().await.failed();
    let expected =
        "[component.site]: imports atoll:host/repository@0.1.0, which is not granted; add to [component.site]: git = {";
    assert!(said.contains(expected), "{said}");
    let said = setup.command(&["check"]).await.failed();
    assert!(said.contains(expected), "{said}");
}

#[tokio::test]
async fn an_argument_without_a_table_is_left_out_with_the_table_to_add() {
    let setup = Setup::new(&tables::guest("hello", "hello", ""));
    let host = setup.argument(component("site")).start().await;
    host.logged("component `site` has no table and is left out").await;
    host.logged("[component.site]").await;
    assert_eq!(host.names().await, ["hello"]);
}

#[tokio::test]
async fn an_argument_stands_for_the_path_of_its_table() {
    let setup = Setup::new("[component.hello]\n");
    let host = setup.argument(fixture("hello")).start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
}
