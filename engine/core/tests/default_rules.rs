//! The default rules of the API, with the shipped policies answering natively.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed test is to panic"
)]

mod common;

use common::*;
use raft3d_core::command::{Bootstrap, CreateFilament, CreatePrinter, SetJobStatus};
use raft3d_core::state::filaments;
use raft3d_core::{Accepted, ClusterId, Command, FilamentId, PrinterId, RejectionKind};
use raft3d_sdk::{DenyClass, Grams, PrinterStatus};

fn shop() -> Machine {
    let mut machine = Machine {
        now_ms: START_MS,
        ..Machine::default()
    };
    let names = ["standard-lifecycle", "standard-deduction"];
    machine.accept(Command::Bootstrap(Bootstrap {
        cluster_id: ClusterId([1; 16]),
        modules: names.map(module).to_vec(),
        ruleset: ruleset(&names),
        epoch: 1,
    }));
    machine.accept(printer("p1"));
    machine.accept(filament("f1", 1_000));
    machine
}

fn weights(machine: &Machine) -> (Grams, Grams) {
    let f1 = filaments::get(&machine.rows, &FilamentId::new("f1"))
        .unwrap()
        .unwrap();
    (f1.remaining, f1.reserved)
}

fn check_denied(machine: &mut Machine, command: Command, class: DenyClass, code: &str) {
    let rejection = machine.reject(command);
    let policy = rejection
        .policy
        .as_ref()
        .unwrap_or_else(|| panic!("{rejection:?}"));
    assert_eq!((policy.class, policy.code.as_str()), (class, code));
    assert_eq!(rejection.kind, RejectionKind::PolicyDenied);
}

#[test]
fn every_way_through_the_lifecycle() {
    let ways: [(&[&str], bool); 8] = [
        (&["Running", "Done"], true),
        (&["running", "CANCELED"], true),
        (&["cancelled"], true),
        (&["Done"], false),
        (&["Queued"], false),
        (&["Running", "Queued"], false),
        (&["Running", "Done", "Running"], false),
        (&["Canceled", "Queued"], false),
    ];
    for (way, open) in ways {
        let mut machine = shop();
        machine.accept(job("j1", 10));
        let (last, first) = way.split_last().unwrap();
        for step in first {
            machine.accept(status("j1", step));
        }
        let response = machine.run(status("j1", last)).response;
        let accepted = matches!(response, raft3d_core::Response::Accepted(_));
        assert_eq!(accepted, open, "{way:?}: {response:?}");
    }
}

#[test]
fn a_denied_transition_says_what_is_possible() {
    let mut machine = shop();
    machine.accept(job("j1", 10));
    let rejection = machine.reject(status("j1", "done"));
    assert_eq!(rejection.message, "Can only move to 'done' from 'running'");
    let illegal = DenyClass::IllegalTransition;
    check_denied(
        &mut machine,
        status("j1", "done"),
        illegal,
        "illegal_transition",
    );
}

#[test]
fn admission_looks_at_weight_printer_and_material() {
    let mut machine = shop();
    let denied = DenyClass::Denied;
    check_denied(&mut machine, job("j1", 0), denied, "weight_not_positive");
    check_denied(
        &mut machine,
        job("j1", 1_001),
        denied,
        "weight_exceeds_available",
    );
    machine.accept(job("j1", 600));
    check_denied(
        &mut machine,
        job("j2", 401),
        denied,
        "weight_exceeds_available",
    );
    machine.accept(job("j2", 400));

    let mut machine = shop();
    let id = Some(FilamentId::new("wood"));
    let Command::CreateFilament(wood) = filament("wood", 100) else {
        panic!()
    };
    let wood = CreateFilament {
        id,
        material: "Wood".to_owned(),
        ..wood
    };
    machine.accept(Command::CreateFilament(wood));
    let on_wood = raft3d_core::command::CreateJob {
        filament_id: FilamentId::new("wood"),
        ..new_job("j1", 1)
    };
    check_denied(
        &mut machine,
        Command::CreateJob(on_wood),
        denied,
        "material_not_allowed",
    );

    let Command::CreatePrinter(old) = printer("old") else {
        panic!()
    };
    let old = CreatePrinter {
        status: PrinterStatus::Retired,
        ..old
    };
    machine.accept(Command::CreatePrinter(old));
    let on_old = raft3d_core::command::CreateJob {
        printer_id: PrinterId::new("old"),
        ..new_job("j1", 1)
    };
    check_denied(
        &mut machine,
        Command::CreateJob(on_old),
        denied,
        "printer_retired",
    );
}

#[test]
fn done_takes_and_canceled_gives_back() {
    let mut machine = shop();
    machine.accept(job("j1", 120));
    machine.accept(job("j2", 80));
    machine.accept(job("j3", 50));
    assert_eq!(weights(&machine), (grams(1_000), grams(250)));
    machine.accept(status("j1", "Running"));
    machine.accept(status("j1", "Done"));
    assert_eq!(weights(&machine), (grams(880), grams(130)));
    machine.accept(status("j2", "Canceled"));
    assert_eq!(weights(&machine), (grams(880), grams(50)));
    machine.accept(status("j3", "Running"));
    let used = SetJobStatus {
        used: Some(grams(7)),
        ..new_status("j3", "Canceled")
    };
    let Accepted::Job(canceled) = machine.accept(Command::SetJobStatus(used)) else {
        panic!()
    };
    assert_eq!(canceled.deducted, grams(7));
    assert_eq!(weights(&machine), (grams(873), Grams::ZERO));
}
