//! Cookies as HTTP/2 and 3 may cut them up: a field line each, RFC 9113 section 8.2.3. Who reads them by HTTP/1.1, or has no
//! word of HTTP at all, is to find the one line that a client meant.

use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, Entry},
};

/// Makes one line of several.
pub fn join(fields: &mut HeaderMap) {
    let Entry::Occupied(mut lines) = fields.entry(COOKIE) else { return };
    if lines.iter().nth(1).is_none() {
        return;
    }
    let mut whole = Vec::new();
    for line in lines.iter() {
        if !whole.is_empty() {
            whole.extend_from_slice(b"; ");
        }
        whole.extend_from_slice(line.as_bytes());
    }
    lines.insert(HeaderValue::from_bytes(&whole).expect("values that are valid are so with these bytes between them"));
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::join;
    use crate::testing::fields;

    #[test]
    fn they_are_one_line_in_their_order() {
        for (cookies, joined) in [
            (&[][..], &[][..]),
            (&["a=1"], &["a=1"]),
            (&["a=1", "b=2", "c=\"3\""], &["a=1; b=2; c=\"3\""]),
            (&["a=1; b=2", "c"], &["a=1; b=2; c"]),
        ] {
            let mut request = fields(&[("accept", "x"), ("accept", "y")]);
            for cookie in cookies {
                request.append(COOKIE, cookie.parse().unwrap());
            }
            join(&mut request);
            assert_eq!(request.get_all(COOKIE).iter().collect::<Vec<_>>(), joined);
            assert_eq!(request.get_all("accept").iter().collect::<Vec<_>>(), ["x", "y"]);
        }
    }
}
