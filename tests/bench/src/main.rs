//! `raft3d-bench`: prints figures. Run by `cargo xtask bench`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use raft3d_bench::setting::{Setting, remove, scratch};
use raft3d_bench::table::markdown;
use raft3d_bench::targets::{Target, targets_table};
use raft3d_bench::{
    backtest, failover, gas, instances, large, load, machine, plots, policies, readiness, reads,
    uploads, writes,
};
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
    /// Recorded decisions of the backtest
    #[arg(long, default_value_t = backtest::RECORDS, value_name = "N")]
    records: u64,
    /// Leaders to kill
    #[arg(long, default_value_t = 20, value_name = "N")]
    kills: usize,
    /// Cuts of each kind
    #[arg(long, default_value_t = 20, value_name = "N")]
    cuts: usize,
    /// A further argument for every node of ours, such as `--snapshot-entries=1000000`
    #[arg(long, allow_hyphen_values = true, value_name = "ARG")]
    node_arg: Vec<String>,
    /// Another build of this program, measured in turns with this one by `writes` and `reads`
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
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
    /// Nodes cut off and healed: what they say of themselves
    Readiness,
    /// Large modules uploaded and activated under load
    Uploads,
    /// Recorded decisions asked again, without a cluster
    Backtest,
    /// Processor time of the dearest modules' gas, without a cluster
    Gas,
    /// What an evaluation costs by the memory of its guest, without a cluster
    Instances,
    /// All of that
    All,
}

impl Part {
    /// All parts, in the order in which they run.
    const EACH: [Self; 9] = [
        Self::Writes,
        Self::Reads,
        Self::Failover,
        Self::Readiness,
        Self::Uploads,
        Self::Backtest,
        Self::Gas,
        Self::Instances,
        Self::Large,
    ];

    /// Its name on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Writes => "writes",
            Self::Reads => "reads",
            Self::Large => "large",
            Self::Failover => "failover",
            Self::Readiness => "readiness",
            Self::Uploads => "uploads",
            Self::Backtest => "backtest",
            Self::Gas => "gas",
            Self::Instances => "instances",
            Self::All => "all",
        }
    }
}

/// What one part has found.
#[derive(Default)]
struct Findings {
    tables: Vec<Table>,
    targets: Vec<Target>,
    images: Vec<PathBuf>,
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

/// Measures part by part; where one fails, the others are measured all the same.
fn measure(args: &Args) -> Result<()> {
    let target = target_dir()?;
    let setting = Setting {
        rounds: args.rounds.max(1),
        window: Duration::from_secs_f64(args.seconds),
        node_args: args.node_arg.clone(),
        against: args.against.clone(),
        scratch: scratch(&target.join("bench"))?,
        cache: target.join("bench-cache"),
    };
    let all = args.parts.is_empty() || args.parts.contains(&Part::All);
    let wanted = Part::EACH.into_iter();
    let wanted = wanted.filter(|part| all || args.parts.contains(part));
    println!("{}", markdown(&machine::settings()));
    let (mut targets, mut failed) = (Vec::new(), Vec::new());
    for part in wanted {
        match measure_part(part, args, &setting, &target) {
            Ok(of_part) => targets.extend(of_part),
            Err(error) => {
                eprintln!("{}: {error:#}", part.name());
                failed.push(part.name());
            }
        }
    }
    remove(&setting.scratch)?;
    println!("{}", markdown(&targets_table(&targets)));
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

/// Measures one part, shows what came out, and writes its figures to `target/report`.
fn measure_part(part: Part, args: &Args, setting: &Setting, target: &Path) -> Result<Vec<Target>> {
    let started = Instant::now();
    let found = match part {
        Part::Writes => measure_writes(args, setting, &target.join(FOLDER))?,
        Part::Reads => {
            let results = reads::run(setting)?;
            Findings {
                tables: reads::tables(&results),
                targets: reads::targets(&results),
                ..Findings::default()
            }
        }
        Part::Failover => {
            let outages = failover::run(setting, args.kills)?;
            Findings {
                tables: failover::tables(&outages),
                targets: failover::targets(&outages),
                ..Findings::default()
            }
        }
        Part::Readiness => {
            let results = readiness::run(setting, args.cuts)?;
            Findings {
                tables: results.tables(),
                targets: results.targets(),
                ..Findings::default()
            }
        }
        Part::Uploads => {
            let found = uploads::run(setting)?;
            Findings {
                tables: found.tables(),
                targets: found.targets(),
                ..Findings::default()
            }
        }
        Part::Large => {
            let results = large::run(setting, args.jobs, args.refill)?;
            Findings {
                tables: results.tables(),
                targets: results.targets(),
                ..Findings::default()
            }
        }
        Part::Backtest => {
            let results = backtest::run(args.records, args.rounds)?;
            Findings {
                tables: backtest::tables(&results),
                targets: backtest::targets(&results),
                ..Findings::default()
            }
        }
        Part::Gas => {
            let costs = gas::run(args.rounds)?;
            Findings {
                tables: gas::tables(&costs),
                targets: gas::targets(&costs),
                ..Findings::default()
            }
        }
        Part::Instances => Findings {
            tables: instances::tables(&instances::run(args.rounds)?),
            ..Findings::default()
        },
        Part::All => Findings::default(),
    };
    let mut report = Report::new(&format!("bench-{}", part.name()), command_line(part));
    report.seconds = started.elapsed().as_secs();
    for target in &found.targets {
        target.figure(&mut report);
    }
    for table in &found.tables {
        println!("{}", markdown(table));
    }
    report.tables = found.tables;
    report.tables.push(machine::settings());
    let images = found.images.iter().map(|image| image.display().to_string());
    report.images = images.collect();
    let path = report.write(target)?;
    eprintln!("written: {}", path.display());
    Ok(found.targets)
}

fn measure_writes(args: &Args, setting: &Setting, images: &Path) -> Result<Findings> {
    let results = writes::run(setting, &args.clients)?;
    let mut tables = writes::tables(&results);
    let mut targets = writes::targets(&results);
    if let Some(program) = std::env::var_os(EVALUATE_COST) {
        let cost_us = policies::evaluation_us(Path::new(&program))?;
        tables.push(policies::table(cost_us, &results));
        targets.push(policies::target(cost_us));
    }
    Ok(Findings {
        tables,
        targets,
        images: plots::writes(&results, images)?,
    })
}

/// How to measure the same part again.
fn command_line(part: Part) -> String {
    let options = std::env::args().skip(1);
    let options = options.filter(|option| Part::from_str(option, false).is_err());
    let options: Vec<String> = options.collect();
    let command = format!("cargo xtask bench {} {}", part.name(), options.join(" "));
    command.trim_end().to_owned()
}

/// `target/`: this program lies in `target/release/`.
fn target_dir() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let target = exe.parent().and_then(Path::parent);
    Ok(target
        .context("this program lies in no build folder")?
        .to_owned())
}
