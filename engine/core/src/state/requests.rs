//! Exactly-once records: (actor, request id) to the answer that a retry gets, for as long as it is
//! remembered.
//!
//! Most ids are minted by a node and remembered equally long. Their answers expire in the order of
//! the entries, and lie in the [entries' records](super::entries). The others, a client's above
//! all, are kept under the id and found by expiry rows when it is time.

use minicbor::{Decode, Encode};

use super::entries::{self, EntryWith, Skipped};
use super::meta::Totals;
use super::rows::{ReadRows, Rows};
use super::{codec, keys};
use crate::command::Actor;
use crate::error::LocalFault;
use crate::ids::{RequestId, Revision};
use crate::limits::{EXPIRED_ROWS_PER_APPLY_MAX, MINTED_REQUEST_KEPT_MS_MIN};
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
    /// Log time after which it counts as absent, milliseconds since the Unix epoch.
    #[n(3)]
    pub expires_at_ms: u64,
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
    /// The answer, with an expiry row of its own.
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
    /// As [`RequestRecord::expires_at_ms`].
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

/// How long an answer is remembered, in milliseconds of log time.
#[derive(Clone, Copy)]
pub(crate) struct KeptMs(u64);

impl KeptMs {
    /// As long as most answers are, or longer.
    pub(crate) fn at_least_usual(kept_ms: u64) -> Self {
        Self(kept_ms.max(MINTED_REQUEST_KEPT_MS_MIN))
    }

    /// Whether these answers expire in the order of their entries.
    fn is_usual(self) -> bool {
        self.0 == MINTED_REQUEST_KEPT_MS_MIN
    }
}

/// The record of that request that has not expired at `now_ms`.
///
/// # Errors
/// A fault of this replica's store.
pub fn get(
    rows: &dyn ReadRows,
    actor: &Actor,
    id: &RequestId,
    now_ms: u64,
) -> Result<Option<RequestRecord>, LocalFault> {
    let request = look_up(rows, actor, id)?;
    Ok(request.unexpired(now_ms).cloned())
}

/// What is known of a request: its key, and its record if it has one, expired or not.
pub(crate) struct Request {
    key: Vec<u8>,
    record: Option<RequestRecord>,
    is_in_entry: bool,
}

impl Request {
    /// Its record, unless that has expired at `now_ms`.
    pub(crate) fn unexpired(&self, now_ms: u64) -> Option<&RequestRecord> {
        self.record
            .as_ref()
            .filter(|record| record.expires_at_ms >= now_ms)
    }
}

/// Looks a request up.
pub(crate) fn look_up(
    rows: &dyn ReadRows,
    actor: &Actor,
    id: &RequestId,
) -> Result<Request, LocalFault> {
    let key = keys::request(actor, id);
    let row = codec::get(rows, "requests", &key)?;
    let is_in_entry = matches!(row, Some(RequestRow::InEntry(_)));
    let record = match row {
        None => None,
        Some(RequestRow::Here(record)) => Some(record),
        Some(RequestRow::InEntry(revision)) => Some(in_entry(rows, revision)?),
    };
    Ok(Request {
        key,
        record,
        is_in_entry,
    })
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
        expires_at_ms: asker.expires_at_ms,
    })
}

/// An answer to be remembered.
pub(crate) struct Answer<'a> {
    pub(crate) actor: &'a Actor,
    pub(crate) id: &'a RequestId,
    pub(crate) hash: [u8; 32],
    pub(crate) revision: Revision,
    pub(crate) response: &'a Response,
    pub(crate) kept: KeptMs,
}

/// Remembers the answer to a request that was just looked up and has none, or an expired one:
/// under its id, or by what is returned, which is to become a part of the entry's record.
pub(crate) fn put<'a>(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    request: Request,
    answer: &Answer<'a>,
) -> Result<Option<(AskerRef<'a>, AnsweredRef<'a>)>, LocalFault> {
    let key = request.key;
    match request.record {
        None => totals.requests += 1,
        Some(expired) if request.is_in_entry => {
            entries::forget_answer(rows, totals, expired.revision)?;
        }
        Some(expired) => rows.delete(&keys::request_expiry(expired.expires_at_ms, &key)),
    }
    let (hash, revision) = (answer.hash, answer.revision);
    let expires_at_ms = totals.log_time_ms.saturating_add(answer.kept.0);
    let look_at_ms = look_again_ms(totals, expires_at_ms);
    if answer.kept.is_usual() {
        totals.answers_expire_from_ms = totals.answers_expire_from_ms.min(look_at_ms);
        rows.put(key, codec::encode(&RequestRow::InEntry(revision))?);
        let asker = Asker {
            actor: answer.actor,
            id: answer.id,
            expires_at_ms,
        };
        let response = answer.response;
        return Ok(Some((asker, Answered { hash, response })));
    }
    totals.requests_expire_from_ms = totals.requests_expire_from_ms.min(look_at_ms);
    rows.put(keys::request_expiry(expires_at_ms, &key), Vec::new());
    let record = RequestRecord {
        hash,
        revision,
        response: answer.response.clone(),
        expires_at_ms,
    };
    rows.put(key, codec::encode(&RequestRow::Here(record))?);
    Ok(None)
}

/// Log time between two looks for expired records, in milliseconds, where the last one left none:
/// otherwise every entry would look for the one record that expired since the entry before.
const EXPIRY_PAUSE_MS: u64 = 1_000;

/// Pages of entries' records that are looked at for expired answers at once, at most: entries whose
/// answer is kept elsewhere are passed over.
const PAGES_PER_APPLY_MAX: usize = 8;

/// Deletes the oldest expired records, at most [`EXPIRED_ROWS_PER_APPLY_MAX`] in entries' records
/// and as many under their ids.
pub(crate) fn delete_expired(rows: &mut dyn Rows, totals: &mut Totals) -> Result<(), LocalFault> {
    if totals.requests_expire_from_ms < totals.log_time_ms {
        delete_expired_here(rows, totals)?;
    }
    if totals.answers_expire_from_ms < totals.log_time_ms {
        delete_expired_in_entries(rows, totals)?;
    }
    Ok(())
}

/// When to look again, where the oldest record that is left expires then.
fn look_again_ms(totals: &Totals, expires_at_ms: u64) -> u64 {
    expires_at_ms.max(totals.log_time_ms.saturating_add(EXPIRY_PAUSE_MS))
}

fn delete_expired_here(rows: &mut dyn Rows, totals: &mut Totals) -> Result<(), LocalFault> {
    // Everything before this mark is gone, and every new record expires after it.
    let after = keys::request_expiry(totals.requests_deleted_to_ms, &[]);
    let prefix = [keys::REQUEST_EXPIRY];
    let oldest = rows.scan(&prefix, Some(&after), EXPIRED_ROWS_PER_APPLY_MAX)?;
    if oldest.len() < EXPIRED_ROWS_PER_APPLY_MAX {
        totals.requests_expire_from_ms = u64::MAX;
    }
    for (key, value) in oldest {
        let (expires_at_ms, request) = keys::split_expiry(&key).ok_or_else(|| {
            let detail = "a key is too short".to_owned();
            LocalFault::CorruptRow {
                table: "request expiry",
                detail,
            }
        })?;
        if expires_at_ms >= totals.log_time_ms {
            totals.requests_expire_from_ms = look_again_ms(totals, expires_at_ms);
            break;
        }
        rows.delete_known(&key, &value);
        rows.delete(&request);
        totals.requests = totals.requests.saturating_sub(1);
        totals.requests_deleted_to_ms = expires_at_ms;
    }
    Ok(())
}

fn delete_expired_in_entries(rows: &mut dyn Rows, totals: &mut Totals) -> Result<(), LocalFault> {
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
                if asker.expires_at_ms >= totals.log_time_ms {
                    totals.answers_expire_from_ms = look_again_ms(totals, asker.expires_at_ms);
                    return Ok(());
                }
                left -= 1;
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
            return Ok(());
        }
    }
    Ok(())
}
