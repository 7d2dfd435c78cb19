//! A consistent view of the rows, to read while applies go on.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use raft3d_core::state::digest::Digest;
use raft3d_core::state::rows::{ReadRows, Row};
use raft3d_core::{LocalFault, Revision};

use super::head::{HEAD_KEY, Head};
use super::pending::{Layer, Merged, Sought};
use super::tables::Tables;
use crate::raft::types::{LogId, StoredMembership};

/// The rows as they were after one revision: the changes that are in memory over the table files
/// of that time.
///
/// Cheap to clone and readable from any thread. It keeps the versions of the rows that it shows
/// from being cleaned up, so it is to be dropped when the request that reads it is answered.
#[derive(Clone)]
pub struct StateView {
    inner: Arc<Inner>,
}

struct Inner {
    tables: Tables,
    /// The newest first.
    layers: Arc<[Arc<Layer>]>,
    head: Head,
}

impl StateView {
    pub(super) fn new(tables: Tables, layers: Arc<[Arc<Layer>]>, head: Head) -> Self {
        Self {
            inner: Arc::new(Inner {
                tables,
                layers,
                head,
            }),
        }
    }

    /// The revision that it shows; 0 before the first entry was applied.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.inner.head.revision()
    }

    /// The digest of the rows.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.inner.head.digest
    }

    /// The last entry that is applied in it.
    #[must_use]
    pub fn last_applied(&self) -> Option<LogId> {
        self.inner.head.last_applied
    }

    /// The last membership that is applied in it.
    #[must_use]
    pub fn membership(&self) -> &StoredMembership {
        &self.inner.head.membership
    }

    pub(super) fn tables(&self) -> &Tables {
        &self.inner.tables
    }

    pub(crate) fn head(&self) -> &Head {
        &self.inner.head
    }

    /// Every row, ascending. For whoever reads all of them: snapshots and checks.
    pub(crate) fn for_each_row<E: From<LocalFault>>(
        &self,
        mut row: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rows = self.merged(Bound::Excluded(HEAD_KEY), Bound::Unbounded)?;
        while let Some(done) = rows.next_row(&mut row)? {
            done?;
        }
        Ok(())
    }

    fn merged(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Result<Merged, LocalFault> {
        let inner = &*self.inner;
        let range = (start.map(<[u8]>::to_vec), end.map(<[u8]>::to_vec));
        let tables = inner.tables.range(range);
        Merged::new(&inner.layers, (start, end), tables)
    }

    /// The digest of the rows as they are on disk and in memory.
    pub(crate) fn recompute_digest(&self) -> Result<Digest, LocalFault> {
        let mut digest = Digest::default();
        self.for_each_row(|key, value| {
            digest.add(key, value);
            Ok::<_, LocalFault>(())
        })?;
        Ok(digest)
    }
}

impl ReadRows for StateView {
    fn read(&self, key: &[u8], see: &mut dyn FnMut(Option<&[u8]>)) -> Result<(), LocalFault> {
        let inner = &*self.inner;
        let sought = Sought::new(key);
        if let Some(change) = inner.layers.iter().find_map(|layer| layer.get(&sought)) {
            see(change);
        } else {
            see(inner.tables.get(&sought)?.as_deref());
        }
        Ok(())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, LocalFault> {
        let start = match after {
            Some(after) if after >= prefix && after >= HEAD_KEY => Bound::Excluded(after),
            _ if prefix.is_empty() => Bound::Excluded(HEAD_KEY),
            _ => Bound::Included(prefix),
        };
        let end = end_of_prefix(prefix);
        if let (Bound::Excluded(start), Bound::Excluded(end)) = (start, &end)
            && start >= end.as_slice()
        {
            return Ok(Vec::new());
        }
        let end = end.as_ref().map(Vec::as_slice);
        let mut rows = self.merged(start, end)?;
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(row) = rows.next_row(|key, value| (key.to_vec(), value.to_vec()))?
        {
            found.push(row);
        }
        Ok(found)
    }
}

impl fmt::Debug for StateView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateView")
            .field("revision", &self.revision())
            .field("digest", &self.digest())
            .finish()
    }
}

/// The first key after all keys that start with `prefix`; none where there is no such key.
fn end_of_prefix(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}
