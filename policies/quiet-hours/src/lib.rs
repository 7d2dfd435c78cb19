//! Quiet hours: while they last, no job starts.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;

use raft3d_sdk::config::texts;
use raft3d_sdk::text::concat;
use raft3d_sdk::{
    ConfigError, ConfigVerdict, Deny, Hook, HookSet, Policy, RuleOutput, TransitionInput, names,
};

#[cfg(not(target_arch = "wasm32"))]
mod cases;
#[cfg(not(target_arch = "wasm32"))]
pub use cases::cases;

/// Minutes in a day.
const DAY: u16 = 24 * 60;
/// Milliseconds in a minute.
const MINUTE_MS: u64 = 60_000;
/// Names of the days of a week, in its order.
pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// The Unix epoch was a Thursday.
const EPOCH_DAY: i64 = 3;
/// Farthest time zones from UTC, in minutes: 14 hours.
pub const OFFSET_MINUTES_MAX: i32 = 14 * 60;
/// Most intervals.
pub const INTERVALS_MAX: usize = 32;

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct QuietHours;

raft3d_sdk::config! {
    /// Quiet hours: from one minute of the day to before another, over midnight where that is less.
    pub struct Interval {
        /// First quiet minute of the day; from 0 to 1439.
        from_minute: u16,
        /// First minute that is not quiet any more; from 0 to 1440.
        to_minute: u16,
        /// Days on which the interval begins: mon, tue, wed, thu, fri, sat, sun. Empty: every day.
        days: Vec<String> = Vec::new(),
    }
}

raft3d_sdk::config! {
    /// Configuration of `quiet-hours`.
    pub struct Config {
        /// The quiet hours; at most 32.
        intervals: Vec<Interval>,
        /// Local time less UTC, in minutes; from -840 to 840. There is no summer time.
        utc_offset_minutes: i32 = 0,
        /// States that no job enters during quiet hours.
        #[names(state)]
        states: Vec<String> = texts(["Running"]),
        /// Least characters of the reason of an override, at least 1; without it none is taken.
        override_reason_chars_min: Option<u16> = None,
    }
}

raft3d_sdk::export!(QuietHours: transition);

impl Policy for QuietHours {
    const NAME: &'static str = "quiet-hours";
    const VERSION: &'static str = "1.0.0";
    const DESCRIPTION: &'static str = "No job starts during quiet hours of local time.";
    const HOOKS: HookSet = HookSet::of(&[Hook::Transition]);

    type Config = Config;

    fn transition(input: &TransitionInput<'_>, config: &Config) -> RuleOutput {
        if !names::contains(&config.states, input.to)
            || input.reported.overrides(config.override_reason_chars_min)
        {
            return RuleOutput::allow();
        }
        let (day, minute) = local_time(input.now_ms, config.utc_offset_minutes);
        let mut intervals = config.intervals.iter();
        let Some(quiet) = intervals.find(|interval| covers(interval, day, minute)) else {
            return RuleOutput::allow();
        };
        let message = concat(&[
            "No job can move to '",
            &input.to.to_ascii_lowercase(),
            "' during quiet hours, from ",
            &clock(quiet.from_minute),
            " to ",
            &clock(quiet.to_minute),
        ]);
        Deny::new("quiet_hours", message).at("/status").into()
    }

    fn check_config(config: &Config) -> ConfigVerdict {
        check(config).into()
    }
}

/// The day of the week, from 0 for Monday, and the minute of that day.
fn local_time(now_ms: u64, utc_offset_minutes: i32) -> (usize, u16) {
    // At most 2^64 / 60,000 minutes: all of this is far from the ends of its types.
    let minutes = (now_ms / MINUTE_MS) as i64 + i64::from(utc_offset_minutes);
    let (day, minute) = (
        minutes.div_euclid(DAY.into()),
        minutes.rem_euclid(DAY.into()),
    );
    ((day + EPOCH_DAY).rem_euclid(7) as usize, minute as u16)
}

/// Whether the interval covers that minute: on the day it begins, or on the one after.
fn covers(interval: &Interval, day: usize, minute: u16) -> bool {
    let (from, to) = (interval.from_minute, interval.to_minute);
    if from < to {
        return begins_on(interval, day) && (from..to).contains(&minute);
    }
    (minute >= from && begins_on(interval, day))
        || (minute < to && begins_on(interval, (day + 6) % 7))
}

fn begins_on(interval: &Interval, day: usize) -> bool {
    let name = DAYS.get(day).copied().unwrap_or_default();
    interval.days.is_empty() || names::contains(&interval.days, name)
}

/// `07:30`.
fn clock(minute: u16) -> String {
    let digits = [
        minute / 600,
        minute / 60 % 10,
        minute % 60 / 10,
        minute % 10,
    ];
    let mut text = String::with_capacity(5);
    for (index, digit) in digits.into_iter().enumerate() {
        text.push_str(if index == 2 { ":" } else { "" });
        text.push(char::from(b'0' + (digit % 10) as u8));
    }
    text
}

fn check(config: &Config) -> Result<(), ConfigError> {
    let here = ConfigError::here;
    if config.intervals.is_empty() {
        return Err(here("must hold at least one interval").under("intervals"));
    }
    if config.intervals.len() > INTERVALS_MAX {
        return Err(here("must hold at most 32 intervals").under("intervals"));
    }
    for (index, interval) in config.intervals.iter().enumerate() {
        check_interval(interval)
            .map_err(|error| error.under_index(index as u64).under("intervals"))?;
    }
    if config.utc_offset_minutes.unsigned_abs() > OFFSET_MINUTES_MAX.unsigned_abs() {
        return Err(here("must be from -840 to 840 minutes").under("utc_offset_minutes"));
    }
    if config.override_reason_chars_min == Some(0) {
        let error = here("must be at least 1, or left out");
        return Err(error.under("override_reason_chars_min"));
    }
    names::check_list(&config.states).map_err(|error| error.under("states"))
}

fn check_interval(interval: &Interval) -> Result<(), ConfigError> {
    if interval.from_minute >= DAY {
        return Err(ConfigError::here("must be from 0 to 1439").under("from_minute"));
    }
    if interval.to_minute > DAY {
        return Err(ConfigError::here("must be from 0 to 1440").under("to_minute"));
    }
    if interval.from_minute == interval.to_minute {
        let problem = "must differ from from_minute (a whole day is 0 to 1440)";
        return Err(ConfigError::here(problem).under("to_minute"));
    }
    let under = |error: ConfigError| error.under("days");
    let mut days = interval.days.iter();
    if let Some(index) = days.position(|day| !names::contains(&DAYS, day)) {
        let error = ConfigError::here("must be one of mon, tue, wed, thu, fri, sat, sun");
        return Err(under(error.under_index(index as u64)));
    }
    if interval.days.is_empty() {
        return Ok(());
    }
    names::check_list(&interval.days).map_err(under)
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft3d_sdk::testkit;

    #[test]
    fn answers_the_table_of_cases() {
        testkit::run_cases::<QuietHours>(&cases());
    }

    #[test]
    fn local_time_goes_both_ways_over_the_ends_of_days() {
        let thursday = 3;
        assert_eq!(local_time(0, 0), (thursday, 0));
        assert_eq!(local_time(59_999, 0), (thursday, 0));
        assert_eq!(local_time(0, -1), (thursday - 1, 1_439));
        assert_eq!(local_time(0, -840), (thursday - 1, 600));
        assert_eq!(local_time(0, 840), (thursday, 840));
        assert_eq!(local_time(testkit::NOW_MS, 0), (thursday, 0));
        let four_days_ms = 4 * 24 * 60 * MINUTE_MS;
        assert_eq!(local_time(four_days_ms - MINUTE_MS, 1), (0, 0));
        // Any time that the log could hold has an answer.
        let (day, minute) = local_time(u64::MAX, 840);
        assert!(day < 7 && minute < 1_440);
    }

    #[test]
    fn minutes_read_as_a_clock() {
        let read = [0, 61, 450, 1_320, 1_439, 1_440].map(clock);
        assert_eq!(read, ["00:00", "01:01", "07:30", "22:00", "23:59", "24:00"]);
    }
}
