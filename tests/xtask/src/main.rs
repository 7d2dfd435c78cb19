//! `cargo xtask`: the workspace's own commands.

mod bench;
mod deny;
mod fuzz;
mod hostile;
mod mutants;
mod nemesis;
mod next_epoch;
mod policies;
mod report;
mod simulate;
mod steps;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The workspace's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs everything that is checked: format, lints, prebuilt policies, all tests. Installs what
    /// is missing for that
    Test,
    /// Builds policies to modules: yours, or those checked in under `policies/prebuilt/`
    #[command(subcommand)]
    Policies(policies::Command),
    /// Measures a release build beside etcd: writes, reads, a million jobs, failover
    Bench {
        /// What to measure (writes, reads, large, failover, backtest, all) and how: see `-- --help`
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "PART|OPTION"
        )]
        args: Vec<String>,
    },
    /// Builds the program once more, supporting the next engine epoch too: for the test of an upgrade
    NextEpoch,
    /// Faults on real processes: kills, cuts, bad disks, wrong clocks; judges what clients saw
    Nemesis(nemesis::Args),
    /// Simulates clusters under faults, by seed; `--seed N` replays one
    #[command(disable_help_flag = true)]
    Simulate {
        /// For the simulator: `--help` shows them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Checks licenses, advisories and sources of all dependencies with cargo-deny
    Deny,
    /// Fuzzes every place where bytes from outside are read, with libFuzzer
    Fuzz(fuzz::Options),
    /// Plays random modules on engines and real clusters, and random calls of the shipped policies
    #[command(disable_help_flag = true)]
    Hostile {
        /// For what plays them: `--help` shows them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Mutates what applies entries, and runs the core's tests against each mutant (hours)
    Mutants(mutants::Options),
    /// Makes one page of everything that was run and written to `target/report`
    Report,
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Test => test::run(),
        Command::Policies(command) => policies::run(&command),
        Command::NextEpoch => next_epoch::run(),
        Command::Nemesis(args) => nemesis::run(&args),
        Command::Bench { args } => bench::run(&args),
        Command::Simulate { arguments } => simulate::run(&arguments),
        Command::Deny => deny::run(),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Hostile { arguments } => hostile::run(&arguments),
        Command::Mutants(options) => mutants::run(&options),
        Command::Report => report::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
