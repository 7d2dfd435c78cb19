//! Changes collected in memory on top of other rows: one entry on a chunk, a chunk on the store.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::rows::{ReadRows, Row, Rows};
use crate::error::LocalFault;

/// Changed keys: the new value, or none where the key was removed. Sorted by key.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Rows with changes on top that nobody else sees.
#[derive(Debug)]
pub struct Overlay<B> {
    base: B,
    changes: Changes,
}

impl<B: ReadRows> Overlay<B> {
    /// No changes on top of `base` yet.
    pub fn new(base: B) -> Self {
        Self {
            base,
            changes: Changes::new(),
        }
    }

    /// The rows below.
    pub fn base(&self) -> &B {
        &self.base
    }

    /// The changes so far.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The changes, to be written as one batch.
    pub fn into_changes(self) -> Changes {
        self.changes
    }
}

impl<B: ReadRows> ReadRows for Overlay<B> {
    fn read(&self, key: &[u8], see: &mut dyn FnMut(Option<&[u8]>)) -> Result<(), LocalFault> {
        match self.changes.get(key) {
            Some(change) => {
                see(change.as_deref());
                Ok(())
            }
            None => self.base.read(key, see),
        }
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, LocalFault> {
        let mut found = Vec::new();
        let mut after = after.map(<[u8]>::to_vec);
        while found.len() < limit {
            let wanted = limit - found.len();
            let page = self.base.scan(prefix, after.as_deref(), wanted)?;
            // A full page says nothing of what follows its last key: merge up to there, go on.
            let until = if page.len() < wanted {
                None
            } else {
                page.last().map(|r| r.0.clone())
            };
            let from = start(prefix, after.as_deref());
            let changes = self.changes.range::<[u8], _>((from, Bound::Unbounded));
            let changes = changes.take_while(|(key, _)| {
                key.starts_with(prefix) && until.as_ref().is_none_or(|until| *key <= until)
            });
            merge(page, changes, limit, &mut found);
            if until.is_none() {
                break;
            }
            after = until;
        }
        Ok(found)
    }
}

/// Where a scan of `prefix` after `after` starts.
pub(crate) fn start<'a>(prefix: &'a [u8], after: Option<&'a [u8]>) -> Bound<&'a [u8]> {
    match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    }
}

/// Appends the rows of `page` with `changes` on top to `found`, until it holds `limit`.
fn merge<'a>(
    page: Vec<Row>,
    changes: impl Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)>,
    limit: usize,
    found: &mut Vec<Row>,
) {
    let mut page = page.into_iter().peekable();
    let mut push = |row| {
        if found.len() < limit {
            found.push(row);
        }
    };
    for (key, change) in changes {
        while let Some(row) = page.next_if(|row| row.0 < *key) {
            push(row);
        }
        let _overwritten = page.next_if(|row| row.0 == *key);
        if let Some(value) = change {
            push((key.clone(), value.clone()));
        }
    }
    page.for_each(push);
}

impl<B: ReadRows> Rows for Overlay<B> {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert(key, Some(value));
    }

    fn delete(&mut self, key: &[u8]) {
        self.changes.insert(key.to_vec(), None);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test is to panic")]

    use super::*;
    use crate::state::memory::MemoryRows;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Short keys over few letters, so that base and changes meet.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![Just(0_u8), Just(1), Just(7), Just(255)], 0..4)
    }

    fn edits() -> impl Strategy<Value = Vec<(Vec<u8>, Option<Vec<u8>>)>> {
        vec((key(), proptest::option::of(vec(any::<u8>(), 0..3))), 0..24)
    }

    fn edit(rows: &mut dyn Rows, edits: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        for (key, value) in edits {
            match value {
                Some(value) => rows.put(key, value),
                None => rows.delete(&key),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// Two overlays on top of each other read as one map does.
        #[test]
        fn reads_as_one_sorted_map(
            layers in (edits(), edits(), edits()),
            prefix in key(),
            after in proptest::option::of(key()),
            limit in 0_usize..12,
        ) {
            let mut plain = MemoryRows::default();
            let mut base = MemoryRows::default();
            edit(&mut base, layers.0.clone());
            let mut middle = Overlay::new(&base);
            edit(&mut middle, layers.1.clone());
            let mut top = Overlay::new(&middle);
            edit(&mut top, layers.2.clone());
            for edits in [layers.0, layers.1, layers.2] {
                edit(&mut plain, edits);
            }
            let expected: Vec<Row> = plain
                .iter()
                .filter(|(key, _)| key.starts_with(&prefix))
                .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after.as_slice()))
                .take(limit)
                .map(|(key, value)| (key.to_vec(), value.to_vec()))
                .collect();
            prop_assert_eq!(top.scan(&prefix, after.as_deref(), limit).unwrap(), expected.clone());
            prop_assert_eq!(plain.scan(&prefix, after.as_deref(), limit).unwrap(), expected);
            for (key, value) in plain.iter() {
                let value = Some(value.to_vec());
                prop_assert_eq!(top.get(key).unwrap(), value);
            }
            let changes = top.into_changes();
            let below = middle.into_changes();
            base.write(below);
            base.write(changes);
            prop_assert_eq!(base, plain);
        }
    }
}
