//! How hard a seed would be to guess, in bits, by its bytes alone: never more than it is made of, and little for what repeats
//! itself, counts, or is made of a few words. It is told no lists: whether words are a verse or somebody's date of birth it
//! does not know. What it yields must not change with a version of anything: what was taken once is a key.

/// So many bytes count.
const LONGEST: usize = 4_096;

/// Distances over which a seed may count or repeat itself.
const LAGS: std::ops::RangeInclusive<usize> = 1..=32;

/// What one word adds to others, in bits: those that passphrases are made of are picked from some thousands.
const WORD: f64 = 11.0;

/// Bits of `seed` that cannot be guessed: the entropy of its letters, times the runs of three that are not the same; or as
/// many as there are of the differences between bytes, or between the numbers that it writes, so that a pattern counts once
/// however long it is.
pub(super) fn unguessable(seed: &[u8]) -> u32 {
    let bytes: Vec<u64> = seed.iter().map(|byte| u64::from(*byte)).collect();
    let lags = LAGS.map(|lag| runs(&differences(&bytes, lag)) + lag);
    let numbers = numbers(seed);
    // Of a number the runs count as often as it has bytes, with what stands around it.
    let counted = (numbers.len() > 2).then(|| (runs(&differences(&numbers, 1)) + 3) * seed.len() / numbers.len());
    let fewest = lags.chain(counted).fold(runs(&bytes), usize::min).min(LONGEST);
    let bits = entropy(seed) * float(fewest);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most eight times 4,096, and positive"
    )]
    let bits = words(seed).map_or(bits, |words| bits.min(words)) as u32;
    bits
}

/// Bits of a byte, by how often each is there.
fn entropy(seed: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    seed.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let total = float(seed.len());
    let share = |count: &u32| f64::from(*count) / total;
    counts.iter().filter(|count| **count > 0).map(share).map(|share| -share * share.log2()).sum()
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// How many runs of three there are, each counted once.
fn runs(symbols: &[u64]) -> usize {
    let mut runs: Vec<&[u64]> = symbols.windows(3).collect();
    runs.sort_unstable();
    runs.dedup();
    runs.len()
}

fn differences(symbols: &[u64], lag: usize) -> Vec<u64> {
    symbols.iter().zip(symbols.iter().skip(lag)).map(|(before, after)| after.wrapping_sub(*before)).collect()
}

/// The decimal numbers in it, cut off at the top.
fn numbers(seed: &[u8]) -> Vec<u64> {
    let parts = seed.split(|byte| !byte.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let digit = |number: u64, digit: &u8| number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
    parts.map(|digits| digits.iter().fold(0, digit)).collect()
}

/// Bits of a seed that is words and nothing else, each counted once.
fn words(seed: &[u8]) -> Option<f64> {
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || b",.;:-'!?".contains(byte);
    if !seed.iter().all(|byte| byte.is_ascii_alphabetic() || is_between(byte)) {
        return None;
    }
    let mut words: Vec<&[u8]> = seed.split(is_between).filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    words.dedup();
    // What is longer than a word is none.
    let bits = |word: &&[u8]| if word.len() <= 16 { WORD } else { entropy(word) * float(word.len()) };
    Some(words.iter().map(bits).sum())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    const ENOUGH: u32 = 128;

    #[test]
    fn what_counts_repeats_itself_or_is_said() {
        let lines = |from: u32, to: u32| (from..=to).map(|at| at.to_string()).collect::<Vec<_>>().join("\n");
        let phrase = "all work and no play makes jack a dull boy\n";
        for seed in [
            String::new(),
            "password".into(),
            "correct horse battery staple".into(),
            phrase.into(),
            phrase.repeat(50),
            "abcd".repeat(1_000),
            "abcdefghijklmnopqrstuvwxyz".into(),
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".into(),
            ('a'..='z').flat_map(|letter| [letter, letter.to_ascii_uppercase()]).collect(),
            lines(1, 200),
            lines(1, 10_000),
            (1..=300).rev().map(|at| (3 * at).to_string()).collect::<Vec<_>>().join(", "),
            (0..=127).fold(String::new(), |mut all, at| {
                write!(all, "{at:02x}").unwrap();
                all
            }),
            (1..=31).map(|day| format!("2024-01-{day:02}")).collect::<Vec<_>>().join("\n"),
        ] {
            assert!(unguessable(seed.as_bytes()) < ENOUGH, "{} of {seed:?}", unguessable(seed.as_bytes()));
        }
        let counting: Vec<u8> = (0..=255).collect();
        assert!(unguessable(&counting) < ENOUGH);
        assert_eq!(unguessable(&[7; 4_096]), 0);
    }

    #[test]
    fn what_was_drawn_is_taken() {
        const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut random = StdRng::seed_from_u64(1);
        for round in 0..2_000 {
            let drawn: [u8; 32] = random.random();
            let hex = drawn.iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            });
            let base64: Vec<u8> = (0..43).map(|_| BASE64[random.random_range(0..64)]).chain(*b"=\n").collect();
            for seed in [&drawn[..], hex.as_bytes(), &base64] {
                assert!(unguessable(seed) >= ENOUGH, "{round}: {} of {}", unguessable(seed), seed.escape_ascii());
            }
        }
        let words = "legal winner thank year wave sausage worth useful abandon amount liar brave cinnamon fiscal hotel juice \
                     kitchen lemon mango noble orbit piano quantum rabbit\n";
        assert_eq!(unguessable(words.as_bytes()), 24 * 11);
    }
}
