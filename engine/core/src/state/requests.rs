//! Exactly-once records: (actor, request id) to the stored response, with the times they expire.

use minicbor::{Decode, Encode};

use super::meta::Totals;
use super::rows::{ReadRows, Rows};
use super::{codec, keys};
use crate::command::Actor;
use crate::error::LocalFault;
use crate::ids::{RequestId, Revision};
use crate::limits::EXPIRED_ROWS_PER_APPLY_MAX;
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
    let record = codec::get(rows, "requests", &key)?;
    Ok(Request { key, record })
}

/// Puts the record of a request that was just looked up and has none, or an expired one.
pub(crate) fn put(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    request: Request,
    record: &RequestRecord,
) -> Result<(), LocalFault> {
    let key = request.key;
    match request.record {
        Some(expired) => rows.delete(&keys::request_expiry(expired.expires_at_ms, &key)),
        None => totals.requests += 1,
    }
    let look_at_ms = record
        .expires_at_ms
        .max(totals.log_time_ms.saturating_add(EXPIRY_PAUSE_MS));
    totals.requests_expire_from_ms = totals.requests_expire_from_ms.min(look_at_ms);
    rows.put(keys::request_expiry(record.expires_at_ms, &key), Vec::new());
    rows.put(key, codec::encode(record)?);
    Ok(())
}

/// Log time between two looks for expired records, in milliseconds, where the last one left none:
/// otherwise every entry would look for the one record that expired since the entry before.
const EXPIRY_PAUSE_MS: u64 = 1_000;

/// Deletes the oldest expired records, at most [`EXPIRED_ROWS_PER_APPLY_MAX`].
pub(crate) fn delete_expired(rows: &mut dyn Rows, totals: &mut Totals) -> Result<(), LocalFault> {
    if totals.requests_expire_from_ms >= totals.log_time_ms {
        return Ok(());
    }
    // Everything before this mark is gone, and every new record expires after it.
    let after = keys::request_expiry(totals.requests_deleted_to_ms, &[]);
    let prefix = [keys::REQUEST_EXPIRY];
    let oldest = rows.scan(&prefix, Some(&after), EXPIRED_ROWS_PER_APPLY_MAX)?;
    if oldest.len() < EXPIRED_ROWS_PER_APPLY_MAX {
        totals.requests_expire_from_ms = u64::MAX;
    }
    for (key, _) in oldest {
        let (expires_at_ms, request) = keys::split_expiry(&key).ok_or_else(|| {
            let detail = "a key is too short".to_owned();
            LocalFault::CorruptRow {
                table: "request expiry",
                detail,
            }
        })?;
        if expires_at_ms >= totals.log_time_ms {
            let pause_ends = totals.log_time_ms.saturating_add(EXPIRY_PAUSE_MS);
            totals.requests_expire_from_ms = expires_at_ms.max(pause_ends);
            break;
        }
        rows.delete(&key);
        rows.delete(&request);
        totals.requests = totals.requests.saturating_sub(1);
        totals.requests_deleted_to_ms = expires_at_ms;
    }
    Ok(())
}
