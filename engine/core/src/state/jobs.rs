//! Print jobs.

use minicbor::{Decode, Encode};
use raft3d_sdk::Grams;

use super::rows::{ReadRows, Rows};
use super::{codec, keys, sums};
use crate::command::{Actor, Labels};
use crate::error::LocalFault;
use crate::ids::{FilamentId, JobId, PrinterId, Revision};
use crate::limits::FILAMENTS_MAX;

/// Rows that [`list`] reads at once.
const LIST_PAGE_ROWS: usize = 128;
/// Rows that one call of [`list`] looks at before it hands back a place to go on.
const LIST_ROWS_MAX: usize = 4_096;

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

impl Job {
    /// What it reserves of its filament: what it may still need, while its state reserves.
    #[must_use]
    pub fn reservation(&self) -> Grams {
        if self.state.reserves {
            self.print_weight.saturating_sub(self.deducted)
        } else {
            Grams::ZERO
        }
    }
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
pub fn get(rows: &dyn ReadRows, id: &JobId) -> Result<Option<Job>, LocalFault> {
    codec::get(rows, "jobs", &keys::job(id))
}

/// Puts the job and keeps every sum in step; `before` is its row as it was.
pub(crate) fn put(rows: &mut dyn Rows, job: &Job, before: Option<&Job>) -> Result<(), LocalFault> {
    if let Some(before) = before {
        sums::leave(rows, before)?;
    }
    sums::enter(rows, job)?;
    rows.put(keys::job(&job.id), codec::encode(job)?);
    Ok(())
}

/// Up to `limit` jobs after `after` that `filter` lets through, by id.
///
/// # Errors
/// A fault of this replica's store.
pub fn list(
    rows: &dyn ReadRows,
    filter: &JobFilter,
    after: Option<&JobId>,
    limit: usize,
) -> Result<JobPage, LocalFault> {
    let mut found = Vec::new();
    let mut last = after.cloned();
    let mut looked_at = 0;
    while found.len() < limit && looked_at < LIST_ROWS_MAX {
        let key = last.as_ref().map(keys::job);
        let page: Vec<Job> =
            codec::scan(rows, "jobs", &[keys::JOBS], key.as_deref(), LIST_PAGE_ROWS)?;
        let at_end = page.len() < LIST_PAGE_ROWS;
        looked_at += page.len();
        for job in page {
            if found.len() == limit {
                return Ok(JobPage {
                    jobs: found,
                    next: last,
                });
            }
            last = Some(job.id.clone());
            if filter.lets_through(&job) {
                found.push(job);
            }
        }
        if at_end {
            return Ok(JobPage {
                jobs: found,
                next: None,
            });
        }
    }
    Ok(JobPage {
        jobs: found,
        next: last,
    })
}

impl JobFilter {
    fn lets_through(&self, job: &Job) -> bool {
        let label = |(key, value): &(String, Option<String>)| {
            job.labels
                .get(key)
                .is_some_and(|v| value.as_ref().is_none_or(|value| v == value))
        };
        self.status
            .as_ref()
            .is_none_or(|name| job.state.name.eq_ignore_ascii_case(name))
            && self
                .printer_id
                .as_ref()
                .is_none_or(|id| job.printer_id == *id)
            && self
                .filament_id
                .as_ref()
                .is_none_or(|id| job.filament_id == *id)
            && self.label.as_ref().is_none_or(label)
    }
}

/// Open jobs in one state.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StateCount {
    /// The state's display name, as the job that entered it last has it.
    #[n(0)]
    pub state: String,
    /// How many jobs are in it.
    #[n(1)]
    pub jobs: u64,
}

/// How many open jobs there are in each state that has any, by the state's name.
///
/// # Errors
/// A fault of this replica's store.
pub fn open_by_state(rows: &dyn ReadRows) -> Result<Vec<StateCount>, LocalFault> {
    let mut counts: Vec<StateCount> = Vec::new();
    loop {
        let after = counts.last().map(|count| keys::open_by_state(&count.state));
        let prefix = [keys::OPEN_BY_STATE];
        let page: Vec<StateCount> = codec::scan(
            rows,
            "open jobs by state",
            &prefix,
            after.as_deref(),
            LIST_PAGE_ROWS,
        )?;
        if page.is_empty() {
            return Ok(counts);
        }
        counts.extend(page);
    }
}

/// Name of the table in errors.
pub(super) const ACTOR_LOADS: &str = "loads of actors";

/// What the jobs of one actor add up to: sums that are a row of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ActorLoad {
    /// Jobs that they created and that are not in a terminal state.
    #[n(0)]
    pub open: u64,
    /// What their jobs reserve of all filaments together, in milligrams: more than one weight holds.
    #[n(1)]
    pub reserved_mg: u64,
}

// No filament's reservations exceed the largest weight, so that no sum of them overflows.
const _: () = assert!(FILAMENTS_MAX.checked_mul(Grams::MAX.mg()).is_some());

/// The load of an actor; zero where they have none.
///
/// # Errors
/// A fault of this replica's store.
pub fn actor_load(rows: &dyn ReadRows, actor: &Actor) -> Result<ActorLoad, LocalFault> {
    Ok(codec::get(rows, ACTOR_LOADS, &keys::actor_load(actor))?.unwrap_or_default())
}

pub(super) fn put_actor_load(
    rows: &mut dyn Rows,
    actor: &Actor,
    load: ActorLoad,
) -> Result<(), LocalFault> {
    let key = keys::actor_load(actor);
    if load == ActorLoad::default() {
        rows.delete(&key);
    } else {
        rows.put(key, codec::encode(&load)?);
    }
    Ok(())
}
