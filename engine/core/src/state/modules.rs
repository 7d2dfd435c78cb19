//! Modules: the author's original bytes, and what is known of them.

use minicbor::{Decode, Encode};
use raft3d_sdk::Manifest;

use super::rows::{ReadRows, Rows};
use super::{codec, keys};
use crate::command::Actor;
use crate::error::LocalFault;
use crate::ids::{ModuleDigest, Revision};

/// What is known of a module. Its bytes are a row of their own.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ModuleInfo {
    /// SHA-256 of its bytes.
    #[n(0)]
    pub digest: ModuleDigest,
    /// Size in bytes.
    #[n(1)]
    pub size_bytes: u64,
    /// Manifest.
    #[n(2)]
    pub manifest: Manifest,
    /// Who uploaded it.
    #[n(3)]
    pub uploaded_by: Actor,
    /// Log time of the upload, milliseconds since the Unix epoch.
    #[n(4)]
    pub uploaded_at_ms: u64,
    /// Revision of the upload.
    #[n(5)]
    pub revision: Revision,
}

/// The module of that digest, without its bytes.
///
/// # Errors
/// A fault of this replica's store.
pub fn get(rows: &dyn ReadRows, id: ModuleDigest) -> Result<Option<ModuleInfo>, LocalFault> {
    codec::get(rows, "modules", &keys::module(id))
}

/// What is known of the module in a row of any table; none where the row is of another one.
///
/// # Errors
/// The row is damaged.
pub fn of_row(key: &[u8], value: &[u8]) -> Result<Option<ModuleInfo>, LocalFault> {
    let is_one = key.first() == Some(&keys::MODULES);
    is_one.then(|| codec::decode("modules", value)).transpose()
}

/// Whether there is a module of that digest. Reads no more than the small row.
///
/// # Errors
/// A fault of this replica's store.
pub(crate) fn is_there(rows: &dyn ReadRows, id: ModuleDigest) -> Result<bool, LocalFault> {
    let mut is_there = false;
    rows.read(&keys::module(id), &mut |row| is_there = row.is_some())?;
    Ok(is_there)
}

/// The module's original bytes.
///
/// # Errors
/// A fault of this replica's store.
pub fn bytes(rows: &dyn ReadRows, id: ModuleDigest) -> Result<Option<Vec<u8>>, LocalFault> {
    rows.get(&keys::module_bytes(id))
}

pub(crate) fn put(
    rows: &mut dyn Rows,
    info: &ModuleInfo,
    bytes: Vec<u8>,
) -> Result<(), LocalFault> {
    rows.put(keys::module(info.digest), codec::encode(info)?);
    rows.put(keys::module_bytes(info.digest), bytes);
    Ok(())
}

pub(crate) fn delete(rows: &mut dyn Rows, id: ModuleDigest) {
    rows.delete(&keys::module(id));
    rows.delete(&keys::module_bytes(id));
}

/// Up to `limit` modules after `after`, by digest.
///
/// # Errors
/// A fault of this replica's store.
pub fn list(
    rows: &dyn ReadRows,
    after: Option<ModuleDigest>,
    limit: usize,
) -> Result<Vec<ModuleInfo>, LocalFault> {
    let after = after.map(keys::module);
    codec::scan(rows, "modules", &[keys::MODULES], after.as_deref(), limit)
}
