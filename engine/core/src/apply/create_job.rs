//! `CreateJob`: adds a job in the lifecycle's initial state, if the policies admit it.

use raft3d_sdk::{AdmissionInput, Grams, Hook, Lifecycle, State};

use super::policies::Panel;
use super::tx::{Done, Stop, Tx, already_exists};
use super::views;
use crate::command::{CreateJob, check};
use crate::event::EventKind;
use crate::ids::JobId;
use crate::outcome::Accepted;
use crate::policy::PolicyHost;
use crate::rejection::{Rejection, RejectionKind};
use crate::state::filaments::{self, Filament};
use crate::state::jobs::{self, Job, JobState};
use crate::state::printers::{self, Printer};
use crate::state::rations::Rationed;

pub(super) fn run(tx: &mut Tx<'_>, command: &CreateJob, host: &dyn PolicyHost) -> Done {
    check::create_job(command)?;
    let id = command
        .id
        .clone()
        .unwrap_or_else(|| JobId::new(tx.generated_id()));
    if jobs::get(&tx.rows, &id)?.is_some() {
        return Err(already_exists("print job", id.as_str()).into());
    }
    tx.take_place(Rationed::Jobs, tx.totals.jobs)?;
    let (printer, filament) = referenced(tx, command)?;
    let active = tx.ruleset()?;
    let initial = initial_state(&active.lifecycle, command.status.as_deref())?;
    let job = new_job(tx, command, id, initial);

    let input = AdmissionInput {
        now_ms: tx.now_ms(),
        actor: &tx.actor.name,
        job: views::job(&job),
        printer: views::printer(&printer, printers::load(&tx.rows, &printer.id)?, None),
        filament: views::filament(&filament, None),
        creator: views::actor(jobs::actor_load(&tx.rows, &job.created_by)?, None),
    };
    tx.recorder.question(&job.id, &active, &input)?;
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
    // No binding for `admission` in scope means that nothing stands against the job.
    panel.rule(Hook::Admission)?;
    check_reservation(job.reservation(), filament.remaining, filament.reserved)?;
    let verdicts = panel.shadow_rule(Hook::Admission)?;

    jobs::put(&mut tx.rows, &job, None)?;
    tx.totals.jobs += 1;
    tx.emit(EventKind::JobCreated(job.id.clone()));
    verdicts.into_iter().for_each(|verdict| tx.emit(verdict));
    Ok(Accepted::Job(job))
}

fn referenced(tx: &Tx<'_>, command: &CreateJob) -> Result<(Printer, Filament), Stop> {
    let unknown = |what: &str, id: &str, field: &str| {
        let message = format!("there is no {what} '{id}'");
        Rejection::new(RejectionKind::UnknownReference, message).at(field)
    };
    let id = &command.printer_id;
    let printer = printers::get(&tx.rows, id)?;
    let printer = printer.ok_or_else(|| unknown("printer", id.as_str(), "/printer_id"))?;
    let id = &command.filament_id;
    let filament = filaments::get(&tx.rows, id)?;
    let filament = filament.ok_or_else(|| unknown("filament", id.as_str(), "/filament_id"))?;
    Ok((printer, filament))
}

/// The initial state; a status that the client sent must name it.
fn initial_state<'a>(lifecycle: &'a Lifecycle, sent: Option<&str>) -> Result<&'a State, Stop> {
    // Invariant: an active lifecycle has an initial state (activation refuses others, guarded by
    // `a_lifecycle_must_be_sound` in `tests/rulesets/`).
    let initial = lifecycle.initial().ok_or_else(|| {
        Rejection::new(
            RejectionKind::UnknownState,
            "the active lifecycle has no initial state",
        )
    })?;
    let Some(sent) = sent else { return Ok(initial) };
    if lifecycle.starts_as(sent) {
        return Ok(initial);
    }
    match lifecycle.find(sent) {
        Some(state) => {
            let message = format!(
                "a job starts as '{}'; it cannot be created as '{}'",
                initial.name, state.name
            );
            Err(Rejection::new(RejectionKind::InvalidField, message)
                .at("/status")
                .into())
        }
        None => Err(unknown_state(lifecycle, sent).into()),
    }
}

/// A rejection because the lifecycle knows no state of that name.
pub(super) fn unknown_state(lifecycle: &Lifecycle, sent: &str) -> Rejection {
    let names: Vec<&str> = lifecycle
        .states
        .iter()
        .map(|state| state.name.as_str())
        .collect();
    let message = format!(
        "unknown status '{sent}': one of {} is expected",
        names.join(", ")
    );
    Rejection::new(RejectionKind::UnknownState, message).at("/status")
}

/// The flags of a state, as a job that enters it keeps them.
pub(super) fn entered(state: &State) -> JobState {
    JobState {
        name: state.name.clone(),
        terminal: state.terminal,
        reserves: state.reserves,
        occupies: state.occupies,
    }
}

fn new_job(tx: &Tx<'_>, command: &CreateJob, id: JobId, initial: &State) -> Job {
    Job {
        id,
        printer_id: command.printer_id.clone(),
        filament_id: command.filament_id.clone(),
        filepath: command.filepath.clone(),
        print_weight: command.print_weight,
        priority: command.priority,
        labels: command.labels.clone(),
        state: entered(initial),
        deducted: Grams::ZERO,
        created_by: tx.actor.clone(),
        created_at_ms: tx.now_ms(),
        updated_at_ms: tx.now_ms(),
        revision: tx.revision,
        created_revision: tx.revision,
    }
}

/// What a job newly reserves must fit what the others leave of the filament.
pub(super) fn check_reservation(
    reservation: Grams,
    remaining: Grams,
    reserved_by_others: Grams,
) -> Result<(), Stop> {
    let available = remaining.saturating_sub(reserved_by_others);
    if reservation <= available {
        return Ok(());
    }
    let message = format!(
        "the job would reserve {reservation} g, and only {available} g of the filament are \
         available"
    );
    let kind = RejectionKind::ReservationExceedsAvailable;
    Err(Rejection::new(kind, message)
        .at("/print_weight_in_grams")
        .into())
}
