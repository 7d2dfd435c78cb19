//! Activating and rolling back: what stands in the way, what becomes of open jobs.

use crate::common::*;
use crate::{activate, check_blocked, rollback, shop_with};
use raft3d_core::command::{
    ActivateRuleset, CreateFilament, DeleteModule, RollbackRuleset, SetJobStatus,
};
use raft3d_core::state::rulesets::{Binding, Mode, Ruleset, Scope};
use raft3d_core::state::{jobs, meta, modules, rulesets};
use raft3d_core::{Accepted, BindingId, Command, ModuleDigest, RejectionKind, Revision};
use raft3d_sdk::{Grams, Hook, HookSet};

#[test]
fn an_activation_says_what_stands_in_its_way() {
    let add = |name: &'static str| move |set: &mut Ruleset| set.bindings.push(binding(name));
    check_blocked("there is no module", add("unknown"));
    check_blocked(
        "/bindings/2 ('bad-config'): /config/color: color",
        add("bad-config"),
    );
    check_blocked("check_config failed: out_of_gas", |set| {
        let broken = Binding {
            module: module("broken").digest,
            ..binding("no")
        };
        set.bindings.push(broken);
    });
    check_blocked("the same id", add("deduction"));
    check_blocked("has 1 to", |set| set.bindings[1].id = BindingId::new(""));
    check_blocked("does not answer all", |set| {
        set.bindings[1].hooks = HookSet::of(&[Hook::Admission]);
    });
    check_blocked("answers no hook", |set| {
        set.bindings[1].hooks = HookSet::default()
    });
    check_blocked("exceeds the whole", |set| set.bindings[1].share = 10_001);
    check_blocked("has 1 to", |set| {
        set.bindings[1].id = BindingId::new("x".repeat(129))
    });
    // The longest id that there may be is named, and a longer one is not repeated.
    check_blocked(&format!("1 ('{}'): ", "x".repeat(128)), |set| {
        set.bindings[1].id = BindingId::new("x".repeat(128));
        set.bindings[1].share = 10_001;
    });
    check_blocked("/bindings/1: ", |set| {
        set.bindings[1].id = BindingId::new("x".repeat(129))
    });
    check_blocked("scope", |set| {
        let (key, value) = ("k".repeat(65), String::new());
        set.bindings[1].scope = Scope::PrinterLabel { key, value };
    });
    check_blocked("scope", |set| {
        set.bindings[1].scope = Scope::FilamentType("x".repeat(1_025));
    });
    check_blocked("scope", |set| {
        set.bindings[1].scope = Scope::FilamentType(String::new());
    });
    check_blocked("fractional", |set| {
        set.bindings[1].config = vec![0xa1, 0x61, b'a', 0xf9, 0x3c, 0x00];
    });
    check_blocked("not a CBOR map", |set| set.bindings[1].config.clear());
    check_blocked(
        "exactly one binding must provide the lifecycle, not 0",
        |set| {
            set.bindings[0].lifecycle = false;
        },
    );
    check_blocked(
        "exactly one binding must provide the lifecycle, not 2",
        add("pausing"),
    );
    check_blocked("declares no lifecycle", |set| {
        set.bindings[0].lifecycle = false;
        set.bindings[1].lifecycle = true;
    });
    for change in [
        (|binding: &mut Binding| binding.share = 9_999) as fn(&mut Binding),
        |binding| binding.mode = Mode::Shadow,
        |binding| binding.scope = Scope::FilamentType("PLA".to_owned()),
    ] {
        check_blocked("must enforce it for all jobs", |set| {
            change(&mut set.bindings[0])
        });
    }
    let many = |mode, count: usize| {
        move |set: &mut Ruleset| {
            let of = |n| Binding {
                id: BindingId::new(format!("n{n}")),
                mode,
                ..binding("no")
            };
            set.bindings.extend((0..count).map(of));
        }
    };
    check_blocked("17 enforcing bindings", many(Mode::Enforce, 15));
    check_blocked("5 shadow bindings", many(Mode::Shadow, 5));
}

#[test]
fn an_activation_compares_the_revision() {
    let mut machine = Machine::with_shop();
    let command = |expected| {
        let expected = Some(Revision(expected));
        Command::ActivateRuleset(ActivateRuleset {
            expected,
            ..activate(ruleset(&["standard"]))
        })
    };
    assert_eq!(
        machine.reject(command(7)).kind,
        RejectionKind::RevisionMismatch
    );
    let Accepted::Ruleset(active) = machine.accept(command(1)) else {
        panic!()
    };
    assert_eq!(active.revision, Revision(machine.index));
    assert_eq!(
        machine.reject(command(1)).kind,
        RejectionKind::RevisionMismatch
    );
    // Nothing takes filament now.
    machine.accept(job("j1", 10));
    machine.accept(status("j1", "Running"));
    let Accepted::Job(done) = machine.accept(status("j1", "Done")) else {
        panic!()
    };
    assert_eq!(done.deducted, Grams::ZERO);
}

#[test]
fn force_strands_open_jobs_and_an_override_frees_them() {
    let mut machine = Machine::with_shop();
    let pausing = ruleset(&["pausing", "deduction"]);
    machine.accept(Command::ActivateRuleset(activate(pausing)));
    machine.accept(job("j1", 100));
    machine.accept(status("j1", "Running"));
    machine.accept(status("j1", "Paused"));
    let back = activate(ruleset(&["standard", "deduction"]));
    let rejection = machine.reject(Command::ActivateRuleset(back.clone()));
    assert_eq!(rejection.kind, RejectionKind::ActivationBlocked);
    assert_eq!(rejection.details.len(), 1);
    assert!(rejection.details[0].starts_with("1 open jobs are 'Paused'"));
    let rejection = machine.reject(Command::RollbackRuleset(rollback(None)));
    assert_eq!(rejection.kind, RejectionKind::ActivationBlocked);
    let forced = ActivateRuleset {
        force: true,
        ..back
    };
    let Accepted::Ruleset(active) = machine.accept(Command::ActivateRuleset(forced)) else {
        panic!()
    };
    let warning = &active.warnings[0].message;
    assert!(warning.ends_with("they are stranded"), "{warning}");
    // Without the override the rules decide; with it, only a terminal state is open.
    let moves = |status: &str, wants_override| {
        let command = SetJobStatus {
            wants_override,
            ..new_status("j1", status)
        };
        Command::SetJobStatus(command)
    };
    for (to, wants_override, kind) in [
        ("Canceled", false, RejectionKind::PolicyDenied),
        ("Running", true, RejectionKind::PolicyDenied),
        ("Paused", true, RejectionKind::UnknownState),
    ] {
        let rejection = machine.reject(moves(to, wants_override));
        assert_eq!(rejection.kind, kind);
        // Whoever is refused is told the way out.
        let way_out = "the job is stranded in 'Paused', which the active ruleset does not know: \
                       the body {\"status\":\"Canceled\",\"override\":true} ends it (with any of \
                       Done, Canceled)";
        assert!(rejection.message.ends_with(way_out), "{rejection:?}");
    }
    let Accepted::Job(freed) = machine.accept(moves("Canceled", true)) else {
        panic!()
    };
    assert!(freed.state.terminal);
    assert_eq!(jobs::open_by_state(&machine.rows).unwrap(), []);
}

/// What a job needs again must fit what is left once the move itself has taken its share.
#[test]
fn a_job_that_reserves_again_must_fit() {
    let mut machine = Machine::with_shop();
    let pausing = ruleset(&["pausing", "deduction"]);
    machine.accept(Command::ActivateRuleset(activate(pausing)));
    machine.accept(job("j1", 600));
    machine.accept(status("j1", "Running"));
    machine.accept(status("j1", "Paused"));
    machine.accept(job("j2", 450));
    let rejection = machine.reject(status("j1", "Running"));
    assert_eq!(rejection.kind, RejectionKind::ReservationExceedsAvailable);
    // 500 g taken on the way leave 500, of which j2 reserves 450: the 100 still needed do not fit.
    let used = |used| {
        Command::SetJobStatus(SetJobStatus {
            used: Some(grams(used)),
            ..new_status("j1", "Running")
        })
    };
    let rejection = machine.reject(used(500));
    assert_eq!(rejection.kind, RejectionKind::ReservationExceedsAvailable);
    machine.now_ms += 5;
    let Accepted::Job(running) = machine.accept(used(600)) else {
        panic!()
    };
    assert_eq!(running.updated_at_ms, running.created_at_ms + 5);
}

#[test]
fn a_rollback_is_a_new_revision() {
    let mut machine = Machine::with_shop();
    machine.accept(Command::ActivateRuleset(activate(ruleset(&["pausing"]))));
    let second = machine.index;
    let back = Command::RollbackRuleset(rollback(None));
    let Accepted::Ruleset(active) = machine.accept(back) else {
        panic!()
    };
    assert_eq!(active.rollback_of, Some(Revision(1)));
    assert_eq!(active.ruleset, ruleset(&["standard", "deduction"]));
    let to = Command::RollbackRuleset(rollback(Some(second)));
    let Accepted::Ruleset(active) = machine.accept(to) else {
        panic!()
    };
    assert_eq!(active.rollback_of, Some(Revision(second)));
    let rejection = machine.reject(Command::RollbackRuleset(rollback(Some(999))));
    assert_eq!(kind(&rejection), (RejectionKind::NotFound, Some("/to")));
    let stale = RollbackRuleset {
        expected: Some(Revision(1)),
        ..rollback(None)
    };
    let rejection = machine.reject(Command::RollbackRuleset(stale));
    assert_eq!(rejection.kind, RejectionKind::RevisionMismatch);
    let rejection = Machine::new().reject(Command::RollbackRuleset(rollback(None)));
    assert_eq!(rejection.kind, RejectionKind::NotFound);
}

#[test]
fn a_bad_policy_can_always_be_rolled_back() {
    let mut machine = shop_with("no", |_| {});
    assert_eq!(
        machine.reject(job("j1", 1)).kind,
        RejectionKind::PolicyDenied
    );
    machine.accept(Command::RollbackRuleset(rollback(None)));
    machine.accept(job("j1", 1));
}

#[test]
fn the_oldest_of_too_many_revisions_is_dropped() {
    let mut machine = Machine::with_shop();
    for _ in 0..101 {
        machine.accept(Command::ActivateRuleset(activate(ruleset(&["pausing"]))));
    }
    let kept = rulesets::history(&machine.rows, None, 1_000).unwrap();
    assert_eq!(kept.len(), 100);
    assert_eq!(kept[0].revision, Revision(machine.index));
    assert_eq!(
        rulesets::active(&machine.rows).unwrap().as_ref(),
        Some(&kept[0])
    );
    assert_eq!(rulesets::get(&machine.rows, Revision(1)).unwrap(), None);
    let page = rulesets::history(&machine.rows, Some(kept[9].revision), 2).unwrap();
    assert_eq!(page, kept[10..12]);
    // No kept revision names it any more.
    let digest = module("standard").digest;
    machine.accept(Command::DeleteModule(DeleteModule { digest }));
}

#[test]
fn bootstrap_is_once_and_first() {
    let mut machine = Machine {
        now_ms: START_MS,
        ..Machine::default()
    };
    assert_eq!(
        machine.reject(printer("p1")).kind,
        RejectionKind::NotBootstrapped
    );
    let Command::Bootstrap(mut bad) = bootstrap() else {
        panic!()
    };
    bad.ruleset.bindings[0].module = ModuleDigest([0; 32]);
    let rejection = machine.reject(Command::Bootstrap(bad));
    assert_eq!(rejection.kind, RejectionKind::ActivationBlocked);
    assert_eq!(modules::list(&machine.rows, None, 10).unwrap(), []);
    assert_eq!(meta::cluster_id(&machine.rows).unwrap(), None);
    machine.accept(bootstrap());
    assert!(meta::cluster_id(&machine.rows).unwrap().is_some());
    assert_eq!(
        machine.reject(bootstrap()).kind,
        RejectionKind::AlreadyBootstrapped
    );
    let Command::CreateFilament(command) = filament("f1", 1) else {
        panic!()
    };
    machine.accept(Command::CreateFilament(CreateFilament {
        id: None,
        ..command
    }));
}
