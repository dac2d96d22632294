//! The manifest's certificates over time: what a reload takes, and what is told of them before clients find out.

use std::time::Duration;

use crate::support::{ca::Ca, client::Client, guests::HELLO, host::Setup, tables};

fn manifest() -> String {
    format!("[[certificate]]\nchain = \"a.pem\"\nkey = \"a.key\"\n{}", tables::guest("hello", "hello", ""))
}

/// Whoever renews certificates hears of one that is of no use any more, wherever there is nothing better.
#[tokio::test]
async fn an_expired_certificate_is_told_by_check_and_reload() {
    let setup = Setup::new(&manifest());
    Ca::new("test").issue_expired(&["a.test"]).write(&setup.path(""), "a");
    let expected = "host.toml:1: a.pem expired on 2020-01-01T00:00:00Z\n";
    let outcome = setup.command(&["check"]).await;
    assert_eq!(setup.shown(&outcome.stderr), expected);
    assert_eq!(outcome.done(), "1 component: nothing is wrong, but for the warning\n");
    let host = setup.start().await;
    host.logged("a.pem expired on 2020-01-01T00:00:00Z").await;
    let outcome = host.reload().await;
    assert_eq!(host.setup().shown(&outcome.stderr), expected);
    outcome.done();
    // As of other secrets, it is told where others can read its key.
    let key = host.setup().path("a.key");
    std::fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let outcome = host.setup().command(&["check"]).await;
    let open = "host.toml:3: `key`: a.key can be read by others (mode 0644); run chmod 600 a.key\n";
    assert_eq!(host.setup().shown(&outcome.stderr), format!("{open}{expected}"));
}

/// A renewal that went wrong turns nobody away who was served before.
#[tokio::test]
async fn an_expired_certificate_is_not_taken_for_a_good_one() {
    let (setup, ca) = (Setup::new(&manifest()), Ca::new("test"));
    ca.issue(&["a.site.test", "b.site.test"]).write(&setup.path(""), "a");
    let host = setup.start().await;
    let client = Client::new(host.https(), ca.pem());
    for names in [&["a.site.test"][..], &["*.site.test"]] {
        ca.issue_expired(names).write(&host.setup().path(""), "a");
        let said = host.setup().shown(&host.reload().await.failed());
        let (first, rest) = said.split_once("; ").expect("it says what serves");
        assert_eq!(first, "host.toml:1: a.pem expired on 2020-01-01T00:00:00Z");
        assert_eq!(
            rest.lines().collect::<Vec<_>>(),
            ["the one that serves now is valid until 4096-01-01T00:00:00Z", "host: nothing was changed"]
        );
        assert_eq!(client.get("https://a.site.test/").await.brief(), (200, HELLO));
    }
}

/// Of two for one name, the good one is served, whichever comes first, and though the other names it more exactly.
#[tokio::test]
async fn an_expired_certificate_stands_in_no_good_ones_way() {
    let (ca, table) =
        (Ca::new("test"), |file: &str| format!("[[certificate]]\nchain = \"{file}.pem\"\nkey = \"{file}.key\"\n"));
    for (both, good) in [
        ([table("bad"), table("good")], "a.site.test"),
        ([table("good"), table("bad")], "a.site.test"),
        ([table("bad"), table("good")], "*.site.test"),
        ([table("good"), table("bad")], "*.site.test"),
    ] {
        let setup = Setup::new(&[&both.concat(), &*tables::guest("hello", "hello", "")].concat());
        // Of its other name there is no good one.
        ca.issue_expired(&["a.site.test", "b.other.test"]).write(&setup.path(""), "bad");
        ca.issue(&[good]).write(&setup.path(""), "good");
        let host = setup.start().await;
        let client = Client::new(host.https(), ca.pem());
        assert_eq!(client.get("https://a.site.test/").await.brief(), (200, HELLO), "{good}");
    }
}

/// It is renewed with fewer names, and one that soon ends.
#[tokio::test]
async fn what_will_turn_clients_away_is_told_before() {
    let (setup, ca) = (Setup::new(&manifest()), Ca::new("test"));
    ca.issue(&["a.test", "b.test", "*.c.test"]).write(&setup.path(""), "a");
    let host = setup.start().await;
    ca.issue_until(&["a.test", "127.0.0.9"], Duration::from_hours(24 * 10)).write(&host.setup().path(""), "a");
    let outcome = host.reload().await;
    let status = host.ps().await;
    let certificate = &status["certificates"][0];
    let warning = format!("host.toml:1: a.pem expires on {}: renew it", certificate["expires"].as_str().unwrap());
    assert_eq!(
        host.setup().shown(&outcome.stderr).lines().collect::<Vec<_>>(),
        [&*warning, "no certificate covers b.test any more", "no certificate covers *.c.test any more"]
    );
    assert_eq!(host.setup().shown(certificate["warning"].as_str().unwrap()), warning);
    assert_eq!(certificate["names"], serde_json::json!(["a.test", "127.0.0.9"]));
    host.logged("no certificate covers b.test any more").await;
    let shown = host.command("ps", &[]).await.done();
    assert!(shown.contains("a.pem expires on "), "{shown}");
    let until = certificate["expires"].as_str().unwrap();
    assert_eq!(
        host.setup().shown(&outcome.done()),
        format!("reloaded; no component has a new generation\nanother certificate: a.pem, valid until {until}\n")
    );
    assert_eq!(host.reload().await.done(), "reloaded; no component has a new generation\n");
}
