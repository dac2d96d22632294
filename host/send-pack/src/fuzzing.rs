//! What the fuzzers call: what must hold of a server's side of a push, whatever it says.

mod readable;
#[cfg(test)]
mod replay;

use std::io::Read as _;

use self::readable::readable;
use crate::{
    Error, MAX_WORDS, Report,
    packet::{Message, Packet, Packets},
    report,
    sideband::Sideband,
};

/// What a server says, to each of those who read it.
///
/// # Panics
/// Where something does not hold.
pub fn receive(bytes: &[u8]) {
    lines(bytes);
    bands(bytes);
    match report::read(&mut Packets::new(bytes), &["refs/heads/main"]) {
        Ok(reports) => reports.into_iter().for_each(|report| match report.with(bytes) {
            Report::Refused(words) => readable(&words),
            Report::Taken | Report::Rewritten => {
                let line = b"ok refs/heads/main";
                assert!(bytes.windows(line.len()).any(|said| said == line), "nobody said that it was taken");
            }
        }),
        Err(error) => readable(&error.to_string()),
    }
}

fn lines(bytes: &[u8]) {
    let (mut packets, mut again) = (Packets::new(bytes), Message::default());
    while let Ok(packet) = packets.next() {
        match packet {
            Packet::Flush => again.flush(),
            Packet::Delimiter => again.delimiter(),
            Packet::Data(data) => again.data(data),
        };
    }
    let again = again.into_bytes();
    // The digits of a length may be in capitals.
    assert!(bytes.get(..again.len()).is_some_and(|bytes| bytes.eq_ignore_ascii_case(&again)), "not what was read");
}

fn bands(bytes: &[u8]) {
    let mut sideband = Sideband::new(Packets::new(bytes), None).expect("nothing was read yet");
    let mut pack = Vec::new();
    let read = sideband.read_to_end(&mut pack);
    assert!(pack.len() + sideband.words().len() <= bytes.len() && sideband.words().len() <= MAX_WORDS);
    if let Err(error) = read {
        readable(&Error::of(error).to_string());
    }
}

#[test]
fn what_was_kept() {
    replay::replay("receive", receive);
}
