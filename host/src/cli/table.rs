//! Tables and quantities for a person's eye.

use std::fmt::Write as _;

/// Columns as wide as what is in them; nothing trails a line.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut table = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            write!(line, "{cell:<width$}  ").expect("a string takes all");
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// `3d4h`, `5m12s`, `42s`: the two largest units.
pub(super) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, ..) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

/// `12.5MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 3] = ["KiB", "MiB", "GiB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let unit = UNITS.len().min(bytes.ilog2() as usize / 10);
    // In tenths, which a float would round up to 1024.0 of the unit below.
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    format!("{}.{}{}", tenths / 10, tenths % 10, UNITS[unit - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_their_content() {
        let rows = [["NAME", "ROLE", ""], ["bücher", "x", "y"], ["a", "service", ""]];
        let rows = rows.map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "NAME    ROLE\nbücher  x        y\na       service\n");
    }

    #[test]
    fn quantities() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m0s"), (3_725, "1h2m"), (86_400, "1d0h"), (273_600, "3d4h")]
        {
            assert_eq!(duration(seconds), text);
        }
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (1_048_575, "1023.9KiB"),
            (13_107_200, "12.5MiB"),
            (3 << 30, "3.0GiB"),
            (5000 << 30, "5000.0GiB"),
            (u64::MAX, "17179869183.9GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
