//! Faults of this machine in the middle of an evaluation: a replica stops, and nothing is decided.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed test is to panic"
)]

use wasmtime::ResourceLimiter;

use super::*;
use crate::policy::cache::adopt;
use crate::policy::instance::WATCHDOG_TICKS;
use crate::policy::{CompileLimits, Compiler, InProcessCompiler};

const MODULE: &[u8] = include_bytes!("../../../policies/prebuilt/standard-deduction.wasm");

fn runtime() -> (Runtime, ReadyModule) {
    runtime_with(EngineSettings::default())
}

fn runtime_with(settings: EngineSettings) -> (Runtime, ReadyModule) {
    runtime_of(MODULE, settings)
}

fn runtime_of(module: &[u8], settings: EngineSettings) -> (Runtime, ReadyModule) {
    let settings = EngineSettings {
        slots: 1,
        ..settings
    };
    let compiler = InProcessCompiler::new(settings);
    let code = compiler.compile(module, CompileLimits::UPLOAD).unwrap();
    let runtime = Runtime::new(settings).unwrap();
    let module = runtime.ready(&adopt(&code, runtime.engine()).unwrap());
    (runtime, module.unwrap())
}

/// Runs `check_config` in an instance to which `strike` was done after its start.
fn struck(strike: impl FnOnce(&Engine, &mut Running)) -> Result<Vec<u8>, String> {
    let (runtime, module) = runtime();
    let mut running = Running::start(&module).unwrap();
    running.refuel(GAS_BUDGET).unwrap();
    strike(runtime.engine(), &mut running);
    match running.run(
        None,
        Export::CheckConfig,
        &module.check_config,
        wire::EMPTY_CONFIG,
    ) {
        Ok(answer) => Ok(answer.unwrap()),
        Err(LocalFault::Runtime(what)) => Err(what),
        Err(other) => panic!("another fault: {other}"),
    }
}

#[test]
fn the_watchdog_is_a_fault_and_no_verdict() {
    let ticks = |count| {
        move |engine: &Engine, _: &mut Running| {
            (0..count).for_each(|_| engine.increment_epoch());
        }
    };
    assert!(struck(ticks(0)).is_ok());
    let what = struck(ticks(WATCHDOG_TICKS)).unwrap_err();
    assert!(what.contains("interrupt"), "{what}");
}

#[test]
fn a_growth_that_the_machine_refuses_is_a_fault_whatever_the_guest_answers() {
    let what = struck(|_, running| {
        let refused = wasmtime::Error::msg("no memory (test)");
        running
            .store
            .data_mut()
            .memory_grow_failed(refused)
            .unwrap();
    });
    let what = what.unwrap_err();
    assert!(what.contains("no memory (test)"), "{what}");
}

fn kept(module: &ReadyModule) -> usize {
    lock(&module.kept).len()
}

#[test]
fn an_instance_is_used_again_as_it_was() {
    let (runtime, module) = runtime();
    let ask = || runtime.evaluate(&module, Export::CheckConfig, wire::EMPTY_CONFIG, GAS_BUDGET);
    assert_eq!(kept(&module), 0);
    let first = ask().unwrap();
    assert_eq!(kept(&module), 1);
    let (mut running, place) = module.instance(GAS_BUDGET).unwrap();
    let mut fresh = Running::start(&module).unwrap();
    fresh.refuel(GAS_BUDGET).unwrap();
    let fresh = fresh.state();
    assert!(running.state() == fresh, "every byte and every global");
    let answer = running.run(
        None,
        Export::CheckConfig,
        &module.check_config,
        wire::EMPTY_CONFIG,
    );
    assert!(answer.unwrap().is_ok());
    assert!(
        running.state().0 != fresh.0,
        "a call leaves traces in memory"
    );
    module.keep(running, place).unwrap();
    assert_eq!(kept(&module), 1, "it has its place still");
    assert_eq!(ask().unwrap(), first);
}

#[test]
fn an_instance_may_wait_for_longer_than_an_evaluation_may_take() {
    let (runtime, module) = runtime();
    let ask = || runtime.evaluate(&module, Export::CheckConfig, wire::EMPTY_CONFIG, GAS_BUDGET);
    let first = ask().unwrap();
    assert_eq!(kept(&module), 1);
    (0..2 * WATCHDOG_TICKS).for_each(|_| runtime.engine().increment_epoch());
    assert_eq!(ask().unwrap(), first);
}

#[test]
fn without_reuse_none_is_kept() {
    let (runtime, module) = runtime_with(EngineSettings {
        reuse: false,
        ..EngineSettings::default()
    });
    let ask = || runtime.evaluate(&module, Export::CheckConfig, wire::EMPTY_CONFIG, GAS_BUDGET);
    assert_eq!(ask().unwrap(), ask().unwrap());
    assert_eq!(kept(&module), 0);
}

#[test]
fn an_instance_that_has_grown_is_not_used_again() {
    let (runtime, module) = runtime();
    let (mut running, place) = module.instance(GAS_BUDGET).unwrap();
    running.grow();
    module.keep(running, place).unwrap();
    assert_eq!(kept(&module), 0);
    drop(runtime);
}

#[test]
fn no_more_instances_are_kept_than_there_are_places() {
    let (runtime, module) = runtime();
    for _ in 0..=KEPT_MAX {
        module.keep(Running::start(&module).unwrap(), None).unwrap();
    }
    assert_eq!(kept(&module), KEPT_MAX as usize);
    lock(&module.kept).clear();
    assert!(
        runtime.places.available_permits() > 0,
        "they gave theirs back"
    );
}

/// A guest that answers with all that it can remember by, in memory, data and globals, and then
/// changes it.
fn forgetful(pages: u32) -> Vec<u8> {
    let last = pages * 65_536 - 8;
    let places = [256, 512, 600, 40_000, last];
    let look: String = places
        .iter()
        .zip(0..)
        .map(|(place, n)| {
            format!(
                "(i64.store (i32.const {}) (i64.load (i32.const {place})))",
                1_024 + 8 * n
            )
        })
        .collect();
    let change: String = places
        .iter()
        .map(|place| format!("(i64.store (i32.const {place}) (i64.const -1))"))
        .collect();
    let text = format!(
        r#"(module
             (memory (export "memory") {pages})
             (global $a (mut i32) (i32.const 5)) (global $b (mut i64) (i64.const 6))
             (data (i32.const 512) "data") (data (i32.const 600) "\00\00more")
             (func (export "raft3d_abi_1"))
             (func (export "raft3d_alloc") (param i32) (result i32) (i32.const 2048))
             (func (export "check_config") (param i32 i32) (result i64)
               {look}
               (i32.store (i32.const 1064) (global.get $a))
               (i64.store (i32.const 1068) (global.get $b))
               {change}
               (global.set $a (i32.const 77)) (global.set $b (i64.const 78))
               (i64.const 0x4000000034))
             (func (export "admission") (param i32 i32) (result i64) (i64.const 0)))"#
    );
    let text = text.replace("0x4000000034", &format!("{:#x}", (1_024_u64 << 32) | 52));
    let mut bytes = wat::parse_str(text).unwrap();
    let manifest = raft3d_sdk::Manifest {
        abi: 1,
        name: "forgetful".into(),
        version: "1.0.0".into(),
        description: "A guest of the tests.".into(),
        hooks: raft3d_sdk::HookSet::of(&[Hook::Admission]),
        ..raft3d_sdk::Manifest::default()
    };
    let manifest = minicbor::to_vec(manifest).unwrap();
    use wasm_encoder::Section;
    wasm_encoder::CustomSection {
        name: raft3d_sdk::manifest::SECTION.into(),
        data: manifest.as_slice().into(),
    }
    .append_to(&mut bytes);
    bytes
}

/// Each time it is the very same instance: were it not, two would be kept.
#[test]
fn an_instance_that_is_used_again_has_no_trace_of_the_call_before() {
    let (runtime, module) = runtime_of(&forgetful(1), EngineSettings::default());
    let ask = || {
        let input = [0xff; 4_000];
        let evaluation = runtime.evaluate(&module, Export::CheckConfig, &input, GAS_BUDGET);
        evaluation.unwrap()
    };
    let first = ask();
    let answer = first.output.as_ref().unwrap();
    assert_eq!(answer.get(8..12), Some(&b"data"[..]));
    assert_eq!(answer.get(16..22), Some(&b"\0\0more"[..]));
    let globals = [5, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(answer.get(40..), Some(&globals[..]));
    for _ in 0..10 {
        assert_eq!(kept(&module), 1, "it waits for the next call");
        assert_eq!(ask(), first);
    }
    assert_eq!(kept(&module), 1);
    let (mut again, _place) = module.instance(GAS_BUDGET).unwrap();
    let mut fresh = Running::start(&module).unwrap();
    fresh.refuel(GAS_BUDGET).unwrap();
    assert!(
        again.state() == fresh.state(),
        "every byte and every global"
    );
}

/// A larger memory is new each time: the system takes back what was written of it.
#[test]
fn an_instance_with_a_larger_memory_is_new_each_time() {
    for pages in [2, 17, 32] {
        let (runtime, module) = runtime_of(&forgetful(pages), EngineSettings::default());
        let ask = || runtime.evaluate(&module, Export::CheckConfig, &[7; 500], GAS_BUDGET);
        let first = ask().unwrap();
        for _ in 0..10 {
            assert_eq!(ask().unwrap(), first, "{pages} pages");
            assert_eq!(kept(&module), 0);
        }
    }
}
