//! A disk without room: what was to be written stays in memory, within bounds, until there is some.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fjall::{AbstractTree, Keyspace, PersistMode};
use raft3d_core::LocalFault;

use super::merges::MergeProgress;
use super::verify::TABLES_DIR;
use super::{PENDING_BYTES_MAX, StateStore};
use crate::storage::room;

/// Between two looks whether there is room again.
pub(crate) const ROOM_PAUSE: Duration = Duration::from_millis(250);

/// The table files of a keyspace at one moment, and how far merges had come.
pub(super) struct FilesBefore {
    /// None if the folder could not be listed.
    names: Option<BTreeSet<OsString>>,
    merges: MergeProgress,
}

impl StateStore {
    /// Waits until less than twice what is written at once is in memory: for whoever writes table
    /// files, and, on a full disk, for room there.
    ///
    /// # Errors
    /// A fault of the store, or it is being closed.
    pub(super) fn wait_until_written(&self) -> Result<(), LocalFault> {
        loop {
            drop(self.lock_writing());
            self.check_written()?;
            let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
            if newest.pending.bytes() < 2 * PENDING_BYTES_MAX {
                return Ok(());
            }
            drop(newest);
            if self.is_closing() {
                let message = "it is stopping while its disk is full".to_owned();
                return Err(LocalFault::Storage(message));
            }
            std::thread::sleep(ROOM_PAUSE);
        }
    }

    /// Notes which table files there are before more are written.
    pub(super) fn files_before(&self, rows: &Keyspace) -> FilesBefore {
        let merges = self.merges.progress();
        FilesBefore {
            names: names_in(&rows.path().join(TABLES_DIR)),
            merges,
        }
    }

    /// Deletes what a write that failed left of its table files. fjall leaves it until the next
    /// start, and each try would leave more: the room that somebody makes would be used up by it.
    ///
    /// A merge makes files too, which no version names before it is done: if one has moved since
    /// `before`, nothing is deleted now.
    pub(super) fn delete_unfinished(&self, rows: &Keyspace, before: &FilesBefore) {
        let folder = rows.path().join(TABLES_DIR);
        let (Some(known), Some(mut unfinished)) = (&before.names, names_in(&folder)) else {
            return;
        };
        if self.merges.progress() != before.merges {
            return;
        }
        let version = rows.tree.current_version();
        for table in version.iter_tables() {
            unfinished.remove(&OsString::from(table.id().to_string()));
        }
        for name in unfinished.difference(known) {
            // One that is left goes at the next start.
            let _ = fs::remove_file(folder.join(name));
        }
    }

    /// From now on nobody waits for room on the disk.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.merges.close();
    }

    /// Whether the thread that merges table files has ended by a fault. From then on what is written
    /// is kept, and nothing is merged any more until the database is opened again.
    pub(crate) fn has_stopped_merging(&self) -> bool {
        // Nothing is in its journal; what fjall answers is whether one of its threads has failed.
        let asked = self.database.persist(PersistMode::Buffer);
        matches!(asked, Err(fjall::Error::Poisoned))
    }

    /// Bytes that are free on its disk; none if the system does not say.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        room::free_bytes(&self.dir)
    }

    /// Whether a merge waits for room on the disk.
    pub(crate) fn merge_waits_for_room(&self) -> bool {
        self.merges.waits_for_room()
    }

    /// Whether nobody is to wait any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}

fn names_in(folder: &Path) -> Option<BTreeSet<OsString>> {
    let entries = fs::read_dir(folder).ok()?;
    let names = entries.map(|entry| Some(entry.ok()?.file_name()));
    names.collect()
}
