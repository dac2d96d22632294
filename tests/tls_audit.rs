//! What `testssl.sh` says of us, as Debian brings it: nothing but good, of what is not the certificate's or the name's.

use std::{fs, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::process::Command;

use crate::support::{
    ca::Ca,
    host::Setup,
    skip::missing,
    tables,
    wait::{BUILT, within},
};

/// What is said of the certificate, and of a name's records.
const NOT_OURS: [&str; 2] = ["cert", "DNS_CAArecord"];

/// Beside these there is what is good, what is known, and what it could not find out (WARN).
const BAD: [&str; 4] = ["LOW", "MEDIUM", "HIGH", "CRITICAL"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found() {
    if missing(&["testssl"]) {
        return;
    }
    let ca = Ca::new("test");
    let pair = "[[certificate]]\nchain = \"a.pem\"\nkey = \"a.key\"\n";
    let setup = Setup::new(&[pair, &*tables::guest("hello", "hello", "")].concat());
    ca.issue_until(&["a.test"], Duration::from_hours(24 * 90)).write(&setup.path(""), "a");
    let (roots, found) = (setup.write("roots.pem", ca.pem()), setup.path("found.json"));
    let host = setup.start().await;
    let mut audit = Command::new("testssl");
    // Protocols, ciphers, forward secrecy, preferences, defaults, and all weaknesses that have a name.
    audit.args(["-p", "-s", "-f", "-P", "-S", "-U", "--quiet", "--color", "0", "--warnings", "off"]);
    audit.args(["--connect-timeout", "20", "--openssl-timeout", "20", "--ip", "127.0.0.1", "--jsonfile"]).arg(&found);
    audit.arg("--add-ca").arg(&roots).arg(format!("https://a.test:{}/", host.https().port()));
    audit.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    within(2 * BUILT, "testssl", audit.status()).await.expect("testssl is installed");
    let said: Vec<Value> = serde_json::from_slice(&fs::read(&found).expect("it says something")).expect("JSON");
    let words = |said: &Value, key: &str| said[key].as_str().unwrap_or_default().to_owned();
    let ours = |said: &&Value| !NOT_OURS.iter().any(|id| words(said, "id").starts_with(id));
    let bad: Vec<_> = said.iter().filter(ours).filter(|said| BAD.contains(&&*words(said, "severity"))).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    for (id, expected) in [
        ("SSLv3", "not offered"),
        ("TLS1", "not offered"),
        ("TLS1_1", "not offered"),
        ("TLS1_2", "offered"),
        ("TLS1_3", "offered with final"),
        ("ALPN_HTTP2", "h2"),
        ("cipher_order", "server"),
        ("cert_chain_of_trust", "passed."),
        ("heartbleed", "not vulnerable, no heartbeat extension"),
        ("ROBOT", "not vulnerable, no RSA key transport cipher"),
        ("secure_renego", "supported"),
        ("LUCKY13", "not vulnerable"),
    ] {
        let finding = said.iter().find(|said| words(said, "id") == id).map(|said| words(said, "finding"));
        assert_eq!(finding.as_deref(), Some(expected), "{id}");
    }
}
