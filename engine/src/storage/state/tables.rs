//! The table files as they are at one moment.

use std::ops::Bound;
use std::sync::Arc;

use fjall::{Keyspace, Readable, Slice, Snapshot};
use raft3d_core::LocalFault;

use super::KEY_BYTES_MAX;
use super::chosen_jobs::ChosenJobs;
use super::error::fault;
use super::pending::{MintedTo, Sought};

/// A range of keys.
pub(super) type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// An MVCC snapshot of the table files, with what is known of them without a look into any. Cheap to
/// clone.
#[derive(Clone)]
pub(super) struct Tables {
    snapshot: Snapshot,
    rows: Keyspace,
    /// Of all requests in them.
    minted_to: MintedTo,
    jobs: Arc<ChosenJobs>,
}

impl Tables {
    pub(super) fn new(
        snapshot: Snapshot,
        rows: Keyspace,
        minted_to: MintedTo,
        jobs: Arc<ChosenJobs>,
    ) -> Self {
        Self {
            snapshot,
            rows,
            minted_to,
            jobs,
        }
    }

    /// The keyspace that they belong to.
    pub(super) fn rows(&self) -> &Keyspace {
        &self.rows
    }

    pub(super) fn minted_to(&self) -> MintedTo {
        self.minted_to
    }

    pub(super) fn jobs(&self) -> &Arc<ChosenJobs> {
        &self.jobs
    }

    /// The value of that row; none where there is none.
    pub(super) fn get(&self, sought: &Sought<'_>) -> Result<Option<Slice>, LocalFault> {
        // No longer row was ever taken, and fjall asserts that nobody asks for one.
        if sought.key().len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        let search = || self.snapshot.get(&self.rows, sought.key());
        if !self.minted_to.may_hold(sought) || !self.jobs.may_hold(sought) {
            debug_assert!(
                search().map_or(true, |found| found.is_none()),
                "it is there"
            );
            return Ok(None);
        }
        search().map_err(fault)
    }

    /// The rows in that range, ascending.
    pub(super) fn range(&self, range: KeyRange) -> fjall::Iter {
        self.snapshot.range(&self.rows, range)
    }
}
