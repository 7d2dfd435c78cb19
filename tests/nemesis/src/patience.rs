//! How long something is waited for.

use std::time::{Duration, Instant};

use raft3d_cluster_tests::process::POLL;

/// Of the time between two looks, so much counts at most. A machine that stood still, or a test
/// that was stopped for a while, took nothing from the nodes' time.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// Patience that only time spent looking uses up.
#[derive(Debug)]
pub(crate) struct Patience {
    left: Duration,
    looked: Instant,
}

impl Patience {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            left: patience,
            looked: Instant::now(),
        }
    }

    /// Pauses before the next look; false where there is to be none.
    pub(crate) fn lasts(&mut self) -> bool {
        std::thread::sleep(POLL);
        let since = self.looked.elapsed().min(LOOK_MAX);
        self.looked = Instant::now();
        self.left = self.left.saturating_sub(since);
        !self.left.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_and_a_standstill_does_not_end_it() {
        let mut patience = Patience::new(POLL * 3);
        let looks = (0..100).take_while(|_| patience.lasts()).count();
        assert!(looks < 3);
        let mut patience = Patience::new(LOOK_MAX * 2);
        patience.looked = Instant::now().checked_sub(LOOK_MAX * 20).unwrap();
        assert!(patience.lasts(), "a long standstill is one look");
    }
}
