//! Recorded decisions in a snapshot file, as a node keeps it in its data folder. The file is read
//! as it lies there; the node may run or not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use raft3d_engine::core::ModuleDigest;
use raft3d_engine::core::state::decisions::{DecisionRecord, RecordsOfRows};
use raft3d_engine::core::state::{modules, rulesets};
use raft3d_engine::sdk::Lifecycle;
use raft3d_engine::storage::snapshot::{SnapshotError, SnapshotHandle};

use super::Next;

/// A whole snapshot file.
pub(super) struct Backup {
    file: PathBuf,
    handle: SnapshotHandle,
}

/// Why reading ends before the end of the file.
enum Halt {
    /// Nothing more is wanted.
    Enough,
    /// It cannot go on.
    Error(anyhow::Error),
}

impl From<SnapshotError> for Halt {
    fn from(error: SnapshotError) -> Self {
        Self::Error(error.into())
    }
}

impl Backup {
    /// Opens the file and reads all of it once: its bytes are compared with their checksums.
    ///
    /// # Errors
    /// It is not readable, no snapshot, or damaged.
    pub(super) fn open(file: &Path) -> Result<Self> {
        let handle =
            SnapshotHandle::open(file).with_context(|| format!("--backup {}", file.display()))?;
        Ok(Self {
            file: file.to_owned(),
            handle,
        })
    }

    /// Log index of the last entry in it.
    pub(super) fn newest(&self) -> u64 {
        let last = self.handle.header().last_log_id;
        last.map_or(0, |log_id| log_id.index)
    }

    pub(super) fn modules_called(&self, name: &str) -> Result<BTreeSet<ModuleDigest>> {
        let mut called = BTreeSet::new();
        self.rows(|key, value| {
            let module = modules::of_row(key, value).map_err(|fault| Halt::Error(fault.into()))?;
            called.extend(
                module
                    .filter(|module| module.manifest.name == name)
                    .map(|module| module.digest),
            );
            Ok(())
        })?;
        Ok(called)
    }

    /// The lifecycle of the ruleset that was active; none if there was none.
    pub(super) fn lifecycle(&self) -> Result<Option<Lifecycle>> {
        let mut newest = None;
        self.rows(|key, value| {
            let ruleset =
                rulesets::of_row(key, value).map_err(|fault| Halt::Error(fault.into()))?;
            // Rows lie in the order of their revisions, and the last one is active.
            newest = ruleset.map(|it| it.lifecycle).or(newest.take());
            Ok(())
        })?;
        Ok(newest)
    }

    pub(super) fn each(&self, take: &mut dyn FnMut(DecisionRecord) -> Next) -> Result<()> {
        let mut records = RecordsOfRows::default();
        self.rows(|key, value| {
            let record = records.next(key, value);
            let record = record.map_err(|fault| Halt::Error(fault.into()))?;
            match record.map(&mut *take) {
                Some(Next::Enough) => Err(Halt::Enough),
                _ => Ok(()),
            }
        })
    }

    fn rows(&self, row: impl FnMut(&[u8], &[u8]) -> Result<(), Halt>) -> Result<()> {
        let about = || format!("--backup {}", self.file.display());
        let reader = self.handle.reader().with_context(about)?;
        match reader.for_each_row(row) {
            Ok(_) | Err(Halt::Enough) => Ok(()),
            Err(Halt::Error(error)) => Err(error).with_context(about),
        }
    }
}
