//! Simulates clusters by seed: `cargo xtask simulate`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use raft3d_checkers::report::{Report, Table};
use raft3d_simulation::policies::Policies;
use raft3d_simulation::run::{self, Options, Outcome};
use raft3d_simulation::stats::Stats;

/// Runs whole clusters in simulated time; a seed is a run, byte for byte.
#[derive(Clone, Parser)]
struct Args {
    /// Runs this one seed and shows everything about it
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Nodes of each cluster, 3 or 5; seed by seed in turn where it is left out
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=7))]
    nodes: Option<u8>,
    /// Simulations at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Ends with the first seed in which one of these judges finds something
    #[arg(long, value_name = "JUDGE,…", value_delimiter = ',')]
    until: Vec<String>,
    /// With --seed: writes every event as a line, to compare two runs
    #[arg(long)]
    trace: Option<PathBuf>,
    /// The workspace's folder of built things; figures and histories go there
    #[arg(long, default_value = "target")]
    target: PathBuf,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    let policies = Policies::compile();
    match args.seed {
        Some(seed) => one(&args, seed, &policies),
        None => many(&args, &policies),
    }
}

fn one(args: &Args, seed: u64, policies: &Arc<Policies>) -> Result<ExitCode> {
    let began = Instant::now();
    let options = Options {
        trace_file: args.trace.clone(),
        ..Options::of(seed, args.nodes.map(usize::from))
    };
    let outcome = run::run(&options, policies);
    let mut all = Stats::default();
    all.add(&outcome.stats);
    let figures = [
        ("operations", &all.operations),
        ("faults", &all.faults),
        ("events", &all.events),
    ];
    for (title, counters) in figures {
        println!("{title}:");
        for (name, times) in counters {
            println!("  {times:>8}  {name}");
        }
    }
    let (simulated, real) = (all.simulated_ms, began.elapsed());
    println!(
        "{simulated} ms of simulated time in {} ms",
        real.as_millis()
    );
    println!("trace {} over {} events", outcome.trace, outcome.events);
    let found = describe(&args.target, &options, &outcome)?;
    print!("{}", found.join("\n"));
    Ok(code(found.is_empty()))
}

/// What is told of a run that failed, with the line that replays it and the file with its history.
fn describe(target: &Path, options: &Options, outcome: &Outcome) -> Result<Vec<String>> {
    if outcome.violations.is_empty() {
        return Ok(Vec::new());
    }
    let path = run::write_history(target, options, &outcome.records)?;
    let mut lines: Vec<String> = outcome.violations.iter().map(ToString::to_string).collect();
    lines.push(format!("replay: {}", options.replay()));
    lines.push(format!("history: {}", path.display()));
    Ok(lines)
}

fn many(args: &Args, policies: &Arc<Policies>) -> Result<ExitCode> {
    let began = Instant::now();
    let style =
        ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left{msg}")?;
    let bar = ProgressBar::new(args.seeds).with_style(style);
    let next = AtomicU64::new(0);
    let ended = AtomicBool::new(false);
    let all = Mutex::new((Stats::default(), Vec::<String>::new(), None));
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth >= args.seeds || ended.load(Ordering::Relaxed) {
                        return;
                    }
                    let nodes = args.nodes.map(usize::from);
                    let options = Options::of(args.from + nth, nodes);
                    let outcome = run::run(&options, policies);
                    let found = describe(&args.target, &options, &outcome);
                    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    all.0.add(&outcome.stats);
                    match found {
                        Ok(found) if !found.is_empty() => {
                            let text = found.join("\n");
                            bar.suspend(|| println!("{text}"));
                            all.1.push(text);
                            let mut judges = outcome.violations.iter().map(|found| &found.judge);
                            if judges.any(|judge| args.until.contains(judge)) {
                                ended.store(true, Ordering::Relaxed);
                            }
                            bar.set_message(format!(", {} failed", all.1.len()));
                        }
                        Ok(_) => {}
                        Err(error) => all.2 = Some(error),
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let (stats, violations, error) = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = error {
        return Err(error);
    }
    let passed = violations.is_empty();
    let report = report(args, &stats, violations, began.elapsed().as_secs());
    for (what, value) in &report.figures {
        println!("{what}: {value}");
    }
    let path = report.write(&args.target).context("writing the figures")?;
    println!("figures: {}", path.display());
    Ok(code(passed))
}

fn report(args: &Args, stats: &Stats, violations: Vec<String>, seconds: u64) -> Report {
    let (seeds, from) = (args.seeds, args.from);
    let nodes = args
        .nodes
        .map_or(String::new(), |n| format!(" --nodes {n}"));
    let command = format!("cargo xtask simulate --seeds {seeds} --from {from}{nodes}");
    let mut report = Report::new("simulation", command);
    let total = |name: &str| stats.events.get(name).copied().unwrap_or(0);
    report.seconds = seconds;
    report.figure("schedules", seeds);
    report.figure("operations", stats.operations.values().sum::<u64>());
    report.figure("faults injected", stats.faults.values().sum::<u64>());
    report.figure("leaders elected", total("leaders"));
    report.figure("snapshots installed", total("snapshots installed"));
    report.figure(
        "simulated time",
        format!("{} s", stats.simulated_ms / 1_000),
    );
    report.figure("schedules with violations", violations.len());
    let table = |title: &str, counters: &std::collections::BTreeMap<String, u64>| Table {
        title: title.to_owned(),
        head: vec!["what".to_owned(), "times".to_owned()],
        rows: counters
            .iter()
            .map(|(name, times)| vec![name.clone(), times.to_string()])
            .collect(),
    };
    report.tables = vec![
        table("Operations by result", &stats.operations),
        table("Faults by kind", &stats.faults),
        table("What the clusters did", &stats.events),
    ];
    report.violations = violations;
    report
}

fn code(passed: bool) -> ExitCode {
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
