//! A lifecycle in which every job waits for an approver before it is queued.
//!
//! `AwaitingApproval` -> Queued or Rejected, by an approver; then as `standard-lifecycle`; Canceled
//! from every open state.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;

use raft3d_sdk::config::texts;
use raft3d_sdk::steps::{Step, step};
use raft3d_sdk::text::concat;
use raft3d_sdk::{
    Claim, ConfigError, ConfigVerdict, Deny, Hook, HookSet, Lifecycle, Policy, RuleOutput, State,
    TransitionInput, names,
};

#[cfg(not(target_arch = "wasm32"))]
mod cases;
#[cfg(not(target_arch = "wasm32"))]
pub use cases::cases;

/// Waits for an approver; its filament is reserved. Jobs start here.
pub const AWAITING: &str = "AwaitingApproval";
/// Was approved, and waits for its printer.
pub const QUEUED: &str = "Queued";
/// Is being printed.
pub const RUNNING: &str = "Running";
/// Was printed.
pub const DONE: &str = "Done";
/// An approver said no.
pub const REJECTED: &str = "Rejected";
/// Was given up.
pub const CANCELED: &str = "Canceled";

/// Which way a job goes.
const STEPS: [Step<'_>; 5] = [
    (QUEUED, &[AWAITING]),
    (REJECTED, &[AWAITING]),
    (RUNNING, &[QUEUED]),
    (DONE, &[RUNNING]),
    (CANCELED, &[AWAITING, QUEUED, RUNNING]),
];

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct Approval;

raft3d_sdk::config! {
    /// Configuration of `approval`.
    pub struct Config {
        /// The actors who may approve and reject jobs, spelt as they are known.
        #[names(actor)]
        approvers: Vec<String>,
        /// Whether an approver may approve a job that they created themselves.
        own_jobs: bool = false,
    }
}

raft3d_sdk::export!(Approval: transition);

impl Policy for Approval {
    const NAME: &'static str = "approval";
    const VERSION: &'static str = "1.0.0";
    const DESCRIPTION: &'static str =
        "Jobs wait in AwaitingApproval until a configured approver queues or rejects them.";
    const HOOKS: HookSet = HookSet::of(&[Hook::Transition]);

    type Config = Config;

    fn transition(input: &TransitionInput<'_>, config: &Config) -> RuleOutput {
        may_move(input, config).into()
    }

    fn check_config(config: &Config) -> ConfigVerdict {
        check(config).into()
    }

    fn lifecycle() -> Option<Lifecycle> {
        let state = |name: &str| State {
            name: name.into(),
            ..State::default()
        };
        let reserving = |name: &str| State {
            reserves: true,
            ..state(name)
        };
        let terminal = |name: &str| State {
            terminal: true,
            ..state(name)
        };
        Some(Lifecycle {
            states: [
                State {
                    initial: true,
                    ..reserving(AWAITING)
                },
                reserving(QUEUED),
                State {
                    occupies: true,
                    ..reserving(RUNNING)
                },
                terminal(DONE),
                terminal(REJECTED),
                State {
                    aliases: texts(["Cancelled"]),
                    ..terminal(CANCELED)
                },
            ]
            .into(),
            claim: Some(Claim {
                from: QUEUED.into(),
                to: RUNNING.into(),
            }),
            // Clients of the standard rules create jobs as Queued: they mean the state before.
            created_as: texts([QUEUED]),
        })
    }
}

fn may_move(input: &TransitionInput<'_>, config: &Config) -> Result<(), Deny> {
    let (from, to) = (input.job.status, input.to);
    let states = [AWAITING, QUEUED, RUNNING, DONE, REJECTED, CANCELED];
    // A ruleset that was forced may have stranded this job in a state of another lifecycle. An
    // override brings it back, but past nobody's approval.
    let stranded = !names::contains(&states, from);
    if !(stranded && input.reported.wants_override) {
        step(&STEPS, from, to)?;
    }
    let approves = names::same(to, QUEUED) || (stranded && !names::same(to, CANCELED));
    if !approves && !names::same(to, REJECTED) {
        return Ok(());
    }
    if !config.approvers.iter().any(|name| name == input.actor) {
        let message = concat(&[
            "Only an approver can move a job to '",
            &to.to_ascii_lowercase(),
            "', and ",
            input.actor,
            " is none",
        ]);
        return Err(Deny::new("not_an_approver", message).at("/status"));
    }
    if approves && !config.own_jobs && input.actor == input.job.created_by {
        let message = concat(&[
            "Job ",
            input.job.id,
            " was created by ",
            input.actor,
            ", so that another approver must approve it",
        ]);
        return Err(Deny::new("own_job", message).at("/status"));
    }
    Ok(())
}

/// Actors are compared byte by byte: `Ada` and `ada` are two.
fn check(config: &Config) -> Result<(), ConfigError> {
    let under = |error: ConfigError| error.under("approvers");
    if config.approvers.is_empty() {
        return Err(under(ConfigError::here("must name at least one")));
    }
    for (index, name) in config.approvers.iter().enumerate() {
        let problem = if name.trim().is_empty() {
            "must not be empty"
        } else if config.approvers.iter().take(index).any(|n| n == name) {
            "is named twice"
        } else {
            continue;
        };
        return Err(under(ConfigError::here(problem).under_index(index as u64)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft3d_sdk::testkit;

    #[test]
    fn answers_the_table_of_cases() {
        testkit::run_cases::<Approval>(&cases());
    }
}
