//! How much of a write its policies take.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use raft3d_checkers::report::Table;

use crate::beside::{Results, rounds};
use crate::measure::Measured;
use crate::stats::short;
use crate::systems::System;
use crate::table;
use crate::targets::Target;

/// The line of the engine's example `evaluate_cost` about the policy that new jobs must pass.
const ADMISSION: &str = "standard-lifecycle admission";
/// What an evaluation may cost, in microseconds.
const EVALUATION_MOST_US: f64 = 20.0;
/// What it should cost, in microseconds.
const EVALUATION_GOAL_US: f64 = 10.0;
/// Replicas that evaluate it.
const REPLICAS: f64 = 3.0;

/// Median processor time of one evaluation for a new job, in microseconds, as the program at
/// `evaluate_cost` measures it.
///
/// # Errors
/// It fails, or says nothing of that policy.
pub fn evaluation_us(evaluate_cost: &Path) -> Result<f64> {
    let output = Command::new(evaluate_cost)
        .output()
        .with_context(|| format!("cannot run {}", evaluate_cost.display()))?;
    ensure!(
        output.status.success(),
        "{} failed",
        evaluate_cost.display()
    );
    let text = String::from_utf8(output.stdout)?;
    median_of(&text).with_context(|| format!("no line `{ADMISSION}` with figures in:\n{text}"))
}

/// The second column behind the name: gas, then the median.
fn median_of(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(ADMISSION))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// What must be reached.
#[must_use]
pub fn target(evaluation_us: f64) -> Target {
    Target::new(
        "one evaluation, median",
        format!("at most {EVALUATION_MOST_US} us, goal {EVALUATION_GOAL_US} us"),
        format!("{} us", short(evaluation_us)),
        evaluation_us <= EVALUATION_MOST_US,
    )
}

/// The share of a whole write, for each number of clients.
#[must_use]
pub fn table(evaluation_us: f64, results: &Results<usize>) -> Table {
    let title = format!(
        "Share of a write that its policy takes: {} us in each of three replicas",
        short(evaluation_us)
    );
    let mut shown = table::table(title, &["clients", "all nodes us", "share"]);
    for ((clients, system), measured) in results {
        if *system != System::Raft3d {
            continue;
        }
        let whole = rounds(measured, |one: &Measured| one.each(one.nodes().cpu_us())).median();
        shown.rows.push(vec![
            clients.to_string(),
            short(whole),
            format!("{:.1} %", REPLICAS * evaluation_us * 100.0 / whole),
        ]);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::median_of;

    #[test]
    fn the_median_is_found_by_name() {
        let text = "hook   gas  wasm median\n\
                    standard-lifecycle transition    15000    7.10   9.00   1.00  1.20\n\
                    standard-lifecycle admission     12000    6.25   8.00   1.00  1.20\n";
        assert_eq!(median_of(text), Some(6.25));
        assert_eq!(median_of("standard-lifecycle admission"), None);
    }
}
