//! What is known of a node's clock, and what nodes tell one another of it.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use raft3d_core::Revision;

/// A clock: milliseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Clocks that are further apart differ; log time that is further ahead of the clock is an alarm.
/// Milliseconds.
pub(super) const CLOCK_SKEW_MS_MAX: u64 = 10_000;
/// A clock that is further ahead of the log's last stamp at a start needs somebody's word.
/// Milliseconds.
pub(super) const START_AHEAD_MS_MAX: u64 = 60 * 60 * 1_000;

/// What speaks for a clock, the least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum ClockEvidence {
    /// Nothing, or a majority speaks against it.
    #[default]
    #[n(0)]
    None,
    /// It went on from the log's last stamp within the hour.
    #[n(1)]
    Plausible,
    /// A majority of the voters had the same time, or an operator vouched for it.
    #[n(2)]
    Confirmed,
}

impl ClockEvidence {
    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Plausible => "plausible",
            Self::Confirmed => "confirmed",
        }
    }
}

/// A node's clock beside the log's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ClockStatus {
    /// The node's wall clock, milliseconds since the Unix epoch.
    #[n(0)]
    pub clock_ms: u64,
    /// Log time, as far as the node has applied it.
    #[n(1)]
    pub log_time_ms: u64,
    /// Milliseconds that are added to a leader's clock.
    #[n(2)]
    pub offset_ms: u64,
    /// Log index of the last adjustment; 0 before the first one.
    #[n(3)]
    pub adjusted_at: Revision,
    /// What speaks for the clock.
    #[n(4)]
    pub evidence: ClockEvidence,
    /// Why the node stamps no entries with it, and what to do; none if it would stamp.
    #[n(5)]
    pub waits: Option<String>,
}

impl ClockStatus {
    /// By how much log time is ahead of what the node would stamp by its clock, in milliseconds; 0
    /// if it is behind, as it is while nothing is written.
    #[must_use]
    pub fn log_time_ahead_ms(&self) -> u64 {
        let clock_ms = self.clock_ms.saturating_add(self.offset_ms);
        self.log_time_ms.saturating_sub(clock_ms)
    }

    /// What to do about log time, if it lies in the future.
    #[must_use]
    pub fn alarm(&self) -> Option<String> {
        let ahead_ms = self.log_time_ahead_ms();
        (ahead_ms > CLOCK_SKEW_MS_MAX && self.waits.is_none()).then(|| {
            format!(
                "log time is {} ahead of the clock and stands still until the clock has reached \
                 it: dates lie in the future and nothing expires; PUT /api/v1/cluster/clock lets \
                 it go on from where it stands",
                span(ahead_ms)
            )
        })
    }
}

/// A span of time in words.
pub(super) fn span(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..345_600 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        _ => format!("{} days {} h", s / 86_400, s / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_time_in_the_future_is_an_alarm_and_log_time_that_rests_is_none() {
        let at = |log_time_ms, offset_ms| ClockStatus {
            clock_ms: 1_000_000,
            log_time_ms,
            offset_ms,
            ..ClockStatus::default()
        };
        assert_eq!(at(0, 0).log_time_ahead_ms(), 0);
        assert_eq!(at(1_000_000 + CLOCK_SKEW_MS_MAX, 0).alarm(), None);
        let poisoned = at(1_000_000 + 3 * 86_400_000, 0);
        assert!(
            poisoned
                .alarm()
                .is_some_and(|said| said.contains("72 h 0 min"))
        );
        assert_eq!(at(1_000_000 + 3 * 86_400_000, 3 * 86_400_000).alarm(), None);
    }

    #[test]
    fn spans_in_words() {
        let words = [59_999, 61_000, 3_660_000, 360_000_000].map(span);
        assert_eq!(words, ["59 s", "1 min 1 s", "1 h 1 min", "4 days 4 h"]);
    }
}
