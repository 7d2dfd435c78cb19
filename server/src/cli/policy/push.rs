//! `raft3d policy push`: uploads a module, and says how to bind it.

use std::path::Path;

use anyhow::{Context, Result};
use raft3d_engine::sdk::Hook;
use serde_json::json;

use super::ask::refused;
use super::read_module;
use crate::cli::client::NodeArgs;
use crate::cli::print;
use crate::module::inspect;

/// Status of an upload that is new to the cluster.
const CREATED: u16 = 201;

/// Uploads it. The digest is what goes to standard output.
pub(super) fn run(file: &Path, node: &NodeArgs) -> Result<()> {
    let bytes = read_module(file)?;
    let report = inspect(&bytes).map_err(|problem| refused(file, &problem))?;
    let answer = node
        .connect()?
        .upload(&bytes)
        .with_context(|| format!("{}", file.display()))?;
    let manifest = &report.manifest;
    let hooks: Vec<_> = manifest.hooks.iter().map(Hook::name).collect();
    let what = if answer.status == CREATED {
        "uploaded"
    } else {
        "was there already"
    };
    eprintln!("{} {} {what}", manifest.name, manifest.version);
    let binding = json!({
        "id": manifest.name,
        "module": format!("{}@{}", manifest.name, manifest.version),
        "hooks": hooks,
        "config": {},
    });
    eprintln!(
        "It decides nothing yet. In a ruleset file (`raft3d ruleset show > ruleset.json`), among \
         the bindings:\n  {binding}\nthen `raft3d ruleset diff ruleset.json` and `raft3d ruleset \
         apply ruleset.json`."
    );
    print(&format!("{}\n", report.digest))
}
