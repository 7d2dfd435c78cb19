//! `cargo xtask`: the workspace's own commands.

mod bench;
mod deny;
mod policies;
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
    /// Measures a release build: writes per second, latency, failover, memory, cost of a policy
    Bench {
        /// Seconds of load for each number of connections
        #[arg(long, default_value_t = 15)]
        seconds: u64,
    },
    /// Simulates clusters under faults, by seed; `--seed N` replays one
    #[command(disable_help_flag = true)]
    Simulate {
        /// For the simulator: `--help` shows them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Checks licenses, advisories and sources of all dependencies with cargo-deny
    Deny,
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Test => test::run(),
        Command::Policies(command) => policies::run(&command),
        Command::Bench { seconds } => bench::run(seconds),
        Command::Simulate { arguments } => simulate::run(&arguments),
        Command::Deny => deny::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
