//! `cargo xtask bench`: what a release build does on this machine.

use anyhow::Result;

use crate::steps::{self, cargo, target_dir};

/// Measures.
///
/// # Errors
/// The first step that failed.
pub(crate) fn run(seconds: u64) -> Result<()> {
    let build = [
        "build",
        "--release",
        "--locked",
        "--package",
        "raft3d-server",
    ];
    steps::run("build", &mut cargo(&build)?)?;
    let load = [
        "run",
        "--release",
        "--locked",
        "--package",
        "raft3d-cluster-tests",
    ];
    let mut load = cargo(&load)?;
    load.args([
        "--bin",
        "raft3d-bench",
        "--",
        "--seconds",
        &seconds.to_string(),
    ]);
    steps::run(
        "cluster",
        load.env("RAFT3D_BIN", target_dir()?.join("release/raft3d")),
    )?;
    let cost = ["run", "--release", "--locked", "--package", "raft3d-engine"];
    let mut cost = cargo(&cost)?;
    steps::run(
        "evaluation of a policy",
        cost.args(["--example", "evaluate_cost"]),
    )
}
