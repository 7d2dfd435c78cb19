//! What each entry came to, in one row: its events, what policies were asked and said, and the
//! answer that a retry gets.
//!
//! Each of the three parts is forgotten oldest first, at a time of its own ([`events`], [`decisions`],
//! [`requests`]): a mark in the totals says up to where. The row goes with the last of them. What is
//! looked at to forget a part stands first in the row: the parts themselves, most of its bytes, are
//! not decoded for it.
//!
//! [`events`]: super::events
//! [`decisions`]: super::decisions
//! [`requests`]: super::requests

use minicbor::decode::{Decoder, Error};
use minicbor::{Decode, Encode};

use super::decisions::Evaluations;
use super::meta::Totals;
use super::requests::{Answered, Asker};
use super::rows::{ReadRows, Row, Rows};
use super::{codec, keys};
use crate::command::Actor;
use crate::error::LocalFault;
use crate::event::EventKind;
use crate::ids::{JobId, RequestId, Revision};
use crate::outcome::Response;

/// Name of the table in errors.
const TABLE: &str = "entries";

/// Entries that [`list`] reads at once, at most.
const LIST_PAGE_ROWS: usize = 128;

/// What an entry came to.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(crate) struct EntryRecord<H, P> {
    #[n(0)]
    pub(crate) head: H,
    #[n(1)]
    pub(crate) parts: P,
}

/// What tells whether a part of a record is to be forgotten, and what goes with it.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct EntryHead<J = JobId, A = Actor, I = RequestId> {
    /// Log time, milliseconds since the Unix epoch.
    #[n(0)]
    pub(crate) at_ms: u64,
    /// How many events it emitted.
    #[n(1)]
    pub(crate) events: u64,
    /// The job that policies were asked about; none where none was asked.
    #[n(2)]
    pub(crate) job: Option<J>,
    /// None where the answer is kept apart from the entry, or is forgotten.
    #[n(3)]
    pub(crate) asker: Option<Asker<A, I>>,
    /// Whether it created that job: then the job's own row leads here, and no row of an index.
    #[n(4)]
    pub(crate) is_creation: bool,
    /// Bytes of what policies were asked and said, about; 0 if none was asked.
    #[n(5)]
    pub(crate) decision_bytes: u64,
    /// Bytes of its events, about.
    #[n(6)]
    pub(crate) event_bytes: u64,
}

/// The parts of a record, or those of them that are wanted.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct EntryParts<E, V, R> {
    /// In the order of their sequence.
    #[n(0)]
    pub(crate) events: E,
    /// None where no policy was asked.
    #[n(1)]
    pub(crate) evaluations: Option<V>,
    /// There where the head has an asker.
    #[n(2)]
    pub(crate) answered: Option<R>,
}

/// A record that was read, with the parts that are wanted.
pub(super) type EntryWith<E, V, R> = EntryRecord<EntryHead, EntryParts<E, V, R>>;

/// One with all of them.
type Whole = EntryWith<Vec<EventKind>, Evaluations, Answered>;

/// One to be encoded.
pub(crate) type EntryRecordRef<'a> = EntryRecord<
    EntryHead<&'a JobId, &'a Actor, &'a RequestId>,
    EntryParts<&'a [EventKind], &'a Evaluations, Answered<&'a Response>>,
>;

/// What is passed over.
pub(super) struct Skipped;

impl<'b, C> Decode<'b, C> for Skipped {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, Error> {
        d.skip()?;
        Ok(Self)
    }
}

/// The record in a row of any table, with its revision; none where the row is of another one.
pub(super) fn of_row<T: for<'b> Decode<'b, ()>>(
    key: &[u8],
    value: &[u8],
) -> Result<Option<(Revision, T)>, LocalFault> {
    if key.first() != Some(&keys::ENTRIES) {
        return Ok(None);
    }
    Ok(Some((revision_of(key)?, codec::decode(TABLE, value)?)))
}

fn revision_of(key: &[u8]) -> Result<Revision, LocalFault> {
    let too_short = || LocalFault::CorruptRow {
        table: TABLE,
        detail: "a key is too short".to_owned(),
    };
    keys::revision_at_end(key).ok_or_else(too_short)
}

/// What is wanted of the record of an entry; none where there is no record.
pub(super) fn get<T: for<'b> Decode<'b, ()>>(
    rows: &dyn ReadRows,
    revision: Revision,
) -> Result<Option<T>, LocalFault> {
    codec::get(rows, TABLE, &keys::entry(revision))
}

/// A record of which the head was read, or what is wanted of it.
pub(super) struct Seen<J, A, I> {
    pub(super) revision: Revision,
    pub(super) head: EntryHead<J, A, I>,
    row: Row,
}

/// Up to `limit` records after the revision `after`, oldest first.
pub(super) fn page<J, A, I>(
    rows: &dyn ReadRows,
    after: Option<Revision>,
    limit: usize,
) -> Result<Vec<Seen<J, A, I>>, LocalFault>
where
    EntryHead<J, A, I>: for<'b> Decode<'b, ()>,
{
    let seen = rows_after(rows, after, limit)?.into_iter().map(|row| {
        Ok(Seen {
            revision: revision_of(&row.0)?,
            head: codec::decode_first(TABLE, &row.1)?,
            row,
        })
    });
    seen.collect()
}

fn rows_after(
    rows: &dyn ReadRows,
    after: Option<Revision>,
    limit: usize,
) -> Result<Vec<Row>, LocalFault> {
    let after = after.map(keys::entry);
    rows.scan(&[keys::ENTRIES], after.as_deref(), limit)
}

/// Up to `limit` of the things that `of` finds in the records after the revision `after`, oldest
/// first. Records in which it finds none are passed over, however many there are.
pub(super) fn list<T: for<'b> Decode<'b, ()>, I: IntoIterator>(
    rows: &dyn ReadRows,
    after: Option<Revision>,
    limit: usize,
    of: impl Fn(Revision, T) -> I,
) -> Result<Vec<I::Item>, LocalFault> {
    let mut passed = after;
    let mut found = Vec::new();
    // In most records there is one, so the first page may do; where it does not, they are rare.
    let mut rows_max = limit.min(LIST_PAGE_ROWS);
    while found.len() < limit {
        let page = rows_after(rows, passed, rows_max)?;
        let at_end = page.len() < rows_max;
        rows_max = LIST_PAGE_ROWS;
        for (key, value) in &page {
            if let Some((revision, record)) = of_row(key, value)? {
                passed = Some(revision);
                found.extend(of(revision, record));
            }
        }
        if at_end {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// Puts the record of an entry, unless it came to nothing that is kept.
pub(crate) fn put(
    rows: &mut dyn Rows,
    revision: Revision,
    record: &EntryRecordRef<'_>,
) -> Result<(), LocalFault> {
    let head = &record.head;
    if head.events > 0 || head.job.is_some() || head.asker.is_some() {
        rows.put(keys::entry(revision), codec::encode(record)?);
    }
    Ok(())
}

impl<J, A, I> Seen<J, A, I> {
    /// Deletes the record, of which a part was just forgotten, if that was the last one.
    pub(super) fn delete_if_spent(&self, rows: &mut dyn Rows, totals: &Totals) {
        if self.head.is_spent(self.revision, totals) {
            let (key, value) = &self.row;
            rows.delete_known(key, value);
        }
    }
}

impl<J, A, I> EntryHead<J, A, I> {
    /// Whether nothing of the record is kept.
    fn is_spent(&self, revision: Revision, totals: &Totals) -> bool {
        let is_kept = |mark: Option<Revision>| mark < Some(revision);
        let events = self.events > 0 && is_kept(totals.events_deleted_to);
        let evaluations = self.job.is_some() && is_kept(totals.decisions_deleted_to);
        let answer = self.asker.is_some() && is_kept(totals.answers_deleted_to);
        !(events || evaluations || answer)
    }
}

/// Forgets the answer in an entry's record before its time.
pub(super) fn forget_answer(
    rows: &mut dyn Rows,
    totals: &Totals,
    revision: Revision,
) -> Result<(), LocalFault> {
    let record: Option<Whole> = codec::get(rows, TABLE, &keys::entry(revision))?;
    let Some(mut record) = record else {
        return Ok(());
    };
    record.head.asker = None;
    record.parts.answered = None;
    if record.head.is_spent(revision, totals) {
        rows.delete(&keys::entry(revision));
    } else {
        rows.put(keys::entry(revision), codec::encode(&record)?);
    }
    Ok(())
}
