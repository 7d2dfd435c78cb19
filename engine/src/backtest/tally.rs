//! What is counted of a backtest, and what is kept of it as examples.

use std::collections::BTreeMap;

use raft3d_core::state::decisions::{DecisionRecord, Verdict};
use raft3d_core::{BindingId, JobId, Revision};
use raft3d_sdk::{AdmissionInput, Hook, TransitionInput};

use super::compare::Change;

/// Codes that are counted one by one: a candidate may make them up as it goes.
const CODES_MAX: usize = 64;
/// What all further codes are counted as.
const OTHER_CODES: &str = "(others)";

/// What the candidate's answers to one hook were compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Against {
    /// What this binding said.
    Binding(BindingId),
    /// What all enforcing bindings decided; the candidate is asked before them.
    Overall,
}

/// One difference, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Log index of the entry.
    pub revision: Revision,
    /// Log time, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Job in question.
    pub job: JobId,
    /// Who asked.
    pub actor: String,
    /// What was said.
    pub before: Verdict,
    /// What would be said.
    pub after: Verdict,
    /// What the candidate said when it panicked.
    pub panic: Option<String>,
}

/// What came of one hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Evaluations.
    pub evaluated: u64,
    /// Those that change nothing.
    pub same: u64,
    /// How often each difference was met.
    pub changes: BTreeMap<Change, u64>,
    /// Those that are now denied, by code.
    pub denied_by_code: BTreeMap<String, u64>,
    /// Those that failed, by code.
    pub failed_by_code: BTreeMap<&'static str, u64>,
    /// What was taken, in milligrams.
    pub taken_before_mg: u128,
    /// What would be taken, in milligrams.
    pub taken_after_mg: u128,
    /// The first of each difference.
    pub examples: BTreeMap<Change, Vec<Example>>,
    /// Gas of each evaluation. At most 1,000,000, which fits.
    gas: Vec<u32>,
}

impl Tally {
    /// How many differ.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.evaluated - self.same
    }

    /// How often this difference was met.
    #[must_use]
    pub fn count(&self, change: Change) -> u64 {
        self.changes.get(&change).copied().unwrap_or_default()
    }

    /// The gas that half of the evaluations do not exceed; none without any.
    #[must_use]
    pub fn gas_median(&self) -> Option<u32> {
        let mut gas = self.gas.clone();
        let middle = gas.len().checked_sub(1)? / 2;
        Some(*gas.select_nth_unstable(middle).1)
    }

    /// The most gas of one evaluation; none without any.
    #[must_use]
    pub fn gas_max(&self) -> Option<u32> {
        self.gas.iter().max().copied()
    }

    /// Counts an evaluation.
    pub(super) fn count_gas(&mut self, gas: u64) {
        self.evaluated += 1;
        self.gas.push(u32::try_from(gas).unwrap_or(u32::MAX));
    }

    /// Counts what was and what would be taken.
    pub(super) fn count_taken(&mut self, before: &Verdict, after: &Verdict) {
        let taken = |verdict: &Verdict| match verdict {
            Verdict::Take { grams, .. } => u128::from(grams.mg()),
            _ => 0,
        };
        self.taken_before_mg += taken(before);
        self.taken_after_mg += taken(after);
    }

    /// Counts a difference; `example` is made where there are fewer than `examples_max` of it.
    pub(super) fn count_change(
        &mut self,
        change: Change,
        after: &Verdict,
        examples_max: usize,
        example: impl FnOnce() -> Example,
    ) {
        *self.changes.entry(change).or_default() += 1;
        match (change, after) {
            (Change::NowDenied, Verdict::Deny { code, .. }) => self.count_code(code, 1),
            (Change::Failed, Verdict::Failed(error)) => {
                *self.failed_by_code.entry(error.code()).or_default() += 1;
            }
            _ => {}
        }
        let examples = self.examples.entry(change).or_default();
        if examples.len() < examples_max {
            examples.push(example());
        }
    }

    fn count_code(&mut self, code: &str, times: u64) {
        let known = self.denied_by_code.contains_key(code);
        let code = if known || self.denied_by_code.len() < CODES_MAX {
            code
        } else {
            OTHER_CODES
        };
        *self.denied_by_code.entry(code.to_owned()).or_default() += times;
    }

    /// Adds what another processor has counted.
    pub(super) fn merge(&mut self, other: Self, examples_max: usize) {
        self.evaluated += other.evaluated;
        self.same += other.same;
        self.taken_before_mg += other.taken_before_mg;
        self.taken_after_mg += other.taken_after_mg;
        for (change, count) in other.changes {
            *self.changes.entry(change).or_default() += count;
        }
        for (code, count) in other.denied_by_code {
            self.count_code(&code, count);
        }
        for (code, count) in other.failed_by_code {
            *self.failed_by_code.entry(code).or_default() += count;
        }
        for (change, more) in other.examples {
            let examples = self.examples.entry(change).or_default();
            examples.extend(more);
            examples.sort_by_key(|example| example.revision);
            examples.truncate(examples_max);
        }
        self.gas.extend(other.gas);
    }
}

/// What came of one hook, and what it was compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookReport {
    /// The hook.
    pub hook: Hook,
    /// What the answers were compared with.
    pub against: Against,
    /// The counts.
    pub tally: Tally,
}

/// What came of a backtest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records that were looked at.
    pub records: u64,
    /// Log time of the first and of the last of them, milliseconds since the Unix epoch.
    pub span_ms: Option<(u64, u64)>,
    /// One for each hook of the candidate.
    pub hooks: Vec<HookReport>,
}

impl Report {
    /// Evaluations that differ.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.hooks.iter().map(|hook| hook.tally.changed()).sum()
    }

    /// Evaluations.
    #[must_use]
    pub fn evaluated(&self) -> u64 {
        self.hooks.iter().map(|hook| hook.tally.evaluated).sum()
    }
}

/// Who asked, from what policies were sent.
pub(super) fn actor_of(record: &DecisionRecord, hook: Hook) -> String {
    let actor = match hook {
        Hook::Admission => {
            minicbor::decode::<AdmissionInput<'_>>(&record.input).map(|input| input.actor)
        }
        Hook::Transition | Hook::Deduction => {
            minicbor::decode::<TransitionInput<'_>>(&record.input).map(|input| input.actor)
        }
    };
    actor.unwrap_or_default().to_owned()
}
