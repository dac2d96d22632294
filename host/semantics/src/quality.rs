//! Lists of alternatives with quality values, RFC 9110 section 12.4.2: `Accept` and `Accept-Encoding`.

use http::{HeaderMap, HeaderName};

/// A quality in thousandths.
pub type Quality = u16;

/// The alternatives of a field in the order in which they stand, each with its quality. An element whose weight can't be
/// read is left out.
pub fn alternatives<'a>(fields: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = (&'a str, Quality)> {
    fields.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).filter_map(
        |element| {
            let mut parts = element.split(';').map(str::trim);
            let alternative = parts.next().filter(|alternative| !alternative.is_empty())?;
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            Some((alternative, weight.map_or(Some(1000), thousandths)?))
        },
    )
}

/// `0`, `1`, and up to three digits behind the point.
fn thousandths(weight: &str) -> Option<Quality> {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    if !matches!(whole, "0" | "1") || fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction = format!("{fraction:0<3}").parse::<Quality>().ok()?;
    let quality = if whole == "1" { 1000 + fraction } else { fraction };
    (quality <= 1000).then_some(quality)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header::ACCEPT};

    use super::alternatives;

    #[test]
    fn lists_with_weights() {
        for (value, expected) in [
            ("", &[][..]),
            ("gzip", &[("gzip", 1000)]),
            ("gzip;q=0.5, br ; q=1.000 ,*;q=0", &[("gzip", 500), ("br", 1000), ("*", 0)]),
            ("text/html;level=1;q=0.25", &[("text/html", 250)]),
            ("a;q=1.001, b;q=2, c;q=, d;q=0.1234, e;q=-1, f;q=.5, g", &[("g", 1000)]),
            ("a;Q=0.1,, ,b", &[("a", 100), ("b", 1000)]),
            ("a;q=1.", &[("a", 1000)]),
        ] {
            let fields = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(value))]);
            assert_eq!(alternatives(&fields, &ACCEPT).collect::<Vec<_>>(), expected, "{value}");
        }
    }
}
