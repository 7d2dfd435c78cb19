//! `RecordDenied`: makes it a fact of the log that an entry was denied.
//!
//! A replica that denied the entry and one that did not write the same row here. They differ since
//! that entry, and their digests say so.

use super::tx::{Done, Tx};
use crate::command::DeniedEntry;
use crate::limits::DENIED_ENTRIES_MAX;
use crate::outcome::Accepted;
use crate::rejection::{Rejection, RejectionKind};
use crate::state::denied;

pub(super) fn run(tx: &mut Tx<'_>, entry: &DeniedEntry) -> Done {
    if entry.index >= tx.revision {
        let message = format!("entry {} is not before this one", entry.index);
        return Err(Rejection::new(RejectionKind::InvalidField, message).into());
    }
    // Two leaders may have proposed it.
    if denied::get(&tx.rows, entry.index)?.is_some() {
        return Ok(Accepted::Done);
    }
    if denied::all(&tx.rows)?.len() >= DENIED_ENTRIES_MAX {
        let message = format!("{DENIED_ENTRIES_MAX} entries are denied already");
        return Err(Rejection::new(RejectionKind::LimitReached, message).into());
    }
    denied::put(&mut tx.rows, entry)?;
    Ok(Accepted::Done)
}
