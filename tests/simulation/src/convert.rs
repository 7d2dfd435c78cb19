//! The engine's rows and answers in the terms of histories.

use raft3d_checkers::history::{
    Answer, EventFacts, EventWhat, Facts, FilamentFacts, JobFacts, LedgerFacts, LedgerWay,
    NodeFinals, PrinterFacts, Refusal,
};
use raft3d_core::event::{Event, EventKind};
use raft3d_core::ids::EventId;
use raft3d_core::state::filaments::{self, Filament};
use raft3d_core::state::jobs::{self, Job, JobFilter};
use raft3d_core::state::ledger::{self, LedgerEntry, LedgerKind};
use raft3d_core::state::printers::{self, Printer};
use raft3d_core::state::rulesets::{self, RulesetRevision};
use raft3d_core::state::{events, rows::ReadRows};
use raft3d_core::{
    Accepted, FilamentId, JobId, PrinterId, Rejection, RejectionKind, Response, Revision,
};
use raft3d_engine::raft::api::{WriteError, WriteOutcome};
use raft3d_engine::raft::machine::StateHandle;

use crate::client::Query;

/// Rows that are read at once.
const PAGE_ROWS: usize = 1_000;
/// Events that one read of a client answers at most.
const EVENTS_READ_MAX: usize = 200;

/// What a read shows.
pub(crate) fn answer(rows: &dyn ReadRows, query: &Query) -> Facts {
    let shown = match query {
        Query::Job(id) => jobs::get(rows, &JobId::new(id.clone()))
            .expect("the row is readable")
            .map(|job| Facts::Job(job_facts(&job))),
        Query::Filament(id) => filaments::get(rows, &FilamentId::new(id.clone()))
            .expect("the row is readable")
            .map(|filament| Facts::Filament(filament_facts(&filament))),
        Query::Printer(id) => printers::get(rows, &PrinterId::new(id.clone()))
            .expect("the row is readable")
            .map(|printer| Facts::Printer(printer_facts(&printer))),
        Query::Ruleset => rulesets::active(rows)
            .expect("the row is readable")
            .map(|active| Facts::Ruleset(ruleset_name(&active))),
        Query::Jobs => Some(Facts::Jobs(all_jobs(rows))),
        Query::Events(after) => {
            let after = after.map(|(revision, sequence)| EventId {
                revision: Revision(revision),
                sequence,
            });
            let events = events::list(rows, after, EVENTS_READ_MAX).expect("events are readable");
            Some(Facts::Events(events.iter().map(event_facts).collect()))
        }
    };
    shown.unwrap_or(Facts::Absent)
}

fn all_jobs(rows: &dyn ReadRows) -> Vec<JobFacts> {
    let filter = JobFilter::default();
    let mut after: Option<JobId> = None;
    let mut found = Vec::new();
    loop {
        let page = jobs::list(rows, &filter, after.as_ref(), PAGE_ROWS).expect("jobs are readable");
        found.extend(page.jobs.iter().map(job_facts));
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

/// The word that an activation had; empty for the bootstrap's.
fn ruleset_name(active: &RulesetRevision) -> String {
    active.reason.clone().unwrap_or_default()
}

fn printer_facts(printer: &Printer) -> PrinterFacts {
    PrinterFacts {
        id: printer.id.to_string(),
    }
}

fn filament_facts(filament: &Filament) -> FilamentFacts {
    FilamentFacts {
        id: filament.id.to_string(),
        total_mg: filament.total.mg(),
        remaining_mg: filament.remaining.mg(),
        reserved_mg: filament.reserved.mg(),
    }
}

fn job_facts(job: &Job) -> JobFacts {
    JobFacts {
        id: job.id.to_string(),
        printer: job.printer_id.to_string(),
        filament: job.filament_id.to_string(),
        weight_mg: job.print_weight.mg(),
        status: job.state.name.clone(),
        priority: job.priority,
        deducted_mg: job.deducted.mg(),
        tag: job.filepath.clone(),
        revision: job.revision.0,
        stamps_ms: Some((job.created_at_ms, job.updated_at_ms)),
    }
}

fn event_facts(event: &Event) -> EventFacts {
    let what = match &event.kind {
        EventKind::PrinterCreated(id) => EventWhat::PrinterCreated(id.to_string()),
        EventKind::FilamentCreated(id) => EventWhat::FilamentCreated(id.to_string()),
        EventKind::JobCreated(id) => EventWhat::JobCreated(id.to_string()),
        EventKind::JobStatusChanged { id, from, to } => EventWhat::JobStatusChanged {
            job: id.to_string(),
            from: from.clone(),
            to: to.clone(),
        },
        EventKind::FilamentDeducted { id, job, amount } => EventWhat::FilamentDeducted {
            filament: id.to_string(),
            job: job.to_string(),
            amount_mg: amount.mg(),
        },
        EventKind::ModuleUploaded(module) => EventWhat::ModuleUploaded(module.to_string()),
        EventKind::RulesetActivated(revision) => EventWhat::RulesetActivated(revision.0),
        other => EventWhat::Other(format!("{other:?}")),
    };
    EventFacts {
        revision: event.id.revision.0,
        sequence: event.id.sequence,
        at_ms: event.at_ms,
        what,
    }
}

fn ledger_facts(filament: &str, line: &LedgerEntry) -> LedgerFacts {
    LedgerFacts {
        filament: filament.to_owned(),
        revision: line.revision.0,
        way: match line.kind {
            LedgerKind::Loaded => LedgerWay::Loaded,
            LedgerKind::Deducted => LedgerWay::Deducted,
            LedgerKind::AdjustedUp => LedgerWay::AdjustedUp,
            LedgerKind::AdjustedDown => LedgerWay::AdjustedDown,
        },
        amount_mg: line.amount.mg(),
        job: line.job.as_ref().map(ToString::to_string),
    }
}

/// What came of a write.
pub(crate) fn write_answer(written: Result<WriteOutcome, WriteError>) -> Answer {
    match written {
        Ok(outcome) => {
            let (revision, replayed) = (outcome.revision.0, outcome.replayed);
            match outcome.response {
                Response::Accepted(accepted) => Answer::Accepted {
                    revision,
                    replayed,
                    facts: accepted_facts(&accepted),
                },
                Response::Rejected(rejection) => Answer::Rejected {
                    why: refusal(&rejection),
                    code: rejection.policy.map(|policy| policy.code),
                    revision: Some(revision),
                    replayed,
                },
            }
        }
        Err(WriteError::OutcomeUnknown { .. }) => Answer::Unknown,
        Err(_) => Answer::Never,
    }
}

fn accepted_facts(accepted: &Accepted) -> Facts {
    match accepted {
        Accepted::Printer(printer) => Facts::Printer(printer_facts(printer)),
        Accepted::Filament(filament) => Facts::Filament(filament_facts(filament)),
        Accepted::Job(job) => Facts::Job(job_facts(job)),
        Accepted::Ruleset(active) => Facts::Ruleset(ruleset_name(active)),
        _ => Facts::None,
    }
}

fn refusal(rejection: &Rejection) -> Refusal {
    match rejection.kind {
        RejectionKind::InvalidField => Refusal::InvalidField,
        RejectionKind::NotFound => Refusal::NotFound,
        RejectionKind::AlreadyExists => Refusal::AlreadyExists,
        RejectionKind::UnknownReference => Refusal::UnknownReference,
        RejectionKind::UnknownState => Refusal::UnknownState,
        RejectionKind::IllegalTransition => Refusal::IllegalTransition,
        RejectionKind::PolicyDenied => Refusal::PolicyDenied,
        RejectionKind::PolicyFailed => Refusal::PolicyFailed,
        RejectionKind::DeductionExceedsRemaining => Refusal::DeductionExceedsRemaining,
        RejectionKind::ReservationExceedsAvailable => Refusal::ReservationExceedsAvailable,
        RejectionKind::RevisionMismatch => Refusal::RevisionMismatch,
        RejectionKind::RequestMismatch => Refusal::RequestMismatch,
        RejectionKind::DeadlineExceeded => Refusal::DeadlineExceeded,
        RejectionKind::TooManyRequests => Refusal::TooManyRequests,
        RejectionKind::NotBootstrapped => Refusal::NotBootstrapped,
        other => Refusal::Other(format!("{other:?}")),
    }
}

/// Everything that a node holds.
pub(crate) fn finals(node: u64, machine: &StateHandle) -> NodeFinals {
    let view = machine.view();
    let rows: &dyn ReadRows = &view;
    let filaments = filaments::list(rows, None, PAGE_ROWS).expect("filaments are readable");
    let mut lines = Vec::new();
    for filament in &filaments {
        let mut after = None;
        loop {
            let page = ledger::list(rows, &filament.id, after, PAGE_ROWS);
            let page = page.expect("the ledger is readable");
            let id = filament.id.as_str();
            lines.extend(page.iter().map(|line| ledger_facts(id, line)));
            match page.last() {
                Some(last) if page.len() == PAGE_ROWS => after = Some(last.revision),
                _ => break,
            }
        }
    }
    let printers = printers::list(rows, None, PAGE_ROWS).expect("printers are readable");
    let mut kept = Vec::new();
    loop {
        let after = kept.last().map(|event: &Event| event.id);
        let page = events::list(rows, after, PAGE_ROWS).expect("events are readable");
        let whole = page.len() == PAGE_ROWS;
        kept.extend(page);
        if !whole {
            break;
        }
    }
    let deleted_to = events::deleted_to(rows).expect("the window is readable");
    NodeFinals {
        node,
        applied: view.revision().0,
        digest: view.digest().to_string(),
        checkpoints: machine
            .checkpoints()
            .iter()
            .map(|c| (c.index.0, c.digest.to_string()))
            .collect(),
        printers: Some(printers.iter().map(printer_facts).collect()),
        filaments: Some(filaments.iter().map(filament_facts).collect()),
        jobs: Some(all_jobs(rows)),
        ledger: Some(lines),
        events: Some(kept.iter().map(event_facts).collect()),
        events_deleted_to: deleted_to.map(|id| (id.revision.0, id.sequence)),
    }
}
