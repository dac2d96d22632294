//! Hooks: a push is live because somebody who knows the secret told of it, as forges do; and nobody else learns a thing.

use std::{
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    git_servers::{repository, shows, site},
    support::{
        client::{ask, with_body},
        git_servers::Daemon,
        host::{Host, Setup},
        raw, tables,
        wait::{SOON, until},
    },
};

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const HOOK: &str = "https://localhost/.well-known/host/hook/site-pages";

/// A site that is asked once a day, with a hook.
async fn hooked() -> (Host, crate::support::git::Repository, Daemon) {
    asked_once_a_day("hook = \"secret\"\n").await
}

async fn asked_once_a_day(lines: &str) -> (Host, crate::support::git::Repository, Daemon) {
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let daemon = Daemon::start(&setup.path("root")).await;
    setup.secret("secret", format!("{SECRET}\n"));
    let manifest = site(&format!("git://{}/site.git", daemon.address()), lines);
    setup.manifest(&manifest.replace("poll = \"1s\"", "poll = \"24h\""));
    let host = setup.start().await;
    shows(&host, "one").await;
    (host, repository, daemon)
}

#[tokio::test]
async fn a_push_that_is_told_of_is_live() {
    let (host, site, _daemon) = hooked().await;
    let bearer = format!("Bearer {SECRET}");
    for (page, name, value) in [
        ("bearer", "authorization", bearer.clone()),
        ("gitlab", "x-gitlab-token", SECRET.to_owned()),
        ("github", "x-hub-signature-256", format!("sha256={}", signature("github"))),
        ("forgejo", "x-forgejo-signature", signature("forgejo")),
    ] {
        site.commit("main", &[("index.html", page)]);
        let reply = host.client().send(with_body("POST", HOOK, &[(name, &value)], page)).await;
        assert_eq!((reply.status.as_u16(), reply.text()), (202, ""), "{page}");
        shows(&host, page).await;
    }
    // Waited for, with what its proof found.
    let waited = format!("{HOOK}?x&wait=1");
    let tell = async || host.client().send(with_body("POST", &waited, &[("authorization", &bearer)], "")).await;
    let good = site.commit("main", &[("index.html", "good")]);
    let reply = tell().await;
    let report = format!("{{\"components\":[{{\"name\":\"site\",\"serves\":true}}],\"revision\":\"{good}\"}}");
    assert_eq!((reply.status.as_u16(), reply.text()), (200, report.as_str()));
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "good"));
    let bad = site.commit("main", &[("index.html", "bad"), ("_headers", "/*\n  no colon here\n")]);
    let reply = tell().await;
    assert_eq!(reply.status.as_u16(), 422, "{}", reply.text());
    assert!(reply.text().contains(&bad) && reply.text().contains("_headers:2"), "{}", reply.text());
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "good"));
    std::fs::remove_dir_all(site.path()).unwrap();
    let reply = tell().await;
    assert_eq!(reply.status.as_u16(), 502, "{}", reply.text());
    assert!(reply.text().contains("repository not exported"), "{}", reply.text());
}

/// Of each component that reads the branch, whether it serves what was pushed.
#[tokio::test]
async fn who_waits_is_told_of_all_that_read_it() {
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let daemon = Daemon::start(&setup.path("root")).await;
    setup.secret("secret", format!("{SECRET}\n"));
    let site = site(&format!("git://{}/site.git", daemon.address()), "hook = \"secret\"\n");
    let other = tables::guest("reader", "mischief", "git = { pages = { from = \"site-pages\", mode = \"read\" } }");
    setup.manifest(&(site.replace("poll = \"1s\"", "poll = \"24h\"") + &other));
    let host = setup.start().await;
    let (waited, bearer) = (format!("{HOOK}?wait"), format!("Bearer {SECRET}"));
    for (page, headers, status) in [("good", "", 200), ("bad", "/*\n  no colon here\n", 422)] {
        let revision = repository.commit("main", &[("index.html", page), ("_headers", headers)]);
        let reply = host.client().send(with_body("POST", &waited, &[("authorization", &bearer)], "")).await;
        let report: serde_json::Value = serde_json::from_str(reply.text()).expect("it is JSON");
        assert_eq!((reply.status.as_u16(), &report["revision"]), (status, &revision.into()), "{report}");
        let told = report["components"].as_array().expect("a list").iter();
        let told: Vec<_> = told.map(|one| (one["name"].as_str(), one["serves"].as_bool())).collect();
        assert_eq!(told, [(Some("reader"), Some(true)), (Some("site"), Some(status == 200))], "{report}");
    }
}

#[tokio::test]
async fn whoever_does_not_know_the_secret_learns_nothing() {
    let (host, site, _daemon) = hooked().await;
    let revision = host.binding("site-pages").await["revision"].clone();
    site.commit("main", &[("index.html", "two")]);
    let bearer = format!("Bearer {SECRET}");
    let unknown = HOOK.replace("site-pages", "nobody");
    // Of hexadecimal digits: too short, too long, and wrong in the first or the last one.
    let wrong = |right: &str| {
        let (first, last) = (&right[1..], &right[..right.len() - 1]);
        let other = |digit: &str, at| if digit.as_bytes()[at] == b'0' { '1' } else { '0' };
        let (begins, ends) = (other(right, 0), other(right, last.len()));
        [last.to_owned(), format!("{right}0"), format!("{begins}{first}"), format!("{last}{ends}")]
    };
    let mut seen = Vec::new();
    let mut tries = vec![
        (HOOK, "x-other", SECRET.to_owned()),
        (HOOK, "x-hub-signature-256", "sha256=00".to_owned()),
        (&unknown, "authorization", bearer.clone()),
        (&unknown, "authorization", "Bearer nobody's".to_owned()),
    ];
    tries.extend(wrong(SECRET).map(|secret| (HOOK, "authorization", format!("Bearer {secret}"))));
    tries.extend(wrong(SECRET).map(|secret| (HOOK, "x-gitlab-token", secret)));
    tries.extend(wrong(&signature("")).map(|signature| (HOOK, "x-hub-signature-256", format!("sha256={signature}"))));
    for (url, name, value) in &tries {
        let reply = host.client().send(with_body("POST", url, &[(name, value)], "")).await;
        let mut fields = reply.fields.clone();
        fields.remove("date");
        seen.push((reply.status.as_u16(), fields, reply.body));
    }
    assert_eq!(seen[0].0, 401);
    assert!(seen.windows(2).all(|two| two[0] == two[1]), "{seen:?}");
    assert_eq!(host.client().send(ask("GET", HOOK)).await.status, 405);
    let request = format!(
        "POST /.well-known/host/hook/site-pages HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let plain = raw::plain(host.http(), request.as_bytes()).await;
    assert_eq!(raw::status(&plain), 404, "a secret is not taken without TLS");
    assert_eq!(host.binding("site-pages").await["revision"], revision, "something was fetched");
    assert!(!host.setup().log().contains(SECRET) && !host.setup().access_log().contains(SECRET));
}

/// Why a forge's hook does nothing is in the log, with the address that it came from: told once, then once a minute.
#[tokio::test]
async fn whose_hook_is_refused_is_in_the_log() {
    let (host, _site, _daemon) = hooked().await;
    let other = HOOK.replace("site-pages", "orders");
    let nobodys = HOOK.replace("site-pages", "some%0Ahow-secret");
    let tell = async |url: &str, name: &'static str, value: &str| {
        host.client().send(with_body("POST", url, &[(name, value)], "")).await.status.as_u16()
    };
    assert_eq!(tell(&nobodys, "authorization", "Bearer guessed").await, 401);
    let (at, wrong) = (host.setup().path("secret"), "hidden-and-wrong");
    for _ in 0..3 {
        assert_eq!(tell(HOOK, "x-gitlab-token", wrong).await, 401);
    }
    for _ in 4..20 {
        assert_eq!(tell(&other, "authorization", &format!("Bearer {wrong}")).await, 401);
    }
    assert_eq!(tell(HOOK, "authorization", &format!("Bearer {SECRET}")).await, 429);
    let lines = [
        "warning: a hook from 127.0.0.1 is refused: it is of no binding that is here".to_owned(),
        format!(
            "warning: binding site-pages: a hook from 127.0.0.1 is refused: what it shows does not go with the secret in {}",
            at.display()
        ),
    ];
    let barred = host.logged("hooks from 127.0.0.1 are not heard for ").await;
    assert!(barred.ends_with(" s: too many were refused"), "{barred}");
    let log = host.setup().log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("refused")).collect();
    assert_eq!(told, [&lines[0], &lines[1], &barred]);
    assert!(!log.contains(wrong) && !log.contains("how-secret"), "{log}");
    // Nor is heard what shows nothing.
    let (host, _site, _daemon) = hooked().await;
    let unsigned = host.client().send(with_body("POST", HOOK, &[], "")).await;
    assert_eq!(unsigned.status.as_u16(), 401);
    assert_eq!(
        host.logged("is refused").await,
        "warning: binding site-pages: a hook from 127.0.0.1 is refused: it has neither a signature nor a secret"
    );
    // A secret that has gone is ours to mend, and not the forge's; who asks learns nothing of it.
    let (host, _site, _daemon) = hooked().await;
    let at = host.setup().path("secret");
    std::fs::remove_file(&at).expect("it was written");
    assert_eq!(tell_of(&host, "x-gitlab-token", SECRET).await, 401);
    assert_eq!(
        host.logged("is refused").await,
        format!(
            "warning: binding site-pages: a hook from 127.0.0.1 is refused: {} cannot be read: No such file or directory (os error 2)",
            at.display()
        )
    );
    // Nor is there anything to know where the binding names no secret, be it empty.
    let (host, _site, _daemon) = asked_once_a_day("").await;
    for (name, value) in [
        ("x-gitlab-token", SECRET),
        ("x-gitlab-token", ""),
        ("authorization", "Bearer nobody's"),
        ("x-hub-signature-256", &format!("sha256={}", signature(""))),
    ] {
        let reply = host.client().send(with_body("POST", HOOK, &[(name, value)], "")).await;
        assert_eq!((reply.status.as_u16(), reply.text()), (401, ""), "{name}");
    }
    let without = "warning: binding site-pages: a hook from 127.0.0.1 is refused: there is no `hook` in the binding";
    assert_eq!(host.logged("is refused").await, without);
    let log = host.setup().log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("refused")).collect();
    assert_eq!(told, [without]);
}

async fn tell_of(host: &Host, name: &'static str, value: &str) -> u16 {
    host.client().send(with_body("POST", HOOK, &[(name, value)], "")).await.status.as_u16()
}

/// A hundred hooks while one fetch goes on are one more fetch, whoever counts the server's conversations.
#[tokio::test]
async fn a_hundred_hooks_are_a_fetch_or_two() {
    let setup = Setup::without_manifest();
    let site_repository = repository(&setup);
    let daemon = Daemon::start(&setup.path("root")).await;
    let gate = Gate::before(daemon.address()).await;
    setup.write("secret", format!("{SECRET}\n"));
    let manifest = site(&format!("git://{}/site.git", gate.address), "hook = \"secret\"\n");
    setup.manifest(&manifest.replace("poll = \"1s\"", "poll = \"24h\""));
    let host = setup.start().await;
    shows(&host, "one").await;
    let before = gate.conversations();
    gate.open.send_replace(false);
    let (client, bearer) = (host.client(), format!("Bearer {SECRET}"));
    site_repository.commit("main", &[("index.html", "two")]);
    for _ in 0..10 {
        let ten = (0..10).map(|_| client.send(with_body("POST", HOOK, &[("authorization", &bearer)], "")));
        for reply in futures_util::future::join_all(ten).await {
            assert_eq!(reply.status.as_u16(), 202);
        }
    }
    // The first of them waits for the server.
    until(SOON, "a conversation", async || (gate.conversations() > before).then_some(())).await;
    gate.open.send_replace(true);
    shows(&host, "two").await;
    // Whatever was asked for is done before what is asked for now.
    let waited = format!("{HOOK}?wait");
    let reply = client.send(with_body("POST", &waited, &[("authorization", &bearer)], "")).await;
    assert_eq!(reply.status.as_u16(), 200);
    let fetches = gate.conversations() - before;
    assert!((2..=4).contains(&fetches), "{fetches} conversations for 101 hooks");
}

/// Before a server: counts conversations, and lets nothing through while it is shut.
struct Gate {
    address: SocketAddr,
    open: watch::Sender<bool>,
    seen: Arc<AtomicUsize>,
}

impl Gate {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, seen) = (watch::Sender::new(true), Arc::new(AtomicUsize::new(0)));
        let (opened, counting) = (open.subscribe(), seen.clone());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                counting.fetch_add(1, Ordering::SeqCst);
                let mut opened = opened.clone();
                tokio::spawn(async move {
                    opened.wait_for(|open| *open).await.unwrap();
                    let mut far = TcpStream::connect(server).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { address, open, seen }
    }

    fn conversations(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

/// The file that has the secret is the manifest's to say, also while the host runs.
#[tokio::test]
async fn a_reload_says_whose_secret_it_is() {
    let (host, _site, _daemon) = hooked().await;
    let tell = async |secret: &str| {
        let bearer = format!("Bearer {secret}");
        host.client().send(with_body("POST", HOOK, &[("authorization", &bearer)], "")).await.status.as_u16()
    };
    host.setup().write("another", "another secret of ours\n");
    let manifest = std::fs::read_to_string(host.setup().path("host.toml")).unwrap();
    host.setup().manifest(&manifest.replace("hook = \"secret\"", "hook = \"another\""));
    host.reload().await.done();
    assert_eq!((tell(SECRET).await, tell("another secret of ours").await), (401, 202));
    host.setup().manifest(&manifest.replace("hook = \"secret\"\n", ""));
    host.reload().await.done();
    assert_eq!((tell(SECRET).await, tell("another secret of ours").await), (401, 401));
}

/// HMAC-SHA256 under the secret, by openssl.
fn signature(body: &str) -> String {
    let mut child = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", SECRET, "-r"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    child.stdin.take().expect("piped").write_all(body.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8(output.stdout).expect("text").split(' ').next().expect("a digest").to_owned()
}
