//! The default rules of a print shop as the judges know them: written from their description, not
//! from the policies' code.
//!
//! Queued -> Running; Running -> Done; Queued or Running -> Canceled. Done takes what was reported
//! as used, or else what of the print weight was not taken yet; Canceled takes only what was
//! reported. Open jobs reserve what they may still need.

use crate::history::{FilamentFacts, JobFacts, Op};

/// The state that jobs start in.
pub(crate) const INITIAL: &str = "Queued";
/// The state that a claimed job enters.
pub(crate) const CLAIMED: &str = "Running";
const DONE: &str = "Done";
const CANCELED: &str = "Canceled";

/// Whether a job may go from one state to the other.
pub(crate) fn may_move(from: &str, to: &str) -> bool {
    matches!(
        (from, to),
        (INITIAL, CLAIMED) | (CLAIMED, DONE) | (INITIAL | CLAIMED, CANCELED)
    )
}

/// Whether no job leaves the state.
pub(crate) fn is_terminal(state: &str) -> bool {
    matches!(state, DONE | CANCELED)
}

/// What entering the state takes, in milligrams.
pub(crate) fn takes(job: &JobFacts, to: &str, used_mg: Option<u64>) -> u64 {
    match to {
        DONE => used_mg.unwrap_or(job.weight_mg.saturating_sub(job.deducted_mg)),
        CANCELED => used_mg.unwrap_or(0),
        _ => 0,
    }
}

/// What a job reserves, in milligrams.
pub(crate) fn reserves(job: &JobFacts) -> u64 {
    if is_terminal(&job.status) {
        0
    } else {
        job.weight_mg.saturating_sub(job.deducted_mg)
    }
}

/// What a new job may reserve of a filament, in milligrams.
pub(crate) fn available(filament: &FilamentFacts) -> u64 {
    filament.remaining_mg.saturating_sub(filament.reserved_mg)
}

/// The code with which the default policy refuses a job that is too heavy.
pub(crate) const TOO_HEAVY: &str = "weight_exceeds_available";

/// A job without what does not come from its requests: revision and times.
pub(crate) fn plain(job: &JobFacts) -> JobFacts {
    JobFacts {
        revision: 0,
        stamps_ms: None,
        ..job.clone()
    }
}

/// The job that a request to make one makes, under that id.
pub(crate) fn created(op: &Op, id: &str) -> Option<JobFacts> {
    let Op::CreateJob {
        printer,
        filament,
        weight_mg,
        priority,
        tag,
        ..
    } = op
    else {
        return None;
    };
    Some(JobFacts {
        id: id.to_owned(),
        printer: printer.clone(),
        filament: filament.clone(),
        weight_mg: *weight_mg,
        status: INITIAL.to_owned(),
        priority: *priority,
        deducted_mg: 0,
        tag: tag.clone(),
        revision: 0,
        stamps_ms: None,
    })
}

/// The job in its next state; none where it cannot go there.
pub(crate) fn moved(job: &JobFacts, to: &str, used_mg: Option<u64>) -> Option<JobFacts> {
    may_move(&job.status, to).then(|| JobFacts {
        status: to.to_owned(),
        deducted_mg: job.deducted_mg.saturating_add(takes(job, to, used_mg)),
        ..job.clone()
    })
}
