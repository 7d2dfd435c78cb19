//! Rows that apply has just read, kept from one chunk to the next.
//!
//! Every entry reads the totals, the ruleset, a printer, a filament and its sums, and asks several
//! times for rows that do not exist yet. In the store each of these is a search through write
//! buffer and table files: a third of what a replica computed for a write.
//!
//! Invariant: what is kept is what the store holds at `as_of`; apply computes the same with it and
//! without it (test `hot_rows_are_those_of_the_store`).

use std::cell::RefCell;

use foldhash::{HashMap, HashSet};
use raft3d_core::LocalFault;
use raft3d_core::state::overlay::Changes;
use raft3d_core::state::rows::{ReadRows, Row};
use raft3d_core::state::{is_of_later_entry, record_of_expiry};

use crate::raft::types::LogId;
use crate::storage::state::{Head, StateView};

/// Most rows kept from one chunk to the next; with one more, those are forgotten that were not
/// used since the last time.
const ROWS_MAX: usize = 1_024;
/// Largest value kept, in bytes: modules are not.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// What was read.
#[derive(Default)]
pub(super) struct Seen {
    rows: HashMap<Vec<u8>, SeenRow>,
    /// Keys that were looked for in vain in this chunk. They are mostly those of rows that it
    /// creates: nobody reads them soon, so they are forgotten with it.
    missing: HashSet<Vec<u8>>,
}

struct SeenRow {
    value: Vec<u8>,
    is_used: bool,
}

impl Seen {
    /// What is known of `key`.
    fn get(&mut self, key: &[u8]) -> Option<Option<&[u8]>> {
        match self.rows.get_mut(key) {
            Some(row) => {
                row.is_used = true;
                Some(Some(&row.value))
            }
            None => self.missing.contains(key).then_some(None),
        }
    }

    fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        match value {
            None => {
                self.missing.insert(key.to_vec());
            }
            Some(value) if value.len() <= VALUE_BYTES_MAX => {
                let value = value.to_vec();
                let is_used = false;
                self.rows.insert(key.to_vec(), SeenRow { value, is_used });
            }
            Some(_) => {}
        }
    }

    /// Forgets what is not worth its memory.
    fn shrink(&mut self) {
        self.missing.clear();
        if self.rows.len() <= ROWS_MAX {
            return;
        }
        self.rows.retain(|_, row| std::mem::take(&mut row.is_used));
        if self.rows.len() > ROWS_MAX {
            self.rows.clear();
        }
    }
}

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
        let seen = if current { kept.rows } else { Seen::default() };
        ReadThrough {
            view,
            seen: RefCell::new(seen),
        }
    }

    /// Keeps what `read` found, with the chunk's changes on top: right for the state that `head`
    /// describes, once they are written.
    pub(super) fn keep(&mut self, read: Seen, changes: &Changes, head: &Head) {
        let mut rows = read;
        for (key, change) in changes {
            let kept = change.as_ref().filter(|v| v.len() <= VALUE_BYTES_MAX);
            let Some(value) = kept else {
                rows.rows.remove(key);
                continue;
            };
            if let Some(row) = rows.rows.get_mut(key) {
                row.value.clone_from(value);
            }
        }
        rows.shrink();
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

    /// Whether the key itself says that the view cannot hold it. Most rows that an entry writes
    /// are new, and each would be looked for in every table file.
    fn cannot_hold(&self, key: &[u8]) -> bool {
        is_of_later_entry(key, self.view.revision())
            || record_of_expiry(key)
                .is_some_and(|record| self.seen.borrow().missing.contains(&record))
    }
}

impl ReadRows for ReadThrough<'_> {
    fn read(&self, key: &[u8], see: &mut dyn FnMut(Option<&[u8]>)) -> Result<(), LocalFault> {
        if let Some(seen) = self.seen.borrow_mut().get(key) {
            see(seen);
            return Ok(());
        }
        if self.cannot_hold(key) {
            see(None);
            return Ok(());
        }
        self.view.read(key, &mut |value| {
            self.seen.borrow_mut().put(key, value);
            see(value);
        })
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, LocalFault> {
        let page = self.view.scan(prefix, after, limit)?;
        // Apply scans for what it deletes, and asks for each of these rows again.
        let mut seen = self.seen.borrow_mut();
        for (key, value) in &page {
            seen.put(key, Some(value));
        }
        Ok(page)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use tempfile::tempdir;

    use super::*;
    use crate::storage::state::StateStore;
    use crate::storage::state::testing::{Model, log_id};

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
        assert!(!hot.rows.rows.is_empty(), "nothing was kept");
        read_all(&mut hot, &store, &model);
    }

    /// Such rows are not looked for in a view that cannot hold them; one that can, does.
    #[test]
    fn a_row_under_a_generated_id_is_found_from_its_entry_on() {
        let dir = tempdir().unwrap();
        let store = StateStore::open(dir.path()).unwrap();
        let mut hot = HotRows::default();
        let key = b"\x30r3d-5\x00\x01".to_vec();
        let mut seen = Vec::new();
        for index in [4, 5, 6] {
            let view = store.view();
            let read = hot.over(&view);
            seen.push(read.get(&key).unwrap());
            let row = (index == 5).then(|| (key.clone(), Some(b"job".to_vec())));
            let changes: Changes = row.into_iter().collect();
            let mut head = view.head().clone();
            head.last_applied = Some(log_id(index));
            hot.keep(read.into_seen(), &changes, &head);
            store.commit(changes, head).unwrap();
        }
        assert_eq!(seen, [None, None, Some(b"job".to_vec())]);
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
