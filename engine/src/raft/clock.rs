//! The clock that stamps entries: watched for jumps, and never behind the log's own time.
//!
//! The state keeps the greatest stamp, so a leader that stamps with a clock that has jumped ahead
//! takes the log's time along for good. The voters' clocks are compared only every few seconds;
//! between two comparisons the monotonic clock, which nobody sets, says whether this one jumped.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::health::CLOCK_SKEW_MS_MAX;
use super::node::Clock;

/// The wall clock of a node, and what is known about it.
pub(super) struct StampClock {
    wall: Clock,
    started: Instant,
    /// The wall clock less the monotonic one, in milliseconds, when it was last found to be right.
    sound_ms: AtomicI64,
    /// The greatest log time that was seen, in milliseconds since the Unix epoch.
    log_time_ms: AtomicU64,
    suspected: Notify,
}

impl StampClock {
    /// Takes the clock for right as it is now.
    pub(super) fn new(wall: Clock) -> Self {
        let clock = Self {
            wall,
            started: Instant::now(),
            sound_ms: AtomicI64::new(0),
            log_time_ms: AtomicU64::new(0),
            suspected: Notify::new(),
        };
        clock.found_sound();
        clock
    }

    /// The wall clock, milliseconds since the Unix epoch.
    pub(super) fn now_ms(&self) -> u64 {
        (self.wall)()
    }

    /// The stamp of an entry that is proposed now: not before the log's time, which a leader with
    /// another clock may have taken ahead. An entry stamped earlier would be too late at once.
    pub(super) fn stamp_ms(&self) -> u64 {
        self.not_before_log_time(self.now_ms())
    }

    /// `ms`, or the log's time where that is later.
    pub(super) fn not_before_log_time(&self, ms: u64) -> u64 {
        ms.max(self.log_time_ms.load(Ordering::Relaxed))
    }

    /// Notes the log's time.
    pub(super) fn saw_log_time(&self, ms: u64) {
        self.log_time_ms.fetch_max(ms, Ordering::Relaxed);
    }

    /// The voters do not contradict this clock, whatever it did.
    pub(super) fn found_sound(&self) {
        self.sound_ms.store(self.drift_ms(), Ordering::Relaxed);
    }

    /// Whether it has jumped since it was last found to be right: it must be compared before
    /// anything is stamped with it.
    pub(super) fn jumped(&self) -> bool {
        let moved = self
            .drift_ms()
            .abs_diff(self.sound_ms.load(Ordering::Relaxed));
        let jumped = moved > CLOCK_SKEW_MS_MAX;
        if jumped {
            self.suspected.notify_one();
        }
        jumped
    }

    /// Waits until somebody met a jump.
    pub(super) async fn suspected(&self) {
        self.suspected.notified().await;
    }

    fn drift_ms(&self) -> i64 {
        let wall = i64::try_from(self.now_ms()).unwrap_or(i64::MAX);
        let monotonic = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        wall.saturating_sub(monotonic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// A clock that stands where the test puts it, and the place to put it.
    fn clock(at_ms: u64) -> (StampClock, Arc<AtomicU64>) {
        let hand = Arc::new(AtomicU64::new(at_ms));
        let read = Arc::clone(&hand);
        let clock = StampClock::new(Arc::new(move || read.load(Ordering::Relaxed)));
        (clock, hand)
    }

    #[test]
    fn a_jump_is_noticed_until_the_clock_is_found_right_or_goes_back() {
        let start = 1_000_000_000;
        for jumped in [start + 3_600_000, start - 3_600_000] {
            let (clock, hand) = clock(start);
            assert!(!clock.jumped());
            hand.store(jumped, Ordering::Relaxed);
            assert!(clock.jumped());
            hand.store(start, Ordering::Relaxed);
            assert!(!clock.jumped(), "it is back");
            hand.store(jumped, Ordering::Relaxed);
            clock.found_sound();
            assert!(!clock.jumped(), "the others have the same");
        }
    }

    #[test]
    fn a_small_step_is_no_jump() {
        let (clock, hand) = clock(1_000_000);
        hand.store(1_000_000 + CLOCK_SKEW_MS_MAX / 2, Ordering::Relaxed);
        assert!(!clock.jumped());
    }

    #[test]
    fn a_stamp_is_never_before_the_log_s_time() {
        let (clock, hand) = clock(5_000);
        assert_eq!(clock.stamp_ms(), 5_000);
        clock.saw_log_time(9_000);
        clock.saw_log_time(7_000);
        assert_eq!(clock.stamp_ms(), 9_000);
        hand.store(9_500, Ordering::Relaxed);
        assert_eq!(clock.stamp_ms(), 9_500);
    }
}
