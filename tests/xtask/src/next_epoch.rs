//! A second build of the program, which supports one engine epoch more than this one: what the test
//! of an upgrade runs beside it.
//!
//! It shares the folder of everything else, so that only our own packages are compiled once more;
//! cargo gives both programs the same name, so the copy is made before the ordinary build.

use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::steps::{self, cargo, target_dir};

/// Builds it, and answers where it is. The program under its usual name is the ordinary one again
/// after the next `cargo build`.
///
/// # Errors
/// It does not build.
pub(crate) fn build() -> Result<PathBuf> {
    let arguments = [
        "build",
        "--workspace",
        "--bin",
        "raft3d",
        "--features",
        "raft3d-server/next-epoch",
        "--locked",
    ];
    steps::run("build of the next epoch", &mut cargo(&arguments)?)?;
    let folder = target_dir()?.join("debug");
    let built = folder.join(format!("raft3d{EXE_SUFFIX}"));
    let kept = folder.join(format!("raft3d-next-epoch{EXE_SUFFIX}"));
    fs::copy(&built, &kept).with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(kept)
}

/// Builds both.
///
/// # Errors
/// As [`build`].
pub(crate) fn run() -> Result<()> {
    build()?;
    let arguments = ["build", "--workspace", "--bin", "raft3d", "--locked"];
    steps::run("build", &mut cargo(&arguments)?)
}
