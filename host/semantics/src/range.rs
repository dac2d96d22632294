//! Parts of a representation, RFC 9110 section 14: which bytes a `Range` asks for, and the body of several parts.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::RANGE};

/// Ranges that one request may ask for. More of them cost a part's head each, and nobody needs them.
const MOST_RANGES: usize = 16;

/// Consecutive bytes of a representation, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: u64,
    /// Behind the last.
    pub end: u64,
}

/// What a `Range` comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// There is no `Range`, or one that may be ignored: of another unit, malformed, or of parts that overlap or are more
    /// than the whole, as RFC 9110 section 14.2 advises.
    Whole,
    One(Span),
    /// At least two, in the order in which they were asked for.
    Several(Vec<Span>),
    /// 416.
    Unsatisfiable,
}

/// Reads the `Range` of a request for a representation of this length.
pub fn wanted(request: &HeaderMap, length: u64) -> Wanted {
    let mut values = request.get_all(RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Wanted::Whole };
    let Some(set) = value.to_str().ok().and_then(set) else { return Wanted::Whole };
    let mut spans = Vec::new();
    let mut unsatisfiable = false;
    for (count, range) in set.split(',').map(str::trim).filter(|range| !range.is_empty()).enumerate() {
        if count == MOST_RANGES {
            return Wanted::Whole;
        }
        match span(range, length) {
            Some(Ok(span)) => spans.push(span),
            Some(Err(Unsatisfiable)) => unsatisfiable = true,
            None => return Wanted::Whole,
        }
    }
    match spans[..] {
        [] if unsatisfiable => Wanted::Unsatisfiable,
        [] => Wanted::Whole,
        [span] => Wanted::One(span),
        _ if apart(&spans) => Wanted::Several(spans),
        _ => Wanted::Whole,
    }
}

impl Span {
    pub fn length(self) -> u64 {
        self.end - self.first
    }

    /// The value of `Content-Range`.
    pub fn content_range(self, length: u64) -> HeaderValue {
        HeaderValue::try_from(format!("bytes {}-{}/{length}", self.first, self.end - 1)).expect("digits")
    }

    /// These bytes of a whole that is there.
    pub fn of(self, whole: &Bytes) -> Bytes {
        let bound = |at| usize::try_from(at).expect("within the whole");
        whole.slice(bound(self.first)..bound(self.end))
    }
}

/// The value of `Content-Range` in a 416.
pub fn unsatisfied_range(length: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes */{length}")).expect("digits")
}

/// The chunks of a `multipart/byteranges` body, RFC 9110 section 14.6. The boundary must be one that nobody could have put
/// in the whole.
pub fn multipart(whole: &Bytes, spans: &[Span], media: Option<&HeaderValue>, boundary: &str) -> Vec<Bytes> {
    let mut chunks = Vec::with_capacity(spans.len() * 2 + 1);
    for span in spans {
        let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
        if let Some(media) = media {
            head.extend_from_slice(b"content-type: ");
            head.extend_from_slice(media.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"content-range: ");
        head.extend_from_slice(span.content_range(whole.len() as u64).as_bytes());
        head.extend_from_slice(b"\r\n\r\n");
        chunks.extend([Bytes::from(head), span.of(whole)]);
    }
    chunks.push(Bytes::from(format!("\r\n--{boundary}--\r\n")));
    chunks
}

struct Unsatisfiable;

/// The range set behind the unit.
fn set(value: &str) -> Option<&str> {
    let (unit, set) = value.split_once('=')?;
    unit.eq_ignore_ascii_case("bytes").then_some(set)
}

fn span(range: &str, length: u64) -> Option<Result<Span, Unsatisfiable>> {
    let (first, last) = range.split_once('-')?;
    if first.is_empty() {
        let suffix = number(last)?;
        // Nothing of an empty whole can be named in a `Content-Range`, though a suffix of it could be satisfied.
        if length == 0 && suffix > 0 {
            return None;
        }
        let first = length.saturating_sub(suffix);
        return Some(if suffix == 0 { Err(Unsatisfiable) } else { Ok(Span { first, end: length }) });
    }
    let first = number(first)?;
    let end = match last {
        "" => length,
        last => number(last)?.saturating_add(1),
    };
    if !last.is_empty() && end <= first {
        return None;
    }
    Some(if first < length { Ok(Span { first, end: end.min(length) }) } else { Err(Unsatisfiable) })
}

/// Digits; more of them than a number holds are as good as the largest.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

fn apart(spans: &[Span]) -> bool {
    let mut sorted = spans.to_vec();
    sorted.sort_unstable_by_key(|span| span.first);
    sorted.windows(2).all(|pair| pair[0].end <= pair[1].first)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, header::RANGE};

    use super::{Span, Wanted, multipart, unsatisfied_range, wanted};

    fn one(first: u64, end: u64) -> Wanted {
        Wanted::One(Span { first, end })
    }

    fn several(spans: &[(u64, u64)]) -> Wanted {
        Wanted::Several(spans.iter().map(|&(first, end)| Span { first, end }).collect())
    }

    fn asked(range: &str, length: u64) -> Wanted {
        wanted(&HeaderMap::from_iter([(RANGE, HeaderValue::try_from(range).unwrap())]), length)
    }

    #[test]
    fn ranges_of_ten_bytes() {
        use Wanted::{Unsatisfiable, Whole};
        let many = format!("bytes={}", (0..17).map(|at| format!("{at}-{at}")).collect::<Vec<_>>().join(","));
        for (range, expected) in [
            ("bytes=0-0", one(0, 1)),
            ("bytes=0-9", one(0, 10)),
            ("bytes=3-", one(3, 10)),
            ("bytes=-3", one(7, 10)),
            ("bytes=-30", one(0, 10)),
            ("bytes=5-99999999999999999999999", one(5, 10)),
            ("BYTES=0-1", one(0, 2)),
            ("bytes= 0-1 ", one(0, 2)),
            ("bytes=0-1,", one(0, 2)),
            ("bytes=0-1,10-", one(0, 2)),
            ("bytes=0-1,4-5", several(&[(0, 2), (4, 6)])),
            ("bytes=-1, 0-0", several(&[(9, 10), (0, 1)])),
            ("bytes=0-1,2-3", several(&[(0, 2), (2, 4)])),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-20", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=10-,-0", Unsatisfiable),
            ("bytes=0-5,5-9", Whole),
            ("bytes=0-,0-", Whole),
            ("bytes=5-4", Whole),
            ("bytes=0-1,x", Whole),
            ("bytes=a-b", Whole),
            ("bytes=1", Whole),
            ("bytes=-", Whole),
            ("bytes=--1", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=", Whole),
            ("bytes", Whole),
            ("lines=0-1", Whole),
            ("bytes 0-1", Whole),
            (many.as_str(), Whole),
        ] {
            assert_eq!(asked(range, 10), expected, "{range}");
        }
    }

    #[test]
    fn ranges_of_nothing_and_of_the_largest() {
        assert_eq!(asked("bytes=0-", 0), Wanted::Unsatisfiable);
        assert_eq!(asked("bytes=-5", 0), Wanted::Whole);
        assert_eq!(asked("bytes=0-18446744073709551615", u64::MAX), one(0, u64::MAX));
        assert_eq!(asked("bytes=-1", u64::MAX), one(u64::MAX - 1, u64::MAX));
    }

    #[test]
    fn two_range_fields_are_none() {
        let mut fields = HeaderMap::new();
        assert_eq!(wanted(&fields, 10), Wanted::Whole);
        fields.append(RANGE, HeaderValue::from_static("bytes=0-1"));
        fields.append(RANGE, HeaderValue::from_static("bytes=2-3"));
        assert_eq!(wanted(&fields, 10), Wanted::Whole);
    }

    #[test]
    fn what_stands_in_the_head() {
        assert_eq!(Span { first: 2, end: 5 }.content_range(10), "bytes 2-4/10");
        assert_eq!(unsatisfied_range(10), "bytes */10");
    }

    #[test]
    fn several_parts() {
        let whole = Bytes::from_static(b"0123456789");
        let spans = [Span { first: 8, end: 10 }, Span { first: 0, end: 1 }];
        let media = HeaderValue::from_static("text/plain");
        let text = |chunks: Vec<Bytes>| String::from_utf8(chunks.concat()).unwrap();
        assert_eq!(
            text(multipart(&whole, &spans, Some(&media), "B")),
            "\r\n--B\r\ncontent-type: text/plain\r\ncontent-range: bytes 8-9/10\r\n\r\n89\
             \r\n--B\r\ncontent-type: text/plain\r\ncontent-range: bytes 0-0/10\r\n\r\n0\r\n--B--\r\n"
        );
        assert_eq!(
            text(multipart(&whole, &spans[1..], None, "B")),
            "\r\n--B\r\ncontent-range: bytes 0-0/10\r\n\r\n0\r\n--B--\r\n"
        );
    }
}
