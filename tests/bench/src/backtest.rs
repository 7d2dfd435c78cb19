//! A backtest: recorded decisions asked again on all processors.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use raft3d_checkers::report::Table;
use raft3d_engine::backtest::{BacktestError, Candidate, Options, Report, run as compare};
use raft3d_engine::core::state::decisions::{self, Decision, DecisionRecord, Verdict};
use raft3d_engine::core::state::rulesets::Mode;
use raft3d_engine::core::{BindingId, Export, JobId, Revision};
use raft3d_engine::policy::Workbench;
use raft3d_engine::sdk::testkit;
use raft3d_engine::sdk::wire::EMPTY_CONFIG;
use raft3d_engine::sdk::{ActorView, Grams, Hook, Label};

use crate::stats::{Rounds, short};
use crate::table::table;
use crate::targets::Target;

/// Records that are compared where nothing is said.
pub const RECORDS: u64 = 100_000;
/// Evaluations a second that two processors should reach.
const GOAL: f64 = 50_000.0;
/// Log time between two entries, in milliseconds.
const STEP_MS: u64 = 250;
/// The policies of a new cluster, each also the id of its binding.
const LIFECYCLE: &str = "standard-lifecycle";
const DEDUCTION: &str = "standard-deduction";

/// What was measured.
#[derive(Debug)]
pub struct Results {
    evaluations_per_s: Rounds,
    threads: usize,
    report: Report,
}

/// Makes `records` decisions by the standard policies, and compares the lifecycle with itself: so
/// nothing may differ.
///
/// # Errors
/// A module is missing, or an answer differs.
pub fn run(records: u64, rounds: usize) -> Result<Results> {
    let shop = Shop::open()?;
    let all = (0..records)
        .map(|n| shop.record(n))
        .collect::<Result<Vec<_>>>()?;
    let threads = std::thread::available_parallelism()?.get();
    let candidate = Candidate::new(&shop.lifecycle_bytes, EMPTY_CONFIG, threads)?;
    let options = Options {
        binding: Some(BindingId::new(LIFECYCLE)),
        examples_max: 3,
        ..Options::default()
    };
    let mut evaluations_per_s = Rounds::default();
    let mut last = Report::default();
    for _ in 0..rounds.max(1) {
        let fed = all.clone();
        let begun = Instant::now();
        let report = compare::<BacktestError>(&candidate, &options, |feed| {
            // A fault ends the feed, and is told by the report.
            let _ = fed.into_iter().all(|record| feed.push(record));
            Ok(())
        })?;
        evaluations_per_s.push(report.evaluated() as f64 / begun.elapsed().as_secs_f64());
        ensure!(
            report.changed() == 0 && report.evaluated() == records,
            "a module differs from itself: {report:?}"
        );
        last = report;
    }
    Ok(Results {
        evaluations_per_s,
        threads,
        report: last,
    })
}

/// What was measured, for people.
#[must_use]
pub fn tables(results: &Results) -> Vec<Table> {
    let rates = &results.evaluations_per_s;
    let mut shown = table(
        format!("Backtest on {} processors", results.threads),
        &["records", "evaluations/s", "least", "most"],
    );
    shown.rows.push(vec![
        results.report.records.to_string(),
        short(rates.median()),
        short(rates.min()),
        short(rates.max()),
    ]);
    let mut hooks = table(
        "What came of it",
        &["hook", "evaluated", "same", "gas median", "gas max"],
    );
    for hook in &results.report.hooks {
        let gas = |gas: Option<u32>| gas.map_or_else(String::new, |gas| gas.to_string());
        hooks.rows.push(vec![
            hook.hook.name().to_owned(),
            hook.tally.evaluated.to_string(),
            hook.tally.same.to_string(),
            gas(hook.tally.gas_median()),
            gas(hook.tally.gas_max()),
        ]);
    }
    vec![shown, hooks]
}

/// What should be reached.
#[must_use]
pub fn targets(results: &Results) -> Vec<Target> {
    let median = results.evaluations_per_s.median();
    vec![Target::new(
        format!(
            "evaluations a second in a backtest, {} processors",
            results.threads
        ),
        format!("at least {} on 2", short(GOAL)),
        short(median),
        median >= GOAL,
    )]
}

/// Makes records as a shop with a few hundred printers would.
struct Shop {
    lifecycle_bytes: Vec<u8>,
    lifecycle: Workbench,
    deduction: Workbench,
}

impl Shop {
    fn open() -> Result<Self> {
        let lifecycle_bytes = prebuilt(LIFECYCLE)?;
        Ok(Self {
            lifecycle: Workbench::new(&lifecycle_bytes)?,
            deduction: Workbench::new(&prebuilt(DEDUCTION)?)?,
            lifecycle_bytes,
        })
    }

    /// Record by record: a job is asked for, begins, and ends. Every seventh job is too heavy, every
    /// eleventh printed with something that no printer here takes.
    fn record(&self, n: u64) -> Result<DecisionRecord> {
        let (job, step) = (n / 3, n % 3);
        let (id, printer) = (format!("job-{job}"), format!("printer-{}", job % 300));
        let spool = format!("spool-{}", job % 1_000);
        let grams = |grams| Grams::from_grams(grams).unwrap_or_default();
        let weight = if job % 7 == 0 { 900 } else { 20 + job % 400 };
        let labels = vec![
            Label {
                key: "bay",
                value: "north",
            },
            Label {
                key: "order",
                value: &id,
            },
        ];
        let now_ms = testkit::NOW_MS + n * STEP_MS;
        let creator = ActorView {
            open_jobs: job % 9,
            reserved_mg: 1_000 * (job % 5_000),
        };
        let hooks: &[Hook] = if step == 0 {
            &[Hook::Admission]
        } else {
            &[Hook::Transition, Hook::Deduction]
        };
        let (from, to) = if step == 1 {
            ("Queued", "Running")
        } else {
            ("Running", "Done")
        };
        let mut moved = testkit::transition(from, to);
        moved.now_ms = now_ms;
        moved.creator = creator;
        moved.job.id = &id;
        moved.job.printer_id = &printer;
        moved.job.filament_id = &spool;
        moved.job.print_weight = grams(weight);
        moved.job.labels = labels;
        moved.printer.id = &printer;
        moved.printer.open_jobs = job % 4;
        moved.filament.id = &spool;
        moved.filament.material = if job % 11 == 0 { "Wood" } else { "PETG" };
        moved.filament.reserved_by_others = grams(job % 300);
        let input = if step == 0 {
            let mut asked = testkit::admission();
            asked.now_ms = now_ms;
            asked.creator = creator;
            asked.job = moved.job;
            asked.job.status = "Queued";
            asked.printer = moved.printer;
            asked.filament = moved.filament;
            encoded(&asked)?
        } else {
            encoded(&moved)?
        };
        let mut record = DecisionRecord {
            revision: Revision(n + 1),
            at_ms: now_ms,
            epoch: 1,
            ruleset: Revision(1),
            job: JobId::new(id.as_str()),
            input,
            decisions: Vec::new(),
        };
        for hook in hooks {
            let decision = self.decision(*hook, &record.input)?;
            let refused = decision.verdict.refuses();
            record.decisions.push(decision);
            if refused {
                break;
            }
        }
        Ok(record)
    }

    fn decision(&self, hook: Hook, input: &[u8]) -> Result<Decision> {
        let (binding, bench) = match hook {
            Hook::Admission | Hook::Transition => (LIFECYCLE, &self.lifecycle),
            Hook::Deduction => (DEDUCTION, &self.deduction),
        };
        let call = decisions::call(input, EMPTY_CONFIG)?;
        let evaluation = bench.evaluate(Export::Hook(hook), &call)?.evaluation;
        Ok(Decision {
            binding: BindingId::new(binding),
            module: bench.report().digest,
            abi: 1,
            hook,
            mode: Mode::Enforce,
            input_digest: decisions::call_digest(&call),
            verdict: Verdict::of(hook, &evaluation.output),
            warnings: Vec::new(),
            gas: evaluation.gas,
        })
    }
}

fn encoded<T: minicbor::Encode<()>>(input: &T) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    minicbor::encode(input, &mut bytes).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(bytes)
}

fn prebuilt(name: &str) -> Result<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/prebuilt");
    let file = folder.join(format!("{name}.wasm"));
    std::fs::read(&file).with_context(|| format!("{}", file.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_recorded_is_answered_the_same_again() {
        let results = run(120, 1).unwrap();
        assert_eq!(results.report.records, 120);
        let hooks: Vec<_> = results
            .report
            .hooks
            .iter()
            .map(|hook| hook.tally.evaluated)
            .collect();
        assert_eq!(hooks, [40, 80], "admissions and transitions");
        assert_eq!(tables(&results)[0].rows[0][0], "120");
        // Not every job is let in.
        let shop = Shop::open().unwrap();
        let refused = |n| shop.record(n).unwrap().decisions[0].verdict.refuses();
        assert!(refused(0) && !refused(3));
    }
}
