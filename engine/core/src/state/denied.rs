//! The entries that are recorded as denied, by log index. Nothing of what an entry computes depends on
//! these rows: they are there for whoever applies the denied entry again, from a snapshot or a log.

use super::rows::{ReadRows, Rows};
use super::{codec, keys};
use crate::command::DeniedEntry;
use crate::error::LocalFault;
use crate::ids::Revision;
use crate::limits::DENIED_ENTRIES_MAX;

/// What is recorded of the entry at `index`.
///
/// # Errors
/// A fault of this replica's store.
pub fn get(rows: &dyn ReadRows, index: Revision) -> Result<Option<DeniedEntry>, LocalFault> {
    codec::get(rows, "denied entries", &keys::denied(index))
}

/// All of them, by index: at most `DENIED_ENTRIES_MAX`.
///
/// # Errors
/// A fault of this replica's store.
pub fn all(rows: &dyn ReadRows) -> Result<Vec<DeniedEntry>, LocalFault> {
    let stored = rows.scan(&[keys::DENIED], None, DENIED_ENTRIES_MAX)?;
    let decoded = stored
        .iter()
        .map(|(_, value)| codec::decode("denied entries", value));
    decoded.collect()
}

pub(crate) fn put(rows: &mut dyn Rows, entry: &DeniedEntry) -> Result<(), LocalFault> {
    rows.put(keys::denied(entry.index), codec::encode(entry)?);
    Ok(())
}
