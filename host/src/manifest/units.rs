//! Sizes and durations as an operator writes them: one number, one unit, nothing guessed.

use std::time::Duration;

use crate::text::quoted;

const SIZES: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
const DURATIONS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// What people write, and what they mean by it.
const OTHER_SIZES: [(&str, &str); 8] = [
    ("kb", "KiB"),
    ("mb", "MiB"),
    ("gb", "GiB"),
    ("k", "KiB"),
    ("m", "MiB"),
    ("g", "GiB"),
    ("mib", "MiB"),
    ("gib", "GiB"),
];
const OTHER_DURATIONS: [(&str, &str); 9] = [
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minutes", "m"),
    ("hours", "h"),
    ("msec", "ms"),
];

/// `64MiB`, in bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    quantity(text, "size", &SIZES, &OTHER_SIZES, "MiB")
}

/// `5s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    quantity(text, "duration", &DURATIONS, &OTHER_DURATIONS, "s").map(Duration::from_millis)
}

/// As it would be written.
pub(super) fn write_size(bytes: u64) -> String {
    write(bytes, &SIZES, "B")
}

/// As it would be written.
pub(super) fn write_duration(duration: Duration) -> String {
    write(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &DURATIONS, "ms")
}

fn quantity(
    text: &str,
    what: &str,
    units: &[(&str, u64)],
    others: &[(&str, &str)],
    usual: &str,
) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let names = units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if digits.is_empty() {
        return Err(format!("{} is not a {what}: a whole number and its unit ({names})", quoted(text)));
    }
    if unit.is_empty() {
        return Err(format!("{} has no unit: write \"{digits}{usual}\" (or another of {names})", quoted(text)));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let meant = unit.trim().to_lowercase();
        let meant = others.iter().find(|(name, _)| *name == meant).map(|(_, unit)| *unit);
        return Err(match meant.or_else(|| units.iter().map(|(name, _)| *name).find(|name| *name == unit.trim())) {
            Some(meant) => format!("{} is not a {what} (units are {names}): write \"{digits}{meant}\"", quoted(text)),
            None => format!("{} has a unit that is none of {names}", quoted(text)),
        });
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .ok_or_else(|| format!("{} is too large a {what}", quoted(text)))
}

fn write(quantity: u64, units: &[(&str, u64)], smallest: &str) -> String {
    let unit = units.iter().rev().find(|(_, factor)| quantity >= *factor && quantity.is_multiple_of(*factor));
    let (name, factor) = unit.copied().unwrap_or((smallest, 1));
    format!("{}{name}", quantity / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("0KiB", 0), ("1KiB", 1024), ("64MiB", 64 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(size(text), Ok(bytes));
        }
        for (text, message) in [
            ("64MB", "`64MB` is not a size (units are KiB, MiB, GiB): write \"64MiB\""),
            ("64 MiB", "`64 MiB` is not a size (units are KiB, MiB, GiB): write \"64MiB\""),
            ("64m", "`64m` is not a size (units are KiB, MiB, GiB): write \"64MiB\""),
            ("64", "`64` has no unit: write \"64MiB\" (or another of KiB, MiB, GiB)"),
            ("64TiB", "`64TiB` has a unit that is none of KiB, MiB, GiB"),
            ("1.5GiB", "`1.5GiB` has a unit that is none of KiB, MiB, GiB"),
            ("-1MiB", "`-1MiB` is not a size: a whole number and its unit (KiB, MiB, GiB)"),
            ("", "`` is not a size: a whole number and its unit (KiB, MiB, GiB)"),
            ("99999999999999999999GiB", "`99999999999999999999GiB` is too large a size"),
            ("18014398509481984KiB", "`18014398509481984KiB` is too large a size"),
        ] {
            assert_eq!(size(text), Err(message.to_owned()));
        }
    }

    #[test]
    fn durations() {
        for (text, milliseconds) in [("5s", 5_000), ("250ms", 250), ("5m", 300_000), ("2h", 7_200_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        for (text, message) in [
            ("60", "`60` has no unit: write \"60s\" (or another of ms, s, m, h)"),
            ("5min", "`5min` is not a duration (units are ms, s, m, h): write \"5m\""),
            ("5 s", "`5 s` is not a duration (units are ms, s, m, h): write \"5s\""),
            ("1d", "`1d` has a unit that is none of ms, s, m, h"),
            ("soon", "`soon` is not a duration: a whole number and its unit (ms, s, m, h)"),
        ] {
            assert_eq!(duration(text), Err(message.to_owned()));
        }
    }

    #[test]
    fn written_as_they_are_read() {
        for text in ["64KiB", "64MiB", "4GiB", "1536MiB"] {
            assert_eq!(write_size(size(text).unwrap()), text);
        }
        for text in ["1ms", "90s", "24h", "1500ms"] {
            assert_eq!(write_duration(duration(text).unwrap()), text);
        }
        assert_eq!(write_size(1), "1B");
        assert_eq!(write_duration(Duration::ZERO), "0ms");
    }
}
