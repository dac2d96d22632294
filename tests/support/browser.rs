//! Chromium without a window: what somebody sees who opens the address that the host printed.

use std::{net::SocketAddr, path::Path, process::Stdio};

use tokio::process::Command;

use super::wait::{BUILT, within};

/// The document at `url`, after its scripts ran, in a browser that trusts `ca` and finds every name at `address`.
pub(crate) async fn document(profile: &Path, address: SocketAddr, ca: &Path, url: &str) -> String {
    let store = format!("sql:{}", profile.join(".pki/nssdb").display());
    std::fs::create_dir_all(profile.join(".pki/nssdb")).expect("the folder is the test's");
    let mut certutil = Command::new("certutil");
    certutil.args(["-d", &store, "-A", "-t", "C,,", "-n", "test", "-i"]).arg(ca);
    let imported = within(BUILT, "certutil", certutil.output()).await.expect("certutil is installed");
    assert!(imported.status.success(), "certutil: {}", String::from_utf8_lossy(&imported.stderr));

    let mut chromium = Command::new("chromium");
    chromium
        .env("HOME", profile)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-dev-shm-usage",
        ])
        .arg(format!("--host-resolver-rules=MAP * {address}"))
        .arg(format!("--user-data-dir={}", profile.join("data").display()))
        .args(["--dump-dom", url])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = within(BUILT, "chromium", chromium.output()).await.expect("chromium is installed");
    assert!(output.status.success(), "chromium: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a document is text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_browser_shows_what_the_test_ca_vouches_for() {
    use super::{
        ca::Ca,
        client::Protocol,
        upstream::{Upstream, whole},
    };

    if super::skip::missing(&["chromium", "certutil"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new("test");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, ca.pem()).unwrap();
    let page =
        "<!doctype html><title>x</title><p>seen by a browser<script>document.body.append('by ' + 'script')</script>";
    let answer = move |_: &_| http::Response::builder().header("content-type", "text/html").body(whole(page)).unwrap();
    let upstream = Upstream::start_tls(Protocol::Http2, &ca.issue(&["a.test"]), answer).await;
    let document = document(folder.path(), upstream.address(), &file, "https://a.test/").await;
    assert!(document.contains("<p>seen by a browser") && document.contains("by script"), "{document}");
}
