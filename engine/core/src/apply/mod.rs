//! Applying an entry: the one place where state changes.
//!
//! [`apply`] is the frame around every command: log time, exactly-once, the entry's transaction.
//! What a command does stands in the file of its name.

mod activate_ruleset;
mod activation;
mod adjust_clock;
mod bootstrap;
mod config;
mod create_filament;
mod create_job;
mod create_printer;
mod delete_module;
pub mod dry_run;
mod entry_gas;
mod lifecycle;
mod once;
mod policies;
mod raise_epoch;
mod record_denied;
mod recorder;
mod rollback_ruleset;
mod set_job_status;
mod tx;
mod upload_module;
mod views;

use std::mem;

use crate::command::{Command, ENVELOPE_VERSION, Envelope, check};
use crate::epoch::Epochs;
use crate::error::LocalFault;
use crate::event::EventKind;
use crate::ids::Revision;
use crate::outcome::{Accepted, Outcome, Response};
use crate::policy::PolicyHost;
use crate::rejection::{Rejection, RejectionKind};
use crate::state::digest::Digest;
use crate::state::entries::{EntryHead, EntryParts, EntryRecord};
use crate::state::meta::{self, Totals};
use crate::state::overlay::{Changes, Overlay};
use crate::state::requests::{Answer, Request};
use crate::state::rows::{ReadRows, Rows};
use crate::state::rulesets::DecodedRuleset;
use crate::state::shares::Held;
use crate::state::{decisions, entries, events, requests};
use recorder::Asked;
use tx::{Done, Stop, Tx};

/// What judges commands: the policies, and the ruleset that says which of them.
pub struct Judge<'a> {
    /// Evaluates policies.
    pub host: &'a dyn PolicyHost,
    /// To be kept from one entry to the next.
    pub ruleset: &'a mut DecodedRuleset,
    /// The engine epochs that this program supports.
    pub epochs: Epochs,
}

/// Applies the entry at log index `index` to `rows`, which are to collect the changes of one entry
/// or of a chunk of them ([`Overlay`]). Synchronous and deterministic. A rejected entry changes
/// nothing but its exactly-once record, log time and the expired rows that it cleans up.
///
/// `totals` are those of `rows` ([`meta::totals`]). Every entry changes them, so they are a row again
/// only after the last entry of a chunk, when the caller puts them there ([`meta::put_totals`]).
///
/// # Errors
/// A fault of this replica: `rows` are then to be thrown away together with everything that they
/// collected, and the replica stops.
pub fn apply(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    index: Revision,
    envelope: &Envelope,
    judge: Judge<'_>,
) -> Result<Outcome, LocalFault> {
    let Judge {
        host,
        ruleset,
        epochs,
    } = judge;
    apply_with(rows, totals, index, envelope, ruleset, epochs, |tx| {
        run(tx, &envelope.command, host, epochs)
    })
}

/// Applies the entry as [`apply`] does, but refuses its command unseen: the operators' way past an
/// entry that faults on every node alike (`raft3d serve --deny-at INDEX`). To be used for the same
/// index on every node.
///
/// # Errors
/// As for [`apply`].
pub fn deny(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    index: Revision,
    envelope: &Envelope,
    epochs: Epochs,
) -> Result<Outcome, LocalFault> {
    let ruleset = &mut DecodedRuleset::default();
    apply_with(rows, totals, index, envelope, ruleset, epochs, |_| {
        let message = "the operators of this cluster denied this log entry (--deny-at)";
        Err(Rejection::new(RejectionKind::PolicyFailed, message).into())
    })
}

/// Applies one entry by itself and keeps `digest` in step: for tests and tools. A fault changes
/// nothing.
///
/// # Errors
/// As for [`apply`].
pub fn apply_alone(
    rows: &mut dyn Rows,
    digest: &mut Digest,
    index: Revision,
    envelope: &Envelope,
    judge: Judge<'_>,
) -> Result<Outcome, LocalFault> {
    let mut changed = Overlay::new(&*rows as &dyn ReadRows);
    let mut totals = meta::totals(&changed)?;
    let outcome = apply(&mut changed, &mut totals, index, envelope, judge)?;
    meta::put_totals(&mut changed, &totals)?;
    let changes = changed.into_changes();
    let mut after = *digest;
    after.change(&*rows, &changes)?;
    *digest = after;
    write(rows, changes);
    Ok(outcome)
}

/// Every command and the function that does it.
fn run(tx: &mut Tx<'_>, command: &Command, host: &dyn PolicyHost, epochs: Epochs) -> Done {
    match command {
        Command::CreatePrinter(command) => create_printer::run(tx, command),
        Command::CreateFilament(command) => create_filament::run(tx, command),
        Command::CreateJob(command) => create_job::run(tx, command, host),
        Command::SetJobStatus(command) => set_job_status::run(tx, command, host),
        Command::UploadModule(command) => upload_module::run(tx, command),
        Command::DeleteModule(command) => delete_module::run(tx, command),
        Command::ActivateRuleset(command) => activate_ruleset::run(tx, command, host),
        Command::RollbackRuleset(command) => rollback_ruleset::run(tx, command, host),
        Command::Bootstrap(command) => bootstrap::run(tx, command, host, epochs),
        Command::RaiseEpoch(command) => raise_epoch::run(tx, *command, epochs),
        Command::RecordDenied(entry) => record_denied::run(tx, entry),
        Command::AdjustClock(command) => adjust_clock::run(tx, command),
        Command::Checkpoint => Ok(Accepted::Done),
    }
}

/// The frame around `run`: what a command changes is kept apart until it is accepted, the entry's
/// own bookkeeping is not.
fn apply_with(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    index: Revision,
    envelope: &Envelope,
    ruleset: &mut DecodedRuleset,
    epochs: Epochs,
    run: impl FnOnce(&mut Tx<'_>) -> Done,
) -> Result<Outcome, LocalFault> {
    if envelope.version != ENVELOPE_VERSION {
        let detail = format!("it has version {}", envelope.version);
        return Err(LocalFault::CorruptEntry {
            index: index.0,
            detail,
        });
    }
    epochs.check(totals.epoch)?;
    let is_checkpoint = matches!(envelope.command, Command::Checkpoint);
    totals.go_on(envelope.proposed_at_ms, is_checkpoint);
    if is_checkpoint {
        // Digests are compared here: nothing but log time changes, and nothing is remembered.
        return Ok(Outcome {
            revision: index,
            replayed: false,
            response: Response::Accepted(Accepted::Done),
            events: Vec::new(),
            certain_since_ms: None,
        });
    }
    requests::delete_expired(rows, totals, index)?;
    apply_request(rows, totals, index, envelope, ruleset, run)
}

/// Runs the command of a request that is sound and new, and remembers its answer.
fn apply_request(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    index: Revision,
    envelope: &Envelope,
    ruleset: &mut DecodedRuleset,
    run: impl FnOnce(&mut Tx<'_>) -> Done,
) -> Result<Outcome, LocalFault> {
    // Before anything is looked for under them.
    if let Err(rejection) = check::request(&envelope.actor, &envelope.request_id) {
        return Ok(once::rejected(index, *rejection));
    }
    let outcome = apply_sound(rows, totals, index, envelope, ruleset, run)?;
    once::with_certainty(rows, totals, envelope, outcome)
}

fn apply_sound(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    index: Revision,
    envelope: &Envelope,
    ruleset: &mut DecodedRuleset,
    run: impl FnOnce(&mut Tx<'_>) -> Done,
) -> Result<Outcome, LocalFault> {
    let mut request = requests::look_up(rows, &envelope.actor, &envelope.request_id)?;
    if let Some(outcome) = once::answer_without_running(rows, totals, index, envelope, &request)? {
        return Ok(outcome);
    }
    requests::forget_expired(rows, totals, &envelope.actor, &mut request)?;
    let share = match once::make_room(rows, totals, index, envelope)? {
        Ok(share) => share,
        Err(refused) => return Ok(refused),
    };
    let tx = Tx::new(rows, totals.clone(), index, &envelope.actor, ruleset);
    let (ran, changes) = run_once(tx, totals, run)?;
    write(rows, changes);
    remember(rows, totals, envelope, (request, share), ran)
}

/// What a command came to.
struct Ran {
    revision: Revision,
    response: Response,
    events: Vec<EventKind>,
    asked: Option<Asked>,
}

impl Ran {
    /// Whether it made a new job.
    fn creates_job(&self) -> bool {
        matches!(
            &self.response,
            Response::Accepted(Accepted::Job(job)) if job.created_revision == self.revision
        )
    }
}

/// Runs the command. Its changes, and what it made of the totals, are those of an accepted one.
fn run_once(
    mut tx: Tx<'_>,
    totals: &mut Totals,
    run: impl FnOnce(&mut Tx<'_>) -> Done,
) -> Result<(Ran, Changes), LocalFault> {
    let revision = tx.revision;
    let ran = run(&mut tx);
    let asked = mem::take(&mut tx.recorder).into_asked();
    let (response, changes, events) = match ran {
        Ok(accepted) => {
            let (changes, new_totals, events) = tx.into_parts();
            *totals = new_totals;
            (Response::Accepted(accepted), changes, events)
        }
        Err(Stop::Rejected(rejection)) => {
            let response = Response::Rejected(*rejection);
            (response, Changes::new(), Vec::new())
        }
        Err(Stop::Fault(fault)) => return Err(fault),
    };
    let ran = Ran {
        revision,
        response,
        events,
        asked,
    };
    Ok((ran, changes))
}

/// Records what the entry of a command that ran came to: its events, what policies said to it, and
/// the answer to retries.
fn remember(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    envelope: &Envelope,
    (request, share): (Request, Option<Held>),
    ran: Ran,
) -> Result<Outcome, LocalFault> {
    let (revision, at_ms) = (ran.revision, totals.log_time_ms);
    let answer = Answer {
        actor: &envelope.actor,
        id: &envelope.request_id,
        hash: envelope.request_hash,
        revision,
        response: &ran.response,
        kept_ms: once::kept_ms(envelope),
    };
    let epoch = totals.epoch;
    let is_creation = ran.creates_job();
    let asked = ran.asked.map(|asked| asked.into_parts(epoch));
    let decision_bytes = asked.as_ref().map_or(0, |(_, said, _)| said.bytes());
    let emitted = events::Counted::of(&ran.events);
    let (asker, answered) = requests::put(rows, totals, request, share, &answer)?.unzip();
    let record = EntryRecord {
        head: EntryHead {
            at_ms,
            events: emitted.events,
            job: asked.as_ref().map(|(job, ..)| job),
            asker,
            is_creation,
            decision_bytes,
            event_bytes: emitted.bytes,
        },
        parts: EntryParts {
            events: ran.events.as_slice(),
            evaluations: asked.as_ref().map(|(_, evaluations, _)| evaluations),
            answered,
        },
    };
    entries::put(rows, revision, &record)?;
    events::count(rows, totals, revision, emitted)?;
    if let Some((job, _, kept)) = &asked {
        let asked_about = (!is_creation).then_some(job);
        let record = decisions::Counted {
            revision,
            bytes: decision_bytes,
            job: asked_about,
        };
        decisions::count(rows, totals, &record, *kept)?;
    }
    let events = events::identified(revision, at_ms, ran.events);
    Ok(Outcome {
        revision,
        replayed: false,
        response: ran.response,
        events,
        certain_since_ms: None,
    })
}

fn write(rows: &mut dyn Rows, changes: Changes) {
    for (key, change) in changes {
        match change {
            Some(value) => rows.put(key, value),
            None => rows.delete(&key),
        }
    }
}
