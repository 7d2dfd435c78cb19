//! `SetJobStatus`: moves a job to another state, if the policies allow it, and takes the filament
//! that they say.
//!
//! A *stranded* job is in a state that the active lifecycle does not know, because a ruleset was
//! activated by force. No transition policy can be expected to know that state, so an operator may
//! move such a job by override to a terminal state of the active lifecycle: transition policies are
//! then not asked. Deduction policies are, and every other invariant holds. In all other cases
//! `override` is only passed on to the policies, which decide what it means.

use raft3d_sdk::{Grams, Hook, Lifecycle, Reported, State, TransitionInput};

use super::create_job::{check_reservation, entered, unknown_state};
use super::policies::Panel;
use super::tx::{Done, Stop, Tx};
use super::views;
use crate::command::{SetJobStatus, check};
use crate::error::LocalFault;
use crate::event::EventKind;
use crate::limits::ID_BYTES_MAX;
use crate::outcome::Accepted;
use crate::policy::PolicyHost;
use crate::rejection::{Rejection, RejectionKind};
use crate::state::filaments::{self, Filament};
use crate::state::jobs::{self, Job};
use crate::state::ledger::{self, LedgerEntry, LedgerKind};
use crate::state::printers;
use crate::state::rulesets::RulesetRevision;

pub(super) fn run(tx: &mut Tx<'_>, command: &SetJobStatus, host: &dyn PolicyHost) -> Done {
    check::set_job_status(command)?;
    let job = jobs::get(&tx.rows, &command.id)?.ok_or_else(|| {
        let message = match command.id.as_str() {
            // What is stored is bounded: an id that no job can have is not repeated.
            id if id.len() > ID_BYTES_MAX => {
                "there is no print job with an id of that length".into()
            }
            id => format!("there is no print job '{id}'"),
        };
        Rejection::new(RejectionKind::NotFound, message)
    })?;
    let active = tx.ruleset()?;
    let stranded = !active
        .lifecycle
        .states
        .iter()
        .any(|state| is_same(state, &job));
    match move_job(tx, command, &job, &active, stranded, host) {
        Err(Stop::Rejected(rejection)) if stranded => {
            Err(way_out(*rejection, &job, &active.lifecycle).into())
        }
        done => done,
    }
}

fn move_job(
    tx: &mut Tx<'_>,
    command: &SetJobStatus,
    job: &Job,
    active: &RulesetRevision,
    stranded: bool,
    host: &dyn PolicyHost,
) -> Done {
    let to = active.lifecycle.find(&command.status);
    let to = to.ok_or_else(|| unknown_state(&active.lifecycle, &command.status))?;
    check_move(job, to)?;
    let (printer, filament) = tx.parts_of_job(&job.printer_id, &job.filament_id)?;

    let input = TransitionInput {
        now_ms: tx.now_ms(),
        actor: &tx.actor.name,
        job: views::job(job),
        printer: views::printer(&printer, printers::load(&tx.rows, &printer.id)?, Some(job)),
        filament: views::filament(&filament, Some(job)),
        to: &to.name,
        reported: Reported {
            used: command.used,
            reason: command.reason.as_deref(),
            wants_override: command.wants_override,
        },
        creator: views::actor(jobs::actor_load(&tx.rows, &job.created_by)?, Some(job)),
    };
    tx.recorder.question(&job.id, active, &input)?;
    let panel = Panel {
        host,
        rows: &tx.rows,
        recorder: &tx.recorder,
        gas: &tx.gas,
        ruleset: &active.ruleset,
        job: &job.id,
        printer_labels: &printer.labels,
        material: &filament.material,
    };
    let asks_rules = !(stranded && command.wants_override && to.terminal);
    if asks_rules && panel.rule(Hook::Transition)? == 0 {
        return Err(no_policy_bound().into());
    }
    let (taken, why) = panel.deduction()?.unwrap_or_default();
    let (moved, left) = moved(tx, job, to, &filament, taken)?;
    let mut verdicts = if asks_rules {
        panel.shadow_rule(Hook::Transition)?
    } else {
        Vec::new()
    };
    verdicts.extend(panel.shadow_deduction(taken)?);

    jobs::put(&mut tx.rows, &moved, Some(job))?;
    tx.emit(EventKind::JobStatusChanged {
        id: job.id.clone(),
        from: job.state.name.clone(),
        to: to.name.clone(),
    });
    if taken > Grams::ZERO {
        let reason = if why.is_empty() {
            command.reason.clone().unwrap_or_default()
        } else {
            why
        };
        take(tx, &moved, &left, taken, reason)?;
    }
    verdicts.into_iter().for_each(|verdict| tx.emit(verdict));
    Ok(Accepted::Job(moved))
}

/// The refusal with what frees a stranded job, if it is the rules that hold it: a deduction is asked
/// whatever the caller may do.
fn way_out(mut rejection: Rejection, job: &Job, lifecycle: &Lifecycle) -> Rejection {
    let of_rules = matches!(
        rejection.kind,
        RejectionKind::PolicyDenied
            | RejectionKind::PolicyFailed
            | RejectionKind::NoPolicyBound
            | RejectionKind::UnknownState
    );
    let of_deduction = rejection
        .policy
        .as_ref()
        .is_some_and(|refusal| refusal.hook == Hook::Deduction.name());
    let ends = lifecycle.states.iter().filter(|state| state.terminal);
    let ends: Vec<_> = ends.map(|state| state.name.as_str()).collect();
    if let (true, Some(last)) = (of_rules && !of_deduction, ends.last()) {
        rejection.message += &format!(
            "; the job is stranded in '{}', which the active ruleset does not know: the body \
             {{\"status\":\"{last}\",\"override\":true}} ends it (with any of {})",
            job.state.name,
            ends.join(", ")
        );
    }
    rejection
}

/// What nobody allows is denied.
pub(super) fn no_policy_bound() -> Rejection {
    let message = "no policy is bound that could allow this transition";
    Rejection::new(RejectionKind::NoPolicyBound, message)
}

/// A state is its name, without regard to case; an alias is not enough, because policies compare
/// names.
fn is_same(state: &State, job: &Job) -> bool {
    state.name.eq_ignore_ascii_case(&job.state.name)
}

/// What the engine forbids whatever policies say.
fn check_move(job: &Job, to: &State) -> Result<(), Stop> {
    let from = &job.state.name;
    let message = if is_same(to, job) {
        format!("the job is '{from}' already")
    } else if job.state.terminal {
        format!("the job is '{from}', which no job ever leaves")
    } else {
        return Ok(());
    };
    Err(Rejection::new(RejectionKind::IllegalTransition, message)
        .at("/status")
        .into())
}

/// The job and the filament as they are after the move.
fn moved(
    tx: &Tx<'_>,
    job: &Job,
    to: &State,
    filament: &Filament,
    taken: Grams,
) -> Result<(Job, Filament), Stop> {
    let remaining = filament.remaining.checked_sub(taken);
    let deducted = job.deducted.checked_add(taken);
    let (Some(remaining), Some(deducted)) = (remaining, deducted) else {
        let message = format!(
            "the transition would take {taken} g, and only {} g of the filament remain",
            filament.remaining
        );
        return Err(Rejection::new(RejectionKind::DeductionExceedsRemaining, message).into());
    };
    let moved = Job {
        state: entered(to),
        deducted,
        updated_at_ms: tx.now_ms(),
        revision: tx.revision,
        ..job.clone()
    };
    // A job that reserves already keeps what it has, even where an adjustment took it away below:
    // it is not to be stuck because of that.
    if moved.state.reserves && !job.state.reserves {
        check_reservation(moved.reservation(), remaining, filament.reserved)?;
    }
    let revision = tx.revision;
    Ok((
        moved,
        Filament {
            remaining,
            revision,
            ..filament.clone()
        },
    ))
}

/// Writes what was taken: the filament, its ledger, the event.
fn take(
    tx: &mut Tx<'_>,
    job: &Job,
    left: &Filament,
    taken: Grams,
    reason: String,
) -> Result<(), LocalFault> {
    filaments::put(&mut tx.rows, left)?;
    let line = LedgerEntry {
        revision: tx.revision,
        kind: LedgerKind::Deducted,
        amount: taken,
        job: Some(job.id.clone()),
        reason,
        actor: tx.actor.clone(),
        at_ms: tx.now_ms(),
    };
    ledger::append(&mut tx.rows, &left.id, &line)?;
    let id = left.id.clone();
    tx.emit(EventKind::FilamentDeducted {
        id,
        job: job.id.clone(),
        amount: taken,
    });
    Ok(())
}
