//! What hyper does not tell of an HTTP/1.1 head: whether it named a length beside a transfer coding, of which it drops one
//! without a word (RFC 9112, section 6.1: it ought to be handled as an error). Looks at the beginnings of lines alone.

const NAME: &[u8] = b"content-length";

#[derive(Default)]
pub(super) struct Heads {
    state: State,
    /// Whether a line of this head begins with the field's name.
    length: bool,
    /// Of a line that has begun, how much of the name it is.
    matched: usize,
    /// Whether the request's own line has begun: empty ones may stand before it.
    begun: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Nothing is known of what comes.
    #[default]
    Lost,
    /// At the beginning of a line.
    Start,
    /// Within a line that is none of ours, or no longer.
    Line,
    /// The whole head went by.
    Whole,
}

impl Heads {
    /// A head begins with the next byte.
    pub(super) fn begin(&mut self) {
        *self = Self { state: State::Start, length: false, matched: 0, begun: false };
    }

    /// Bytes that come after those before. Says whether a head ends with them of which is known that it named no length.
    pub(super) fn received(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.state {
                State::Lost | State::Whole => return false,
                State::Start if self.matched == 0 && byte == b'\n' => {
                    if self.begun {
                        self.state = State::Whole;
                        return !self.length;
                    }
                    bytes = rest;
                }
                State::Start if self.matched == 0 && byte == b'\r' => bytes = rest,
                State::Start if byte.to_ascii_lowercase() == NAME[self.matched] => {
                    bytes = rest;
                    self.matched += 1;
                    if self.matched == NAME.len() {
                        self.length = true;
                        (self.state, self.begun) = (State::Line, true);
                    }
                }
                State::Start => (self.state, self.begun) = (State::Line, true),
                State::Line => {
                    let Some(end) = memchr::memchr(b'\n', bytes) else { return false };
                    bytes = &bytes[end + 1..];
                    (self.state, self.matched) = (State::Start, 0);
                }
            }
        }
        false
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
}
