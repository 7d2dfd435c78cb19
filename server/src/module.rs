//! A module as this program takes it: what the engine checks, and the schema in its manifest, which
//! the engine does not read.
//!
//! The schema becomes a part of what `/api/v1/policies/{sha256}` answers: one that is no JSON would
//! leave a module that no node can show.

use raft3d_engine::policy::{self, ModuleProblem, ModuleReport};
use raft3d_engine::sdk::Manifest;
use raft3d_engine::sdk::manifest::SECTION;

use crate::config_schema::{BAD_SCHEMA, ConfigSchema};

/// Checks a module without running it, as an upload does.
///
/// # Errors
/// The first thing that it is refused for.
pub(crate) fn inspect(bytes: &[u8]) -> Result<ModuleReport, ModuleProblem> {
    let report = policy::inspect(bytes)?;
    check_schema(&report.manifest)?;
    Ok(report)
}

/// Checks that the schema, where there is one, is a JSON Schema that configurations can be compared
/// with. It may take some milliseconds.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_schema(manifest: &Manifest) -> Result<(), ModuleProblem> {
    let Some(schema) = &manifest.config_schema else {
        return Ok(());
    };
    let parsed = ConfigSchema::parse(schema).map(drop);
    parsed.map_err(|error| ModuleProblem {
        code: BAD_SCHEMA,
        message: error.to_string(),
        place: Some(format!("custom section {SECTION}")),
        limit: None,
    })
}
