//! Single rows: the cluster's identity, log time, counters.

use minicbor::{Decode, Encode};

use super::rows::{ReadRows, Rows};
use super::{codec, keys};
use crate::error::LocalFault;
use crate::ids::{ClusterId, Revision};

/// Log time, how many rows the large tables hold, and how far their oldest rows were deleted.
///
/// One row, because every entry changes it; it is written once for each chunk of entries. The marks
/// are there for speed alone: a scan for the oldest rows starts behind them, not among what a
/// log-structured store keeps of deleted rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Totals {
    /// The latest `proposed_at_ms` of any applied entry, milliseconds since the Unix epoch.
    #[n(0)]
    pub log_time_ms: u64,
    /// Printers.
    #[n(1)]
    pub printers: u64,
    /// Filaments.
    #[n(2)]
    pub filaments: u64,
    /// Jobs, open or not.
    #[n(3)]
    pub jobs: u64,
    /// Modules.
    #[n(4)]
    pub modules: u64,
    /// Ruleset revisions kept.
    #[n(5)]
    pub rulesets: u64,
    /// Exactly-once records, expired or not.
    #[n(6)]
    pub requests: u64,
    /// Events kept.
    #[n(7)]
    pub events: u64,
    /// The newest entry whose events were forgotten.
    #[n(8)]
    pub events_deleted_to: Option<Revision>,
    /// Every exactly-once record with an expiry row that expired before this time was deleted.
    #[n(9)]
    pub requests_deleted_to_ms: u64,
    /// Until this time no expired one of those is looked for: none expires before, or the last look
    /// was just made.
    #[n(10)]
    pub requests_expire_from_ms: u64,
    /// Decision records kept.
    #[n(11)]
    pub decisions: u64,
    /// The newest entry whose decision record was forgotten.
    #[n(12)]
    pub decisions_deleted_to: Option<Revision>,
    /// Log time of the oldest decision record kept, or an earlier one.
    #[n(13)]
    pub decisions_oldest_ms: u64,
    /// The engine epoch under which the next entry is applied; 0 before the bootstrap.
    #[n(14)]
    pub epoch: u32,
    /// The newest entry whose answer was forgotten, where the entry's record had it.
    #[n(15)]
    pub answers_deleted_to: Option<Revision>,
    /// Until this time no expired one of those is looked for.
    #[n(16)]
    pub answers_expire_from_ms: u64,
    /// The last adjustment of the clock; none before the first one.
    #[n(30)]
    pub clock: Option<ClockOffset>,
}

/// By how much log time is set ahead of the leaders' clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ClockOffset {
    /// Milliseconds that a leader adds to its clock before it stamps.
    #[n(0)]
    pub ms: u64,
    /// Log index of the adjustment; 0 before the first one.
    #[n(1)]
    pub revision: Revision,
}

/// Log time, and how it is to go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogTime {
    /// The latest `proposed_at_ms` of any applied entry, milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// How far it is set ahead of the leaders' clocks.
    pub offset: ClockOffset,
}

impl Totals {
    /// Log time, and how it is to go on.
    #[must_use]
    pub fn log_time(&self) -> LogTime {
        LogTime {
            now_ms: self.log_time_ms,
            offset: self.clock.unwrap_or_default(),
        }
    }
}

/// The totals; all zero before the first entry.
///
/// # Errors
/// A fault of this replica's store.
pub fn totals(rows: &dyn ReadRows) -> Result<Totals, LocalFault> {
    Ok(codec::get(rows, "totals", &keys::TOTALS)?.unwrap_or_default())
}

/// The totals in a row of any table; none where the row is another one.
pub(crate) fn totals_of_row(key: &[u8], value: &[u8]) -> Result<Option<Totals>, LocalFault> {
    let is_it = key == keys::TOTALS;
    is_it.then(|| codec::decode("totals", value)).transpose()
}

/// Puts the totals: once for a chunk of entries.
///
/// # Errors
/// A fault of this program: encoding into memory does not fail.
pub fn put_totals(rows: &mut dyn Rows, totals: &Totals) -> Result<(), LocalFault> {
    rows.put(keys::TOTALS.to_vec(), codec::encode(totals)?);
    Ok(())
}

/// The cluster's identity; none before the bootstrap.
///
/// # Errors
/// A fault of this replica's store.
pub fn cluster_id(rows: &dyn ReadRows) -> Result<Option<ClusterId>, LocalFault> {
    codec::get(rows, "cluster id", &keys::CLUSTER_ID)
}

pub(crate) fn put_cluster_id(rows: &mut dyn Rows, id: ClusterId) -> Result<(), LocalFault> {
    rows.put(keys::CLUSTER_ID.to_vec(), codec::encode(&id)?);
    Ok(())
}

/// The engine epoch in force; 0 before the bootstrap.
///
/// # Errors
/// A fault of this replica's store.
pub fn epoch(rows: &dyn ReadRows) -> Result<u32, LocalFault> {
    Ok(totals(rows)?.epoch)
}

/// Log time: the latest `proposed_at_ms` of any applied entry, milliseconds since the Unix epoch.
///
/// # Errors
/// A fault of this replica's store.
pub fn log_time_ms(rows: &dyn ReadRows) -> Result<u64, LocalFault> {
    Ok(totals(rows)?.log_time_ms)
}

/// Log time, and how it is to go on.
///
/// # Errors
/// A fault of this replica's store.
pub fn log_time(rows: &dyn ReadRows) -> Result<LogTime, LocalFault> {
    Ok(totals(rows)?.log_time())
}
