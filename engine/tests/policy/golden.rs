//! The golden corpus: (module, input) to (answer, gas). Replicas of two releases run side by side
//! during an upgrade, so none of these may change without a new engine epoch.
//!
//! `RAFT3D_UPDATE_GOLDEN=1 cargo nextest run -p raft3d-engine golden` writes the file anew: to be
//! done with a new gas table, instrumentation, or default module, and at no other time.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use raft3d_core::{Evaluation, Export};
use raft3d_engine::policy::gas::GAS_TABLE_VERSION;
use raft3d_engine::policy::instrument::INSTRUMENTATION_VERSION;
use raft3d_sdk::testkit::Case;
use raft3d_sdk::{Hook, Policy, call_native};
use standard_deduction::StandardDeduction;
use standard_lifecycle::StandardLifecycle;

use crate::support::{TestHost, module};

const UPDATE_VARIABLE: &str = "RAFT3D_UPDATE_GOLDEN";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn prebuilt(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/prebuilt");
    std::fs::read(path.join(format!("{name}.wasm"))).unwrap()
}

/// A guest of the corpus: its file holds the fields that the plain frame lacks.
fn small_guest(name: &str) -> Vec<u8> {
    let path = folder().join("guests").join(format!("{name}.wat"));
    let fields = std::fs::read_to_string(path).unwrap();
    module(&format!(
        r#"(memory (export "memory") 1)
           (func (export "raft3d_alloc") (param i32) (result i32) i32.const 1024)
           {fields}"#
    ))
}

fn export(name: &str) -> Export {
    Hook::from_name(name).map_or(Export::CheckConfig, Export::Hook)
}

/// One line of the corpus: module, export, input, gas, and the answer's hash or the error's code.
fn line(module: &str, export: Export, input: &str, evaluation: &Evaluation) -> String {
    let answer = match &evaluation.output {
        Ok(bytes) => {
            let hash = blake3::hash(bytes).to_hex();
            format!("{} bytes {}", bytes.len(), &hash[..16])
        }
        Err(error) => error.code().to_owned(),
    };
    format!(
        "{module} | {} | {input} | {} gas | {answer}\n",
        export.name(),
        evaluation.gas
    )
}

fn small_lines(host: &TestHost, text: &mut String) {
    let inputs = [
        vec![],
        vec![0],
        vec![1],
        vec![2],
        vec![3],
        vec![4],
        vec![5],
        vec![6],
        { (0..=255).collect() },
    ];
    for name in ["loop", "recursion", "growth", "echo", "mixer", "traps"] {
        let bytes = small_guest(name);
        for input in &inputs {
            let shown = match input.as_slice() {
                [] => "nothing".to_owned(),
                [one] => format!("byte {one}"),
                many => format!("{} bytes counting up", many.len()),
            };
            let evaluation = host.admission(&bytes, input);
            text.push_str(&line(
                name,
                Export::Hook(Hook::Admission),
                &shown,
                &evaluation,
            ));
        }
    }
}

fn policy_lines(host: &TestHost, name: &str, cases: &[Case], text: &mut String) {
    let bytes = prebuilt(name);
    for case in cases {
        let export = export(case.export);
        let evaluation = host.evaluate(&bytes, export, &case.input).unwrap();
        text.push_str(&line(name, export, &case.name, &evaluation));
    }
}

#[test]
fn golden_corpus() {
    let host = TestHost::new();
    let mut text = String::new();
    writeln!(
        text,
        "gas table {GAS_TABLE_VERSION}, instrumentation {INSTRUMENTATION_VERSION}"
    )
    .unwrap();
    small_lines(&host, &mut text);
    policy_lines(
        &host,
        "standard-lifecycle",
        &standard_lifecycle::cases(),
        &mut text,
    );
    policy_lines(
        &host,
        "standard-deduction",
        &standard_deduction::cases(),
        &mut text,
    );
    let path = folder().join("policy.txt");
    if std::env::var_os(UPDATE_VARIABLE).is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (came, golden) in text.lines().zip(expected.lines()) {
        assert_eq!(
            came, golden,
            "an answer or its gas changed; see the head of this file"
        );
    }
    assert_eq!(text.lines().count(), expected.lines().count());
}

fn natively_and_as_wasm<P: Policy>(name: &str, cases: &[Case]) {
    let host = TestHost::new();
    let bytes = prebuilt(name);
    assert!(!cases.is_empty());
    for case in cases {
        case.run::<P>().unwrap();
        let evaluation = host
            .evaluate(&bytes, export(case.export), &case.input)
            .unwrap();
        let answer = evaluation
            .output
            .unwrap_or_else(|error| panic!("{case}: {}", error.code()));
        case.check(&answer).unwrap();
        let native = call_native::<P>(case.export, &case.input).unwrap();
        assert_eq!(
            answer, native,
            "{case}: the two answers differ in their bytes"
        );
    }
}

#[test]
fn default_policies_answer_as_they_do_natively() {
    natively_and_as_wasm::<StandardLifecycle>("standard-lifecycle", &standard_lifecycle::cases());
    natively_and_as_wasm::<StandardDeduction>("standard-deduction", &standard_deduction::cases());
}

#[test]
fn default_policies_leave_room_below_every_limit() {
    for name in ["standard-lifecycle", "standard-deduction"] {
        let report = raft3d_engine::policy::inspect(&prebuilt(name)).unwrap();
        assert_eq!(report.manifest.name, name);
        for usage in report.limits_used.iter().filter(|usage| usage.max > 1) {
            println!("{name}: {} {} of {}", usage.limit, usage.value, usage.max);
            assert!(usage.value < usage.max, "{name}: {usage:?}");
        }
    }
}
