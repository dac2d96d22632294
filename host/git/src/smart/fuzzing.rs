//! What the fuzzers call: what must hold of a server's side of a conversation, whatever it says.

use atoll_send_pack::{greeting, packet::Packets};

#[path = "../../../../tests/fuzz/readable.rs"]
mod words;

use self::words::readable;
use super::refs::Tips;

/// What a server greets with.
pub fn smart(bytes: &[u8]) {
    let mut tips = Tips::new(Some("main")).expect("a name");
    match greeting::read(&mut Packets::new(bytes), &mut |line| tips.line(line)) {
        Ok(_) => readable(&tips.missing().to_string()),
        Err(error) => readable(&error.to_string()),
    }
}
