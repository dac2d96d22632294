//! Whether a secret looks drawn. A key is as hard to guess as its seed, and what somebody thought of is not: so it is so many
//! bytes or more, as they are, in hexadecimal or in Base64, in which nothing shows that a draw does not have. No list of words
//! is asked, and what is text by its form is none, however long. What was taken once is a key: this must not get stricter.

use std::collections::HashMap;

/// Neighbours on a keyboard: along its rows, and down its columns.
const KEYS: [&[u8]; 14] = [
    b"1234567890",
    b"qwertyuiop",
    b"asdfghjkl",
    b"zxcvbnm",
    b"1qaz",
    b"2wsx",
    b"3edc",
    b"4rfv",
    b"5tgb",
    b"6yhn",
    b"7ujm",
    b"8ik",
    b"9ol",
    b"0p",
];

/// What shows that a secret was not drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Guessable {
    #[error("it is short; {0} bytes are wanted, which are {hex} characters in hexadecimal and {base64} in Base64", hex = 2 * .0, base64 = (4 * .0).div_ceil(3))]
    Short(usize),
    #[error("it is text, and not {0} bytes that were drawn, in hexadecimal, in Base64 or as they are")]
    Text(usize),
    #[error("it has no digit but decimal ones")]
    Decimal,
    #[error("it goes along a keyboard")]
    Keyboard,
    #[error("it counts, or repeats itself")]
    Pattern,
    #[error("some of it is there too often")]
    Uneven,
}

/// Whether these are `least` bytes that were drawn, or more. Of 32 a draw fails once in a hundred thousand times,
/// of 20 once in ten thousand.
///
/// # Errors
/// What shows.
pub fn drawn(secret: &[u8], least: usize) -> Result<(), Guessable> {
    let (short, text) = (Guessable::Short(least), |bytes: &[u8]| text(bytes, least));
    let lines: Vec<u8> = secret.trim_ascii().iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
    if lines.is_empty() {
        return Err(short);
    }
    let base64 = lines.strip_suffix(b"==").or(lines.strip_suffix(b"=")).unwrap_or(&lines);
    if let Some(digits) = values(&lines, hexadecimal) {
        let bytes = packed(&digits, 4, least)?;
        // Of 64 that were drawn all are such ones once in 10^13 times.
        if digits.iter().all(|digit| *digit < 10) {
            return Err(Guessable::Decimal);
        }
        text(&bytes)?;
        patterns(&digits, 16)?;
        looks_drawn(&bytes, least)
    } else if let Some(digits) = values(base64, base64_digit) {
        let bytes = packed(&digits, 6, least)?;
        text(&bytes)?;
        patterns(&digits, 64)?;
        keyboard(base64)?;
        evenly(&digits, 64)?;
        looks_drawn(&bytes, least)
    } else {
        text(secret)?;
        looks_drawn(secret, least)
    }
}

fn looks_drawn(bytes: &[u8], least: usize) -> Result<(), Guessable> {
    if bytes.len() < least {
        return Err(Guessable::Short(least));
    }
    patterns(bytes, 256)?;
    evenly(bytes, 256)
}

/// It is none, in UTF-8 or another encoding.
fn text(bytes: &[u8], least: usize) -> Result<(), Guessable> {
    let printable = bytes.iter().filter(|byte| (0x20..0x7f).contains(*byte)).count();
    if str::from_utf8(bytes).is_ok() || 4 * printable > 3 * bytes.len() {
        return Err(Guessable::Text(least));
    }
    Ok(())
}

/// What the digits of a text stand for; nothing where there is another character, or no digit.
fn values(text: &[u8], value: fn(u8) -> Option<u8>) -> Option<Vec<u8>> {
    let values = text.iter().map(|digit| value(*digit)).collect::<Option<Vec<u8>>>();
    values.filter(|values| !values.is_empty())
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Of either alphabet (RFC 4648, sections 4 and 5).
fn base64_digit(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// The whole bytes of digits of so many bits, if they are at least so many.
fn packed(digits: &[u8], bits: u32, least: usize) -> Result<Vec<u8>, Guessable> {
    let (mut bytes, mut held, mut left) = (Vec::new(), 0_u32, 0);
    for digit in digits {
        held = held << bits | u32::from(*digit);
        left += bits;
        if left >= 8 {
            left -= 8;
            bytes.push(u8::try_from(held >> left & 0xff).expect("eight bits"));
        }
    }
    if bytes.len() < least { Err(Guessable::Short(least)) } else { Ok(bytes) }
}

/// Of 43 characters that were drawn four are beside the one before.
fn keyboard(text: &[u8]) -> Result<(), Guessable> {
    let beside = |pair: &[u8]| {
        let (one, two) = (pair[0].to_ascii_lowercase(), pair[1].to_ascii_lowercase());
        KEYS.iter().any(|keys| keys.windows(2).any(|next| next == [one, two] || next == [two, one]))
    };
    if 3 * text.windows(2).filter(|pair| beside(pair)).count() > text.len() {
        return Err(Guessable::Keyboard);
    }
    Ok(())
}

/// Over no distance is a third of the differences the same, modulo `of`.
fn patterns(symbols: &[u8], of: u16) -> Result<(), Guessable> {
    for distance in 1..=(symbols.len() / 3).min(64) {
        let pairs = symbols.iter().zip(&symbols[distance..]);
        let differences = pairs.map(|(before, after)| (u16::from(*after) + of - u16::from(*before)) % of);
        let counts = counts(differences);
        if counts.values().any(|count| 3 * count > symbols.len() - distance) {
            return Err(Guessable::Pattern);
        }
    }
    Ok(())
}

/// Two places have the same no more often than chance has it, of `of` symbols that are equally frequent: by six standard
/// deviations and three. In a language they do three times as often as chance has it of a Base64's digits.
fn evenly(symbols: &[u8], of: u16) -> Result<(), Guessable> {
    let pairs = |count: usize| float(count) * float(count.saturating_sub(1)) / 2.0;
    let chance = pairs(symbols.len()) / f64::from(of);
    let same: f64 = counts(symbols.iter().copied().map(u16::from)).into_values().map(pairs).sum();
    if same > chance + 6.0 * chance.sqrt() + 3.0 { Err(Guessable::Uneven) } else { Ok(()) }
}

fn counts(symbols: impl Iterator<Item = u16>) -> HashMap<u16, usize> {
    let mut counts = HashMap::new();
    symbols.for_each(|symbol| *counts.entry(symbol).or_default() += 1);
    counts
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::{Guessable::*, *};

    const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        })
    }

    fn base64(bytes: &[u8]) -> Vec<u8> {
        let digits = bytes.chunks(3).flat_map(|three| {
            let bits = three.iter().chain(&[0, 0]).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
            [18, 12, 6, 0].map(|shift| BASE64[bits >> shift & 63]).into_iter().take(three.len() + 1)
        });
        digits.collect()
    }

    #[test]
    fn what_was_thought_of_is_refused() {
        let lines = |from: u32, to: u32| (from..=to).map(|at| at.to_string()).collect::<Vec<_>>().join("\n");
        let verse = "Shall I compare thee to a summer's day? Thou art more lovely and more temperate";
        let utf_16: Vec<u8> = verse.encode_utf16().flat_map(u16::to_le_bytes).chain([0xd8]).collect();
        let cases: Vec<(&[u8], Guessable)> = vec![
            (b"", Short(32)),
            (b" \n", Short(32)),
            (b"password", Short(32)),
            (b"0123456789abcdef0123456789abcdef", Short(32)),
            (b"correct horse battery staple", Text(32)),
            (b"a passphrase of seven words that nobody knows", Text(32)),
            (verse.as_bytes(), Text(32)),
            ("Шёл в комнату, попал в другую, и не сказал никому".as_bytes(), Text(32)),
            // In Latin-1, in UTF-16, in hexadecimal and in Base64.
            (b"Le c\x9cur a ses raisons que la raison ne conna\xeet point", Text(32)),
            (&utf_16, Pattern),
            (hex(verse.as_bytes()).leak().as_bytes(), Text(32)),
            (base64(verse.as_bytes()).leak(), Text(32)),
            // Words that stand together.
            (b"shallicomparetheetoasummersdaythouartmorelovely", Uneven),
            (b"ShallICompareTheeToASummersDayThouArtMoreLovely1609", Uneven),
            (b"MyDogIsCalledRexAndWasBornIn2009InLondonEngland", Uneven),
            (b"PasswordPassword1PasswordPassword2PasswordPassword3", Pattern),
            // Words of BIP 39: drawn, maybe; they look like a verse.
            (
                b"legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal \
                 winner thank year wave sausage worth title",
                Text(32),
            ),
            (b"550e8400-e29b-41d4-a716-446655440000", Short(32)),
            // What counts.
            (lines(1, 200).leak().as_bytes(), Decimal),
            (b"2024-01-01 2024-01-02 2024-01-03 2024-01-04 2024-01-05", Text(32)),
            (b"2024010120240102202401032024010420240105202401062024010720240108", Decimal),
            (b"3141592653589793238462643383279502884197169399375105820974944592", Decimal),
            (b"one two three four five six seven eight nine ten eleven twelve", Text(32)),
            (b"onetwothreefourfivesixseveneightnineteneleventwelve", Uneven),
            (hex(&(0..=255).collect::<Vec<u8>>()).leak().as_bytes(), Pattern),
            (b"0123456789abcdeffedcba98765432100123456789abcdeffedcba9876543210", Pattern),
            ((0..=255).collect::<Vec<u8>>().leak(), Pattern),
            ((0..100).map(|at: u8| at.wrapping_mul(at)).collect::<Vec<u8>>().leak(), Uneven),
            // Alphabets, and keyboards along and down.
            (b"AaBbCcDdEeFfGgHhIiJjKkLlMmNnOoPpQqRrSsTtUuVvWwXxYyZz", Pattern),
            (b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", Pattern),
            (BASE64, Pattern),
            (b"qwertyuiopasdfghjklzxcvbnmQWERTYUIOPASDFGHJKLZXCVBNM", Keyboard),
            (b"1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p1QAZ2WSX3EDC4RFV5TGB", Keyboard),
            (b"qwertyuiop[]asdfghjkl;'zxcvbnm,./1234567890-=QWERTYUIOP", Text(32)),
            // What repeats itself.
            (&[7; 4_096], Text(32)),
            (&[0xf7; 4_096], Pattern),
            (b"wxyzwxyzwxyzwxyzwxyzwxyzwxyzwxyzwxyzwxyzwxyzwxyzwxyz", Pattern),
            (b"deadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeef", Pattern),
            (b"71da85e98b1271da85e98b1271da85e98b1271da85e98b1271da85e98b1271da", Pattern),
        ];
        for (seed, why) in cases {
            assert_eq!(drawn(seed, 32), Err(why), "{}", seed.escape_ascii());
        }
    }

    #[test]
    fn what_was_drawn_is_taken() {
        let mut random = StdRng::seed_from_u64(1);
        for round in 0..5_000 {
            let bytes: [u8; 48] = random.random();
            let some = &bytes[..32];
            let padded = [&base64(some)[..], b"=\n"].concat();
            let lines = [&base64(&bytes)[..40], b"\n", &base64(&bytes)[40..], b"\n"].concat();
            let url: Vec<u8> = base64(some).iter().map(|byte| if *byte == b'/' { b'_' } else { *byte }).collect();
            let upper = hex(some).to_uppercase();
            for seed in [some, &bytes, hex(some).as_bytes(), upper.as_bytes(), &base64(some), &padded, &lines, &url] {
                assert_eq!(drawn(seed, 32), Ok(()), "{round}: {}", seed.escape_ascii());
            }
        }
        // What no form shows: the digest of a password.
        assert_eq!(drawn(b"5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8", 32), Ok(()));
    }

    #[test]
    fn fewer_bytes_are_looked_at_as_closely() {
        let mut random = StdRng::seed_from_u64(2);
        let mut refused = 0;
        for _ in 0..5_000 {
            let some: [u8; 20] = random.random();
            let forms = [&some[..], hex(&some).as_bytes(), &base64(&some)].map(|secret| drawn(secret, 20));
            refused += forms.iter().filter(|form| form.is_err()).count();
        }
        // One in ten thousand may be.
        assert!(refused <= 2, "{refused}");
        for (secret, why) in [
            (&b"71da85e98b12732faf66939f5c9980511f8a194"[..], Short(20)),
            (b"0123456789abcdef0123456789abcdef01234567", Pattern),
            (b"qwertyuiopasdfghjklzxcvbnmq", Keyboard),
            (b"correct horse battery staple", Text(20)),
            (b"2024010120240102202401032024010420240105", Decimal),
        ] {
            assert_eq!(drawn(secret, 20), Err(why), "{}", secret.escape_ascii());
        }
        let short = "it is short; 20 bytes are wanted, which are 40 characters in hexadecimal and 27 in Base64";
        assert_eq!(Short(20).to_string(), short);
    }
}
