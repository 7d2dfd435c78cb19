//! Facts from the engine's rows, for programs that hold them: the only place here that knows a type
//! of the engine.

use raft3d_core::event::{Event, EventKind};
use raft3d_core::rejection::RejectionKind;
use raft3d_core::state::decisions::{DecisionRecord, Verdict};
use raft3d_core::state::filaments::Filament;
use raft3d_core::state::jobs::Job;
use raft3d_core::state::ledger::{LedgerEntry, LedgerKind};
use raft3d_core::state::printers::Printer;
use raft3d_core::state::rulesets::Mode;
use raft3d_core::{Accepted, FilamentId, Response};

use crate::history::{
    Answer, DecisionFacts, EventFacts, EventWhat, Facts, FilamentFacts, JobFacts, LedgerFacts,
    LedgerWay, PrinterFacts, Refusal,
};

impl From<&Printer> for PrinterFacts {
    fn from(row: &Printer) -> Self {
        Self {
            id: row.id.as_str().to_owned(),
        }
    }
}

impl From<&Filament> for FilamentFacts {
    fn from(row: &Filament) -> Self {
        Self {
            id: row.id.as_str().to_owned(),
            total_mg: row.total.mg(),
            remaining_mg: row.remaining.mg(),
            reserved_mg: row.reserved.mg(),
        }
    }
}

impl From<&Job> for JobFacts {
    fn from(row: &Job) -> Self {
        Self {
            id: row.id.as_str().to_owned(),
            printer: row.printer_id.as_str().to_owned(),
            filament: row.filament_id.as_str().to_owned(),
            weight_mg: row.print_weight.mg(),
            status: row.state.name.clone(),
            priority: row.priority,
            deducted_mg: row.deducted.mg(),
            tag: row.filepath.clone(),
            revision: row.revision.0,
            stamps_ms: Some((row.created_at_ms, row.updated_at_ms)),
        }
    }
}

impl From<&DecisionRecord> for DecisionFacts {
    fn from(row: &DecisionRecord) -> Self {
        let enforced = || {
            row.decisions
                .iter()
                .filter(|said| said.mode == Mode::Enforce)
        };
        Self {
            revision: row.revision.0,
            epoch: row.epoch,
            job: row.job.as_str().to_owned(),
            denied: enforced().find_map(|said| match &said.verdict {
                Verdict::Deny { code, .. } => Some(code.clone()),
                Verdict::Failed(error) => Some(error.code().to_owned()),
                _ => None,
            }),
            taken_mg: enforced().find_map(|said| match &said.verdict {
                Verdict::Take { grams, .. } => Some(grams.mg()),
                _ => None,
            }),
        }
    }
}

impl LedgerFacts {
    /// A line of that filament's ledger.
    #[must_use]
    pub fn new(filament: &FilamentId, line: &LedgerEntry) -> Self {
        Self {
            filament: filament.as_str().to_owned(),
            revision: line.revision.0,
            way: match line.kind {
                LedgerKind::Loaded => LedgerWay::Loaded,
                LedgerKind::Deducted => LedgerWay::Deducted,
                LedgerKind::AdjustedUp => LedgerWay::AdjustedUp,
                LedgerKind::AdjustedDown => LedgerWay::AdjustedDown,
            },
            amount_mg: line.amount.mg(),
            job: line.job.as_ref().map(|job| job.as_str().to_owned()),
        }
    }
}

impl From<&Event> for EventFacts {
    fn from(event: &Event) -> Self {
        Self {
            revision: event.id.revision.0,
            sequence: event.id.sequence,
            at_ms: event.at_ms,
            what: EventWhat::from(&event.kind),
        }
    }
}

impl From<&EventKind> for EventWhat {
    fn from(kind: &EventKind) -> Self {
        match kind {
            EventKind::PrinterCreated(id) => Self::PrinterCreated(id.to_string()),
            EventKind::FilamentCreated(id) => Self::FilamentCreated(id.to_string()),
            EventKind::JobCreated(id) => Self::JobCreated(id.to_string()),
            EventKind::JobStatusChanged { id, from, to } => Self::JobStatusChanged {
                job: id.to_string(),
                from: from.clone(),
                to: to.clone(),
            },
            EventKind::FilamentDeducted { id, job, amount } => Self::FilamentDeducted {
                filament: id.to_string(),
                job: job.to_string(),
                amount_mg: amount.mg(),
            },
            EventKind::ModuleUploaded(digest) => Self::ModuleUploaded(digest.to_string()),
            EventKind::RulesetActivated(revision) => Self::RulesetActivated(revision.0),
            other => Self::Other(format!("{other:?}")),
        }
    }
}

impl From<&RejectionKind> for Refusal {
    fn from(kind: &RejectionKind) -> Self {
        match kind {
            RejectionKind::InvalidField => Self::InvalidField,
            RejectionKind::NotFound => Self::NotFound,
            RejectionKind::AlreadyExists => Self::AlreadyExists,
            RejectionKind::UnknownReference => Self::UnknownReference,
            RejectionKind::UnknownState => Self::UnknownState,
            RejectionKind::IllegalTransition => Self::IllegalTransition,
            RejectionKind::PolicyDenied => Self::PolicyDenied,
            RejectionKind::PolicyFailed => Self::PolicyFailed,
            RejectionKind::DeductionExceedsRemaining => Self::DeductionExceedsRemaining,
            RejectionKind::ReservationExceedsAvailable => Self::ReservationExceedsAvailable,
            RejectionKind::RevisionMismatch => Self::RevisionMismatch,
            RejectionKind::RequestMismatch => Self::RequestMismatch,
            RejectionKind::DeadlineExceeded => Self::DeadlineExceeded,
            RejectionKind::TooManyRequests => Self::TooManyRequests,
            RejectionKind::KeyTooOld => Self::KeyTooOld,
            RejectionKind::NotBootstrapped => Self::NotBootstrapped,
            other => Self::Other(format!("{other:?}")),
        }
    }
}

impl Answer {
    /// The answer to a write that was applied at `revision`. `active`: the name of the ruleset that
    /// the write activated, if it did.
    #[must_use]
    pub fn of_write(revision: u64, replayed: bool, response: &Response, active: &str) -> Self {
        match response {
            Response::Accepted(accepted) => Self::Accepted {
                revision,
                replayed,
                facts: match accepted {
                    Accepted::Printer(row) => Facts::Printer(row.into()),
                    Accepted::Filament(row) => Facts::Filament(row.into()),
                    Accepted::Job(row) => Facts::Job(row.into()),
                    Accepted::Ruleset(_) => Facts::Ruleset(active.to_owned()),
                    Accepted::Module(..) | Accepted::ModuleDeleted(_) | Accepted::Done => {
                        Facts::None
                    }
                },
            },
            Response::Rejected(rejection) => {
                let policy = rejection.policy.as_ref();
                // The API shows a denial of this class as the engine's own refusal.
                let illegal = policy
                    .is_some_and(|policy| policy.class == raft3d_sdk::DenyClass::IllegalTransition);
                Self::Rejected {
                    why: if illegal {
                        Refusal::IllegalTransition
                    } else {
                        Refusal::from(&rejection.kind)
                    },
                    code: policy.map(|policy| policy.code.clone()),
                    revision: Some(revision),
                    replayed,
                }
            }
        }
    }
}
