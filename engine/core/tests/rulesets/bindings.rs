//! What a binding decides: failures, scopes, shares, shadows, deductions.

use crate::common::*;
use crate::{activate, shadow, shop_with, upload};
use raft3d_core::command::SetJobStatus;
use raft3d_core::event::EventKind;
use raft3d_core::state::rulesets::Scope;
use raft3d_core::state::{jobs, meta, rulesets};
use raft3d_core::{
    Accepted, BindingId, Command, JobId, LocalFault, RejectionKind, Response, Revision,
};
use raft3d_sdk::{Grams, Hook, HookSet};

/// Creating and starting a job under one more enforcing binding fails with this code.
fn check_failure(name: &str, hook: Hook, code: &str) {
    let mut machine = Machine::with_shop();
    machine.accept(job("j0", 1));
    machine.accept(upload(name));
    let mut set = ruleset(&["standard", name]);
    set.bindings[1].hooks = HookSet::of(&[hook]);
    // check_config of these modules fails as well, so the binding is put there by hand.
    let mut active = rulesets::active(&machine.rows).unwrap().unwrap();
    active.ruleset = set;
    put_ruleset(&mut machine, &active);
    let rejection = machine.reject(match hook {
        Hook::Admission => job("j1", 1),
        _ => status("j0", "Running"),
    });
    assert_eq!(rejection.kind, RejectionKind::PolicyFailed, "{rejection:?}");
    let policy = rejection.policy.unwrap();
    assert_eq!(
        (policy.code.as_str(), policy.hook.as_str()),
        (code, hook.name())
    );
}

#[test]
fn a_policy_that_fails_denies() {
    for hook in Hook::ALL {
        check_failure("broken", hook, "out_of_gas");
        check_failure("garbage", hook, "bad_output");
    }
    check_failure("trailing", Hook::Admission, "bad_output");
    check_failure("talkative", Hook::Transition, "bad_output");
}

#[test]
fn a_fault_of_the_host_is_no_outcome() {
    let mut machine = shop_with("faulty", |_| {});
    let (rows, digest) = (machine.rows.clone(), machine.digest);
    let envelope = machine.envelope(job("j1", 1));
    let fault = machine.try_apply(&envelope);
    assert!(matches!(fault, Err(LocalFault::Runtime(_))));
    assert_eq!((&machine.rows, machine.digest), (&rows, digest));
    // The operators' way past it: denied, remembered, nothing else.
    let index = Revision(machine.index + 1);
    let mut totals = meta::totals(&machine.rows).unwrap();
    let (rows, epochs) = (&mut machine.rows, machine.epochs);
    let denied = raft3d_core::apply::deny(rows, &mut totals, index, &envelope, epochs);
    meta::put_totals(rows, &totals).unwrap();
    let Response::Rejected(rejection) = denied.unwrap().response else {
        panic!()
    };
    assert!(rejection.message.contains("--deny-at"));
    assert_eq!(jobs::get(&machine.rows, &JobId::new("j1")).unwrap(), None);
}

#[test]
fn without_a_transition_binding_nothing_moves() {
    let mut machine = Machine::with_shop();
    let mut set = ruleset(&["standard", "deduction"]);
    set.bindings[0].hooks = HookSet::of(&[Hook::Admission]);
    machine.accept(Command::ActivateRuleset(activate(set)));
    machine.accept(job("j1", 1));
    let rejection = machine.reject(status("j1", "Running"));
    assert_eq!(rejection.kind, RejectionKind::NoPolicyBound);
}

#[test]
fn a_scope_chooses_its_jobs() {
    let check = |scope: Scope, expected: bool| {
        let mut machine = Machine::new();
        let Command::CreatePrinter(mut p1) = printer("p1") else {
            panic!()
        };
        p1.labels = [("site".to_owned(), "north".to_owned())].into();
        machine.accept(Command::CreatePrinter(p1));
        machine.accept(filament("f1", 100));
        machine.accept(upload("no"));
        let mut set = ruleset(&["standard", "no"]);
        set.bindings[1].scope = scope.clone();
        machine.accept(Command::ActivateRuleset(activate(set)));
        let denied = matches!(machine.run(job("j1", 1)).response, Response::Rejected(_));
        assert_eq!(denied, expected, "{scope:?}");
    };
    let label = |key: &str, value: &str| Scope::PrinterLabel {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    check(Scope::All, true);
    check(label("site", "north"), true);
    check(label("site", "south"), false);
    check(label("floor", "north"), false);
    check(Scope::FilamentType("pla".to_owned()), true);
    check(Scope::FilamentType("PETG".to_owned()), false);
}

#[test]
fn a_share_chooses_its_jobs() {
    let mut machine = shop_with("no", |binding| binding.share = 5_000);
    let responses: Vec<_> = (0..64)
        .map(|n| machine.run(job(&format!("j{n}"), 1)).response)
        .collect();
    let denied = responses
        .iter()
        .filter(|r| matches!(r, Response::Rejected(_)))
        .count();
    assert!((16..48).contains(&denied), "{denied} of 64");
    let mut none = shop_with("no", |binding| binding.share = 0);
    none.accept(job("j1", 1));
}

/// Each binding has jobs of its own: the share is counted by its own id.
#[test]
fn a_share_is_counted_by_the_bindings_own_id() {
    let mut machine = Machine::with_shop();
    machine.accept(upload("no"));
    let mut set = ruleset(&["standard", "no", "no"]);
    for (binding, id) in set.bindings.iter_mut().skip(1).zip(["left", "right"]) {
        shadow(binding);
        binding.hooks = HookSet::of(&[Hook::Admission]);
        binding.id = BindingId::new(id);
        binding.share = 5_000;
    }
    machine.accept(Command::ActivateRuleset(activate(set)));
    let mut differ = 0;
    for n in 0..64 {
        let id = format!("j{n}");
        let events = machine.run(job(&id, 1)).events;
        let said = |binding: &str| {
            events.iter().any(|event| {
                matches!(&event.kind,
                    EventKind::ShadowVerdict { binding: b, .. } if b.as_str() == binding)
            })
        };
        let chosen = |binding: &str| {
            let hash = blake3::hash(format!("{binding}\0{id}").as_bytes());
            let first = hash.as_bytes()[..8].try_into().unwrap();
            u64::from_le_bytes(first) % 10_000 < 5_000
        };
        for binding in ["left", "right"] {
            assert_eq!(said(binding), chosen(binding), "{binding} {id}");
        }
        differ += usize::from(chosen("left") != chosen("right"));
    }
    assert!(differ > 16, "{differ} of 64");
}

/// Whatever the hook: one that fails in the shadow is recorded, and nothing else.
#[test]
fn a_shadow_that_fails_refuses_nothing_at_any_hook() {
    // Those that are watched share one entry's budget: after the first there is none left.
    let broken = ("broken", "out_of_gas", "entry_out_of_gas");
    for (name, code, second) in [broken, ("garbage", "bad_output", "bad_output")] {
        let mut machine = Machine::with_shop();
        machine.accept(upload(name));
        let mut set = ruleset(&["standard", "deduction", name]);
        shadow(&mut set.bindings[2]);
        // check_config of these modules fails as well, so the binding is put there by hand.
        let mut active = rulesets::active(&machine.rows).unwrap().unwrap();
        active.ruleset = set;
        put_ruleset(&mut machine, &active);
        let steps = [job("j1", 10), status("j1", "Running"), status("j1", "Done")];
        let mut failed = Vec::new();
        for step in steps {
            let outcome = machine.run(step);
            let accepted = matches!(outcome.response, Response::Accepted(_));
            assert!(accepted, "{name}: {outcome:?}");
            for event in outcome.events {
                if let EventKind::ShadowVerdict { hook, code, .. } = event.kind {
                    failed.push((hook, code.unwrap()));
                }
            }
        }
        let expected = [
            (Hook::Admission, code),
            (Hook::Transition, code),
            (Hook::Deduction, second),
            (Hook::Transition, code),
            (Hook::Deduction, second),
        ];
        let expected = expected.map(|(hook, code)| (hook, code.to_owned()));
        assert_eq!(failed, expected, "{name}");
    }
}

#[test]
fn a_shadow_is_recorded_and_changes_nothing() {
    for (name, code) in [("no", "no"), ("take-all", "other_deduction")] {
        let mut machine = shop_with(name, shadow);
        let created = machine.run(job("j1", 10));
        machine.accept(status("j1", "Running"));
        let done = machine.run(status("j1", "Done"));
        let Response::Accepted(Accepted::Job(job)) = &done.response else {
            panic!()
        };
        assert_eq!(job.deducted, grams(10));
        let verdicts = created
            .events
            .iter()
            .chain(&done.events)
            .filter_map(|event| {
                let EventKind::ShadowVerdict {
                    binding,
                    hook,
                    code,
                    ..
                } = &event.kind
                else {
                    return None;
                };
                assert_eq!(binding.as_str(), name);
                Some((*hook, code.clone().unwrap()))
            });
        let verdicts: Vec<_> = verdicts.collect();
        let deducts = (Hook::Deduction, code.to_owned());
        let expected = match name {
            // Its denial is no answer to `deduction`: integer 0 there is a map.
            "no" => vec![
                (Hook::Admission, code.to_owned()),
                (Hook::Transition, code.to_owned()),
                (Hook::Deduction, "bad_output".to_owned()),
            ],
            _ => vec![deducts],
        };
        assert_eq!(verdicts, expected);
    }
}

#[test]
fn the_first_deduction_that_does_not_pass_decides() {
    let mut machine = Machine::with_shop();
    machine.accept(upload("take-all"));
    let set = ruleset(&["standard", "deduction", "take-all"]);
    machine.accept(Command::ActivateRuleset(activate(set)));
    machine.accept(job("j1", 10));
    // `deduction` passes on Running, so `take-all` decides: more than there is.
    let rejection = machine.reject(status("j1", "Running"));
    assert_eq!(rejection.kind, RejectionKind::DeductionExceedsRemaining);
    let used = SetJobStatus {
        used: Some(Grams::ZERO),
        ..new_status("j1", "Running")
    };
    let Accepted::Job(job) = machine.accept(Command::SetJobStatus(used)) else {
        panic!()
    };
    assert_eq!(job.deducted, Grams::ZERO);
}

#[test]
fn a_shadow_that_would_take_the_same_says_nothing() {
    let mut machine = Machine::with_shop();
    let mut set = ruleset(&["standard", "deduction", "deduction"]);
    set.bindings[2].id = raft3d_core::BindingId::new("deduction-again");
    shadow(&mut set.bindings[2]);
    machine.accept(Command::ActivateRuleset(activate(set)));
    machine.accept(job("j1", 1));
    machine.accept(status("j1", "Running"));
    let done = machine.run(status("j1", "Done"));
    let Response::Accepted(Accepted::Job(job)) = &done.response else {
        panic!("{done:?}")
    };
    assert!(job.deducted > Grams::ZERO);
    let is_verdict = |kind: &EventKind| matches!(kind, EventKind::ShadowVerdict { .. });
    assert!(!done.events.iter().any(|event| is_verdict(&event.kind)));
}
