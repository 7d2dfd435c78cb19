//! `cargo xtask simulate`: clusters in simulated time, by seed.

use std::env::consts::EXE_SUFFIX;
use std::process::Command;

use anyhow::Result;

use crate::steps::{self, cargo, target_dir};

/// Builds the simulator and hands it `arguments`: see `cargo xtask simulate --help`.
///
/// The development build: its assertions, openraft's among them, are a part of what is checked.
///
/// # Errors
/// The first step that failed; a seed that was not clean is one.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    // All of the workspace: what is built alone has other features, and wasmtime would be built
    // twice.
    let build = ["build", "--workspace", "--bins", "--locked"];
    steps::run("build", &mut cargo(&build)?)?;
    let target = target_dir()?;
    let program = format!("raft3d-simulate{EXE_SUFFIX}");
    let mut simulate = Command::new(target.join("debug").join(program));
    simulate.arg("--target").arg(target).args(arguments);
    steps::run("simulation", &mut simulate)
}
