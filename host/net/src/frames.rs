//! The frames that an HTTP/2 client sends, counted as they go by (RFC 9113, section 4.1): what is no request and no body
//! costs us an answer each, and costs the client nine bytes. It changes nothing and understands no payload.

/// Seconds in which resets and control frames are counted.
pub const FRAMES: u32 = 30;

/// Bytes of ours that pay for one control frame: a client that is sent much acknowledges much.
const PAID: u64 = 256;
/// What can be saved up of them.
const SAVED: u64 = 1024 * 1024;

const PREFACE: usize = 24;
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The client sent more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flood {
    #[error("too many streams were reset")]
    Resets,
    #[error("too many control frames")]
    Control,
}

/// What a client may send within `FRAMES`.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    pub resets: u32,
    pub control: u32,
}

pub struct Frames {
    most: Most,
    heard: Splitter,
    said: Splitter,
    /// When the counts began.
    since: u32,
    resets: u32,
    control: u32,
    /// Bytes sent that no frame was paid with.
    credit: u64,
    /// Heads that were begun; whether the last frame was of one, and whether more of that is to come in others.
    heads: u32,
    head: bool,
    more: bool,
}

impl Frames {
    pub fn new(most: Most, now: u32) -> Self {
        Self {
            most,
            heard: Splitter { skip: PREFACE, ..Splitter::default() },
            said: Splitter { kind: SETTINGS, ..Splitter::default() },
            since: now,
            resets: 0,
            control: 0,
            credit: 0,
            heads: 0,
            head: false,
            more: false,
        }
    }

    /// The number of the head, or of what trails a body, that was begun and is not whole.
    pub fn within_head(&self) -> Option<u32> {
        (self.more || (self.head && self.heard.skip > 0)).then_some(self.heads)
    }

    /// We sent so much.
    pub fn sent(&mut self, bytes: usize) {
        self.credit = SAVED.min(self.credit.saturating_add(bytes as u64));
    }

    /// We are to send this; says how many bytes of bodies are in it, which a client pays for with its window.
    pub fn sending(&mut self, mut bytes: &[u8]) -> usize {
        let mut data = 0;
        loop {
            if self.said.kind == DATA {
                data += self.said.skip.min(bytes.len());
            }
            if self.said.next(&mut bytes).is_none() {
                return data;
            }
        }
    }

    /// The client sent this; `now` in seconds.
    pub fn received(&mut self, mut bytes: &[u8], now: u32) -> Result<(), Flood> {
        while let Some((flags, length)) = self.heard.next(&mut bytes) {
            self.frame(self.heard.kind, flags, length, now)?;
        }
        Ok(())
    }

    fn frame(&mut self, kind: u8, flags: u8, length: usize, now: u32) -> Result<(), Flood> {
        self.head = matches!(kind, HEADERS | CONTINUATION);
        if kind == HEADERS {
            self.heads = self.heads.wrapping_add(1);
        }
        match kind {
            HEADERS | CONTINUATION => {
                self.more = flags & END_HEADERS == 0;
                return Ok(());
            }
            DATA if length > 0 || flags & END_STREAM != 0 => return Ok(()),
            _ => {}
        }
        if now.wrapping_sub(self.since) >= FRAMES {
            (self.since, self.resets, self.control) = (now, 0, 0);
        }
        if kind == RST_STREAM {
            self.resets += 1;
            return if self.resets > self.most.resets { Err(Flood::Resets) } else { Ok(()) };
        }
        if self.credit >= PAID {
            self.credit -= PAID;
            return Ok(());
        }
        self.control += 1;
        if self.control > self.most.control { Err(Flood::Control) } else { Ok(()) }
    }
}

/// Finds the heads of frames in what comes in any pieces.
#[derive(Default)]
struct Splitter {
    /// Bytes of the preface, or of a payload, that are still to come.
    skip: usize,
    head: [u8; HEAD],
    /// Of `head`, what is there.
    filled: usize,
    /// Of the frame that came last.
    kind: u8,
}

impl Splitter {
    /// Goes on to the next head: its flags, and the length of the payload behind it. None where the bytes end before.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<(u8, usize)> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        *bytes = &bytes[skipped..];
        if bytes.is_empty() {
            return None;
        }
        let taken = (HEAD - self.filled).min(bytes.len());
        self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        *bytes = &bytes[taken..];
        if self.filled < HEAD {
            return None;
        }
        self.filled = 0;
        let [high, middle, low, kind, flags, ..] = self.head;
        self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.kind = kind;
        Some((flags, self.skip))
    }
}

#[cfg(test)]
mod tests {
    use super::{FRAMES, Flood, Frames, Most};

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
        let mut frame = vec![0, high, low, kind, flags, 0, 0, 0, 1];
        frame.extend(std::iter::repeat_n(7, length));
        frame
    }

    fn frames() -> Frames {
        let mut frames = Frames::new(Most { resets: 2, control: 3 }, 0);
        frames.received(&[b'P'; 24], 0).unwrap();
        frames
    }

    #[test]
    fn what_is_counted() {
        for (what, bytes, expected) in [
            ("resets", frame(3, 0, 4), (3, Some(Flood::Resets))),
            ("settings", frame(4, 0, 6), (4, Some(Flood::Control))),
            ("their acknowledgements", frame(4, 1, 0), (4, Some(Flood::Control))),
            ("pings", frame(6, 0, 8), (4, Some(Flood::Control))),
            ("priorities", frame(2, 0, 5), (4, Some(Flood::Control))),
            ("windows", frame(8, 0, 4), (4, Some(Flood::Control))),
            ("unknown", frame(0x55, 0, 300), (4, Some(Flood::Control))),
            ("empty data", frame(0, 0, 0), (4, Some(Flood::Control))),
            ("the end of a body", frame(0, 1, 0), (100, None)),
            ("data", frame(0, 0, 1), (100, None)),
            ("heads", frame(1, 4, 20), (100, None)),
            ("long heads", frame(9, 0, 20), (100, None)),
        ] {
            for piece in [1, 7, bytes.len()] {
                let mut frames = frames();
                let mut flood = (100, None);
                'sent: for at in 1..=100 {
                    for part in bytes.chunks(piece) {
                        if let Err(found) = frames.received(part, 0) {
                            flood = (at, Some(found));
                            break 'sent;
                        }
                    }
                }
                assert_eq!(flood, expected, "{what} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn heads_are_followed_to_their_end() {
        let (head, more, last) = (frame(1, 0, 5), frame(9, 0, 5), frame(9, 4, 5));
        for (what, bytes, expected) in [
            ("nothing", vec![], false),
            ("a head", frame(1, 4, 5), false),
            ("half a frame", frame(1, 4, 5)[..11].to_vec(), true),
            ("a head to be continued", head.clone(), true),
            ("one that is continued", [&head[..], &more].concat(), true),
            ("all but the last byte of one", [&head[..], &more, &last[..13]].concat(), true),
            ("one that is whole", [&head[..], &more, &last].concat(), false),
            ("half a frame of a body", frame(0, 0, 5)[..11].to_vec(), false),
        ] {
            for piece in [1, 2, 9, 14, bytes.len().max(1)] {
                let mut frames = frames();
                bytes.chunks(piece).for_each(|part| frames.received(part, 0).unwrap());
                assert_eq!(frames.within_head().is_some(), expected, "{what} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn bodies_are_told_from_what_is_answered_by_itself() {
        let sent = [frame(4, 0, 12), frame(6, 1, 8), frame(0, 0, 300), frame(1, 4, 40), frame(0, 1, 0), frame(0, 1, 7)];
        let sent = sent.concat();
        for piece in [1, 2, 9, 10, 100, sent.len()] {
            let mut frames = frames();
            assert_eq!(sent.chunks(piece).map(|part| frames.sending(part)).sum::<usize>(), 307, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_was_sent_pays_and_time_forgives() {
        let ping = frame(6, 0, 8);
        let mut frames = frames();
        for _ in 0..10 {
            frames.sent(256);
            frames.received(&ping, 0).unwrap();
        }
        for now in [0, 0, 0, FRAMES, FRAMES, FRAMES] {
            frames.received(&ping, now).unwrap();
        }
        assert_eq!(frames.received(&ping, FRAMES), Err(Flood::Control));
        let mut frames = self::frames();
        frames.sent(usize::MAX);
        let free = (0..1_000_000).take_while(|_| frames.received(&ping, 0).is_ok()).count();
        assert_eq!(free, 4096 + 3);
    }
}
