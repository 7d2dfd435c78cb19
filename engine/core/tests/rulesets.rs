//! Modules and rulesets: what stands in the way of an activation, and what a binding decides.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is to panic"
)]

mod common;

use common::*;
use raft3d_core::command::{
    ActivateRuleset, CreateFilament, DeleteModule, RollbackRuleset, SetJobStatus, UploadModule,
};
use raft3d_core::event::EventKind;
use raft3d_core::state::rulesets::{Binding, Mode, Ruleset, Scope};
use raft3d_core::state::{jobs, meta, modules, rulesets};
use raft3d_core::{
    Accepted, BindingId, Command, JobId, LocalFault, ModuleDigest, RejectionKind, Response,
    Revision,
};
use raft3d_sdk::{Grams, Hook, HookSet, Lifecycle};

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
    machine.accept(Command::ActivateRuleset(ActivateRuleset {
        force: true,
        ..back
    }));
    // Without the override the rules decide; with it, only a terminal state is open.
    let moves = |status: &str, wants_override| {
        let command = SetJobStatus {
            wants_override,
            ..new_status("j1", status)
        };
        Command::SetJobStatus(command)
    };
    assert_eq!(
        machine.reject(moves("Canceled", false)).kind,
        RejectionKind::PolicyDenied
    );
    assert_eq!(
        machine.reject(moves("Running", true)).kind,
        RejectionKind::PolicyDenied
    );
    assert_eq!(
        machine.reject(moves("Paused", true)).kind,
        RejectionKind::UnknownState
    );
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
            used: Some(common::grams(used)),
            ..common::new_status("j1", "Running")
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
fn a_module_is_uploaded_once_and_deleted_when_nobody_names_it() {
    let mut machine = Machine::new();
    let Accepted::Module(info, true) = machine.accept(upload("no")) else {
        panic!()
    };
    assert_eq!((info.size_bytes, info.revision), (2, Revision(2)));
    let Accepted::Module(same, false) = machine.accept(upload("no")) else {
        panic!()
    };
    assert_eq!(same, info);
    assert_eq!(
        modules::bytes(&machine.rows, info.digest).unwrap().unwrap(),
        b"no"
    );
    let delete = |digest| Command::DeleteModule(DeleteModule { digest });
    machine.accept(delete(info.digest));
    assert_eq!(modules::bytes(&machine.rows, info.digest).unwrap(), None);
    assert_eq!(
        machine.reject(delete(info.digest)).kind,
        RejectionKind::NotFound
    );
    let rejection = machine.reject(delete(module("standard").digest));
    assert_eq!(rejection.kind, RejectionKind::ModuleInUse);
    assert_eq!(meta::totals(&machine.rows).unwrap().modules, 3);
}

fn check_upload(part: &str, change: impl FnOnce(&mut UploadModule)) {
    let mut command = module("pausing-2");
    command.manifest.lifecycle = Some(lifecycle(true));
    change(&mut command);
    let rejection = Machine::new().reject(Command::UploadModule(command));
    assert_eq!(rejection.kind, RejectionKind::InvalidField);
    let said = format!("{} {:?}", rejection.message, rejection.details);
    assert!(said.contains(part), "{part}: {said}");
}

#[test]
fn a_module_is_checked_again_in_apply() {
    check_upload("SHA-256", |upload| upload.bytes.push(0));
    check_upload("bytes; this one has 0", |upload| upload.bytes.clear());
    check_upload("this one has 524289", |upload| {
        upload.bytes = vec![0; 512 * 1024 + 1]
    });
    check_upload("ABI 2", |upload| upload.manifest.abi = 2);
    check_upload("name is empty", |upload| upload.manifest.name.clear());
    check_upload("must not exceed 1024", |upload| {
        upload.manifest.description = "x".repeat(1_025);
    });
    check_upload("exceeds 65536", |upload| {
        upload.manifest.config_schema = Some("x".repeat(65_536));
    });
}

#[test]
fn a_lifecycle_must_be_sound() {
    let check = |part: &str, change: fn(&mut Lifecycle)| {
        check_upload(part, |upload| {
            change(upload.manifest.lifecycle.as_mut().unwrap())
        });
    };
    check("exactly one state must be initial, not 0", |l| {
        l.states[0].initial = false
    });
    check("exactly one state must be initial, not 2", |l| {
        l.states[1].initial = true
    });
    check("exactly one state must be initial, not 0", |l| {
        l.states.clear();
        l.claim = None;
    });
    check("'Queued' must not be terminal", |l| {
        (l.states[0].terminal, l.states[0].reserves) = (true, false);
        l.claim = None;
    });
    check("'Done' must not reserve", |l| l.states[3].reserves = true);
    check("'PAUSED' names both 'Running' and 'PAUSED'", |l| {
        l.states[2].name = "PAUSED".to_owned();
        l.states[1].aliases.push("paused".to_owned());
    });
    check("claim names 'Begun'", |l| {
        l.claim.as_mut().unwrap().to = "Begun".to_owned()
    });
    check("to itself", |l| {
        l.claim.as_mut().unwrap().to = "Queued".to_owned()
    });
    check("out of the terminal state", |l| {
        l.claim.as_mut().unwrap().from = "Done".to_owned()
    });
    check("1 to 32 bytes", |l| l.states[1].name = "x".repeat(33));
    check("more than 8 aliases", |l| {
        l.states[1].aliases = (0..9).map(|n| format!("a{n}")).collect();
    });
    // Thousands of short aliases that meet under one long name once made an answer of gigabytes.
    check("more than 8 aliases", |l| {
        l.states[1].aliases = vec!["a".to_owned(); 20_000];
    });
    check("claim names a state of more than 32 bytes", |l| {
        l.claim.as_mut().unwrap().to = "x".repeat(33)
    });
    check("at most 32 states", |l| {
        let more = (0..28).map(|n| raft3d_sdk::State {
            name: format!("s{n}"),
            ..l.states[2].clone()
        });
        l.states.extend(more.collect::<Vec<_>>());
    });
}

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
    let denied = raft3d_core::apply::deny(&mut machine.rows, &mut machine.digest, index, &envelope);
    let Response::Rejected(rejection) = denied.unwrap().response else {
        panic!()
    };
    assert!(rejection.message.contains("--deny-at"));
    assert_eq!(jobs::get(&machine.rows, &JobId::new("j1")).unwrap(), None);
    assert_eq!(
        raft3d_core::state::digest::recompute(&machine.rows).unwrap(),
        machine.digest
    );
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
