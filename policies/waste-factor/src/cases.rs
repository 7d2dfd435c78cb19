//! What `waste-factor` must answer. Run natively here, and as WebAssembly by the engine.

use raft3d_sdk::testkit::{self, Case, Expected, Value, grams, object};
use raft3d_sdk::{DeductionInput, Grams};

/// Every case of this policy.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = done_cases();
    cases.extend(limit_cases());
    cases.extend(partial_cases());
    cases.extend(config_cases());
    cases
}

/// 5 % and 2.5 g for PLA, 20 % for the rest; a failed print takes a third.
fn wasteful() -> Vec<u8> {
    testkit::config([
        ("default", waste(1_200, 0)),
        ("materials", object([("pla", waste(1_050, 2_500))])),
        (
            "partial_states",
            object([("Failed", 333.into()), ("Canceled", 0.into())]),
        ),
    ])
}

fn waste(factor_per_mille: i64, purge_mg: i64) -> Value {
    object([
        ("factor_per_mille", factor_per_mille.into()),
        ("purge_mg", purge_mg.into()),
    ])
}

fn take(weight: &str) -> Expected {
    Expected::Take(grams(weight))
}

fn deduction(
    name: &str,
    to: &'static str,
    change: impl FnOnce(&mut DeductionInput<'static>),
    config: &[u8],
    expected: Expected,
) -> Case {
    let mut input = testkit::transition("Running", to);
    change(&mut input);
    Case::deduction(name, &input, config, expected)
}

fn done_cases() -> Vec<Case> {
    let (default, config) = (testkit::no_config(), wasteful());
    vec![
        deduction("by default no waste", "Done", |_| {}, &default, take("120")),
        deduction(
            "a factor and a purge by material",
            "Done",
            |_| {},
            &config,
            take("128.5"),
        ),
        deduction(
            "another material has the default",
            "Done",
            |input| input.filament.material = "ABS",
            &config,
            take("144"),
        ),
        deduction(
            "a report has waste too",
            "done",
            |input| input.reported.used = Some(grams("100")),
            &config,
            take("107.5"),
        ),
        deduction(
            "nothing reported as used is still purged",
            "Done",
            |input| input.reported.used = Some(Grams::ZERO),
            &config,
            take("2.5"),
        ),
        deduction(
            "parts of a milligram are rounded up",
            "Done",
            |input| input.job.print_weight = grams("0.001"),
            &config,
            take("2.502"),
        ),
        deduction(
            "what was taken before counts",
            "Done",
            |input| input.job.deducted = grams("28.5"),
            &config,
            take("100"),
        ),
        deduction(
            "and more than enough is enough",
            "Done",
            |input| input.job.deducted = grams("200"),
            &config,
            take("0"),
        ),
        deduction(
            "other states are for others",
            "Paused",
            |_| {},
            &config,
            Expected::Pass,
        ),
    ]
}

fn limit_cases() -> Vec<Case> {
    let (config, most) = (
        wasteful(),
        testkit::config([("default", waste(10_000, 1_000_000))]),
    );
    vec![
        deduction(
            "never more than remains",
            "Done",
            |input| input.filament.remaining = grams("128.499"),
            &config,
            take("128.499"),
        ),
        deduction(
            "just what remains",
            "Done",
            |input| input.filament.remaining = grams("128.5"),
            &config,
            take("128.5"),
        ),
        deduction(
            "the heaviest job with the most waste",
            "Done",
            |input| input.job.print_weight = Grams::MAX,
            &most,
            take("800"),
        ),
        deduction(
            "the largest report of a failure",
            "Failed",
            |input| input.reported.used = Some(Grams::MAX),
            &config,
            take("800"),
        ),
    ]
}

fn partial_cases() -> Vec<Case> {
    let (default, config) = (testkit::no_config(), wasteful());
    vec![
        deduction(
            "Canceled takes nothing by default",
            "Canceled",
            |_| {},
            &default,
            take("0"),
        ),
        deduction(
            "but what is reported, as it is",
            "Canceled",
            |input| input.reported.used = Some(grams("7.5")),
            &config,
            take("7.5"),
        ),
        deduction(
            "a share of the weight, rounded up",
            "Failed",
            |input| input.job.print_weight = grams("0.1"),
            &config,
            take("0.034"),
        ),
        deduction(
            "less what was taken before",
            "failed",
            |input| input.job.deducted = grams("9.96"),
            &config,
            take("30"),
        ),
        deduction(
            "a state that is not configured passes",
            "Failed",
            |_| {},
            &default,
            Expected::Pass,
        ),
    ]
}

fn config_cases() -> Vec<Case> {
    let materials = |key: &str, value| testkit::config([("materials", object([(key, value)]))]);
    let twice = object([("PLA", waste(1_000, 0)), ("pla", waste(1_000, 0))]);
    let share = |state: &str, share: i64| {
        testkit::config([("partial_states", object([(state, share.into())]))])
    };
    let checks = [
        (
            "no configuration is good",
            testkit::no_config(),
            Expected::Good,
        ),
        ("all fields are good", wasteful(), Expected::Good),
        (
            "the whole weight is a share",
            share("Failed", 1_000),
            Expected::Good,
        ),
        (
            "a factor takes something",
            testkit::config([("default", waste(0, 0))]),
            Expected::Bad("/default/factor_per_mille"),
        ),
        (
            "and at most tenfold",
            materials("a/b", waste(10_001, 0)),
            Expected::Bad("/materials/a~1b/factor_per_mille"),
        ),
        (
            "a purge is at most 1 kg",
            materials("PLA", waste(1_000, 1_000_001)),
            Expected::Bad("/materials/PLA/purge_mg"),
        ),
        (
            "a material has one waste",
            testkit::config([("materials", twice)]),
            Expected::Bad("/materials/pla"),
        ),
        (
            "a share is at most the whole",
            share("Failed", 1_001),
            Expected::Bad("/partial_states/Failed"),
        ),
        (
            "a state is done or partial",
            share("DONE", 5),
            Expected::Bad("/partial_states/DONE"),
        ),
        (
            "something is done",
            testkit::config([("done_states", Value::List(Vec::new()))]),
            Expected::Bad("/done_states"),
        ),
        (
            "an unknown field is named",
            materials("PLA", object([("factor", 2.into())])),
            Expected::Bad("/materials/PLA/factor"),
        ),
    ];
    checks
        .map(|(name, config, is)| Case::check_config(name, &config, is))
        .into()
}
