//! Exactly-once records: (actor, request id) to the answer that a retry gets, for as long as it is
//! remembered.
//!
//! Most ids are minted by a node and remembered equally long. Their answers expire in the order of
//! the entries, and lie in the [entries' records](super::entries). The answers to clients' keys lie
//! under the key; [shares](super::shares) say for how long.

use minicbor::{Decode, Encode};

use super::entries::{self, EntryWith, Skipped};
use super::meta::{self, Totals};
use super::rows::{ReadRows, Rows};
use super::shares::{self, Held};
use super::{codec, keys};
use crate::command::Actor;
use crate::error::LocalFault;
use crate::ids::{RequestId, Revision};
use crate::key_time;
use crate::limits::{
    EXPIRED_ROWS_PER_APPLY_MAX, MINTED_REQUEST_KEPT_ENTRIES_MAX, MINTED_REQUEST_TOLD_MS,
};
use crate::outcome::Response;

/// What a request came to, kept for its retries.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RequestRecord {
    /// Hash of what the client asked for.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub hash: [u8; 32],
    /// Log index of the entry that did it.
    #[n(1)]
    pub revision: Revision,
    /// What the client was told.
    #[n(2)]
    pub response: Response,
    /// For how long it is remembered.
    #[n(3)]
    pub kept: Kept,
}

/// For how long an answer is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Kept {
    /// It counts as absent after this log time, milliseconds since the Unix epoch.
    #[n(0)]
    Until(#[n(0)] u64),
    /// In a share.
    #[n(1)]
    InShare {
        /// Record time of the entry, microseconds.
        #[n(0)]
        at_us: u64,
        /// The share's place in the crowd; none for the actor's own.
        #[n(1)]
        crowd: Option<u8>,
    },
}

impl RequestRecord {
    fn has_expired(&self, totals: &Totals) -> bool {
        match self.kept {
            Kept::Until(expires_at_ms) => expires_at_ms < totals.log_time_ms,
            Kept::InShare { at_us, .. } => shares::has_expired(at_us, totals),
        }
    }
}

/// What stands under a request's id.
#[allow(
    clippy::large_enum_variant,
    reason = "it is encoded, or taken apart, as soon as it is made"
)]
#[derive(Encode, Decode)]
enum RequestRow {
    /// The record of this entry has the answer.
    #[n(0)]
    InEntry(#[n(0)] Revision),
    /// The answer.
    #[n(1)]
    Here(#[n(0)] RequestRecord),
}

/// Who may ask again for the answer that is a part of their entry's row, and until when.
#[derive(Clone, Copy, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Asker<A = Actor, I = RequestId> {
    #[n(0)]
    pub(crate) actor: A,
    #[n(1)]
    pub(crate) id: I,
    /// As in [`Kept::Until`].
    #[n(2)]
    pub(crate) expires_at_ms: u64,
}

/// That answer.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct Answered<R = Response> {
    #[cbor(n(0), with = "minicbor::bytes")]
    hash: [u8; 32],
    #[n(1)]
    response: R,
}

/// Both, to be encoded.
type AskerRef<'a> = Asker<&'a Actor, &'a RequestId>;
type AnsweredRef<'a> = Answered<&'a Response>;

/// The answer of an entry, and nothing else of what it came to.
type OfEntry = EntryWith<Skipped, Skipped, Answered>;

/// The record of that request that has not expired.
///
/// # Errors
/// A fault of this replica's store.
pub fn get(
    rows: &dyn ReadRows,
    actor: &Actor,
    id: &RequestId,
) -> Result<Option<RequestRecord>, LocalFault> {
    let totals = meta::totals(rows)?;
    let request = look_up(rows, actor, id)?;
    Ok(request.unexpired(&totals).cloned())
}

/// What is known of a request: its key, and its record if it has one, expired or not.
pub(crate) struct Request {
    key: Vec<u8>,
    record: Option<RequestRecord>,
}

impl Request {
    /// Its record, unless that has expired.
    pub(crate) fn unexpired(&self, totals: &Totals) -> Option<&RequestRecord> {
        let record = self.record.as_ref();
        record.filter(|record| !record.has_expired(totals))
    }

    /// Whether it was answered, and the answer has expired.
    pub(crate) fn is_expired(&self, totals: &Totals) -> bool {
        self.record.is_some() && self.unexpired(totals).is_none()
    }
}

/// Looks a request up.
pub(crate) fn look_up(
    rows: &dyn ReadRows,
    actor: &Actor,
    id: &RequestId,
) -> Result<Request, LocalFault> {
    let key = keys::request(actor, id);
    let record = match codec::get(rows, "requests", &key)? {
        None => None,
        Some(RequestRow::Here(record)) => Some(record),
        Some(RequestRow::InEntry(revision)) => Some(in_entry(rows, revision)?),
    };
    Ok(Request { key, record })
}

fn in_entry(rows: &dyn ReadRows, revision: Revision) -> Result<RequestRecord, LocalFault> {
    let entry: Option<OfEntry> = entries::get(rows, revision)?;
    let both = entry.and_then(|entry| entry.head.asker.zip(entry.parts.answered));
    let (asker, answered) = both.ok_or_else(|| LocalFault::CorruptRow {
        table: "requests",
        detail: format!("the entry at {revision} has no answer, although a row says so"),
    })?;
    Ok(RequestRecord {
        hash: answered.hash,
        revision,
        response: answered.response,
        kept: Kept::Until(asker.expires_at_ms),
    })
}

/// Forgets the answer of a request that is to run again, because it has expired.
pub(crate) fn forget_expired(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    actor: &Actor,
    request: &mut Request,
) -> Result<(), LocalFault> {
    let Some(record) = request.record.take() else {
        return Ok(());
    };
    match record.kept {
        Kept::Until(_) => {
            totals.requests = totals.requests.saturating_sub(1);
            entries::forget_answer(rows, totals, record.revision)
        }
        Kept::InShare { crowd, .. } => {
            let mut share = Held::of(rows, totals, actor)?;
            share.forget(rows, totals, actor, crowd, record.revision)?;
            share.close(rows, totals)
        }
    }
}

/// An answer to be remembered.
pub(crate) struct Answer<'a> {
    pub(crate) actor: &'a Actor,
    pub(crate) id: &'a RequestId,
    pub(crate) hash: [u8; 32],
    pub(crate) revision: Revision,
    pub(crate) response: &'a Response,
    /// How long it is remembered if no share takes it, in milliseconds of log time.
    pub(crate) kept_ms: u64,
}

/// Remembers the answer to a request that was just looked up and has none: in `share`, or by what is
/// returned, which is to become a part of the entry's record.
pub(crate) fn put<'a>(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    request: Request,
    share: Option<Held>,
    answer: &Answer<'a>,
) -> Result<Option<(AskerRef<'a>, AnsweredRef<'a>)>, LocalFault> {
    let (hash, revision) = (answer.hash, answer.revision);
    if let Some(share) = share {
        let at_us = totals.record_time_us;
        let record = RequestRecord {
            hash,
            revision,
            response: answer.response.remembered(),
            kept: Kept::InShare {
                at_us,
                crowd: share.crowd(),
            },
        };
        let row = (request.key, codec::encode(&RequestRow::Here(record))?);
        share.add(rows, totals, answer.id, revision, row)?;
        return Ok(None);
    }
    totals.requests += 1;
    let expires_at_ms = totals.log_time_ms.saturating_add(answer.kept_ms);
    let look_at_ms = look_again_ms(totals, expires_at_ms);
    totals.answers_expire_from_ms = totals.answers_expire_from_ms.min(look_at_ms);
    rows.put(request.key, codec::encode(&RequestRow::InEntry(revision))?);
    let asker = Asker {
        actor: answer.actor,
        id: answer.id,
        expires_at_ms,
    };
    let response = answer.response;
    Ok(Some((asker, Answered { hash, response })))
}

/// Whether a client asks under an id that a node minted, of which the answer may be forgotten: it was
/// told to do so for as long as that is remembered.
pub(crate) fn may_have_forgotten_minted(totals: &Totals, id: &RequestId) -> bool {
    let told_ms = totals.minted_from_ms.saturating_sub(MINTED_REQUEST_TOLD_MS);
    key_time::of_minted(id)
        .is_some_and(|minted_ms| (told_ms..totals.minted_from_ms).contains(&minted_ms))
}

/// Whether the entry under an id that a node minted may be a copy of one whose answer was forgotten by
/// the log's index, while log time stood still: its deadline does not tell.
pub(crate) fn may_be_old_copy(totals: &Totals, id: &RequestId) -> bool {
    key_time::of_minted(id).is_some_and(|minted_ms| minted_ms < totals.minted_dropped_ms)
}

/// Log time between two looks for expired records, in milliseconds, if the last one left none:
/// otherwise every entry would look for the one record that expired since the entry before.
const EXPIRY_PAUSE_MS: u64 = 1_000;

/// Pages of entries' records that are looked at for expired answers at once, at most: entries whose
/// answer is kept elsewhere are passed over.
const PAGES_PER_APPLY_MAX: usize = 8;

/// Deletes the oldest expired records, at most [`EXPIRED_ROWS_PER_APPLY_MAX`] in entries' records
/// and as many in shares. `index` is that of the entry that is applied.
pub(crate) fn delete_expired(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    index: Revision,
) -> Result<(), LocalFault> {
    shares::delete_expired(rows, totals)?;
    let looked_to = totals.answers_deleted_to.unwrap_or(Revision(0));
    let are_many = index.0.saturating_sub(looked_to.0) > MINTED_REQUEST_KEPT_ENTRIES_MAX;
    if are_many || totals.answers_expire_from_ms < totals.log_time_ms {
        delete_expired_in_entries(rows, totals, index)?;
    }
    Ok(())
}

/// When to look again, if the oldest record that is left expires then.
fn look_again_ms(totals: &Totals, expires_at_ms: u64) -> u64 {
    expires_at_ms.max(totals.log_time_ms.saturating_add(EXPIRY_PAUSE_MS))
}

fn delete_expired_in_entries(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    index: Revision,
) -> Result<(), LocalFault> {
    let limit = EXPIRED_ROWS_PER_APPLY_MAX;
    let mut left = limit;
    for _ in 0..PAGES_PER_APPLY_MAX {
        let after = totals.answers_deleted_to;
        let page = entries::page::<Skipped, Actor, RequestId>(rows, after, limit)?;
        let at_end = page.len() < limit;
        for entry in page {
            if let Some(asker) = &entry.head.asker {
                if left == 0 {
                    return Ok(());
                }
                let later = index.0.saturating_sub(entry.revision.0);
                let is_too_many = later > MINTED_REQUEST_KEPT_ENTRIES_MAX;
                let in_time = asker.expires_at_ms >= totals.log_time_ms;
                if in_time && !is_too_many {
                    totals.answers_expire_from_ms = look_again_ms(totals, asker.expires_at_ms);
                    return Ok(());
                }
                left -= 1;
                forget_minted(totals, &asker.id, in_time);
                let row = codec::encode(&RequestRow::InEntry(entry.revision))?;
                rows.delete_known(&keys::request(&asker.actor, &asker.id), &row);
                totals.requests = totals.requests.saturating_sub(1);
            }
            totals.answers_deleted_to = Some(entry.revision);
            entry.delete_if_spent(rows, totals);
        }
        if left == 0 {
            return Ok(());
        }
        if at_end {
            totals.answers_expire_from_ms = u64::MAX;
            // Nothing lies before this entry any more.
            let passed = index.0.saturating_sub(1);
            totals.answers_deleted_to = totals.answers_deleted_to.max(Some(Revision(passed)));
            return Ok(());
        }
    }
    Ok(())
}

/// Notes that the answer to an id that a node minted is forgotten; `in_time` before its time.
fn forget_minted(totals: &mut Totals, id: &RequestId, in_time: bool) {
    let Some(minted_ms) = key_time::of_minted(id) else {
        return;
    };
    let from_ms = minted_ms.saturating_add(1);
    totals.minted_from_ms = totals.minted_from_ms.max(from_ms);
    if in_time {
        totals.minted_dropped_ms = totals.minted_dropped_ms.max(from_ms);
    }
}
