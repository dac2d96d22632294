//! What the fuzzers call: what must hold of the rules, whatever is written in them and asked for.

use alloc::string::String;

use crate::fields::Fields;
use crate::rules::headers::Headers;
use crate::rules::pattern::Pattern;
use crate::rules::redirects::{Outcome, Redirects};
use crate::target;
use crate::uri;

/// A target as it comes, on the next line a host, and below it rules, as both files have them.
pub fn rules(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let (target, rest) = text.split_once('\n').unwrap_or((text, ""));
    let (host, rules) = rest.split_once('\n').unwrap_or((rest, ""));
    let mut encoded = String::new();
    uri::push_path(&mut encoded, target);
    assert_eq!(uri::decode(&encoded).as_deref(), Some(target.as_bytes()));
    for line in rules.lines() {
        let Ok(pattern) = Pattern::path(line.trim()) else { continue };
        if let Some(path) = pattern.fixed() {
            assert_eq!(pattern.matches("", &path).map(|captures| captures.len()), Some(0), "{path}");
        }
    }
    let Ok(target) = target::parse(target) else { return };
    let path: &str = &target.path;
    assert!(path.starts_with('/') && !path.contains("//") && !path.contains(['\\', '\0']));
    headers(rules, host, path);
    redirects(rules, path, target.query);
}

fn headers(rules: &str, host: &str, path: &str) {
    let (headers, problems) = Headers::parse(rules);
    // The hundredth says that there are more.
    assert!(problems.len() <= 100 && problems.iter().take(99).all(|problem| problem.line.is_some()));
    let mut fields = Fields::default();
    fields.set("content-type", "text/html");
    fields.set("vary", "accept");
    headers.apply(host, path, &mut fields, None);
    let fields = fields.into_vec();
    for (name, value) in &fields {
        assert!(
            name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':' && !byte.is_ascii_uppercase()),
            "{name}"
        );
        assert!(value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')), "{value:?}");
        let framing = ["content-length", "transfer-encoding", "connection", "content-encoding", "date"];
        assert!(!framing.contains(&name.as_str()), "{name}");
    }
    assert!(fields.iter().any(|(name, value)| name == "vary" && value == b"accept"), "what is the host's own went");
}

fn redirects(rules: &str, path: &str, query: Option<&str>) {
    let (redirects, _) = Redirects::parse(rules);
    if let Some(other) = redirects.fallback(path) {
        assert!(other.starts_with('/'), "{other}");
    }
    match redirects.find(path, query) {
        Some(Outcome::Redirect { status, location }) => {
            assert!(matches!(status, 301 | 302 | 303 | 307 | 308));
            assert!(location.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'), "{location}");
            // Where it leads is written in the file, whoever asks.
            match location.split_once("://") {
                Some(("http" | "https", rest)) => {
                    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
                    assert!(!host.is_empty() && (host.contains('%') || rules.contains(host)), "{location}");
                }
                _ => assert!(location.starts_with('/') && !location.starts_with("//"), "{location}"),
            }
        }
        Some(Outcome::Rewrite(path)) => assert!(path.starts_with('/'), "{path}"),
        None => {}
    }
}

#[cfg(test)]
#[path = "../../../tests/fuzz/replay.rs"]
mod replay;

#[test]
fn what_was_kept() {
    replay::replay("rules", rules);
}
