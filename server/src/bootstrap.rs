//! What a new cluster begins with: the default modules and the ruleset that binds them.
//!
//! They are built with the SDK like any other module, checked in under `policies/prebuilt/`, and
//! go through the log like any other. There is no native fallback.

use raft3d_engine::core::command::{Bootstrap, UploadModule};
use raft3d_engine::core::epoch::EPOCHS;
use raft3d_engine::core::state::rulesets::{Binding, Mode, Ruleset, SHARE_ALL, Scope};
use raft3d_engine::core::{BindingId, ClusterId};
use raft3d_engine::policy::{ModuleProblem, ModuleReport};

use crate::http::EMPTY_CONFIG;
use crate::library::DEFAULT_MODULES;

/// The command that bootstraps the cluster `cluster_id`. Each module is bound under its own name,
/// for all its hooks and all jobs, with its default configuration.
///
/// # Errors
/// What `inspect` finds wrong with a default module.
pub fn command(
    cluster_id: ClusterId,
    inspect: impl Fn(&[u8]) -> Result<ModuleReport, ModuleProblem>,
) -> Result<Bootstrap, ModuleProblem> {
    let mut modules = Vec::new();
    let mut ruleset = Ruleset::default();
    for bytes in DEFAULT_MODULES {
        let ModuleReport {
            digest, manifest, ..
        } = inspect(bytes)?;
        ruleset.bindings.push(Binding {
            id: BindingId::new(manifest.name.as_str()),
            module: digest,
            hooks: manifest.hooks,
            scope: Scope::All,
            mode: Mode::Enforce,
            share: SHARE_ALL,
            lifecycle: manifest.lifecycle.is_some(),
            config: EMPTY_CONFIG.to_vec(),
        });
        modules.push(UploadModule {
            digest,
            bytes: bytes.to_vec(),
            manifest,
        });
    }
    Ok(Bootstrap {
        cluster_id,
        modules,
        ruleset,
        epoch: EPOCHS.oldest,
    })
}
