//! What is played: how much, and from which seed on.

use std::time::{SystemTime, UNIX_EPOCH};

/// Replays one run.
const SEED_VARIABLE: &str = "RAFT3D_SEED";

/// How much is played, from which seed on: what has number `n` is made of the seed `seed + n`.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The first seed.
    pub seed: u64,
    /// How many.
    pub count: u64,
}

impl Plan {
    /// A test's: the seed of `RAFT3D_SEED`, or another one each time. Prints the line that replays
    /// `test`.
    ///
    /// # Panics
    /// The variable holds no number.
    #[must_use]
    pub fn from_environment(count: u64, test: &str) -> Self {
        let given = std::env::var(SEED_VARIABLE).ok();
        let seed = given.map_or_else(fresh_seed, |seed| seed.parse().expect("RAFT3D_SEED"));
        println!("replay: {SEED_VARIABLE}={seed} cargo nextest run --workspace -E 'test({test})'");
        Self { seed, count }
    }

    /// The seeds.
    pub fn seeds(self) -> impl Iterator<Item = u64> {
        (0..self.count).map(move |n| self.seed.wrapping_add(n))
    }
}

/// A seed that was not there before, short enough to be typed.
#[must_use]
pub fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_micros() as u64)
}
