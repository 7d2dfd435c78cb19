//! Rows: the one small trait between the state machine and whatever keeps its bytes.

use crate::error::LocalFault;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Sorted key/value rows, to read.
pub trait ReadRows {
    /// Shows `see` the value under `key`, where it lies: most values are decoded and not kept.
    /// `see` is called once and must not read rows itself.
    ///
    /// # Errors
    /// A fault of this replica's store; `see` was not called then.
    fn read(&self, key: &[u8], see: &mut dyn FnMut(Option<&[u8]>)) -> Result<(), LocalFault>;

    /// A copy of the value under `key`.
    ///
    /// # Errors
    /// A fault of this replica's store.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LocalFault> {
        let mut copy = None;
        self.read(key, &mut |value| copy = value.map(<[u8]>::to_vec))?;
        Ok(copy)
    }

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

    /// Removes `key`, which holds `value`: another row says so, and nobody needs to look.
    fn delete_known(&mut self, key: &[u8], value: &[u8]) {
        let _known = value;
        self.delete(key);
    }
}

impl<T: ReadRows + ?Sized> ReadRows for &T {
    fn read(&self, key: &[u8], see: &mut dyn FnMut(Option<&[u8]>)) -> Result<(), LocalFault> {
        (**self).read(key, see)
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
