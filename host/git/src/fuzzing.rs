//! What the fuzzers call: for each kind of bytes that a stranger sends us, what must hold whatever they are.

pub(crate) mod readable;
#[cfg(test)]
mod replay;

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::webhook::knows;

pub use crate::{
    objects::fuzzing::{delta, pack, tree},
    smart::fuzzing::smart,
};

/// A secret, on the next lines a head, and behind an empty one a body.
pub fn webhook(bytes: &[u8]) {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let secret = lines.next().unwrap_or_default();
    let mut rest = lines.next().unwrap_or_default();
    let mut head = HeaderMap::new();
    let body = loop {
        let mut lines = rest.splitn(2, |byte| *byte == b'\n');
        let line = lines.next().unwrap_or_default();
        rest = lines.next().unwrap_or_default();
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { break rest };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            head.append(name, value);
        }
    };
    let known = knows(secret, &head, body);
    assert!(!known || !secret.is_empty());
    let says = |name: &'static str, value: &[u8]| {
        let value = HeaderValue::from_bytes(value).ok()?;
        Some(knows(secret, &HeaderMap::from_iter([(HeaderName::from_static(name), value)]), body))
    };
    let bearer = [b"Bearer ", secret].concat();
    let real = !secret.is_empty();
    assert!(
        [says("authorization", &bearer), says("x-gitlab-token", secret)]
            .iter()
            .all(|known| known.is_none_or(|known| known == real || secret.trim_ascii() != secret))
    );
    let mut signature = String::new();
    for byte in hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), body).as_ref() {
        let _ = write!(signature, "{byte:02x}");
    }
    assert_eq!(says("x-gitea-signature", signature.as_bytes()), Some(real));
    assert_eq!(says("x-hub-signature-256", format!("sha256={signature}").as_bytes()), Some(real));
    // Nothing else is it, whatever a parser of numbers would make of it.
    for at in (0..signature.len()).step_by(9) {
        for other in [" ", "+", "-", "g", "x"] {
            let mut wrong = signature.clone();
            wrong.replace_range(at..=at, other);
            assert_ne!(says("x-forgejo-signature", wrong.as_bytes()), Some(true), "{wrong} for {signature}");
        }
    }
}

#[test]
fn what_was_kept() {
    replay::replay("delta", delta);
    replay::replay("pack", pack);
    replay::replay("smart", smart);
    replay::replay("tree", tree);
    replay::replay("webhook", webhook);
}
