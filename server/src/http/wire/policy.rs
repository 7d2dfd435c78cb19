//! Modules in JSON.

use raft3d_engine::core::state::modules::ModuleInfo;
use raft3d_engine::sdk::manifest::ConfigName;
use raft3d_engine::sdk::{HookSet, Lifecycle};
use serde::Serialize;
use serde_json::value::RawValue;

use super::time::TimeOut;
use crate::http::problem::Problem;

/// A module, as lists and uploads show it.
#[derive(Debug, Serialize)]
pub(crate) struct ModuleV1<'a> {
    pub(crate) sha256: String,
    name: &'a str,
    version: &'a str,
    description: &'a str,
    abi: u32,
    hooks: Vec<&'static str>,
    size_bytes: u64,
    uploaded_by: &'a str,
    uploaded_at: TimeOut,
    revision: u64,
}

impl<'a> From<&'a ModuleInfo> for ModuleV1<'a> {
    fn from(row: &'a ModuleInfo) -> Self {
        Self {
            sha256: row.digest.to_string(),
            name: &row.manifest.name,
            version: &row.manifest.version,
            description: &row.manifest.description,
            abi: row.manifest.abi,
            hooks: hook_names(row.manifest.hooks),
            size_bytes: row.size_bytes,
            uploaded_by: &row.uploaded_by.name,
            uploaded_at: TimeOut(row.uploaded_at_ms),
            revision: row.revision.0,
        }
    }
}

/// One module with all that its manifest says.
#[derive(Debug, Serialize)]
pub(crate) struct ModuleDetail<'a> {
    #[serde(flatten)]
    module: ModuleV1<'a>,
    /// JSON Schema of the configuration, as the author wrote it.
    config_schema: Option<Box<RawValue>>,
    lifecycle: Option<LifecycleOut<'a>>,
    config_names: Vec<ConfigNameOut<'a>>,
    decides: &'a [String],
    fallback: bool,
}

/// Which texts of a configuration are names.
#[derive(Debug, Serialize)]
struct ConfigNameOut<'a> {
    pointer: &'a str,
    kind: &'static str,
    keys: bool,
    decides: bool,
    default: &'a [String],
}

impl<'a> From<&'a ConfigName> for ConfigNameOut<'a> {
    fn from(name: &'a ConfigName) -> Self {
        Self {
            pointer: &name.pointer,
            kind: name.kind.name(),
            keys: name.keys,
            decides: name.decides,
            default: &name.default,
        }
    }
}

impl<'a> ModuleDetail<'a> {
    pub(crate) fn new(row: &'a ModuleInfo) -> Result<Self, Problem> {
        let schema = row
            .manifest
            .config_schema
            .clone()
            .map(RawValue::from_string);
        Ok(Self {
            module: ModuleV1::from(row),
            // Checked at upload (`crate::module`): text that is not JSON would break the body.
            config_schema: schema.transpose().map_err(Problem::internal)?,
            lifecycle: row.manifest.lifecycle.as_ref().map(LifecycleOut::from),
            config_names: row
                .manifest
                .config_names
                .iter()
                .map(ConfigNameOut::from)
                .collect(),
            decides: &row.manifest.decides,
            fallback: row.manifest.fallback,
        })
    }
}

/// The names of the hooks in a set.
pub(crate) fn hook_names(hooks: HookSet) -> Vec<&'static str> {
    hooks.iter().map(|hook| hook.name()).collect()
}

/// A lifecycle.
#[derive(Debug, Serialize)]
pub(crate) struct LifecycleOut<'a> {
    states: Vec<StateOut<'a>>,
    claim: Option<ClaimOut<'a>>,
    created_as: &'a [String],
}

#[derive(Debug, Serialize)]
struct StateOut<'a> {
    name: &'a str,
    aliases: &'a [String],
    initial: bool,
    terminal: bool,
    reserves: bool,
    occupies: bool,
}

#[derive(Debug, Serialize)]
struct ClaimOut<'a> {
    from: &'a str,
    to: &'a str,
}

impl<'a> From<&'a Lifecycle> for LifecycleOut<'a> {
    fn from(lifecycle: &'a Lifecycle) -> Self {
        let states = lifecycle.states.iter().map(|state| StateOut {
            name: &state.name,
            aliases: &state.aliases,
            initial: state.initial,
            terminal: state.terminal,
            reserves: state.reserves,
            occupies: state.occupies,
        });
        let claim = lifecycle.claim.as_ref();
        Self {
            states: states.collect(),
            claim: claim.map(|claim| ClaimOut {
                from: &claim.from,
                to: &claim.to,
            }),
            created_as: &lifecycle.created_as,
        }
    }
}
