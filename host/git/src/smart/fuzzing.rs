//! What the fuzzers call: what must hold of a server's side of a conversation, whatever it says.

use std::io::Read as _;

use super::{
    MAX_WORDS, SmartError, greeting,
    packet::{Message, Packet, Packets},
    refs::Tips,
    report::{self, Report},
    sideband::Sideband,
};

/// What one may cost to repeat: ten names, each with everything in it escaped.
const MAX_SAID: usize = 11 * 10 * MAX_WORDS;

/// What a server says, to each of those who read it.
pub fn smart(bytes: &[u8]) {
    lines(bytes);
    bands(bytes);
    let mut tips = Tips::new(Some("main")).expect("a name");
    match greeting::read(&mut Packets::new(bytes), &mut tips) {
        Ok(_) => readable(&tips.missing().to_string()),
        Err(error) => readable(&error.to_string()),
    }
    match report::read(&mut Packets::new(bytes), "refs/heads/main").map(|report| report.with(bytes)) {
        Ok(Report::Refused(words)) => readable(&words),
        Ok(Report::Taken | Report::Rewritten) => {
            let line = b"ok refs/heads/main";
            assert!(bytes.windows(line.len()).any(|said| said == line), "nobody said that it was taken");
        }
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
        readable(&SmartError::of(error).to_string());
    }
}

/// What a person gets to see at a terminal.
fn readable(words: &str) {
    assert!(words.len() <= MAX_SAID, "{} bytes", words.len());
    let obeyed = |character: char| {
        let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        character.is_control() || turns
    };
    assert!(!words.contains(obeyed), "{words:?}");
}
