//! What hyper does not tell of an HTTP/1.1 head: whether it named a length beside a transfer coding, of which it drops one
//! without a word (RFC 9112, section 6.1: it ought to be handled as an error). Looks at the beginnings of lines alone, and
//! vouches for a head only where it saw the end of the message before.

const NAME: &[u8] = b"content-length";

pub(super) struct Heads {
    state: State,
    /// Whether a line of this head begins with the field's name.
    length: bool,
    /// Of a line that has begun, how much of the name it is.
    matched: usize,
    /// Whether the request's own line has begun: empty ones may stand before it.
    begun: bool,
    /// Bytes that come behind the head, where it named one length.
    body: Option<u64>,
    /// Whether a message ended, or may have, with the last byte that came.
    rest: bool,
    /// The last three bytes that came.
    tail: [u8; 3],
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Nothing is known of what comes.
    #[default]
    Lost,
    /// At the beginning of a line.
    Start,
    /// Behind the field's name, and what is known of its value by then.
    Value(Value),
    /// Within a line that is none of ours, or no longer.
    Line,
    /// The whole head went by.
    Whole,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    /// Before its first digit.
    Ahead,
    Number(u64),
}

impl Default for Heads {
    fn default() -> Self {
        Self {
            state: State::Lost,
            length: false,
            matched: 0,
            begun: false,
            body: None,
            // A connection begins with a head.
            rest: true,
            tail: [0; 3],
        }
    }
}

impl Heads {
    /// Whether the next byte may begin a head: what came last ended as a message ends.
    pub(super) fn rest(&self) -> bool {
        self.rest
    }

    /// A head begins with the next byte.
    pub(super) fn begin(&mut self) {
        *self = Self { state: State::Start, tail: self.tail, ..Self::default() };
    }

    /// Bytes that come after those before. Says whether a head ends with them of which is known that it named no length.
    pub(super) fn received(&mut self, bytes: &[u8]) -> bool {
        let (vouched, behind) = self.look(bytes);
        // Behind a head that named a length, as many bytes; else an empty line, of a head or of the last chunk.
        self.body = self.body.and_then(|left| left.checked_sub(behind as u64));
        for byte in &bytes[bytes.len().saturating_sub(3)..] {
            self.tail = [self.tail[1], self.tail[2], *byte];
        }
        let empty = self.tail[1..] == *b"\n\n" || self.tail == *b"\n\r\n";
        self.rest = if self.state == State::Whole { self.body.map_or(empty, |left| left == 0) } else { empty };
        vouched
    }

    /// The same, and how many of the bytes are behind the head.
    fn look(&mut self, mut bytes: &[u8]) -> (bool, usize) {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.state {
                State::Lost | State::Whole => return (false, bytes.len()),
                State::Start if self.matched == 0 && byte == b'\n' => {
                    bytes = rest;
                    if self.begun {
                        self.state = State::Whole;
                        return (!self.length, bytes.len());
                    }
                }
                State::Start if self.matched == 0 && byte == b'\r' => bytes = rest,
                State::Start if byte.to_ascii_lowercase() == NAME[self.matched] => {
                    bytes = rest;
                    self.matched += 1;
                    if self.matched == NAME.len() {
                        self.begun = true;
                        // Of two, hyper takes one, and which is not ours to know.
                        self.state = if self.length { State::Line } else { State::Value(Value::Ahead) };
                        self.body = None;
                        self.length = true;
                    }
                }
                State::Start => (self.state, self.begun) = (State::Line, true),
                State::Value(value) => {
                    bytes = rest;
                    let known = match value {
                        Value::Ahead => 0,
                        Value::Number(number) => number,
                    };
                    self.state = match (byte, value) {
                        (b'0'..=b'9', _) => {
                            let next = known.checked_mul(10).and_then(|next| next.checked_add(u64::from(byte - b'0')));
                            next.map_or(State::Line, |next| State::Value(Value::Number(next)))
                        }
                        (b':' | b' ' | b'\t', Value::Ahead) | (b' ' | b'\t' | b'\r', Value::Number(_)) => self.state,
                        (b'\n', Value::Number(number)) => {
                            self.body = Some(number);
                            self.matched = 0;
                            State::Start
                        }
                        (b'\n', Value::Ahead) => {
                            self.matched = 0;
                            State::Start
                        }
                        _ => State::Line,
                    };
                }
                State::Line => {
                    let Some(end) = memchr::memchr(b'\n', bytes) else { return (false, 0) };
                    bytes = &bytes[end + 1..];
                    (self.state, self.matched) = (State::Start, 0);
                }
            }
        }
        (false, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::Heads;

    #[test]
    fn a_length_is_seen_however_it_is_cut_and_written() {
        for (head, without) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\nhost: a\n\n", true),
            ("\r\n\nGET / HTTP/1.1\r\ncontent-length: 1\r\n\r\n", false),
            ("GET / HTTP/1.1\nc\ncontent-length: 1\n\n", false),
            ("GET / HTTP/1.1\r\ncontent-length: 1\r\n\r\n", false),
            ("GET / HTTP/1.1\nContent-LENGTH:1\n\n", false),
            ("GET / HTTP/1.1\r\nx: content-length: 1\r\n\r\n", true),
            ("GET / HTTP/1.1\r\ncontent-type: 1\r\n\r\n", true),
            ("GET / HTTP/1.1\r\ncontent-len\r\n\r\n", true),
            // What follows is no head any more.
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n\r\ncontent-length: 1", true),
            ("GET / HTTP/1.1\r\nhost: a\r\n", false),
        ] {
            for piece in [1, 2, 5, head.len()] {
                let mut heads = Heads::default();
                heads.begin();
                let mut parts = head.as_bytes().chunks(piece);
                assert_eq!(parts.any(|part| heads.received(part)), without, "{head:?} in pieces of {piece}");
            }
        }
        let mut heads = Heads::default();
        let head = b"GET / HTTP/1.1\r\n\r\n";
        assert!(!heads.received(head), "where it began is not known");
        heads.begin();
        assert!(heads.received(head));
        assert!(!heads.received(head), "another one, of which nobody said that it begins");
    }

    /// What came, in reads; whether the next one may begin a head.
    #[test]
    fn a_head_begins_where_a_message_has_ended() {
        let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let post = |length: &str| format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length{length}\r\n\r\n");
        let whole = |text: &str| vec![text.to_owned()];
        for (reads, rest) in [
            (vec![], true),
            (whole(get), true),
            (whole("GET / HTTP/1.1\nhost: a\n\n"), true),
            (whole(&get[..get.len() - 1]), false),
            (vec![get[..get.len() - 1].into(), "\n".into()], true),
            (vec![get[..get.len() - 3].into(), "\n".into(), "\r".into(), "\n".into()], true),
            // Another head has begun.
            (vec![format!("{get}POST / HTTP/1.1\r\ncontent-length: 5\r\n")], false),
            (vec![format!("{get}{get}")], true),
            (vec![format!("{}12345", post(": 5"))], true),
            (vec![post(": 5"), "12".into(), "345".into()], true),
            (vec![post(":5 "), "1234".into()], false),
            (vec![post(":\t5"), "12345P".into()], false),
            (vec![post(": 0")], true),
            (vec![post(": 18446744073709551616"), "1".into()], false),
            (vec![post(": 5\r\ncontent-length: 5"), "12345".into()], false),
            (vec![post(": five"), "12345".into()], false),
            // A body of lines is not over with an empty one.
            (vec![post(": 9"), "1\r\n\r\n".into()], false),
            // Chunks, of which the last line is empty.
            (vec!["POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".into(), "1\r\nx\r\n".into()], false),
            (vec!["POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".into(), "0\r\n\r\n".into()], true),
        ] {
            let mut heads = Heads::default();
            let mut busy = false;
            for read in &reads {
                if !std::mem::replace(&mut busy, true) {
                    heads.begin();
                }
                heads.received(read.as_bytes());
            }
            assert_eq!(heads.rest(), rest, "{reads:?}");
        }
    }
}
