//! Secrets that are in the environment and in no file: used, told of when one is missing, and shown nowhere.

use std::{fs, path::PathBuf};

use crate::{
    git_servers::repository,
    support::{
        ca::Ca,
        client::with_body,
        git_servers::Web,
        host::Setup,
        skip,
        sshd::{Sshd, keys},
        tables,
        wait::{SOON, until},
    },
};

const TOKEN: &str = "me:secret";
const HOOK: &str = "5a6d7c3e2f1a0b9c8d7e6f5a4b3c2d1e";
const PASSPHRASE: &str = "a passphrase of its own";
const SEED: &str = "71da85e98b12732faf66939f5c9980511f8a194400170602243265079a265efa";

#[tokio::test]
async fn what_is_in_the_environment_is_used_and_not_shown() {
    if skip::missing(&["fcgiwrap", "git-shell", "nginx", "ssh-keygen", "sshd"]) {
        return;
    }
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let ca = Ca::new("private");
    let web = Web::start(&setup.path("root"), &setup.path("web"), &ca, "http://127.0.0.1:1").await;
    setup.write("ca.pem", ca.pem());
    let folder = keys(&setup, &[("key", &["-t", "ed25519", "-N", PASSPHRASE])]);
    let seed = setup.secret("seed", SEED);
    let made = ["keygen", "--output", "ssh/seeded", "--seed-file", seed.to_str().expect("text")];
    setup.write("ssh/seeded.pub", setup.command(&made).await.done().lines().next().expect("a line"));
    let key = fs::read_to_string(folder.join("key")).unwrap();
    for file in ["seed", "ssh/seeded", "ssh/key"] {
        fs::remove_file(setup.path(file)).unwrap();
    }
    let sshd = Sshd::start(&folder, &["key", "seeded"]).await;
    let (pin, at) = (sshd.pin(), sshd.url(repository.path()));
    setup.manifest(&format!(
        "{}[git.web]\nremote = \"{}/private/site.git\"\nca = \"ca.pem\"\ntoken = \"env:WEB_TOKEN\"\n\
         hook = \"env:HOOK\"\npoll = \"24h\"\n\
         [git.key]\nremote = \"{at}\"\npin = \"{pin}\"\nkey = \"env:SSH_KEY\"\npassphrase = \"env:PASSPHRASE\"\n\
         [git.seed]\nremote = \"{at}\"\npin = \"{pin}\"\nkey = \"seed:ed25519:env:SEED\"\n",
        tables::mischief("mischief", ""),
        web.secure(),
    ));
    let secrets = [
        ("WEB_TOKEN", TOKEN.to_owned()),
        ("HOOK", HOOK.to_owned()),
        ("SSH_KEY", key.clone()),
        ("PASSPHRASE", PASSPHRASE.to_owned()),
        ("SEED", SEED.to_owned()),
    ];
    let setup = secrets.iter().fold(setup, |setup, (name, value)| setup.environment(name, PathBuf::from(value)));
    let checked = setup.command(&["check"]).await;
    let host = setup.start().await;
    let one = repository.head("main");
    for binding in ["web", "key", "seed"] {
        until(SOON, binding, async || {
            (host.binding(binding).await["revision"].as_str() == one.as_deref()).then_some(())
        })
        .await;
    }
    let two = repository.commit("main", &[("index.html", "two")]);
    let hook = "https://localhost/.well-known/host/hook/web?wait";
    for (secret, status) in [("x", 401), (HOOK, 200)] {
        let bearer = format!("Bearer {secret}");
        let reply = host.client().send(with_body("POST", hook, &[("authorization", &bearer)], "")).await;
        assert_eq!(reply.status.as_u16(), status, "{}", reply.text());
    }
    assert_eq!(host.binding("web").await["revision"], two);
    // What goes wrong then names the variable.
    repository.git(&["update-ref", "-d", "refs/heads/main"]);
    let guest = host.client().get("https://localhost/env").await;
    assert_eq!(guest.brief(), (200, ""));
    host.reload().await.done();

    let mut shown = vec![host.setup().log(), host.setup().access_log(), checked.stdout, checked.stderr];
    let wasm = crate::support::guests::fixture("mischief");
    let wasm = wasm.to_str().expect("text");
    for command in [&["ps"][..], &["ps", "--json"], &["logs"]] {
        shown.push(host.command(command[0], &command[1..]).await.done());
    }
    shown.push(host.setup().command(&["inspect", wasm, "--json"]).await.done());
    shown.push(String::from_utf8_lossy(&fs::read(format!("/proc/{}/cmdline", host.id())).unwrap()).into_owned());
    let state = std::process::Command::new("grep").args(["-r", "-a", ""]).arg(host.setup().state()).output().unwrap();
    shown.push(String::from_utf8_lossy(&state.stdout).into_owned());
    let key = key.lines().nth(3).expect("it has as many").to_owned();
    // As it is, and as Basic credentials.
    for secret in [TOKEN, HOOK, PASSPHRASE, SEED, &key, "bWU6c2VjcmV0"] {
        for (at, text) in shown.iter().enumerate() {
            assert!(!text.contains(secret), "{secret} is shown by {at}");
        }
    }
}

/// By its name and its line; and what a server refuses is told with the name.
#[tokio::test]
async fn a_variable_that_is_missing_or_wrong_is_named() {
    if skip::missing(&["fcgiwrap", "nginx"]) {
        return;
    }
    let setup = Setup::without_manifest();
    repository(&setup);
    let ca = Ca::new("private");
    let web = Web::start(&setup.path("root"), &setup.path("web"), &ca, "http://127.0.0.1:1").await;
    setup.write("ca.pem", ca.pem());
    let table = |lines: &str| {
        let remote = format!("[git.web]\nremote = \"{}/private/site.git\"\nca = \"ca.pem\"\n", web.secure());
        format!("{remote}{lines}\n{}", tables::mischief("mischief", ""))
    };
    let setup = setup.environment("EMPTY", PathBuf::new()).environment("WRONG", PathBuf::from("not:right"));
    for (lines, said) in [
        ("token = \"env:NONE\"", "host.toml:4: `token`: there is no variable `NONE` in the environment"),
        ("hook = \"env:EMPTY\"", "host.toml:4: `hook`: the variable `EMPTY` of the environment is empty"),
        ("token = \"env:A-B\"", "host.toml:4: `token`: `A-B` is not a variable's name; for a file write \"./env:A-B\""),
    ] {
        setup.manifest(&table(lines));
        for outcome in [setup.refuses().await, setup.command(&["check"]).await] {
            assert_eq!(setup.shown(&outcome.failed()).lines().next(), Some(said));
        }
    }
    setup.manifest(&table("token = \"env:WRONG\""));
    let host = setup.start().await;
    let error = until(SOON, "an error", async || host.binding("web").await["error"].as_str().map(str::to_owned)).await;
    assert!(error.ends_with(": the server refuses the token in the variable WRONG"), "{error}");
    assert!(!host.setup().log().contains("not:right"));
}
