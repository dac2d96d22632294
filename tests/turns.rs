//! Swaps by hand, files that change and reloads, all at once: each has its turn, and the newest word is the last.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::time::sleep;

use crate::support::{
    guests::{HELLO, changed, fixture},
    host::Setup,
    tables,
    wait::{SOON, until},
};

const OTHER: &str = "Hello from b component\n";

/// One whose proof takes as long as its probe, once it is bytes that know how to sleep.
fn sleeper(path: &str, probe: &str) -> String {
    format!(
        "[git.pages]\nremote = \"{}/\"\n[component.app]\npath = \"{path}\"\nprobe = \"{probe}\"\ntimeout = \"8s\"\n\
         git = {{ pages = \"read\" }}\n",
        tables::EMPTY
    )
}

fn other() -> std::path::PathBuf {
    changed("hello", "Hello from a", "Hello from b")
}

fn digest(path: &std::path::Path) -> String {
    format!("{:x}", Sha256::digest(fs::read(path).unwrap()))
}

/// A proof that takes its time is waited for by who asked for it, and by nobody else.
#[tokio::test]
async fn a_slow_proof_holds_up_no_other() {
    let hello = tables::guest("hello", "hello", "");
    let slow = sleeper(fixture("hello").to_str().unwrap(), "/hang");
    let host = Setup::new(&[&*slow, &hello].concat()).start().await;
    let ended = AtomicBool::new(false);
    let (tried, ()) = tokio::join!(
        async {
            let tried = host.swap("app", &fixture("mischief")).await;
            ended.store(true, Ordering::Relaxed);
            tried
        },
        async {
            sleep(Duration::from_secs(1)).await;
            host.swap("hello", &other()).await.done();
            host.setup().manifest(&[&*slow, &hello, &tables::guest("more", "hello", "")].concat());
            host.reload().await.done();
            assert!(!ended.load(Ordering::Relaxed), "the slow one is tried yet");
        }
    );
    assert!(tried.failed().contains("probe /hang: "));
    assert_eq!(host.component("hello").await["digest"], digest(&other()));
    assert_eq!(host.component("app").await["digest"], digest(&fixture("hello")));
}

/// What a reload read is not the last word of a file that changes meanwhile.
#[tokio::test]
async fn a_file_that_is_put_back_during_a_reload_serves() {
    let app = "[component.app]\npath = \"app.wasm\"\n";
    let setup = Setup::new(app).argument("--watch");
    setup.place("app.wasm", &fixture("hello"));
    let host = setup.start().await;
    let slow = tables::mischief("slow", "probe = \"/sleep?ms=2500\"\n");
    host.setup().manifest(&[app, &*slow].concat());
    host.setup().place("app.wasm", &other());
    let (outcome, ()) = tokio::join!(host.reload(), async {
        sleep(Duration::from_secs(1)).await;
        host.setup().place("app.wasm", &fixture("hello"));
    });
    outcome.done();
    let serves = || async {
        let app = host.component("app").await;
        (app["digest"] == digest(&fixture("hello")) && app["swapped"] == false).then_some(())
    };
    until(SOON, "the file as it is", serves).await;
    sleep(Duration::from_secs(1)).await;
    assert!(serves().await.is_some());
}

/// Bytes that are written once more are no change.
#[tokio::test]
async fn a_file_that_is_only_touched_ends_no_swap() {
    let setup = Setup::new(&sleeper("app.wasm", "/sleep?ms=2500")).argument("--watch");
    setup.place("app.wasm", &fixture("hello"));
    let host = setup.start().await;
    let (sleepy, ()) = (fixture("mischief"), sleep(Duration::from_secs(1)).await);
    let (outcome, ()) = tokio::join!(host.swap("app", &sleepy), async {
        sleep(Duration::from_secs(1)).await;
        host.setup().place("app.wasm", &fixture("hello"));
    });
    outcome.done();
    sleep(Duration::from_secs(1)).await;
    let app = host.component("app").await;
    assert_eq!((&app["digest"], &app["error"]), (&digest(&sleepy).into(), &serde_json::Value::Null));
}

/// A file that the manifest names no more is nobody's, though it changes while a reload goes on.
#[tokio::test]
async fn a_former_file_does_not_serve() {
    let setup = Setup::new(&sleeper("app.wasm", "/sleep?ms=2500")).argument("--watch");
    setup.place("app.wasm", &fixture("hello"));
    setup.place("new.wasm", &fixture("mischief"));
    let host = setup.start().await;
    assert_eq!(host.client().get("https://localhost/").await.brief(), (200, HELLO));
    sleep(Duration::from_secs(1)).await;
    host.setup().manifest(&sleeper("new.wasm", "/sleep?ms=2500"));
    let (outcome, ()) = tokio::join!(host.reload(), async {
        sleep(Duration::from_secs(1)).await;
        host.setup().place("app.wasm", &other());
    });
    outcome.done();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(host.component("app").await["digest"], digest(&fixture("mischief")));
    assert!(!host.setup().log().contains("swapped: "), "{}", host.setup().log());
    assert_ne!(host.client().get("https://localhost/").await.text(), OTHER);
}
