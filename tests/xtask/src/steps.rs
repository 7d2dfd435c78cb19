//! Running other programs, one step after the other, with what each took.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

/// The root of the workspace.
pub(crate) fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here
        .ancestors()
        .nth(2)
        .context("xtask stands two folders below the root")?;
    Ok(root.to_path_buf())
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => Ok(root()?.join(dir)),
        None => Ok(root()?.join("target")),
    }
}

/// The cargo that runs us, in the workspace's root, with the compiler that belongs to it: another
/// `rustc` (Debian's `rustc-web`, for guests) may stand first in the path.
pub(crate) fn cargo(args: &[&str]) -> Result<Command> {
    let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut command = Command::new(&cargo);
    command.args(args).current_dir(root()?);
    if env::var_os("RUSTC").is_none() {
        let rustc = cargo.with_file_name("rustc");
        if rustc.is_file() {
            command.env("RUSTC", rustc);
        }
    }
    Ok(command)
}

/// Runs a command that must succeed, and says what it is for and how long it took.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<()> {
    eprintln!("\n== {what}");
    let started = Instant::now();
    let name = command.get_program().display().to_string();
    let status = command
        .status()
        .with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{what}: {name} ended with {status}");
    eprintln!("== {what}: {:.0?}", started.elapsed());
    Ok(())
}

/// Whether a command runs and succeeds; says nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
