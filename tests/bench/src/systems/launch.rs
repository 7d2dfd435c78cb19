//! What the nodes of one cluster are started with.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::System;

/// Program and arguments of every node of a cluster.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Which system it is.
    pub system: System,
    /// Its program: a path, or a name on `PATH`.
    pub program: PathBuf,
    /// Further arguments for every node.
    pub args: Vec<String>,
}

/// The program of this system that is measured: `RAFT3D_BIN`, or the one beside this one.
///
/// # Errors
/// It is not there.
pub fn raft3d_program() -> Result<PathBuf> {
    let path = match std::env::var_os("RAFT3D_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("raft3d"),
    };
    ensure!(
        path.is_file(),
        "{} is not there: `cargo build --release -p raft3d-server`, or `cargo xtask bench`, which \
         does that",
        path.display()
    );
    Ok(path)
}
