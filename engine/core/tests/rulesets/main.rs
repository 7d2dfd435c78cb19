//! Modules and rulesets: what stands in the way of an activation, and what a binding decides.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is to panic"
)]

mod activation;
mod bindings;
#[path = "../common/mod.rs"]
mod common;
mod gas;
mod largest;
mod modules;
mod names;

use common::*;
use raft3d_core::command::{ActivateRuleset, RollbackRuleset};
use raft3d_core::state::rulesets::{self, Binding, Mode, Ruleset};
use raft3d_core::{Command, RejectionKind, Revision};

fn upload(name: &str) -> Command {
    Command::UploadModule(module(name))
}

fn activate(ruleset: Ruleset) -> ActivateRuleset {
    ActivateRuleset {
        ruleset,
        expected: None,
        force: false,
        reason: None,
    }
}

fn rollback(to: Option<u64>) -> RollbackRuleset {
    RollbackRuleset {
        to: to.map(Revision),
        expected: None,
        force: false,
        reason: None,
    }
}

/// A shop whose ruleset has one more binding, of the test module of that name.
fn shop_with(name: &str, change: impl FnOnce(&mut Binding)) -> Machine {
    let mut machine = Machine::with_shop();
    machine.accept(upload(name));
    let mut ruleset = ruleset(&["standard", name, "deduction"]);
    change(&mut ruleset.bindings[1]);
    machine.accept(Command::ActivateRuleset(activate(ruleset)));
    machine
}

fn shadow(binding: &mut Binding) {
    binding.mode = Mode::Shadow;
}

/// The default ruleset with a change is refused, and the one detail says `part`.
fn check_blocked(part: &str, change: impl FnOnce(&mut Ruleset)) {
    let mut machine = Machine::with_shop();
    for name in ["no", "bad-config", "broken", "garbage"] {
        machine.accept(upload(name));
    }
    let mut changed = ruleset(&["standard", "deduction"]);
    change(&mut changed);
    let rejection = machine.reject(Command::ActivateRuleset(activate(changed)));
    assert_eq!(rejection.kind, RejectionKind::ActivationBlocked);
    let details = &rejection.details;
    assert!(
        details.len() == 1 && details[0].contains(part),
        "{part}: {details:?}"
    );
    let active = rulesets::active(&machine.rows).unwrap().unwrap();
    assert_eq!(active.revision, Revision(1));
}
