//! `AdjustClock`: by how much log time goes ahead of the leaders' clocks from the next entry on.

use super::tx::{Done, Tx};
use crate::command::{AdjustClock, check};
use crate::event::EventKind;
use crate::outcome::Accepted;
use crate::rejection::{Rejection, RejectionKind};
use crate::state::meta::{self, ClockAdjustment, ClockOffset};

/// Log time itself stays where it is: stamps are the leader's, and the greatest one counts.
pub(super) fn run(tx: &mut Tx<'_>, command: &AdjustClock) -> Done {
    check::adjust_clock(command)?;
    let before = tx.totals.clock.unwrap_or_default();
    if command.expected != before.revision {
        let message = format!(
            "the clock was last adjusted at revision {}, not at {}",
            before.revision, command.expected
        );
        return Err(Rejection::new(RejectionKind::RevisionMismatch, message).into());
    }
    tx.totals.clock = Some(ClockOffset {
        ms: command.offset_ms,
        revision: tx.revision,
    });
    let adjustment = ClockAdjustment {
        revision: tx.revision,
        at_ms: tx.now_ms(),
        from_ms: before.ms,
        to_ms: command.offset_ms,
        by: tx.actor.clone(),
        reason: command.reason.clone(),
    };
    meta::put_clock_adjustment(&mut tx.rows, &adjustment)?;
    tx.emit(EventKind::ClockAdjusted {
        from_ms: before.ms,
        to_ms: command.offset_ms,
        by: tx.actor.name.clone(),
        reason: command.reason.clone(),
    });
    Ok(Accepted::Done)
}
