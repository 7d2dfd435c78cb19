//! What policies did on this node since its start, in numbers.
//!
//! For metrics alone: durations are in here, which differ from node to node, so nothing that apply
//! computes may read it. What a verdict was about stands in the decision records.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

use foldhash::fast::RandomState;
use raft3d_core::policy::{Decided, Said};
use raft3d_core::{BindingId, Export, ModuleDigest};
use raft3d_sdk::Hook;

use super::runtime::lock;

/// Series kept of each kind. Twenty bindings are active at most, each with three hooks at most; the
/// one unused for longest goes first.
const SERIES_MAX: usize = 256;
/// Codes counted by themselves for one binding and hook; a policy makes up its codes, and may make
/// up a new one each time.
const CODES_MAX: usize = 32;
/// What further codes are counted under.
pub const OTHER_CODES: &str = "other";

/// Upper bounds of the buckets of gas; what is above the last is counted too.
pub const GAS_BOUNDS: [u64; 10] = [
    1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
];
/// Upper bounds of the buckets of time, in nanoseconds.
pub const TIME_BOUNDS_NS: [u64; 10] = [
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

/// How often values came up to each bound, and their sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Values in each bucket, none of them counted in two; the last is for what is above all bounds.
    pub counts: [u64; 11],
    /// Sum of the values.
    pub sum: u64,
}

impl Histogram {
    fn add(&mut self, bounds: &[u64; 10], value: u64) {
        let bucket = bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(value);
    }

    /// How many values there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What the evaluations of one export of one module took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Gas of each.
    pub gas: Histogram,
    /// Time of each on this node, in nanoseconds.
    pub time_ns: Histogram,
}

/// Whose verdicts they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asked {
    /// Binding.
    pub binding: BindingId,
    /// Its module.
    pub module: ModuleDigest,
    /// Hook.
    pub hook: Hook,
    /// Whether the binding is watched only.
    pub is_shadow: bool,
}

/// The verdicts of one binding to one hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Allowed, by a rule.
    pub allowed: u64,
    /// Left to the next binding, by a deduction.
    pub passed: u64,
    /// Said what to take, by a deduction.
    pub taken: u64,
    /// Denied, by code.
    pub denied: Vec<(String, u64)>,
    /// No usable answer, by the error's code.
    pub failed: Vec<(&'static str, u64)>,
}

impl Verdicts {
    fn add(&mut self, said: Said<'_>) {
        match said {
            Said::Allow => self.allowed += 1,
            Said::Pass => self.passed += 1,
            Said::Take => self.taken += 1,
            Said::Failed(error) => {
                let code = error.code();
                match self.failed.iter_mut().find(|(known, _)| *known == code) {
                    Some((_, count)) => *count += 1,
                    None => self.failed.push((code, 1)),
                }
            }
            Said::Deny(code) => self.deny(code),
        }
    }

    fn deny(&mut self, code: &str) {
        let has_room = self.denied.len() < CODES_MAX;
        let known = self.denied.iter().any(|(known, _)| known == code);
        let code = if known || has_room { code } else { OTHER_CODES };
        match self.denied.iter_mut().find(|(known, _)| known == code) {
            Some((_, count)) => *count += 1,
            None => self.denied.push((code.to_owned(), 1)),
        }
    }
}

/// A copy of all numbers, in a stable order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyTallies {
    /// What evaluations took, by module and export.
    pub costs: Vec<((ModuleDigest, Export), Cost)>,
    /// What they came to. `check_config`, which no binding is asked by, is not among them.
    pub verdicts: Vec<(Asked, Verdicts)>,
}

/// Counts.
#[derive(Default)]
pub(super) struct Tally {
    costs: Mutex<Recent<(ModuleDigest, Export), Cost>>,
    verdicts: Mutex<Recent<Asked, Verdicts>>,
}

impl Tally {
    /// An evaluation was made.
    pub(super) fn evaluated(&self, module: ModuleDigest, export: Export, gas: u64, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        lock(&self.costs).update(&(module, export), |cost| {
            cost.gas.add(&GAS_BOUNDS, gas);
            cost.time_ns.add(&TIME_BOUNDS_NS, ns);
        });
    }

    /// Apply has read its answer.
    pub(super) fn decided(&self, decided: &Decided<'_>) {
        let asked = Asked {
            binding: decided.binding.clone(),
            module: decided.module,
            hook: decided.hook,
            is_shadow: decided.is_shadow,
        };
        lock(&self.verdicts).update(&asked, |verdicts| verdicts.add(decided.said));
    }

    pub(super) fn read(&self) -> PolicyTallies {
        let mut tallies = PolicyTallies {
            costs: lock(&self.costs).read(),
            verdicts: lock(&self.verdicts).read(),
        };
        tallies
            .costs
            .sort_by_key(|((module, export), _)| (*module, export.name()));
        tallies.verdicts.sort_by(|(a, _), (b, _)| a.cmp(b));
        tallies
    }
}

/// A bounded number of series.
struct Recent<K, V> {
    series: HashMap<K, (V, u64), RandomState>,
    uses: u64,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            series: HashMap::default(),
            uses: 0,
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone + Default> Recent<K, V> {
    fn update(&mut self, key: &K, update: impl FnOnce(&mut V)) {
        self.uses += 1;
        if let Some((value, used)) = self.series.get_mut(key) {
            *used = self.uses;
            return update(value);
        }
        if self.series.len() >= SERIES_MAX {
            let oldest = self.series.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.series.remove(&oldest);
            }
        }
        let mut value = V::default();
        update(&mut value);
        self.series.insert(key.clone(), (value, self.uses));
    }

    fn read(&self) -> Vec<(K, V)> {
        let series = self.series.iter();
        series
            .map(|(key, (value, _))| (key.clone(), value.clone()))
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use raft3d_core::PolicyError;

    use super::*;

    fn decide(tally: &Tally, binding: &str, said: Said<'_>) {
        tally.decided(&Decided {
            binding: &BindingId::new(binding),
            module: ModuleDigest([1; 32]),
            hook: Hook::Admission,
            is_shadow: false,
            said,
        });
    }

    #[test]
    fn a_value_is_counted_in_the_bucket_of_its_bound() {
        let mut histogram = Histogram::default();
        for value in [0, 1_000, 1_001, 1_000_000, 1_000_001] {
            histogram.add(&GAS_BOUNDS, value);
        }
        assert_eq!(histogram.counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((histogram.count(), histogram.sum), (5, 2_002_002));
    }

    #[test]
    fn verdicts_are_counted_by_what_they_say() {
        let tally = Tally::default();
        for verdict in [
            Said::Allow,
            Said::Allow,
            Said::Deny("too_heavy"),
            Said::Failed(PolicyError::OutOfGas),
            Said::Deny("too_heavy"),
            Said::Deny("too_late"),
        ] {
            decide(&tally, "b", verdict);
        }
        let verdicts = tally.read().verdicts;
        assert_eq!(verdicts.len(), 1);
        let (asked, counted) = &verdicts[0];
        assert_eq!(asked.binding.as_str(), "b");
        let denied = [("too_heavy", 2), ("too_late", 1)].map(|(c, n)| (c.to_owned(), n));
        assert_eq!(counted.allowed, 2);
        assert_eq!(counted.denied, denied);
        assert_eq!(counted.failed, [("out_of_gas", 1)]);
    }

    /// A policy that makes up codes, or an operator who makes up bindings, takes no memory for it.
    #[test]
    fn what_guests_and_operators_make_up_is_bounded() {
        let tally = Tally::default();
        for n in 0..1_000 {
            decide(&tally, "b", Said::Deny(&format!("code-{n}")));
        }
        let denied = tally.read().verdicts[0].1.denied.clone();
        assert_eq!(denied.len(), CODES_MAX + 1);
        let other = denied.iter().find(|(code, _)| code == OTHER_CODES).unwrap();
        assert_eq!(other.1, 1_000 - CODES_MAX as u64);
        for n in 0..2 * SERIES_MAX {
            decide(&tally, &format!("b{n}"), Said::Allow);
        }
        let verdicts = tally.read().verdicts;
        assert_eq!(verdicts.len(), SERIES_MAX);
        let last = format!("b{}", 2 * SERIES_MAX - 1);
        assert!(
            verdicts
                .iter()
                .any(|(asked, _)| asked.binding.as_str() == last)
        );
        assert!(
            !verdicts
                .iter()
                .any(|(asked, _)| asked.binding.as_str() == "b")
        );
    }
}
