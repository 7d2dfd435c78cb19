//! How fjall merges table files: on a thread of its own, as a compaction filter lets it.
//!
//! fjall calls such a filter for each row of a merge, to ask whether the row is kept. This one keeps
//! all of them, and takes the time to sync what has been written so far ([`GrowingTables`]) and to
//! pause: replicas, which all have the same rows, all merge when some of them do, and nobody waits
//! for it.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};

use super::growing::{GrowingTables, ROWS_BETWEEN_LOOKS};
use crate::runtime;

/// Rows that are merged between two pauses: some 200 us of work.
const ROWS_BETWEEN_PAUSES: u64 = 512;
const PAUSE: Duration = Duration::from_millis(1);
/// A merge does not pause any more once rows were written to so many new table files since it
/// began: it does not keep up with them.
const LATE_AFTER_FLUSHES: u64 = 2;

/// Which filters the merges of a keyspace have, by its name.
type FiltersOfKeyspace = Arc<dyn Fn(&str) -> Option<Arc<dyn Factory>> + Send + Sync>;

/// What the merges of one database have to know.
pub(super) struct Merges {
    dir: PathBuf,
    /// Times that rows were written to new table files.
    flushes: AtomicU64,
    stopping: AtomicBool,
}

impl Merges {
    /// Those of the database in `dir`.
    pub(super) fn of(dir: &Path) -> Arc<Self> {
        Arc::new(Self {
            dir: dir.to_owned(),
            flushes: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        })
    }

    /// The same filter for all keyspaces.
    pub(super) fn filters(self: &Arc<Self>) -> FiltersOfKeyspace {
        let factory: Arc<dyn Factory> = Arc::new(ForEachMerge(Arc::clone(self)));
        Arc::new(move |_keyspace| Some(Arc::clone(&factory)))
    }

    /// Rows are in new table files.
    pub(super) fn flushed(&self) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }

    /// From now on somebody waits for the one that goes on: fjall's end does.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether a merge that began after so many flushes has the time to pause.
    fn may_pause(&self, began: u64) -> bool {
        let since = self.flushes.load(Ordering::Relaxed) - began;
        since < LATE_AFTER_FLUSHES && !self.stopping.load(Ordering::Relaxed)
    }
}

struct ForEachMerge(Arc<Merges>);

impl Factory for ForEachMerge {
    fn name(&self) -> &'static str {
        "keep-all"
    }

    /// Called by the thread that merges.
    fn make_filter(&self, _context: &Context) -> Box<dyn CompactionFilter> {
        thread_local! {
            static IS_NICE: Cell<bool> = const { Cell::new(false) };
        }
        // Niceness adds up.
        if !IS_NICE.replace(true) {
            runtime::be_nice();
        }
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
    fn filter_item(&mut self, _: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        self.rows += 1;
        if self.rows.is_multiple_of(ROWS_BETWEEN_LOOKS) {
            self.tables.go_on();
        }
        if self.rows.is_multiple_of(ROWS_BETWEEN_PAUSES) && self.merges.may_pause(self.began) {
            std::thread::sleep(PAUSE);
        }
        Ok(Verdict::Keep)
    }

    /// Called before fjall takes a lock that every read asks for, under which it syncs the rest.
    fn finish(mut self: Box<Self>) {
        self.tables.sync();
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
        {
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
            let mut flushes = 0;
            // Views that are gone keep no files.
            while flushes < 12 || files() + 4 > flushes {
                for _ in 0..60 {
                    model.commit_next(&store);
                }
                store.flush().unwrap();
                flushes += 1;
            }
            model.check(&store.view());
            let view = store.view();
            assert_eq!(view.recompute_digest().unwrap(), view.digest());
        }
        model.check(&StateStore::open(dir.path()).unwrap().view());
    }

    #[test]
    fn a_merge_that_is_late_or_waited_for_does_not_pause() {
        let merges = Merges::of(Path::new("nowhere"));
        merges.flushed();
        assert!(merges.may_pause(1));
        merges.flushed();
        assert!(merges.may_pause(1));
        merges.flushed();
        assert!(!merges.may_pause(1), "rows come faster than it merges");
        assert!(merges.may_pause(3), "the next one");
        merges.stop();
        assert!(!merges.may_pause(3));
    }
}
