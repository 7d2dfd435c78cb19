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

use super::decisions::{Evaluated, Evaluations};
use super::meta::Totals;
use super::requests::{Answered, AnsweredRef, Asker};
use super::rows::{ReadRows, Row, Rows};
use super::{codec, keys};
use crate::error::LocalFault;
use crate::event::EventKind;
use crate::ids::Revision;

/// Name of the table in errors.
const TABLE: &str = "entries";

/// What an entry came to; encoded from an answer that is borrowed.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct EntryRecord<Q = Answered> {
    /// Log time, milliseconds since the Unix epoch.
    #[n(0)]
    pub(crate) at_ms: u64,
    /// In the order of their sequence.
    #[n(1)]
    pub(crate) events: Vec<EventKind>,
    /// None where no policy was asked.
    #[n(2)]
    pub(crate) evaluations: Option<Evaluations>,
    /// None where the answer is kept apart from the entry, or is forgotten.
    #[n(3)]
    pub(crate) request: Option<Q>,
}

/// As much of a record as is looked at to forget parts of it.
#[derive(Decode)]
#[cbor(map)]
pub(super) struct Head {
    #[n(0)]
    pub(super) at_ms: u64,
    #[n(1)]
    pub(super) events: Length,
    #[n(2)]
    pub(super) evaluations: Option<Evaluated>,
    #[n(3)]
    pub(super) request: Option<Asker>,
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

/// What is wanted of up to `limit` records after the revision `after`, oldest first.
pub(super) fn page<T: for<'b> Decode<'b, ()>>(
    rows: &dyn ReadRows,
    after: Option<Revision>,
    limit: usize,
) -> Result<Vec<(Revision, T)>, LocalFault> {
    let after = after.map(keys::entry);
    let page = rows.scan(&[keys::ENTRIES], after.as_deref(), limit)?;
    let records = page.iter().map(|(key, value)| of_row(key, value));
    records.filter_map(Result::transpose).collect()
}

/// Puts the record of an entry, unless it came to nothing that is kept.
pub(crate) fn put(
    rows: &mut dyn Rows,
    revision: Revision,
    record: &EntryRecord<AnsweredRef<'_>>,
) -> Result<(), LocalFault> {
    if !record.events.is_empty() || record.evaluations.is_some() || record.request.is_some() {
        rows.put(keys::entry(revision), codec::encode(record)?);
    }
    Ok(())
}

/// A record as it is seen where the oldest are forgotten.
pub(super) struct Seen {
    pub(super) revision: Revision,
    pub(super) head: Head,
    row: Row,
}

/// Up to `limit` records after the revision `after`, oldest first.
pub(super) fn oldest(
    rows: &dyn ReadRows,
    after: Option<Revision>,
    limit: usize,
) -> Result<Vec<Seen>, LocalFault> {
    let after = after.map(keys::entry);
    let page = rows.scan(&[keys::ENTRIES], after.as_deref(), limit)?;
    let seen = page.into_iter().map(|row| {
        let found = of_row(&row.0, &row.1)?;
        Ok(found.map(|(revision, head)| Seen {
            revision,
            head,
            row,
        }))
    });
    seen.filter_map(Result::transpose).collect()
}

impl Seen {
    /// Deletes the record, of which a part was just forgotten, if that was the last one.
    pub(super) fn delete_if_spent(&self, rows: &mut dyn Rows, totals: &Totals) {
        if self.head.is_spent(self.revision, totals) {
            let (key, value) = &self.row;
            rows.delete_known(key, value);
        }
    }
}

impl Head {
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
    let Some(mut record) = get::<EntryRecord>(rows, revision)? else {
        return Ok(());
    };
    record.request = None;
    let value = codec::encode(&record)?;
    let head: Head = codec::decode(TABLE, &value)?;
    if head.is_spent(revision, totals) {
        rows.delete(&keys::entry(revision));
    } else {
        rows.put(keys::entry(revision), value);
    }
    Ok(())
}
