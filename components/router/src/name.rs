//! Route files by name: which ones decide about an authority, and which names a route file may have.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;

use crate::punycode;

/// The file for every name that has none of its own.
pub(crate) const ANY: &str = "_.toml";

/// The files that may decide about `authority`, the nearest first: its own, the wildcard that covers it, and `_`. A
/// wildcard stands for one label, as in certificates (RFC 9525 section 6.3).
pub(crate) fn candidates(authority: &str) -> impl Iterator<Item = String> {
    // What is no host name (an address of IPv6, or a host that let something through) has no file of its own.
    let own = (is_host(authority)).then_some(authority);
    let parent = own.and_then(|name| name.split_once('.')).map(|(_, parent)| parent);
    // Of `a.1` as of an address: no file can have such a name, so it is not asked for.
    let parent = parent.filter(|parent| is_host(parent) && !is_ipv4(parent));
    [own.map(|name| format!("{name}.toml")), parent.map(|parent| format!("*.{parent}.toml")), Some(ANY.to_owned())]
        .into_iter()
        .flatten()
}

/// Whether a file of this name is meant to be a route file, and not what editors and archives leave beside one (`.#a.test.toml`,
/// `._a.test.toml`), or somebody's settings (`.taplo.toml`).
pub(crate) fn is_route_file(file: &str) -> bool {
    stem(file).is_some_and(|stem| match stem.strip_prefix('.') {
        Some(rest) => !rest.starts_with(['_', '#']) && rest.contains('.'),
        None => true,
    })
}

/// Checks the name of a route file: the error says what it must be.
pub(crate) fn check(file: &str) -> Result<(), String> {
    let stem = stem(file).unwrap_or(file);
    let right = match stem {
        "" | "*" | "_" => Some("_".to_owned()),
        _ => match stem.strip_prefix("*.") {
            Some(parent) if is_ipv4(parent) => None,
            Some(parent) => canonical(parent).map(|parent| format!("*.{parent}")),
            None => canonical(stem),
        },
    };
    match right {
        Some(right) if file.strip_suffix(".toml") == Some(&right) => Ok(()),
        Some(right) => Err(format!("not the form that names are matched in: call it `{right}.toml`")),
        None => Err(
            "not a host name: `HOSTNAME.toml`, `*.HOSTNAME.toml` for one label below it, or `_.toml` for any other \
                     name"
                .to_owned(),
        ),
    }
}

fn stem(file: &str) -> Option<&str> {
    let (stem, suffix) = file.split_at_checked(file.len().checked_sub(".toml".len())?)?;
    suffix.eq_ignore_ascii_case(".toml").then_some(stem)
}

/// `name` in lower case, in A-labels and without a trailing dot, if that makes it a host name.
fn canonical(name: &str) -> Option<String> {
    let lower = name.strip_suffix('.').unwrap_or(name).to_lowercase();
    let mut right = String::new();
    for label in lower.split('.') {
        if !right.is_empty() {
            right.push('.');
        }
        if label.is_ascii() {
            right.push_str(label);
        } else {
            right.push_str("xn--");
            right.push_str(&punycode::encode(label)?);
        }
    }
    is_host(&right).then_some(right)
}

/// Letters, digits, hyphens and, since they are met, underscores; lower case, 63 bytes a label, 253 in all.
fn is_host(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
        && name != "_"
}

fn is_ipv4(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_file_comes_first() {
        for (authority, expect) in [
            ("a.example.org", &["a.example.org.toml", "*.example.org.toml", "_.toml"][..]),
            ("b.a.example.org", &["b.a.example.org.toml", "*.a.example.org.toml", "_.toml"]),
            ("localhost", &["localhost.toml", "_.toml"]),
            ("127.0.0.1", &["127.0.0.1.toml", "_.toml"]),
            ("a.1", &["a.1.toml", "_.toml"]),
            ("a._", &["a._.toml", "_.toml"]),
            ("[::1]", &["_.toml"]),
            ("_", &["_.toml"]),
            ("*.example.org", &["_.toml"]),
            ("../x", &["_.toml"]),
            ("a/b.example.org", &["_.toml"]),
            ("", &["_.toml"]),
        ] {
            assert_eq!(candidates(authority).collect::<Vec<_>>(), expect, "{authority}");
        }
    }

    #[test]
    fn names_of_route_files_are_checked() {
        let no = "not a host name: `HOSTNAME.toml`, `*.HOSTNAME.toml` for one label below it, or `_.toml` for any other name";
        let call = |name: &str| format!("not the form that names are matched in: call it `{name}.toml`");
        for (file, expect) in [
            ("example.org.toml", Ok(())),
            ("*.example.org.toml", Ok(())),
            ("_.toml", Ok(())),
            ("localhost.toml", Ok(())),
            ("my_app.local.toml", Ok(())),
            ("127.0.0.1.toml", Ok(())),
            ("xn--bcher-kva.example.toml", Ok(())),
            ("Example.ORG.toml", Err(call("example.org"))),
            ("example.org..toml", Err(call("example.org"))),
            ("example.org.TOML", Err(call("example.org"))),
            ("bücher.example.toml", Err(call("xn--bcher-kva.example"))),
            ("*.BÜCHER.example.toml", Err(call("*.xn--bcher-kva.example"))),
            ("*.toml", Err(call("_"))),
            (".toml", Err(call("_"))),
            ("*.0.0.1.toml", Err(no.into())),
            ("a.*.org.toml", Err(no.into())),
            ("*.*.org.toml", Err(no.into())),
            ("a..org.toml", Err(no.into())),
            ("-a.org.toml", Err(no.into())),
            ("a b.org.toml", Err(no.into())),
            ("[::1].toml", Err(no.into())),
        ] {
            assert_eq!(check(file), expect, "{file}");
        }
    }
}
