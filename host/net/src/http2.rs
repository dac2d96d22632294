//! Opening a connection of HTTP/2. It is open when the peer's settings are here, which come first (RFC 9113, section 3.4)
//! and say how many requests it carries at once. hyper keeps that number to itself, so it is overheard.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{sync::Notify, time::timeout};

use crate::{
    DialError, Origin, Stream,
    client::with_causes,
    ear::{Ear, Hear},
    interim::Interim,
    pool::Slot,
    shared::Multiplexed,
    whole::Whole,
};

/// What one stream may send us before we take it: also what a slow reader holds in memory.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Requests at once on a connection, whatever more the peer allows.
pub(crate) const STREAMS: u32 = 128;
/// Room for all of them: those whose readers take nothing leave each of the others its own.
const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;
/// Bytes of a response's head, as RFC 9113 counts them.
const HEADER_LIST: u32 = 64 * 1024;

const FRAME_HEAD: usize = 9;
const SETTING: usize = 6;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// What the peer allows us.
#[derive(Default)]
pub(crate) struct Allowed {
    /// Streams at once, as many as we want at most; none before its settings are here.
    pub(crate) streams: AtomicUsize,
    changed: Notify,
}

/// What is lost with a request that has no answer.
pub(crate) struct Loss {
    /// No further stream is to be begun on its connection.
    pub(crate) connection: bool,
    /// The peer says that it has done nothing for it (RFC 9113, section 8.7): it refused the stream, or said GOAWAY and that
    /// others were the last.
    pub(crate) unprocessed: bool,
}

impl Loss {
    pub(crate) fn of(error: &hyper::Error) -> Self {
        let error = std::error::Error::source(error).and_then(|error| error.downcast_ref::<h2::Error>());
        // Those that GOAWAY lets end hear of the connection's end, and not of it.
        let unprocessed = |error: &h2::Error| {
            error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
        };
        Self { connection: !error.is_some_and(h2::Error::is_reset), unprocessed: error.is_some_and(unprocessed) }
    }
}

/// Opens a connection over `stream` within `limit`, which each of its frames and heads has too, to be whole; to `share` it among all who send to the slot's origin, or for one
/// request alone.
pub(crate) async fn open(
    origin: &Origin,
    slot: &Arc<Slot>,
    stream: Stream,
    limit: Duration,
    share: bool,
) -> Result<Multiplexed, DialError> {
    let peer = || origin.target().place.to_string().into();
    let failed = |reason: String| DialError::Http2 { peer: peer(), reason: reason.into() };
    let allowed = Arc::<Allowed>::default();
    let ear = Ear { stream, to: Overheard::new(allowed.clone(), limit) };
    let opening = async {
        let (sender, mut connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADER_LIST)
            .handshake(TokioIo::new(ear))
            .await
            .map_err(|error| failed(with_causes(&error)))?;
        while allowed.streams.load(Relaxed) == 0 {
            tokio::select! {
                ended = &mut connection => {
                    let reason = ended.err().map_or_else(|| "connection closed".into(), |error| with_causes(&error));
                    return Err(failed(reason));
                }
                () = allowed.changed.notified() => {}
            }
        }
        Ok((sender, connection))
    };
    let Ok(opened) = timeout(limit, opening).await else {
        return Err(DialError::Silent { peer: peer() });
    };
    let (sender, mut connection) = opened?;
    let shared = if share { slot.shared.open(slot, sender, allowed.clone()) } else { Multiplexed::apart(slot, sender) };
    let (number, slot) = (shared.number(), Arc::downgrade(slot));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                // Its errors come out of the requests that it carries.
                _ = &mut connection => break,
                () = allowed.changed.notified() => {
                    let Some(slot) = slot.upgrade() else { continue };
                    slot.shared.tell_first();
                }
            }
        }
        if let Some(slot) = slot.upgrade() {
            slot.shared.close(number);
        }
    });
    Ok(shared)
}

/// Listens for how many streams the peer allows, which it may say anew at any time; and for heads without end, in number or
/// in time.
pub(crate) struct Overheard {
    allowed: Arc<Allowed>,
    /// Bytes of a payload that are still to come.
    left: usize,
    /// Whether they are settings.
    settings: bool,
    /// A frame's head, or a setting, as far as it is here.
    piece: [u8; FRAME_HEAD],
    filled: usize,
    /// The first settings are those that nothing need stand in: then the limit is ours.
    first: bool,
    streams: Option<u32>,
    interim: Interim,
    pub(crate) whole: Whole,
}

impl Overheard {
    pub(crate) fn new(allowed: Arc<Allowed>, limit: Duration) -> Self {
        let piece = [0; FRAME_HEAD];
        Self {
            allowed,
            left: 0,
            settings: false,
            piece,
            filled: 0,
            first: true,
            streams: None,
            interim: Interim::default(),
            whole: Whole::new(limit),
        }
    }

    /// Gathers a piece of so many bytes; says whether it is whole.
    fn gather(&mut self, bytes: &mut &[u8], size: usize) -> bool {
        let taken = (size - self.filled).min(bytes.len());
        self.piece[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        *bytes = &bytes[taken..];
        if self.filled < size {
            return false;
        }
        self.filled = 0;
        true
    }

    fn head(&mut self) -> io::Result<()> {
        let [high, middle, low, kind, flags, stream @ ..] = self.piece;
        self.left = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.settings = kind == SETTINGS && flags & ACK == 0;
        self.whole.head(kind, flags);
        if self.settings && self.left == 0 {
            self.end();
        }
        if kind == HEADERS && flags & END_STREAM == 0 {
            self.interim.head(u32::from_be_bytes(stream))?;
        }
        Ok(())
    }

    fn setting(&mut self) {
        let [id, more, value @ .., _, _, _] = self.piece;
        if u16::from_be_bytes([id, more]) == MAX_CONCURRENT_STREAMS {
            self.streams = Some(u32::from_be_bytes(value).min(STREAMS));
        }
    }

    /// Of a frame of settings.
    fn end(&mut self) {
        self.settings = false;
        if self.first {
            self.first = false;
            self.streams.get_or_insert(STREAMS);
        }
        if let Some(streams) = self.streams.take() {
            self.allowed.streams.store(streams as usize, Relaxed);
            self.allowed.changed.notify_one();
        }
    }
}

impl Hear for Overheard {
    fn hear(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left == 0 {
                if self.filled == 0 {
                    self.whole.begin();
                }
                if self.gather(&mut bytes, FRAME_HEAD) {
                    self.head()?;
                }
            } else if self.settings && self.left >= SETTING {
                if self.gather(&mut bytes, SETTING) {
                    self.left -= SETTING;
                    self.setting();
                    if self.left == 0 {
                        self.end();
                    }
                }
            } else {
                // What is no whole setting ends the connection.
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
            }
        }
        // What comes before the first settings has a limit of its own.
        if !self.first {
            self.whole.pause(self.left == 0 && self.filled == 0, self.left);
        }
        Ok(())
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.whole.poll_late(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, atomic::Ordering::Relaxed},
        time::Duration,
    };

    use super::{Allowed, Hear, Overheard, STREAMS};

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 0], payload].concat()
    }

    #[test]
    fn how_many_streams_a_peer_allows() {
        const FOUR: [u8; 6] = [0, 3, 0, 0, 0, 4];
        const FIVE: [u8; 6] = [0, 3, 0, 0, 0, 5];
        const MANY: [u8; 6] = [0, 3, 0x7f, 0xff, 0xff, 0xff];
        const WINDOW: [u8; 6] = [0, 4, 0, 3, 0, 0];
        let settings = |all: &[[u8; 6]]| frame(4, 0, &all.concat());
        let none = STREAMS as usize;
        for (what, bytes, expected) in [
            ("nothing yet", vec![], 0),
            ("no settings", settings(&[]), none),
            ("another setting", settings(&[WINDOW]), none),
            ("more than we want", settings(&[MANY]), none),
            ("four", settings(&[WINDOW, FOUR, WINDOW]), 4),
            ("the last of two", settings(&[FOUR, FIVE]), 5),
            ("five later", [settings(&[FOUR]), frame(0, 0, &FOUR), settings(&[FIVE])].concat(), 5),
            ("nothing new later", [settings(&[FOUR]), settings(&[WINDOW])].concat(), 4),
            ("an acknowledgement", [settings(&[FOUR]), frame(4, 1, &[])].concat(), 4),
            ("an acknowledgement alone", frame(4, 1, &FIVE), 0),
            ("settings cut off", frame(4, 0, &FOUR)[..14].to_vec(), 0),
            ("half a setting more", frame(4, 0, &[&FOUR[..], &[0, 3, 0]].concat()), 0),
            ("data that looks so", frame(0, 0, &settings(&[FIVE])), 0),
        ] {
            for piece in [1, 2, 9, 15, bytes.len().max(1)] {
                let allowed = Arc::<Allowed>::default();
                let mut heard = Overheard::new(allowed.clone(), Duration::ZERO);
                bytes.chunks(piece).for_each(|part| heard.hear(part).unwrap());
                assert_eq!(allowed.streams.load(Relaxed), expected, "{what} in pieces of {piece}");
            }
        }
    }
}
