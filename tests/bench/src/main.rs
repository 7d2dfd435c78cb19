//! `raft3d-bench`: prints figures. Run by `cargo xtask bench`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use raft3d_bench::setting::{Setting, remove};
use raft3d_bench::{load, writes};

/// Measures a cluster of three nodes beside a three-node etcd on this machine.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    inner: Option<Inner>,
    /// Interleaved rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measured window
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Numbers of clients for writes
    #[arg(long, value_delimiter = ',', default_values_t = writes::CLIENTS)]
    clients: Vec<usize>,
    /// A further argument for every node of ours, such as `--snapshot-entries=1000000`
    #[arg(long, allow_hyphen_values = true)]
    node_arg: Vec<String>,
}

#[derive(Subcommand)]
enum Inner {
    /// Makes one load; the program calls itself so
    #[command(hide = true)]
    Load {
        /// What load, as JSON
        spec: String,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.inner {
        Some(Inner::Load { spec }) => load::run(spec),
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

fn measure(args: &Args) -> Result<()> {
    let target = target_dir()?;
    let setting = Setting {
        rounds: args.rounds,
        window: Duration::from_secs_f64(args.seconds),
        node_args: args.node_arg.clone(),
        scratch: target.join("bench").join(std::process::id().to_string()),
        cache: target.join("bench-cache"),
    };
    let results = writes::run(&setting, &args.clients);
    remove(&setting.scratch)?;
    let results = results?;
    println!("{}", writes::client_table("Writes", &results));
    println!("{}", writes::cost_table("Cost of a write", &results));
    Ok(())
}

/// `target/`: this program lies in `target/release/`.
fn target_dir() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let target = exe.parent().and_then(std::path::Path::parent);
    Ok(target.unwrap_or(&exe).to_owned())
}
