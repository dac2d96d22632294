//! A user and a password as HTTP carries them (RFC 7617).

use http::HeaderValue;

/// `Basic` credentials; `user` is `USER:PASSWORD`. No log shows the value.
pub fn basic(user: &[u8]) -> HeaderValue {
    let mut value = HeaderValue::from_str(&format!("Basic {}", base64(user))).expect("base64 is visible");
    value.set_sensitive(true);
    value
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().enumerate().fold(0_u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= group.len() { digit.into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, section 10, and RFC 7617, section 2.
    #[test]
    fn vectors() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ] {
            assert_eq!(basic(bytes.as_bytes()), format!("Basic {text}"));
        }
        assert!(basic(b"x").is_sensitive());
    }
}
