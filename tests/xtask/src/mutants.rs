//! `cargo xtask mutants`: whether the tests of the core notice when `apply` is changed.
//!
//! cargo-mutants replaces one function body or operator at a time and runs the tests of
//! `raft3d-core`: a mutant that no test fails for is a rule that nobody checks.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use raft3d_checkers::report::{Report, Table};

use crate::steps::{cargo, target_dir};
use crate::tools;

/// What is mutated where nobody says otherwise.
const APPLY: &str = "engine/core/src/apply/*.rs";
/// Tests may take so long with a mutant, in seconds, before it counts as caught.
const TIMEOUT_S: &str = "180";
/// What cargo-mutants ends with where mutants were missed, or ran into the time limit.
const MISSED_OR_TIMEOUT: [i32; 2] = [2, 3];
/// Outcomes, in the files of these names, and how they are called in the report.
const OUTCOMES: [(&str, &str); 4] = [
    ("caught.txt", "mutants caught"),
    ("missed.txt", "mutants missed"),
    ("timeout.txt", "mutants that ran into the time limit"),
    ("unviable.txt", "mutants that did not compile"),
];

/// What to mutate.
#[derive(Args)]
pub(crate) struct Options {
    /// Files to mutate, as a glob
    #[arg(long, default_value = APPLY)]
    file: String,
    /// Only every nth mutant, as `0/6`: the first of six parts
    #[arg(long)]
    shard: Option<String>,
}

/// Runs cargo-mutants, and writes `target/report/mutants.json`.
///
/// # Errors
/// cargo-mutants does not run, or the tests fail without a mutant.
pub(crate) fn run(options: &Options) -> Result<()> {
    tools::cargo_mutants()?;
    let out = target_dir()?.join("mutants");
    fs::create_dir_all(&out)?;
    let mut mutants = cargo(&["mutants", "--package", "raft3d-core", "--no-shuffle"])?;
    mutants
        .args(["--file", &options.file, "--minimum-test-timeout", TIMEOUT_S])
        .args(["--jobs", "1", "--output"])
        .arg(&out);
    let mut command = format!("cargo xtask mutants --file '{}'", options.file);
    if let Some(shard) = &options.shard {
        mutants.args(["--sharding", "round-robin", "--shard", shard]);
        command.push_str(&format!(" --shard {shard}"));
    }
    let mut report = Report::new("mutants", command);
    let started = Instant::now();
    eprintln!("\n== mutants; each is a build and a run of the core's tests");
    let status = mutants.status().context("cannot run cargo-mutants")?;
    report.seconds = started.elapsed().as_secs();
    let is_done = status.success()
        || status
            .code()
            .is_some_and(|code| MISSED_OR_TIMEOUT.contains(&code));
    anyhow::ensure!(is_done, "cargo-mutants ended with {status}");
    fill(&mut report, &out.join("mutants.out"))?;
    let path = report.write(&target_dir()?)?;
    eprintln!("figures: {}", path.display());
    Ok(())
}

/// Reads the lists that cargo-mutants wrote: one mutant a line.
fn fill(report: &mut Report, out: &Path) -> Result<()> {
    let lists = OUTCOMES.map(|(file, name)| {
        let text = fs::read_to_string(out.join(file)).unwrap_or_default();
        let mutants: Vec<_> = text.lines().map(str::to_owned).collect();
        (name, mutants)
    });
    for (name, mutants) in &lists {
        report.figure(*name, mutants.len());
    }
    let [(_, caught), (_, missed), (_, timeout), _] = lists;
    let (noticed, all) = (
        caught.len() + timeout.len(),
        caught.len() + timeout.len() + missed.len(),
    );
    anyhow::ensure!(all > 0, "no mutant was tried: see {}", out.display());
    let per_mille = noticed * 1_000 / all;
    let score = format!("{}.{} % of {all}", per_mille / 10, per_mille % 10);
    report.figure("score", score);
    report.tables.push(Table {
        title: "Mutants that no test noticed".to_owned(),
        head: vec!["mutant".to_owned()],
        rows: missed.into_iter().map(|mutant| vec![mutant]).collect(),
    });
    Ok(())
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed test is to panic"
)]
mod tests {
    use super::*;

    #[test]
    fn the_score_counts_what_was_noticed() {
        let out = std::env::temp_dir().join(format!("raft3d-mutants-{}", std::process::id()));
        fs::create_dir_all(&out).unwrap();
        fs::write(out.join("caught.txt"), "a\nb\n").unwrap();
        fs::write(out.join("missed.txt"), "c.rs:1: replace f with 0\n").unwrap();
        let mut report = Report::default();
        fill(&mut report, &out).unwrap();
        let score = report.figures.last().unwrap();
        assert_eq!(score.1, "66.6 % of 3");
        assert_eq!(report.tables[0].rows, [["c.rs:1: replace f with 0"]]);
        fs::remove_dir_all(&out).unwrap();
        assert!(fill(&mut report, &out).is_err(), "nothing was tried");
    }
}
