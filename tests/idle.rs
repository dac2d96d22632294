//! Components that serve nothing, since what they read was never proved: they hold up nobody else, and what mends them is taken
//! from a reload as from a push.

use crate::support::{
    ca::Ca,
    client::Client,
    host::{Host, Setup},
    tables,
    wait::{SOON, until},
};

const BROKEN: &[(&str, &str)] = &[("index.html", "broken"), ("_headers", "/a\n X-A b\n")];

/// What a site is answered with for now.
async fn page(host: &Host) -> (u16, String) {
    let reply = host.client().get("https://localhost/").await;
    (reply.status.as_u16(), reply.text().to_owned())
}

/// Beside one whose remote is not there and one whose head is bad, another's table changes and a certificate is renewed: at
/// their first start, and at a later one.
#[tokio::test]
async fn who_serves_nothing_holds_up_no_reload() {
    let ca = Ca::new("test");
    let manifest = |word: &str| {
        let pair = "[[certificate]]\nchain = \"a.pem\"\nkey = \"a.key\"\n";
        let dead =
            "git = { dead = \"read\" }\nprobe = \"/read?from=dead&path=page\"\n[git.dead]\nremote = \"dead.git\"\n";
        let (dead, bad) = (tables::guest("dead", "mischief", dead), tables::site("bad"));
        format!("{bad}{}{dead}{pair}", tables::mischief("site", &format!("env = {{ WORD = \"{word}\" }}\n")))
    };
    let mut setup = Setup::new(&manifest("one"));
    let bad = setup.repository("bad");
    bad.commit("main", BROKEN);
    for word in ["two", "three"] {
        ca.issue(&["localhost"]).write(&setup.path(""), "a");
        let host = setup.start().await;
        ca.issue(&["localhost", &format!("{word}.test")]).write(&host.setup().path(""), "a");
        host.setup().manifest(&manifest(word));
        let outcome = host.reload().await;
        let said = host.setup().shown(&outcome.stderr);
        let lines: Vec<_> = said.lines().collect();
        let certificate = host.setup().shown(&outcome.stdout);
        assert!(certificate.starts_with("site\nanother certificate: a.pem, valid until "), "{certificate}");
        assert_eq!(outcome.code, Some(0), "{said}");
        assert!(lines[0].starts_with("host.toml:18: [git.dead]: can't be fetched: dead.git: "), "{said}");
        assert!(lines[1].starts_with("host.toml:4: [component.bad]: serves nothing: _headers:2: "), "{said}");
        let probe = "host.toml:14: [component.dead]: serves nothing: probe /read?from=dead&path=page: no response: ";
        assert!(lines[2].starts_with(probe), "{said}");
        assert_eq!(lines.len(), 3, "{said}");
        let client = Client::new(host.https(), ca.pem());
        assert_eq!(client.get("https://localhost/env").await.brief(), (200, &*format!("WORD={word}\n")));
        assert_eq!(client.get(&format!("https://{word}.test/env")).await.brief(), (200, &*format!("WORD={word}\n")));
        setup = host.terminate().await;
    }
    let host = setup.start().await;
    // Both are mended as ever.
    bad.commit("main", &[("index.html", "good")]);
    host.setup().repository("dead").commit("main", &[("page", "there")]);
    for (name, binding) in [("bad", "bad-pages"), ("dead", "dead")] {
        until(SOON, name, async || {
            let (component, binding) = (host.component(name).await, host.binding(binding).await);
            let known = if name == "bad" { "pages" } else { "dead" };
            (!binding["revision"].is_null() && component["revisions"][known] == binding["revision"]).then_some(())
        })
        .await;
    }
}

/// A mistyped name at the first start is mended by a reload, whatever the wrong one has.
#[tokio::test]
async fn a_reload_mends_a_mistyped_remote_or_branch() {
    let right = tables::site("site");
    for (wrong, right) in [
        (right.replace("site.git", "sitte.git"), right.clone()),
        (right.replace("\"main\"", "\"mian\""), right.clone()),
        // It is there, and is no site.
        (right.replace("\"main\"", "\"other\""), right.clone()),
        // With a table that has changed as well.
        (right.replace("\"main\"", "\"other\""), format!("{right}probe = \"/\"\n")),
    ] {
        let setup = Setup::new(&wrong);
        let site = setup.repository("site");
        site.commit("main", &[("index.html", "right")]);
        site.commit("other", BROKEN);
        let host = setup.start().await;
        assert_eq!(page(&host).await.0, 503);
        host.setup().manifest(&right);
        let outcome = host.reload().await;
        assert_eq!(host.setup().shown(&outcome.stderr), "", "{wrong}");
        outcome.done();
        assert_eq!(page(&host).await, (200, "right".into()));
    }
}

/// What goes on serving though the manifest names another branch ends with the host, and both are told.
#[tokio::test]
async fn what_another_branch_had_is_served_until_a_restart() {
    let right = tables::site("site");
    let setup = Setup::new(&right);
    let site = setup.repository("site");
    site.commit("main", &[("index.html", "main")]);
    site.commit("other", BROKEN);
    let host = setup.start().await;
    host.setup().manifest(&right.replace("\"main\"", "\"other\""));
    let said = host.setup().shown(&host.reload().await.failed());
    let words =
        "host.toml:1: [git.site-pages]: site goes on serving what it did, until the host is restarted: _headers:2: ";
    assert!(said.starts_with(words), "{said}");
    assert_eq!(page(&host).await, (200, "main".into()));
    let host = host.terminate().await.start().await;
    assert_eq!(page(&host).await, (503, "503 Service Unavailable\n".into()));
    let words = "what was proved before is not served: [git.site-pages] is ";
    let line = host.logged(words).await;
    assert!(line.contains("site.git, branch other now, and that came from elsewhere"), "{line}");
}
