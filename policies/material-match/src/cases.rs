//! What `material-match` must answer. Run natively here, and as WebAssembly by the engine.

use raft3d_sdk::testkit::{self, Case, Expected, Value};
use raft3d_sdk::{DenyClass, Label};

/// Every case of this policy.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = admission_cases();
    cases.extend(transition_cases());
    cases.extend(config_cases());
    cases
}

fn labels(key: &'static str, value: &'static str) -> Vec<Label<'static>> {
    let first = Label {
        key: "hall",
        value: "PLA",
    };
    vec![first, Label { key, value }]
}

fn denied(code: &'static str, message: &'static str) -> Expected {
    Expected::Deny(DenyClass::Denied, code, Some(message))
}

/// The sample job, whose filament is PLA, for a printer with that label.
fn admission(name: &str, key: &'static str, value: &'static str, expected: Expected) -> Case {
    let mut input = testkit::admission();
    input.printer.labels = labels(key, value);
    Case::admission(name, &input, &testkit::no_config(), expected)
}

fn admission_cases() -> Vec<Case> {
    let strict = testkit::config([("allow_unlabelled", false.into())]);
    let renamed = testkit::config([("label", "filaments".into())]);
    let mut renamed_input = testkit::admission();
    renamed_input.printer.labels = labels("filaments", "ABS");
    vec![
        admission("a named material", "materials", "PLA", Expected::Allow),
        admission(
            "one of several",
            "materials",
            "ABS, pla ,TPU",
            Expected::Allow,
        ),
        admission(
            "one that is not named",
            "materials",
            "ABS,PETG",
            denied(
                "material_not_on_printer",
                "Printer p1 takes ABS,PETG, and filament f1 is PLA",
            ),
        ),
        admission(
            "a part of a name is no name",
            "materials",
            "PLA-CF",
            denied(
                "material_not_on_printer",
                "Printer p1 takes PLA-CF, and filament f1 is PLA",
            ),
        ),
        admission(
            "an empty label takes nothing",
            "materials",
            "",
            denied(
                "material_not_on_printer",
                "Printer p1 takes nothing, and filament f1 is PLA",
            ),
        ),
        admission(
            "another label says nothing",
            "Materials",
            "ABS",
            Expected::Allow,
        ),
        Case::admission(
            "no label takes all",
            &testkit::admission(),
            &testkit::no_config(),
            Expected::Allow,
        ),
        Case::admission(
            "or nothing, where configured",
            &testkit::admission(),
            &strict,
            denied(
                "printer_without_materials",
                "Printer p1 has no label 'materials'",
            ),
        ),
        Case::admission(
            "the label's key is configured",
            &renamed_input,
            &renamed,
            denied(
                "material_not_on_printer",
                "Printer p1 takes ABS, and filament f1 is PLA",
            ),
        ),
    ]
}

fn transition_cases() -> Vec<Case> {
    let start = |name: &str, to, value, config: &[u8], expected| {
        let mut input = testkit::transition("Queued", to);
        input.printer.labels = labels("materials", value);
        Case::transition(name, &input, config, expected)
    };
    let default = testkit::no_config();
    let never = testkit::config([("states", Value::List(Vec::new()))]);
    let denied = || Expected::Deny(DenyClass::Denied, "material_not_on_printer", None);
    vec![
        start(
            "a start that matches",
            "Running",
            "PLA",
            &default,
            Expected::Allow,
        ),
        start("one that does not", "running", "ABS", &default, denied()),
        start("other states", "Canceled", "ABS", &default, Expected::Allow),
        start("no state", "Running", "ABS", &never, Expected::Allow),
    ]
}

fn config_cases() -> Vec<Case> {
    let label = |key: &str| testkit::config([("label", key.into())]);
    let longest = "m".repeat(64);
    let checks = [
        (
            "no configuration is good",
            testkit::no_config(),
            Expected::Good,
        ),
        ("the longest key is good", label(&longest), Expected::Good),
        (
            "a longer one is no label",
            label(&(longest + "m")),
            Expected::Bad("/label"),
        ),
        ("nor is an empty one", label(""), Expected::Bad("/label")),
        (
            "at admission only is good",
            testkit::config([("states", Value::List(Vec::new()))]),
            Expected::Good,
        ),
        (
            "a state has a name",
            testkit::config([("states", [" "].into())]),
            Expected::Bad("/states/0"),
        ),
        (
            "allow or not",
            testkit::config([("allow_unlabelled", "no".into())]),
            Expected::Bad("/allow_unlabelled"),
        ),
    ];
    checks
        .map(|(name, config, is)| Case::check_config(name, &config, is))
        .into()
}
