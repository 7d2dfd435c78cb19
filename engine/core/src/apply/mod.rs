//! Applying an entry: the one place where state changes.
//!
//! [`apply`] is the frame around every command: log time, exactly-once, the entry's transaction and
//! the digest. What a command does stands in the file of its name.

mod activate_ruleset;
mod activation;
mod bootstrap;
mod config;
mod create_filament;
mod create_job;
mod create_printer;
mod delete_module;
mod lifecycle;
mod policies;
mod rollback_ruleset;
mod set_job_status;
mod tx;
mod upload_module;
mod views;

use crate::command::{Command, ENVELOPE_VERSION, Envelope, check};
use crate::error::LocalFault;
use crate::event::Event;
use crate::ids::{EventId, Revision};
use crate::limits::{
    CLIENT_REQUEST_KEPT_MS, DEADLINE_MS_MAX, MINTED_REQUEST_KEPT_FACTOR, REQUEST_RECORDS_MAX,
};
use crate::outcome::{Accepted, Outcome, Response};
use crate::policy::PolicyHost;
use crate::rejection::{Rejection, RejectionKind};
use crate::state::digest::Digest;
use crate::state::meta::{self, Totals};
use crate::state::overlay::{Changes, Overlay};
use crate::state::requests::RequestRecord;
use crate::state::rows::{ReadRows, Rows};
use crate::state::{events, requests};
use tx::{Done, Stop, Tx};

/// Applies the entry at log index `index` to `rows` and keeps `digest` in step with every row that
/// changes. Synchronous and deterministic. A rejected entry changes nothing but its exactly-once
/// record, log time and the expired rows that it cleans up.
///
/// # Errors
/// A fault of this replica: `rows` and `digest` are then to be thrown away together with
/// everything since the last batch, and the replica stops.
pub fn apply(
    rows: &mut dyn Rows,
    digest: &mut Digest,
    index: Revision,
    envelope: &Envelope,
    host: &dyn PolicyHost,
) -> Result<Outcome, LocalFault> {
    apply_with(rows, digest, index, envelope, |tx| {
        run(tx, &envelope.command, host)
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
    digest: &mut Digest,
    index: Revision,
    envelope: &Envelope,
) -> Result<Outcome, LocalFault> {
    apply_with(rows, digest, index, envelope, |_| {
        let message = "the operators of this cluster denied this log entry (--deny-at)";
        Err(Rejection::new(RejectionKind::PolicyFailed, message).into())
    })
}

/// Every command and the function that does it.
fn run(tx: &mut Tx<'_>, command: &Command, host: &dyn PolicyHost) -> Done {
    match command {
        Command::CreatePrinter(command) => create_printer::run(tx, command),
        Command::CreateFilament(command) => create_filament::run(tx, command),
        Command::CreateJob(command) => create_job::run(tx, command, host),
        Command::SetJobStatus(command) => set_job_status::run(tx, command, host),
        Command::UploadModule(command) => upload_module::run(tx, command),
        Command::DeleteModule(command) => delete_module::run(tx, command),
        Command::ActivateRuleset(command) => activate_ruleset::run(tx, command, host),
        Command::RollbackRuleset(command) => rollback_ruleset::run(tx, command, host),
        Command::Bootstrap(command) => bootstrap::run(tx, command, host),
        Command::Checkpoint => Ok(Accepted::Done),
    }
}

/// The frame around `run`: two layers of changes, so that a rejected command's are dropped and the
/// entry's own bookkeeping is not.
fn apply_with(
    rows: &mut dyn Rows,
    digest: &mut Digest,
    index: Revision,
    envelope: &Envelope,
    run: impl FnOnce(&mut Tx<'_>) -> Done,
) -> Result<Outcome, LocalFault> {
    if envelope.version != ENVELOPE_VERSION {
        let detail = format!("it has version {}", envelope.version);
        return Err(LocalFault::CorruptEntry {
            index: index.0,
            detail,
        });
    }
    let mut frame = Overlay::new(&*rows as &dyn ReadRows);
    let mut totals = meta::totals(&frame)?;
    totals.log_time_ms = totals.log_time_ms.max(envelope.proposed_at_ms);
    let outcome = if matches!(envelope.command, Command::Checkpoint) {
        // Digests are compared here: nothing but log time changes, and nothing is remembered.
        Outcome {
            revision: index,
            replayed: false,
            response: Response::Accepted(Accepted::Done),
            events: Vec::new(),
        }
    } else {
        requests::delete_expired(&mut frame, &mut totals)?;
        match answer_without_running(&frame, &totals, index, envelope)? {
            Some(outcome) => outcome,
            None => run_once(&mut frame, &mut totals, index, envelope, run)?,
        }
    };
    meta::put_totals(&mut frame, &totals)?;
    let changes = frame.into_changes();
    merge(rows, digest, changes)?;
    Ok(outcome)
}

/// The answer to an entry whose command is not to run: a retry, a late one, one too many.
///
/// None of these rejections is remembered. Nothing was done, and a copy of the entry that comes
/// later cannot run either: its deadline is the same one. So a client may try again under the same
/// key with a new deadline.
fn answer_without_running(
    rows: &dyn ReadRows,
    totals: &Totals,
    index: Revision,
    envelope: &Envelope,
) -> Result<Option<Outcome>, LocalFault> {
    let rejected = |rejection: Rejection| {
        let response = Response::Rejected(rejection);
        Some(Outcome {
            revision: index,
            replayed: false,
            response,
            events: Vec::new(),
        })
    };
    if let Err(rejection) = check::request(&envelope.actor, &envelope.request_id) {
        return Ok(rejected(*rejection));
    }
    let now_ms = totals.log_time_ms;
    let record = requests::get(rows, &envelope.actor, &envelope.request_id, now_ms)?;
    if let Some(RequestRecord {
        hash,
        revision,
        response,
        ..
    }) = record
    {
        if hash == envelope.request_hash {
            return Ok(Some(Outcome {
                revision,
                replayed: true,
                response,
                events: Vec::new(),
            }));
        }
        let message = "this request id was used for another request; use a new one";
        return Ok(rejected(Rejection::new(
            RejectionKind::RequestMismatch,
            message,
        )));
    }
    if now_ms > deadline_ms(envelope) {
        let message = "the request was older than its deadline when its turn came; nothing was \
                       done, try again";
        return Ok(rejected(Rejection::new(
            RejectionKind::DeadlineExceeded,
            message,
        )));
    }
    if totals.requests >= REQUEST_RECORDS_MAX {
        let message = format!(
            "{REQUEST_RECORDS_MAX} requests are remembered already; try again when some expired"
        );
        return Ok(rejected(Rejection::new(
            RejectionKind::TooManyRequests,
            message,
        )));
    }
    let bootstraps = matches!(envelope.command, Command::Bootstrap(_));
    if !bootstraps && meta::cluster_id(rows)?.is_none() {
        let message = "the cluster is not bootstrapped yet; try again";
        return Ok(rejected(Rejection::new(
            RejectionKind::NotBootstrapped,
            message,
        )));
    }
    Ok(None)
}

/// Runs the command, keeps its changes if it was accepted, and remembers the answer.
fn run_once(
    frame: &mut Overlay<&dyn ReadRows>,
    totals: &mut Totals,
    index: Revision,
    envelope: &Envelope,
    run: impl FnOnce(&mut Tx<'_>) -> Done,
) -> Result<Outcome, LocalFault> {
    let mut tx = Tx::new(frame, totals.clone(), index, &envelope.actor);
    let (response, kinds) = match run(&mut tx) {
        Ok(accepted) => {
            let (changes, new_totals, kinds) = tx.into_parts();
            write(frame, changes);
            *totals = new_totals;
            (Response::Accepted(accepted), kinds)
        }
        Err(Stop::Rejected(rejection)) => (Response::Rejected(*rejection), Vec::new()),
        Err(Stop::Fault(fault)) => return Err(fault),
    };
    let at_ms = totals.log_time_ms;
    let events: Vec<Event> = (0..)
        .zip(kinds)
        .map(|(sequence, kind)| Event {
            id: EventId {
                revision: index,
                sequence,
            },
            at_ms,
            kind,
        })
        .collect();
    events::append(frame, totals, &events)?;
    let record = RequestRecord {
        hash: envelope.request_hash,
        revision: index,
        response,
        expires_at_ms: expires_at_ms(envelope, at_ms),
    };
    requests::put(
        frame,
        totals,
        (&envelope.actor, &envelope.request_id),
        &record,
    )?;
    Ok(Outcome {
        revision: index,
        replayed: false,
        response: record.response,
        events,
    })
}

/// The log time after which the entry no longer runs.
fn deadline_ms(envelope: &Envelope) -> u64 {
    envelope
        .deadline_ms
        .min(envelope.proposed_at_ms.saturating_add(DEADLINE_MS_MAX))
}

/// Until when the answer is remembered: never shorter than a copy of the entry may still run.
fn expires_at_ms(envelope: &Envelope, now_ms: u64) -> u64 {
    use crate::command::RequestOrigin;
    let kept_ms = match envelope.request_origin {
        RequestOrigin::Client => CLIENT_REQUEST_KEPT_MS,
        RequestOrigin::Node => {
            let span_ms = deadline_ms(envelope).saturating_sub(envelope.proposed_at_ms);
            span_ms.saturating_mul(MINTED_REQUEST_KEPT_FACTOR)
        }
    };
    now_ms.saturating_add(kept_ms)
}

fn write(rows: &mut dyn Rows, changes: Changes) {
    for (key, change) in changes {
        match change {
            Some(value) => rows.put(key, value),
            None => rows.delete(&key),
        }
    }
}

/// Writes the entry's changes to the rows below and brings the digest in step: the work is that of
/// the changed rows, whatever the number of rows.
fn merge(rows: &mut dyn Rows, digest: &mut Digest, changes: Changes) -> Result<(), LocalFault> {
    for (key, change) in &changes {
        if let Some(old) = rows.get(key)? {
            digest.remove(key, &old);
        }
        if let Some(new) = change {
            digest.add(key, new);
        }
    }
    write(rows, changes);
    Ok(())
}
