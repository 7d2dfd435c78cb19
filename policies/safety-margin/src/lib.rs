//! A rest that stays on each spool: no job may plan with it.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use raft3d_sdk::config::texts;
use raft3d_sdk::text::{concat, push_grams};
use raft3d_sdk::{
    AdmissionInput, ConfigError, ConfigVerdict, Deny, FilamentView, Grams, Hook, HookSet, Policy,
    RuleOutput, TransitionInput, names,
};

#[cfg(not(target_arch = "wasm32"))]
mod cases;
#[cfg(not(target_arch = "wasm32"))]
pub use cases::cases;

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct SafetyMargin;

raft3d_sdk::config! {
    /// Configuration of `safety-margin`.
    pub struct Config {
        /// What must rest on a spool whose type `materials` does not name, in milligrams.
        margin_mg: Grams,
        /// The same by filament type, compared without regard to ASCII case.
        #[names(material, keys)]
        materials: BTreeMap<String, Grams> = BTreeMap::new(),
        /// States that a job may enter only if the margin rests; may be empty.
        #[names(state)]
        states: Vec<String> = texts(["Running"]),
        /// Least characters of the reason of an override of a transition, at least 1; without it
        /// none is taken.
        override_reason_chars_min: Option<u16> = None,
    }
}

raft3d_sdk::export!(SafetyMargin: admission, transition);

impl Policy for SafetyMargin {
    const NAME: &'static str = "safety-margin";
    const VERSION: &'static str = "1.0.0";
    const DESCRIPTION: &'static str =
        "A margin rests on each spool after a job and all that others reserve.";
    const HOOKS: HookSet = HookSet::of(&[Hook::Admission, Hook::Transition]);

    type Config = Config;

    fn admission(input: &AdmissionInput<'_>, config: &Config) -> RuleOutput {
        leaves_margin(&input.filament, input.job.rest(), config)
            .map_err(|deny| deny.at("/print_weight_in_grams"))
            .into()
    }

    fn transition(input: &TransitionInput<'_>, config: &Config) -> RuleOutput {
        if !names::contains(&config.states, input.to)
            || input.reported.overrides(config.override_reason_chars_min)
        {
            return RuleOutput::allow();
        }
        leaves_margin(&input.filament, input.job.rest(), config)
            .map_err(|deny| deny.at("/status"))
            .into()
    }

    fn check_config(config: &Config) -> ConfigVerdict {
        check(config).into()
    }
}

fn leaves_margin(filament: &FilamentView<'_>, need: Grams, config: &Config) -> Result<(), Deny> {
    let margin = *names::find(&config.materials, filament.material).unwrap_or(&config.margin_mg);
    let rest = filament.available().checked_sub(need);
    // Without a margin the rule is silent, also where there is not enough: others say that.
    if margin == Grams::ZERO || rest.is_some_and(|rest| rest >= margin) {
        return Ok(());
    }
    let mut message = concat(&["Filament ", filament.id, " would be left with "]);
    match rest {
        Some(rest) => {
            push_grams(&mut message, rest);
            message.push_str(" g");
        }
        None => message.push_str("less than nothing"),
    }
    message.push_str(", and at least ");
    push_grams(&mut message, margin);
    message.push_str(" g must rest");
    Err(Deny::new("below_safety_margin", message))
}

fn check(config: &Config) -> Result<(), ConfigError> {
    names::check_keys(&config.materials).map_err(|error| error.under("materials"))?;
    let mut exceptions = config.materials.values();
    if config.margin_mg == Grams::ZERO && exceptions.all(|margin| *margin == Grams::ZERO) {
        let problem = "must be above 0 where no material has a margin";
        return Err(ConfigError::here(problem).under("margin_mg"));
    }
    if config.override_reason_chars_min == Some(0) {
        let error = ConfigError::here("must be at least 1, or left out");
        return Err(error.under("override_reason_chars_min"));
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
        testkit::run_cases::<SafetyMargin>(&cases());
    }
}
