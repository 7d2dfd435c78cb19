//! Exactly once: what is answered without running, and where the answer of what runs is kept.

use crate::command::{Command, Envelope, RequestOrigin};
use crate::error::LocalFault;
use crate::ids::Revision;
use crate::limits::{DEADLINE_MS_MAX, MINTED_REQUEST_KEPT_FACTOR, MINTED_REQUEST_KEPT_MS_MIN};
use crate::outcome::{Outcome, Response};
use crate::rejection::{Rejection, RejectionKind};
use crate::state::meta::{self, Totals};
use crate::state::requests::{self, Request};
use crate::state::rows::{ReadRows, Rows};
use crate::state::shares::{self, Held};

/// The outcome of an entry that did nothing, and of which nothing is remembered.
pub(super) fn rejected(revision: Revision, rejection: Rejection) -> Outcome {
    Outcome {
        revision,
        replayed: false,
        response: Response::Rejected(rejection),
        events: Vec::new(),
        certain_since_ms: None,
    }
}

/// The answer to an entry whose command is not to run: a retry, a late one, one too many; none if it
/// is to run.
///
/// None of these rejections is remembered. Nothing was done, and a copy of the entry that comes
/// later cannot run either: its deadline is the same one. So a client may try again under the same
/// key with a new deadline.
pub(super) fn answer_without_running(
    rows: &dyn ReadRows,
    totals: &Totals,
    index: Revision,
    envelope: &Envelope,
    request: &Request,
) -> Result<Option<Outcome>, LocalFault> {
    let refused = |kind, message: &str| Ok(Some(rejected(index, Rejection::new(kind, message))));
    if let Some(record) = request.unexpired(totals) {
        if record.hash == envelope.request_hash {
            return Ok(Some(Outcome {
                revision: record.revision,
                replayed: true,
                response: record.response.clone(),
                events: Vec::new(),
                certain_since_ms: None,
            }));
        }
        let message = "this request id was used for another request; use a new one";
        return refused(RejectionKind::RequestMismatch, message);
    }
    let by_node = envelope.request_origin == RequestOrigin::Node;
    let is_copy = by_node && requests::may_be_old_copy(totals, &envelope.request_id);
    if is_copy || totals.log_time_ms > deadline_ms(envelope) {
        let message = "the request was older than its deadline when its turn came; nothing was \
                       done, try again";
        return refused(RejectionKind::DeadlineExceeded, message);
    }
    if !by_node && is_too_old(rows, totals, envelope, request)? {
        let message = "this key is older than what is remembered of its actor's keys: the request \
                       may have been done before, so it was not run; look whether it was, and send \
                       it with a new key if it was not";
        return refused(RejectionKind::KeyTooOld, message);
    }
    let bootstraps = matches!(envelope.command, Command::Bootstrap(_));
    if !bootstraps && meta::cluster_id(rows)?.is_none() {
        let message = "the cluster is not bootstrapped yet; try again";
        return refused(RejectionKind::NotBootstrapped, message);
    }
    Ok(None)
}

/// Whether the request may have been answered before, and the answer be forgotten, as far as its key
/// tells when it was made.
fn is_too_old(
    rows: &dyn ReadRows,
    totals: &Totals,
    envelope: &Envelope,
    request: &Request,
) -> Result<bool, LocalFault> {
    let (actor, id) = (&envelope.actor, &envelope.request_id);
    if requests::may_have_forgotten_minted(totals, id) {
        return Ok(true);
    }
    let carries_time = crate::key_time::of_key(id, totals.log_time_ms).is_some();
    if !carries_time {
        return Ok(false);
    }
    // One that has expired and is not deleted yet was certainly used.
    Ok(request.is_expired(totals)
        || Held::of(rows, totals, actor)?.may_have_forgotten(rows, totals, actor, id)?)
}

/// Room for the answer to a request that is about to run: in its actor's share, if a client chose its
/// key. Answers to ids that nodes minted need none, and those to operators' commands go without if
/// there is none: a flood of keys must not keep an operator from mending things.
///
/// `Err` is the answer to one that cannot be remembered for as long as it has to be.
pub(super) fn make_room(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    index: Revision,
    envelope: &Envelope,
) -> Result<Result<Option<Held>, Outcome>, LocalFault> {
    if envelope.request_origin == RequestOrigin::Node {
        return Ok(Ok(None));
    }
    let mut share = Held::of(rows, totals, &envelope.actor)?;
    let Err(free_in_ms) = share.make_room(rows, totals)? else {
        return Ok(Ok(Some(share)));
    };
    if envelope.command.is_operators() {
        share.will_forget(totals, &envelope.request_id);
        share.close(rows, totals)?;
        return Ok(Ok(None));
    }
    let message = "as many keys of this actor are remembered as may be, and none of them is 15 \
                   minutes old; nothing was done, try again later, send fewer keyed requests, or \
                   send this one without a key";
    let rejection = Rejection {
        retry_after_ms: Some(free_in_ms),
        ..Rejection::new(RejectionKind::TooManyRequests, message)
    };
    Ok(Err(rejected(index, rejection)))
}

/// The same outcome with what a client with a key of its own is to know: since when keys are certain.
pub(super) fn with_certainty(
    rows: &dyn ReadRows,
    totals: &Totals,
    envelope: &Envelope,
    outcome: Outcome,
) -> Result<Outcome, LocalFault> {
    if envelope.request_origin == RequestOrigin::Node {
        return Ok(outcome);
    }
    let certain_since_ms = Some(shares::certain_since_ms(rows, totals, &envelope.actor)?);
    Ok(Outcome {
        certain_since_ms,
        ..outcome
    })
}

/// The log time after which the entry no longer runs.
fn deadline_ms(envelope: &Envelope) -> u64 {
    envelope
        .deadline_ms
        .min(envelope.proposed_at_ms.saturating_add(DEADLINE_MS_MAX))
}

/// For how long the answer is remembered if no share takes it, in milliseconds of log time: never
/// shorter than a copy of the entry may still run.
pub(super) fn kept_ms(envelope: &Envelope) -> u64 {
    let span_ms = deadline_ms(envelope).saturating_sub(envelope.proposed_at_ms);
    span_ms
        .saturating_mul(MINTED_REQUEST_KEPT_FACTOR)
        .max(MINTED_REQUEST_KEPT_MS_MIN)
}
