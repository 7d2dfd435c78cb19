//! Each command: what it accepts, what it refuses and where it points.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is to panic"
)]

mod common;

use common::*;
use raft3d_core::command::{CreateFilament, CreateJob, CreatePrinter, DeniedEntry, SetJobStatus};
use raft3d_core::event::EventKind;
use raft3d_core::limits::DENIED_ENTRIES_MAX;
use raft3d_core::state::ledger::LedgerKind;
use raft3d_core::state::{denied, events, filaments, jobs, ledger, meta, printers};
use raft3d_core::{Accepted, Command, FilamentId, JobId, PrinterId, RejectionKind, Revision};
use raft3d_sdk::{DenyClass, Grams};

fn check_printer(change: impl FnOnce(&mut CreatePrinter), field: &str) {
    let Command::CreatePrinter(mut command) = printer("p9") else {
        panic!()
    };
    change(&mut command);
    let rejection = Machine::new().reject(Command::CreatePrinter(command));
    assert_eq!(kind(&rejection), (RejectionKind::InvalidField, Some(field)));
}

fn check_filament(change: impl FnOnce(&mut CreateFilament), field: &str) {
    let Command::CreateFilament(mut command) = filament("f9", 1_000) else {
        panic!()
    };
    change(&mut command);
    let rejection = Machine::new().reject(Command::CreateFilament(command));
    assert_eq!(kind(&rejection), (RejectionKind::InvalidField, Some(field)));
}

fn check_job(change: impl FnOnce(&mut CreateJob), expected: RejectionKind, field: &str) {
    let mut command = new_job("j9", 10);
    change(&mut command);
    let rejection = Machine::with_shop().reject(Command::CreateJob(command));
    assert_eq!(kind(&rejection), (expected, Some(field)));
}

fn check_status(change: impl FnOnce(&mut SetJobStatus), expected: RejectionKind, field: &str) {
    let mut machine = Machine::with_shop();
    machine.accept(job("j1", 10));
    let mut command = new_status("j1", "Running");
    change(&mut command);
    let rejection = machine.reject(Command::SetJobStatus(command));
    assert_eq!(kind(&rejection), (expected, Some(field)));
}

/// Above the largest weight: encoded so, because no constructor makes one.
fn too_heavy() -> Grams {
    minicbor::decode(&bytes(&(Grams::MAX.mg() + 1))).unwrap()
}

#[test]
fn fields_of_a_printer_have_limits() {
    let id = |id: &str| Some(PrinterId::new(id));
    for bad in ["", "a/b", "a\nb", ".", "..", "r3d-1", &"x".repeat(129)] {
        check_printer(|p| p.id = id(bad), "/id");
    }
    check_printer(|p| p.company.clear(), "/company");
    check_printer(|p| p.company = "x".repeat(1_025), "/company");
    check_printer(|p| p.model = "a\u{7}".to_owned(), "/model");
    let label = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
    check_printer(
        |p| p.labels = label("a/b~", &"x".repeat(65)),
        "/labels/a~1b~0",
    );
    check_printer(|p| p.labels = label(&"x".repeat(65), "v"), "/labels");
    check_printer(|p| p.labels = label("", "v"), "/labels/");
    let many = (0..33).map(|n| (n.to_string(), String::new())).collect();
    check_printer(|p| p.labels = many, "/labels");
}

#[test]
fn ids_are_free_otherwise() {
    let mut machine = Machine::new();
    for good in [
        "1",
        "job1",
        "0191e7a6-7b1c",
        "Drücker Nr. 5",
        "a\\b",
        "%2F",
        "~",
        "R3D-1",
    ] {
        machine.accept(printer(good));
    }
}

#[test]
fn fields_of_a_filament_have_limits() {
    check_filament(|f| f.id = Some(FilamentId::new("")), "/id");
    check_filament(|f| f.material.clear(), "/type");
    check_filament(|f| f.color.clear(), "/color");
    check_filament(|f| f.total = Grams::ZERO, "/total_weight_in_grams");
    check_filament(|f| f.total = too_heavy(), "/total_weight_in_grams");
    check_filament(
        |f| f.remaining = Some(grams(1_001)),
        "/remaining_weight_in_grams",
    );
    check_filament(
        |f| f.remaining = Some(too_heavy()),
        "/remaining_weight_in_grams",
    );
    check_filament(|f| f.vendor = Some("x".repeat(1_025)), "/vendor");
    check_filament(|f| f.lot = Some("\0".to_owned()), "/lot");
    check_filament(|f| f.density_mg_per_cm3 = Some(0), "/density_mg_per_cm3");
    check_filament(|f| f.diameter_um = Some(100_001), "/diameter_um");
}

#[test]
fn a_filament_is_full_unless_said_otherwise() {
    let mut machine = Machine::new();
    let Accepted::Filament(full) = machine.accept(filament("f1", 1_000)) else {
        panic!()
    };
    assert_eq!(
        (full.remaining, full.available()),
        (grams(1_000), grams(1_000))
    );
    let Command::CreateFilament(mut used) = filament("f2", 1_000) else {
        panic!()
    };
    used.remaining = Some(Grams::ZERO);
    let Accepted::Filament(used) = machine.accept(Command::CreateFilament(used)) else {
        panic!()
    };
    assert_eq!(used.remaining, Grams::ZERO);
    let lines = ledger::list(&machine.rows, &full.id, None, 10).unwrap();
    assert_eq!(
        (lines[0].kind, lines[0].amount),
        (LedgerKind::Loaded, grams(1_000))
    );
}

#[test]
fn fields_of_a_job_have_limits() {
    use RejectionKind::{InvalidField, UnknownReference, UnknownState};
    check_job(|j| j.id = Some(JobId::new("r3d-7")), InvalidField, "/id");
    check_job(
        |j| j.printer_id = PrinterId::new(""),
        InvalidField,
        "/printer_id",
    );
    check_job(
        |j| j.printer_id = PrinterId::new("p2"),
        UnknownReference,
        "/printer_id",
    );
    check_job(
        |j| j.filament_id = FilamentId::new("f2"),
        UnknownReference,
        "/filament_id",
    );
    check_job(|j| j.filepath.clear(), InvalidField, "/filepath");
    check_job(
        |j| j.print_weight = too_heavy(),
        InvalidField,
        "/print_weight_in_grams",
    );
    check_job(
        |j| j.status = Some("Running".to_owned()),
        InvalidField,
        "/status",
    );
    check_job(
        |j| j.status = Some("cancelled".to_owned()),
        InvalidField,
        "/status",
    );
    check_job(
        |j| j.status = Some("Frozen".to_owned()),
        UnknownState,
        "/status",
    );
    check_job(|j| j.status = Some("x".repeat(33)), InvalidField, "/status");
    let expected = RejectionKind::ReservationExceedsAvailable;
    check_job(
        |j| j.print_weight = grams(1_001),
        expected,
        "/print_weight_in_grams",
    );
}

#[test]
fn an_id_is_taken_once_and_made_where_it_is_left_out() {
    let mut machine = Machine::with_shop();
    machine.accept(job("j1", 10));
    for again in [printer("p1"), filament("f1", 5), job("j1", 10)] {
        let rejection = machine.reject(again);
        assert_eq!(
            kind(&rejection),
            (RejectionKind::AlreadyExists, Some("/id"))
        );
    }
    let command = CreateJob {
        id: None,
        ..new_job("", 10)
    };
    let Accepted::Job(made) = machine.accept(Command::CreateJob(command)) else {
        panic!()
    };
    assert_eq!(made.id.as_str(), format!("r3d-{}", machine.index));
    assert_eq!(
        (made.revision, made.state.name.as_str()),
        (Revision(machine.index), "Queued")
    );
}

#[test]
fn the_initial_status_may_be_named() {
    let mut machine = Machine::with_shop();
    let command = CreateJob {
        status: Some("queued".to_owned()),
        ..new_job("j1", 10)
    };
    machine.accept(Command::CreateJob(command));
}

#[test]
fn a_policy_denies_with_its_own_words() {
    let mut machine = Machine::with_shop();
    let rejection = machine.reject(job("j1", 0));
    assert_eq!(kind(&rejection), (RejectionKind::PolicyDenied, None));
    assert_eq!(rejection.message, "nothing to print");
    let policy = rejection.policy.unwrap();
    assert_eq!(
        (policy.module_name.as_str(), policy.hook.as_str()),
        ("standard", "admission")
    );
    assert_eq!(
        (policy.class, policy.code.as_str()),
        (DenyClass::Denied, "weight_is_zero")
    );
    assert_eq!(jobs::get(&machine.rows, &JobId::new("j1")).unwrap(), None);
}

#[test]
fn a_job_takes_its_weight_once() {
    let mut machine = Machine::with_shop();
    let f1 = FilamentId::new("f1");
    machine.accept(job("j1", 120));
    let reserved = filaments::get(&machine.rows, &f1).unwrap().unwrap();
    assert_eq!(
        (reserved.reserved, reserved.available()),
        (grams(120), grams(880))
    );
    machine.accept(status("j1", "printing"));
    let load = printers::load(&machine.rows, &PrinterId::new("p1")).unwrap();
    assert_eq!((load.open, load.occupying), (1, 1));
    let done = machine.run(status("j1", "done"));
    let kinds: Vec<EventKind> = done.events.iter().map(|event| event.kind.clone()).collect();
    let id = JobId::new("j1");
    let (from, to) = ("Running".to_owned(), "Done".to_owned());
    assert_eq!(
        kinds,
        [
            EventKind::JobStatusChanged {
                id: id.clone(),
                from,
                to
            },
            EventKind::FilamentDeducted {
                id: f1.clone(),
                job: id.clone(),
                amount: grams(120)
            },
        ]
    );
    let after = filaments::get(&machine.rows, &f1).unwrap().unwrap();
    assert_eq!((after.remaining, after.reserved), (grams(880), Grams::ZERO));
    assert_eq!(after.revision, done.revision);
    let lines = ledger::list(&machine.rows, &f1, Some(Revision(3)), 10).unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (lines[0].job.as_ref(), lines[0].amount),
        (Some(&id), grams(120))
    );
    assert_eq!(lines[0].reason, "printed");
    for again in ["Done", "Running", "cancelled"] {
        let rejection = machine.reject(status("j1", again));
        assert_eq!(
            kind(&rejection),
            (RejectionKind::IllegalTransition, Some("/status"))
        );
    }
    let after = filaments::get(&machine.rows, &f1).unwrap().unwrap();
    assert_eq!(after.remaining, grams(880));
}

#[test]
fn a_transition_is_refused_where_it_must_be() {
    use RejectionKind::{InvalidField, PolicyDenied, UnknownState};
    check_status(|s| s.status = "Frozen".to_owned(), UnknownState, "/status");
    check_status(|s| s.status = String::new(), UnknownState, "/status");
    check_status(
        |s| s.status = "queued".to_owned(),
        RejectionKind::IllegalTransition,
        "/status",
    );
    check_status(|s| s.status = "done".to_owned(), PolicyDenied, "/status");
    check_status(
        |s| s.used = Some(too_heavy()),
        InvalidField,
        "/used_weight_in_grams",
    );
    check_status(
        |s| s.reason = Some("x".repeat(1_025)),
        InvalidField,
        "/reason",
    );
    let rejection = Machine::with_shop().reject(status("nobody", "Running"));
    assert_eq!(kind(&rejection), (RejectionKind::NotFound, None));
}

#[test]
fn a_deduction_above_what_remains_changes_nothing() {
    let mut machine = Machine::with_shop();
    machine.accept(job("j1", 10));
    machine.accept(status("j1", "Running"));
    let before = filaments::get(&machine.rows, &FilamentId::new("f1")).unwrap();
    let job_before = jobs::get(&machine.rows, &JobId::new("j1")).unwrap();
    let used = SetJobStatus {
        used: Some(grams(1_001)),
        ..new_status("j1", "Done")
    };
    let rejection = machine.reject(Command::SetJobStatus(used));
    assert_eq!(rejection.kind, RejectionKind::DeductionExceedsRemaining);
    assert_eq!(
        filaments::get(&machine.rows, &FilamentId::new("f1")).unwrap(),
        before
    );
    assert_eq!(
        jobs::get(&machine.rows, &JobId::new("j1")).unwrap(),
        job_before
    );
    // Above the reservation, and within what remains, is allowed: others are then over-reserved.
    machine.accept(job("j2", 900));
    let used = SetJobStatus {
        used: Some(grams(500)),
        ..new_status("j1", "Done")
    };
    machine.accept(Command::SetJobStatus(used));
    let after = filaments::get(&machine.rows, &FilamentId::new("f1"))
        .unwrap()
        .unwrap();
    assert_eq!((after.remaining, after.reserved), (grams(500), grams(900)));
    assert!(after.over_reserved() && after.available() == Grams::ZERO);
    // A job that holds its reservation may still start; a new one finds nothing.
    machine.accept(status("j2", "Running"));
    let rejection = machine.reject(job("j3", 1));
    assert_eq!(rejection.kind, RejectionKind::ReservationExceedsAvailable);
}

#[test]
fn as_many_jobs_are_accepted_as_fit() {
    let mut machine = Machine::with_shop();
    let outcomes = (0..12).map(|n| machine.run(job(&format!("j{n}"), 120)).response);
    let accepted =
        outcomes.filter(|response| matches!(response, raft3d_core::Response::Accepted(_)));
    assert_eq!(accepted.count(), 8);
}

#[test]
fn the_queue_is_by_priority_then_age() {
    let mut machine = Machine::with_shop();
    for (id, priority) in [("a", 0), ("b", 5), ("c", -3), ("d", 5)] {
        machine.accept(Command::CreateJob(CreateJob {
            priority,
            ..new_job(id, 1)
        }));
    }
    let queue = |machine: &Machine| {
        printers::queue(&machine.rows, &PrinterId::new("p1"), "queued", 10)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(queue(&machine), ["b", "d", "a", "c"]);
    machine.accept(status("b", "Running"));
    assert_eq!(queue(&machine), ["d", "a", "c"]);
}

#[test]
fn lists_are_pages_in_the_order_of_ids() {
    let mut machine = Machine::with_shop();
    for n in 0..300 {
        machine.accept(job(&format!("j{n:03}"), 1));
    }
    let running = jobs::JobFilter {
        status: Some("running".to_owned()),
        ..Default::default()
    };
    machine.accept(status("j299", "Running"));
    let page = jobs::list(&machine.rows, &running, None, 10).unwrap();
    assert_eq!((page.jobs.len(), page.next), (1, None));
    let all = jobs::JobFilter::default();
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = jobs::list(&machine.rows, &all, after.as_ref(), 7).unwrap();
        seen.extend(page.jobs.into_iter().map(|job| job.id.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(
        seen,
        (0..300).map(|n| format!("j{n:03}")).collect::<Vec<_>>()
    );
}

#[test]
fn events_are_kept_in_a_window() {
    use raft3d_core::limits::EVENTS_KEPT_MAX;
    let mut machine = Machine::with_shop();
    let first = events::list(&machine.rows, None, 1).unwrap();
    assert_eq!(first[0].id.revision, Revision(1));
    let mut previous = meta::totals(&machine.rows).unwrap().events;
    let mut deletions = 0;
    for n in 0..EVENTS_KEPT_MAX + 300 {
        // Records of requests expire all the while.
        machine.now_ms += 1_000;
        machine.index += 1;
        let envelope = machine.envelope(printer(&format!("x{n}")));
        let index = Revision(machine.index);
        machine.apply_with(index, &envelope, &NativeHost).unwrap();
        let kept = meta::totals(&machine.rows).unwrap().events;
        assert!(kept <= EVENTS_KEPT_MAX && kept + 127 >= EVENTS_KEPT_MAX.min(previous + 1));
        deletions += u64::from(kept < previous);
        previous = kept;
    }
    assert_eq!(
        raft3d_core::state::digest::recompute(&machine.rows).unwrap(),
        machine.digest
    );
    assert_eq!(deletions, 3, "128 at a time");
    let left = events::list(&machine.rows, None, usize::MAX).unwrap();
    assert_eq!(left.len() as u64, previous);
    // What was deleted is what came just before the oldest that is left.
    let deleted_to = events::deleted_to(&machine.rows).unwrap().unwrap();
    assert_eq!(deleted_to.0 + 1, left[0].id.revision.0);
    let newest = left.last().unwrap();
    assert_eq!(newest.id.revision, Revision(machine.index));
    let after = events::list(&machine.rows, Some(left[left.len() - 3].id), 100).unwrap();
    assert_eq!(after, left[left.len() - 2..]);
}

#[test]
fn tables_have_caps() {
    use raft3d_core::limits::{FILAMENTS_MAX, JOBS_MAX, MODULES_MAX, PRINTERS_MAX};
    let mut machine = Machine::with_shop();
    let mut totals = meta::totals(&machine.rows).unwrap();
    (totals.printers, totals.filaments) = (PRINTERS_MAX, FILAMENTS_MAX);
    (totals.jobs, totals.modules) = (JOBS_MAX, MODULES_MAX);
    put_totals(&mut machine, &totals);
    let upload = Command::UploadModule(module("no"));
    for command in [printer("p2"), filament("f2", 1), job("j1", 1), upload] {
        assert_eq!(machine.reject(command).kind, RejectionKind::LimitReached);
    }
}

#[test]
fn a_checkpoint_changes_nothing_but_log_time() {
    let mut machine = Machine::with_shop();
    let before = machine.clone();
    machine.run(Command::Checkpoint);
    assert_eq!(
        (&machine.rows, machine.digest),
        (&before.rows, before.digest)
    );
    machine.now_ms += 5;
    machine.run(Command::Checkpoint);
    let changed = machine
        .rows
        .iter()
        .zip(before.rows.iter())
        .filter(|(a, b)| a != b);
    assert_eq!(changed.count(), 1);
    let now_ms = meta::log_time_ms(&machine.rows).unwrap();
    assert_eq!(now_ms, START_MS + 5);
}

#[test]
fn a_denial_is_recorded_once_and_only_of_an_earlier_entry() {
    let mut machine = Machine::with_shop();
    let entry = |index: u64, term: u64| DeniedEntry {
        index: Revision(index),
        term,
        hash: [7; 32],
    };
    assert_eq!(
        machine.accept(Command::RecordDenied(entry(1, 3))),
        Accepted::Done
    );
    // Another leader proposed it too, or something else in its place.
    machine.accept(Command::RecordDenied(entry(1, 3)));
    machine.accept(Command::RecordDenied(entry(1, 4)));
    let recorded = denied::all(&machine.rows).unwrap();
    assert_eq!(recorded, [entry(1, 3)]);
    assert_eq!(
        denied::get(&machine.rows, Revision(1)).unwrap(),
        Some(entry(1, 3))
    );
    let later = machine.reject(Command::RecordDenied(entry(1_000_000, 3)));
    assert_eq!(later.kind, RejectionKind::InvalidField);
}

#[test]
fn as_many_denials_as_can_be_recorded_are_read_again() {
    let mut machine = Machine::with_shop();
    for _ in 0..DENIED_ENTRIES_MAX {
        machine.run(Command::Checkpoint);
    }
    let entry = |n: usize| DeniedEntry {
        index: Revision(n as u64),
        term: u64::MAX,
        hash: [n as u8; 32],
    };
    for n in 0..DENIED_ENTRIES_MAX {
        machine.accept(Command::RecordDenied(entry(n)));
    }
    let refused = machine.reject(Command::RecordDenied(entry(DENIED_ENTRIES_MAX)));
    assert_eq!(refused.kind, RejectionKind::LimitReached);
    let recorded = denied::all(&machine.rows).unwrap();
    let expected: Vec<DeniedEntry> = (0..DENIED_ENTRIES_MAX).map(entry).collect();
    assert_eq!(recorded, expected);
}
