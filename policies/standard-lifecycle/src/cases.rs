//! What `standard-lifecycle` must answer. Run natively here, and as WebAssembly by the engine.

use raft3d_sdk::testkit::{self, Case, Expected, Value, grams};
use raft3d_sdk::{AdmissionInput, DenyClass, Grams, PrinterStatus, Reported};

use crate::{CANCELED, DONE, QUEUED, RUNNING};

/// Every case of this policy.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = admission_cases();
    cases.extend(material_cases());
    cases.extend(transition_cases());
    cases.extend(override_cases());
    cases.extend(config_cases());
    cases
}

fn denied(code: &'static str, message: &'static str) -> Expected {
    Expected::Deny(DenyClass::Denied, code, Some(message))
}

fn admission(
    name: &str,
    change: impl FnOnce(&mut AdmissionInput<'static>),
    expected: Expected,
) -> Case {
    let mut input = testkit::admission();
    change(&mut input);
    Case::admission(name, &input, &testkit::no_config(), expected)
}

fn admission_cases() -> Vec<Case> {
    vec![
        admission("the sample job is admitted", |_| {}, Expected::Allow),
        admission(
            "a job may take all that is left",
            |input| input.job.print_weight = grams("800"),
            Expected::Allow,
        ),
        admission(
            "one milligram more than is left is too much",
            |input| input.job.print_weight = grams("800.001"),
            denied(
                "weight_exceeds_available",
                "The print needs 800.001 g, but only 800 g of filament f1 are available",
            ),
        ),
        admission(
            "what other jobs reserve is not available",
            |input| input.filament.reserved_by_others = grams("680.5"),
            denied(
                "weight_exceeds_available",
                "The print needs 120 g, but only 119.5 g of filament f1 are available",
            ),
        ),
        admission(
            "what other jobs leave is available",
            |input| input.filament.reserved_by_others = grams("680"),
            Expected::Allow,
        ),
        admission(
            "an over-reserved filament has nothing available",
            |input| input.filament.reserved_by_others = grams("900"),
            denied(
                "weight_exceeds_available",
                "The print needs 120 g, but only 0 g of filament f1 are available",
            ),
        ),
        admission(
            "a job must weigh something",
            |input| input.job.print_weight = Grams::ZERO,
            denied("weight_not_positive", "The print weight must be above 0 g"),
        ),
        admission(
            "a retired printer takes no jobs",
            |input| input.printer.status = PrinterStatus::Retired,
            denied("printer_retired", "Printer p1 is retired"),
        ),
        admission(
            "a printer in maintenance takes jobs for later",
            |input| input.printer.status = PrinterStatus::Maintenance,
            Expected::Allow,
        ),
        admission(
            "a busy printer takes jobs for later",
            |input| (input.printer.open_jobs, input.printer.occupying_jobs) = (9, 1),
            Expected::Allow,
        ),
        admission(
            "an archived filament takes no jobs",
            |input| input.filament.archived = true,
            denied("filament_archived", "Filament f1 is archived"),
        ),
    ]
}

fn material_cases() -> Vec<Case> {
    let with = |name: &str, material, config: &[u8], expected| {
        let mut input = testkit::admission();
        input.filament.material = material;
        Case::admission(name, &input, config, expected)
    };
    let default = testkit::no_config();
    let configured = testkit::config([("materials", ["PLA", "ASA"].into())]);
    let unknown = denied(
        "material_not_allowed",
        "Filament type ASA is not one of PLA, PETG, ABS, TPU",
    );
    let left_out = denied(
        "material_not_allowed",
        "Filament type TPU is not one of PLA, ASA",
    );
    vec![
        with(
            "PLA is a default material",
            "PLA",
            &default,
            Expected::Allow,
        ),
        with(
            "PETG is a default material",
            "PETG",
            &default,
            Expected::Allow,
        ),
        with(
            "ABS is a default material",
            "ABS",
            &default,
            Expected::Allow,
        ),
        with(
            "TPU is a default material",
            "TPU",
            &default,
            Expected::Allow,
        ),
        with(
            "materials are compared without regard to case",
            "pla",
            &default,
            Expected::Allow,
        ),
        with("another material is not allowed", "ASA", &default, unknown),
        with(
            "unless it is configured",
            "ASA",
            &configured,
            Expected::Allow,
        ),
        with(
            "a configured list replaces the default",
            "TPU",
            &configured,
            left_out,
        ),
    ]
}

fn transition_cases() -> Vec<Case> {
    let illegal = |message| {
        Expected::Deny(
            DenyClass::IllegalTransition,
            "illegal_transition",
            Some(message),
        )
    };
    let states = [QUEUED, RUNNING, DONE, CANCELED];
    let mut cases = Vec::new();
    for from in states {
        for to in states {
            let expected = match (from, to) {
                (QUEUED, RUNNING) | (RUNNING, DONE) | (QUEUED | RUNNING, CANCELED) => {
                    Expected::Allow
                }
                (_, QUEUED) => illegal("Cannot move to 'queued'"),
                (_, RUNNING) => illegal("Can only move to 'running' from 'queued'"),
                (_, DONE) => illegal("Can only move to 'done' from 'running'"),
                (..) => illegal("Can only move to 'canceled' from 'queued' or 'running'"),
            };
            let name = format!("{from} to {to}");
            let input = testkit::transition(from, to);
            cases.push(Case::transition(
                &name,
                &input,
                &testkit::no_config(),
                expected,
            ));
        }
    }
    cases.push(Case::transition(
        "a state of another lifecycle is no goal",
        &testkit::transition(RUNNING, "Paused"),
        &testkit::no_config(),
        illegal("Cannot move to 'paused'"),
    ));
    cases
}

fn override_cases() -> Vec<Case> {
    let with_override = |name: &str, from, to, expected| {
        let mut input = testkit::transition(from, to);
        input.reported = Reported {
            wants_override: true,
            ..Reported::default()
        };
        Case::transition(name, &input, &testkit::no_config(), expected)
    };
    let illegal = || Expected::Deny(DenyClass::IllegalTransition, "illegal_transition", None);
    vec![
        with_override(
            "an override frees a stranded job",
            "Paused",
            CANCELED,
            Expected::Allow,
        ),
        with_override(
            "an override sends a stranded job on",
            "Paused",
            RUNNING,
            Expected::Allow,
        ),
        with_override("an override does not skip a state", QUEUED, DONE, illegal()),
        Case::transition(
            "without an override a stranded job stays",
            &testkit::transition("Paused", CANCELED),
            &testkit::no_config(),
            illegal(),
        ),
    ]
}

fn config_cases() -> Vec<Case> {
    let check = |name: &str, config: &[u8], expected| Case::check_config(name, config, expected);
    let materials = |value: Value| testkit::config([("materials", value)]);
    vec![
        check(
            "no configuration is good",
            &testkit::no_config(),
            Expected::Good,
        ),
        check(
            "a list of materials is good",
            &materials(["ASA"].into()),
            Expected::Good,
        ),
        check(
            "an empty list lets nothing in",
            &materials(Value::List(Vec::new())),
            Expected::Bad("/materials"),
        ),
        check(
            "a material has a name",
            &materials(["PLA", " "].into()),
            Expected::Bad("/materials/1"),
        ),
        check(
            "materials are a list",
            &materials("PLA".into()),
            Expected::Bad("/materials"),
        ),
        check(
            "of texts",
            &materials([7].into()),
            Expected::Bad("/materials/0"),
        ),
        check(
            "an unknown field is named",
            &testkit::config([("material/s", true.into())]),
            Expected::Bad("/material~1s"),
        ),
        check("a configuration is a map", &[0x80], Expected::Bad("")),
        check("and nothing after it", &[0xa0, 0xa0], Expected::Bad("")),
        check("and there is one", &[], Expected::Bad("")),
    ]
}
