//! The digest of the state: a multiset hash over all rows, kept up to date with every change.

use core::fmt;

use minicbor::{Decode, Encode};

use super::overlay::Changes;
use super::rows::ReadRows;
use crate::error::LocalFault;

/// Rows that [`recompute`] holds in memory at once. A module's bytes are the largest row, so a page
/// stays below 64 MiB.
const RECOMPUTE_PAGE_ROWS: usize = 128;

/// A 256-bit multiset hash: the wrapping sum of BLAKE3(key, value) over all rows. Independent of
/// order; empty rows sum to zero. Shown as 64 hex digits.
///
/// The hash of a row is BLAKE3 of the key's length (8 bytes, little-endian), the key and the value,
/// read as a little-endian number; so is the sum.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Digest(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]);

impl Digest {
    /// The digest of these 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Adds the row.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.wrapping_add(row_hash(key, value), false);
    }

    /// Takes the row away.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        // Subtracting is adding the two's complement: complement every bit, add one.
        self.wrapping_add(row_hash(key, value).map(|byte| !byte), true);
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

    fn wrapping_add(&mut self, addend: [u8; 32], mut carry: bool) {
        let (limbs, _) = self.0.as_chunks_mut::<8>();
        let (addends, _) = addend.as_chunks::<8>();
        for (limb, addend) in limbs.iter_mut().zip(addends) {
            let sum = u64::from_le_bytes(*limb);
            let (sum, over) = sum.overflowing_add(u64::from_le_bytes(*addend));
            let (sum, carried) = sum.overflowing_add(u64::from(carry));
            *limb = sum.to_le_bytes();
            carry = over || carried;
        }
    }
}

fn row_hash(key: &[u8], value: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    // Without the length, moving a byte from value to key would not change the hash.
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    *hasher.finalize().as_bytes()
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
            start in any::<[u8; 32]>(),
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
    fn sums_carry_and_wrap() {
        let mut digest = Digest::from_bytes([0xff; 32]);
        digest.add(b"k", b"v");
        // -1 + h == h - 1, and a hash that ends in a zero byte would be a stranger coincidence.
        let mut expected = row_hash(b"k", b"v");
        if let Some(first) = expected.first_mut() {
            *first -= 1;
        }
        assert_eq!(digest.to_bytes(), expected);
    }
}
