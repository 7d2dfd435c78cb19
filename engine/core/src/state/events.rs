//! The window of events: the newest are kept, so that a reader can resume from where it stopped.

use minicbor::Decode;

use super::entries;
use super::meta::{self, Totals};
use super::rows::{ReadRows, Rows};
use crate::error::LocalFault;
use crate::event::{Event, EventKind};
use crate::ids::{EventId, Revision};
use crate::limits::EVENTS_KEPT_MAX;

/// Events forgotten beyond those that are too many, so that not every entry looks for the oldest.
const FORGOTTEN_AHEAD: u64 = 127;
/// Entries that are looked at for it, at most.
const ENTRIES_PER_APPLY_MAX: usize = 128;
/// Entries that [`list`] reads at once.
const LIST_PAGE_ROWS: usize = 128;

/// The events of an entry.
#[derive(Decode)]
#[cbor(map)]
struct Emitted {
    #[n(0)]
    at_ms: u64,
    #[n(1)]
    events: Vec<EventKind>,
}

/// Those events with their ids.
pub(crate) fn identified(revision: Revision, at_ms: u64, events: Vec<EventKind>) -> Vec<Event> {
    let event = |(sequence, kind)| Event {
        id: EventId { revision, sequence },
        at_ms,
        kind,
    };
    (0..).zip(events).map(event).collect()
}

/// Up to `limit` events after `after`, oldest first.
///
/// A reader that resumes asks [`deleted_to`] too: events after `after` are missing where that is
/// the later one. Entries without events are passed over, however many there are.
///
/// # Errors
/// A fault of this replica's store.
pub fn list(
    rows: &dyn ReadRows,
    after: Option<EventId>,
    limit: usize,
) -> Result<Vec<Event>, LocalFault> {
    // Of the entry in which the reader stopped, there may be more.
    let resumed = after.and_then(|id| id.revision.0.checked_sub(1).map(Revision));
    let mut passed = resumed.max(deleted_to(rows)?);
    let mut found = Vec::new();
    while found.len() < limit {
        let page: Vec<(Revision, Emitted)> = entries::page(rows, passed, LIST_PAGE_ROWS)?;
        let at_end = page.len() < LIST_PAGE_ROWS;
        for (revision, Emitted { at_ms, events }) in page {
            let events = identified(revision, at_ms, events).into_iter();
            found.extend(events.filter(|event| Some(event.id) > after));
            passed = Some(revision);
        }
        if at_end {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// The newest entry whose events have left the window; none while it holds every event there was.
///
/// # Errors
/// A fault of this replica's store.
pub fn deleted_to(rows: &dyn ReadRows) -> Result<Option<Revision>, LocalFault> {
    Ok(meta::totals(rows)?.events_deleted_to)
}

/// Counts what an entry emitted, and forgets the oldest where the window is then too long.
pub(crate) fn count(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    emitted: usize,
) -> Result<(), LocalFault> {
    totals.events += emitted as u64;
    if totals.events <= EVENTS_KEPT_MAX {
        return Ok(());
    }
    for entry in entries::oldest(rows, totals.events_deleted_to, ENTRIES_PER_APPLY_MAX)? {
        if totals.events <= EVENTS_KEPT_MAX - FORGOTTEN_AHEAD {
            break;
        }
        totals.events = totals.events.saturating_sub(entry.head.events.0);
        totals.events_deleted_to = Some(entry.revision);
        entry.delete_if_spent(rows, totals);
    }
    Ok(())
}
