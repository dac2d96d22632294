//! What the tests of this crate share.

use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in pairs {
        fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    fields
}
