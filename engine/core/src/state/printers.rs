//! Printers.

use minicbor::{Decode, Encode};
use raft3d_sdk::PrinterStatus;

use super::rows::ReadRows;
use crate::command::Labels;
use crate::error::LocalFault;
use crate::ids::{PrinterId, Revision};

/// A printer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Printer {
    /// Id.
    #[n(0)]
    pub id: PrinterId,
    /// Maker.
    #[n(1)]
    pub company: String,
    /// Model.
    #[n(2)]
    pub model: String,
    /// Labels.
    #[n(3)]
    pub labels: Labels,
    /// Status.
    #[n(4)]
    pub status: PrinterStatus,
    /// Revision that last changed this row.
    #[n(5)]
    pub revision: Revision,
    /// Log time of its creation, milliseconds since the Unix epoch.
    #[n(6)]
    pub created_at_ms: u64,
}

/// The printer of that id.
///
/// # Errors
/// A fault of this replica's store.
pub fn get(_rows: &dyn ReadRows, _id: &PrinterId) -> Result<Option<Printer>, LocalFault> {
    Ok(None)
}

/// Up to `limit` printers after `after`, by id.
///
/// # Errors
/// A fault of this replica's store.
pub fn list(
    _rows: &dyn ReadRows,
    _after: Option<&PrinterId>,
    _limit: usize,
) -> Result<Vec<Printer>, LocalFault> {
    Ok(Vec::new())
}
