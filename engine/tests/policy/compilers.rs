//! Modules of other compilers: `tests/compilers` has one small policy in several languages, and what
//! the compilers make of it by their defaults. A limit or a price that shut one of them out, or made
//! it dear, fails here.

use std::path::Path;

use raft3d_core::Export;
use raft3d_engine::policy::limits::MEMORY_BYTES;
use raft3d_engine::policy::{LimitUse, inspect};
use raft3d_sdk::{AdmissionInput, Hook, testkit, wire};

use crate::support::{SETTINGS, TestHost};

/// Most gas that the policy may cost with any of them: LDC without optimising needs 101,004.
const GAS_MAX: u64 = 120_000;
/// What `max_mg` is in these tests.
const MAX_MG: i64 = 100_000;
/// Those whose memory is laid out as by rustc: a shadow stack of 1 MiB and what is behind it.
const LARGE_STACKS: [&str; 5] = [
    "clang-1mib.wasm",
    "ldc.wasm",
    "zig-Debug.wasm",
    "zig-ReleaseSafe.wasm",
    "zig-ReleaseSmall.wasm",
];

/// Each module with its file's name.
fn modules() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compilers");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let mut modules: Vec<_> = files
        .filter(|file| file.path().extension().is_some_and(|end| end == "wasm"))
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            (name, std::fs::read(file.path()).unwrap())
        })
        .collect();
    modules.sort();
    modules
}

fn used(uses: &[LimitUse], name: &str) -> u64 {
    uses.iter().find(|used| used.limit == name).unwrap().value
}

fn config() -> Vec<u8> {
    testkit::config([("max_mg", MAX_MG.into())])
}

/// The call about a job of that weight.
fn call(weight: &str) -> Vec<u8> {
    let mut input: AdmissionInput<'_> = testkit::admission();
    input.job.print_weight = testkit::grams(weight);
    wire::encode_call(&input, &config())
}

#[test]
fn what_other_compilers_make_by_default_is_taken() {
    let modules = modules();
    assert!(modules.len() >= 7, "{}", modules.len());
    for (name, bytes) in &modules {
        let report = inspect(bytes).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        let memory = used(&report.limits_used, "memory_bytes");
        assert!(memory <= MEMORY_BYTES.max, "{name}: {memory}");
    }
    for name in LARGE_STACKS {
        let (_, bytes) = modules.iter().find(|(it, _)| it == name).unwrap();
        let memory = used(&inspect(bytes).unwrap().limits_used, "memory_bytes");
        assert!(
            memory > 1024 * 1024,
            "{name}: {memory}: not what it stands for"
        );
    }
}

#[test]
fn modules_of_other_compilers_decide_alike_on_every_engine_and_are_cheap() {
    let hosts = SETTINGS.map(TestHost::with);
    for (name, bytes) in &modules() {
        let ask = |export, input: &[u8]| {
            let mut answers = hosts.iter().map(|host| {
                // Twice: the second time it may be an instance that was used before.
                let first = host.evaluate(bytes, export, input).unwrap();
                assert_eq!(
                    host.evaluate(bytes, export, input).unwrap(),
                    first,
                    "{name}"
                );
                first
            });
            let first = answers.next().unwrap();
            assert!(answers.all(|other| other == first), "{name}");
            assert!(first.gas <= GAS_MAX, "{name}: {} gas", first.gas);
            first
                .output
                .unwrap_or_else(|error| panic!("{name}: {error:?}"))
        };
        let hook = Export::Hook(Hook::Admission);
        let light = wire::decode_rule_output(&ask(hook, &call("100"))).unwrap();
        assert_eq!(light.deny, None, "{name}");
        let heavy = wire::decode_rule_output(&ask(hook, &call("100.001"))).unwrap();
        let deny = heavy.deny.unwrap_or_else(|| panic!("{name} lets it in"));
        assert_eq!(deny.code, "too_heavy", "{name}");
        assert_eq!(
            deny.field.as_deref(),
            Some("/print_weight_in_grams"),
            "{name}"
        );
        let checked =
            |config: &[u8]| wire::decode_config_verdict(&ask(Export::CheckConfig, config)).unwrap();
        assert_eq!(checked(&config()).problem, None, "{name}");
        assert!(checked(&testkit::no_config()).problem.is_some(), "{name}");
    }
}
