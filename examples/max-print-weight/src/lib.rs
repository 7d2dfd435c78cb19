//! An example of a policy: no job may be heavier than the shop says.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::string::String;

use raft3d_sdk::text::push_grams;
use raft3d_sdk::{AdmissionInput, ConfigVerdict, Deny, Grams, Hook, HookSet, Policy, RuleOutput};

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct MaxPrintWeight;

raft3d_sdk::config! {
    /// Configuration of `max-print-weight`.
    pub struct Config {
        /// The heaviest job that is let in, in milligrams; above 0.
        max_print_weight_in_mg: Grams,
    }
}

raft3d_sdk::export!(MaxPrintWeight: admission);

impl Policy for MaxPrintWeight {
    const NAME: &'static str = "max-print-weight";
    const VERSION: &'static str = "1.0.0";
    const DESCRIPTION: &'static str = "Denies jobs that are heavier than configured.";
    const HOOKS: HookSet = HookSet::of(&[Hook::Admission]);

    type Config = Config;

    fn admission(input: &AdmissionInput<'_>, config: &Config) -> RuleOutput {
        if input.job.print_weight <= config.max_print_weight_in_mg {
            return RuleOutput::allow();
        }
        let mut message = String::from("This shop prints at most ");
        push_grams(&mut message, config.max_print_weight_in_mg);
        message.push_str(" g in one job");
        Deny::new("print_too_heavy", message)
            .at("/print_weight_in_grams")
            .into()
    }

    fn check_config(config: &Config) -> ConfigVerdict {
        if config.max_print_weight_in_mg == Grams::ZERO {
            return ConfigVerdict::bad("/max_print_weight_in_mg", "must be above 0");
        }
        ConfigVerdict::good()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "A test may end where a value is missing."
    )]
    use super::*;
    use raft3d_sdk::testkit::{self, grams};

    #[test]
    fn the_limit_itself_is_let_in_and_a_milligram_more_is_not() {
        let config = testkit::config([("max_print_weight_in_mg", 100_000.into())]);
        let mut input = testkit::admission();
        input.job.print_weight = grams("100");
        assert_eq!(
            testkit::admit::<MaxPrintWeight>(&input, &config),
            RuleOutput::allow()
        );

        input.job.print_weight = grams("100.001");
        let deny = testkit::admit::<MaxPrintWeight>(&input, &config)
            .deny
            .unwrap();
        assert_eq!(deny.code, "print_too_heavy");
        assert_eq!(deny.message, "This shop prints at most 100 g in one job");
    }

    #[test]
    fn a_limit_must_be_given_and_let_something_in() {
        let zero = testkit::config([("max_print_weight_in_mg", 0.into())]);
        for bad in [testkit::no_config(), zero] {
            let verdict = testkit::check::<MaxPrintWeight>(&bad);
            assert_eq!(verdict.pointer.unwrap(), "/max_print_weight_in_mg");
        }
    }
}
