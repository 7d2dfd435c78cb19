//! Print jobs.

use minicbor::{Decode, Encode};
use raft3d_sdk::Grams;

use super::rows::ReadRows;
use crate::command::{Actor, Labels};
use crate::error::LocalFault;
use crate::ids::{FilamentId, JobId, PrinterId, Revision};

/// A job's state with the flags it had when the job entered it; a new lifecycle's flags apply from
/// the next transition.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JobState {
    /// Display name.
    #[n(0)]
    pub name: String,
    /// Jobs never leave it.
    #[n(1)]
    pub terminal: bool,
    /// Reserves filament.
    #[n(2)]
    pub reserves: bool,
    /// Occupies the printer.
    #[n(3)]
    pub occupies: bool,
}

/// A print job.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Job {
    /// Id.
    #[n(0)]
    pub id: JobId,
    /// Printer.
    #[n(1)]
    pub printer_id: PrinterId,
    /// Filament.
    #[n(2)]
    pub filament_id: FilamentId,
    /// Path of the model file.
    #[n(3)]
    pub filepath: String,
    /// Weight that the slicer expects the print to take.
    #[n(4)]
    pub print_weight: Grams,
    /// Priority: higher is sooner.
    #[n(5)]
    pub priority: i32,
    /// Labels.
    #[n(6)]
    pub labels: Labels,
    /// State.
    #[n(7)]
    pub state: JobState,
    /// What it has taken from the filament so far.
    #[n(8)]
    pub deducted: Grams,
    /// Who created it.
    #[n(9)]
    pub created_by: Actor,
    /// Log time of its creation, milliseconds since the Unix epoch.
    #[n(10)]
    pub created_at_ms: u64,
    /// Log time of its last change, milliseconds since the Unix epoch.
    #[n(11)]
    pub updated_at_ms: u64,
    /// Revision that last changed this row.
    #[n(12)]
    pub revision: Revision,
    /// Revision that created it (its age in the printer's queue).
    #[n(13)]
    pub created_revision: Revision,
}

/// Which jobs to list. All that is given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// State's display name, without regard to ASCII case.
    pub status: Option<String>,
    /// Printer.
    pub printer_id: Option<PrinterId>,
    /// Filament.
    pub filament_id: Option<FilamentId>,
    /// Label: key, and its value where one is given.
    pub label: Option<(String, Option<String>)>,
}

/// One page of a filtered list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPage {
    /// The jobs, by id.
    pub jobs: Vec<Job>,
    /// Where to go on; none at the end. May be there although `jobs` is short: one call looks at a
    /// limited number of rows.
    pub next: Option<JobId>,
}

/// The job of that id.
///
/// # Errors
/// A fault of this replica's store.
pub fn get(_rows: &dyn ReadRows, _id: &JobId) -> Result<Option<Job>, LocalFault> {
    Ok(None)
}

/// Up to `limit` jobs after `after` that `filter` lets through, by id.
///
/// # Errors
/// A fault of this replica's store.
pub fn list(
    _rows: &dyn ReadRows,
    _filter: &JobFilter,
    _after: Option<&JobId>,
    _limit: usize,
) -> Result<JobPage, LocalFault> {
    Ok(JobPage { jobs: Vec::new(), next: None })
}
