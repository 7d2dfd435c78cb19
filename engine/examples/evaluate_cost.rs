//! What one evaluation of each hook of the default modules costs, beside the native call.
//!
//! `cargo run --release -p raft3d-engine --example evaluate_cost`

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use raft3d_core::{Export, LocalFault, ModuleDigest, ModuleSource, PolicyCall, PolicyHost};
use raft3d_engine::policy::{EngineSettings, HostOptions, InProcessCompiler, WasmHost};
use raft3d_sdk::testkit::Case;
use raft3d_sdk::{Hook, Policy, call_native};
use standard_deduction::StandardDeduction;
use standard_lifecycle::StandardLifecycle;

/// Evaluations measured for each hook.
const ROUNDS: usize = 20_000;
/// Evaluations before the measurement.
const WARM_UP: usize = 2_000;

/// Everything is compiled before the first evaluation.
struct Nowhere;

impl ModuleSource for Nowhere {
    fn module_bytes(&self, _: ModuleDigest) -> Result<Option<Vec<u8>>, LocalFault> {
        Ok(None)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    measure_all(EngineSettings::default())?;
    println!("with a new instance each time:");
    measure_all(EngineSettings {
        reuse: false,
        ..EngineSettings::default()
    })
}

fn measure_all(settings: EngineSettings) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let host = WasmHost::new(HostOptions {
        cache_dir: dir.path().to_owned(),
        compiler: Arc::new(InProcessCompiler::new(settings)),
        settings,
    })?;
    println!(
        "hook                             gas   wasm median     p99   native median     p99  (us)"
    );
    measure::<StandardLifecycle>(&host, "standard-lifecycle", &standard_lifecycle::cases())?;
    measure::<StandardDeduction>(&host, "standard-deduction", &standard_deduction::cases())
}

/// Measures the first case of each hook.
fn measure<P: Policy>(host: &WasmHost, name: &str, cases: &[Case]) -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/prebuilt");
    let module = host
        .prepare_upload(&std::fs::read(folder.join(format!("{name}.wasm")))?)?
        .digest;
    for hook in P::HOOKS.iter() {
        let case = cases.iter().find(|case| case.export == hook.name());
        let case = case.ok_or("a hook without a case")?;
        let export = Export::Hook(hook);
        let call = PolicyCall::new(module, export, &case.input);
        let gas = host.evaluate(&call, &Nowhere)?.gas;
        let wasm = times(|| host.evaluate(&call, &Nowhere).map(black_box).is_ok());
        let native = times(|| {
            call_native::<P>(hook.name(), &case.input)
                .map(black_box)
                .is_ok()
        });
        println!("{}", line(name, hook, gas, &wasm, &native));
    }
    Ok(())
}

/// Nanoseconds of each round, sorted.
fn times(mut round: impl FnMut() -> bool) -> Vec<u128> {
    let mut times = Vec::with_capacity(ROUNDS);
    for at in 0..WARM_UP + ROUNDS {
        let start = Instant::now();
        assert!(round(), "an evaluation failed");
        if at >= WARM_UP {
            times.push(start.elapsed().as_nanos());
        }
    }
    times.sort_unstable();
    times
}

fn line(name: &str, hook: Hook, gas: u64, wasm: &[u128], native: &[u128]) -> String {
    let at = |times: &[u128], per_mille: usize| {
        let nanos = times
            .get(times.len() * per_mille / 1_000)
            .copied()
            .unwrap_or_default();
        format!("{}.{:02}", nanos / 1_000, nanos % 1_000 / 10)
    };
    format!(
        "{:<30} {gas:>6} {:>13} {:>7} {:>15} {:>7}",
        format!("{name} {}", hook.name()),
        at(wasm, 500),
        at(wasm, 990),
        at(native, 500),
        at(native, 990),
    )
}
