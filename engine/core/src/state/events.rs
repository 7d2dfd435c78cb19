//! The window of events: the newest are kept, so that a reader can resume from where it stopped.

use super::entries::{self, EntryWith, Skipped};
use super::meta::{self, Totals};
use super::rows::{ReadRows, Rows};
use super::window::{self, ResumeError};
use crate::error::LocalFault;
use crate::event::{Event, EventKind};
use crate::ids::{EventId, Revision};
use crate::limits::{EVENTS_BYTES_MAX, EVENTS_KEPT_MAX};

/// Events forgotten beyond those that are too many, so that not every entry looks for the oldest.
const FORGOTTEN_AHEAD: u64 = 127;
/// Their bytes that are forgotten beyond those that are too many.
const BYTES_FORGOTTEN_AHEAD: u64 = 64 * 1024;
/// Entries that are looked at for it, at most.
const ENTRIES_PER_APPLY_MAX: usize = 128;

/// The events of an entry, and nothing else of what it came to.
type Emitted = EntryWith<Vec<EventKind>, Skipped, Skipped>;

/// The events of an entry with their ids.
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
/// Entries without events are passed over, however many there are. A reader may stop in the middle
/// of an entry's events, and goes on with the rest of them.
///
/// # Errors
/// Some of the events after `after` are no longer kept, or a fault of this replica's store.
pub fn list(
    rows: &dyn ReadRows,
    after: Option<EventId>,
    limit: usize,
) -> Result<Vec<Event>, ResumeError> {
    let totals = meta::totals(rows)?;
    let deleted_to = totals.events_deleted_to;
    let seen = after.map_or(0, |id| u64::from(id.sequence).saturating_add(1));
    // Who saw the last event of the newest entry that was forgotten has missed none.
    let sees_all = |after: Revision, deleted_to: Revision| {
        after > deleted_to || (after == deleted_to && seen >= totals.events_deleted_last)
    };
    let entry = after.map(|id| id.revision);
    window::check(entry, deleted_to, sees_all, || oldest(rows, deleted_to))?;
    let resumed = entry.and_then(|entry| entry.0.checked_sub(1).map(Revision));
    // Of the entry in which the reader stopped, there may be more.
    Ok(after_event(rows, after, resumed.max(deleted_to), limit)?)
}

fn after_event(
    rows: &dyn ReadRows,
    after: Option<EventId>,
    passed: Option<Revision>,
    limit: usize,
) -> Result<Vec<Event>, LocalFault> {
    entries::list(rows, passed, limit, |revision, entry: Emitted| {
        let events = identified(revision, entry.head.at_ms, entry.parts.events).into_iter();
        events.filter(move |event| Some(event.id) > after)
    })
}

/// The oldest entry whose events are kept.
fn oldest(
    rows: &dyn ReadRows,
    deleted_to: Option<Revision>,
) -> Result<Option<Revision>, LocalFault> {
    let first = after_event(rows, None, deleted_to, 1)?;
    Ok(first.first().map(|event| event.id.revision))
}

/// The newest entry whose events have left the window; none while it holds every event there was.
///
/// # Errors
/// A fault of this replica's store.
pub fn deleted_to(rows: &dyn ReadRows) -> Result<Option<Revision>, LocalFault> {
    Ok(meta::totals(rows)?.events_deleted_to)
}

/// What an entry emitted.
#[derive(Clone, Copy)]
pub(crate) struct Counted {
    /// Events.
    pub(crate) events: u64,
    /// Their bytes, about.
    pub(crate) bytes: u64,
}

impl Counted {
    pub(crate) fn of(events: &[EventKind]) -> Self {
        Self {
            events: events.len() as u64,
            bytes: events.iter().map(EventKind::bytes).sum(),
        }
    }
}

/// Counts what the entry at `revision` emitted, and forgets the oldest if the window is then too long, or too large.
pub(crate) fn count(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    revision: Revision,
    emitted: Counted,
) -> Result<(), LocalFault> {
    totals.events += emitted.events;
    totals.events_bytes = totals.events_bytes.saturating_add(emitted.bytes);
    let below = |count: u64, max: u64, ahead: u64| if count > max { max - ahead } else { max };
    let kept = below(totals.events, EVENTS_KEPT_MAX, FORGOTTEN_AHEAD);
    let bytes_kept = below(totals.events_bytes, EVENTS_BYTES_MAX, BYTES_FORGOTTEN_AHEAD);
    let fits = |totals: &Totals| totals.events <= kept && totals.events_bytes <= bytes_kept;
    if fits(totals) {
        return Ok(());
    }
    let limit = ENTRIES_PER_APPLY_MAX;
    let oldest = entries::page::<Skipped, Skipped, Skipped>(rows, totals.events_deleted_to, limit)?;
    for entry in oldest {
        // What was just written stays.
        if fits(totals) || entry.revision == revision {
            break;
        }
        totals.events = totals.events.saturating_sub(entry.head.events);
        totals.events_bytes = totals.events_bytes.saturating_sub(entry.head.event_bytes);
        totals.events_deleted_to = Some(entry.revision);
        totals.events_deleted_last = entry.head.events;
        entry.delete_if_spent(rows, totals);
    }
    Ok(())
}
