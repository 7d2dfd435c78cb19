//! Gas is time: what a whole budget of each cost attack takes.

mod attack;
mod corpus;

use std::fs;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use attack::Attack;
use corpus::attacks;
use raft3d_checkers::report::Table;
use raft3d_engine::core::{Export, PolicyError};
use raft3d_engine::policy::Workbench;
use raft3d_engine::policy::limits::GAS_BUDGET;
use raft3d_engine::sdk::manifest::{ABI_VERSION, SECTION};
use raft3d_engine::sdk::{Hook, HookSet, Manifest};
use wasm_encoder::{CustomSection, Section};

use crate::stats::short;
use crate::table::table;
use crate::targets::Target;

/// Most processor time that a whole budget may take, in milliseconds.
const MOST_MS: f64 = 10.0;
/// Evaluations that are measured together.
const EVALUATIONS: u32 = 10;

/// What one attack took.
#[derive(Debug)]
pub struct Cost {
    name: String,
    gas: u64,
    /// Processor time of one evaluation, in milliseconds: the median of all rounds.
    ms: f64,
}

/// Measures every attack, the dearest first.
///
/// # Errors
/// A module of the corpus is refused, or ends otherwise than by its gas.
pub fn run(rounds: usize) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for attack in attacks() {
        let cost = measure(&attack, rounds).with_context(|| attack.name.clone())?;
        eprintln!("{}: {} ms", cost.name, short(cost.ms));
        costs.push(cost);
    }
    costs.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    Ok(costs)
}

fn measure(attack: &Attack, rounds: usize) -> Result<Cost> {
    let bench = Workbench::new(&module(attack)?)?;
    let evaluate = || {
        let trial = bench.evaluate(Export::Hook(Hook::Admission), b"")?;
        let evaluation = trial.evaluation;
        let out_of_gas = Err(PolicyError::OutOfGas);
        ensure!(evaluation.output == out_of_gas, "{:?}", evaluation.output);
        Ok(evaluation.gas)
    };
    let gas = evaluate()?;
    let mut times = Vec::new();
    for _ in 0..rounds.max(1) {
        let begun = processor_ms()?;
        for _ in 0..EVALUATIONS {
            evaluate()?;
        }
        times.push((processor_ms()? - begun) / f64::from(EVALUATIONS));
    }
    times.sort_by(f64::total_cmp);
    let ms = times.get(times.len() / 2).copied().unwrap_or_default();
    let name = attack.name.clone();
    Ok(Cost { name, gas, ms })
}

/// Processor time of this thread, in milliseconds.
pub(crate) fn processor_ms() -> Result<f64> {
    // Linux brings the figure up to date when the thread offers its processor.
    thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let ns = text.split_whitespace().next().context("no figure")?;
    Ok(ns.parse::<f64>()? / 1e6)
}

fn module(attack: &Attack) -> Result<Vec<u8>> {
    let Attack {
        memory,
        fields,
        body,
        data,
        ..
    } = attack;
    let bytes: String = data.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let text = format!(
        r#"(module (memory (export "memory") {memory}) {fields}
             (data (i32.const 0) "{bytes}")
             (func (export "raft3d_abi_1"))
             (func (export "raft3d_alloc") (param i32) (result i32) (i32.const 0))
             (func (export "check_config") (param i32 i32) (result i64) (i64.const 0))
             (func (export "admission") (param i32 i32) (result i64) {body}))"#
    );
    with_manifest(&text, "attack")
}

/// The module of the text, which answers `admission`, with a manifest.
pub(crate) fn with_manifest(text: &str, name: &str) -> Result<Vec<u8>> {
    let mut bytes = wat::parse_str(text)?;
    let manifest = Manifest {
        abi: ABI_VERSION,
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        description: "Is measured.".to_owned(),
        hooks: HookSet::of(&[Hook::Admission]),
        ..Manifest::default()
    };
    let manifest = minicbor::to_vec(manifest).context("a manifest")?;
    CustomSection {
        name: SECTION.into(),
        data: manifest.as_slice().into(),
    }
    .append_to(&mut bytes);
    Ok(bytes)
}

fn median(costs: &[Cost]) -> f64 {
    costs.get(costs.len() / 2).map_or(f64::NAN, |cost| cost.ms)
}

/// Each attack with its gas, its time, and that beside the median's.
#[must_use]
pub fn tables(costs: &[Cost]) -> Vec<Table> {
    let title = format!(
        "Processor time of a whole budget of {GAS_BUDGET} gas, {} attacks",
        costs.len()
    );
    let mut shown = table(
        title,
        &["what is repeated", "gas", "ms", "beside the median"],
    );
    let median = median(costs);
    for cost in costs {
        shown.rows.push(vec![
            cost.name.clone(),
            cost.gas.to_string(),
            short(cost.ms),
            short(cost.ms / median),
        ]);
    }
    vec![shown]
}

/// What must be reached.
#[must_use]
pub fn targets(costs: &[Cost]) -> Vec<Target> {
    let worst = costs.first().map_or(f64::NAN, |cost| cost.ms);
    vec![Target::new(
        format!(
            "processor time of a whole budget, worst of {} attacks",
            costs.len()
        ),
        format!("at most {MOST_MS} ms"),
        format!("{} ms (median {} ms)", short(worst), short(median(costs))),
        worst <= MOST_MS,
    )]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_attack_is_taken_as_a_module() {
        let attacks = attacks();
        assert!(attacks.len() >= 40, "{}", attacks.len());
        for attack in &attacks {
            let module = module(attack).unwrap();
            let refused = raft3d_engine::policy::inspect(&module).err();
            assert_eq!(refused, None, "{}", attack.name);
        }
    }
}
