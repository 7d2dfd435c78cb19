//! What an answer changes in the one that was recorded.

use raft3d_core::state::decisions::{DecisionRecord, Verdict};
use raft3d_core::state::rulesets::Mode;
use raft3d_sdk::Hook;

/// A difference that a client or a ledger would see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It was allowed, and would be denied.
    NowDenied,
    /// It was refused, and would be allowed.
    NowAllowed,
    /// It was refused, and would be denied with another code, class or message.
    OtherDenial,
    /// Another amount would be taken, or the question left to another binding.
    OtherGrams,
    /// The candidate gives no answer, which denies.
    Failed,
}

impl Change {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 5] = [
        Self::NowDenied,
        Self::NowAllowed,
        Self::OtherDenial,
        Self::OtherGrams,
        Self::Failed,
    ];

    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NowDenied => "now denied",
            Self::NowAllowed => "now allowed",
            Self::OtherDenial => "denied otherwise",
            Self::OtherGrams => "other grams",
            Self::Failed => "failed",
        }
    }
}

/// What `after` in place of `before` would change; none where it is the same. Why an amount is
/// taken is not compared, only how much.
#[must_use]
pub fn change(before: &Verdict, after: &Verdict) -> Option<Change> {
    match (before, after) {
        _ if before == after => None,
        (Verdict::Take { grams: before, .. }, Verdict::Take { grams: after, .. })
            if before == after =>
        {
            None
        }
        (_, Verdict::Failed(_)) => Some(Change::Failed),
        (before, after) if before.refuses() && after.refuses() => Some(Change::OtherDenial),
        (before, _) if before.refuses() => Some(Change::NowAllowed),
        (_, after) if after.refuses() => Some(Change::NowDenied),
        _ => Some(Change::OtherGrams),
    }
}

/// What the enforcing bindings together said of `hook`; none where the entry did not ask it.
#[must_use]
pub fn overall(record: &DecisionRecord, hook: Hook) -> Option<Verdict> {
    let mut asked = record
        .decisions
        .iter()
        .filter(|d| d.hook == hook)
        .peekable();
    asked.peek()?;
    let mut enforcing = asked.filter(|d| d.mode == Mode::Enforce);
    let decides = |verdict: &Verdict| !matches!(verdict, Verdict::Allow | Verdict::Pass);
    let decided = enforcing.find(|d| decides(&d.verdict));
    Some(match (decided, hook) {
        (Some(decision), _) => decision.verdict.clone(),
        (None, Hook::Deduction) => Verdict::Pass,
        (None, Hook::Admission | Hook::Transition) => Verdict::Allow,
    })
}

/// What would have come of it, had the candidate been asked before all others.
#[must_use]
pub fn with_candidate(before: &Verdict, candidate: Verdict) -> Verdict {
    match candidate {
        // Whatever it says: what others deny stays denied.
        _ if before.refuses() => before.clone(),
        // It lets the others decide.
        Verdict::Allow | Verdict::Pass => before.clone(),
        decided => decided,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use raft3d_core::state::decisions::Decision;
    use raft3d_core::{BindingId, JobId, ModuleDigest, PolicyError, Revision};
    use raft3d_sdk::{DenyClass, Grams};

    use super::*;

    fn deny(code: &str) -> Verdict {
        Verdict::Deny {
            class: DenyClass::Denied,
            code: code.to_owned(),
            message: "no".to_owned(),
        }
    }

    fn take(mg: u64) -> Verdict {
        Verdict::Take {
            grams: Grams::from_mg(mg).unwrap(),
            reason: format!("{mg}"),
        }
    }

    const TRAP: Verdict = Verdict::Failed(PolicyError::Unreachable);

    #[test]
    fn every_pair_of_answers_has_its_change() {
        use Change::{Failed, NowAllowed, NowDenied, OtherDenial, OtherGrams};
        let other_class = Verdict::Deny {
            class: DenyClass::IllegalTransition,
            code: "a".to_owned(),
            message: "no".to_owned(),
        };
        let other_reason = Verdict::Take {
            grams: Grams::from_mg(1).unwrap(),
            reason: "another".to_owned(),
        };
        for (before, after, expected) in [
            (Verdict::Allow, Verdict::Allow, None),
            (Verdict::Allow, deny("a"), Some(NowDenied)),
            (deny("a"), Verdict::Allow, Some(NowAllowed)),
            (deny("a"), deny("a"), None),
            (deny("a"), deny("b"), Some(OtherDenial)),
            (deny("a"), other_class, Some(OtherDenial)),
            (TRAP, deny("a"), Some(OtherDenial)),
            (TRAP, Verdict::Allow, Some(NowAllowed)),
            (TRAP, TRAP, None),
            (Verdict::Failed(PolicyError::OutOfGas), TRAP, Some(Failed)),
            (Verdict::Allow, TRAP, Some(Failed)),
            (deny("a"), TRAP, Some(Failed)),
            (take(1), take(1), None),
            (take(1), other_reason, None),
            (take(1), take(2), Some(OtherGrams)),
            (take(1), Verdict::Pass, Some(OtherGrams)),
            (Verdict::Pass, take(0), Some(OtherGrams)),
            (Verdict::Pass, Verdict::Pass, None),
            (take(1), TRAP, Some(Failed)),
            (TRAP, take(1), Some(NowAllowed)),
        ] {
            assert_eq!(change(&before, &after), expected, "{before:?} {after:?}");
        }
    }

    fn record(verdicts: &[(Hook, Mode, Verdict)]) -> DecisionRecord {
        let decision = |(hook, mode, verdict): &(Hook, Mode, Verdict)| Decision {
            binding: BindingId::new("b"),
            module: ModuleDigest([0; 32]),
            abi: 1,
            hook: *hook,
            mode: *mode,
            input_digest: [0; 32],
            verdict: verdict.clone(),
            warnings: Vec::new(),
            gas: 1,
        };
        DecisionRecord {
            revision: Revision(1),
            at_ms: 1,
            epoch: 1,
            ruleset: Revision(1),
            job: JobId::new("j"),
            input: Vec::new(),
            decisions: verdicts.iter().map(decision).collect(),
        }
    }

    #[test]
    fn the_first_enforcing_binding_that_decides_is_the_answer() {
        use Hook::{Admission, Deduction, Transition};
        use Mode::{Enforce, Shadow};
        let moved = record(&[
            (Transition, Enforce, Verdict::Allow),
            (Deduction, Enforce, Verdict::Pass),
            (Deduction, Enforce, take(5)),
            (Transition, Shadow, deny("shadow")),
            (Deduction, Shadow, take(7)),
        ]);
        assert_eq!(overall(&moved, Transition), Some(Verdict::Allow));
        assert_eq!(overall(&moved, Deduction), Some(take(5)));
        assert_eq!(overall(&moved, Admission), None);
        let denied = record(&[
            (Admission, Enforce, Verdict::Allow),
            (Admission, Enforce, deny("a")),
        ]);
        assert_eq!(overall(&denied, Admission), Some(deny("a")));
        let watched = record(&[(Admission, Shadow, deny("a"))]);
        assert_eq!(overall(&watched, Admission), Some(Verdict::Allow));
        let passed = record(&[(Deduction, Enforce, Verdict::Pass)]);
        assert_eq!(overall(&passed, Deduction), Some(Verdict::Pass));
    }

    #[test]
    fn what_others_deny_stays_denied() {
        let with = |before: &Verdict, candidate| with_candidate(before, candidate);
        assert_eq!(with(&deny("a"), Verdict::Allow), deny("a"));
        assert_eq!(with(&deny("a"), deny("b")), deny("a"));
        assert_eq!(with(&Verdict::Allow, deny("b")), deny("b"));
        assert_eq!(with(&Verdict::Allow, TRAP), TRAP);
        assert_eq!(with(&take(5), Verdict::Pass), take(5));
        assert_eq!(with(&take(5), take(0)), take(0));
    }
}
