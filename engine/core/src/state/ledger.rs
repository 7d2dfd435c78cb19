//! The ledger: every gram that ever entered or left a filament.

use minicbor::{Decode, Encode};
use raft3d_sdk::Grams;

use super::rows::{ReadRows, Rows};
use super::{codec, keys};
use crate::command::Actor;
use crate::error::LocalFault;
use crate::ids::{FilamentId, JobId, Revision};

/// Which way the grams went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum LedgerKind {
    /// What remained when the filament was added.
    #[n(0)]
    Loaded,
    /// Taken by a job.
    #[n(1)]
    Deducted,
    /// Added by an adjustment.
    #[n(2)]
    AdjustedUp,
    /// Taken by an adjustment.
    #[n(3)]
    AdjustedDown,
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LedgerEntry {
    /// Revision that wrote it.
    #[n(0)]
    pub revision: Revision,
    /// Which way.
    #[n(1)]
    pub kind: LedgerKind,
    /// How much.
    #[n(2)]
    pub amount: Grams,
    /// For which job.
    #[n(3)]
    pub job: Option<JobId>,
    /// Why.
    #[n(4)]
    pub reason: String,
    /// Who.
    #[n(5)]
    pub actor: Actor,
    /// Log time, milliseconds since the Unix epoch.
    #[n(6)]
    pub at_ms: u64,
}

/// Up to `limit` lines of a filament after the revision `after`, oldest first.
///
/// # Errors
/// A fault of this replica's store.
pub fn list(
    rows: &dyn ReadRows,
    filament: &FilamentId,
    after: Option<Revision>,
    limit: usize,
) -> Result<Vec<LedgerEntry>, LocalFault> {
    let after = after.map(|revision| keys::ledger(filament, revision));
    codec::scan(
        rows,
        "ledger",
        &keys::ledger_prefix(filament),
        after.as_deref(),
        limit,
    )
}

/// Appends a line. An entry of the log writes at most one per filament.
pub(crate) fn append(
    rows: &mut dyn Rows,
    filament: &FilamentId,
    entry: &LedgerEntry,
) -> Result<(), LocalFault> {
    rows.put(
        keys::ledger(filament, entry.revision),
        codec::encode(entry)?,
    );
    Ok(())
}
