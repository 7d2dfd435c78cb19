//! `cargo xtask test`: everything that is checked.
//!
//! One profile and one set of features for everything, so that nothing is compiled twice: the
//! program under test is the one that the same `cargo build` made.

use std::env::consts::EXE_SUFFIX;

use anyhow::Result;

use crate::steps::{self, cargo, target_dir};
use crate::tools;
use crate::{next_epoch, policies};

/// Runs it.
///
/// # Errors
/// The first step that failed.
pub(crate) fn run() -> Result<()> {
    tools::guest_compiler()?;
    tools::nextest()?;
    tools::nemesis();
    steps::run("format", &mut cargo(&["fmt", "--all", "--check"])?)?;
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    steps::run("lints", &mut cargo(&lints)?)?;
    policies::run(&policies::Command::Check)?;
    let next = next_epoch::build()?;
    steps::run(
        "build",
        &mut cargo(&["build", "--workspace", "--all-targets", "--locked"])?,
    )?;
    let binary = target_dir()?
        .join("debug")
        .join(format!("raft3d{EXE_SUFFIX}"));
    let mut tests = cargo(&["nextest", "run", "--workspace", "--locked"])?;
    let tests = tests.env("RAFT3D_BIN", binary).env("RAFT3D_NEXT_BIN", next);
    steps::run("tests", tests)
}
