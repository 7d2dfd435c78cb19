//! The default deduction of a print shop: a job that is done takes what it weighs.
#![cfg_attr(target_arch = "wasm32", no_std)]

use raft3d_sdk::text::concat;
use raft3d_sdk::{DeductionInput, DeductionOutput, Grams, Hook, HookSet, NoConfig, Policy};

#[cfg(not(target_arch = "wasm32"))]
mod cases;
#[cfg(not(target_arch = "wasm32"))]
pub use cases::cases;

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct StandardDeduction;

raft3d_sdk::export!(StandardDeduction: deduction);

impl Policy for StandardDeduction {
    const NAME: &'static str = "standard-deduction";
    const VERSION: &'static str = "1.0.0";
    const DESCRIPTION: &'static str = "Done takes the grams reported as used, or else \
         the print weight; Canceled only what is reported.";
    const HOOKS: HookSet = HookSet::of(&[Hook::Deduction]);
    const DECIDES: &'static [&'static str] = &["Done", "Canceled"];
    const FALLBACK: bool = true;

    type Config = NoConfig;

    /// Passes for every state but Done and Canceled, so that a binding behind this one may decide.
    fn deduction(input: &DeductionInput<'_>, _: &NoConfig) -> DeductionOutput {
        let (name, unreported, why) = if input.to.eq_ignore_ascii_case("Done") {
            // A rule for another state may have taken a part already: Done completes it.
            let rest = input.job.rest();
            ("done", rest, ": print weight")
        } else if input.to.eq_ignore_ascii_case("Canceled") {
            ("canceled", Grams::ZERO, ": nothing reported as used")
        } else {
            return DeductionOutput::pass();
        };
        match input.reported.used {
            Some(used) => DeductionOutput::take(used, concat(&[name, ": reported as used"])),
            None => DeductionOutput::take(unreported, concat(&[name, why])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft3d_sdk::testkit;

    #[test]
    fn answers_the_table_of_cases() {
        testkit::run_cases::<StandardDeduction>(&cases());
    }
}
