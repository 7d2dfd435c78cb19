//! Single rows: the cluster's identity, log time, counters.

use super::rows::ReadRows;
use crate::error::LocalFault;
use crate::ids::ClusterId;

/// The cluster's identity; none before the bootstrap.
///
/// # Errors
/// A fault of this replica's store.
pub fn cluster_id(_rows: &dyn ReadRows) -> Result<Option<ClusterId>, LocalFault> {
    Ok(None)
}

/// Log time: the latest `proposed_at_ms` of any applied entry, milliseconds since the Unix epoch.
///
/// # Errors
/// A fault of this replica's store.
pub fn log_time_ms(_rows: &dyn ReadRows) -> Result<u64, LocalFault> {
    Ok(0)
}
