//! `raft3d policy backtest`: what a candidate would have decided otherwise, from recorded decisions
//! of a live cluster or of a snapshot file.

mod backup;
mod live;
mod record;
mod show;
mod when;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use raft3d_engine::backtest::{self, BacktestError, Candidate, Feed, Options, Report};
use raft3d_engine::core::state::decisions::DecisionRecord;
use raft3d_engine::core::{BindingId, ModuleDigest};
use raft3d_engine::policy::{ModuleReport, WorkbenchError};
use raft3d_engine::sdk::Lifecycle;

use super::ask::refused;
use super::check::config_or_empty;
use super::names;
use super::read_module;
use crate::cli::client::NodeArgs;
use crate::cli::print;
use crate::http::EMPTY_CONFIG;
use crate::module::inspect;
use when::When;

/// The candidate decides something otherwise.
const EXIT_CHANGES: u8 = 2;
/// Examples of each kind of difference, where nothing is said.
const EXAMPLES_DEFAULT: usize = 3;
/// Most examples of each kind of difference: they are for people.
const EXAMPLES_MAX: u64 = 1_000;
/// Time between two pictures of the progress.
const TICK: Duration = Duration::from_millis(200);
/// What stands in a terminal while it works.
const PROGRESS: &str = "{elapsed_precise} {bar:40} {percent:>3} %  {msg}";

/// What `backtest` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The candidate
    file: PathBuf,
    /// Its configuration, as JSON (or @FILE) [default: with a live cluster that of the binding that
    /// it is compared with, as it is active; otherwise {}]
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    /// The binding whose recorded answers it is compared with [default: the one whose module has
    /// the candidate's name, if there is one; otherwise what all decided, the candidate asked
    /// before them]
    #[arg(long, value_name = "ID")]
    binding: Option<String>,
    /// Only decisions since then: an age such as 7d, 12h or 30m, or a time as in RFC 3339
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Only decisions before then
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// URL of a node whose records are read [default: as for other commands, `RAFT3D_NODE`]
    #[arg(long, value_name = "URL", conflicts_with = "backup")]
    against: Option<String>,
    /// A snapshot file to read them from: `snapshots/*.snapshot` in a node's data folder
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    /// At most this many records, the oldest first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// At most this many examples of each kind of difference
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=EXAMPLES_MAX))]
    examples: Option<u64>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Whence records come.
enum Source {
    Live(live::Live),
    Backup(backup::Backup),
}

/// Which records are wanted. Times are milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
struct Window {
    since_ms: u64,
    until_ms: u64,
    limit: u64,
}

/// Whether to go on after a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    More,
    Enough,
}

/// Compares, and prints the report.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let bytes = read_module(&args.file)?;
    let module = inspect(&bytes).map_err(|problem| refused(&args.file, &problem))?;
    let source = match &args.backup {
        Some(file) => Source::Backup(backup::Backup::open(file)?),
        None => Source::Live(live::Live::connect(&NodeArgs::or_default(
            args.against.as_deref(),
        ))?),
    };
    let same_name = source.modules_called(&module.manifest.name)?;
    let (config, whence) = config(args, &source, &same_name)?;
    let reviewed = names::named(&module.manifest, &config, source.lifecycle()?.as_ref())?;
    reviewed.warn();
    let config = reviewed.config;
    let candidate = candidate(&args.file, &bytes, &config)?;
    let options = Options {
        binding: args.binding.as_deref().map(BindingId::new),
        same_name,
        examples_max: args
            .examples
            .and_then(|examples| usize::try_from(examples).ok())
            .unwrap_or(EXAMPLES_DEFAULT),
    };
    let report = compare(&candidate, &options, &source, args.window()?)?;
    let about = show::About {
        module: candidate.report(),
        config: &config,
        whence: &whence,
    };
    let text = if args.json {
        show::json(&about, &report)
    } else {
        show::text(&about, &report)
    };
    print(&text)?;
    Ok(if report.changed() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_CHANGES)
    })
}

impl Args {
    fn window(&self) -> Result<Window> {
        let now_ms = when::now_ms();
        let window = Window {
            since_ms: self.since.map_or(0, |since| since.at_ms(now_ms)),
            until_ms: self.until.map_or(u64::MAX, |until| until.at_ms(now_ms)),
            limit: self.limit.unwrap_or(u64::MAX),
        };
        anyhow::ensure!(
            window.since_ms < window.until_ms,
            "--until must be later than --since"
        );
        Ok(window)
    }
}

/// The configuration and where it comes from.
fn config(
    args: &Args,
    source: &Source,
    same_name: &BTreeSet<ModuleDigest>,
) -> Result<(Vec<u8>, String)> {
    if args.config.is_some() {
        let config = config_or_empty(args.config.as_deref())?;
        return Ok((config, "--config".to_owned()));
    }
    if let Source::Live(live) = source
        && let Some((binding, config)) = live.active_config(args.binding.as_deref(), same_name)?
    {
        return Ok((config, format!("of the active binding '{binding}'")));
    }
    Ok((EMPTY_CONFIG.to_vec(), "the default".to_owned()))
}

fn candidate(file: &Path, bytes: &[u8], config: &[u8]) -> Result<Candidate> {
    let threads = std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
    Candidate::new(bytes, config, threads).map_err(|error| match error {
        BacktestError::Candidate(WorkbenchError::Refused(problem)) => refused(file, &problem),
        BacktestError::Config(_) => anyhow!("{}: {error}; give --config JSON", file.display()),
        other => anyhow!("{}: {other}", file.display()),
    })
}

/// Feeds the records of the window to the candidate.
fn compare(
    candidate: &Candidate,
    options: &Options,
    source: &Source,
    window: Window,
) -> Result<Report> {
    let (progress, mut first) = (bar(source.newest()), None);
    let report = backtest::run(candidate, options, |feed: &mut Feed| {
        source.each(window, &mut |record: DecisionRecord| {
            let revision = record.revision.0;
            if record.at_ms >= window.until_ms {
                return Next::Enough;
            }
            if record.at_ms < window.since_ms {
                return Next::More;
            }
            let first = *first.get_or_insert(revision);
            progress.set_length(source.newest().saturating_sub(first).max(1));
            progress.set_position(revision.saturating_sub(first));
            let more = feed.push(record);
            progress.set_message(format!("{} records", feed.records()));
            if more && feed.records() < window.limit {
                Next::More
            } else {
                Next::Enough
            }
        })
    });
    progress.finish_and_clear();
    report
}

/// A bar on standard error; nothing where that is no terminal.
fn bar(newest: u64) -> ProgressBar {
    let progress = ProgressBar::new(newest.max(1));
    if let Ok(style) = ProgressStyle::with_template(PROGRESS) {
        progress.set_style(style);
    }
    progress.enable_steady_tick(TICK);
    progress
}

impl Source {
    /// Modules whose manifest has this name.
    fn modules_called(&self, name: &str) -> Result<BTreeSet<ModuleDigest>> {
        match self {
            Self::Live(live) => live.modules_called(name),
            Self::Backup(backup) => backup.modules_called(name),
        }
    }

    /// The lifecycle of the active ruleset; none if there is no ruleset yet.
    fn lifecycle(&self) -> Result<Option<Lifecycle>> {
        match self {
            Self::Live(live) => Ok(live.lifecycle()),
            Self::Backup(backup) => backup.lifecycle(),
        }
    }

    /// Log index of the newest entry that is looked at.
    fn newest(&self) -> u64 {
        match self {
            Self::Live(live) => live.newest(),
            Self::Backup(backup) => backup.newest(),
        }
    }

    /// Calls `take` for each record, oldest first, until it has enough. Records from before the
    /// window may be left out.
    fn each(&self, window: Window, take: &mut dyn FnMut(DecisionRecord) -> Next) -> Result<()> {
        match self {
            Self::Live(live) => live.each(window.since_ms, take),
            Self::Backup(backup) => backup.each(take),
        }
    }
}

/// The module's name and version, for messages.
fn named(module: &ModuleReport) -> String {
    format!("{} {}", module.manifest.name, module.manifest.version)
}

/// A digest in an answer of a node.
fn digest(text: &str) -> Result<ModuleDigest> {
    text.parse()
        .ok()
        .with_context(|| format!("{text} is no SHA-256 of a module"))
}
