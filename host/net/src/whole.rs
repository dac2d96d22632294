//! What a peer of HTTP/2 has begun has to be whole in time: a frame, and the frames of one header block, between which no other
//! may come (RFC 9113, section 4.3). Until then nobody on the connection is heard of, whoever it is about.

use std::{
    io,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Instant;

use crate::alarm::Alarm;

/// Bytes of a body's frame for each second that it has more than another.
const SECOND: usize = 1024;

pub(crate) struct Whole {
    limit: Duration,
    alarm: Alarm,
    /// When what was begun has to be whole.
    due: Option<Instant>,
    /// Whether it is a header block of which frames are to come.
    block: bool,
    kind: u8,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

impl Whole {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, alarm: Alarm::default(), due: None, block: false, kind: 0 }
    }

    /// The first byte of a frame is here.
    pub(crate) fn begin(&mut self) {
        if !self.block {
            self.due = None;
        }
        // Until its head says what it is.
        self.kind = CONTINUATION;
    }

    /// A frame's head is here.
    pub(crate) fn head(&mut self, kind: u8, flags: u8) {
        self.kind = kind;
        if matches!(kind, HEADERS | PUSH_PROMISE | CONTINUATION) {
            self.block = flags & END_HEADERS == 0;
        }
    }

    /// That was all for now. Of the frame so much is to come, where it is not `ended`.
    pub(crate) fn pause(&mut self, ended: bool, left: usize) {
        if ended && !self.block {
            self.due = None;
        } else if self.due.is_none() {
            let more = if self.kind == DATA { left / SECOND } else { 0 };
            self.due = Some(Instant::now() + self.limit + Duration::from_secs(more as u64));
        }
    }

    /// Whether something was begun and is not whole.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_awaited(&self) -> bool {
        self.due.is_some()
    }

    /// Asked where there is nothing to read.
    pub(crate) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(due) = self.due else { return Poll::Pending };
        ready!(self.alarm.poll(due, cx));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "a frame or a head that was begun did not end in time"))
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::ErrorKind, sync::Arc, time::Duration};

    use tokio::time::{Instant, timeout};

    use crate::{
        ear::Hear,
        http2::{Allowed, Overheard},
    };

    const LIMIT: Duration = Duration::from_millis(300);

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
        [&[0, high, low, kind, flags, 0, 0, 0, 1][..], &vec![7; length]].concat()
    }

    /// Behind the peer's settings.
    fn heard(limit: Duration, bytes: &[u8], piece: usize) -> Overheard {
        let mut heard = Overheard::new(Arc::<Allowed>::default(), limit);
        heard.hear(&frame(4, 0, 0)).unwrap();
        bytes.chunks(piece).for_each(|part| heard.hear(part).unwrap());
        heard
    }

    #[test]
    fn what_is_begun_is_waited_for() {
        let cut = |frame: Vec<u8>| frame[..frame.len() - 1].to_vec();
        let (head, more, last) = (frame(1, 0, 5), frame(9, 0, 5), frame(9, 4, 5));
        for (what, bytes, expected) in [
            ("nothing", vec![], false),
            ("a frame", frame(0, 0, 5), false),
            ("an empty one", frame(0, 0, 0), false),
            ("a byte of one", vec![0], true),
            ("less than its head", frame(6, 0, 8)[..8].to_vec(), true),
            ("its head", frame(6, 0, 8)[..9].to_vec(), true),
            ("all but its last byte", cut(frame(6, 0, 8)), true),
            ("a head", frame(1, 4, 5), false),
            ("a head to be continued", head.clone(), true),
            ("one that is continued", [&head[..], &more].concat(), true),
            ("one that is whole", [&head[..], &more, &last].concat(), false),
            ("all but the last byte of it", cut([&head[..], &more, &last].concat()), true),
            ("one that is whole, and an empty end", [&head[..], &frame(9, 4, 0)].concat(), false),
            ("a promise to be continued", frame(5, 0, 8), true),
            ("a frame behind a whole head", [&head[..], &last, &frame(0, 0, 1)].concat(), false),
        ] {
            for piece in [1, 2, 9, 15, bytes.len().max(1)] {
                assert_eq!(heard(LIMIT, &bytes, piece).whole.is_awaited(), expected, "{what} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn time_counts_from_where_it_was_begun() {
        let due = |heard: &Overheard| heard.whole.due.unwrap();
        let mut within = heard(LIMIT, &frame(1, 0, 5), 14);
        let first = due(&within);
        // Frames of one head have one time, whatever comes.
        within.hear(&frame(9, 0, 5)).unwrap();
        within.hear(&frame(9, 4, 5)[..12]).unwrap();
        assert_eq!(due(&within), first);
        // What follows has one of its own.
        std::thread::sleep(Duration::from_millis(2));
        within.hear(&[7, 7, 0]).unwrap();
        assert!(due(&within) > first);
        // A body's frame has more.
        let begun = Instant::now();
        let body = heard(LIMIT, &frame(0, 0, 4096 + 5)[..14], 14);
        assert!(due(&body) >= begun + LIMIT + Duration::from_secs(4));
    }

    #[tokio::test]
    async fn who_does_not_end_is_late() {
        let body = frame(0, 0, 16 << 10);
        let mut heard = heard(LIMIT, &body[..20], 20);
        assert!(timeout(LIMIT, poll_fn(|cx| heard.poll_late(cx))).await.is_err());
        heard.hear(&body[20..]).unwrap();
        heard.hear(&frame(1, 0, 5)).unwrap();
        // Less time than was left before: not the sixteen seconds of the body.
        let late = timeout(Duration::from_secs(10), poll_fn(|cx| heard.poll_late(cx))).await;
        assert_eq!(late.unwrap().kind(), ErrorKind::TimedOut);
    }
}
