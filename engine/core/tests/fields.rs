//! What a job was given, it keeps: each field by itself, whatever the golden bytes say.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::type_complexity,
    reason = "a failed test is to panic"
)]

mod common;

use common::*;
use raft3d_core::command::{Actor, CreateFilament, CreateJob, CreatePrinter, Labels};
use raft3d_core::state::jobs::{self, Job};
use raft3d_core::state::{decisions, filaments, printers};
use raft3d_core::{Accepted, Command, Envelope, FilamentId, JobId, PrinterId, Response, Revision};
use raft3d_sdk::{ActorView, AdmissionInput, PrinterStatus, TransitionInput};

fn labels() -> Labels {
    [("order", "77"), ("site", "north")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// A job with a value of its own in every field.
fn full_job(id: &str) -> CreateJob {
    CreateJob {
        priority: -7,
        labels: labels(),
        filepath: "/models/a.stl".to_owned(),
        ..new_job(id, 120)
    }
}

fn stored(machine: &Machine, id: &str) -> Job {
    jobs::get(&machine.rows, &JobId::new(id)).unwrap().unwrap()
}

/// What a job is given at its creation.
fn given(job: &Job) -> (String, String, String, u64, i32, Labels, Actor, u64, u64) {
    (
        job.printer_id.to_string(),
        job.filament_id.to_string(),
        job.filepath.clone(),
        job.print_weight.mg(),
        job.priority,
        job.labels.clone(),
        job.created_by.clone(),
        job.created_at_ms,
        job.created_revision.0,
    )
}

#[test]
fn a_job_keeps_what_it_was_given_through_every_status() {
    let mut machine = Machine::with_shop();
    let Accepted::Job(told) = machine.accept(Command::CreateJob(full_job("j1"))) else {
        panic!("no job was made");
    };
    let created = given(&told);
    assert_eq!((told.priority, &told.labels), (-7, &labels()));
    assert_eq!(told.created_by, actor());
    assert_eq!(created.8, machine.index);
    assert_eq!(stored(&machine, "j1"), told);
    for state in ["Running", "Done"] {
        machine.now_ms += 1_000;
        let Accepted::Job(moved) = machine.accept(status("j1", state)) else {
            panic!("no job was moved");
        };
        assert_eq!(moved.state.name, state);
        assert_eq!(given(&moved), created, "{state}");
        assert_eq!(moved.updated_at_ms, machine.now_ms);
        assert_eq!(moved.revision.0, machine.index);
        assert_eq!(stored(&machine, "j1"), moved);
    }
}

/// Another actor moves it: it stays its creator's.
#[test]
fn a_job_counts_for_its_creator_whoever_moves_it() {
    let mut machine = Machine::with_shop();
    machine.accept(Command::CreateJob(full_job("j1")));
    let bob = Actor {
        name: "bob".to_owned(),
        verified: false,
    };
    let load = |machine: &Machine, actor: &Actor| {
        let load = jobs::actor_load(&machine.rows, actor).unwrap();
        (load.open, load.reserved_mg)
    };
    assert_eq!(load(&machine, &actor()), (1, 120_000));
    for (state, expected) in [("Running", (1, 120_000)), ("Done", (0, 0))] {
        let by_bob = Envelope {
            actor: bob.clone(),
            ..machine.envelope(status("j1", state))
        };
        let outcome = machine.apply(&by_bob);
        assert!(matches!(outcome.response, Response::Accepted(_)));
        assert_eq!(load(&machine, &actor()), expected, "{state}");
        assert_eq!(load(&machine, &bob), (0, 0), "{state}");
        assert_eq!(stored(&machine, "j1").created_by, actor());
    }
}

#[test]
fn every_priority_has_its_place_in_the_queue() {
    let mut machine = Machine::with_shop();
    let mut given = [0, -1, i32::MIN, 7, i32::MAX, -7, 1];
    for priority in given {
        let command = CreateJob {
            priority,
            ..new_job(&priority.to_string(), 1)
        };
        machine.accept(Command::CreateJob(command));
        assert_eq!(stored(&machine, &priority.to_string()).priority, priority);
    }
    given.sort_unstable_by(|a, b| b.cmp(a));
    let expected: Vec<_> = given
        .map(|priority| JobId::new(priority.to_string()))
        .into();
    let queue = printers::queue(&machine.rows, &PrinterId::new("p1"), "Queued", 100).unwrap();
    assert_eq!(queue, expected);
    // It leaves the queue from its own place.
    machine.accept(status("-7", "Canceled"));
    let left: Vec<_> = expected
        .into_iter()
        .filter(|id| id.as_str() != "-7")
        .collect();
    let queue = printers::queue(&machine.rows, &PrinterId::new("p1"), "Queued", 100).unwrap();
    assert_eq!(queue, left);
}

#[test]
fn a_printer_and_a_filament_keep_every_field() {
    let mut machine = Machine::new();
    machine.accept(Command::CreatePrinter(CreatePrinter {
        id: Some(PrinterId::new("p1")),
        company: "HP".to_owned(),
        model: "X".to_owned(),
        labels: labels(),
        status: PrinterStatus::Maintenance,
    }));
    let Command::CreateFilament(spool) = filament("f1", 1_000) else {
        panic!()
    };
    machine.accept(Command::CreateFilament(CreateFilament {
        remaining: Some(grams(800)),
        vendor: Some("Acme".to_owned()),
        lot: Some("7".to_owned()),
        density_mg_per_cm3: Some(1_240),
        diameter_um: Some(1_750),
        ..spool
    }));
    let row = printers::get(&machine.rows, &PrinterId::new("p1"))
        .unwrap()
        .unwrap();
    assert_eq!((row.company.as_str(), row.model.as_str()), ("HP", "X"));
    assert_eq!(
        (row.labels, row.status),
        (labels(), PrinterStatus::Maintenance)
    );
    // A job takes from it: the rest stays.
    machine.accept(printer("p2"));
    machine.accept(Command::CreateJob(CreateJob {
        printer_id: PrinterId::new("p2"),
        ..new_job("j1", 100)
    }));
    machine.accept(status("j1", "Running"));
    machine.accept(status("j1", "Done"));
    let row = filaments::get(&machine.rows, &FilamentId::new("f1"))
        .unwrap()
        .unwrap();
    assert_eq!((row.material.as_str(), row.color.as_str()), ("PLA", "Red"));
    assert_eq!((row.total, row.remaining), (grams(1_000), grams(700)));
    let rest = (row.vendor.as_deref(), row.lot.as_deref());
    assert_eq!(rest, (Some("Acme"), Some("7")));
    let rest = (row.density_mg_per_cm3, row.diameter_um);
    assert_eq!(rest, (Some(1_240), Some(1_750)));
}

/// What policies are told of the creator is the creator's, whoever asks; the job itself is not counted.
#[test]
fn policies_see_the_load_of_the_job_s_creator() {
    let mut machine = Machine::with_shop();
    let by = |machine: &Machine, name: &str, command| {
        let actor = Actor {
            name: name.to_owned(),
            verified: true,
        };
        Envelope {
            actor,
            ..machine.envelope(command)
        }
    };
    let run = |machine: &mut Machine, name: &str, command| {
        let envelope = by(machine, name, command);
        let outcome = machine.apply(&envelope);
        assert!(
            matches!(outcome.response, Response::Accepted(_)),
            "{outcome:?}"
        );
        decisions::list(&machine.rows, Some(Revision(machine.index - 1)), 1)
            .unwrap()
            .remove(0)
            .input
    };
    let seen = |load: ActorView| (load.open_jobs, load.reserved_mg);
    let admitted = |input: &[u8]| {
        let input: AdmissionInput<'_> = minicbor::decode(input).unwrap();
        seen(input.creator)
    };
    let moved = |input: &[u8]| {
        let input: TransitionInput<'_> = minicbor::decode(input).unwrap();
        (
            seen(input.creator),
            input.job.labels.len(),
            input.job.priority,
        )
    };
    let input = run(&mut machine, "ann", Command::CreateJob(full_job("a1")));
    assert_eq!(admitted(&input), (0, 0));
    let input = run(&mut machine, "ann", job("a2", 30));
    assert_eq!(admitted(&input), (1, 120_000));
    let input = run(&mut machine, "bob", job("b1", 5));
    assert_eq!(admitted(&input), (0, 0), "ann's are not bob's");
    // Bob moves ann's job: her other job counts, and none of his.
    let input = run(&mut machine, "bob", status("a1", "Running"));
    assert_eq!(moved(&input), ((1, 30_000), 2, -7));
    let input = run(&mut machine, "bob", status("a2", "Running"));
    assert_eq!(moved(&input), ((1, 120_000), 0, 0));
}
