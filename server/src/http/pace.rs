//! Whether rows come as fast as they should.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A read of one row that takes longer has waited for the disk.
const ROW_TIME_MAX: Duration = Duration::from_millis(2);
/// For so long after that, no thread that others need is made to wait.
const CAREFUL_TIME: Duration = Duration::from_secs(1);

/// Remembers when a row was last slow to come.
#[derive(Debug)]
pub(super) struct Pace {
    started: Instant,
    /// Milliseconds after `started`.
    careful_until_ms: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            careful_until_ms: AtomicU64::new(0),
        }
    }
}

impl Pace {
    /// Notes how long a row took that was read since `begun`.
    pub(super) fn note(&self, begun: Instant) {
        let now = Instant::now();
        if now.duration_since(begun) > ROW_TIME_MAX {
            let until_ms = self.millis(now + CAREFUL_TIME);
            self.careful_until_ms.store(until_ms, Ordering::Relaxed);
        }
    }

    /// Whether a row was slow a short time ago.
    pub(super) fn is_slow(&self) -> bool {
        self.millis(Instant::now()) < self.careful_until_ms.load(Ordering::Relaxed)
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.duration_since(self.started);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_slow_row_makes_careful_for_a_while() {
        let pace = Pace::default();
        assert!(!pace.is_slow());
        pace.note(Instant::now());
        assert!(!pace.is_slow());
        let long_ago = pace.started.checked_sub(2 * ROW_TIME_MAX);
        pace.note(long_ago.expect("a clock that has run for milliseconds"));
        assert!(pace.is_slow());
    }
}
