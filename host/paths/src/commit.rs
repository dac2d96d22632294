//! What a commit may say of itself, whoever makes it.

/// An author's name or address, and a message, in bytes.
const MAX_AUTHOR: usize = 256;
const MAX_MESSAGE: usize = 64 * 1024;

/// Why a commit may not say it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCommit {
    #[error("an author's {0} has 1 to {MAX_AUTHOR} bytes, and no spaces around them")]
    Length(&'static str),
    #[error("an author's {0} has no control characters, '<' or '>'")]
    Characters(&'static str),
    #[error("a message has no NUL")]
    Nul,
    #[error("a message has at most {MAX_MESSAGE} bytes")]
    Long,
}

/// Refuses what would end an author's line early, or what no commit may have.
///
/// # Errors
/// It may not, for a reason that can be told to anybody.
pub fn check_commit(name: &str, address: &str, message: &str) -> Result<(), BadCommit> {
    for (what, text) in [("name", name), ("address", address)] {
        if text.is_empty() || text.len() > MAX_AUTHOR || text.trim() != text {
            return Err(BadCommit::Length(what));
        }
        if text.contains(|character: char| character.is_control() || matches!(character, '<' | '>')) {
            return Err(BadCommit::Characters(what));
        }
    }
    if message.len() > MAX_MESSAGE {
        return Err(BadCommit::Long);
    }
    if message.contains('\0') { Err(BadCommit::Nul) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_commit_says() {
        use BadCommit::{Characters, Length, Long, Nul};
        let (name, message) = ("n".repeat(256), "m".repeat(64 * 1024));
        for (who, address, words, expected) in [
            ("Ann", "a@b", "m", Ok(())),
            (&*name, &*name, &*message, Ok(())),
            ("Ann <x", "a@b", "m", Err(Characters("name"))),
            ("A\nn", "a@b", "m", Err(Characters("name"))),
            ("", "a@b", "m", Err(Length("name"))),
            ("Ann ", "a@b", "m", Err(Length("name"))),
            (&(name.clone() + "n"), "a@b", "m", Err(Length("name"))),
            ("Ann", "", "m", Err(Length("address"))),
            ("Ann", "a@b>", "m", Err(Characters("address"))),
            ("Ann", "a@b", "a\0b", Err(Nul)),
            ("Ann", "a@b", &(message.clone() + "m"), Err(Long)),
        ] {
            assert_eq!(check_commit(who, address, words), expected, "{who:?} {address:?}");
        }
        assert_eq!(
            [Length("name"), Characters("address"), Nul, Long].map(|fault| fault.to_string()),
            [
                "an author's name has 1 to 256 bytes, and no spaces around them",
                "an author's address has no control characters, '<' or '>'",
                "a message has no NUL",
                "a message has at most 65536 bytes",
            ]
        );
    }
}
