//! Library side of the workspace's own commands, for tests that need the same steps.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use raft3d_guest_build::Toolchain;

pub mod prebuilt;

/// The root of this workspace.
///
/// # Errors
/// This package does not stand where it did.
pub fn workspace_dir() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here
        .ancestors()
        .nth(2)
        .context("xtask stands two folders below the root")?;
    Ok(root.to_path_buf())
}

/// Builds a policy crate of this workspace.
///
/// # Errors
/// There is no such crate or compiler, or it does not compile.
pub fn build_policy(crate_dir: &Path) -> Result<Vec<u8>> {
    let built = raft3d_guest_build::build(&Toolchain::find()?, crate_dir, Some(&guests_dir()?))?;
    Ok(built.bytes)
}

/// Where guests of this workspace are built.
fn guests_dir() -> Result<PathBuf> {
    Ok(workspace_dir()?.join("target/guests"))
}
