//! `raft3d policy`: from nothing to a module that a cluster knows. One file per command.

mod ask;
mod backtest;
mod build;
mod check;
mod library;
mod names;
mod new;
mod push;
mod run;
mod sample;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use raft3d_engine::core::limits::MODULE_BYTES_MAX;

use super::client::NodeArgs;

/// What an author does.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Write a policy crate that compiles, tests and builds as it is
    New(new::Args),
    /// Build a policy crate to a module
    Build(build::Args),
    /// Check a module as an upload does, and run it on sample inputs; needs no cluster
    ///
    /// Exits with 0 where the module is good, and with 1 where it is not.
    Check(check::Args),
    /// Ask a module one question and show its answer as JSON; needs no cluster
    ///
    /// Exits with 0 for any answer, a denial too, and with 1 where the module gives none.
    Run(run::Args),
    /// Ask a module what it would have said to recorded decisions, and show what would be otherwise
    ///
    /// Exits with 0 where nothing is, with 2 where something is, and with 1 after an error.
    Backtest(backtest::Args),
    /// Upload a module to a cluster; it decides nothing until a ruleset binds it
    Push {
        /// The module
        file: PathBuf,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// List the modules that are built into this program, or write one to a file
    Library(library::Args),
}

/// Does it.
pub(super) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::New(args) => new::run(args).map(super::succeed),
        Command::Build(args) => build::run(args).map(super::succeed),
        Command::Check(args) => check::run(args).map(super::succeed),
        Command::Run(args) => run::run(args),
        Command::Backtest(args) => backtest::run(args),
        Command::Push { file, node } => push::run(file, node).map(super::succeed),
        Command::Library(args) => library::run(args).map(super::succeed),
    }
}

/// Reads a module. What is larger than any module may be is not read at all.
///
/// # Errors
/// There is no such file, or it is too large.
pub(super) fn read_module(file: &Path) -> Result<Vec<u8>> {
    let about = || format!("cannot read {}", file.display());
    let size = std::fs::metadata(file).with_context(about)?.len();
    ensure!(
        size <= MODULE_BYTES_MAX as u64,
        "{}: module_bytes is {size}, above the limit of {MODULE_BYTES_MAX}: build it with \
         `raft3d policy build`, which optimises and strips",
        file.display()
    );
    std::fs::read(file).with_context(about)
}

/// A share of a limit in per cent, rounded up.
fn per_cent(value: u64, max: u64) -> u64 {
    value.saturating_mul(100).div_ceil(max.max(1))
}
