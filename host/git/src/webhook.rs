//! Whether who tells of a push knows the secret: by the signature of GitHub, Gitea or Forgejo, by GitLab's token, or as a
//! bearer. Nothing here says how long the right answer would have been.
//!
//! What is secret is compared by [`hmac::verify`] alone, which is aws-lc-rs's `constant_time::verify_slices_are_equal` over
//! the 32 bytes of two tags: AWS-LC's `CRYPTO_memcmp`, which looks at each byte whatever those before it were. A tag of
//! another length is refused before, and how long a tag is everybody knows.

use aws_lc_rs::hmac;
use http::{HeaderMap, header::AUTHORIZATION};

const SIGNATURES: [(&str, &str); 3] =
    [("x-hub-signature-256", "sha256="), ("x-gitea-signature", ""), ("x-forgejo-signature", "")];
const TOKEN: &str = "x-gitlab-token";

/// Whether a message with this head is one of somebody who claims to know a secret: no other need be read on.
pub fn claims(head: &HeaderMap) -> bool {
    SIGNATURES.iter().any(|(name, _)| head.contains_key(*name))
        || head.contains_key(TOKEN)
        || head.contains_key(AUTHORIZATION)
}

/// Whether a message with this head and this body comes from somebody who knows `secret`.
pub fn knows(secret: &[u8], head: &HeaderMap, body: &[u8]) -> bool {
    if secret.is_empty() {
        return false;
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signed = |name: &str, prefix: &str| {
        let value = head.get(name).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix(prefix));
        value.and_then(unhex).is_some_and(|tag| hmac::verify(&key, body, &tag).is_ok())
    };
    // Compared by what they sign, so that neither their bytes nor their lengths show.
    let expected = hmac::sign(&key, secret);
    let shown = |token: &[u8]| hmac::verify(&key, token, expected.as_ref()).is_ok();
    let bearer = head.get(AUTHORIZATION).map(http::HeaderValue::as_bytes).and_then(bearer);
    SIGNATURES.iter().any(|(name, prefix)| signed(name, prefix))
        || head.get(TOKEN).is_some_and(|token| shown(token.as_bytes()))
        || bearer.is_some_and(shown)
}

/// RFC 6750, section 2.1.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    // Digit by digit: a parser of numbers would take a sign for one.
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GitHub's own example: docs.github.com, validating webhook deliveries.
    const SECRET: &[u8] = b"It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const SIGNATURE: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn what_is_no_hexadecimal_is_no_signature() {
        for (text, bytes) in [
            ("", Some(&b""[..])),
            ("00fF", Some(&[0, 0xff])),
            ("+f", None),
            ("-0", None),
            (" f", None),
            ("f", None),
            ("0x", None),
            ("\u{e9}", None),
        ] {
            assert_eq!(unhex(text).as_deref(), bytes, "{text}");
        }
    }

    #[test]
    fn who_knows_the_secret() {
        let prefixed = format!("sha256={SIGNATURE}");
        let wrong = SIGNATURE.replace('7', "8");
        for (name, value, known) in [
            ("x-hub-signature-256", prefixed.as_str(), true),
            ("x-hub-signature-256", SIGNATURE, false),
            ("x-hub-signature-256", &format!("sha256={wrong}"), false),
            ("x-hub-signature-256", "sha256=", false),
            ("x-hub-signature-256", "sha256=7", false),
            ("x-hub-signature-256", "sha256=zz", false),
            ("x-hub-signature-256", &format!("sha256={}", &SIGNATURE[..62]), false),
            ("x-hub-signature", &prefixed, false),
            ("x-hub-signature-256", &format!("sha256={SIGNATURE}00"), false),
            ("x-hub-signature-256", &format!("sha256=0{}", &SIGNATURE[1..]), false),
            ("x-hub-signature-256", &format!("sha256={}0", &SIGNATURE[..63]), false),
            ("x-gitea-signature", SIGNATURE, true),
            ("x-forgejo-signature", SIGNATURE, true),
            ("x-forgejo-signature", &wrong, false),
            ("x-gitlab-token", "It's a Secret to Everybody", true),
            ("x-gitlab-token", "It's a Secret to Everybod", false),
            ("x-gitlab-token", "", false),
            ("x-gitlab-token", "It's a Secret to Everybody ", false),
            ("x-gitlab-token", "it's a Secret to Everybody", false),
            ("x-gitlab-token", "It's a Secret to EverybodY", false),
            ("authorization", "Bearer It's a Secret to Everybody", true),
            ("authorization", "bearer It's a Secret to Everybody", true),
            ("authorization", "Basic It's a Secret to Everybody", false),
            ("authorization", "Bearer ", false),
            ("authorization", "Bearer It's a Secret to Everybod", false),
            ("authorization", "Bearer It's a Secret to Everybody!", false),
            ("authorization", "Bearer it's a Secret to Everybody", false),
            ("authorization", "Bearer It's a Secret to EverybodY", false),
            ("authorization", "Be", false),
        ] {
            let mut head = HeaderMap::new();
            head.insert(http::HeaderName::from_static(name), value.parse().unwrap());
            assert_eq!(knows(SECRET, &head, BODY), known, "{name}: {value}");
            assert_eq!(claims(&head), name != "x-hub-signature", "{name}");
            assert!(!knows(b"", &head, BODY), "{name}: {value}");
        }
        assert!(!knows(SECRET, &HeaderMap::new(), BODY) && !claims(&HeaderMap::new()));
    }
}
