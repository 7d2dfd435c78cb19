//! The bytes of messages.

use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode, Encoder};
use openraft::raft::AppendEntriesRequest;
use raft3d_core::Envelope;
use raft3d_core::command::ENVELOPE_VERSION;

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

/// Bytes that most values fit: growing a vector from nothing costs more than encoding them does.
const USUAL_BYTES: usize = 512;

/// CBOR of `value` alone.
#[must_use]
pub(super) fn to_vec<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_BYTES);
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

/// How many bytes the CBOR of `value` takes.
#[must_use]
pub(super) fn encoded_bytes<T: Encode<()>>(value: &T) -> usize {
    struct Count(usize);
    impl minicbor::encode::Write for Count {
        type Error = std::convert::Infallible;

        fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
            self.0 += bytes.len();
            Ok(())
        }
    }
    let mut count = Count(0);
    if let Err(error) = minicbor::encode(value, &mut count) {
        unreachable!("encoding into nothing failed: {error}");
    }
    count.0
}

/// How the encoding of an envelope without a stamp begins: a map of eight fields, of which the
/// first is the version and the second a stamp of 0.
const UNSTAMPED: [u8; 5] = [0xa8, 0, 1, 1, 0];
const _: () = assert!(ENVELOPE_VERSION == 1, "`UNSTAMPED` shows the version");

/// The encoding of `envelope` with `proposed_at_ms`, without making it anew.
///
/// # Errors
/// It is not an envelope.
pub(super) fn stamp(envelope: &[u8], proposed_at_ms: u64) -> Result<Vec<u8>, MessageError> {
    let mut whole: Envelope = whole(envelope)?;
    let Some(rest) = envelope.strip_prefix(&UNSTAMPED) else {
        whole.proposed_at_ms = proposed_at_ms;
        return Ok(to_vec(&whole));
    };
    let mut out = Vec::with_capacity(envelope.len() + STAMP_BYTES_MAX);
    out.extend(UNSTAMPED.iter().take(UNSTAMPED.len() - 1));
    if let Err(error) = Encoder::new(&mut out).u64(proposed_at_ms) {
        unreachable!("encoding into memory failed: {error}");
    }
    out.extend_from_slice(rest);
    Ok(out)
}

/// What a stamp may add to an envelope's encoding, in bytes.
pub(super) const STAMP_BYTES_MAX: usize = 8;

/// Bytes that are shared, as a CBOR byte string.
pub(super) mod shared_bytes {
    use super::*;

    pub(in super::super) fn encode<C, W: minicbor::encode::Write>(
        value: &Bytes,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(value)?;
        Ok(())
    }

    pub(in super::super) fn decode<C>(
        d: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Bytes, minicbor::decode::Error> {
        d.bytes().map(Bytes::copy_from_slice)
    }
}

pub(super) fn with_kind<T: Encode<()>>(kind: u8, value: &T) -> Bytes {
    let mut out = Vec::with_capacity(USUAL_BYTES);
    out.push(kind);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use raft3d_core::command::{Actor, Command, RequestOrigin};
    use raft3d_core::{RequestId, Revision};

    use super::*;

    fn envelope(proposed_at_ms: u64) -> Envelope {
        Envelope {
            version: ENVELOPE_VERSION,
            proposed_at_ms,
            deadline_ms: u64::MAX,
            actor: Actor {
                name: "a".to_owned(),
                verified: false,
            },
            request_id: RequestId::new("r"),
            request_origin: RequestOrigin::Node,
            request_hash: [7; 32],
            command: Command::Checkpoint,
        }
    }

    /// Whatever the stamp, and whatever the sender's stamp was.
    #[test]
    fn a_stamp_gives_the_encoding_of_the_stamped_envelope() {
        for stamp_ms in [0, 1, 23, 24, 255, 1 << 16, 1 << 40, u64::MAX] {
            for before_ms in [0, 1, 1 << 40] {
                let stamped = stamp(&to_vec(&envelope(before_ms)), stamp_ms).unwrap();
                assert_eq!(
                    stamped,
                    to_vec(&envelope(stamp_ms)),
                    "{before_ms} {stamp_ms}"
                );
            }
        }
        assert!(to_vec(&envelope(0)).starts_with(&UNSTAMPED));
    }

    #[test]
    fn what_is_no_envelope_is_not_stamped() {
        let good = to_vec(&envelope(0));
        for cut in 0..good.len() {
            assert!(stamp(good.get(..cut).unwrap(), 1).is_err(), "cut at {cut}");
        }
        assert!(stamp(&[good, vec![0]].concat(), 1).is_err());
        assert!(stamp(&to_vec(&Revision(1)), 1).is_err());
    }
}
