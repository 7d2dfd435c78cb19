//! How fjall merges table files: on a thread of its own, at a pace at which others get on.
//!
//! fjall asks a compaction filter for each row that it merges (but for those that say that a row was
//! deleted) whether the row is kept. This one keeps all of them, and takes the time to sync what has
//! been written so far ([`GrowingTables`]) and to pause: replicas, which all have the same rows, merge
//! at much the same time, and nobody waits for it.
//!
//! The thread is not made nicer than others. At the end of a merge fjall holds a lock that every read
//! asks for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};

use super::ROWS_BETWEEN_PAUSES;
use super::growing::GrowingTables;

/// Between [`ROWS_BETWEEN_PAUSES`] rows and the next ones.
const PAUSE: Duration = Duration::from_millis(1);
/// A merge does not pause any more once rows were written to new table files so many times since it
/// began: it does not keep up with them.
const LATE_AFTER_FLUSHES: u64 = 2;

/// Which filters the merges of a keyspace have, by its name.
type FiltersOfKeyspace = Arc<dyn Fn(&str) -> Option<Arc<dyn Factory>> + Send + Sync>;

/// What the merges of one database have to know, and what they say.
pub(super) struct Merges {
    dir: PathBuf,
    /// Times that rows were written to new table files.
    flushes: AtomicU64,
    /// Whether the database is open and not about to close: whoever closes it waits for a merge.
    in_use: AtomicBool,
    fault: OnceLock<String>,
    #[cfg(test)]
    merged_rows: AtomicU64,
}

impl Merges {
    /// Those of the database in `dir`.
    pub(super) fn of(dir: &Path) -> Arc<Self> {
        Arc::new(Self {
            dir: dir.to_owned(),
            flushes: AtomicU64::new(0),
            in_use: AtomicBool::new(false),
            fault: OnceLock::new(),
            #[cfg(test)]
            merged_rows: AtomicU64::new(0),
        })
    }

    /// The same filter for all keyspaces.
    pub(super) fn filters(self: &Arc<Self>) -> FiltersOfKeyspace {
        let factory: Arc<dyn Factory> = Arc::new(ForEachMerge(Arc::clone(self)));
        Arc::new(move |_keyspace| Some(Arc::clone(&factory)))
    }

    /// The database is open, or about to close.
    pub(super) fn set_in_use(&self, in_use: bool) {
        self.in_use.store(in_use, Ordering::Relaxed);
    }

    /// Rows are in new table files.
    pub(super) fn flushed(&self) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }

    /// Why what was merged may not be on the disk.
    pub(super) fn fault(&self) -> Option<&String> {
        self.fault.get()
    }

    /// Whether a merge that began after so many flushes has the time to pause.
    fn may_pause(&self, began: u64) -> bool {
        let since = self.flushes.load(Ordering::Relaxed) - began;
        since < LATE_AFTER_FLUSHES && self.in_use.load(Ordering::Relaxed)
    }

    /// A sync that failed here may not fail once more where fjall asks for it.
    fn note(&self, synced: io::Result<()>) {
        if let Err(error) = synced {
            let fault = || format!("syncing table files that are merged failed: {error}");
            self.fault.get_or_init(fault);
        }
    }
}

struct ForEachMerge(Arc<Merges>);

impl Factory for ForEachMerge {
    fn name(&self) -> &'static str {
        "keep-all"
    }

    fn make_filter(&self, _context: &Context) -> Box<dyn CompactionFilter> {
        let merges = Arc::clone(&self.0);
        Box::new(Merge {
            tables: GrowingTables::of(&merges.dir),
            rows: 0,
            began: merges.flushes.load(Ordering::Relaxed),
            merges,
        })
    }
}

/// One merge.
struct Merge {
    merges: Arc<Merges>,
    tables: GrowingTables,
    rows: u64,
    /// Flushes until then.
    began: u64,
}

impl CompactionFilter for Merge {
    fn filter_item(&mut self, row: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let bytes = row.key().len() + row.value()?.len();
        self.merges.note(self.tables.wrote(bytes));
        self.rows += 1;
        if self.rows.is_multiple_of(ROWS_BETWEEN_PAUSES) && self.merges.may_pause(self.began) {
            std::thread::sleep(PAUSE);
        }
        #[cfg(test)]
        self.merges.merged_rows.fetch_add(1, Ordering::Relaxed);
        Ok(Verdict::Keep)
    }

    /// Called before fjall takes its lock, under which it syncs the rest of the last file.
    fn finish(mut self: Box<Self>) {
        self.merges.note(self.tables.sync());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use std::fs;

    use tempfile::tempdir;

    use super::super::StateStore;
    use super::super::random::Random;
    use super::super::testing::Model;
    use super::super::verify::TABLES_DIR;
    use super::*;

    #[test]
    fn merges_keep_every_row() {
        let seed = Random::seed("storage::state");
        let dir = tempdir().unwrap();
        let mut model = Model::new(seed);
        // A database that is made, and one that is opened.
        for _ in 0..2 {
            let store = StateStore::open(dir.path()).unwrap();
            let tables = store
                .newest
                .read()
                .unwrap()
                .tables
                .rows()
                .path()
                .join(TABLES_DIR);
            let files = || fs::read_dir(&tables).unwrap().count();
            let before = files();
            let merged = || store.merges.merged_rows.load(Ordering::Relaxed);
            let mut flushes = 0;
            // Views that are gone keep no files.
            while merged() == 0 || files() + 4 > before + flushes {
                for _ in 0..60 {
                    model.commit_next(&store);
                }
                store.flush().unwrap();
                flushes += 1;
                assert!(flushes < 1_000, "nothing is merged");
            }
            model.check(&store.view());
            let view = store.view();
            assert_eq!(view.recompute_digest().unwrap(), view.digest());
        }
        model.check(&StateStore::open(dir.path()).unwrap().view());
    }

    #[test]
    fn a_sync_that_failed_in_a_merge_stops_the_store() {
        let dir = tempdir().unwrap();
        let store = StateStore::open(dir.path()).unwrap();
        let mut model = Model::new(1);
        model.commit_next(&store);
        store.merges.note(Ok(()));
        store.flush().unwrap();
        store.merges.note(Err(io::ErrorKind::StorageFull.into()));
        let refused = store.commit(&[], store.view().head().clone());
        assert!(refused.is_err_and(|fault| fault.to_string().contains("merged")));
        assert!(store.flush().is_err());
    }

    #[test]
    fn a_merge_that_is_late_or_waited_for_does_not_pause() {
        let merges = Merges::of(Path::new("nowhere"));
        merges.flushed();
        assert!(!merges.may_pause(1), "who opens it may wait");
        merges.set_in_use(true);
        assert!(merges.may_pause(1));
        merges.flushed();
        assert!(merges.may_pause(1));
        merges.flushed();
        assert!(!merges.may_pause(1), "rows come faster than it merges");
        assert!(merges.may_pause(3), "the next one");
        merges.set_in_use(false);
        assert!(!merges.may_pause(3));
    }
}
