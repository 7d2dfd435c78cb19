//! Rows: the one small trait between the state machine and whatever keeps its bytes.

use crate::error::LocalFault;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Sorted key/value rows, to read.
pub trait ReadRows {
    /// The value under `key`.
    ///
    /// # Errors
    /// A fault of this replica's store.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LocalFault>;

    /// Up to `limit` rows whose keys start with `prefix` and sort after `after`, ascending.
    ///
    /// # Errors
    /// A fault of this replica's store.
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, LocalFault>;
}

/// Sorted key/value rows, to change. Infallible: changes are collected in memory
/// ([`Overlay`](super::overlay::Overlay)) and written as one batch by whoever owns the store.
pub trait Rows: ReadRows {
    /// Puts `value` under `key`.
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>);

    /// Removes `key`.
    fn delete(&mut self, key: &[u8]);
}

impl<T: ReadRows + ?Sized> ReadRows for &T {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LocalFault> {
        (**self).get(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, LocalFault> {
        (**self).scan(prefix, after, limit)
    }
}
