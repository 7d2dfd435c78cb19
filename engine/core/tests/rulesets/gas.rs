//! The gas that the evaluations of one entry share.

use crate::common::*;
use crate::{activate, shadow, upload};
use raft3d_core::limits::{GAS_PER_ENTRY_MAX, GAS_PER_EVALUATION_MAX, SHADOW_GAS_PER_ENTRY_MAX};
use raft3d_core::state::decisions::{self, DecisionRecord, Verdict};
use raft3d_core::state::rulesets::{self, Mode, Ruleset};
use raft3d_core::{BindingId, Command, PolicyError, RejectionKind, Revision};
use raft3d_sdk::{Hook, HookSet};

/// The default ruleset, with so many bindings of `greedy` before the others: some that decide, some
/// that are watched.
fn greedy(deciding: usize, watched: usize) -> Ruleset {
    let mut set = ruleset(&["standard", "deduction"]);
    for n in 0..deciding + watched {
        let mut one = binding("greedy");
        one.id = BindingId::new(format!("greedy-{n}"));
        if n >= deciding {
            shadow(&mut one);
        }
        set.bindings.insert(n, one);
    }
    set
}

/// A shop with that ruleset, put there by hand: its check of configurations takes gas as well.
fn shop(set: Ruleset) -> Machine {
    let mut machine = Machine::with_shop();
    machine.accept(upload("greedy"));
    let mut active = rulesets::active(&machine.rows).unwrap().unwrap();
    active.ruleset = set;
    put_ruleset(&mut machine, &active);
    machine
}

/// The newest decision record.
fn record(machine: &Machine) -> DecisionRecord {
    let records = decisions::list(&machine.rows, Some(Revision(machine.index - 1)), 1);
    records.unwrap().pop().unwrap()
}

fn used(record: &DecisionRecord, mode: Mode) -> u64 {
    let of_mode = record.decisions.iter().filter(|made| made.mode == mode);
    of_mode.map(|made| made.gas).sum()
}

#[test]
fn the_evaluations_of_one_entry_share_its_gas() {
    shop(greedy(2, 0)).accept(job("j1", 1));
    let mut machine = shop(greedy(3, 0));
    let rejection = machine.reject(job("j1", 1));
    assert_eq!(rejection.kind, RejectionKind::PolicyFailed);
    assert!(
        rejection.message.contains("'greedy-2'") && rejection.message.contains("2000000 gas"),
        "{}",
        rejection.message
    );
    assert_eq!(rejection.policy.unwrap().code, "entry_out_of_gas");
    let record = record(&machine);
    assert_eq!(
        record.decisions.last().unwrap().verdict,
        Verdict::Failed(PolicyError::EntryOutOfGas)
    );
    assert_eq!(used(&record, Mode::Enforce), GAS_PER_ENTRY_MAX);
}

/// The rules of a transition and what it takes from the filament are asked in one entry.
#[test]
fn both_hooks_of_one_entry_share_its_gas() {
    let mut machine = shop(greedy(2, 0));
    machine.accept(job("j1", 1));
    let rejection = machine.reject(status("j1", "Running"));
    let policy = rejection.policy.unwrap();
    assert_eq!(
        (policy.hook.as_str(), policy.code.as_str()),
        ("deduction", "entry_out_of_gas")
    );
    // The next entry has its own.
    machine.accept(job("j2", 1));
}

#[test]
fn a_shadow_that_uses_its_gas_up_changes_no_outcome() {
    let hooks = HookSet::of(&[Hook::Admission]);
    let check = |watched: usize| {
        let mut set = greedy(0, watched);
        for one in set.bindings.iter_mut().take(watched) {
            one.hooks = hooks;
        }
        let mut machine = shop(set);
        machine.accept(job("j1", 1));
        (record(&machine), machine)
    };
    let (alone, _) = check(1);
    assert_eq!(used(&alone, Mode::Shadow), GREEDY_GAS);
    let (together, mut machine) = check(4);
    assert_eq!(used(&together, Mode::Shadow), SHADOW_GAS_PER_ENTRY_MAX);
    assert_eq!(used(&together, Mode::Enforce), used(&alone, Mode::Enforce));
    let failed = Verdict::Failed(PolicyError::EntryOutOfGas);
    let verdicts = together
        .decisions
        .iter()
        .filter(|made| made.verdict == failed);
    assert_eq!(verdicts.count(), 3);
    machine.accept(status("j1", "Running"));
}

/// What the ones that decide used is not missed by those that are watched, nor the other way round.
#[test]
fn deciding_and_watched_evaluations_have_gas_of_their_own() {
    let mut machine = shop(greedy(2, 1));
    machine.accept(job("j1", 1));
    let record = record(&machine);
    assert!(record.decisions.iter().all(|made| !made.verdict.refuses()));
    assert_eq!(used(&record, Mode::Shadow), GREEDY_GAS);
}

/// One evaluation that runs out of its own limit is told apart from one that found too little left.
#[test]
fn a_policy_that_runs_out_of_its_own_gas_is_called_so() {
    const { assert!(GREEDY_GAS < GAS_PER_EVALUATION_MAX) };
    let mut machine = Machine::with_shop();
    machine.accept(upload("broken"));
    let mut active = rulesets::active(&machine.rows).unwrap().unwrap();
    active.ruleset = ruleset(&["standard", "broken"]);
    put_ruleset(&mut machine, &active);
    let rejection = machine.reject(job("j1", 1));
    assert_eq!(rejection.policy.unwrap().code, "out_of_gas");
}

#[test]
fn the_checks_of_configurations_of_one_activation_share_its_gas() {
    let mut machine = Machine::with_shop();
    machine.accept(upload("greedy"));
    machine.accept(Command::ActivateRuleset(activate(greedy(2, 1))));
    let rejection = machine.reject(Command::ActivateRuleset(activate(greedy(3, 0))));
    assert_eq!(rejection.kind, RejectionKind::ActivationBlocked);
    let expected = "/bindings/2 ('greedy-2'): check_config failed: entry_out_of_gas";
    assert_eq!(
        rejection.details.first().unwrap(),
        expected,
        "{rejection:?}"
    );
}
