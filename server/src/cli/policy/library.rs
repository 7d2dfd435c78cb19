//! `raft3d policy library`: the modules that are built into this program.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use raft3d_engine::policy::inspect;
use raft3d_engine::sdk::Hook;

use crate::cli::print;
use crate::library;

/// What `library` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Write the module NAME to FILE
    #[arg(long, num_args = 2, value_names = ["NAME", "FILE"])]
    export: Option<Vec<PathBuf>>,
}

/// Lists them, or writes one.
pub(super) fn run(args: &Args) -> Result<()> {
    let mut names = Vec::new();
    for bytes in library::modules() {
        let report = inspect(bytes).map_err(|problem| anyhow!("a shipped module: {problem}"))?;
        let manifest = report.manifest;
        match args.export.as_deref() {
            Some([name, file]) if name.as_os_str() == manifest.name.as_str() => {
                return std::fs::write(file, bytes)
                    .with_context(|| format!("cannot write {}", file.display()));
            }
            Some(_) => names.push(manifest.name),
            None => {
                let hooks: Vec<_> = manifest.hooks.iter().map(Hook::name).collect();
                print(&format!(
                    "{} {}: {}\n  hooks: {}; {} bytes\n  sha256 {}\n",
                    manifest.name,
                    manifest.version,
                    manifest.description,
                    hooks.join(", "),
                    bytes.len(),
                    report.digest
                ))?;
            }
        }
    }
    if let Some([name, _]) = args.export.as_deref() {
        bail!(
            "there is no module {} here; there are {}",
            name.display(),
            names.join(", ")
        );
    }
    Ok(())
}
