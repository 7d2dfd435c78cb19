//! What each entry came to, in one row: its events, what policies were asked and said, and the
//! answer that a retry gets.
//!
//! Each of the three parts is forgotten oldest first, at a time of its own ([`events`], [`decisions`],
//! [`requests`]): a mark in the totals says up to where. The row goes with the last of them.
//!
//! [`events`]: super::events
//! [`decisions`]: super::decisions
//! [`requests`]: super::requests

use minicbor::decode::{Decoder, Error};
use minicbor::{Decode, Encode};

use super::decisions::Evaluations;
use super::meta::Totals;
use super::requests::{Answered, AnsweredRef};
use super::rows::{ReadRows, Row, Rows};
use super::{codec, keys};
use crate::error::LocalFault;
use crate::event::EventKind;
use crate::ids::Revision;

/// Name of the table in errors.
const TABLE: &str = "entries";

/// Entries that [`list`] reads at once, at most.
const LIST_PAGE_ROWS: usize = 128;

/// What an entry came to: of each part as much as is wanted.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct EntryRecord<E, V, Q> {
    /// Log time, milliseconds since the Unix epoch.
    #[n(0)]
    pub(crate) at_ms: u64,
    /// In the order of their sequence.
    #[n(1)]
    pub(crate) events: E,
    /// None where no policy was asked.
    #[n(2)]
    pub(crate) evaluations: Option<V>,
    /// None where the answer is kept apart from the entry, or is forgotten.
    #[n(3)]
    pub(crate) request: Option<Q>,
}

/// All of it.
type Whole<Q> = EntryRecord<Vec<EventKind>, Evaluations, Q>;

/// A part that is passed over.
pub(super) struct Skipped;

impl<'b, C> Decode<'b, C> for Skipped {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, Error> {
        d.skip()?;
        Ok(Self)
    }
}

/// The length of an array that is passed over.
pub(super) struct Length(pub(super) u64);

impl<'b, C> Decode<'b, C> for Length {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, Error> {
        let indefinite = || Error::message("an array of unknown length");
        let length = d.array()?.ok_or_else(indefinite)?;
        for _ in 0..length {
            d.skip()?;
        }
        Ok(Self(length))
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
    let revision = keys::revision_at_end(key).ok_or_else(|| LocalFault::CorruptRow {
        table: TABLE,
        detail: "a key is too short".to_owned(),
    })?;
    Ok(Some((revision, codec::decode(TABLE, value)?)))
}

/// What is wanted of the record of an entry; none where there is no record.
pub(super) fn get<T: for<'b> Decode<'b, ()>>(
    rows: &dyn ReadRows,
    revision: Revision,
) -> Result<Option<T>, LocalFault> {
    codec::get(rows, TABLE, &keys::entry(revision))
}

/// A record that was read, with its row.
pub(super) struct Seen<T> {
    pub(super) revision: Revision,
    pub(super) record: T,
    row: Row,
}

/// What is wanted of up to `limit` records after the revision `after`, oldest first.
pub(super) fn page<T: for<'b> Decode<'b, ()>>(
    rows: &dyn ReadRows,
    after: Option<Revision>,
    limit: usize,
) -> Result<Vec<Seen<T>>, LocalFault> {
    let after = after.map(keys::entry);
    let page = rows.scan(&[keys::ENTRIES], after.as_deref(), limit)?;
    let seen = page.into_iter().map(|row| {
        let found = of_row(&row.0, &row.1)?;
        Ok(found.map(|(revision, record)| Seen {
            revision,
            record,
            row,
        }))
    });
    seen.filter_map(Result::transpose).collect()
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
    let rows_max = limit.min(LIST_PAGE_ROWS);
    while found.len() < limit {
        let page: Vec<Seen<T>> = page(rows, passed, rows_max)?;
        let at_end = page.len() < rows_max;
        passed = page.last().map(|seen| seen.revision);
        found.extend(
            page.into_iter()
                .flat_map(|seen| of(seen.revision, seen.record)),
        );
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
    record: &Whole<AnsweredRef<'_>>,
) -> Result<(), LocalFault> {
    if !record.events.is_empty() || record.evaluations.is_some() || record.request.is_some() {
        rows.put(keys::entry(revision), codec::encode(record)?);
    }
    Ok(())
}

impl<V, Q> Seen<EntryRecord<Length, V, Q>> {
    /// Deletes the record, of which a part was just forgotten, if that was the last one.
    pub(super) fn delete_if_spent(&self, rows: &mut dyn Rows, totals: &Totals) {
        if self.record.is_spent(self.revision, totals) {
            let (key, value) = &self.row;
            rows.delete_known(key, value);
        }
    }
}

impl<V, Q> EntryRecord<Length, V, Q> {
    /// Whether nothing of it is kept.
    fn is_spent(&self, revision: Revision, totals: &Totals) -> bool {
        let is_kept = |mark: Option<Revision>| mark < Some(revision);
        let events = self.events.0 > 0 && is_kept(totals.events_deleted_to);
        let evaluations = self.evaluations.is_some() && is_kept(totals.decisions_deleted_to);
        let request = self.request.is_some() && is_kept(totals.answers_deleted_to);
        !(events || evaluations || request)
    }
}

/// Forgets the answer in an entry's record before its time.
pub(super) fn forget_answer(
    rows: &mut dyn Rows,
    totals: &Totals,
    revision: Revision,
) -> Result<(), LocalFault> {
    let Some(mut record) = get::<Whole<Answered>>(rows, revision)? else {
        return Ok(());
    };
    record.request = None;
    let value = codec::encode(&record)?;
    let left: EntryRecord<Length, Skipped, Skipped> = codec::decode(TABLE, &value)?;
    if left.is_spent(revision, totals) {
        rows.delete(&keys::entry(revision));
    } else {
        rows.put(keys::entry(revision), value);
    }
    Ok(())
}
