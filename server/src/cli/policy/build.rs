//! `raft3d policy build`: from a crate to a module.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use raft3d_engine::policy::ModuleReport;
use raft3d_guest_build::{Toolchain, build};

use super::ask::{Desk, refused};
use super::{check, per_cent};
use crate::module::inspect;

/// What `build` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Folder of the policy crate
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where to write the module [default: DIR/NAME.wasm]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Builds it. The module's path, alone on its line, is what goes to standard output.
pub(super) fn run(args: &Args) -> Result<()> {
    let toolchain = Toolchain::find()?;
    eprintln!("building with {}", first_line(toolchain.version()));
    let built = build(&toolchain, &args.dir, None)?;
    let name = format!("{}.wasm", built.package);
    let out = args.out.clone().unwrap_or_else(|| args.dir.join(name));
    std::fs::write(&out, &built.bytes)
        .with_context(|| format!("cannot write {}", out.display()))?;
    // What a cluster would refuse is said now, with the module there to look into.
    let report = inspect(&built.bytes).map_err(|problem| refused(&out, &problem))?;
    tell(&out, &built.bytes, &report)?;
    crate::cli::print(&format!("{}\n", out.display()))
}

fn tell(out: &Path, bytes: &[u8], report: &ModuleReport) -> Result<()> {
    let manifest = &report.manifest;
    let hooks: Vec<_> = manifest.hooks.iter().map(|hook| hook.name()).collect();
    eprintln!(
        "{} {}: {} bytes, hooks: {}",
        manifest.name,
        manifest.version,
        bytes.len(),
        if hooks.is_empty() {
            "none".into()
        } else {
            hooks.join(", ")
        }
    );
    let fullest = report
        .limits_used
        .iter()
        // Of what there may be one, every guest has one.
        .filter(|used| used.max > 1)
        .max_by_key(|used| per_cent(used.value, used.max));
    if let Some(used) = fullest {
        eprintln!(
            "the limit it comes closest to: {} is {} of {} ({} %)",
            used.limit,
            used.value,
            used.max,
            per_cent(used.value, used.max)
        );
    }
    let desk = Desk::open(out, bytes)?;
    let config = check::config_or_empty(None)?;
    match check::gas_left(&desk, &config)? {
        Some((left, of)) => eprintln!("gas left on the sample inputs: at least {left} of {of}"),
        None => eprintln!(
            "gas left: `raft3d policy check {} --config JSON` tells; without a configuration it \
             answers nothing",
            out.display()
        ),
    }
    Ok(())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
