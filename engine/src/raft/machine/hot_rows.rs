//! The rows that one chunk reads and changes, and those of them that are kept for the next chunk.
//!
//! Every entry reads the totals, the ruleset, a printer, a filament and its sums, changes most of
//! them, and asks several times for rows that do not exist yet. In the store each of these is a
//! search through many layers and table files, so what is known of a row stands here once, under
//! its hash: what the store holds, and what the chunk makes of it.
//!
//! Invariant: what is kept is what the store holds at `as_of`; apply computes the same with it and
//! without it (test `hot_rows_are_those_of_the_store`).

use std::cell::RefCell;

use foldhash::HashMap;
use raft3d_core::LocalFault;
use raft3d_core::state::digest::Digest;
use raft3d_core::state::is_of_later_entry;
use raft3d_core::state::overlay::Overlay;
use raft3d_core::state::rows::{ReadRows, Row, Rows};

use crate::raft::types::LogId;
use crate::storage::state::{Change, Head, StateView};

/// Most rows kept from one chunk to the next; with one more, those are forgotten that were not
/// used since the last time.
const ROWS_MAX: usize = 1_024;
/// Largest value kept, in bytes: modules are not.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// What is known of the rows, by key.
#[derive(Default)]
pub(super) struct Known(HashMap<Vec<u8>, KnownRow>);

struct KnownRow {
    /// As of now; none where there is none.
    value: Option<Vec<u8>>,
    /// What the store holds, if the chunk changed it.
    changed_from: Option<Stored>,
    /// Whether the chunk read it where the store, or an earlier chunk, had it: such rows are read
    /// again soon.
    is_hot: bool,
    /// Whether it was read again since the last time that rows were forgotten.
    is_used: bool,
}

/// What the store holds of a row that was changed.
enum Stored {
    Value(Option<Vec<u8>>),
    /// Nobody looked.
    Unknown,
}

impl KnownRow {
    /// As the store has it.
    fn read(value: Option<Vec<u8>>) -> Self {
        Self {
            is_hot: value.is_some(),
            value,
            changed_from: None,
            is_used: false,
        }
    }

    fn change(&mut self, value: Option<Vec<u8>>) {
        let before = std::mem::replace(&mut self.value, value);
        self.changed_from.get_or_insert(Stored::Value(before));
    }
}

impl Known {
    /// What the chunk changed, in no order.
    pub(super) fn changes(&self) -> Vec<Change<'_>> {
        let rows = self.0.iter();
        let changed = rows.filter(|(_, row)| row.changed_from.is_some());
        changed
            .map(|(key, row)| (key.as_slice(), row.value.as_deref()))
            .collect()
    }
}

/// What is kept between two chunks.
#[derive(Default)]
pub(super) struct HotRows {
    as_of: Option<AsOf>,
    rows: Known,
}

/// Which state of the store: a snapshot that is installed begins a new generation.
type AsOf = (u64, Option<LogId>);

fn as_of(head: &Head) -> AsOf {
    (head.generation, head.last_applied)
}

impl HotRows {
    /// The rows of `view` for one chunk, with what is kept; forgets what is of another state.
    pub(super) fn over<'v>(&mut self, view: &'v StateView) -> ChunkRows<'v> {
        let kept = std::mem::take(self);
        let current = kept.as_of == Some(as_of(view.head()));
        let known = if current { kept.rows } else { Known::default() };
        ChunkRows {
            view,
            known: RefCell::new(known),
        }
    }

    /// Keeps what a chunk knew, right for the state that `head` describes: its changes are in the
    /// store now.
    pub(super) fn keep(&mut self, known: Known, head: &Head) {
        let mut rows = known.0;
        rows.retain(|_, row| {
            row.changed_from = None;
            let value = row.value.as_ref();
            // Rows that were looked for in vain, or made, are mostly not read again soon.
            row.is_hot && value.is_some_and(|value| value.len() <= VALUE_BYTES_MAX)
        });
        if rows.len() > ROWS_MAX {
            rows.retain(|_, row| std::mem::take(&mut row.is_used));
        }
        if rows.len() > ROWS_MAX {
            rows.clear();
        }
        *self = Self {
            as_of: Some(as_of(head)),
            rows: Known(rows),
        };
    }
}

/// The rows of a view with what a chunk makes of them.
pub(super) struct ChunkRows<'v> {
    view: &'v StateView,
    known: RefCell<Known>,
}

impl ChunkRows<'_> {
    /// What the chunk knew, with its changes.
    pub(super) fn into_known(self) -> Known {
        self.known.into_inner()
    }

    /// The digest of the rows as they are now; `before` is that of the view.
    ///
    /// # Errors
    /// A fault of this replica's store.
    pub(super) fn digest(&self, before: Digest) -> Result<Digest, LocalFault> {
        let mut digest = before;
        let known = self.known.borrow();
        for (key, row) in &known.0 {
            let new = row.value.as_deref();
            match &row.changed_from {
                None => {}
                Some(Stored::Value(stored)) => digest.replace(key, stored.as_deref(), new),
                Some(Stored::Unknown) if self.cannot_hold(key) => {
                    digest.replace(key, None, new);
                }
                Some(Stored::Unknown) => self
                    .view
                    .read(key, &mut |stored| digest.replace(key, stored, new))?,
            }
        }
        Ok(digest)
    }

    /// Whether the key itself says that the view cannot hold it. Most rows that an entry writes
    /// are new, and each would be looked for in every table file.
    fn cannot_hold(&self, key: &[u8]) -> bool {
        is_of_later_entry(key, self.view.revision())
    }

    /// Changes a row, of which the store holds `stored` if the chunk did not meet it yet.
    fn change(&mut self, key: Vec<u8>, value: Option<Vec<u8>>, stored: impl FnOnce() -> Stored) {
        use std::collections::hash_map::Entry;
        match self.known.get_mut().0.entry(key) {
            Entry::Occupied(row) => row.into_mut().change(value),
            Entry::Vacant(unknown) => {
                unknown.insert(KnownRow {
                    value,
                    changed_from: Some(stored()),
                    is_hot: false,
                    is_used: false,
                });
            }
        }
    }
}

impl ReadRows for ChunkRows<'_> {
    fn read(&self, key: &[u8], see: &mut dyn FnMut(Option<&[u8]>)) -> Result<(), LocalFault> {
        let mut known = self.known.borrow_mut();
        if let Some(row) = known.0.get_mut(key) {
            row.is_used = true;
            see(row.value.as_deref());
            return Ok(());
        }
        if self.cannot_hold(key) {
            see(None);
            return Ok(());
        }
        self.view.read(key, &mut |value| {
            let row = KnownRow::read(value.map(<[u8]>::to_vec));
            known.0.insert(key.to_vec(), row);
            see(value);
        })
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, LocalFault> {
        let known = self.known.borrow();
        let mut rows = Overlay::new(self.view);
        for (key, row) in &known.0 {
            let is_asked_for =
                key.starts_with(prefix) && after.is_none_or(|after| key.as_slice() > after);
            match &row.value {
                _ if row.changed_from.is_none() || !is_asked_for => {}
                Some(value) => rows.put(key.clone(), value.clone()),
                None => rows.delete(key),
            }
        }
        rows.scan(prefix, after, limit)
    }
}

impl Rows for ChunkRows<'_> {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.change(key, Some(value), || Stored::Unknown);
    }

    fn delete(&mut self, key: &[u8]) {
        self.change(key.to_vec(), None, || Stored::Unknown);
    }

    fn delete_known(&mut self, key: &[u8], value: &[u8]) {
        let view = self.view;
        let stored = || {
            let holds = |stored: Option<Vec<u8>>| stored.as_deref() == Some(value);
            debug_assert!(view.get(key).map_or(true, holds), "the store holds another");
            Stored::Value(Some(value.to_vec()))
        };
        self.change(key.to_vec(), None, stored);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use raft3d_core::state::overlay::Changes;
    use tempfile::tempdir;

    use super::*;
    use crate::storage::state::StateStore;
    use crate::storage::state::testing::{Model, log_id};

    /// The rows of the model's tables, as they are seen through `read`.
    fn check(read: &ChunkRows<'_>, model: &Model) {
        for number in 0..200 {
            for table in ["a", "ab", "b\u{7f}"] {
                let key = format!("{table}/{number:03}").into_bytes();
                let expected = model.rows.get(&key).cloned();
                assert_eq!(read.get(&key).unwrap(), expected, "seed {}", model.seed);
            }
        }
        model.check_minted(read);
        for (prefix, limit) in [("a", 300), ("ab/1", 20), ("b", 7)] {
            let rows = model.rows.iter();
            let rows = rows.filter(|(key, _)| key.starts_with(prefix.as_bytes()));
            let expected: Vec<Row> = rows
                .take(limit)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            assert_eq!(read.scan(prefix.as_bytes(), None, limit).unwrap(), expected);
        }
    }

    fn change(rows: &mut ChunkRows<'_>, changes: Changes) {
        for (key, value) in changes {
            match value {
                Some(value) => rows.put(key, value),
                None => rows.delete(&key),
            }
        }
    }

    /// Chunks of several steps: some rows are read before they change, some are not, and some
    /// change more than once.
    #[test]
    fn hot_rows_are_those_of_the_store() {
        let dir = tempdir().unwrap();
        let store = StateStore::open(dir.path()).unwrap();
        let mut hot = HotRows::default();
        let mut model = Model::new(1);
        for chunk in 0..200 {
            let view = store.view();
            let mut rows = hot.over(&view);
            for step in 0..1 + chunk % 3 {
                if (chunk + step) % 2 == 0 {
                    check(&rows, &model);
                }
                change(&mut rows, model.step());
            }
            check(&rows, &model);
            assert_eq!(rows.digest(view.digest()).unwrap(), model.digest);
            let head = model.head(store.view().head().generation);
            let known = rows.into_known();
            store.commit(&known.changes(), head.clone()).unwrap();
            hot.keep(known, &head);
        }
        assert!(!hot.rows.0.is_empty(), "nothing was kept");
        let view = store.view();
        check(&hot.over(&view), &model);
        model.check(&view);
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
            let mut rows = hot.over(&view);
            seen.push(rows.get(&key).unwrap());
            if index == 5 {
                rows.put(key.clone(), b"job".to_vec());
            }
            let mut head = view.head().clone();
            head.last_applied = Some(log_id(index));
            head.digest = rows.digest(head.digest).unwrap();
            let known = rows.into_known();
            store.commit(&known.changes(), head.clone()).unwrap();
            hot.keep(known, &head);
        }
        assert_eq!(seen, [None, None, Some(b"job".to_vec())]);
        let view = store.view();
        assert_eq!(view.recompute_digest().unwrap(), view.digest());
    }

    #[test]
    fn rows_of_another_state_are_forgotten() {
        let dir = tempdir().unwrap();
        let store = StateStore::open(dir.path()).unwrap();
        let mut hot = HotRows::default();
        let mut model = Model::new(2);
        let keep = |hot: &mut HotRows, model: &Model, head: Option<Head>| {
            let view = store.view();
            let read = hot.over(&view);
            check(&read, model);
            let head = head.unwrap_or_else(|| view.head().clone());
            hot.keep(read.into_known(), &head);
        };
        keep(&mut hot, &model, None);
        // Somebody else changes the state: an installed snapshot, a chunk that was not kept.
        for _ in 0..50 {
            model.commit_next(&store);
        }
        let mut replaced = store.view().head().clone();
        replaced.generation += 1;
        keep(&mut hot, &model, Some(replaced));
        model.commit_next(&store);
        keep(&mut hot, &model, None);
    }

    /// A state that was rebuilt may have other rows at the same log id. Rows that are kept are of
    /// one generation and one log id, and of no other.
    #[test]
    fn rows_of_another_generation_are_forgotten_at_the_same_log_id() {
        let dir = tempdir().unwrap();
        let store = StateStore::open(dir.path()).unwrap();
        let view = store.view();
        let kept_under = |head: &Head| {
            let mut hot = HotRows::default();
            let rows = hot.over(&view);
            let row = KnownRow::read(Some(b"kept".to_vec()));
            rows.known.borrow_mut().0.insert(b"key".to_vec(), row);
            hot.keep(rows.into_known(), head);
            hot.over(&view).get(b"key").unwrap()
        };
        assert_eq!(kept_under(view.head()), Some(b"kept".to_vec()));
        let mut replaced = view.head().clone();
        replaced.generation += 1;
        assert_eq!(kept_under(&replaced), None);
        let mut later = view.head().clone();
        later.last_applied = Some(log_id(9));
        assert_eq!(kept_under(&later), None);
    }

    #[test]
    fn no_more_rows_are_kept_than_are_used() {
        let dir = tempdir().unwrap();
        let store = StateStore::open(dir.path()).unwrap();
        let view = store.view();
        let mut hot = HotRows::default();
        let head = view.head().clone();
        for number in 0..2 * ROWS_MAX {
            let rows = hot.over(&view);
            let key = number.to_be_bytes().to_vec();
            let row = KnownRow::read(Some(key.clone()));
            rows.known.borrow_mut().0.insert(key, row);
            assert!(rows.get(&7_usize.to_be_bytes()).unwrap().is_some() == (number >= 7));
            hot.keep(rows.into_known(), &head);
            assert!(hot.rows.0.len() <= ROWS_MAX);
        }
        assert!(hot.rows.0.contains_key(7_usize.to_be_bytes().as_slice()));
    }
}
