//! The digest of the state: a multiset hash over all rows, kept up to date with every change.

use core::fmt;

use minicbor::{Decode, Encode};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use super::overlay::Changes;
use super::rows::ReadRows;
use crate::error::LocalFault;

/// Rows that [`recompute`] holds in memory at once. A module's bytes are the largest row, so a page
/// stays below 64 MiB.
const RECOMPUTE_PAGE_ROWS: usize = 128;

/// Rows of up to so many bytes, with their key and its length, are hashed in one piece.
const ONE_PIECE_BYTES_MAX: usize = 1_024;

/// A 128-bit multiset hash: the wrapping sum of the hashes of all rows. Independent of order; empty
/// rows sum to zero. Shown as 32 hex digits.
///
/// The hash of a row is XXH3 of 128 bits (xxHash specification, version 0.2) of the key's length
/// (8 bytes, little-endian), the key and the value; sums are kept as little-endian bytes. It is to
/// find out damage and replicas that do not agree, not people who make up rows: whoever can write
/// the rows of a replica can write their digest too.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Digest(#[cbor(n(0), with = "minicbor::bytes")] [u8; 16]);

impl Digest {
    /// The digest of these 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Adds the row.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        let sum = self.sum().wrapping_add(row_hash(key, value));
        self.0 = sum.to_le_bytes();
    }

    /// Takes the row away.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        let sum = self.sum().wrapping_sub(row_hash(key, value));
        self.0 = sum.to_le_bytes();
    }

    const fn sum(self) -> u128 {
        u128::from_le_bytes(self.0)
    }

    /// Follows `changes` to `rows`: the work is that of the changed rows, whatever the number of
    /// rows. A row that changed several times on the way counts once.
    ///
    /// # Errors
    /// A fault of this replica's store: the digest is half changed then.
    pub fn change(&mut self, rows: &dyn ReadRows, changes: &Changes) -> Result<(), LocalFault> {
        for (key, new) in changes {
            rows.read(key, &mut |old| self.replace(key, old, new.as_deref()))?;
        }
        Ok(())
    }

    /// Follows one row from `old` to `new`; none is where it is not there.
    pub fn replace(&mut self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) {
        if let Some(old) = old {
            self.remove(key, old);
        }
        if let Some(new) = new {
            self.add(key, new);
        }
    }
}

fn row_hash(key: &[u8], value: &[u8]) -> u128 {
    // Without the length, moving a byte from value to key would not change the hash.
    let length = (key.len() as u64).to_le_bytes();
    let parts = [length.as_slice(), key, value];
    let mut piece = [0; ONE_PIECE_BYTES_MAX];
    let mut end = 0;
    for part in parts {
        let Some(place) = piece.get_mut(end..end + part.len()) else {
            return hash_in_parts(parts);
        };
        place.copy_from_slice(part);
        end += part.len();
    }
    xxh3_128(piece.get(..end).unwrap_or_default())
}

/// The same, of rows of any size.
fn hash_in_parts(parts: [&[u8]; 3]) -> u128 {
    let mut hasher = Xxh3Default::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.digest128()
}

/// The digest of all of `rows`, read page by page.
///
/// # Errors
/// A fault of this replica's store.
pub fn recompute(rows: &dyn ReadRows) -> Result<Digest, LocalFault> {
    let mut digest = Digest::default();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = rows.scan(&[], after.as_deref(), RECOMPUTE_PAGE_ROWS)?;
        for (key, value) in &page {
            digest.add(key, value);
        }
        match page.into_iter().last() {
            Some((key, _)) => after = Some(key),
            None => return Ok(digest),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn removing_undoes_adding_in_any_order(
            start in any::<[u8; 16]>(),
            (k1, v1) in any::<(Vec<u8>, Vec<u8>)>(),
            (k2, v2) in any::<(Vec<u8>, Vec<u8>)>(),
        ) {
            let mut digest = Digest::from_bytes(start);
            digest.add(&k1, &v1);
            digest.add(&k2, &v2);
            digest.remove(&k1, &v1);
            digest.remove(&k2, &v2);
            prop_assert_eq!(digest.to_bytes(), start);
        }
    }

    #[test]
    fn the_border_between_key_and_value_counts() {
        let (mut left, mut right) = (Digest::default(), Digest::default());
        left.add(b"ab", b"c");
        right.add(b"a", b"bc");
        assert_ne!(left, right);
    }

    #[test]
    fn sums_wrap() {
        let mut digest = Digest::from_bytes([0xff; 16]);
        digest.add(b"k", b"v");
        assert_eq!(digest.sum(), row_hash(b"k", b"v") - 1);
        digest.remove(b"k", b"v");
        assert_eq!(digest.to_bytes(), [0xff; 16]);
    }

    /// The hash of a row of the length of one piece is that of its parts, and so are those of its
    /// neighbours.
    #[test]
    fn long_rows_are_hashed_as_short_ones_are() {
        let value: Vec<u8> = (0..2 * ONE_PIECE_BYTES_MAX).map(|n| n as u8).collect();
        for length in (0..value.len()).step_by(7).chain(1_000..1_040) {
            let value = value.get(..length).unwrap_or_default();
            let parts = hash_in_parts([&3_u64.to_le_bytes(), b"key", value]);
            assert_eq!(row_hash(b"key", value), parts, "{length} bytes");
        }
    }

    /// A replicated sum: it changes only together with the formats of what holds it. Computed with
    /// another implementation (python-xxhash).
    #[test]
    fn a_row_is_hashed_as_ever() {
        let mut digest = Digest::default();
        digest.add(b"key", b"value");
        assert_eq!(digest.to_string(), "eb3e6e3bd62afaf45864f2deee02bca0");
    }
}
