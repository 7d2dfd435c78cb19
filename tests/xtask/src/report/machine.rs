//! The machine that the page was made on, and times and numbers as people write them.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY_S: u64 = 86_400;

/// What a reader must know of the machine to compare figures.
pub(super) struct Machine {
    pub(super) facts: Vec<(&'static str, String)>,
}

impl Machine {
    /// This machine, as Linux describes it; what it does not say is left out.
    pub(super) fn of_this_process() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let cores = std::thread::available_parallelism().ok();
        let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(|text| {
            let kib: u64 = text.split_whitespace().next()?.parse().ok()?;
            Some(format!("{} GiB", kib.div_ceil(1 << 20)))
        });
        let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
        let facts = [
            ("processor", field(&read("/proc/cpuinfo"), "model name")),
            ("cores", cores.map(|cores| cores.to_string())),
            ("memory", memory),
            ("Linux", Some(kernel).filter(|text| !text.is_empty())),
        ];
        let known = facts.into_iter();
        Self {
            facts: known
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
        }
    }
}

/// `2026-11-22 18:05 UTC`.
pub(super) fn utc(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (year, month, day) = civil(seconds / DAY_S);
    let minute = seconds % DAY_S / 60;
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02} UTC",
        minute / 60,
        minute % 60
    )
}

/// The date of a day after 1970-01-01, by Hinnant's `civil_from_days` (years begin in March, so that
/// the leap day is the last).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// `42 s`, `7 min 5 s`, `1 h 2 min`.
pub(super) fn duration(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {} s", seconds % 60),
        _ => format!("{hours} h {minutes} min"),
    }
}

/// A whole number with its thousands apart; anything else as it is.
pub(super) fn number(text: &str) -> String {
    let is_whole = text.len() > 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_whole {
        return text.to_owned();
    }
    let mut out = String::new();
    for (nth, digit) in text.chars().enumerate() {
        if nth > 0 && (text.len() - nth).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Whether a cell is a number, and so stands at the right.
pub(super) fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && text.chars().filter(char::is_ascii_alphabetic).count() <= 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_and_numbers_read_well() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00 UTC");
        assert_eq!(at(1_709_208_000), "2024-02-29 12:00 UTC");
        assert_eq!(at(1_798_761_599), "2026-12-31 23:59 UTC");
        assert_eq!(
            [42, 425, 3_725].map(duration),
            ["42 s", "7 min 5 s", "1 h 2 min"]
        );
        for (text, shown) in [("999", "999"), ("1000", "1,000"), ("1234567", "1,234,567")] {
            assert_eq!(number(text), shown);
        }
        assert_eq!(number("12.5 ms"), "12.5 ms");
        assert!(is_number("12.5 ms") && is_number("-3") && !is_number("3 nodes, leader killed"));
    }
}
