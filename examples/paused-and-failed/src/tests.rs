#![allow(
    clippy::unwrap_used,
    reason = "A test may end where a value is missing."
)]
use super::*;
use raft3d_sdk::testkit::{self, grams};

/// What a failure takes, with that share of the weight configured, per mille.
fn failed(share: i64, change: impl FnOnce(&mut DeductionInput<'static>)) -> DeductionOutput {
    let mut input = testkit::transition("Running", "Failed");
    change(&mut input);
    let config = testkit::config([("failed_share_per_mille", share.into())]);
    testkit::deduct::<PausedAndFailed>(&input, &config)
}

#[test]
fn each_step_goes_where_it_should_and_nowhere_else() {
    let legal = [
        ("Queued", "Running"),
        ("Paused", "Running"),
        ("Running", "Paused"),
        ("Running", "Done"),
        ("Running", "Failed"),
        ("Paused", "Failed"),
        ("Queued", "Canceled"),
        ("Running", "Canceled"),
        ("Paused", "Canceled"),
    ];
    for from in STATES {
        for to in STATES {
            let input = testkit::transition(from, to);
            let answer = testkit::move_to::<PausedAndFailed>(&input, &testkit::no_config());
            let code = answer.deny.map(|deny| deny.code);
            let expected = (!legal.contains(&(from, to))).then_some("illegal_transition");
            assert_eq!(code.as_deref(), expected, "{from} to {to}");
        }
    }
}

#[test]
fn a_denial_says_from_where_a_job_may_come() {
    let input = testkit::transition("Queued", "Failed");
    let answer = testkit::move_to::<PausedAndFailed>(&input, &testkit::no_config());
    assert_eq!(
        answer.deny.unwrap().message,
        "Can only move to 'failed' from 'running' or 'paused'"
    );
}

#[test]
fn a_stranded_job_comes_back_by_override() {
    let mut input = testkit::transition("AwaitingApproval", "Canceled");
    let move_to = |input: &_| testkit::move_to::<PausedAndFailed>(input, &testkit::no_config());
    assert!(move_to(&input).deny.is_some());
    input.reported.wants_override = true;
    assert_eq!(move_to(&input), RuleOutput::allow());
}

#[test]
fn a_failure_takes_what_is_reported_or_a_share() {
    let takes = |answer: DeductionOutput| answer.take.unwrap();
    assert_eq!(takes(failed(500, |_| {})), grams("60"));
    assert_eq!(takes(failed(0, |_| {})), Grams::ZERO);
    assert_eq!(
        takes(failed(333, |input| input.job.print_weight = grams("0.1"))),
        grams("0.034"),
        "rounded up"
    );
    assert_eq!(
        takes(failed(500, |input| input.job.deducted = grams("59"))),
        grams("1")
    );
    let reported = failed(500, |input| input.reported.used = Some(grams("31.5")));
    assert_eq!(reported.reason, "failed: reported as used");
    assert_eq!(takes(reported), grams("31.5"));
    let heavy = failed(1_000, |input| {
        input.job.print_weight = Grams::MAX;
        input.filament.remaining = grams("7");
    });
    assert_eq!(takes(heavy), grams("7"), "never more than remains");
}

#[test]
fn other_states_are_left_to_the_bindings_behind() {
    for to in ["Running", "Paused", "Done", "Canceled"] {
        let mut input = testkit::transition("Running", to);
        input.reported.used = Some(grams("5"));
        let answer = testkit::deduct::<PausedAndFailed>(&input, &testkit::no_config());
        assert_eq!(answer, DeductionOutput::pass(), "{to}");
    }
}

#[test]
fn a_share_is_at_most_the_whole() {
    let check = |share: i64| {
        let config = testkit::config([("failed_share_per_mille", share.into())]);
        testkit::check::<PausedAndFailed>(&config)
    };
    assert_eq!(check(1_000), ConfigVerdict::good());
    let pointer = check(1_001).pointer;
    assert_eq!(pointer.as_deref(), Some("/failed_share_per_mille"));
}

#[test]
fn paused_jobs_keep_their_printer_and_their_filament() {
    let lifecycle = PausedAndFailed::lifecycle().unwrap();
    let paused = lifecycle.find("paused").unwrap();
    assert!(paused.reserves && paused.occupies && !paused.terminal && !paused.initial);
    let failed = lifecycle.find("FAILED").unwrap();
    assert!(failed.terminal && !failed.reserves && !failed.occupies);
    assert_eq!(lifecycle.initial().unwrap().name, "Queued");
    assert_eq!(lifecycle.find("cancelled").unwrap().name, "Canceled");
}
