//! An example of a lifecycle: the standard one, and prints that pause and fail.
//!
//! A failed print takes what is reported as used, or a share of its weight.
#![cfg_attr(target_arch = "wasm32", no_std)]

use raft3d_sdk::config::texts;
use raft3d_sdk::steps::{Step, step};
use raft3d_sdk::{
    Claim, ConfigVerdict, DeductionInput, DeductionOutput, Grams, Hook, HookSet, Lifecycle, Policy,
    RuleOutput, State, TransitionInput, names,
};

/// The states, in the order in which they are shown.
const STATES: [&str; 6] = ["Queued", "Running", "Paused", "Done", "Failed", "Canceled"];
/// Where a job may move, and from where.
const STEPS: [Step<'_>; 5] = [
    ("Running", &["Queued", "Paused"]),
    ("Paused", &["Running"]),
    ("Done", &["Running"]),
    ("Failed", &["Running", "Paused"]),
    ("Canceled", &["Queued", "Running", "Paused"]),
];
/// The whole weight, per mille.
const WHOLE: u16 = 1_000;

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct PausedAndFailed;

raft3d_sdk::config! {
    /// Configuration of `paused-and-failed`.
    pub struct Config {
        /// Share of its weight that a failed print took, per mille, where the caller does not
        /// report the grams; from 0 to 1000.
        failed_share_per_mille: u16 = 500,
    }
}

raft3d_sdk::export!(PausedAndFailed: transition, deduction);

impl Policy for PausedAndFailed {
    const NAME: &'static str = "paused-and-failed";
    const VERSION: &'static str = "1.0.0";
    const DESCRIPTION: &'static str =
        "The standard lifecycle with Paused and Failed; what failed takes a part of its weight.";
    const HOOKS: HookSet = HookSet::of(&[Hook::Transition, Hook::Deduction]);
    const DECIDES: &'static [&'static str] = &["Failed"];

    type Config = Config;

    fn transition(input: &TransitionInput<'_>, _: &Config) -> RuleOutput {
        // A job in a state of the lifecycle before this one: an operator's override brings it back.
        let stranded = !names::contains(&STATES, input.job.status);
        if stranded && input.reported.wants_override {
            return RuleOutput::allow();
        }
        step(&STEPS, input.job.status, input.to).into()
    }

    /// Passes for every state but Failed: `standard-deduction`, bound behind this one, has Done.
    fn deduction(input: &DeductionInput<'_>, config: &Config) -> DeductionOutput {
        if !names::same(input.to, "Failed") {
            return DeductionOutput::pass();
        }
        let (grams, reason) = match input.reported.used {
            Some(used) => (used, "failed: reported as used"),
            None => {
                let weight = input.job.print_weight;
                let share = weight.checked_per_mille(config.failed_share_per_mille.into());
                // A share is at most the weight itself.
                let share = share.unwrap_or(weight);
                let rest = share.saturating_sub(input.job.deducted);
                (rest, "failed: share of the print weight")
            }
        };
        // What is not on the spool was not printed: a failure is never refused for its weight.
        DeductionOutput::take(Grams::min(grams, input.filament.remaining), reason)
    }

    fn check_config(config: &Config) -> ConfigVerdict {
        if config.failed_share_per_mille > WHOLE {
            return ConfigVerdict::bad("/failed_share_per_mille", "must be at most 1000 per mille");
        }
        ConfigVerdict::good()
    }

    fn lifecycle() -> Option<Lifecycle> {
        let states = STATES.map(|name| {
            let open = ["Queued", "Running", "Paused"].contains(&name);
            State {
                name: name.into(),
                initial: name == "Queued",
                terminal: !open,
                reserves: open,
                // What pauses lies on the bed.
                occupies: open && name != "Queued",
                aliases: if name == "Canceled" {
                    texts(["Cancelled"])
                } else {
                    texts([])
                },
            }
        });
        Some(Lifecycle {
            states: states.into(),
            claim: Some(Claim {
                from: "Queued".into(),
                to: "Running".into(),
            }),
            created_as: texts([]),
        })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
