//! `raft3d-bench`: prints figures. Run by `cargo xtask bench`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use raft3d_bench::setting::{Setting, remove, scratch};
use raft3d_bench::table::markdown;
use raft3d_bench::targets::{Target, targets_table};
use raft3d_bench::{failover, large, load, machine, plots, policies, reads, writes};
use raft3d_checkers::report::{FOLDER, Report, Table};

/// Environment variable: the engine's example of that name, for the share of a write that
/// policies take.
const EVALUATE_COST: &str = "RAFT3D_EVALUATE_COST";

/// Measures a cluster of three nodes beside a three-node etcd on this machine.
#[derive(Parser)]
#[command(name = "raft3d-bench")]
struct Args {
    /// What to measure [default: all]
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Interleaved rounds
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// Seconds of each measured window
    #[arg(long, default_value_t = 10.0, value_name = "S")]
    seconds: f64,
    /// Numbers of clients for writes
    #[arg(long, value_delimiter = ',', default_values_t = writes::CLIENTS, value_name = "N,…")]
    clients: Vec<usize>,
    /// Jobs of the large cluster
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    jobs: u64,
    /// Fill the large cluster anew, although a filled one was kept
    #[arg(long)]
    refill: bool,
    /// Leaders to kill
    #[arg(long, default_value_t = 20, value_name = "N")]
    kills: usize,
    /// A further argument for every node of ours, such as `--snapshot-entries=1000000`
    #[arg(long, allow_hyphen_values = true, value_name = "ARG")]
    node_arg: Vec<String>,
    /// Makes one load, described in JSON; the program calls itself so
    #[arg(long, hide = true, value_name = "JSON")]
    load: Option<String>,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Writes beside etcd's
    Writes,
    /// Linearizable reads beside etcd's
    Reads,
    /// A cluster with a million jobs
    Large,
    /// Leaders killed
    Failover,
    /// All of that
    All,
}

/// What has been measured so far.
struct Findings {
    report: Report,
    targets: Vec<Target>,
}

impl Findings {
    /// Shows tables and keeps them for the report.
    fn show(&mut self, tables: Vec<Table>) {
        for table in tables {
            println!("{}", markdown(&table));
            self.report.tables.push(table);
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.load {
        Some(spec) => load::run(spec),
        None => measure(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures; what came out of the parts that went through is shown even where one did not.
fn measure(args: &Args) -> Result<()> {
    let started = Instant::now();
    let target = target_dir()?;
    let setting = Setting {
        rounds: args.rounds.max(1),
        window: Duration::from_secs_f64(args.seconds),
        node_args: args.node_arg.clone(),
        scratch: scratch(&target.join("bench"))?,
        cache: target.join("bench-cache"),
    };
    let mut found = Findings {
        report: Report::new("bench", command_line()),
        targets: Vec::new(),
    };
    found.show(vec![machine::table_of_settings()]);
    let done = measure_parts(args, &setting, &target, &mut found);
    remove(&setting.scratch)?;
    let targets = targets_table(&found.targets);
    found.show(vec![targets]);
    found.report.seconds = started.elapsed().as_secs();
    let path = found.report.write(&target)?;
    eprintln!("written: {}", path.display());
    done
}

fn measure_parts(
    args: &Args,
    setting: &Setting,
    target: &Path,
    found: &mut Findings,
) -> Result<()> {
    let all = args.parts.is_empty() || args.parts.contains(&Part::All);
    let wants = |part| all || args.parts.contains(&part);
    if wants(Part::Writes) {
        let results = writes::run(setting, &args.clients)?;
        found.show(writes::tables(&results));
        found.targets.extend(writes::targets(&results));
        if let Some(program) = std::env::var_os(EVALUATE_COST) {
            let cost_us = policies::evaluation_us(Path::new(&program))?;
            found.show(policies::tables(cost_us, &results));
        }
        let images = plots::writes(&results, &target.join(FOLDER))?;
        let images = images.iter().map(|image| image.display().to_string());
        found.report.images.extend(images);
    }
    if wants(Part::Reads) {
        let results = reads::run(setting)?;
        found.show(reads::tables(&results));
        found.targets.extend(reads::targets(&results));
    }
    if wants(Part::Failover) {
        let outages = failover::run(setting, args.kills)?;
        found.show(failover::tables(&outages));
        found.targets.extend(failover::targets(&outages));
    }
    if wants(Part::Large) {
        let results = large::run(setting, args.jobs, args.refill)?;
        found.show(results.tables());
        found.targets.extend(results.targets());
    }
    Ok(())
}

/// How to measure the same again.
fn command_line() -> String {
    let args: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask bench {}", args.join(" "))
        .trim_end()
        .to_owned()
}

/// `target/`: this program lies in `target/release/`.
fn target_dir() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let target = exe.parent().and_then(Path::parent);
    Ok(target
        .context("this program lies in no build folder")?
        .to_owned())
}
