//! Printers.

use minicbor::{Decode, Encode};
use raft3d_sdk::PrinterStatus;

use super::rows::{ReadRows, Rows};
use super::{codec, keys};
use crate::command::Labels;
use crate::error::LocalFault;
use crate::ids::{JobId, PrinterId, Revision};

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
pub fn get(rows: &dyn ReadRows, id: &PrinterId) -> Result<Option<Printer>, LocalFault> {
    codec::get(rows, "printers", &keys::printer(id))
}

pub(crate) fn put(rows: &mut dyn Rows, printer: &Printer) -> Result<(), LocalFault> {
    rows.put(keys::printer(&printer.id), codec::encode(printer)?);
    Ok(())
}

/// Up to `limit` printers after `after`, by id.
///
/// # Errors
/// A fault of this replica's store.
pub fn list(
    rows: &dyn ReadRows,
    after: Option<&PrinterId>,
    limit: usize,
) -> Result<Vec<Printer>, LocalFault> {
    let after = after.map(keys::printer);
    codec::scan(rows, "printers", &[keys::PRINTERS], after.as_deref(), limit)
}

/// How many jobs a printer has: sums that are rows of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PrinterLoad {
    /// Jobs that are not in a terminal state.
    #[n(0)]
    pub open: u64,
    /// Jobs whose state occupies the printer.
    #[n(1)]
    pub occupying: u64,
}

/// The load of a printer; zero where it has none.
///
/// # Errors
/// A fault of this replica's store.
pub fn load(rows: &dyn ReadRows, id: &PrinterId) -> Result<PrinterLoad, LocalFault> {
    Ok(codec::get(rows, "printer loads", &keys::printer_load(id))?.unwrap_or_default())
}

pub(crate) fn put_load(
    rows: &mut dyn Rows,
    id: &PrinterId,
    load: PrinterLoad,
) -> Result<(), LocalFault> {
    let key = keys::printer_load(id);
    if load == PrinterLoad::default() {
        rows.delete(&key);
    } else {
        rows.put(key, codec::encode(&load)?);
    }
    Ok(())
}

/// The first `limit` open jobs of a printer in the state of that name (without regard to ASCII
/// case): by priority, then by age.
///
/// # Errors
/// A fault of this replica's store.
pub fn queue(
    rows: &dyn ReadRows,
    id: &PrinterId,
    state: &str,
    limit: usize,
) -> Result<Vec<JobId>, LocalFault> {
    codec::scan(
        rows,
        "printer queues",
        &keys::queue_prefix(id, state),
        None,
        limit,
    )
}
