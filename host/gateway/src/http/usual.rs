//! Values of fields that most answers have, as constants. What is remembered is copied for each request, and any other value
//! is copied by a count that all threads share.

use http::{HeaderMap, HeaderValue};

const USUAL: [&str; 20] = [
    "accept-encoding",
    "application/json",
    "br",
    "bytes",
    "font/woff2",
    "gzip",
    "image/jpeg",
    "image/png",
    "image/svg+xml",
    "image/webp",
    "no-cache",
    "nosniff",
    "params",
    "public, max-age=0, must-revalidate",
    "public, max-age=31536000, immutable",
    "strict-origin-when-cross-origin",
    "text/css; charset=utf-8",
    "text/html; charset=utf-8",
    "text/javascript; charset=utf-8",
    "text/plain; charset=utf-8",
];

/// Has a head hold constants where it can.
pub(super) fn settle(head: &mut HeaderMap) {
    for value in head.values_mut().filter(|value| !value.is_sensitive()) {
        if let Ok(place) = USUAL.binary_search_by(|usual| usual.as_bytes().cmp(value.as_bytes())) {
            *value = HeaderValue::from_static(USUAL[place]);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE, header::ETAG};

    use super::{USUAL, settle};

    #[test]
    fn a_value_stays_what_it_is() {
        assert!(USUAL.is_sorted());
        for value in USUAL.iter().copied().chain(["", "text/html", "\"a\"", "zzz"]) {
            let mut head = HeaderMap::new();
            head.insert(CONTENT_TYPE, HeaderValue::from_str(value).unwrap());
            head.append(CONTENT_TYPE, HeaderValue::from_static("x"));
            head.insert(ETAG, HeaderValue::from_str(value).unwrap());
            let before = head.clone();
            settle(&mut head);
            assert_eq!(head, before);
        }
    }
}
