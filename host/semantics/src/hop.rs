//! Fields that are for one connection alone, RFC 9110 section 7.6.1: they end here, in both directions.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
        COOKIE, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
        UPGRADE, VARY,
    },
};

use crate::forwarded::is_claim;

/// What counts in a head alone.
const EARLY: [HeaderName; 12] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    EXPECT,
    HOST,
    SET_COOKIE,
    TRAILER,
    VARY,
];

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Takes them out of a request, but for the word that its client takes trailers: they are passed on, and so is that.
pub fn strip_request(fields: &mut HeaderMap) {
    let trailers = takes_trailers(fields);
    strip(fields);
    if trailers {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// RFC 9110, section 10.1.4.
fn takes_trailers(fields: &HeaderMap) -> bool {
    let codings = fields.get_all(TE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.into_iter().any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Takes them out, and whatever else `Connection` names.
pub fn strip(fields: &mut HeaderMap) {
    if fields.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = fields
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            // What frames the message, and says whom it is for, is not for a client to take out.
            .filter(|name| *name != CONTENT_LENGTH && *name != HOST)
            .collect();
        for name in named {
            fields.remove(name);
        }
        fields.remove(CONNECTION);
    }
    for name in [
        &KEEP_ALIVE,
        &PROXY_CONNECTION,
        &PROXY_AUTHENTICATE,
        &PROXY_AUTHORIZATION,
        &PROXY_AUTHENTICATION_INFO,
        &TE,
        &TRANSFER_ENCODING,
        &UPGRADE,
        &HTTP2_SETTINGS,
    ] {
        fields.remove(name);
    }
}

/// Takes out of trailers what is of no use there (RFC 9110, section 6.5.1): what ends at a hop, frames the message, says whom it
/// is for, who sends it or what its content is, for that is settled before they come.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    strip(trailers);
    let early: Vec<_> = trailers.keys().filter(|name| EARLY.contains(name) || is_claim(name)).cloned().collect();
    for name in early {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::{strip, strip_request, strip_trailers};
    use crate::testing::fields;

    #[test]
    fn who_takes_trailers_says_so() {
        for (values, takes) in [
            (&[][..], false),
            (&["trailers"], true),
            (&["gzip;q=0.5, Trailers"], true),
            (&["gzip", " trailers\t"], true),
            (&["trailers;q=0"], false),
            (&["gzip, deflate", ""], false),
            (&["xtrailers"], false),
        ] {
            let said: Vec<_> = values.iter().map(|value| ("te", *value)).collect();
            let mut message = fields(&[&said, &[("connection", "te, x-a"), ("x-a", "1")][..]].concat());
            strip_request(&mut message);
            assert_eq!(message, if takes { fields(&[("te", "trailers")]) } else { fields(&[]) }, "{values:?}");
        }
    }

    #[test]
    fn trailers_say_what_was_not_known_before() {
        let mut trailers = fields(&[
            ("x-sum", "1"),
            ("server-timing", "a;dur=1"),
            ("connection", "x-one"),
            ("x-one", "2"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("host", "evil.test"),
            ("authorization", "Basic eA=="),
            ("cookie", "a=b"),
            ("set-cookie", "a=b"),
            ("content-type", "text/html"),
            ("content-encoding", "gzip"),
            ("trailer", "x-sum"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x_real_ip", "192.0.2.1"),
            ("grpc-status", "0"),
        ]);
        strip_trailers(&mut trailers);
        assert_eq!(trailers, fields(&[("x-sum", "1"), ("server-timing", "a;dur=1"), ("grpc-status", "0")]));
    }

    #[test]
    fn what_is_for_one_connection_ends_here() {
        let mut message = fields(&[
            ("connection", "close, X-Secret ,x-other,content-length,host,, a b"),
            ("connection", "x-third"),
            ("host", "a.test"),
            ("content-length", "3"),
            ("x-secret", "1"),
            ("x-other", "2"),
            ("x-third", "3"),
            ("x-kept", "4"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authorization", "Basic eA=="),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        ]);
        strip(&mut message);
        assert_eq!(
            message,
            fields(&[("host", "a.test"), ("content-length", "3"), ("x-kept", "4"), ("trailer", "x-sum")])
        );
    }
}
