//! A dry run says, to the byte, what apply then does, and changes no row.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is to panic"
)]

mod common;

use common::*;
use raft3d_core::apply::dry_run::{Answered, ask, question, rehearse};
use raft3d_core::command::ActivateRuleset;
use raft3d_core::state::decisions;
use raft3d_core::state::rulesets::{self, Mode, RulesetRevision};
use raft3d_core::{Command, Response, Revision};
use raft3d_sdk::Hook;

fn active(machine: &Machine) -> RulesetRevision {
    rulesets::active(&machine.rows).unwrap().unwrap()
}

fn rehearsed(machine: &Machine, command: &Command, ruleset: &RulesetRevision) -> Answered {
    let next = Revision(machine.index + 1);
    rehearse(&machine.rows, next, &actor(), command, ruleset, &NativeHost).unwrap()
}

/// Rehearses a command and applies it: the same evaluations of the same input, the same answer.
fn check(machine: &mut Machine, command: Command) {
    let before = machine.rows.clone();
    let said = rehearsed(machine, &command, &active(machine));
    assert_eq!(machine.rows, before);
    let outcome = machine.run(command.clone());
    let rejection = match outcome.response {
        Response::Accepted(_) => None,
        Response::Rejected(rejection) => Some(rejection),
    };
    assert_eq!(said.rejection, rejection, "{command:?}");
    let after = Some(Revision(outcome.revision.0 - 1));
    let records = decisions::list(&machine.rows, after, 1).unwrap();
    match records.first() {
        Some(record) => {
            assert_eq!(said.decisions, record.decisions, "{command:?}");
            assert_eq!(said.input.as_ref(), Some(&record.input));
        }
        None => assert!(said.decisions.is_empty(), "{command:?}: {said:?}"),
    }
}

fn activate(machine: &mut Machine, names: &[&str], shadow: &[&str]) {
    for name in names.iter().chain(shadow) {
        machine.run(Command::UploadModule(module(name)));
    }
    let mut ruleset = ruleset(names);
    for name in shadow {
        let mut binding = binding(name);
        binding.id = raft3d_core::BindingId::new(format!("shadow-{name}"));
        binding.mode = Mode::Shadow;
        binding.lifecycle = false;
        ruleset.bindings.push(binding);
    }
    machine.accept(Command::ActivateRuleset(ActivateRuleset {
        ruleset,
        expected: None,
        force: false,
        reason: None,
    }));
}

#[test]
fn what_is_rehearsed_is_what_happens() {
    let mut machine = Machine::with_shop();
    for rules in [
        &["standard", "deduction"][..],
        &["standard", "no", "deduction"],
    ] {
        activate(&mut machine, rules, &["garbage", "take-all"]);
        let n = machine.index;
        let (kept, big) = (format!("kept-{n}"), format!("big-{n}"));
        for command in [
            job(&kept, 100),
            job(&kept, 100),
            job(&big, 2_000),
            status(&kept, "Running"),
            status(&kept, "Queued"),
            status(&kept, "Done"),
            status("never", "Done"),
            status(&kept, "nonsense"),
        ] {
            check(&mut machine, command);
        }
        // One without an id: the next entry's index is part of it.
        let mut unnamed = new_job("x", 1);
        unnamed.id = None;
        check(&mut machine, Command::CreateJob(unnamed));
    }
}

#[test]
fn one_hook_is_asked_about_what_the_rows_say() {
    let mut machine = Machine::with_shop();
    machine.accept(job("j1", 100));
    machine.accept(status("j1", "Running"));
    let (rules, next) = (active(&machine), Revision(machine.index + 1));
    let done = status("j1", "Done");
    let asked = question(&machine.rows, next, &actor(), &done, &rules, &NativeHost).unwrap();
    assert!(asked.decisions.is_empty());
    let input = asked.input.unwrap();
    let whole = rehearsed(&machine, &done, &rules);
    let mut parts = Vec::new();
    for hook in [Hook::Transition, Hook::Deduction] {
        let answered = ask(&machine.rows, &rules, hook, &input, &NativeHost).unwrap();
        assert_eq!(answered.rejection, None);
        parts.extend(answered.decisions);
    }
    assert_eq!(parts, whole.decisions);
    // Nobody is bound: no job may move, and nothing is taken.
    let mut unbound = rules.clone();
    unbound.ruleset.bindings.clear();
    let kinds = [Hook::Admission, Hook::Transition, Hook::Deduction].map(|hook| {
        let answered = ask(&machine.rows, &unbound, hook, &input, &NativeHost);
        answered.map(|answered| answered.rejection.is_some()).ok()
    });
    // The input of a move is none for `admission`.
    assert_eq!(kinds, [None, Some(true), Some(false)]);
}
