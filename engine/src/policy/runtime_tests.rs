//! Faults of this machine in the middle of an evaluation: a replica stops, and nothing is decided.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed test is to panic"
)]

use super::*;
use crate::policy::cache::adopt;
use crate::policy::{CompileLimits, Compiler, InProcessCompiler};

const MODULE: &[u8] = include_bytes!("../../../policies/prebuilt/standard-deduction.wasm");

fn runtime() -> (Runtime, ReadyModule) {
    let settings = EngineSettings {
        slots: 1,
        ..EngineSettings::default()
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
    let mut running = Running::start(runtime.engine(), &module).unwrap();
    strike(runtime.engine(), &mut running);
    match running.run(&module, &module.check_config, wire::EMPTY_CONFIG) {
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
