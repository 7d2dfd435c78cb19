//! The one record beside the rows: which generation they are in, and what they reflect.

use minicbor::{Decode, Encode};
use raft3d_core::Revision;
use raft3d_core::state::digest::Digest;

use super::pending::MintedTo;
use crate::codec::{
    decode_log_id, decode_stored_membership, encode_log_id, encode_stored_membership,
};
use crate::raft::types::{LogId, StoredMembership};

/// Format of the state database. An earlier one is rebuilt from snapshot and log; a later one is
/// left as it is, and the node does not start.
///
/// 5: a table of denied entries; answers to clients' keys lie in shares. 4: no row of an index leads to
/// the record of the entry that created a job. 3: a shorter digest,
/// entries' records with what is looked at first in front, and the latest time in the id of a stored
/// request. 2: the record stands among the rows, because they are written to table files together; 1
/// had it in a keyspace of its own, written with the rows through a journal.
pub(super) const STATE_FORMAT_VERSION: u32 = 5;

/// Where the record stands. No row has a key that begins with this byte.
pub(super) const HEAD_KEY: &[u8] = &[0];

/// The record: written with the rows, at once, so it never says more or less.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) head: Head,
    pub(super) minted_to: MintedTo,
}

/// What the rows reflect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Which keyspace holds the rows.
    pub(crate) generation: u64,
    /// The last entry that was applied.
    pub(crate) last_applied: Option<LogId>,
    /// The last membership that was applied.
    pub(crate) membership: StoredMembership,
    /// Digest of the rows.
    pub(crate) digest: Digest,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Stored {
    #[n(0)]
    format: u32,
    #[n(1)]
    generation: u64,
    #[cbor(n(2), with = "minicbor::bytes")]
    last_applied: Option<Vec<u8>>,
    #[cbor(n(3), with = "minicbor::bytes")]
    membership: Vec<u8>,
    #[n(4)]
    digest: Digest,
    #[n(5)]
    minted_to_ms: u64,
}

impl Head {
    /// The revision of the rows: 0 before the first entry.
    pub(crate) fn revision(&self) -> Revision {
        Revision(self.last_applied.as_ref().map_or(0, |log_id| log_id.index))
    }
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut membership = Vec::new();
        encode_stored_membership(&self.head.membership, &mut membership);
        let last_applied = self.head.last_applied.as_ref().map(|log_id| {
            let mut bytes = Vec::new();
            encode_log_id(log_id, &mut bytes);
            bytes
        });
        let stored = Stored {
            format: STATE_FORMAT_VERSION,
            generation: self.head.generation,
            last_applied,
            membership,
            digest: self.head.digest,
            minted_to_ms: self.minted_to.0,
        };
        let mut bytes = Vec::new();
        match minicbor::encode(&stored, &mut bytes) {
            Ok(()) => bytes,
            Err(error) => unreachable!("encoding into memory failed: {error}"),
        }
    }

    /// The format of a record: its first element, in every format.
    pub(super) fn format(bytes: &[u8]) -> Option<u32> {
        let mut decoder = minicbor::Decoder::new(bytes);
        decoder.array().ok()?;
        decoder.u32().ok()
    }

    /// # Errors
    /// What is wrong with the bytes, for a log line.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        match Self::format(bytes) {
            Some(STATE_FORMAT_VERSION) => {}
            Some(format) => return Err(format!("it has format {format}")),
            None => return Err("its record has no format".to_owned()),
        }
        let stored: Stored = minicbor::decode(bytes).map_err(|error| error.to_string())?;
        let last_applied = stored
            .last_applied
            .map(|bytes| decode_log_id(&bytes))
            .transpose()
            .map_err(|error| error.to_string())?;
        let head = Head {
            generation: stored.generation,
            last_applied,
            membership: decode_stored_membership(&stored.membership)
                .map_err(|error| error.to_string())?,
            digest: stored.digest,
        };
        let minted_to = MintedTo(stored.minted_to_ms);
        Ok(Self { head, minted_to })
    }
}
