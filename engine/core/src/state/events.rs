//! The window of events: the newest are kept, so that a reader can resume from where it stopped.

use super::meta::{self, Totals};
use super::rows::{ReadRows, Rows};
use super::{codec, keys};
use crate::error::LocalFault;
use crate::event::Event;
use crate::ids::EventId;
use crate::limits::EVENTS_KEPT_MAX;

/// Events deleted beyond those that are too many, so that not every entry looks for the oldest.
const DELETED_AHEAD: usize = 127;

/// Up to `limit` events after `after`, oldest first.
///
/// A reader that resumes asks [`deleted_to`] too: events after `after` are missing where that is
/// the later one.
///
/// # Errors
/// A fault of this replica's store.
pub fn list(
    rows: &dyn ReadRows,
    after: Option<EventId>,
    limit: usize,
) -> Result<Vec<Event>, LocalFault> {
    // Starting behind what was deleted skips nothing, and spares the store its deleted rows.
    let after = after.max(deleted_to(rows)?).map(keys::event);
    codec::scan(rows, "events", &[keys::EVENTS], after.as_deref(), limit)
}

/// The newest event that has left the window; none while it holds every event there was.
///
/// # Errors
/// A fault of this replica's store.
pub fn deleted_to(rows: &dyn ReadRows) -> Result<Option<EventId>, LocalFault> {
    Ok(meta::totals(rows)?.events_deleted_to)
}

/// Appends an entry's events and deletes the oldest where the window is then too long.
pub(crate) fn append(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    events: &[Event],
) -> Result<(), LocalFault> {
    for event in events {
        rows.put(keys::event(event.id), codec::encode(event)?);
        totals.events += 1;
    }
    let excess = totals.events.saturating_sub(EVENTS_KEPT_MAX);
    if excess == 0 {
        return Ok(());
    }
    let after = totals.events_deleted_to.map(keys::event);
    let limit = usize::try_from(excess)
        .unwrap_or(usize::MAX)
        .saturating_add(DELETED_AHEAD);
    for (key, value) in rows.scan(&[keys::EVENTS], after.as_deref(), limit)? {
        let oldest: Event = codec::decode("events", &value)?;
        rows.delete(&key);
        totals.events -= 1;
        totals.events_deleted_to = Some(oldest.id);
    }
    Ok(())
}
