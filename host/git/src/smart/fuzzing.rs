//! What the fuzzers call: what must hold of a server's side of a conversation, whatever it says, from its greeting to the end
//! of its pack.

use std::io::{self, Read};

use atoll_send_pack::{Connection, MAX_WORDS, Pack, greeting::Known, packet::Packets};
use gix::{ObjectId, hash::Kind};

use super::{Look, SmartError, Want};
use crate::{Depth, fuzzing::readable::readable, transport::Talk};

/// A server that has said it all already.
struct Said<'a> {
    rest: &'a [u8],
    stateless: bool,
}

/// What a server says of a branch, and of what its HEAD is; and to a host that knows it already, with its greeting and
/// without.
pub fn smart(bytes: &[u8]) {
    for branch in [Some("main"), None] {
        if let Some(known) = converse(Said { rest: bytes, stateless: false }, None, branch) {
            converse(Said { rest: bytes, stateless: false }, Some(known.clone()), branch);
            let greeting = bytes.windows(4).position(|digits| digits == b"0000").map_or(0, |end| end + 4);
            converse(Said { rest: &bytes[greeting..], stateless: true }, Some(known), branch);
        }
    }
}

/// What is known of the server after it.
fn converse(said: Said<'_>, known: Option<Known>, branch: Option<&str>) -> Option<Known> {
    let length = said.rest.len();
    let mut look = Look::up(said, known, branch).map_err(|error| readable(&error.to_string())).ok()?;
    let learned = look.known();
    let Some(id) = look.tip() else {
        if let Ok(Some(error)) | Err(error) = look.missing() {
            readable(&error.to_string());
        }
        return learned;
    };
    let here = [ObjectId::null(Kind::Sha1)];
    let mut pack = match look.fetch(&Want { id, depth: Depth::HEAD, have: &here, shallow: &here }) {
        Ok(pack) => pack,
        Err(error) => {
            readable(&error.to_string());
            return learned;
        }
    };
    let mut read = Vec::new();
    if let Err(error) = pack.read_to_end(&mut read) {
        readable(&SmartError::from(error).to_string());
    }
    assert!(read.len() < length && pack.words().len() <= MAX_WORDS);
    learned
}

impl Read for Said<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.rest.read(out)
    }
}

impl Connection for Said<'_> {
    fn greet(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn push(&mut self, _: &[u8], _: Option<&Pack>) -> io::Result<()> {
        unreachable!("nothing is pushed")
    }
}

impl Talk for Said<'_> {
    /// It is in packets to its end.
    fn ask(&mut self, message: &[u8]) -> io::Result<()> {
        let mut packets = Packets::new(message);
        while !packets.inner().is_empty() {
            packets.next().expect("what is asked is a message");
        }
        Ok(())
    }

    fn stateless(&self) -> bool {
        self.stateless
    }
}
