//! What hyper does not tell of an HTTP/1.1 head: whether it named a length beside a transfer coding, of which it drops one
//! without a word (RFC 9112, section 6.1: it ought to be handled as an error). To know where a head begins, it follows the
//! messages by their framing, and by nothing else; where it can't, or a head named both, it vouches for nothing any more.

const LENGTH: &[u8] = b"content-length";
const CODING: &[u8] = b"transfer-encoding";

#[derive(Default)]
pub struct Heads {
    state: State,
    /// Whether the request's own line has begun: empty ones may stand before it.
    begun: bool,
    /// Of a field's name, in lower case, what is there.
    name: [u8; CODING.len()],
    filled: usize,
    length: Length,
    /// Whether it named a transfer coding: its body comes in chunks, or it is refused.
    coded: bool,
    /// Whether the last message had a body.
    bodied: bool,
}

/// What came with some bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Heads that have ended, each of which named a transfer coding and no length.
    pub vouched: u32,
    /// A head has begun.
    pub begun: bool,
    /// A head has begun and not ended, or nobody knows.
    pub open: bool,
    /// So many of the bytes are to be read, and no more ever.
    pub refused: Option<usize>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// At the beginning of a line of a head.
    #[default]
    Start,
    /// Within a field's name.
    Name,
    /// Within a length.
    Value,
    /// Within a line of which nothing is wanted.
    Line,
    /// Before so many bytes of a body.
    Body(u64),
    /// Within a chunk's size, and whether it has a digit.
    Size(u64, bool),
    /// Behind it, in the same line.
    Extension(u64),
    /// Before so many bytes of a chunk.
    Chunk(u64),
    /// Behind them.
    ChunkEnd,
    /// At the beginning of a line of trailers, within one, and behind a carriage return in it or in their place.
    Trailer,
    TrailerLine,
    TrailerEnd {
        last: bool,
    },
    /// A lone line feed ended a line behind the last chunk, which hyper takes for a part of it: the next request would be
    /// lost in there, or found in two places (RFC 9112, section 7.1).
    Refused,
    /// It is not what it should be: hyper refuses it, or sees an end that is not seen here.
    Lost,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Length {
    #[default]
    None,
    /// So far, and whether it has a digit.
    Said(u64, bool),
    /// More than one, or none that is a number.
    Wrong,
}

impl Heads {
    /// Bytes that come after those before.
    pub fn received(&mut self, mut bytes: &[u8]) -> News {
        let (mut news, all) = (News::default(), bytes.len());
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.state {
                State::Start => match byte {
                    b'\r' => bytes = rest,
                    b'\n' if self.begun => {
                        bytes = rest;
                        news.vouched += u32::from(self.coded && self.length == Length::None);
                        self.state = self.body();
                    }
                    b'\n' => bytes = rest,
                    _ if self.begun => (self.state, self.filled) = (State::Name, 0),
                    _ => {
                        (self.state, self.begun, news.begun) = (State::Line, true, true);
                        self.bodied = false;
                    }
                },
                State::Name => {
                    bytes = rest;
                    self.state = match byte {
                        b':' => self.named(),
                        b'\n' => State::Start,
                        _ if self.filled < self.name.len() => {
                            self.name[self.filled] = byte.to_ascii_lowercase();
                            self.filled += 1;
                            State::Name
                        }
                        _ => State::Line,
                    };
                }
                State::Value => {
                    bytes = rest;
                    self.state = self.value(byte);
                }
                State::Line | State::Extension(_) => {
                    let Some(end) = memchr::memchr(b'\n', bytes) else { break };
                    bytes = &bytes[end + 1..];
                    self.state = if let State::Extension(size) = self.state { chunk(size) } else { State::Start };
                }
                State::Body(left) | State::Chunk(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[taken..];
                    let left = left - taken as u64;
                    self.state = match self.state {
                        State::Body(_) if left == 0 => self.next(),
                        State::Body(_) => State::Body(left),
                        _ if left == 0 => State::ChunkEnd,
                        _ => State::Chunk(left),
                    };
                }
                State::Size(size, some) => {
                    bytes = rest;
                    self.state = match (byte, char::from(byte).to_digit(16)) {
                        (_, Some(digit)) if size < 1 << 60 => State::Size(size * 16 + u64::from(digit), true),
                        (b';' | b' ' | b'\t' | b'\r', _) if some => State::Extension(size),
                        (b'\n', _) if some => chunk(size),
                        _ => State::Lost,
                    };
                }
                State::ChunkEnd => {
                    bytes = rest;
                    self.state = match byte {
                        b'\r' => State::ChunkEnd,
                        b'\n' => State::Size(0, false),
                        _ => State::Lost,
                    };
                }
                State::Trailer | State::TrailerLine => {
                    let at = memchr::memchr2(b'\r', b'\n', bytes);
                    let last = self.state == State::Trailer && at == Some(0);
                    self.state = match at.map(|at| bytes[at]) {
                        None => State::TrailerLine,
                        Some(b'\r') => State::TrailerEnd { last },
                        Some(_) => State::Refused,
                    };
                    bytes = &bytes[at.map_or(bytes.len(), |at| at + usize::from(bytes[at] == b'\r'))..];
                }
                State::TrailerEnd { last } => {
                    bytes = rest;
                    self.state = match byte {
                        b'\n' if last => self.next(),
                        b'\n' => State::Trailer,
                        _ => State::Lost,
                    };
                }
                State::Refused => {
                    news.refused = Some(all - bytes.len());
                    break;
                }
                State::Lost => break,
            }
        }
        let head = matches!(self.state, State::Start | State::Name | State::Value | State::Line);
        news.open = head && self.begun || self.state == State::Lost;
        news
    }

    /// Whether nothing more is to be read.
    pub fn refuse(&self) -> bool {
        self.state == State::Refused
    }

    /// Whether nothing has come since the end of a message, and that had no body: HTTP may hold one that nobody has read.
    pub fn between(&self) -> bool {
        self.state == State::Start && !self.begun && !self.bodied
    }

    /// Behind a field's name.
    fn named(&mut self) -> State {
        let name = &self.name[..self.filled];
        self.coded |= name == CODING;
        if name != LENGTH {
            return State::Line;
        }
        if self.length == Length::None {
            self.length = Length::Said(0, false);
            return State::Value;
        }
        // Of two, hyper takes one, and which is not ours to know.
        self.length = Length::Wrong;
        State::Line
    }

    fn value(&mut self, byte: u8) -> State {
        let Length::Said(number, some) = self.length else { return State::Line };
        match byte {
            b'0'..=b'9' => {
                let next = number.checked_mul(10).and_then(|next| next.checked_add(u64::from(byte - b'0')));
                self.length = next.map_or(Length::Wrong, |next| Length::Said(next, true));
                State::Value
            }
            b' ' | b'\t' | b'\r' => State::Value,
            b'\n' => {
                if !some {
                    self.length = Length::Wrong;
                }
                State::Start
            }
            _ => {
                self.length = Length::Wrong;
                State::Line
            }
        }
    }

    /// Behind a head.
    fn body(&mut self) -> State {
        match self.length {
            Length::None if self.coded => State::Size(0, false),
            Length::None => self.next(),
            _ if self.coded => State::Lost,
            Length::Said(0, true) => self.next(),
            Length::Said(length, true) => State::Body(length),
            Length::Said(_, false) | Length::Wrong => State::Lost,
        }
    }

    /// Behind a message.
    fn next(&mut self) -> State {
        let bodied = self.coded || matches!(self.length, Length::Said(1.., _));
        *self = Self { bodied, ..Self::default() };
        self.state
    }
}

/// Behind the line of a chunk's size: the last one has none.
fn chunk(size: u64) -> State {
    if size == 0 { State::Trailer } else { State::Chunk(size) }
}

#[cfg(test)]
mod tests {
    use super::{Heads, News};

    const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    const CHUNKED: &str = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";

    fn post(length: &str) -> String {
        format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length{length}\r\n\r\n")
    }

    #[test]
    fn a_length_is_seen_however_it_is_cut_and_written() {
        const CODED: &str = "Transfer-Encoding: chunked";
        for (head, vouched) in [
            (GET.to_owned(), 0),
            (CHUNKED.to_owned(), 1),
            (format!("GET / HTTP/1.1\nhost: a\n{CODED}\n\n"), 1),
            (format!("\r\n\nGET / HTTP/1.1\r\n{CODED}\r\ncontent-length: 1\r\n\r\n"), 0),
            (format!("GET / HTTP/1.1\nc\ncontent-length: 1\n{CODED}\n\n"), 0),
            (format!("GET / HTTP/1.1\r\ncontent-length: 1\r\n{CODED}\r\n\r\n"), 0),
            (format!("GET / HTTP/1.1\nContent-LENGTH:1\n{CODED}\n\n"), 0),
            (format!("GET / HTTP/1.1\r\nx: content-length: 1\r\n{CODED}\r\n\r\n"), 1),
            (format!("GET / HTTP/1.1\r\ncontent-type: 1\r\n{CODED}\r\n\r\n"), 1),
            (format!("GET / HTTP/1.1\r\ncontent-len\r\n{CODED}\r\n\r\n"), 1),
            (format!("GET / HTTP/1.1\r\na-field-with-a-very-long-name: 1\r\n{CODED}\r\n\r\n"), 1),
            (format!("GET / HTTP/1.1\r\n{CODED}\r\n"), 0),
        ] {
            for piece in [1, 2, 5, head.len()] {
                let mut heads = Heads::default();
                let parts = head.as_bytes().chunks(piece);
                assert_eq!(parts.map(|part| heads.received(part).vouched).sum::<u32>(), vouched, "{head:?} by {piece}");
            }
        }
    }

    /// A message, in one read and byte by byte; whether the head of the next is vouched for where it comes by itself, and
    /// where it was begun in the same read.
    #[test]
    fn a_head_is_vouched_for_where_the_message_before_was_seen_to_end() {
        for (message, seen) in [
            (String::new(), true),
            (GET.to_owned(), true),
            (format!("{GET}{GET}"), true),
            (format!("{}12345", post(": 5")), true),
            (format!("{}12345", post(":\t5 ")), true),
            (post(": 0"), true),
            (format!("{}1\r\n\r\n4\r\n\r\n", post(": 10")), true),
            (post(": 18446744073709551616"), false),
            (format!("{}12345", post(": 5\r\ncontent-length: 5")), false),
            (format!("{}12345", post(": five")), false),
            (post(":"), false),
            // A body that is still to come.
            (format!("{}1234", post(": 500")), false),
            (format!("{CHUNKED}5\r\nGET /\r\n0\r\n\r\n"), true),
            (format!("{CHUNKED}A;x=y\r\n\r\n0\r\n\r\n...\r\n0\r\ntrailer: 1\r\n\r\n"), true),
            (format!("{CHUNKED}00\n\n"), false),
            (format!("{CHUNKED}0\r\nx: y\r\nz: \r\n\r\n"), true),
            (format!("{CHUNKED}0\r\nx: y\rz\r\n\r\n"), false),
            (format!("{CHUNKED}5\r\n12345\r\n"), false),
            (format!("{CHUNKED}5\r\n123456\r\n0\r\n\r\n"), false),
            (format!("{CHUNKED}\r\n0\r\n\r\n"), false),
            (format!("{CHUNKED}g\r\n0\r\n\r\n"), false),
            (format!("{CHUNKED}ffffffffffffffffffff\r\n0\r\n\r\n"), false),
            // What looks like an end within a chunk is none.
            (format!("{CHUNKED}80\r\n\r\n\r\n"), false),
        ] {
            for piece in [1, message.len().max(1)] {
                let mut heads = Heads::default();
                for part in message.as_bytes().chunks(piece) {
                    heads.received(part);
                }
                let news = heads.received(CHUNKED.as_bytes());
                assert_eq!(news.vouched, u32::from(seen), "{message:?} by {piece}");
            }
            let mut heads = Heads::default();
            let (begun, rest) = CHUNKED.split_at(20);
            heads.received(format!("{message}{begun}").as_bytes());
            assert_eq!(heads.received(rest.as_bytes()).vouched, u32::from(seen), "{message:?} and a beginning");
        }
    }

    #[test]
    fn nothing_is_read_beyond_a_lone_line_feed_behind_the_last_chunk() {
        for (end, kept) in [("0\r\n\n", 3), ("0\r\nx: y\n\r\n", 7), ("0\r\nx: y\r\n\n", 9), ("0\n\n", 2)] {
            let body = format!("{GET}{CHUNKED}1\r\nx\r\n");
            let all = format!("{body}{end}{GET}");
            let mut heads = Heads::default();
            assert_eq!(heads.received(all.as_bytes()).refused, Some(body.len() + kept), "{end:?}");
            assert_eq!(heads.received(b"x").refused, Some(0));
            let mut heads = Heads::default();
            let read = all.bytes().take_while(|byte| heads.received(&[*byte]).refused.is_none()).count();
            assert_eq!(read, body.len() + kept, "{end:?}");
        }
    }

    #[test]
    fn each_head_of_one_breath_is_vouched_for_up_to_one_that_names_both() {
        let mut heads = Heads::default();
        let whole = format!("{CHUNKED}0\r\n\r\n");
        let many = format!("{whole}{GET}{}{whole}{GET}", post(": 0"));
        assert_eq!(heads.received(many.as_bytes()), News { vouched: 2, begun: true, ..News::default() });
        assert_eq!(heads.received(whole.as_bytes()), News { vouched: 1, begun: true, ..News::default() });
        assert_eq!(heads.received(b"GET"), News { begun: true, open: true, ..News::default() });
        assert_eq!(heads.received(&GET.as_bytes()[3..]), News::default());
        assert_eq!(heads.received(b"\r\n"), News::default());
        let both = "POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(heads.received(format!("{whole}{both}{whole}").as_bytes()).vouched, 1);
        assert_eq!(heads.received(whole.as_bytes()).vouched, 0);
    }
}
