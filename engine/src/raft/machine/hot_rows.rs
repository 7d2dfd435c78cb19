//! Rows that apply has just read, kept from one chunk to the next.
//!
//! Every entry reads the totals, the ruleset, a printer, a filament and its sums, and asks several
//! times for rows that do not exist yet. In the store each of these is a search through write
//! buffer and table files: a third of what a replica computed for a write.
//!
//! Invariant: what is kept is what the store holds at `as_of`; apply computes the same with it and
//! without it (test `hot_rows_are_those_of_the_store`).

use std::cell::RefCell;
use std::collections::HashMap;

use raft3d_core::LocalFault;
use raft3d_core::state::overlay::Changes;
use raft3d_core::state::rows::{ReadRows, Row};

use crate::raft::types::LogId;
use crate::storage::state::{Head, StateView};

/// Most rows kept from one chunk to the next; with one more, all are forgotten.
const ROWS_MAX: usize = 1_024;
/// Largest value kept, in bytes: modules are not.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// The rows, and none where a key was looked for in vain.
type Seen = HashMap<Vec<u8>, Option<Vec<u8>>>;

/// What is kept between two chunks.
#[derive(Default)]
pub(super) struct HotRows {
    as_of: Option<AsOf>,
    rows: Seen,
}

/// Which state of the store: a snapshot that is installed begins a new generation.
type AsOf = (u64, Option<LogId>);

fn as_of(head: &Head) -> AsOf {
    (head.generation, head.last_applied)
}

impl HotRows {
    /// The rows of `view`, read through what is kept; forgets what is of another state.
    pub(super) fn over<'v>(&mut self, view: &'v StateView) -> ReadThrough<'v> {
        let kept = std::mem::take(self);
        let current = kept.as_of == Some(as_of(view.head()));
        let seen = if current { kept.rows } else { Seen::new() };
        ReadThrough {
            view,
            seen: RefCell::new(seen),
        }
    }

    /// Keeps what `read` found, with the chunk's changes on top: right for the state that `head`
    /// describes, once they are written.
    pub(super) fn keep(&mut self, read: Seen, changes: &Changes, head: &Head) {
        let mut rows = read;
        // Rows that were missing are mostly those that the chunk created: nobody reads them soon.
        rows.retain(|_, value| value.is_some());
        for (key, change) in changes {
            if let Some(value) = rows.get_mut(key) {
                value.clone_from(change);
            }
        }
        if rows.len() > ROWS_MAX {
            rows.clear();
        }
        *self = Self {
            as_of: Some(as_of(head)),
            rows,
        };
    }
}

/// A view that remembers what was read from it.
pub(super) struct ReadThrough<'v> {
    view: &'v StateView,
    seen: RefCell<Seen>,
}

impl ReadThrough<'_> {
    pub(super) fn into_seen(self) -> Seen {
        self.seen.into_inner()
    }
}

impl ReadRows for ReadThrough<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LocalFault> {
        if let Some(seen) = self.seen.borrow().get(key) {
            return Ok(seen.clone());
        }
        let value = self.view.get(key)?;
        if value.as_ref().is_none_or(|v| v.len() <= VALUE_BYTES_MAX) {
            let mut seen = self.seen.borrow_mut();
            seen.insert(key.to_vec(), value.clone());
        }
        Ok(value)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, LocalFault> {
        self.view.scan(prefix, after, limit)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use tempfile::tempdir;

    use super::*;
    use crate::storage::state::StateStore;
    use crate::storage::state::testing::Model;

    /// Reads what the model holds through `hot`, and keys that it does not hold.
    fn read_all(hot: &mut HotRows, store: &StateStore, model: &Model) -> Seen {
        let view = store.view();
        let read = hot.over(&view);
        for number in 0..200 {
            for table in ["a", "ab", "b\u{7f}"] {
                let key = format!("{table}/{number:03}").into_bytes();
                let expected = model.rows.get(&key).cloned();
                assert_eq!(read.get(&key).unwrap(), expected, "seed {}", model.seed);
            }
        }
        read.into_seen()
    }

    #[test]
    fn hot_rows_are_those_of_the_store() {
        let dir = tempdir().unwrap();
        let store = StateStore::open(dir.path()).unwrap();
        let mut hot = HotRows::default();
        let mut model = Model::new(1);
        for _ in 0..200 {
            let seen = read_all(&mut hot, &store, &model);
            let changes = model.step();
            let head = model.head(store.view().head().generation);
            hot.keep(seen, &changes, &head);
            store.commit(changes, head).unwrap();
        }
        assert!(!hot.rows.is_empty(), "nothing was kept");
        read_all(&mut hot, &store, &model);
    }

    #[test]
    fn rows_of_another_state_are_forgotten() {
        let dir = tempdir().unwrap();
        let store = StateStore::open(dir.path()).unwrap();
        let mut hot = HotRows::default();
        let mut model = Model::new(2);
        let seen = read_all(&mut hot, &store, &model);
        hot.keep(seen, &Changes::new(), store.view().head());
        // Somebody else changes the state: an installed snapshot, a chunk that was not kept.
        for _ in 0..50 {
            model.commit_next(&store);
        }
        let seen = read_all(&mut hot, &store, &model);
        let mut replaced = store.view().head().clone();
        replaced.generation += 1;
        hot.keep(seen, &Changes::new(), &replaced);
        model.commit_next(&store);
        read_all(&mut hot, &store, &model);
    }
}
