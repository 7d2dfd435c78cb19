//! Three known bugs of applying, for tests to catch ([`crate::sabotage`]). Nothing here does
//! anything unless the switch of its bug is armed.

use std::time::{SystemTime, UNIX_EPOCH};

use raft3d_core::state::filaments::Filament;
use raft3d_core::{Accepted, Envelope, LocalFault, Outcome, RequestId, Response, Revision, Rows};
use raft3d_sdk::Grams;

use crate::raft::encoding;
use crate::sabotage::{Bug, armed};

/// Tag of the filaments' rows (`engine/core/src/state/keys.rs`).
const FILAMENTS: u8 = 0x20;
/// Filaments that are looked through for the one of a job.
const FILAMENTS_MAX: usize = 10_000;

/// The entry as a careless apply would take it: with the replica's own clock, or with a request id
/// that no record has.
pub(super) fn entry(index: Revision, mut envelope: Envelope) -> Envelope {
    if armed(Bug::ClockInApply) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        envelope.proposed_at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    }
    if armed(Bug::RetryWithoutDedup) {
        envelope.request_id = RequestId::new(format!("not-looked-up-{index}"));
    }
    envelope
}

/// What the node that proposed the entry does besides: takes the grams of a job that ended once
/// more, on its own rows. The system that came before this one deducted on the leader like that.
///
/// # Errors
/// A fault of this replica's store.
pub(super) fn on_the_proposer(rows: &mut dyn Rows, outcome: &Outcome) -> Result<(), LocalFault> {
    let Response::Accepted(Accepted::Job(job)) = &outcome.response else {
        return Ok(());
    };
    let again = !outcome.replayed && job.deducted > Grams::ZERO;
    if !again || !armed(Bug::DeductionOutsideApply) {
        return Ok(());
    }
    for (key, value) in rows.scan(&[FILAMENTS], None, FILAMENTS_MAX)? {
        let Ok(mut filament) = minicbor::decode::<Filament>(&value) else {
            continue;
        };
        if filament.id == job.filament_id {
            filament.remaining = filament.remaining.saturating_sub(job.deducted);
            rows.put(key, encoding::to_vec(&filament));
        }
    }
    Ok(())
}
