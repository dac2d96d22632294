//! For how long a server asks to be left alone: `Retry-After` (RFC 9110, section 10.2.3).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};

/// It is not believed further: a push should be seen some day.
const LONGEST: Duration = Duration::from_hours(1);

/// Of what it says so much is worth telling, in bytes.
const LONGEST_WORD: usize = 40;

/// Of one that has too much to do, and does not say for how long.
const BUSY: Duration = Duration::from_secs(10);

/// As an answer with this head, which is no good one, has it.
pub(super) fn respite(status: StatusCode, head: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let said = head.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|value| after(value, now));
    let wait = said.or_else(|| (status == StatusCode::TOO_MANY_REQUESTS).then_some(BUSY));
    wait.map(|wait| wait.min(LONGEST))
}

/// What it says itself of that, where it can be read.
pub(super) fn said(head: &HeaderMap, now: SystemTime) -> Option<&str> {
    let value = head.get(RETRY_AFTER)?.to_str().ok()?;
    after(value, now).filter(|_| value.len() <= LONGEST_WORD).map(|_| value)
}

/// Seconds, or a date; one that is over is none at all.
fn after(value: &str, now: SystemTime) -> Option<Duration> {
    if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        return Some(value.parse().map_or(LONGEST, Duration::from_secs));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_when_to_come_back() {
        // RFC 9110, section 10.2.3, has this date.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_699);
        for (status, said, wait) in [
            (429, Some("120"), Some(120)),
            (503, Some("120"), Some(120)),
            (403, Some("60"), Some(60)),
            (503, Some("Fri, 31 Dec 1999 23:59:59 GMT"), Some(100)),
            (503, Some("Fri, 31 Dec 1999 23:00:00 GMT"), Some(0)),
            (503, Some("Sat, 01 Jan 2000 23:59:59 GMT"), Some(3600)),
            (503, Some("86400"), Some(3600)),
            (503, Some("99999999999999999999"), Some(3600)),
            (503, Some("0"), Some(0)),
            (503, Some("soon"), None),
            (503, Some("-5"), None),
            (503, Some(""), None),
            (503, None, None),
            (429, None, Some(10)),
            (429, Some("soon"), Some(10)),
        ] {
            let mut head = HeaderMap::new();
            head.extend(said.map(|said| (RETRY_AFTER, said.parse().unwrap())));
            let found = respite(StatusCode::from_u16(status).unwrap(), &head, now);
            assert_eq!(found, wait.map(Duration::from_secs), "{status} {said:?}");
            let readable = said.filter(|said| said.bytes().any(|byte| byte.is_ascii_digit()) && !said.starts_with('-'));
            assert_eq!(super::said(&head, now), readable, "{said:?}");
        }
    }
}
