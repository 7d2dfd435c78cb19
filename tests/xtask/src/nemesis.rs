//! `cargo xtask nemesis`: faults on real processes.

use std::env::consts::EXE_SUFFIX;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::steps::{self, cargo, target_dir};
use crate::tools;

/// The device that file systems of programs are made through.
const FUSE: &str = "/dev/fuse";

/// What is passed on to `raft3d-nemesis`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
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
    #[arg(long, value_name = "KIND,…")]
    only: Option<String>,
    /// Run the nodes with this bug, of a debug build
    #[arg(long, value_name = "BUG")]
    sabotage: Option<String>,
}

/// Builds and plays.
///
/// # Errors
/// The build failed, or something was violated.
pub(crate) fn run(args: &Args) -> Result<()> {
    tools::nemesis();
    if !Path::new(FUSE).exists() {
        eprintln!("{FUSE} is not there: faults of disks are not run");
    }
    // Bugs are built into debug builds only.
    let (profile, folder) = match args.sabotage {
        Some(_) => ("dev", "debug"),
        None => ("release", "release"),
    };
    let build = [
        "build",
        "--profile",
        profile,
        "--workspace",
        "--bins",
        "--locked",
    ];
    steps::run("build", &mut cargo(&build)?)?;
    let folder = target_dir()?.join(folder);
    let mut nemesis = Command::new(folder.join(format!("raft3d-nemesis{EXE_SUFFIX}")));
    let flags = [
        ("--minutes", args.minutes.map(|minutes| minutes.to_string())),
        ("--rounds", args.rounds.map(|rounds| rounds.to_string())),
        ("--seed", args.seed.map(|seed| seed.to_string())),
        ("--only", args.only.clone()),
        ("--sabotage", args.sabotage.clone()),
    ];
    for (flag, value) in flags {
        if let Some(value) = value {
            nemesis.args([flag, &value]);
        }
    }
    steps::run("nemesis", &mut nemesis)
}
