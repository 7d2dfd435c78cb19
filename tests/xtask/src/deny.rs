//! `cargo xtask deny`: licenses, advisories, sources.

use anyhow::{Result, ensure};

use crate::steps::{self, cargo, succeeds};

/// Checks.
///
/// # Errors
/// A dependency is not allowed, or cargo-deny is not there.
pub(crate) fn run() -> Result<()> {
    ensure!(
        succeeds(&mut cargo(&["deny", "--version"])?),
        "cargo-deny is not there: run `cargo install --locked cargo-deny`"
    );
    steps::run("dependencies", &mut cargo(&["deny", "check"])?)
}
