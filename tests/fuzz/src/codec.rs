//! Raft's own types: what decodes, encodes to bytes that decode to the same.
//!
//! Byte 0 chooses the type, the rest is the encoding.

use core::fmt::Debug;

use bytes::Bytes;
use raft3d_engine::bounds::{self, Checked};
use raft3d_engine::codec::{
    CodecError, decode_entry, decode_log_id, decode_stored_membership, decode_vote, encode_entry,
    encode_log_id, encode_stored_membership, encode_vote,
};
use raft3d_engine::raft::types::StoredMembership;

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((kind, bytes)) = input.split_first() else {
        return false;
    };
    match kind % 4 {
        0 => both_ways(bytes, bounds::entry, encode_entry, |bytes| {
            decode_entry(&Bytes::copy_from_slice(bytes))
        }),
        1 => both_ways(bytes, bounds::vote, encode_vote, decode_vote),
        2 => both_ways(bytes, bounds::log_id, encode_log_id, decode_log_id),
        _ => both_ways(
            bytes,
            |stored: &StoredMembership| bounds::membership(stored.membership()),
            encode_stored_membership,
            decode_stored_membership,
        ),
    }
}

/// What decodes is within its bounds, and what its own encoding decodes to; that encoding is the only one that is ever
/// written, nothing of it can be left out, and nothing can follow it.
fn both_ways<T: Debug + PartialEq>(
    bytes: &[u8],
    check: impl Fn(&T) -> Checked,
    encode: fn(&T, &mut Vec<u8>),
    decode: impl Fn(&[u8]) -> Result<T, CodecError>,
) -> bool {
    let Ok(value) = decode(bytes) else {
        return false;
    };
    assert_eq!(check(&value), Ok(()), "a writer would refuse {value:?}");
    let mut canonical = Vec::new();
    encode(&value, &mut canonical);
    assert!(
        canonical.len() <= bytes.len(),
        "{} bytes became {}: {value:?}",
        bytes.len(),
        canonical.len()
    );
    let again = decode(&canonical).expect("what was encoded decodes");
    assert_eq!(again, value);
    let mut twice = Vec::new();
    encode(&again, &mut twice);
    assert_eq!(twice, canonical);
    let short = canonical.len().saturating_sub(1);
    assert!(decode(&canonical[..short]).is_err(), "cut off: {value:?}");
    canonical.push(0);
    assert!(decode(&canonical).is_err(), "with a byte more: {value:?}");
    true
}
