//! Dates of HTTP: IMF-fixdate, RFC 9110 section 5.6.7.

use alloc::format;
use alloc::string::String;

/// `seconds` since the Unix epoch, or nothing for what lies beyond the year 9999.
pub(crate) fn http_date(seconds: u64) -> Option<String> {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = usize::try_from(seconds / 86400).ok()?;
    let (year, month, day) = civil(days)?;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    Some(format!("{}, {day:02} {} {year:04} {hour:02}:{minute:02}:{second:02} GMT", DAYS[days % 7], MONTHS[month]))
}

/// The date that lies `days` after 1970-01-01: year, month from 0, day from 1.
fn civil(days: usize) -> Option<(usize, usize, usize)> {
    // Counted in years that begin in March, so that the leap day is the last of one, and in eras of 400.
    let days = days.checked_add(719_468)?;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = year_of_era + era * 400 + usize::from(month >= 10);
    (year <= 9999).then_some((year, (month + 2) % 12, day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http() {
        for (seconds, expect) in [
            (0, Some("Thu, 01 Jan 1970 00:00:00 GMT")),
            (784_111_777, Some("Sun, 06 Nov 1994 08:49:37 GMT")),
            (951_782_400, Some("Tue, 29 Feb 2000 00:00:00 GMT")),
            (1_709_251_199, Some("Thu, 29 Feb 2024 23:59:59 GMT")),
            (1_735_689_599, Some("Tue, 31 Dec 2024 23:59:59 GMT")),
            (4_107_542_400, Some("Mon, 01 Mar 2100 00:00:00 GMT")),
            (253_402_300_799, Some("Fri, 31 Dec 9999 23:59:59 GMT")),
            (253_402_300_800, None),
            (u64::MAX, None),
        ] {
            assert_eq!(http_date(seconds).as_deref(), expect, "{seconds}");
        }
    }
}
