//! Printers and filaments that were asked for and nobody was told of: they may be there or not, but
//! they are there as they were asked for, and do not go away again.

use raft3d_checkers::history::{
    Answer, Consistency, Facts, FilamentFacts, JobFacts, NodeFinals, Op, PrinterFacts,
};
use raft3d_checkers::{linearizable, replay};

use crate::script::{Script, create, job, running};

const ID: &str = "x";

fn create_printer() -> Op {
    let id = Some(ID.to_owned());
    Op::CreatePrinter { id }
}

fn printer() -> PrinterFacts {
    PrinterFacts { id: ID.to_owned() }
}

fn create_filament(grams: u64) -> Op {
    Op::CreateFilament {
        id: Some(ID.to_owned()),
        total_mg: grams * 1_000,
        remaining_mg: grams * 1_000,
    }
}

fn filament(total: u64, remaining: u64, reserved: u64) -> FilamentFacts {
    FilamentFacts {
        id: ID.to_owned(),
        total_mg: total * 1_000,
        remaining_mg: remaining * 1_000,
        reserved_mg: reserved * 1_000,
    }
}

/// A job on printer and filament `x`.
fn own_job(grams: u64, status: &str, revision: u64) -> JobFacts {
    JobFacts {
        printer: ID.to_owned(),
        filament: ID.to_owned(),
        ..job("k", grams, status, revision)
    }
}

fn create_own_job(grams: u64) -> Op {
    match create("k", grams) {
        Op::CreateJob {
            id,
            weight_mg,
            priority,
            tag,
            ..
        } => Op::CreateJob {
            id,
            printer: ID.to_owned(),
            filament: ID.to_owned(),
            weight_mg,
            priority,
            tag,
        },
        other => other,
    }
}

impl Script {
    /// Reads printer `x`.
    fn sees_printer(&mut self, times: (u64, u64), is_there: bool) {
        let consistency = Consistency::Linearizable;
        let read = Op::ReadPrinter {
            printer: ID.to_owned(),
            consistency,
        };
        let facts = if is_there {
            Facts::Printer(printer())
        } else {
            Facts::Absent
        };
        self.read(times, read, facts);
    }

    /// Reads filament `x`.
    fn sees_filament(&mut self, times: (u64, u64), row: Option<FilamentFacts>) {
        let consistency = Consistency::Linearizable;
        let read = Op::ReadFilament {
            filament: ID.to_owned(),
            consistency,
        };
        self.read(times, read, row.map_or(Facts::Absent, Facts::Filament));
    }

    /// A dump with only these in it.
    fn ends_with(&mut self, printers: Vec<PrinterFacts>, filaments: Vec<FilamentFacts>) {
        self.finals.push(NodeFinals {
            node: 1,
            applied: self.revision + 1,
            digest: "aa".to_owned(),
            printers: Some(printers),
            filaments: Some(filaments),
            ..NodeFinals::default()
        });
    }

    #[track_caller]
    fn is_fine_for(&self, judge: &str) {
        let verdict = self.check();
        assert!(!verdict.blames(judge), "{verdict}");
    }
}

/// Where the nodes' events were not collected, only the dump tells that it happened.
#[test]
fn a_dump_may_show_a_printer_that_nobody_was_told_of() {
    for (answer, is_fine) in [(Answer::Unknown, true), (Answer::Never, false)] {
        let mut script = running();
        script.push((20, 21), create_printer(), answer.clone());
        let mut printers = vec![printer()];
        printers.insert(0, PrinterFacts { id: "p".to_owned() });
        let mut own = filament(100, 100, 60);
        own.id = "f".to_owned();
        script.ends_with(printers, vec![own]);
        let verdict = script.check();
        assert_eq!(verdict.blames(replay::JUDGE), !is_fine, "{verdict}");
    }
    // Not another one, either.
    let mut script = running();
    script.push((20, 21), create_printer(), Answer::Unknown);
    script.ends_with(vec![PrinterFacts { id: "y".to_owned() }], Vec::new());
    script.is_blamed_by(replay::JUDGE);
}

#[test]
fn a_printer_that_nobody_was_told_of_comes_once_and_stays() {
    let mut script = running();
    script.push((20, 21), create_printer(), Answer::Unknown);
    script.sees_printer((30, 31), false);
    script.revision += 2;
    script.sees_printer((40, 41), true);
    script.is_right();
    script.revision += 1;
    script.sees_printer((50, 51), false);
    script.is_blamed_by(linearizable::JUDGE);
    script.is_blamed_by(replay::JUDGE);
}

#[test]
fn a_filament_that_nobody_was_told_of_is_as_it_was_asked_for() {
    let asked = || {
        let mut script = running();
        script.push((20, 21), create_filament(50), Answer::Unknown);
        script.sees_filament((30, 31), None);
        script.revision += 2;
        script
    };
    let mut script = asked();
    script.sees_filament((40, 41), Some(filament(50, 50, 0)));
    script.is_right();
    let mut script = asked();
    script.sees_filament((40, 41), Some(filament(60, 60, 0)));
    script.is_blamed_by(linearizable::JUDGE);
    script.is_blamed_by(replay::JUDGE);
    let mut script = asked();
    script.sees_filament((40, 41), Some(filament(50, 50, 0)));
    script.revision += 1;
    script.sees_filament((50, 51), None);
    script.is_blamed_by(linearizable::JUDGE);
    script.is_blamed_by(replay::JUDGE);
}

/// Nobody reads them before they are used, and what is done to them is counted all the same.
#[test]
fn a_job_shows_that_its_printer_and_filament_are_there() {
    let used = |remaining| {
        let mut script = running();
        script.push((20, 21), create_printer(), Answer::Unknown);
        script.push((20, 21), create_filament(50), Answer::Unknown);
        script.revision += 2;
        let facts = Facts::Job(own_job(20, "Queued", 7));
        script.write((30, 31), create_own_job(20), facts);
        script.sees_filament((40, 41), Some(filament(50, 50, 20)));
        for (at, status) in [(50, "Running"), (52, "Done")] {
            let facts = Facts::Job(own_job(20, status, script.revision + 1));
            script.write((at, at + 1), crate::script::set("k", status), facts);
        }
        script.sees_filament((60, 61), Some(filament(50, remaining, 0)));
        script.sees_printer((62, 63), true);
        script
    };
    used(30).is_right();
    for judge in [linearizable::JUDGE, replay::JUDGE] {
        used(10).is_blamed_by(judge);
    }
}

/// Two requests for one id: which of them it was, the row may not tell.
#[test]
fn of_two_requests_for_one_filament_either_may_have_made_it() {
    for grams in [50, 70] {
        let mut script = running();
        script.push((20, 21), create_filament(50), Answer::Unknown);
        script.push((20, 21), create_filament(70), Answer::Unknown);
        script.sees_filament((40, 41), Some(filament(grams, grams, 0)));
        script.is_fine_for(replay::JUDGE);
    }
}
