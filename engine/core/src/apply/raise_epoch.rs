//! `RaiseEpoch`: from the next entry on, every replica computes under the next engine epoch.

use super::tx::{Done, Tx};
use crate::command::RaiseEpoch;
use crate::epoch::Epochs;
use crate::event::EventKind;
use crate::outcome::Accepted;
use crate::rejection::{Rejection, RejectionKind};

/// # Errors
/// A program that does not support the epoch stops here: what comes after this entry is nothing
/// that it could compute.
pub(super) fn run(tx: &mut Tx<'_>, command: RaiseEpoch, supported: Epochs) -> Done {
    let from = tx.epoch();
    // Two leaders may have proposed the same step.
    if from.checked_add(1) != Some(command.to) {
        let message = format!(
            "engine epoch {from} is in force, and is raised by one at a time; {} was asked for",
            command.to
        );
        return Err(Rejection::new(RejectionKind::RevisionMismatch, message).into());
    }
    supported.check(command.to)?;
    tx.totals.epoch = command.to;
    tx.emit(EventKind::EpochRaised(command.to));
    Ok(Accepted::Done)
}
