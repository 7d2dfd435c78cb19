//! What `standard-deduction` must answer. Run natively here, and as WebAssembly by the engine.

use raft3d_sdk::testkit::{self, Case, Expected, grams};
use raft3d_sdk::{DeductionInput, Grams};

/// Every case of this policy.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        deduction(
            "Done takes the print weight",
            "Running",
            "Done",
            |_| {},
            take("120"),
        ),
        deduction(
            "Done takes what is reported",
            "Running",
            "Done",
            |input| input.reported.used = Some(grams("131.25")),
            take("131.25"),
        ),
        deduction(
            "nothing used is a report too",
            "Running",
            "Done",
            |input| input.reported.used = Some(Grams::ZERO),
            take("0"),
        ),
        deduction(
            "Done completes what was taken before",
            "Running",
            "Done",
            |input| input.job.deducted = grams("20"),
            take("100"),
        ),
        deduction(
            "Done takes nothing more where enough was taken",
            "Running",
            "Done",
            |input| input.job.deducted = grams("130"),
            take("0"),
        ),
        deduction(
            "more than remains is for the engine to refuse",
            "Running",
            "Done",
            |input| input.filament.remaining = grams("100"),
            take("120"),
        ),
        deduction(
            "a queued job's cancellation",
            "Queued",
            "Canceled",
            |_| {},
            take("0"),
        ),
        deduction(
            "a running job's cancellation",
            "Running",
            "Canceled",
            |_| {},
            take("0"),
        ),
        deduction(
            "Canceled takes what is reported",
            "Running",
            "Canceled",
            |input| input.reported.used = Some(grams("7.5")),
            take("7.5"),
        ),
        deduction(
            "starting takes nothing",
            "Queued",
            "Running",
            |_| {},
            Expected::Pass,
        ),
        deduction(
            "other states are for others",
            "Running",
            "Paused",
            |_| {},
            Expected::Pass,
        ),
        deduction(
            "whatever is reported",
            "Running",
            "Paused",
            |input| input.reported.used = Some(grams("7.5")),
            Expected::Pass,
        ),
    ];
    let some = testkit::config([("factor", 1.into())]);
    cases.push(Case::check_config(
        "nothing to configure",
        &[0xa0],
        Expected::Good,
    ));
    cases.push(Case::check_config(
        "is nothing to configure",
        &some,
        Expected::Bad("/factor"),
    ));
    cases
}

fn take(weight: &str) -> Expected {
    Expected::Take(grams(weight))
}

fn deduction(
    name: &str,
    from: &'static str,
    to: &'static str,
    change: impl FnOnce(&mut DeductionInput<'static>),
    expected: Expected,
) -> Case {
    let mut input = testkit::transition(from, to);
    change(&mut input);
    Case::deduction(name, &input, &testkit::no_config(), expected)
}
