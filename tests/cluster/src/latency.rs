//! Latencies: every one is kept, so percentiles are exact.

use std::time::Duration;

/// Latencies, sorted.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// Of these samples.
    #[must_use]
    pub fn new(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        Self(samples)
    }

    /// The smallest sample that at least `per_mille` of all do not exceed (nearest rank); zero
    /// where there are none.
    #[must_use]
    pub fn percentile(&self, per_mille: usize) -> Duration {
        let rank = (self.0.len() * per_mille).div_ceil(1_000).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// The largest; zero where there are none.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let of = |n: u64| Latencies::new((1..=n).rev().map(Duration::from_millis).collect());
        assert_eq!(of(100).percentile(500), Duration::from_millis(50));
        assert_eq!(of(100).percentile(990), Duration::from_millis(99));
        assert_eq!(of(1).percentile(990), Duration::from_millis(1));
        assert_eq!(of(3).percentile(500), Duration::from_millis(2));
        assert_eq!(of(100).max(), Duration::from_millis(100));
        assert_eq!(Latencies::default().percentile(500), Duration::ZERO);
    }
}
