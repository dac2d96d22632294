//! Spellings of `.gitattributes`: as HFS+ reads them, and NTFS, with its short names and what it cuts off. What
//! `gix-validate` knows of `.gitmodules`, and as Git has it.

const NAME: &str = ".gitattributes";

/// The first six letters of it, and of the name that NTFS makes of a hash where the first four of those are taken.
const SHORT: &[u8] = b"gitatt";
const HASHED: &[u8] = b"gi7d29";

/// How long a short name is.
const EIGHT: usize = 8;

pub(crate) fn is_spelled(name: &[u8]) -> bool {
    let (long, short) = (begins(name, NAME.as_bytes()), begins(name, SHORT));
    let ntfs = match name.get(SHORT.len()..EIGHT) {
        _ if long => is_end(&name[NAME.len()..]),
        Some([b'~', b'1'..=b'4']) if short => is_end(&name[EIGHT..]),
        _ => is_hashed(name),
    };
    ntfs || str::from_utf8(name).is_ok_and(|name| {
        let seen: String = name.chars().filter(|letter| !is_ignored(*letter)).collect();
        seen.eq_ignore_ascii_case(NAME)
    })
}

/// `gi7d29~1`, of which as much is left out as a longer number takes.
fn is_hashed(name: &[u8]) -> bool {
    let Some((eight, rest)) = name.split_at_checked(EIGHT) else { return false };
    let Some(tilde) = eight.iter().position(|byte| *byte == b'~') else { return false };
    let number = &eight[tilde + 1..];
    tilde <= HASHED.len()
        && eight[..tilde].eq_ignore_ascii_case(&HASHED[..tilde])
        && number.first().is_some_and(|digit| *digit != b'0')
        && number.iter().all(u8::is_ascii_digit)
        && is_end(rest)
}

fn begins(name: &[u8], with: &[u8]) -> bool {
    name.get(..with.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(with))
}

/// Dots and spaces at the end are none to NTFS, nor is a stream's name.
fn is_end(rest: &[u8]) -> bool {
    rest.iter().find(|byte| !matches!(byte, b' ' | b'.')).is_none_or(|byte| *byte == b':')
}

/// HFS+ compares names without them.
fn is_ignored(letter: char) -> bool {
    matches!(letter, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for name in [
            ".gitattributes",
            ".GITattributes",
            ".gitattributes. .",
            ".gitattributes::$DATA",
            ".git\u{200c}attributes\u{feff}",
            "gitatt~1",
            "GITATT~4 .:x",
            "gi7d29~9",
            "gi7d2~12",
            "~1234567",
        ] {
            assert!(is_spelled(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            "gitattributes",
            ".gitattribute",
            ".gitattributes.x",
            "gitatt~5",
            "gitatt~1x",
            "gi7d29~0",
            "gi7d29~",
            "gi7d2~1",
            "gi7eba~1",
            "gi7d29~1x",
            "~12345678",
        ] {
            assert!(!is_spelled(name.as_bytes()), "{name}");
        }
        assert!(!is_spelled(b".gitattributes\xff"));
    }
}
