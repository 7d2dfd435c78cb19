//! `cargo xtask bench`: what a release build does on this machine.

use std::env::consts::EXE_SUFFIX;
use std::process::Command;

use anyhow::Result;

use crate::steps::{self, cargo, target_dir};

/// Measures.
///
/// # Errors
/// The first step that failed.
pub(crate) fn run(seconds: u64) -> Result<()> {
    // All at once: what is built alone has other features, and wasmtime would be built twice.
    let build = [
        "build",
        "--release",
        "--workspace",
        "--bins",
        "--examples",
        "--locked",
    ];
    steps::run("build", &mut cargo(&build)?)?;
    let release = target_dir()?.join("release");
    let program = |name: &str| release.join(format!("{name}{EXE_SUFFIX}"));
    let mut load = Command::new(program("raft3d-bench"));
    load.args(["--seconds", &seconds.to_string()])
        .env("RAFT3D_BIN", program("raft3d"));
    steps::run("cluster", &mut load)?;
    let cost = release.join("examples");
    let cost = cost.join(format!("evaluate_cost{EXE_SUFFIX}"));
    steps::run("evaluation of a policy", &mut Command::new(cost))
}
