//! Random numbers of the engine's tests: from a seed that is printed.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "several test programs share it, and each uses a part"
)]

/// Replays one run.
pub const SEED_VARIABLE: &str = "RAFT3D_SEED";

/// SplitMix64 (Steele, Lea, Flood, 2014): small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of that seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed of `RAFT3D_SEED`, or another one each time. Printed with the line that replays
    /// `test`.
    pub fn seed(test: &str) -> u64 {
        let given = std::env::var(SEED_VARIABLE).ok();
        let fresh = || {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        };
        let seed = given.map_or_else(fresh, |seed| seed.parse().expect("a number"));
        println!("replay: {SEED_VARIABLE}={seed} cargo nextest run --workspace -E 'test({test})'");
        seed
    }

    /// The sequence of [`seed`](Self::seed).
    pub fn seeded(test: &str) -> Self {
        Self(Self::seed(test))
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is above zero.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}
