//! Single rows: the cluster's identity, log time, counters.

use minicbor::{Decode, Encode};

use super::rows::{ReadRows, Rows};
use super::{codec, keys};
use crate::command::Actor;
use crate::error::LocalFault;
use crate::ids::{ClusterId, Revision};
use crate::limits::{RECORD_TIME_STEP_MS_MAX, RECORD_TIME_STEP_US_MIN};

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
    /// Record time, microseconds: what answers to clients' keys are forgotten by (`shares.rs`).
    #[n(20)]
    pub record_time_us: u64,
    /// Until this record time no expired one of those is looked for: none expires before, or the last
    /// look was just made.
    #[n(21)]
    pub keys_expire_from_us: u64,
    /// The entry of the oldest of them, or an earlier one.
    #[n(22)]
    pub keys_oldest: Revision,
    /// Those of verified actors.
    #[n(23)]
    pub keys_verified: KeyPool,
    /// Those of all others.
    #[n(24)]
    pub keys_unverified: KeyPool,
    /// Ids that nodes minted before this time may be forgotten, milliseconds since the Unix epoch.
    #[n(25)]
    pub minted_from_ms: u64,
    /// Those that were minted before this time may be forgotten although log time stood still.
    #[n(27)]
    pub minted_dropped_ms: u64,
    /// Bytes of the decision records kept, about.
    #[n(28)]
    pub decisions_bytes: u64,
    /// How many events [`events_deleted_to`](Self::events_deleted_to) had emitted.
    #[n(26)]
    pub events_deleted_last: u64,
    /// Bytes of the events kept, about.
    #[n(70)]
    pub events_bytes: u64,
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

/// The last adjustment of the clock, for whoever asks later why log time goes as it does.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ClockAdjustment {
    /// Its log index.
    #[n(0)]
    pub revision: Revision,
    /// Log time when it was made, milliseconds since the Unix epoch.
    #[n(1)]
    pub at_ms: u64,
    /// How far log time was set ahead of the leaders' clocks before, milliseconds.
    #[n(2)]
    pub from_ms: u64,
    /// How far it is set ahead since, milliseconds.
    #[n(3)]
    pub to_ms: u64,
    /// Who asked for it.
    #[n(4)]
    pub by: Actor,
    /// Why.
    #[n(5)]
    pub reason: Option<String>,
}

/// Log time, and how it is to go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogTime {
    /// The latest `proposed_at_ms` of any applied entry, milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// How far it is set ahead of the leaders' clocks.
    pub offset: ClockOffset,
}

/// Remembered answers to the keys of all verified actors, or of all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeyPool {
    /// Answers.
    #[n(0)]
    pub records: u64,
    /// Their bytes.
    #[n(1)]
    pub bytes: u64,
    /// Actors with a share of their own.
    #[n(2)]
    pub actors: u64,
    /// Places in the crowd that were ever used.
    #[n(3)]
    pub crowds: u64,
    /// What was forgotten of actors that have no share now.
    #[n(4)]
    pub forgotten: Forgotten,
}

/// What is known of answers that were forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Forgotten {
    /// No key that carries this time or a later one was forgotten, milliseconds since the Unix epoch.
    #[n(0)]
    pub keys_from_ms: u64,
    /// No answer that was made at this log time or later was forgotten, milliseconds.
    #[n(1)]
    pub certain_since_ms: u64,
}

impl Forgotten {
    /// Both were forgotten.
    pub(crate) fn also(&mut self, other: Self) {
        self.keys_from_ms = self.keys_from_ms.max(other.keys_from_ms);
        self.certain_since_ms = self.certain_since_ms.max(other.certain_since_ms);
    }
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

    /// Log time and record time go on with an entry that was stamped with `proposed_at_ms`.
    /// `is_checkpoint`: with one that shall change nothing else.
    pub(crate) fn go_on(&mut self, proposed_at_ms: u64, is_checkpoint: bool) {
        let before_ms = self.log_time_ms;
        self.log_time_ms = before_ms.max(proposed_at_ms);
        let step_ms = (self.log_time_ms - before_ms).min(RECORD_TIME_STEP_MS_MAX);
        let least_us = if is_checkpoint {
            0
        } else {
            RECORD_TIME_STEP_US_MIN
        };
        let step_us = step_ms.saturating_mul(1_000).max(least_us);
        self.record_time_us = self.record_time_us.saturating_add(step_us);
    }

    /// The pool of verified actors' keys, or of all others'.
    #[must_use]
    pub const fn key_pool(&self, verified: bool) -> &KeyPool {
        if verified {
            &self.keys_verified
        } else {
            &self.keys_unverified
        }
    }

    pub(crate) const fn key_pool_mut(&mut self, verified: bool) -> &mut KeyPool {
        if verified {
            &mut self.keys_verified
        } else {
            &mut self.keys_unverified
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

/// The last adjustment of the clock; none before the first one.
///
/// # Errors
/// A fault of this replica's store.
pub fn clock_adjustment(rows: &dyn ReadRows) -> Result<Option<ClockAdjustment>, LocalFault> {
    codec::get(rows, "adjustment of the clock", &keys::CLOCK_ADJUSTMENT)
}

pub(crate) fn put_clock_adjustment(
    rows: &mut dyn Rows,
    adjustment: &ClockAdjustment,
) -> Result<(), LocalFault> {
    rows.put(keys::CLOCK_ADJUSTMENT.to_vec(), codec::encode(adjustment)?);
    Ok(())
}
