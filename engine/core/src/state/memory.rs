//! Rows in memory, for tests and tools.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::overlay::Changes;
use super::rows::{ReadRows, Row, Rows};
use crate::error::LocalFault;

/// Rows in a sorted map. Reading never fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryRows(BTreeMap<Vec<u8>, Vec<u8>>);

impl MemoryRows {
    /// Every row, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes what an overlay collected.
    pub fn write(&mut self, changes: Changes) {
        for (key, change) in changes {
            match change {
                Some(value) => self.put(key, value),
                None => self.delete(&key),
            }
        }
    }
}

impl FromIterator<Row> for MemoryRows {
    fn from_iter<I: IntoIterator<Item = Row>>(rows: I) -> Self {
        Self(rows.into_iter().collect())
    }
}

impl ReadRows for MemoryRows {
    fn read(&self, key: &[u8], see: &mut dyn FnMut(Option<&[u8]>)) -> Result<(), LocalFault> {
        see(self.0.get(key).map(Vec::as_slice));
        Ok(())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, LocalFault> {
        let rows = self
            .0
            .range::<[u8], _>((super::overlay::start(prefix, after), Bound::Unbounded));
        let rows = rows
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit);
        Ok(rows
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
}

impl Rows for MemoryRows {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.0.insert(key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.remove(key);
    }
}
