//! The bytes of messages.

use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode, Encoder};
use openraft::raft::AppendEntriesRequest;

use super::message::APPEND_ENTRIES_MAX;
use super::types::{Entry, LogId, StoredMembership, TypeConfig, Vote};
use crate::codec::{self, CodecError};

pub(super) const KIND_APPEND: u8 = 0;
pub(super) const KIND_ASK: u8 = 1;

/// Bytes that are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message of this protocol: {0}")]
pub struct MessageError(pub(super) String);

impl From<minicbor::decode::Error> for MessageError {
    fn from(error: minicbor::decode::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<CodecError> for MessageError {
    fn from(error: CodecError) -> Self {
        Self(error.to_string())
    }
}

/// CBOR of `value` alone.
#[must_use]
pub(super) fn to_vec<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    if let Err(error) = minicbor::encode(value, &mut out) {
        unreachable!("encoding into memory failed: {error}");
    }
    out
}

/// Reads a value that must fill `bytes`.
///
/// # Errors
/// The bytes are not exactly one such value.
pub(super) fn whole<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Result<T, MessageError> {
    let mut decoder = Decoder::new(bytes);
    let value = decoder.decode()?;
    if decoder.position() != bytes.len() {
        return Err(MessageError("bytes follow the message".to_owned()));
    }
    Ok(value)
}

pub(super) fn with_kind<T: Encode<()>>(kind: u8, value: &T) -> Bytes {
    let mut out = vec![kind];
    if let Err(error) = minicbor::encode(value, &mut out) {
        unreachable!("encoding into memory failed: {error}");
    }
    Bytes::from(out)
}

/// `[vote, previous log id, commit log id, entry count]`, then each entry behind its length.
pub(super) fn encode_append(append: &AppendEntriesRequest<TypeConfig>) -> Bytes {
    let size = append.entries.iter().map(entry_size_hint).sum::<usize>();
    let mut out = Vec::with_capacity(size + 128);
    out.push(KIND_APPEND);
    let head = AppendHead {
        vote: append.vote,
        prev_log_id: append.prev_log_id,
        leader_commit: append.leader_commit,
        entries: append.entries.len() as u64,
    };
    if let Err(error) = minicbor::encode(&head, &mut out) {
        unreachable!("encoding into memory failed: {error}");
    }
    let mut one = Vec::new();
    for entry in &append.entries {
        one.clear();
        codec::encode_entry(entry, &mut one);
        if let Err(error) = Encoder::new(&mut out).bytes(&one) {
            unreachable!("encoding into memory failed: {error}");
        }
    }
    Bytes::from(out)
}

pub(super) fn decode_append(
    body: &Bytes,
) -> Result<AppendEntriesRequest<TypeConfig>, MessageError> {
    let mut d = Decoder::new(body);
    let head: AppendHead = d.decode()?;
    if head.entries > APPEND_ENTRIES_MAX as u64 {
        return Err(MessageError("too many entries in one append".to_owned()));
    }
    let mut entries = Vec::new();
    for _ in 0..head.entries {
        entries.push(codec::decode_entry(&body.slice_ref(d.bytes()?))?);
    }
    if d.position() != body.len() {
        return Err(MessageError("bytes follow the entries".to_owned()));
    }
    Ok(AppendEntriesRequest {
        vote: head.vote,
        prev_log_id: head.prev_log_id,
        leader_commit: head.leader_commit,
        entries,
    })
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct AppendHead {
    #[cbor(n(0), with = "vote")]
    vote: Vote,
    #[cbor(n(1), with = "log_id")]
    prev_log_id: Option<LogId>,
    #[cbor(n(2), with = "log_id")]
    leader_commit: Option<LogId>,
    #[n(3)]
    entries: u64,
}

/// About how many bytes an entry takes; exact enough for limits, which leave room.
#[must_use]
pub(super) fn entry_size_hint(entry: &Entry) -> usize {
    const SURROUNDINGS: usize = 64;
    const MEMBER: usize = 256;
    SURROUNDINGS
        + match &entry.payload {
            openraft::EntryPayload::Blank => 0,
            openraft::EntryPayload::Normal(proposal) => proposal.0.len(),
            openraft::EntryPayload::Membership(members) => members.nodes().count() * MEMBER,
        }
}

/// Encodes values of the codec as byte strings inside derived messages.
macro_rules! as_bytes {
    ($name:ident, $ty:ty, $encode:path, $decode:path) => {
        pub(super) mod $name {
            use super::*;

            pub(in super::super) fn encode<C, W: minicbor::encode::Write>(
                value: &$ty,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                let mut bytes = Vec::new();
                $encode(value, &mut bytes);
                e.bytes(&bytes)?;
                Ok(())
            }

            pub(in super::super) fn decode<C>(
                d: &mut Decoder<'_>,
                _: &mut C,
            ) -> Result<$ty, minicbor::decode::Error> {
                $decode(d.bytes()?).map_err(minicbor::decode::Error::message)
            }
        }
    };
}

as_bytes!(vote, Vote, codec::encode_vote, codec::decode_vote);
as_bytes!(
    membership,
    StoredMembership,
    codec::encode_stored_membership,
    codec::decode_stored_membership
);
as_bytes!(
    log_id,
    Option<LogId>,
    encode_optional_log_id,
    decode_optional_log_id
);

fn encode_optional_log_id(log_id: &Option<LogId>, out: &mut Vec<u8>) {
    if let Some(log_id) = log_id {
        codec::encode_log_id(log_id, out);
    }
}

fn decode_optional_log_id(bytes: &[u8]) -> Result<Option<LogId>, CodecError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    codec::decode_log_id(bytes).map(Some)
}
