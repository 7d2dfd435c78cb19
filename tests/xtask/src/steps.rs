//! Running other programs, one step after the other.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xtask::workspace_dir;

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => Ok(workspace_dir()?.join(dir)),
        None => Ok(workspace_dir()?.join("target")),
    }
}

/// The cargo that runs us, in the workspace's root, with the compiler that belongs to it: another
/// `rustc` (Debian's `rustc-web`, for guests) may stand first in the path.
pub(crate) fn cargo(args: &[&str]) -> Result<Command> {
    let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut command = Command::new(&cargo);
    command.args(args).current_dir(workspace_dir()?);
    if env::var_os("RUSTC").is_none() {
        let rustc = cargo.with_file_name("rustc");
        if rustc.is_file() {
            command.env("RUSTC", rustc);
        }
    }
    Ok(command)
}

/// Runs a command that must succeed, and says what it is for.
///
/// # Errors
/// It cannot be run, or it fails.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<()> {
    eprintln!("\n== {what}");
    let name = command.get_program().display().to_string();
    let status = command
        .status()
        .with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{what}: {name} ended with {status}");
    Ok(())
}

/// Whether a command runs and succeeds; says nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
