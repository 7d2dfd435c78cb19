//! What happened how often.

use std::collections::BTreeMap;

/// Counters by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Attempts of clients by what came of them.
    pub operations: BTreeMap<String, u64>,
    /// Faults that were injected, by kind.
    pub faults: BTreeMap<String, u64>,
    /// What the cluster did: leaders, snapshots, messages and so on.
    pub events: BTreeMap<String, u64>,
    /// Simulated time in milliseconds.
    pub simulated_ms: u64,
}

impl Stats {
    /// Counts an attempt.
    pub fn operation(&mut self, result: &str) {
        *self.operations.entry(result.to_owned()).or_default() += 1;
    }

    /// Counts a fault.
    pub fn fault(&mut self, kind: &str) {
        *self.faults.entry(kind.to_owned()).or_default() += 1;
    }

    /// Counts anything else.
    pub fn event(&mut self, kind: &str) {
        self.event_times(kind, 1);
    }

    /// Counts it several times.
    pub fn event_times(&mut self, kind: &str, times: u64) {
        *self.events.entry(kind.to_owned()).or_default() += times;
    }

    /// Adds another run's counters.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.operations, &other.operations),
            (&mut self.faults, &other.faults),
            (&mut self.events, &other.events),
        ];
        for (mine, theirs) in pairs {
            for (name, times) in theirs {
                *mine.entry(name.clone()).or_default() += times;
            }
        }
        self.simulated_ms += other.simulated_ms;
    }
}
