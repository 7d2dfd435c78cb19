//! `raft3d-nemesis`: round after round of faults on real processes. `cargo xtask nemesis` builds
//! and runs it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use raft3d_checkers::check_all;
use raft3d_checkers::history::{read_lines, sort};
use raft3d_cluster_tests::cluster::scratch_folder;
use raft3d_cluster_tests::process::build_folder;
use raft3d_nemesis::faults::{KINDS, Kind, kind};
use raft3d_nemesis::figures::Figures;
use raft3d_nemesis::fleet::Tools;
use raft3d_nemesis::rng::Rng;
use raft3d_nemesis::round::{Outcome, Plan, play};

/// Faults of one round.
const FAULTS_PER_ROUND: usize = 8;
/// One round in so many has five nodes instead of three.
const FIVE_NODES_ONE_IN: u64 = 4;

/// Round after round of faults on real processes, each a fresh cluster.
#[derive(Debug, Parser)]
#[command(name = "raft3d-nemesis")]
struct Args {
    /// Play for so many minutes
    #[arg(long, conflicts_with = "rounds")]
    minutes: Option<u64>,
    /// Play so many rounds (3 where neither is given)
    #[arg(long)]
    rounds: Option<u64>,
    /// Seed of the first round; the others count on from it
    #[arg(long)]
    seed: Option<u64>,
    /// Only these kinds of faults
    #[arg(long, value_delimiter = ',', value_name = "KIND,…")]
    only: Vec<String>,
    /// Run the nodes with this bug; they must be of a debug build
    #[arg(long, value_name = "BUG")]
    sabotage: Option<String>,
    /// Only judge a history that was kept
    #[arg(long, value_name = "FILE")]
    judge: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Plays; answers whether nothing was violated.
fn run(args: &Args) -> Result<bool> {
    if let Some(file) = &args.judge {
        return judge(file);
    }
    let kinds = chosen(&args.only)?;
    let tools = Tools::find();
    let missing: BTreeMap<&str, String> = kinds
        .iter()
        .filter_map(|kind| Some((kind.name, kind.missing(&tools)?)))
        .collect();
    for (kind, why) in &missing {
        eprintln!("NOT RUN: {kind}: {why}");
    }
    let kinds: Vec<Kind> = kinds
        .into_iter()
        .filter(|kind| !missing.contains_key(kind.name))
        .collect();
    if kinds.is_empty() {
        bail!("none of these faults can be had on this machine");
    }
    let seed = args.seed.unwrap_or_else(fresh_seed);
    let started = Instant::now();
    let end = End::of(args);
    let bar = end.bar();
    let mut figures = Figures::default();
    for round in 0_u64.. {
        if end.is_reached(round, started) {
            break;
        }
        let seed = seed.wrapping_add(round);
        let plan = plan(seed, &kinds, &tools, args.sabotage.clone());
        end.show(&bar, round, started);
        let outcome = play(&plan, &|what| {
            bar.set_message(format!("seed {seed}: {what}"))
        });
        let replay = replay(seed, args);
        tell(&bar, &outcome, &plan, &replay);
        figures.add(&outcome, &replay);
    }
    bar.finish_and_clear();
    let command = format!("{} # {} faults", replay(seed, args), figures.faults());
    let report = figures.report(&command, started.elapsed(), &missing);
    let target = build_folder();
    let target = target
        .parent()
        .context("the build's folder lies in target/")?;
    let path = report.write(target)?;
    for (what, value) in &report.figures {
        println!("{what}: {value}");
    }
    println!("written to {}", path.display());
    Ok(figures.violations().is_empty())
}

/// Judges a history that was kept.
fn judge(file: &Path) -> Result<bool> {
    let lines = File::open(file).with_context(|| file.display().to_string())?;
    let (history, finals) = sort(read_lines(&mut BufReader::new(lines))?);
    let verdict = check_all(&history, &finals);
    println!("{verdict}");
    Ok(verdict.is_good())
}

fn chosen(only: &[String]) -> Result<Vec<Kind>> {
    if only.is_empty() {
        return Ok(KINDS.to_vec());
    }
    let find = |name: &String| {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        kind(name).with_context(|| format!("{name} is none of {}", names.join(", ")))
    };
    only.iter().map(find).collect()
}

/// Any seed: the system's random numbers, by way of a hasher's keys.
fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) >> 16
}

fn plan(seed: u64, kinds: &[Kind], tools: &Tools, sabotage: Option<String>) -> Plan {
    let mut rng = Rng::part(seed, 0);
    let size = if rng.one_in(FIVE_NODES_ONE_IN) { 5 } else { 3 };
    // Whole decks, so that no kind is left out for long.
    let mut drawn: Vec<Kind> = Vec::new();
    while drawn.len() < FAULTS_PER_ROUND {
        let mut deck = kinds.to_vec();
        rng.shuffle(&mut deck);
        drawn.extend(deck);
    }
    drawn.truncate(FAULTS_PER_ROUND);
    Plan {
        seed,
        size,
        kinds: drawn,
        folder: scratch_folder(&format!("nemesis-{seed}")),
        tools: tools.clone(),
        sabotage,
        in_time: true,
    }
}

fn replay(seed: u64, args: &Args) -> String {
    let mut line = format!("cargo xtask nemesis --rounds 1 --seed {seed}");
    if !args.only.is_empty() {
        line.push_str(&format!(" --only {}", args.only.join(",")));
    }
    if let Some(bug) = &args.sabotage {
        line.push_str(&format!(" --sabotage {bug}"));
    }
    line
}

/// Prints a line, whether there is a terminal for a bar or not.
fn say(bar: &ProgressBar, line: &str) {
    bar.suspend(|| println!("{line}"));
}

fn tell(bar: &ProgressBar, outcome: &Outcome, plan: &Plan, replay: &str) {
    let writes = outcome.answers.get("write accepted").copied().unwrap_or(0);
    say(
        bar,
        &format!(
            "seed {}: {} nodes, {} faults, {writes} writes accepted, longest outage {:.1} s, {:.0} s",
            outcome.seed,
            plan.size,
            outcome.healed.len(),
            outcome.longest_outage.as_secs_f64(),
            outcome.took.as_secs_f64(),
        ),
    );
    for violation in &outcome.violations {
        say(bar, &format!("VIOLATION: {violation}"));
    }
    if !outcome.violations.is_empty() {
        let folder = plan.folder.display();
        say(
            bar,
            &format!("history, logs and data are kept in {folder}\nreplay: {replay}"),
        );
    }
}

/// When it is enough.
enum End {
    Rounds(u64),
    Time(Duration),
}

/// Rounds where nothing is said.
const ROUNDS_DEFAULT: u64 = 3;

impl End {
    fn of(args: &Args) -> Self {
        match (args.minutes, args.rounds) {
            (Some(minutes), _) => Self::Time(Duration::from_secs(minutes * 60)),
            (None, rounds) => Self::Rounds(rounds.unwrap_or(ROUNDS_DEFAULT)),
        }
    }

    fn is_reached(&self, rounds: u64, started: Instant) -> bool {
        match self {
            Self::Rounds(end) => rounds >= *end,
            Self::Time(end) => started.elapsed() >= *end,
        }
    }

    fn bar(&self) -> ProgressBar {
        let length = match self {
            Self::Rounds(rounds) => *rounds,
            Self::Time(time) => time.as_secs(),
        };
        let bar = ProgressBar::new(length);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} [{elapsed}] {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_secs(1));
        bar
    }

    fn show(&self, bar: &ProgressBar, rounds: u64, started: Instant) {
        bar.set_position(match self {
            Self::Rounds(_) => rounds,
            Self::Time(_) => started.elapsed().as_secs(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_plan_and_a_deck_holds_every_kind() {
        let plan = |seed| plan(seed, KINDS, &Tools::default(), None);
        let names = |plan: &Plan| plan.kinds.iter().map(|kind| kind.name).collect::<Vec<_>>();
        assert_eq!(names(&plan(7)), names(&plan(7)));
        assert_ne!(names(&plan(7)), names(&plan(8)));
        let mut once = names(&plan(9));
        once.sort_unstable();
        once.dedup();
        assert_eq!(
            once.len(),
            FAULTS_PER_ROUND,
            "none comes twice before all came once"
        );
    }
}
