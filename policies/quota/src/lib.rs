//! How much of the shop one actor may take: open jobs, and grams that these reserve.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use raft3d_sdk::text::{concat, push_integer, push_milligrams};
use raft3d_sdk::{
    ActorView, AdmissionInput, ConfigError, ConfigVerdict, Deny, Hook, HookSet, JobView, Policy,
    RuleOutput, TransitionInput, names,
};

#[cfg(not(target_arch = "wasm32"))]
mod cases;
#[cfg(not(target_arch = "wasm32"))]
pub use cases::cases;

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct Quota;

raft3d_sdk::config! {
    /// What one actor may have; a limit that is left out does not limit.
    pub struct Limits {
        /// Most open jobs, the one in question counted; 0 lets none in.
        open_jobs_max: Option<u32> = None,
        /// Most that open jobs reserve of all filaments together, in milligrams, the one in
        /// question counted.
        reserved_mg_max: Option<u64> = None,
    }
}

raft3d_sdk::config! {
    /// Configuration of `quota`.
    pub struct Config {
        /// Limits of an actor that `actors` does not name.
        default: Limits = Limits { open_jobs_max: None, reserved_mg_max: None },
        /// Limits by actor, spelt as they are known; they replace all of `default`.
        #[names(actor, keys)]
        actors: BTreeMap<String, Limits> = BTreeMap::new(),
        /// States that a job may enter only within the limits of who created it.
        #[names(state)]
        states: Vec<String> = Vec::new(),
    }
}

raft3d_sdk::export!(Quota: admission, transition);

impl Policy for Quota {
    const NAME: &'static str = "quota";
    const VERSION: &'static str = "1.0.0";
    const DESCRIPTION: &'static str =
        "Limits the open jobs of each actor, and the grams that these reserve.";
    const HOOKS: HookSet = HookSet::of(&[Hook::Admission, Hook::Transition]);

    type Config = Config;

    fn admission(input: &AdmissionInput<'_>, config: &Config) -> RuleOutput {
        within(&input.creator, &input.job, "/print_weight_in_grams", config).into()
    }

    fn transition(input: &TransitionInput<'_>, config: &Config) -> RuleOutput {
        if !names::contains(&config.states, input.to) {
            return RuleOutput::allow();
        }
        within(&input.creator, &input.job, "/status", config).into()
    }

    fn check_config(config: &Config) -> ConfigVerdict {
        check(config).into()
    }
}

/// Whether `job` and the others of who created it are within the limits.
fn within(others: &ActorView, job: &JobView<'_>, field: &str, config: &Config) -> Result<(), Deny> {
    let actor = job.created_by;
    let limits = config.actors.get(actor).unwrap_or(&config.default);
    let jobs_max = limits.open_jobs_max.map(u64::from);
    if let Some(max) = jobs_max.filter(|max| others.open_jobs >= *max) {
        let mut message = concat(&["Actor ", actor, " has "]);
        push_integer(&mut message, others.open_jobs);
        message.push_str(" other open jobs, and may have ");
        push_integer(&mut message, max);
        message.push_str(" in all");
        return Err(Deny::new("too_many_open_jobs", message));
    }
    let reserved = others.reserved_mg.saturating_add(job.rest().mg());
    if let Some(max) = limits.reserved_mg_max.filter(|max| reserved > *max) {
        let mut message = concat(&["The open jobs of ", actor, " would reserve "]);
        push_milligrams(&mut message, reserved);
        message.push_str(" g, and may reserve ");
        push_milligrams(&mut message, max);
        message.push_str(" g");
        return Err(Deny::new("too_much_reserved", message).at(field));
    }
    Ok(())
}

fn check(config: &Config) -> Result<(), ConfigError> {
    let no_limit = |limits: &Limits| {
        *limits
            == Limits {
                open_jobs_max: None,
                reserved_mg_max: None,
            }
    };
    if no_limit(&config.default) && config.actors.values().all(no_limit) {
        let problem = "must hold a limit where no actor has one";
        return Err(ConfigError::here(problem).under("default"));
    }
    let mut actors = config.actors.keys();
    if let Some(nobody) = actors.find(|name| name.trim().is_empty()) {
        let error = ConfigError::here("must not be empty").under(nobody);
        return Err(error.under("actors"));
    }
    if config.states.is_empty() {
        return Ok(());
    }
    names::check_list(&config.states).map_err(|error| error.under("states"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft3d_sdk::testkit;

    #[test]
    fn answers_the_table_of_cases() {
        testkit::run_cases::<Quota>(&cases());
    }
}
