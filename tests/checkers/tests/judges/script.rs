//! Small histories by hand: one call after the other.

use raft3d_checkers::history::{
    Answer, Consistency, Facts, FilamentFacts, Finals, History, JobFacts, Op, Operation,
    PrinterFacts, RequestKey,
};
use raft3d_checkers::{Verdict, check_all};

/// A history under construction: revisions rise from write to write.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) history: History,
    pub(crate) revision: u64,
    pub(crate) finals: Finals,
}

impl Script {
    /// A shop with printer `p` and filament `f` that holds `grams` g.
    pub(crate) fn with(grams: u64) -> Self {
        let mut script = Self::default();
        let id = Some("p".to_owned());
        let row = Facts::Printer(PrinterFacts { id: "p".to_owned() });
        script.write((0, 1), Op::CreatePrinter { id }, row);
        let (total_mg, remaining_mg) = (grams * 1_000, grams * 1_000);
        let op = Op::CreateFilament {
            id: Some("f".to_owned()),
            total_mg,
            remaining_mg,
        };
        script.write((2, 3), op, filament(grams, grams, 0));
        script
    }

    pub(crate) fn push(&mut self, (invoked, returned): (u64, u64), op: Op, answer: Answer) {
        let number = self.history.operations.len();
        let id = format!("key-{number}");
        let request = op.is_write().then(|| RequestKey {
            actor: "a".to_owned(),
            id,
            attempt: 0,
        });
        let returned = Some(returned);
        let client = u32::try_from(number).unwrap();
        let node = Some(1);
        let operation = Operation {
            client,
            node,
            invoked,
            returned,
            request,
            op,
            answer,
        };
        self.history.operations.push(operation);
    }

    pub(crate) fn write(&mut self, times: (u64, u64), op: Op, facts: Facts) {
        self.revision += 1;
        let revision = self.revision;
        self.push(times, op, Answer::accepted(revision, facts));
    }

    pub(crate) fn read(&mut self, times: (u64, u64), op: Op, facts: Facts) {
        let revision = self.revision;
        self.push(times, op, Answer::accepted(revision, facts));
    }

    pub(crate) fn check(&self) -> Verdict {
        check_all(&self.history, &self.finals)
    }

    #[track_caller]
    pub(crate) fn is_right(&self) {
        let verdict = self.check();
        assert!(
            verdict.is_good() && verdict.undecided.is_empty(),
            "{verdict}"
        );
    }

    #[track_caller]
    pub(crate) fn is_blamed_by(&self, judge: &str) {
        let verdict = self.check();
        assert!(
            verdict.blames(judge),
            "{judge} saw nothing wrong\n{verdict}"
        );
    }
}

pub(crate) fn filament(total: u64, remaining: u64, reserved: u64) -> Facts {
    Facts::Filament(FilamentFacts {
        id: "f".to_owned(),
        total_mg: total * 1_000,
        remaining_mg: remaining * 1_000,
        reserved_mg: reserved * 1_000,
    })
}

pub(crate) fn job(id: &str, grams: u64, status: &str, revision: u64) -> JobFacts {
    JobFacts {
        id: id.to_owned(),
        printer: "p".to_owned(),
        filament: "f".to_owned(),
        weight_mg: grams * 1_000,
        status: status.to_owned(),
        deducted_mg: if status == "Done" { grams * 1_000 } else { 0 },
        tag: format!("/{id}"),
        revision,
        ..JobFacts::default()
    }
}

pub(crate) fn create(id: &str, grams: u64) -> Op {
    Op::CreateJob {
        id: Some(id.to_owned()),
        printer: "p".to_owned(),
        filament: "f".to_owned(),
        weight_mg: grams * 1_000,
        priority: 0,
        tag: format!("/{id}"),
    }
}

pub(crate) fn set(job: &str, to: &str) -> Op {
    let (job, to) = (job.to_owned(), to.to_owned());
    Op::SetStatus {
        job,
        to,
        used_mg: None,
        wants_override: false,
    }
}

pub(crate) fn read_filament() -> Op {
    let consistency = Consistency::Linearizable;
    Op::ReadFilament {
        filament: "f".to_owned(),
        consistency,
    }
}

pub(crate) fn read_job(job: &str) -> Op {
    Op::ReadJob {
        job: job.to_owned(),
        consistency: Consistency::Linearizable,
    }
}

/// A job `j` of 60 g that runs, known since time 13.
pub(crate) fn running() -> Script {
    let mut script = Script::with(100);
    script.write(
        (10, 11),
        create("j", 60),
        Facts::Job(job("j", 60, "Queued", 3)),
    );
    script.write(
        (12, 13),
        set("j", "Running"),
        Facts::Job(job("j", 60, "Running", 4)),
    );
    script
}
