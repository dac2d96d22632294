//! Sites that are served from a branch on a server: by `git daemon`, by `git http-backend` behind nginx, plain and over
//! TLS, with and without credentials. What is pushed there is live; what goes wrong is told, and the last head is served.

use crate::{
    git_push::clean,
    support::{
        ca::Ca,
        git::Repository,
        git_servers::{Daemon, Secure, Web},
        host::{Host, Setup},
        skip, tables,
        wait::{SOON, until},
    },
};

/// A site served from `remote`, asked every second; further `lines` end the binding's table.
pub(crate) fn site(remote: &str, lines: &str) -> String {
    let remote = format!("remote = \"{remote}\"\npoll = \"1s\"\n{lines}");
    tables::site("site").replace("remote = \"site.git\"", remote.trim_end())
}

pub(crate) async fn shows(host: &Host, page: &str) {
    let client = host.client();
    until(SOON, page, async || (client.get("https://localhost/").await.brief() == (200, page)).then_some(())).await;
}

/// The error that stands on the binding, once there is one.
pub(crate) async fn error(host: &Host) -> String {
    until(SOON, "an error on the binding", async || {
        host.binding("site-pages").await["error"].as_str().map(str::to_owned)
    })
    .await
}

/// Served, pushed to, live again; and after a restart with the server gone, at once.
pub(crate) async fn lives(setup: Setup, repository: &Repository, stop: impl FnOnce()) {
    let host = setup.start().await;
    shows(&host, "one").await;
    let two = repository.commit("main", &[("index.html", "two"), ("more/page.html", "x")]);
    shows(&host, "two").await;
    assert_eq!(host.binding("site-pages").await["revision"], two);
    repository.replace("main", &[("index.html", "forced")]);
    repository.prune();
    shows(&host, "forced").await;
    assert!(host.binding("site-pages").await["error"].is_null());
    let copy = host.setup().state().join("git/site-pages.git");
    let fsck = std::process::Command::new("git").arg("-C").arg(&copy).args(["fsck", "--full", "--strict"]).output();
    let fsck = fsck.expect("git is installed");
    assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stderr));
    let setup = host.kill().await;
    stop();
    let host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "forced"));
    error(&host).await;
}

pub(crate) fn repository(setup: &Setup) -> Repository {
    std::fs::create_dir(setup.path("root")).expect("the folder is the test's");
    let repository = Repository::bare(setup.path("root/site.git"));
    repository.commit("main", &[("index.html", "one")]);
    repository
}

/// Its path has what a URL must encode, and may have `.git`.
#[tokio::test]
async fn by_a_file_url() {
    for named in ["a%20%25.git", "a%20%25"] {
        let setup = Setup::without_manifest();
        let repository = Repository::bare(setup.path("a %.git"));
        repository.commit("main", &[("index.html", "one")]);
        setup.manifest(&site(&format!("file://{}", setup.path(named).display()), ""));
        let away = setup.path("away.git");
        let there = repository.path().to_owned();
        lives(setup, &repository, || std::fs::rename(there, away).expect("it is the test's")).await;
    }
}

#[tokio::test]
async fn by_git_daemon() {
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    let daemon = Daemon::start(&setup.path("root")).await;
    setup.manifest(&site(&format!("git://{}/site.git", daemon.address()), ""));
    lives(setup, &repository, || drop(daemon)).await;
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
        ("/site.git", Secure::System, None),
        // Redirected: a suffix that was left out, and to another path.
        ("/site", Secure::No, None),
        ("/moved/site.git", Secure::Roots, Some("token")),
        // As a user, as a token alone, and as a bearer.
        ("/private/site.git", Secure::Roots, Some("me:secret")),
        ("/private/site.git", Secure::System, Some("token")),
        ("/bearer/site.git", Secure::Roots, Some("token")),
    ] {
        let setup = Setup::without_manifest();
        let repository = repository(&setup);
        let web = Web::start(&setup.path("root"), &setup.path("web"), &ca, "http://127.0.0.1:1").await;
        let (setup, remote, lines) = web.binding(setup, path, secure, token);
        setup.manifest(&site(&remote, &lines));
        lives(setup, &repository, || drop(web)).await;
    }
}

/// In our copy, where `git log` finds them; another number is had at once.
#[tokio::test]
async fn as_many_commits_as_the_manifest_says() {
    let setup = Setup::without_manifest();
    let repository = repository(&setup);
    for page in ["two", "three", "four"] {
        repository.commit("main", &[("index.html", page)]);
    }
    let daemon = Daemon::start(&setup.path("root")).await;
    let remote = format!("git://{}/site.git", daemon.address());
    setup.manifest(&site(&remote, ""));
    let host = setup.start().await;
    shows(&host, "four").await;
    let copy = Repository::open(host.setup().state().join("git/site-pages.git"));
    assert_eq!(copy.git(&["rev-list", "--count", "served"]), "1");
    for (depth, count) in [("2", "2"), ("\"all\"", "4")] {
        host.setup().manifest(&site(&remote, &format!("depth = {depth}\n")));
        host.reload().await.done();
        let counted = async || (copy.git(&["rev-list", "--count", "served"]) == count).then_some(());
        until(SOON, count, counted).await;
        clean(copy.path());
    }
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "four"));
}

/// What `host ps` says of a branch that is gone: by a path, and by a server. When it is back, that is served.
#[tokio::test]
async fn a_branch_that_is_deleted_keeps_its_last_head() {
    for served in [false, true] {
        let setup = Setup::without_manifest();
        let repository = repository(&setup);
        let daemon = Daemon::start(&setup.path("root")).await;
        let remote = if served { format!("git://{}/site.git", daemon.address()) } else { "root/site.git".into() };
        setup.manifest(&site(&remote, ""));
        let host = setup.start().await;
        shows(&host, "one").await;
        let one = repository.head("main").expect("it has a commit");
        repository.git(&["branch", "-m", "main", "trunk"]);
        let words = "no branch main; it has trunk; the last head is served";
        let error = host.setup().shown(&error(&host).await);
        assert_eq!(error, format!("{remote}: {words}"));
        assert_eq!(host.binding("site-pages").await["revision"], one);
        let shown = host.command("ps", &[]).await.done();
        assert!(shown.contains(words), "{shown}");
        assert!(
            host.setup().log().contains(&format!(
                "binding site-pages: {}",
                host.binding("site-pages").await["error"].as_str().unwrap()
            ))
        );
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"));
        // So it is after a restart.
        let host = host.terminate().await.start().await;
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"));
        repository.commit("main", &[("index.html", "two")]);
        shows(&host, "two").await;
        assert!(host.binding("site-pages").await["error"].is_null());
    }
}

const SHA256: &str = "R: it is a SHA-256 repository, which cannot be read here; make it one of SHA-1";

/// What is said of servers that cannot be fetched from; `R` is the remote.
#[tokio::test]
async fn servers_that_refuse() {
    if skip::missing(&["fcgiwrap", "nginx"]) {
        return;
    }
    let setup = Setup::without_manifest();
    repository(&setup);
    let ca = Ca::new("private");
    let root = setup.path("root");
    Repository::open(root.join("sha256.git")).git(&["init", "--quiet", "--bare", "--object-format=sha256"]);
    let daemon = Daemon::start(&root).await;
    let stranger = "http://stranger.test";
    let web = Web::start(&root, &setup.path("web"), &ca, stranger).await;
    setup.write("ca.pem", ca.pem());
    setup.write("other.pem", Ca::new("other").pem());
    setup.secret("token", "token\n");
    setup.secret("wrong", "wrong\n");
    let (plain, secure) = (web.plain(), web.secure());
    let local = secure.strip_prefix("https://").unwrap().to_owned();
    let ca_line = "ca = \"ca.pem\"\n";
    let refused = |file: &str| format!("R: the server refuses the token in {}", setup.path(file).display());
    let cases: &[(String, String, String)] = &[
        (
            format!("git://{}/none.git", daemon.address()),
            String::new(),
            "R: the server says \"access denied or repository not exported: /none.git\"".into(),
        ),
        (
            format!("git://{}/../etc", daemon.address()),
            String::new(),
            "R: the server says \"access denied or repository not exported: /../etc\"".into(),
        ),
        (format!("git://{}/sha256.git", daemon.address()), String::new(), SHA256.into()),
        (format!("{plain}/sha256.git"), String::new(), SHA256.into()),
        (format!("{plain}/none.git"), String::new(), "R: the server answers 404 Not Found".into()),
        (
            format!("{plain}/broken.git"),
            String::new(),
            "R: the server answers 500 Internal Server Error: \"out of order\"".into(),
        ),
        (
            format!("{plain}/text.git"),
            String::new(),
            "R: no repository answers there: what came is \"text/plain\", and not application/x-git-upload-pack-advertisement"
                .into(),
        ),
        (
            format!("{plain}/private/site.git"),
            String::new(),
            "R: the server asks for credentials, which plain HTTP does not carry: use https:// or ssh://".into(),
        ),
        (
            format!("{secure}/private/site.git"),
            ca_line.into(),
            "R: the server asks for credentials: put a token in a file and name it, token = \"FILE\"".into(),
        ),
        (format!("{secure}/private/site.git"), format!("{ca_line}token = \"wrong\"\n"), refused("wrong")),
        (
            format!("{secure}/elsewhere/site.git"),
            format!("{ca_line}token = \"token\"\n"),
            format!(
                "R: the server redirects to \"{stranger}/site.git/info/refs?service=git-upload-pack\", without TLS; it is not followed"
            ),
        ),
        (
            format!("{secure}/site.git"),
            String::new(),
            format!("R: {local}: certificate not trusted: signed by no authority that is trusted"),
        ),
        (
            format!("{secure}/site.git"),
            "ca = \"other.pem\"\n".into(),
            format!("R: {local}: certificate not trusted: signed by no authority that is trusted"),
        ),
    ];
    setup.manifest(&site(&format!("{plain}/site.git"), ""));
    let host = setup.start().await;
    shows(&host, "one").await;
    for (remote, lines, expected) in cases {
        host.setup().manifest(&site(remote, lines));
        host.reload().await.done();
        let error = error(&host).await;
        assert_eq!(error.replace(remote, "R"), *expected, "{remote}");
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"), "{remote}");
        let log = host.setup().log();
        assert!(!log.contains("secret") && !log.contains("eC1hY2"), "a credential is in the log");
    }
}

/// A token goes to the origin that it is for, and where a stranger sends us is no place of this machine's.
#[tokio::test]
async fn a_redirect_to_another_origin_takes_no_credentials_along() {
    if skip::missing(&["fcgiwrap", "nginx"]) {
        return;
    }
    let setup = Setup::without_manifest();
    repository(&setup);
    let ca = Ca::new("private");
    // The same server by another name, which its certificate is for too: another origin all the same.
    let web = Web::start(&setup.path("root"), &setup.path("web"), &ca, "https://127.0.0.1:$server_port").await;
    setup.write("ca.pem", ca.pem());
    setup.secret("token", "token\n");
    let (secure, ca) = (web.secure(), "ca = \"ca.pem\"\n");
    setup.manifest(&site(&format!("{secure}/moved/private/site.git"), &format!("{ca}token = \"token\"\n")));
    let host = setup.start().await;
    shows(&host, "one").await;
    let there = secure.replace("localhost", "127.0.0.1");
    for (lines, why) in [
        (
            format!("{ca}token = \"token\"\n"),
            "where the token must not go; name that one as the remote, if it is right",
        ),
        (ca.to_owned(), "where a stranger may not send us"),
    ] {
        let remote = format!("{secure}/elsewhere/site.git");
        host.setup().manifest(&site(&remote, &lines));
        host.reload().await.done();
        let location = format!("{there}/site.git/info/refs?service=git-upload-pack");
        assert_eq!(error(&host).await, format!("{remote}: the server redirects to \"{location}\", {why}"));
        assert_eq!(host.client().get("https://localhost/").await.brief(), (200, "one"));
    }
}
