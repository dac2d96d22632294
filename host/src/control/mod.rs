//! How a running host is spoken to: a Unix socket in its state directory, for the user that it runs as. One request a
//! connection, each message a line of JSON. It decides nothing: what is asked goes to whoever implements [`Control`].

pub mod client;
pub mod messages;
pub mod server;
#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};

/// A component's bytes; a larger one the runtime would not load.
pub const LARGEST_COMPONENT: u64 = 64 << 20;

/// Where the socket of the host with this state directory is.
pub fn socket(state: &Path) -> PathBuf {
    state.join("control.sock")
}
