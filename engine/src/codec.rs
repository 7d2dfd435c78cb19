//! The one codec of Raft's own types to bytes: for the log, for snapshots and between peers.
//!
//! Every value is one CBOR array (RFC 8949) whose meaning depends on its place alone. An entry's
//! payload stays the bytes that the leader encoded once ([`Proposal`]); decoding slices them out
//! of the buffer without a copy. What holds these bytes (segment, snapshot, handshake) carries the
//! format's version.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use minicbor::{Decoder, Encoder};
use openraft::vote::RaftLeaderId;
use thiserror::Error;

use crate::bounds::{self, CONFIGURATIONS_MAX, MEMBERS_MAX, OutOfBounds, VOTERS_MAX};
use crate::raft::types::{
    Entry, EntryPayload, LeaderId, LogId, Member, Membership, NodeId, Proposal,
};
use crate::raft::types::{StoredMembership, Vote};

/// Kinds of entry payload. Stored; never reused.
const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// Bytes that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a valid {what}: {detail}")]
pub struct CodecError {
    what: &'static str,
    detail: String,
}

impl CodecError {
    fn new(what: &'static str, detail: impl ToString) -> Self {
        Self {
            what,
            detail: detail.to_string(),
        }
    }
}

type Encoded = Result<(), minicbor::encode::Error<core::convert::Infallible>>;
type Decoded<T> = Result<T, minicbor::decode::Error>;

/// Appends an entry's encoding to `out`.
pub fn encode_entry(entry: &Entry, out: &mut Vec<u8>) {
    sure(write_entry(entry, &mut Encoder::new(out)));
}

/// Reads an entry. The payload shares the memory of `bytes`.
///
/// # Errors
/// The bytes are not exactly one encoded entry.
pub fn decode_entry(bytes: &Bytes) -> Result<Entry, CodecError> {
    let entry = whole(bytes, |d| read_entry(d, bytes));
    entry.map_err(|e| CodecError::new("log entry", e))
}

/// Appends a vote's encoding to `out`.
pub fn encode_vote(vote: &Vote, out: &mut Vec<u8>) {
    sure(write_vote(vote, &mut Encoder::new(out)));
}

/// Reads a vote.
///
/// # Errors
/// The bytes are not exactly one encoded vote.
pub fn decode_vote(bytes: &[u8]) -> Result<Vote, CodecError> {
    whole(bytes, read_vote).map_err(|e| CodecError::new("vote", e))
}

/// Appends a log id's encoding to `out`.
pub fn encode_log_id(log_id: &LogId, out: &mut Vec<u8>) {
    sure(write_log_id(log_id, &mut Encoder::new(out)));
}

/// Reads a log id.
///
/// # Errors
/// The bytes are not exactly one encoded log id.
pub fn decode_log_id(bytes: &[u8]) -> Result<LogId, CodecError> {
    whole(bytes, read_log_id).map_err(|e| CodecError::new("log id", e))
}

/// Appends a stored membership's encoding to `out`.
pub fn encode_stored_membership(stored: &StoredMembership, out: &mut Vec<u8>) {
    let mut e = Encoder::new(out);
    let written = (|| {
        e.array(2)?;
        match stored.log_id() {
            Some(log_id) => write_log_id(log_id, &mut e)?,
            None => drop(e.null()?),
        }
        write_membership(stored.membership(), &mut e)
    })();
    sure(written);
}

/// Reads a stored membership.
///
/// # Errors
/// The bytes are not exactly one encoded stored membership.
pub fn decode_stored_membership(bytes: &[u8]) -> Result<StoredMembership, CodecError> {
    let read = whole(bytes, |d| {
        array(d, 2)?;
        let log_id = if d.datatype()? == minicbor::data::Type::Null {
            d.null()?;
            None
        } else {
            Some(read_log_id(d)?)
        };
        Ok(StoredMembership::new(log_id, read_membership(d)?))
    });
    read.map_err(|e| CodecError::new("stored membership", e))
}

/// Writing into a `Vec` cannot fail.
fn sure(written: Encoded) {
    if let Err(error) = written {
        unreachable!("encoding into memory failed: {error}");
    }
}

/// Reads one value that must fill `bytes`.
fn whole<'b, T>(bytes: &'b [u8], read: impl FnOnce(&mut Decoder<'b>) -> Decoded<T>) -> Decoded<T> {
    let mut decoder = Decoder::new(bytes);
    let value = read(&mut decoder)?;
    if decoder.position() != bytes.len() {
        return Err(minicbor::decode::Error::message("bytes follow the value"));
    }
    Ok(value)
}

/// Hands on what was read, if it is what a writer may have written.
fn within<T>(value: T, check: impl FnOnce(&T) -> Result<(), OutOfBounds>) -> Decoded<T> {
    match check(&value) {
        Ok(()) => Ok(value),
        Err(error) => Err(minicbor::decode::Error::message(error)),
    }
}

fn array(d: &mut Decoder<'_>, len: u64) -> Decoded<()> {
    if d.array()? == Some(len) {
        return Ok(());
    }
    Err(minicbor::decode::Error::message(
        "an array of another length",
    ))
}

fn write_entry(entry: &Entry, e: &mut Encoder<&mut Vec<u8>>) -> Encoded {
    let leader = &entry.log_id.leader_id;
    e.array(5)?
        .u64(leader.term)?
        .u64(leader.node_id)?
        .u64(entry.log_id.index)?;
    match &entry.payload {
        EntryPayload::Blank => drop(e.u8(BLANK)?.null()?),
        EntryPayload::Normal(Proposal(bytes)) => drop(e.u8(NORMAL)?.bytes(bytes)?),
        EntryPayload::Membership(membership) => {
            e.u8(MEMBERSHIP)?;
            write_membership(membership, e)?;
        }
    }
    Ok(())
}

fn read_entry<'b>(d: &mut Decoder<'b>, buffer: &Bytes) -> Decoded<Entry> {
    array(d, 5)?;
    let leader_id = LeaderId::new(d.u64()?, d.u64()?);
    let log_id = LogId::new(leader_id, d.u64()?);
    let payload = match d.u8()? {
        BLANK => {
            d.null()?;
            EntryPayload::Blank
        }
        NORMAL => EntryPayload::Normal(Proposal(buffer.slice_ref(d.bytes()?))),
        MEMBERSHIP => EntryPayload::Membership(read_membership(d)?),
        _ => return Err(minicbor::decode::Error::message("an unknown kind of entry")),
    };
    within(Entry { log_id, payload }, bounds::entry)
}

fn write_log_id(log_id: &LogId, e: &mut Encoder<&mut Vec<u8>>) -> Encoded {
    e.array(3)?
        .u64(log_id.leader_id.term)?
        .u64(log_id.leader_id.node_id)?
        .u64(log_id.index)?;
    Ok(())
}

fn read_log_id(d: &mut Decoder<'_>) -> Decoded<LogId> {
    array(d, 3)?;
    let log_id = LogId::new(LeaderId::new(d.u64()?, d.u64()?), d.u64()?);
    within(log_id, bounds::log_id)
}

fn write_vote(vote: &Vote, e: &mut Encoder<&mut Vec<u8>>) -> Encoded {
    e.array(3)?
        .u64(vote.leader_id.term)?
        .u64(vote.leader_id.node_id)?
        .bool(vote.committed)?;
    Ok(())
}

fn read_vote(d: &mut Decoder<'_>) -> Decoded<Vote> {
    array(d, 3)?;
    let leader_id = LeaderId::new(d.u64()?, d.u64()?);
    let vote = Vote {
        leader_id,
        committed: d.bool()?,
    };
    within(vote, bounds::vote)
}

/// `[[voters of each config], {node id: member}]`: two configs while they change (joint consensus,
/// Raft thesis 4.3).
fn write_membership(membership: &Membership, e: &mut Encoder<&mut Vec<u8>>) -> Encoded {
    let configs = membership.get_joint_config();
    e.array(2)?.array(configs.len() as u64)?;
    for voters in configs {
        e.array(voters.len() as u64)?;
        for id in voters {
            e.u64(*id)?;
        }
    }
    let nodes: Vec<_> = membership.nodes().collect();
    e.map(nodes.len() as u64)?;
    for (id, member) in nodes {
        e.u64(*id)?.encode(member)?;
    }
    Ok(())
}

fn read_membership(d: &mut Decoder<'_>) -> Decoded<Membership> {
    array(d, 2)?;
    let mut configs = Vec::new();
    for _ in 0..count(d.array()?, CONFIGURATIONS_MAX)? {
        let mut voters = BTreeSet::new();
        for _ in 0..count(d.array()?, VOTERS_MAX)? {
            voters.insert(d.u64()?);
        }
        configs.push(voters);
    }
    let mut nodes: BTreeMap<NodeId, Member> = BTreeMap::new();
    for _ in 0..count(d.map()?, MEMBERS_MAX + VOTERS_MAX)? {
        nodes.insert(d.u64()?, d.decode()?);
    }
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    let membership = Membership::new(configs, nodes)
        .map_err(|_| minicbor::decode::Error::message("an impossible membership"))?;
    within(membership, bounds::membership)
}

/// A length, refused before anything of that length is read.
fn count(len: Option<u64>, max: usize) -> Decoded<u64> {
    match len {
        Some(len) if len <= max as u64 => Ok(len),
        _ => Err(minicbor::decode::Error::message("too many members")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::raft::types::Incarnation;

    fn log_id(term: u64, node: u64, index: u64) -> LogId {
        LogId::new(LeaderId::new(term, node), index)
    }

    fn membership() -> Membership {
        let member = |n: u8| Member {
            peer_addr: format!("127.0.0.1:900{n}"),
            http_addr: format!("127.0.0.1:800{n}"),
            incarnation: Incarnation([n; 16]),
        };
        let configs = vec![BTreeSet::from([1, 2]), BTreeSet::from([1, 3])];
        let nodes = (1..=4)
            .map(|n| (u64::from(n), member(n)))
            .collect::<BTreeMap<_, _>>();
        Membership::new(configs, nodes).unwrap()
    }

    fn entry_round_trip(payload: EntryPayload) -> Vec<u8> {
        let entry = Entry {
            log_id: log_id(7, 3, 900),
            payload,
        };
        let mut bytes = Vec::new();
        encode_entry(&entry, &mut bytes);
        assert_eq!(decode_entry(&Bytes::from(bytes.clone())).unwrap(), entry);
        for cut in 0..bytes.len() {
            let short = Bytes::copy_from_slice(bytes.get(..cut).unwrap());
            assert!(decode_entry(&short).is_err(), "cut at {cut}");
        }
        let mut long = bytes.clone();
        long.push(0);
        assert!(decode_entry(&Bytes::from(long)).is_err());
        bytes
    }

    #[test]
    fn entries_come_back_and_nothing_else_does() {
        entry_round_trip(EntryPayload::Blank);
        entry_round_trip(EntryPayload::Membership(membership()));
        let bytes = entry_round_trip(EntryPayload::Normal(Proposal(Bytes::from_static(b"abc"))));
        // Golden bytes: format 1 of a log entry. A change needs a new format version.
        assert_eq!(hex::encode(bytes), "85070319038401".to_owned() + "43616263");
    }

    #[test]
    fn votes_log_ids_and_memberships_come_back() {
        for committed in [false, true] {
            let vote = Vote {
                leader_id: LeaderId::new(5, 2),
                committed,
            };
            let mut bytes = Vec::new();
            encode_vote(&vote, &mut bytes);
            assert_eq!(decode_vote(&bytes).unwrap(), vote);
        }
        let mut bytes = Vec::new();
        encode_log_id(&log_id(1, 2, 3), &mut bytes);
        assert_eq!(decode_log_id(&bytes).unwrap(), log_id(1, 2, 3));
        assert!(decode_vote(&bytes).is_err());

        for log_id in [None, Some(log_id(4, 1, 77))] {
            let stored = StoredMembership::new(log_id, membership());
            let mut bytes = Vec::new();
            encode_stored_membership(&stored, &mut bytes);
            assert_eq!(decode_stored_membership(&bytes).unwrap(), stored);
        }
    }
}
