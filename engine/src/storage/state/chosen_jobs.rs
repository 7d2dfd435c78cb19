//! Which jobs under ids that clients chose may be in table files.
//!
//! A new job's id is looked for when it comes, and mostly there is none. Each table file has a filter
//! that says so, and each of those is an access or two to memory that is in no cache. This is one
//! filter over all files, with one access. It is of a fixed size: where it holds too many, it is right
//! less often, and the files' filters decide.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use raft3d_core::state::is_job_of_chosen_id;

use super::pending::{Sought, filter_place};

/// 4 MiB. With two million jobs one look in some thirty is in vain, with four million one in five.
const FILTER_WORDS: usize = 512 * 1024;

/// The filter over the table files of one generation of the rows.
pub(super) struct ChosenJobs {
    words: Box<[AtomicU64]>,
    /// Whether all of them were seen: after a start, not before the rows were read once.
    has_seen_all: AtomicBool,
}

impl ChosenJobs {
    /// Of table files of which it has seen none, or which hold no row.
    pub(super) fn new(is_empty: bool) -> Arc<Self> {
        Arc::new(Self {
            words: (0..FILTER_WORDS).map(|_| AtomicU64::new(0)).collect(),
            has_seen_all: AtomicBool::new(is_empty),
        })
    }

    /// A row of theirs, or one that is about to be.
    pub(super) fn see(&self, key: &[u8]) {
        if is_job_of_chosen_id(key) {
            let (word, bits) = filter_place(Sought::new(key).hash(), FILTER_WORDS);
            if let Some(word) = self.words.get(word) {
                word.fetch_or(bits, Ordering::Relaxed);
            }
        }
    }

    /// Every row of theirs was seen.
    pub(super) fn set_seen_all(&self) {
        self.has_seen_all.store(true, Ordering::Release);
    }

    /// Whether that row may be among them.
    pub(super) fn may_hold(&self, sought: &Sought<'_>) -> bool {
        if !is_job_of_chosen_id(sought.key()) || !self.has_seen_all.load(Ordering::Acquire) {
            return true;
        }
        let (word, bits) = filter_place(sought.hash(), FILTER_WORDS);
        let word = self.words.get(word);
        word.is_none_or(|word| word.load(Ordering::Relaxed) & bits == bits)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use std::time::Duration;

    use tempfile::tempdir;

    use super::super::StateStore;
    use super::super::testing::{Model, job_key};
    use super::*;
    use crate::storage::snapshot::SnapshotStore;

    /// How many of a thousand jobs that do not exist are looked for in the files.
    fn in_vain(store: &StateStore) -> usize {
        let newest = store.newest.read().unwrap();
        let is_searched = |n: &usize| {
            let key = job_key(100_000 + n);
            newest.tables.jobs().may_hold(&Sought::new(&key))
        };
        (0..1_000).filter(is_searched).count()
    }

    fn commit_and_flush(model: &mut Model, store: &StateStore) {
        for _ in 0..100 {
            model.commit_next(store);
        }
        store.flush().unwrap();
        model.check(&store.view());
    }

    #[test]
    fn jobs_that_are_none_are_known_when_all_rows_were_seen() {
        let (dir, folder) = (tempdir().unwrap(), tempdir().unwrap());
        let mut model = Model::new(7);
        let store = StateStore::open(dir.path()).unwrap();
        for _ in 0..3 {
            assert!(in_vain(&store) < 10);
            commit_and_flush(&mut model, &store);
        }
        drop(store);

        let store = StateStore::open(dir.path()).unwrap();
        assert_eq!(in_vain(&store), 1_000, "no row was seen since the start");
        commit_and_flush(&mut model, &store);
        assert_eq!(in_vain(&store), 1_000);
        store.scrub(Duration::ZERO, || true).unwrap();
        assert!(in_vain(&store) < 10);
        commit_and_flush(&mut model, &store);

        let (snapshots, _) = SnapshotStore::open(folder.path()).unwrap();
        let snapshot = snapshots.build(&store.view()).unwrap();
        drop(store);
        let other = tempdir().unwrap();
        let store = StateStore::open(other.path()).unwrap();
        model.check(&store.install(&snapshot).unwrap());
        assert!(in_vain(&store) < 10);
        commit_and_flush(&mut model, &store);
    }
}
