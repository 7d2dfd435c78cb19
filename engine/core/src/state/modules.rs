//! Modules: the author's original bytes, and what is known of them.

use minicbor::{Decode, Encode};
use raft3d_sdk::Manifest;

use super::rows::ReadRows;
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
pub fn get(_rows: &dyn ReadRows, _id: ModuleDigest) -> Result<Option<ModuleInfo>, LocalFault> {
    Ok(None)
}

/// The module's original bytes.
///
/// # Errors
/// A fault of this replica's store.
pub fn bytes(_rows: &dyn ReadRows, _id: ModuleDigest) -> Result<Option<Vec<u8>>, LocalFault> {
    Ok(None)
}

/// Up to `limit` modules after `after`, by digest.
///
/// # Errors
/// A fault of this replica's store.
pub fn list(
    _rows: &dyn ReadRows,
    _after: Option<ModuleDigest>,
    _limit: usize,
) -> Result<Vec<ModuleInfo>, LocalFault> {
    Ok(Vec::new())
}
