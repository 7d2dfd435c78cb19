//! Recomputing the digest of all rows while the node runs, at leisure.
//!
//! The start compares the files with their checksums, so what a disk damages is found before
//! anything is served. What is left for the digest is what no checksum sees: rows that were
//! written wrong. Every snapshot that is made compares it too, before it becomes durable.

use std::fs;
use std::time::Duration;

use raft3d_core::LocalFault;
use raft3d_core::state::digest::Digest;

use super::{DAMAGED_MARK_FILE, StateError, StateStore};
use crate::storage::files::sync_dir;

/// Rows that are read between two pauses.
const ROWS_BETWEEN_PAUSES: u64 = 1_000;

impl StateStore {
    /// Reads the newest revision's rows and compares their digest, with a pause after every
    /// thousand of them. Where they differ the database is marked, so that the next start sets it
    /// aside and rebuilds it. From then on it is known without a search which jobs are none.
    ///
    /// `go_on` is asked at each pause; none is the answer where it said no.
    ///
    /// # Errors
    /// [`StateError::Damaged`], or a fault of the disk.
    pub fn scrub(
        &self,
        pause: Duration,
        go_on: impl Fn() -> bool,
    ) -> Result<Option<Digest>, StateError> {
        let view = self.view();
        let (mut digest, mut rows) = (Digest::default(), 0);
        let jobs = view.tables().jobs();
        let mut stopped = false;
        let read = view.for_each_row(|key, value| {
            digest.add(key, value);
            jobs.see(key);
            rows += 1;
            if rows % ROWS_BETWEEN_PAUSES == 0 {
                std::thread::sleep(pause);
                stopped = !go_on();
            }
            if stopped {
                return Err(LocalFault::Storage("the scrub was stopped".to_owned()));
            }
            Ok(())
        });
        if stopped {
            return Ok(None);
        }
        read?;
        jobs.set_seen_all();
        if digest == view.digest() {
            return Ok(Some(digest));
        }
        let found = format!(
            "its rows have digest {digest} at revision {}, and should have {}",
            view.revision(),
            view.digest()
        );
        self.mark_damaged(&found);
        Err(StateError::Damaged(found))
    }

    /// Has the next start set the database aside. Where even that cannot be written, the next
    /// scrub or snapshot finds it again.
    pub fn mark_damaged(&self, found: &str) {
        let path = self.dir.join(DAMAGED_MARK_FILE);
        let marked = fs::write(&path, found)
            .and_then(|()| fs::File::open(&path)?.sync_all())
            .and_then(|()| sync_dir(&self.dir));
        if let Err(error) = marked {
            tracing::warn!("{} cannot be written: {error}", path.display());
        }
    }
}
