//! The default lifecycle of a print shop: which jobs are let in, and which way they go.
//!
//! Queued -> Running; Running -> Done; Queued or Running -> Canceled; nothing else.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;

use raft3d_sdk::config::texts;
use raft3d_sdk::steps::{Step, step};
use raft3d_sdk::text::{concat, push_grams};
use raft3d_sdk::{
    AdmissionInput, Claim, ConfigVerdict, Deny, Hook, HookSet, Lifecycle, Policy, PrinterStatus,
    RuleOutput, State, TransitionInput, names,
};

#[cfg(not(target_arch = "wasm32"))]
mod cases;
#[cfg(not(target_arch = "wasm32"))]
pub use cases::cases;

/// Waits for its printer; its filament is reserved. Jobs start here.
pub const QUEUED: &str = "Queued";
/// Is being printed.
pub const RUNNING: &str = "Running";
/// Was printed.
pub const DONE: &str = "Done";
/// Was given up.
pub const CANCELED: &str = "Canceled";

/// Which way a job goes.
const STEPS: [Step<'_>; 3] = [
    (RUNNING, &[QUEUED]),
    (DONE, &[RUNNING]),
    (CANCELED, &[QUEUED, RUNNING]),
];

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct StandardLifecycle;

raft3d_sdk::config! {
    /// Configuration of `standard-lifecycle`.
    pub struct Config {
        /// Filament types that jobs may use, compared without regard to ASCII case.
        #[names(material)]
        materials: Vec<String> = texts(["PLA", "PETG", "ABS", "TPU"]),
    }
}

raft3d_sdk::export!(StandardLifecycle: admission, transition);

impl Policy for StandardLifecycle {
    const NAME: &'static str = "standard-lifecycle";
    const VERSION: &'static str = "1.0.0";
    const DESCRIPTION: &'static str =
        "Queued, Running, Done, Canceled; jobs must fit what is left of their filament.";
    const HOOKS: HookSet = HookSet::of(&[Hook::Admission, Hook::Transition]);

    type Config = Config;

    fn admission(input: &AdmissionInput<'_>, config: &Config) -> RuleOutput {
        admit(input, config).into()
    }

    fn transition(input: &TransitionInput<'_>, _: &Config) -> RuleOutput {
        // A ruleset that was forced may have stranded this job in a state of another lifecycle:
        // an operator's override brings it back.
        let stranded = !names::contains(&[QUEUED, RUNNING, DONE, CANCELED], input.job.status);
        if stranded && input.reported.wants_override {
            return RuleOutput::allow();
        }
        step(&STEPS, input.job.status, input.to).into()
    }

    fn check_config(config: &Config) -> ConfigVerdict {
        names::check_list(&config.materials)
            .map_err(|error| error.under("materials"))
            .into()
    }

    fn lifecycle() -> Option<Lifecycle> {
        let state = |name: &str| State {
            name: name.into(),
            ..State::default()
        };
        Some(Lifecycle {
            states: [
                State {
                    initial: true,
                    reserves: true,
                    ..state(QUEUED)
                },
                State {
                    reserves: true,
                    occupies: true,
                    ..state(RUNNING)
                },
                State {
                    terminal: true,
                    ..state(DONE)
                },
                State {
                    terminal: true,
                    aliases: texts(["Cancelled"]),
                    ..state(CANCELED)
                },
            ]
            .into(),
            claim: Some(Claim {
                from: QUEUED.into(),
                to: RUNNING.into(),
            }),
            ..Lifecycle::default()
        })
    }
}

/// May the job be created?
fn admit(input: &AdmissionInput<'_>, config: &Config) -> Result<(), Deny> {
    let (job, printer, filament) = (&input.job, &input.printer, &input.filament);
    if printer.status == PrinterStatus::Retired {
        let message = concat(&["Printer ", printer.id, " is retired"]);
        return Err(Deny::new("printer_retired", message).at("/printer_id"));
    }
    if filament.archived {
        let message = concat(&["Filament ", filament.id, " is archived"]);
        return Err(Deny::new("filament_archived", message).at("/filament_id"));
    }
    if !names::contains(&config.materials, filament.material) {
        return Err(material_not_allowed(filament.material, config).at("/filament_id"));
    }
    if job.print_weight.mg() == 0 {
        let deny = Deny::new("weight_not_positive", "The print weight must be above 0 g");
        return Err(deny.at("/print_weight_in_grams"));
    }
    let available = filament.available();
    if job.print_weight > available {
        let mut message = String::from("The print needs ");
        push_grams(&mut message, job.print_weight);
        message.push_str(" g, but only ");
        push_grams(&mut message, available);
        message.push_str(" g of filament ");
        message.push_str(filament.id);
        message.push_str(" are available");
        let deny = Deny::new("weight_exceeds_available", message);
        return Err(deny.at("/print_weight_in_grams"));
    }
    Ok(())
}

fn material_not_allowed(material: &str, config: &Config) -> Deny {
    let mut message = concat(&["Filament type ", material, " is not one of "]);
    for (index, allowed) in config.materials.iter().enumerate() {
        message.push_str(if index == 0 { "" } else { ", " });
        message.push_str(allowed);
    }
    Deny::new("material_not_allowed", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft3d_sdk::testkit;

    #[test]
    fn answers_the_table_of_cases() {
        testkit::run_cases::<StandardLifecycle>(&cases());
    }
}
