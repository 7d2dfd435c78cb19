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
    let settings = EngineSettings {
        slots: 1,
        ..settings
    };
    let compiler = InProcessCompiler::new(settings);
    let code = compiler.compile(MODULE, CompileLimits::UPLOAD).unwrap();
    let runtime = Runtime::new(settings).unwrap();
    let module = runtime.ready(&adopt(&code, runtime.engine()).unwrap());
    (runtime, module.unwrap())
}

/// Runs `check_config` in an instance to which `strike` was done after its start.
fn struck(strike: impl FnOnce(&Engine, &mut Running)) -> Result<Vec<u8>, String> {
    let (runtime, module) = runtime();
    let mut running = Running::start(&module).unwrap();
    strike(runtime.engine(), &mut running);
    match running.run(
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
    let ask = || runtime.evaluate(&module, Export::CheckConfig, wire::EMPTY_CONFIG);
    assert_eq!(kept(&module), 0);
    let first = ask().unwrap();
    assert_eq!(kept(&module), 1);
    let (mut running, place) = module.instance().unwrap();
    let fresh = Running::start(&module).unwrap().state();
    assert!(running.state() == fresh, "every byte and every global");
    let answer = running.run(
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
    let ask = || runtime.evaluate(&module, Export::CheckConfig, wire::EMPTY_CONFIG);
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
    let ask = || runtime.evaluate(&module, Export::CheckConfig, wire::EMPTY_CONFIG);
    assert_eq!(ask().unwrap(), ask().unwrap());
    assert_eq!(kept(&module), 0);
}

#[test]
fn an_instance_that_has_grown_is_not_used_again() {
    let (runtime, module) = runtime();
    let (mut running, place) = module.instance().unwrap();
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
