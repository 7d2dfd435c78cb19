//! Times as RFC 3339 shows them, in UTC.

use core::fmt;

use serde::ser::{Serialize, Serializer};

const MS_PER_DAY: u64 = 24 * 60 * 60 * 1_000;

/// Milliseconds since the Unix epoch, shown as `2026-11-22T14:05:09.123Z`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeOut(pub(crate) u64);

impl Serialize for TimeOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for TimeOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0 / MS_PER_DAY, self.0 % MS_PER_DAY);
        let (year, month, day) = civil_from_days(days);
        let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
        let (seconds, ms) = (ms / 1_000 % 60, ms % 1_000);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z"
        )
    }
}

/// Milliseconds since the Unix epoch of an RFC 3339 time from 1970 to 9999, in UTC (`Z`) or with an
/// offset; digits beyond milliseconds are cut. None where the text is no such time.
pub(crate) fn parse_time(text: &str) -> Option<u64> {
    let number = |at: core::ops::Range<usize>| -> Option<u64> {
        let digits = text.get(at)?;
        let all = digits.bytes().all(|byte| byte.is_ascii_digit());
        all.then(|| digits.parse().ok())?
    };
    let is = |at: usize, choices: &[u8]| {
        let byte = text.as_bytes().get(at);
        byte.is_some_and(|byte| choices.contains(byte))
            .then_some(())
    };
    for (at, choices) in [(4, b"-"), (7, b"-"), (13, b":"), (16, b":")] {
        is(at, choices)?;
    }
    is(10, b"Tt ")?;
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hours, minutes, seconds) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let days = days_from_civil(year, month, day)?;
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut ms = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.find(|c: char| !c.is_ascii_digit())?;
        let (digits, after) = fraction.split_at(end);
        ms = format!("{digits:0<3}").get(..3)?.parse::<u64>().ok()?;
        rest = after.get(..).filter(|_| !digits.is_empty())?;
    }
    let local_ms = days * MS_PER_DAY + hours * 3_600_000 + minutes * 60_000 + seconds * 1_000 + ms;
    if rest.eq_ignore_ascii_case("z") {
        return Some(local_ms);
    }
    let east = match rest.get(..1)? {
        "+" => true,
        "-" => false,
        _ => return None,
    };
    let (hours, minutes) = rest.get(1..)?.split_once(':')?;
    let part = |text: &str, max: u64| -> Option<u64> {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = digits.then(|| text.parse().ok())??;
        (value <= max).then_some(value)
    };
    let offset_ms = part(hours, 23)? * 3_600_000 + part(minutes, 59)? * 60_000;
    if east {
        local_ms.checked_sub(offset_ms)
    } else {
        local_ms.checked_add(offset_ms)
    }
}

/// Days since the epoch of a day from 1970 on; none where the calendar has no such day.
///
/// The way back of [`civil_from_days`], tried out: a day of the calendar is the one that is shown
/// so.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    // Never too late: a year has at least 365 days, a month at least 28.
    let first = year.checked_sub(1970)? * 365 + month.checked_sub(1)? * 28;
    // Leap days of 8,000 years, and the days by which months are longer.
    (first..first + 2_100).find(|days| civil_from_days(*days) == (year, month, day))
}

/// Year, month and day of a day since the epoch, in the proleptic Gregorian calendar.
///
/// Counts in eras of 400 years that begin on 1 March, so that leap days come last (H. Hinnant,
/// "chrono-compatible low-level date algorithms", `civil_from_days`).
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    const DAYS_TO_EPOCH: u64 = 719_468; // from 0000-03-01 to 1970-01-01
    let shifted = days + DAYS_TO_EPOCH;
    let (era, day_of_era) = (shifted / DAYS_PER_ERA, shifted % DAYS_PER_ERA);
    let leap_corrected =
        day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096;
    let year_of_era = leap_corrected / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn shows_and_reads_times_as_rfc_3339_does() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_798_761_599_001, "2026-12-31T23:59:59.001Z"),
        ] {
            assert_eq!(
                serde_json::to_string(&TimeOut(ms)).unwrap(),
                format!("\"{text}\"")
            );
        }
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2024-02-29T23:59:59.999Z", Some(1_709_251_199_999)),
            ("2024-03-01t01:30:00+01:30", Some(1_709_251_200_000)),
            ("2024-02-29 16:00:00.000999-08:00", Some(1_709_251_200_000)),
            ("9999-12-31T23:59:59.9Z", Some(253_402_300_799_900)),
            ("2023-02-29T00:00:00Z", None),
            ("2024-13-01T00:00:00Z", None),
            ("2024-00-01T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("2024-01-01T24:00:00Z", None),
            ("2024-01-01T00:00:00", None),
            ("2024-01-01T00:00:00.Z", None),
            ("2024-01-01T00:00:00+1:00", None),
            ("2024-01-01", None),
            ("+024-01-01T00:00:00Z", None),
        ] {
            assert_eq!(parse_time(text), ms, "{text}");
        }
        for ms in [
            0,
            1,
            951_782_400_000,
            4_107_542_399_999,
            253_402_300_799_999,
        ] {
            assert_eq!(parse_time(&TimeOut(ms).to_string()), Some(ms));
        }
        // Far future times must not panic.
        assert!(serde_json::to_string(&TimeOut(u64::MAX)).is_ok());
    }
}
