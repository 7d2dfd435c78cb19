//! What `safety-margin` must answer. Run natively here, and as WebAssembly by the engine.

use raft3d_sdk::testkit::{self, Case, Expected, Value, grams, object};
use raft3d_sdk::{AdmissionInput, DenyClass, Grams, TransitionInput};

/// Every case of this policy.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = admission_cases();
    cases.extend(transition_cases());
    cases.extend(config_cases());
    cases
}

/// 50 g, for ABS 100 g, for TPU none; a reason of ten characters passes.
fn margins() -> Vec<u8> {
    testkit::config([
        ("margin_mg", 50_000.into()),
        (
            "materials",
            object([("abs", 100_000.into()), ("TPU", 0.into())]),
        ),
        ("override_reason_chars_min", 10.into()),
    ])
}

fn denied(message: &'static str) -> Expected {
    Expected::Deny(DenyClass::Denied, "below_safety_margin", Some(message))
}

/// The sample job is 120 g of a spool with 800 g.
fn admission_cases() -> Vec<Case> {
    let with = |name: &str, change: fn(&mut AdmissionInput<'static>), expected| {
        let mut input = testkit::admission();
        change(&mut input);
        Case::admission(name, &input, &margins(), expected)
    };
    vec![
        with("plenty rests", |_| {}, Expected::Allow),
        with(
            "just the margin rests",
            |input| input.filament.reserved_by_others = grams("630"),
            Expected::Allow,
        ),
        with(
            "a milligram less",
            |input| input.filament.reserved_by_others = grams("630.001"),
            denied("Filament f1 would be left with 49.999 g, and at least 50 g must rest"),
        ),
        with(
            "less than nothing",
            |input| input.filament.remaining = grams("100"),
            denied("Filament f1 would be left with less than nothing, and at least 50 g must rest"),
        ),
        with(
            "an over-reserved spool",
            |input| input.filament.reserved_by_others = Grams::MAX,
            denied("Filament f1 would be left with less than nothing, and at least 50 g must rest"),
        ),
        with(
            "a material with a margin of its own",
            |input| {
                input.filament.material = "ABS";
                input.filament.remaining = grams("219.5");
            },
            denied("Filament f1 would be left with 99.5 g, and at least 100 g must rest"),
        ),
        with(
            "a material without",
            |input| {
                input.filament.material = "tpu";
                input.filament.remaining = grams("120");
            },
            Expected::Allow,
        ),
    ]
}

fn transition_cases() -> Vec<Case> {
    let with = |name: &str, to, change: fn(&mut TransitionInput<'static>), expected| {
        let mut input = testkit::transition("Queued", to);
        input.filament.remaining = grams("150");
        change(&mut input);
        Case::transition(name, &input, &margins(), expected)
    };
    let low = || denied("Filament f1 would be left with 30 g, and at least 50 g must rest");
    vec![
        with("a start below the margin", "Running", |_| {}, low()),
        with("other states", "Canceled", |_| {}, Expected::Allow),
        with(
            "what the job took already",
            "Running",
            |input| input.job.deducted = grams("20"),
            Expected::Allow,
        ),
        with(
            "an override with a reason",
            "Running",
            |input| {
                input.reported.wants_override = true;
                input.reported.reason = Some("spool is new");
            },
            Expected::Allow,
        ),
        with(
            "an override with a short one",
            "Running",
            |input| {
                input.reported.wants_override = true;
                input.reported.reason = Some("it is new");
            },
            low(),
        ),
        with(
            "a reason alone",
            "Running",
            |input| input.reported.reason = Some("spool is new"),
            low(),
        ),
    ]
}

fn config_cases() -> Vec<Case> {
    let margin = |mg: i64| ("margin_mg", Value::from(mg));
    let materials = |value| testkit::config([margin(0), ("materials", value)]);
    let bad = Expected::Bad;
    let checks = [
        ("all fields are good", margins(), Expected::Good),
        (
            "a margin is good",
            testkit::config([margin(1)]),
            Expected::Good,
        ),
        ("it must be there", testkit::no_config(), bad("/margin_mg")),
        (
            "and above 0",
            testkit::config([margin(0)]),
            bad("/margin_mg"),
        ),
        (
            "or that of a material",
            materials(object([("PLA", 1.into())])),
            Expected::Good,
        ),
        (
            "whose is not 0 either",
            materials(object([("PLA", 0.into())])),
            bad("/margin_mg"),
        ),
        (
            "a material has a name",
            materials(object([("", 1.into())])),
            bad("/materials/"),
        ),
        (
            "and stands there once",
            materials(object([("PLA", 1.into()), ("pLA", 1.into())])),
            bad("/materials/pLA"),
        ),
        (
            "a margin is a weight",
            testkit::config([margin(-1)]),
            bad("/margin_mg"),
        ),
        (
            "a reason has characters",
            testkit::config([margin(1), ("override_reason_chars_min", 0.into())]),
            bad("/override_reason_chars_min"),
        ),
    ];
    checks
        .map(|(name, config, is)| Case::check_config(name, &config, is))
        .into()
}
