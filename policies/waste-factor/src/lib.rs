//! What a print really takes: its weight, with the waste and the purge of its material.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use raft3d_sdk::config::texts;
use raft3d_sdk::text::concat;
use raft3d_sdk::{
    ConfigError, ConfigVerdict, DeductionInput, DeductionOutput, Grams, Hook, HookSet, Policy,
    names,
};

#[cfg(not(target_arch = "wasm32"))]
mod cases;
#[cfg(not(target_arch = "wasm32"))]
pub use cases::cases;

/// The largest factor, per mille: ten times the weight.
pub const FACTOR_PER_MILLE_MAX: u16 = 10_000;
/// The largest purge, in milligrams: 1 kg.
pub const PURGE_MG_MAX: u64 = 1_000_000;
/// The whole weight, per mille.
const WHOLE: u16 = 1_000;

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct WasteFactor;

raft3d_sdk::config! {
    /// What a finished print takes beyond its weight.
    pub struct Waste {
        /// Factor on the weight, per mille; from 1 to 10000.
        factor_per_mille: u16 = WHOLE,
        /// Added once to each finished job, in milligrams; at most 1000000.
        purge_mg: Grams = Grams::ZERO,
    }
}

raft3d_sdk::config! {
    /// Configuration of `waste-factor`.
    pub struct Config {
        /// Waste of a material that `materials` does not name.
        default: Waste = Waste { factor_per_mille: WHOLE, purge_mg: Grams::ZERO },
        /// Waste by filament type, compared without regard to ASCII case.
        #[names(material, keys)]
        materials: BTreeMap<String, Waste> = BTreeMap::new(),
        /// States in which a print is finished: they take all of it.
        #[names(state, decides)]
        done_states: Vec<String> = texts(["Done"]),
        /// States in which a print was given up: the share of the weight that they take, per mille,
        /// where the caller reports nothing; from 0 to 1000.
        #[names(state, keys, decides)]
        partial_states: BTreeMap<String, u16> = BTreeMap::from([("Canceled".into(), 0)]),
    }
}

raft3d_sdk::export!(WasteFactor: deduction);

impl Policy for WasteFactor {
    const NAME: &'static str = "waste-factor";
    const VERSION: &'static str = "1.0.0";
    const DESCRIPTION: &'static str = "A finished job takes its weight times a factor, plus a \
         purge, by material; one that was given up takes a share.";
    const HOOKS: HookSet = HookSet::of(&[Hook::Deduction]);

    type Config = Config;

    fn deduction(input: &DeductionInput<'_>, config: &Config) -> DeductionOutput {
        let (grams, why) = if names::contains(&config.done_states, input.to) {
            finished(input, config)
        } else if let Some(share) = names::find(&config.partial_states, input.to) {
            given_up(input, *share)
        } else {
            return DeductionOutput::pass();
        };
        let remaining = input.filament.remaining;
        let cut = if grams > remaining {
            ", cut to what remains"
        } else {
            ""
        };
        let reason = concat(&[&input.to.to_ascii_lowercase(), why, cut]);
        DeductionOutput::take(grams.min(remaining), reason)
    }

    fn check_config(config: &Config) -> ConfigVerdict {
        check(config).into()
    }
}

/// All of it: what is reported, or the weight, with waste. What the job took before counts towards
/// its weight; a report is of what no deduction has seen yet.
fn finished(input: &DeductionInput<'_>, config: &Config) -> (Grams, &'static str) {
    let waste = names::find(&config.materials, input.filament.material).unwrap_or(&config.default);
    let with_waste = |weight: Grams| {
        let grams = weight.checked_per_mille(waste.factor_per_mille.into());
        let grams = grams.and_then(|grams| grams.checked_add(waste.purge_mg));
        // Heavier than any weight is heavier than what remains.
        grams.unwrap_or(Grams::MAX)
    };
    match input.reported.used {
        Some(used) => (with_waste(used), ": reported as used, with waste"),
        None => (
            with_waste(input.job.print_weight).saturating_sub(input.job.deducted),
            ": print weight, with waste",
        ),
    }
}

/// A part: what is reported, which has its waste in it, or a share of the weight.
fn given_up(input: &DeductionInput<'_>, share: u16) -> (Grams, &'static str) {
    match input.reported.used {
        Some(used) => (used, ": reported as used"),
        None => {
            let part = input.job.print_weight.checked_per_mille(share.into());
            let part = part.unwrap_or(Grams::MAX);
            (
                part.saturating_sub(input.job.deducted),
                ": share of the print weight",
            )
        }
    }
}

fn check(config: &Config) -> Result<(), ConfigError> {
    check_waste(&config.default).map_err(|error| error.under("default"))?;
    names::check_keys(&config.materials).map_err(|error| error.under("materials"))?;
    for (material, waste) in &config.materials {
        check_waste(waste).map_err(|error| error.under(material).under("materials"))?;
    }
    names::check_list(&config.done_states).map_err(|error| error.under("done_states"))?;
    names::check_keys(&config.partial_states).map_err(|error| error.under("partial_states"))?;
    for (state, share) in &config.partial_states {
        let problem = if *share > WHOLE {
            "must be at most 1000 per mille"
        } else if names::contains(&config.done_states, state) {
            "is one of done_states too"
        } else {
            continue;
        };
        let error = ConfigError::here(problem).under(state);
        return Err(error.under("partial_states"));
    }
    Ok(())
}

fn check_waste(waste: &Waste) -> Result<(), ConfigError> {
    if !(1..=FACTOR_PER_MILLE_MAX).contains(&waste.factor_per_mille) {
        let error = ConfigError::here("must be from 1 to 10000 per mille");
        return Err(error.under("factor_per_mille"));
    }
    if waste.purge_mg.mg() > PURGE_MG_MAX {
        return Err(ConfigError::here("must be at most 1000000 milligrams").under("purge_mg"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft3d_sdk::testkit;

    #[test]
    fn answers_the_table_of_cases() {
        testkit::run_cases::<WasteFactor>(&cases());
    }

    #[test]
    fn the_ledger_learns_why() {
        let mut input = testkit::transition("Running", "Done");
        input.filament.remaining = testkit::grams("100");
        let answer = testkit::deduct::<WasteFactor>(&input, &testkit::no_config());
        assert_eq!(
            answer.reason,
            "done: print weight, with waste, cut to what remains"
        );
    }
}
