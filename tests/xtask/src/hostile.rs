//! `cargo xtask hostile`: random modules and random calls, by seed.

use std::env::consts::EXE_SUFFIX;
use std::process::Command;

use anyhow::Result;

use crate::steps::{self, cargo, target_dir};

/// Builds the nodes and what plays with them, and hands it `arguments`: see `cargo xtask hostile
/// --help`.
///
/// # Errors
/// The first step that failed; a module or a call that found something is one.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let build = ["build", "--workspace", "--bins", "--locked"];
    steps::run("build", &mut cargo(&build)?)?;
    let target = target_dir()?;
    let program = target
        .join("debug")
        .join(format!("raft3d-hostile{EXE_SUFFIX}"));
    let mut hostile = Command::new(program);
    hostile.arg("--target").arg(target).args(arguments);
    steps::run("hostile modules", &mut hostile)
}
