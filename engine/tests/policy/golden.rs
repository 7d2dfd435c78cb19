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
use raft3d_sdk::{Hook, NativeError, Policy, call_native};

use crate::support::{TestHost, module};

const UPDATE_VARIABLE: &str = "RAFT3D_UPDATE_GOLDEN";

/// A policy that is shipped, with its table of cases.
struct Shipped {
    name: &'static str,
    cases: Vec<Case>,
    native: fn(&str, &[u8]) -> Result<Vec<u8>, NativeError>,
}

fn shipped_as<P: Policy>(cases: Vec<Case>) -> Shipped {
    Shipped {
        name: P::NAME,
        cases,
        native: call_native::<P>,
    }
}

/// Every module under `policies/prebuilt/`.
fn shipped() -> Vec<Shipped> {
    vec![
        shipped_as::<standard_lifecycle::StandardLifecycle>(standard_lifecycle::cases()),
        shipped_as::<standard_deduction::StandardDeduction>(standard_deduction::cases()),
        shipped_as::<approval::Approval>(approval::cases()),
        shipped_as::<exclusive_printer::ExclusivePrinter>(exclusive_printer::cases()),
        shipped_as::<material_match::MaterialMatch>(material_match::cases()),
        shipped_as::<quiet_hours::QuietHours>(quiet_hours::cases()),
        shipped_as::<quota::Quota>(quota::cases()),
        shipped_as::<safety_margin::SafetyMargin>(safety_margin::cases()),
        shipped_as::<waste_factor::WasteFactor>(waste_factor::cases()),
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

pub fn prebuilt(name: &str) -> Vec<u8> {
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

fn policy_lines(host: &TestHost, policy: &Shipped, text: &mut String) {
    let bytes = prebuilt(policy.name);
    for case in &policy.cases {
        let export = export(case.export);
        let evaluation = host.evaluate(&bytes, export, &case.input).unwrap();
        text.push_str(&line(policy.name, export, &case.name, &evaluation));
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
    for policy in shipped() {
        policy_lines(&host, &policy, &mut text);
    }
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

#[test]
fn every_shipped_policy_is_tested() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/prebuilt");
    let files = std::fs::read_dir(folder).unwrap();
    let names = files.filter_map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".wasm").map(str::to_owned)
    });
    let mut names: Vec<_> = names.collect();
    names.sort();
    let mut tested: Vec<_> = shipped().iter().map(|policy| policy.name).collect();
    tested.sort_unstable();
    assert_eq!(names, tested);
}

#[test]
fn shipped_policies_answer_as_they_do_natively() {
    let host = TestHost::new();
    for policy in shipped() {
        let bytes = prebuilt(policy.name);
        assert!(!policy.cases.is_empty());
        for case in &policy.cases {
            let native = (policy.native)(case.export, &case.input).unwrap();
            case.check(&native).unwrap();
            let evaluation = host
                .evaluate(&bytes, export(case.export), &case.input)
                .unwrap();
            let answer = evaluation
                .output
                .unwrap_or_else(|error| panic!("{}: {case}: {}", policy.name, error.code()));
            assert_eq!(
                answer, native,
                "{}: {case}: the two answers differ in their bytes",
                policy.name
            );
        }
    }
}

#[test]
fn shipped_policies_leave_room_below_every_limit() {
    for Shipped { name, .. } in shipped() {
        let report = raft3d_engine::policy::inspect(&prebuilt(name)).unwrap();
        assert_eq!(report.manifest.name, name);
        for usage in report.limits_used.iter().filter(|usage| usage.max > 1) {
            println!("{name}: {} {} of {}", usage.limit, usage.value, usage.max);
            assert!(usage.value < usage.max, "{name}: {usage:?}");
        }
    }
}
