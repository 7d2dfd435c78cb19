//! The engine's rows and answers in the terms of histories.

use raft3d_checkers::history::{
    Answer, DecisionFacts, EventFacts, Facts, FilamentFacts, JobFacts, LedgerFacts, NodeFinals,
    PrinterFacts,
};
use raft3d_core::event::Event;
use raft3d_core::ids::EventId;
use raft3d_core::state::jobs::{self, JobFilter};
use raft3d_core::state::rulesets::{self, RulesetRevision};
use raft3d_core::state::window::ResumeError;
use raft3d_core::state::{decisions, events, filaments, ledger, printers, rows::ReadRows};
use raft3d_core::{Accepted, FilamentId, JobId, PrinterId, Response, Revision};
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
            .map(|job| Facts::Job(JobFacts::from(&job))),
        Query::Filament(id) => filaments::get(rows, &FilamentId::new(id.clone()))
            .expect("the row is readable")
            .map(|filament| Facts::Filament(FilamentFacts::from(&filament))),
        Query::Printer(id) => printers::get(rows, &PrinterId::new(id.clone()))
            .expect("the row is readable")
            .map(|printer| Facts::Printer(PrinterFacts::from(&printer))),
        Query::Ruleset => rulesets::active(rows)
            .expect("the row is readable")
            .map(|active| Facts::Ruleset(ruleset_name(&active))),
        Query::Jobs => Some(Facts::Jobs(all_jobs(rows))),
        Query::Events(after) => {
            let after = after.map(|(revision, sequence)| EventId {
                revision: Revision(revision),
                sequence,
            });
            let events = match events::list(rows, after, EVENTS_READ_MAX) {
                Ok(events) => events,
                // A reader that is too late begins anew with the oldest that is kept.
                Err(ResumeError::Gone(_)) => {
                    events::list(rows, None, EVENTS_READ_MAX).expect("events are readable")
                }
                Err(ResumeError::Fault(fault)) => panic!("events are readable: {fault}"),
            };
            Some(Facts::Events(events.iter().map(EventFacts::from).collect()))
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
        found.extend(page.jobs.iter().map(JobFacts::from));
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

/// The reason that the bootstrap's ruleset has.
const BOOTSTRAP_REASON: &str = "bootstrap";

/// The word that an activation had; empty for the bootstrap's.
fn ruleset_name(active: &RulesetRevision) -> String {
    let named = active.reason.clone();
    named
        .filter(|reason| reason != BOOTSTRAP_REASON)
        .unwrap_or_default()
}

/// What came of a write.
pub(crate) fn write_answer(written: Result<WriteOutcome, WriteError>) -> Answer {
    match written {
        Ok(WriteOutcome {
            revision,
            replayed,
            response,
            ..
        }) => {
            let active = match &response {
                Response::Accepted(Accepted::Ruleset(active)) => ruleset_name(active),
                _ => String::new(),
            };
            Answer::of_write(revision.0, replayed, &response, &active)
        }
        Err(WriteError::OutcomeUnknown { .. }) => Answer::Unknown,
        Err(_) => Answer::Never,
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
            let facts = page.iter();
            lines.extend(facts.map(|line| LedgerFacts::new(&filament.id, line)));
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
        printers: Some(printers.iter().map(PrinterFacts::from).collect()),
        filaments: Some(filaments.iter().map(FilamentFacts::from).collect()),
        jobs: Some(all_jobs(rows)),
        ledger: Some(lines),
        events: Some(kept.iter().map(EventFacts::from).collect()),
        events_deleted_to: deleted_to.map(|revision| (revision.0, u32::MAX)),
        decisions: Some(all_decisions(rows)),
    }
}

fn all_decisions(rows: &dyn ReadRows) -> Vec<DecisionFacts> {
    let mut kept: Vec<DecisionFacts> = Vec::new();
    loop {
        let after = kept.last().map(|record| Revision(record.revision));
        let page = decisions::list(rows, after, PAGE_ROWS).expect("decisions are readable");
        if page.is_empty() {
            return kept;
        }
        kept.extend(page.iter().map(DecisionFacts::from));
    }
}
