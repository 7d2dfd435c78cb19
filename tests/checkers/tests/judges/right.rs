//! No judge blames a history that is right.

use crate::making::{Plan, SMALL, make};
use crate::random::for_seeds;

fn check(seed: u64, plan: &Plan) {
    let made = make(seed, plan);
    let verdict = made.check();
    assert!(
        verdict.is_good() && verdict.undecided.is_empty(),
        "{plan:?}\n{verdict}"
    );
    assert!(verdict.skipped.is_empty(), "{verdict}");
}

#[test]
fn of_the_calls_that_there_are() {
    for_seeds(60, |seed| check(seed, &SMALL));
}

#[test]
fn with_claims_adjustments_priorities_and_deletions() {
    for_seeds(60, |seed| {
        check(
            seed,
            &Plan {
                wide: true,
                ..SMALL
            },
        )
    });
}

#[test]
fn with_many_lost_answers() {
    for_seeds(40, |seed| {
        check(
            seed,
            &Plan {
                lost_answers: 20,
                operations: 150,
                wide: seed % 2 == 0,
                ..SMALL
            },
        );
    });
}

#[test]
fn without_dumps_that_tell_what_became_of_lost_answers() {
    for_seeds(40, |seed| {
        let mut made = make(seed, &SMALL);
        made.finals.clear();
        let verdict = made.check();
        assert!(
            verdict.is_good() && verdict.undecided.is_empty(),
            "{verdict}"
        );
        assert!(
            !verdict.skipped.is_empty(),
            "what was not looked at is said"
        );
    });
}

#[test]
fn without_events_and_ledger() {
    for_seeds(40, |seed| {
        let mut made = make(seed, &SMALL);
        for node in &mut made.finals {
            (node.events, node.ledger) = (None, None);
        }
        let verdict = made.check();
        assert!(
            verdict.is_good() && verdict.undecided.is_empty(),
            "{verdict}"
        );
    });
}
