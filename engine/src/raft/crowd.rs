//! How long the leader holds a group of writes for those who are about to come.
//!
//! When a group comes back, its clients are answered together, and most of them have their next
//! write a moment later. A group that begins at once leaves them behind, and they wait a whole
//! round for the next: so the clients fall into two crowds that take turns, and each round, which
//! costs much the same for many writes as for few, carries half of them. PostgreSQL's
//! `commit_delay` holds commits for the same reason; here the time follows from the rounds.

use std::time::Duration;

use tokio::time::Instant;

/// After the end of a round, a group is held for no longer than this part of one.
const PART_OF_ROUND: u32 = 3;
/// And never for longer than this. Timers tick in milliseconds.
const HELD_MAX: Duration = Duration::from_millis(2);

/// Who has been writing of late, and how long a round takes.
#[derive(Default)]
pub(super) struct Crowd {
    /// Writes that are expected together: those of the last group and those that gathered
    /// meanwhile, or a little less than were expected before.
    expected: usize,
    /// Time of a round, smoothed.
    round: Duration,
    held_until: Option<Instant>,
}

impl Crowd {
    /// A round that took `took` has ended at `now`; so many `writes` were in its group or have
    /// gathered meanwhile.
    pub(super) fn round(&mut self, now: Instant, took: Duration, writes: usize) {
        self.expected = writes.max(self.expected * 7 / 8);
        self.round = (self.round * 3 + took) / 4;
        self.held_until = Some(now + (self.round / PART_OF_ROUND).min(HELD_MAX));
    }

    /// Until when a group of `gathered` writes waits for more; none where nearly all are there.
    /// In the past where nobody has written for a while.
    pub(super) fn held_until(&self, gathered: usize) -> Option<Instant> {
        self.held_until.filter(|_| gathered * 4 < self.expected * 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn one_client_never_waits() {
        let mut crowd = Crowd::default();
        assert_eq!(crowd.held_until(1), None, "the first write");
        crowd.round(Instant::now(), 8 * MS, 1);
        assert_eq!(crowd.held_until(1), None);
    }

    #[test]
    fn the_missing_part_of_a_crowd_is_waited_for() {
        let (mut crowd, now) = (Crowd::default(), Instant::now());
        for _ in 0..50 {
            crowd.round(now, 4 * MS, 64);
        }
        let until = crowd.held_until(47).map(|until| until - now);
        assert!(until.is_some_and(|held| held > MS && held < 2 * MS));
        assert_eq!(crowd.held_until(48), None, "three quarters are enough");
    }

    #[test]
    fn long_rounds_do_not_hold_for_longer_than_the_limit() {
        let (mut crowd, now) = (Crowd::default(), Instant::now());
        crowd.round(now, Duration::from_secs(5), 64);
        assert_eq!(crowd.held_until(1), Some(now + HELD_MAX));
    }

    #[test]
    fn a_crowd_that_has_gone_is_forgotten() {
        let mut crowd = Crowd::default();
        crowd.round(Instant::now(), MS, 256);
        for _ in 0..50 {
            crowd.round(Instant::now(), MS, 1);
        }
        assert_eq!(crowd.held_until(1), None);
    }
}
