//! The bytes of messages.

use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode, Encoder};
use openraft::raft::AppendEntriesRequest;
use raft3d_core::Envelope;
use raft3d_core::command::{ENVELOPE_VERSION, EnvelopeError};
use raft3d_sdk::distinct::keys_are_distinct;

use super::message::APPEND_ENTRIES_MAX;
use super::types::{Entry, LogId, Member, StoredMembership, TypeConfig, Vote};
use crate::bounds;
use crate::codec::{self, CodecError};

pub(super) const KIND_APPEND: u8 = 0;
pub(super) const KIND_ASK: u8 = 1;
/// Most writes, answers or modules in one message: read, each takes far more than its bytes.
pub(super) const LIST_MAX: usize = 4_096;

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

/// Whether no map in `bytes` has a key twice; `value` is what was read from them. This program's own
/// encoder writes each key once, so what it would write again is not walked through.
#[must_use]
pub(super) fn has_distinct_keys<T: Encode<()>>(bytes: &[u8], value: &T) -> bool {
    /// What is left of the bytes; none once something else is written.
    struct Left<'a>(Option<&'a [u8]>);
    impl minicbor::encode::Write for Left<'_> {
        type Error = std::convert::Infallible;

        fn write_all(&mut self, piece: &[u8]) -> Result<(), Self::Error> {
            self.0 = self.0.and_then(|left| left.strip_prefix(piece));
            Ok(())
        }
    }
    let mut left = Left(Some(bytes));
    let is_same =
        minicbor::encode(value, &mut left).is_ok() && left.0.is_some_and(<[u8]>::is_empty);
    is_same || keys_are_distinct(bytes)
}

/// How the encoding of an envelope without a stamp begins: a map of eight fields, of which the
/// first is the version and the second a stamp of 0.
const UNSTAMPED: [u8; 5] = [0xa8, 0, 1, 1, 0];
const _: () = assert!(ENVELOPE_VERSION == 1, "`UNSTAMPED` shows the version");

/// The encoding of `envelope` with `proposed_at_ms`, and what every replica will read in it: the
/// answered bytes are the ones that were decoded.
///
/// # Errors
/// It is not an envelope of this program's version, or too large.
pub(super) fn stamp(
    envelope: &[u8],
    proposed_at_ms: u64,
) -> Result<(Vec<u8>, Envelope), EnvelopeError> {
    let out = match envelope.strip_prefix(&UNSTAMPED) {
        // Without making it anew.
        Some(rest) => {
            let mut out = Vec::with_capacity(envelope.len() + STAMP_BYTES_MAX);
            out.extend(UNSTAMPED.iter().take(UNSTAMPED.len() - 1));
            if let Err(error) = Encoder::new(&mut out).u64(proposed_at_ms) {
                unreachable!("encoding into memory failed: {error}");
            }
            out.extend_from_slice(rest);
            out
        }
        None => {
            let mut whole = Envelope::from_bytes(envelope)?;
            whole.proposed_at_ms = proposed_at_ms;
            to_vec(&whole)
        }
    };
    let read = Envelope::from_bytes(&out)?;
    Ok((out, read))
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

/// A member as it asks to be recorded.
pub(super) mod bounded_member {
    use super::*;

    pub(in super::super) fn encode<C, W: minicbor::encode::Write>(
        value: &Member,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.encode(value)?;
        Ok(())
    }

    pub(in super::super) fn decode<C>(
        d: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Member, minicbor::decode::Error> {
        let member = d.decode()?;
        bounds::member(&member).map_err(minicbor::decode::Error::message)?;
        Ok(member)
    }
}

/// A list that is no longer than [`LIST_MAX`].
pub(super) mod bounded_list {
    use super::*;

    pub(in super::super) fn encode<C, W: minicbor::encode::Write, T: Encode<()>>(
        value: &[T],
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.encode(value)?;
        Ok(())
    }

    pub(in super::super) fn decode<'b, C, T: Decode<'b, ()>>(
        d: &mut Decoder<'b>,
        _: &mut C,
    ) -> Result<Vec<T>, minicbor::decode::Error> {
        let length = d.array()?.filter(|length| *length <= LIST_MAX as u64);
        let length = length.ok_or_else(|| {
            minicbor::decode::Error::message(format!("a list of more than {LIST_MAX}"))
        })?;
        (0..length).map(|_| d.decode()).collect()
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
    let mut before = head.prev_log_id;
    for _ in 0..head.entries {
        let entry = codec::decode_entry(&body.slice_ref(d.bytes()?))?;
        check_follows(before.as_ref(), &entry.log_id)?;
        before = Some(entry.log_id);
        entries.push(entry);
    }
    if before.is_some_and(|last| last.leader_id > head.vote.leader_id) {
        return Err(MessageError("an entry is later than its leader".to_owned()));
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

/// A log that has a hole, or whose terms run back, stops whoever takes it.
fn check_follows(before: Option<&LogId>, next: &LogId) -> Result<(), MessageError> {
    let index = before.map_or(0, |before| before.index + 1);
    if next.index != index || before.is_some_and(|before| before.leader_id > next.leader_id) {
        let before = before.map_or("the log's start".to_owned(), ToString::to_string);
        return Err(MessageError(format!("entry {next} after {before}")));
    }
    Ok(())
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
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use raft3d_core::{Command, Revision};

    use super::super::testing;
    use super::*;

    fn envelope(proposed_at_ms: u64) -> Envelope {
        Envelope {
            proposed_at_ms,
            ..testing::envelope(Command::Checkpoint)
        }
    }

    /// Whatever the stamp, and whatever the sender's stamp was.
    #[test]
    fn a_stamp_gives_the_encoding_of_the_stamped_envelope() {
        for stamp_ms in [0, 1, 23, 24, 255, 1 << 16, 1 << 40, u64::MAX] {
            for before_ms in [0, 1, 1 << 40] {
                let stamped = stamp(&to_vec(&envelope(before_ms)), stamp_ms).unwrap();
                let expected = envelope(stamp_ms);
                let at = format!("{before_ms} {stamp_ms}");
                assert_eq!(stamped, (to_vec(&expected), expected), "{at}");
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

    /// Whether its version is the field that is looked at first, or another one that follows.
    #[test]
    fn what_another_version_wrote_is_not_stamped() {
        for version in [0, 2, u16::MAX] {
            let foreign = to_vec(&Envelope {
                version,
                ..envelope(0)
            });
            let refused = stamp(&foreign, 1).unwrap_err();
            assert_eq!(refused, EnvelopeError::Version { found: version });
        }
        let good = to_vec(&envelope(0));
        let twice = [UNSTAMPED.as_slice(), &[0, 2], &good[7..]].concat();
        assert!(stamp(&twice, 1).is_err());
    }
}
