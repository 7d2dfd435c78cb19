//! One job at a time on a printer: none starts while another occupies it.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;

use raft3d_sdk::config::texts;
use raft3d_sdk::text::{concat, push_integer};
use raft3d_sdk::{ConfigVerdict, Deny, Hook, HookSet, Policy, RuleOutput, TransitionInput, names};

#[cfg(not(target_arch = "wasm32"))]
mod cases;
#[cfg(not(target_arch = "wasm32"))]
pub use cases::cases;

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct ExclusivePrinter;

raft3d_sdk::config! {
    /// Configuration of `exclusive-printer`.
    pub struct Config {
        /// States that need the printer for themselves: those that the lifecycle says occupy it.
        #[names(state)]
        states: Vec<String> = texts(["Running"]),
    }
}

raft3d_sdk::export!(ExclusivePrinter: transition);

impl Policy for ExclusivePrinter {
    const NAME: &'static str = "exclusive-printer";
    const VERSION: &'static str = "1.0.0";
    const DESCRIPTION: &'static str = "No job starts while another occupies its printer.";
    const HOOKS: HookSet = HookSet::of(&[Hook::Transition]);

    type Config = Config;

    fn transition(input: &TransitionInput<'_>, config: &Config) -> RuleOutput {
        let printer = &input.printer;
        // The job itself is not counted: from one occupying state it may go to the next.
        if printer.occupying_jobs == 0 || !names::contains(&config.states, input.to) {
            return RuleOutput::allow();
        }
        let mut message = concat(&["Printer ", printer.id, " is occupied by "]);
        push_integer(&mut message, printer.occupying_jobs);
        message.push_str(if printer.occupying_jobs == 1 {
            " other job"
        } else {
            " other jobs"
        });
        Deny::new("printer_busy", message).at("/status").into()
    }

    fn check_config(config: &Config) -> ConfigVerdict {
        names::check_list(&config.states)
            .map_err(|error| error.under("states"))
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft3d_sdk::testkit;

    #[test]
    fn answers_the_table_of_cases() {
        testkit::run_cases::<ExclusivePrinter>(&cases());
    }
}
