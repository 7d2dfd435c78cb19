//! The command line.

mod client;
mod clock;
mod dev;
mod policy;
mod ruleset;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::ServeArgs;
use crate::node::OtherVersion;
use crate::{serve, telemetry};

/// Name of the hidden subcommand that compiles a module in a limited process.
pub const COMPILE_WORKER: &str = "compile-worker";
/// The commit that this program was built from, or `unknown` (`build.rs`).
pub const COMMIT: &str = env!("RAFT3D_COMMIT");
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("RAFT3D_COMMIT"), ")");
/// Exit status of a node that another version of this program is to be run on, so that a service
/// manager can be told not to try again (`EX_CONFIG` of sysexits.h).
const OTHER_VERSION_STATUS: u8 = 78;

/// A print shop's printers, filaments and jobs, replicated; its rules are WebAssembly modules.
///
/// Without a subcommand: `dev`.
#[derive(Debug, Parser)]
#[command(name = "raft3d", version = VERSION, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Subcommands>,
    #[command(flatten)]
    dev: dev::DevArgs,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Run one node
    Serve(Box<ServeArgs>),
    /// Compile one module, within limits (a node starts this by itself)
    #[command(name = COMPILE_WORKER, hide = true)]
    CompileWorker,
    /// Run a whole cluster on this machine, for trying things out (the default)
    Dev(dev::DevArgs),
    /// Write, build, check, try out and upload policies
    #[command(subcommand)]
    Policy(policy::Command),
    /// Show and change which policies decide what
    Ruleset(ruleset::Args),
    /// Show a node's clock beside the log's time, vouch for it, or let log time go on
    Clock(clock::Args),
}

/// Runs the program: what stands on the command line, to its end.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Subcommands::Serve(args)) => run_serve(*args).map(succeed),
        Some(Subcommands::CompileWorker) => {
            return raft3d_engine::policy::worker_main(COMMIT);
        }
        Some(Subcommands::Dev(args)) => dev::run(args).map(succeed),
        Some(Subcommands::Policy(command)) => policy::run(&command),
        Some(Subcommands::Ruleset(args)) => ruleset::run(&args),
        Some(Subcommands::Clock(args)) => clock::run(&args).map(succeed),
        None => dev::run(cli.dev).map(succeed),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("raft3d: {error:#}");
            if error.is::<OtherVersion>() {
                return ExitCode::from(OTHER_VERSION_STATUS);
            }
            ExitCode::FAILURE
        }
    }
}

fn succeed((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

/// Prints to standard output. A reader that is gone (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::{ErrorKind, Write};
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn run_serve(args: ServeArgs) -> anyhow::Result<()> {
    telemetry::start()?;
    serve::run(args.resolve()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn dev_is_the_default_and_its_flags_need_no_name() {
        let named = Cli::try_parse_from(["raft3d", "dev", "--nodes", "5"]).unwrap();
        assert!(matches!(named.command, Some(Subcommands::Dev(args)) if args.nodes == Some(5)));
        let unnamed = Cli::try_parse_from(["raft3d", "--nodes", "5", "--fresh"]).unwrap();
        assert!(unnamed.command.is_none() && unnamed.dev.nodes == Some(5) && unnamed.dev.fresh);
        assert!(Cli::try_parse_from(["raft3d", "--nodes", "5", "serve"]).is_err());
    }

    #[test]
    fn joining_and_founding_exclude_each_other() {
        let both = ["raft3d", "serve", "--join", "a:1", "--node-id", "1"];
        assert!(Cli::try_parse_from(both).is_err());
    }
}
