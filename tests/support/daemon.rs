//! A server that is not ours, as a child of the test, at an address that was free a moment before.

use std::{net::SocketAddr, process::Stdio};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use super::wait::{SOON, until};

/// Starts it, and waits until it accepts; where it ends before, its `log` says why. It is killed when it is dropped.
pub(crate) async fn daemon(name: &str, command: &mut Command, address: SocketAddr, log: impl Fn() -> String) -> Child {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = quiet.spawn().unwrap_or_else(|error| panic!("{name} is not installed: {error}"));
    until(SOON, name, async || {
        assert!(child.try_wait().expect("a child of ours").is_none(), "{name} ended: {}", log());
        TcpStream::connect(address).await.ok()
    })
    .await;
    child
}
