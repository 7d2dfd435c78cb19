//! What peers say to one another, and its encoding.
//!
//! A body is one byte of kind followed by one CBOR value (RFC 8949). Appends have a kind of their
//! own, because their entries are sliced out of the received buffer without a copy; everything
//! else is an [`Ask`]. Every answer is an [`Answer`].

use bytes::Bytes;
use minicbor::{Decode, Encode};
use openraft::raft::AppendEntriesRequest;
use raft3d_core::ModuleDigest;

use super::api::{MembershipError, NodeStatus, WriteOutcome};
use super::encoding::{
    KIND_APPEND, KIND_ASK, MessageError, bounded_list, bounded_member, decode_append,
    encode_append, log_id, membership, shared_bytes, vote, whole, with_kind,
};
use super::transport::Refusal;
use super::types::{Incarnation, LogId, Member, NodeId, Run, StoredMembership, TypeConfig, Vote};

/// Entries are put into one append until it holds this many bytes; a larger one goes alone.
pub const APPEND_BYTES_SOFT_MAX: usize = 1024 * 1024;
/// Most entries in one append.
pub const APPEND_ENTRIES_MAX: usize = 4_096;
/// Bytes of a snapshot in one message.
pub const SNAPSHOT_CHUNK_BYTES: usize = 512 * 1024;

/// A request between peers.
#[derive(Clone, Debug)]
pub enum Request {
    /// Log entries, or none: a heartbeat.
    Append(AppendEntriesRequest<TypeConfig>),
    /// Anything else.
    Ask(Ask),
}

/// Requests other than appends. The numbers are part of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Ask {
    /// Who are you, and do you belong to a cluster yet?
    #[n(0)]
    Identify,
    /// Vote for me (Raft, 5.2), or would you (Raft thesis, 9.6)?
    #[n(1)]
    Vote(#[n(0)] VoteAsk),
    /// The leader hands over (Raft thesis, 3.10).
    #[n(2)]
    TransferLeader(#[n(0)] TransferAsk),
    /// Up to where must a replica have applied to read what was committed by now (6.4)?
    #[n(3)]
    ReadIndex {
        /// The asker's vote, as of after the reads came.
        #[cbor(n(0), with = "vote")]
        vote: Vote,
    },
    /// How are you?
    #[n(4)]
    Status,
    /// Clients' writes, for the leader.
    #[n(5)]
    Writes(#[n(0)] WritesAsk),
    /// A change of the membership, for the leader.
    #[n(6)]
    Admin(#[n(0)] AdminAsk),
    /// A node without an id asks any member to be added.
    #[n(7)]
    Join(#[cbor(n(0), with = "bounded_member")] Member),
    /// A snapshot follows.
    #[n(8)]
    SnapshotBegin(#[n(0)] SnapshotBegin),
    /// A piece of it.
    #[n(9)]
    SnapshotChunk(#[n(0)] SnapshotChunk),
    /// That was all: check and install it.
    #[n(10)]
    SnapshotEnd {
        /// The transfer.
        #[n(0)]
        transfer: u64,
    },
    /// Which of these modules could you evaluate at once?
    #[n(11)]
    Compiled {
        /// The modules: those of one ruleset.
        #[cbor(n(0), with = "bounded_list")]
        modules: Vec<ModuleDigest>,
    },
    /// Have you taken no later vote than mine (6.4)?
    #[n(12)]
    Follows {
        /// The leader's vote.
        #[cbor(n(0), with = "vote")]
        vote: Vote,
    },
    /// I am here. Do you follow me, and does a majority follow you?
    #[n(20)]
    Present {
        /// The asker's vote, as of after it began to ask.
        #[cbor(n(0), with = "vote")]
        vote: Vote,
    },
}

/// A vote that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct VoteAsk {
    /// The candidate's vote.
    #[cbor(n(0), with = "vote")]
    pub vote: Vote,
    /// Its last entry.
    #[cbor(n(1), with = "log_id")]
    pub last_log_id: Option<LogId>,
    /// Only a question, before the term is raised.
    #[n(2)]
    pub pre_vote: bool,
    /// The leader asked for this election.
    #[n(3)]
    pub leadership_transfer: bool,
}

/// A leader that hands over.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TransferAsk {
    /// The leader's vote.
    #[cbor(n(0), with = "vote")]
    pub from: Vote,
    /// To whom.
    #[n(1)]
    pub to: NodeId,
    /// What the new leader must have.
    #[cbor(n(2), with = "log_id")]
    pub last_log_id: Option<LogId>,
}

/// Writes on their way to the leader, to be proposed in that order.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct WritesAsk {
    /// One group's: see [`GROUP_WRITES_SOFT_MAX`](super::group::GROUP_WRITES_SOFT_MAX).
    #[cbor(n(0), with = "bounded_list")]
    pub writes: Vec<WriteAsk>,
}

/// A write on its way to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct WriteAsk {
    /// The encoded envelope; the leader stamps its time.
    #[cbor(n(0), with = "shared_bytes")]
    pub envelope: Bytes,
    /// How long the sender still waits, in milliseconds.
    #[n(1)]
    pub timeout_ms: u64,
}

/// A change of the membership.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum AdminAsk {
    /// Add a learner.
    #[n(0)]
    AddLearner(#[cbor(n(0), with = "bounded_member")] Member),
    /// Make a learner a voter.
    #[n(1)]
    Promote {
        /// Whom.
        #[n(0)]
        node_id: NodeId,
        /// Compare-and-set.
        #[n(1)]
        expected: Option<u64>,
    },
    /// Remove a member.
    #[n(2)]
    Remove {
        /// Whom.
        #[n(0)]
        node_id: NodeId,
        /// Compare-and-set.
        #[n(1)]
        expected: Option<u64>,
    },
    /// Hand the leadership over.
    #[n(3)]
    Transfer {
        /// To whom.
        #[n(0)]
        to: NodeId,
    },
    /// Correct where a member is.
    #[n(20)]
    Readdress {
        /// Whom.
        #[n(0)]
        node_id: NodeId,
        /// Where its peers reach it from now on; none where that stays.
        #[n(1)]
        peer_addr: Option<String>,
        /// Where clients reach it from now on; none where that stays.
        #[n(2)]
        http_addr: Option<String>,
        /// Compare-and-set.
        #[n(3)]
        expected: Option<u64>,
    },
}

/// The start of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SnapshotBegin {
    /// The sending leader's vote.
    #[cbor(n(0), with = "vote")]
    pub vote: Vote,
    /// Last entry in the snapshot.
    #[cbor(n(1), with = "log_id")]
    pub last_log_id: Option<LogId>,
    /// Membership as of the snapshot.
    #[cbor(n(2), with = "membership")]
    pub membership: StoredMembership,
    /// Size in bytes.
    #[n(3)]
    pub bytes: u64,
    /// Chosen at random by the sender; a later transfer replaces an earlier one.
    #[n(4)]
    pub transfer: u64,
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SnapshotChunk {
    /// The transfer.
    #[n(0)]
    pub transfer: u64,
    /// Where the piece belongs, in bytes from the start. Pieces come in order.
    #[n(1)]
    pub offset: u64,
    /// CRC-32C of the piece.
    #[n(2)]
    pub crc: u32,
    /// The piece.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub data: Vec<u8>,
}

/// An answer between peers. The numbers are part of the protocol.
#[allow(
    clippy::large_enum_variant,
    reason = "an answer is encoded where it is made; none is kept"
)]
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Answer {
    /// The node cannot answer: it failed, stops, or is not started.
    #[n(0)]
    Failed {
        /// Why.
        #[n(0)]
        reason: String,
    },
    /// To an append.
    #[n(1)]
    Append(#[n(0)] AppendAnswer),
    /// To [`Ask::Identify`].
    #[n(2)]
    Identity(#[n(0)] Identity),
    /// To [`Ask::Vote`].
    #[n(3)]
    Vote(#[n(0)] VoteAnswer),
    /// To [`Ask::TransferLeader`]; whether it is taken.
    #[n(4)]
    Transfer {
        /// Whether.
        #[n(0)]
        taken: bool,
    },
    /// To [`Ask::ReadIndex`].
    #[n(5)]
    ReadIndex {
        /// The last committed entry; none where the node does not lead, or not certainly.
        #[cbor(n(0), with = "log_id")]
        committed: Option<LogId>,
    },
    /// To [`Ask::Status`].
    #[n(6)]
    Status(#[n(0)] StatusAnswer),
    /// To [`Ask::Writes`].
    #[n(7)]
    Writes {
        /// One for each, in their order.
        #[cbor(n(0), with = "bounded_list")]
        answers: Vec<WriteAnswer>,
    },
    /// To [`Ask::Admin`].
    #[n(8)]
    Admin(#[n(0)] AdminAnswer),
    /// To the requests that only a leader answers, by another node.
    #[n(9)]
    NotLeader {
        /// Whom it takes for the leader.
        #[n(0)]
        leader: Option<NodeId>,
    },
    /// To [`Ask::SnapshotBegin`] and [`Ask::SnapshotChunk`]: the sender may go on from here.
    #[n(10)]
    SnapshotNext {
        /// Bytes received.
        #[n(0)]
        offset: u64,
    },
    /// To [`Ask::SnapshotBegin`], where the sender is behind, and to [`Ask::SnapshotEnd`].
    #[n(11)]
    SnapshotDone {
        /// The receiver's vote.
        #[cbor(n(0), with = "vote")]
        vote: Vote,
    },
    /// To [`Ask::Compiled`].
    #[n(12)]
    Compiled {
        /// One for each, in their order.
        #[n(0)]
        compiled: Vec<bool>,
    },
    /// To [`Ask::Follows`].
    #[n(13)]
    Follows {
        /// Whether.
        #[n(0)]
        follows: bool,
    },
    /// To [`Ask::Present`].
    #[n(20)]
    Present(#[n(0)] PresentAnswer),
    /// To the requests that only a member may make, by a node that has committed a membership
    /// without the asker.
    #[n(21)]
    NotMember {
        /// Log index of that membership.
        #[n(0)]
        since: u64,
    },
    /// To anything, because of who asks.
    #[n(22)]
    NotWelcome(#[n(0)] Refusal),
    /// To any request that is not taken and had no effect: it is not understood, or outside its
    /// bounds. To ask the same again does not help.
    #[n(25)]
    Refused {
        /// Why.
        #[n(0)]
        reason: String,
    },
}

/// To [`Ask::Present`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PresentAnswer {
    /// It has taken no later vote than the asker's.
    #[n(0)]
    pub follows: bool,
    /// It leads, and a majority followed it so many milliseconds ago.
    #[n(1)]
    pub led_ms_ago: Option<u64>,
    /// Another process with the asker's data folder was refused here not long ago.
    #[n(2)]
    pub has_rival: bool,
}

/// To an append.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum AppendAnswer {
    /// All of it is durable.
    #[n(0)]
    Success,
    /// Durable up to here.
    #[n(1)]
    Partial {
        /// Where.
        #[cbor(n(0), with = "log_id")]
        matching: Option<LogId>,
    },
    /// The entry before the first does not match.
    #[n(2)]
    Conflict,
    /// The sender is not the leader any more.
    #[n(3)]
    HigherVote {
        /// The receiver's vote.
        #[cbor(n(0), with = "vote")]
        vote: Vote,
    },
}

/// To a vote that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct VoteAnswer {
    /// The voter's vote.
    #[cbor(n(0), with = "vote")]
    pub vote: Vote,
    /// Whether it is granted.
    #[n(1)]
    pub granted: bool,
    /// The voter's last entry.
    #[cbor(n(2), with = "log_id")]
    pub last_log_id: Option<LogId>,
}

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Identity {
    /// Id; none before it has one.
    #[n(0)]
    pub node_id: Option<NodeId>,
    /// Data folder.
    #[n(1)]
    pub incarnation: Incarnation,
    /// Whether its log holds anything: it belongs to a cluster.
    #[n(2)]
    pub initialised: bool,
    /// The process that answers.
    #[n(20)]
    pub run: Run,
    /// How long it has been running, in milliseconds.
    #[n(21)]
    pub up_ms: u64,
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StatusAnswer {
    /// The node's own word.
    #[n(0)]
    pub status: NodeStatus,
    /// Its clock when it answered, in milliseconds since the Unix epoch.
    #[n(1)]
    pub clock_ms: u64,
    /// Its digests at the latest checkpoints, oldest first.
    #[n(2)]
    pub checkpoints: Vec<CheckpointDigest>,
}

/// The digest of a replica's state at a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct CheckpointDigest {
    /// Log index of the checkpoint.
    #[n(0)]
    pub index: u64,
    /// The digest as of it.
    #[n(1)]
    pub digest: raft3d_core::state::digest::Digest,
}

/// What the leader answers to one forwarded write.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every value is the large one"
)]
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum WriteAnswer {
    /// The outcome.
    #[n(0)]
    Done(#[n(0)] WriteOutcome),
    /// Certainly not proposed: a queue is full.
    #[n(1)]
    Overloaded,
    /// Perhaps proposed; the outcome was not known in time.
    #[n(2)]
    Unknown,
    /// Certainly not proposed, and another try will not help.
    #[n(3)]
    Refused {
        /// Why.
        #[n(0)]
        reason: String,
    },
    /// Certainly not proposed: the leader hands over or has lost its quorum.
    #[n(4)]
    NotNow,
    /// Certainly not proposed: an alarm of the cluster stops all writes.
    #[n(35)]
    Stopped {
        /// The alarm, and the way out.
        #[n(0)]
        reason: String,
    },
    /// Certainly not proposed: the leader takes no writes for now.
    #[n(30)]
    Paused {
        /// Why, and what to do.
        #[n(0)]
        reason: String,
    },
}

/// What the leader answers to a change of the membership.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum AdminAnswer {
    /// Done; the member's id.
    #[n(0)]
    Done {
        /// The member that was changed.
        #[n(0)]
        node_id: NodeId,
    },
    /// Not done.
    #[n(1)]
    Failed(#[n(0)] MembershipError),
}

impl Request {
    /// The request's body.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Append(append) => encode_append(append),
            Self::Ask(ask) => with_kind(KIND_ASK, ask),
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The bytes are not a request.
    pub fn decode(body: &Bytes) -> Result<Self, MessageError> {
        match body.first() {
            Some(&KIND_APPEND) => decode_append(&body.slice(1..)).map(Self::Append),
            Some(&KIND_ASK) => whole(&body.slice(1..)).map(Self::Ask),
            _ => Err(MessageError("an unknown kind of request".to_owned())),
        }
    }
}

impl Answer {
    /// The answer's body.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        with_kind(KIND_ASK, self)
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The bytes are not an answer.
    pub fn decode(body: &Bytes) -> Result<Self, MessageError> {
        match body.first() {
            Some(&KIND_ASK) => whole(&body.slice(1..)),
            _ => Err(MessageError("an unknown kind of answer".to_owned())),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use openraft::vote::RaftLeaderId;
    use raft3d_core::Revision;
    use raft3d_core::command::DeniedEntry;
    use raft3d_core::state::digest::Digest;

    use super::super::api::{ClockStatus, DiskStatus, Role};
    use super::super::types::{LeaderId, Membership};
    use super::*;

    fn some_vote() -> Vote {
        Vote {
            leader_id: LeaderId::new(5, 2),
            committed: true,
        }
    }

    fn some_log_id() -> Option<LogId> {
        Some(LogId::new(LeaderId::new(4, 1), 77))
    }

    fn some_member() -> Member {
        Member {
            peer_addr: "127.0.0.1:9000".to_owned(),
            http_addr: "127.0.0.1:8000".to_owned(),
            incarnation: Incarnation([3; 16]),
        }
    }

    fn asks() -> Vec<Ask> {
        vec![
            Ask::Identify,
            Ask::Vote(VoteAsk {
                vote: some_vote(),
                last_log_id: None,
                pre_vote: true,
                leadership_transfer: false,
            }),
            Ask::TransferLeader(TransferAsk {
                from: some_vote(),
                to: 3,
                last_log_id: some_log_id(),
            }),
            Ask::ReadIndex { vote: some_vote() },
            Ask::Status,
            Ask::Writes(WritesAsk {
                writes: vec![WriteAsk {
                    envelope: Bytes::from_static(&[1, 2, 3]),
                    timeout_ms: 5_000,
                }],
            }),
            Ask::Admin(AdminAsk::Promote {
                node_id: 1_004,
                expected: Some(9),
            }),
            Ask::Join(some_member()),
            Ask::SnapshotBegin(SnapshotBegin {
                vote: some_vote(),
                last_log_id: some_log_id(),
                membership: StoredMembership::new(some_log_id(), Membership::default()),
                bytes: 1 << 40,
                transfer: 8,
            }),
            Ask::SnapshotChunk(SnapshotChunk {
                transfer: 8,
                offset: 1 << 33,
                crc: 7,
                data: vec![9; 100],
            }),
            Ask::SnapshotEnd { transfer: 8 },
            Ask::Compiled {
                modules: vec![ModuleDigest([7; 32])],
            },
            Ask::Follows { vote: some_vote() },
            Ask::Present { vote: some_vote() },
            Ask::Admin(AdminAsk::Readdress {
                node_id: 2,
                peer_addr: Some("127.0.0.1:9001".to_owned()),
                http_addr: None,
                expected: Some(9),
            }),
        ]
    }

    fn answers() -> Vec<Answer> {
        let status = NodeStatus {
            node_id: 1,
            incarnation: Incarnation([1; 16]),
            role: Role::Leader,
            leader: Some(1),
            term: 5,
            last_log_index: 90,
            applied: Revision(88),
            digest: Digest::default(),
            snapshot_index: 50,
            purged_index: 40,
            version: "1".to_owned(),
            engine_epoch: 1,
            engine_epoch_oldest: 1,
            engine_epoch_newest: 1,
            not_ready: None,
            denied: vec![super::super::api::DeniedStatus {
                entry: DeniedEntry {
                    index: Revision(7),
                    term: 3,
                    hash: [9; 32],
                },
                recorded: true,
            }],
            clock: ClockStatus::default(),
            disk: DiskStatus::default(),
            warnings: vec!["the address differs".to_owned()],
        };
        let checkpoints = vec![CheckpointDigest {
            index: 80,
            digest: Digest::default(),
        }];
        vec![
            Answer::Failed {
                reason: "it is stopping".to_owned(),
            },
            Answer::Append(AppendAnswer::Partial {
                matching: some_log_id(),
            }),
            Answer::Append(AppendAnswer::HigherVote { vote: some_vote() }),
            Answer::Status(StatusAnswer {
                status,
                clock_ms: 1,
                checkpoints,
            }),
            Answer::Writes {
                answers: vec![
                    WriteAnswer::Unknown,
                    WriteAnswer::NotNow,
                    WriteAnswer::Stopped {
                        reason: "an alarm".to_owned(),
                    },
                    WriteAnswer::Paused {
                        reason: "the clock".to_owned(),
                    },
                ],
            },
            Answer::Admin(AdminAnswer::Failed(MembershipError::NoLeader)),
            Answer::NotLeader { leader: None },
            Answer::SnapshotDone { vote: some_vote() },
            Answer::Compiled {
                compiled: vec![true, false],
            },
            Answer::Follows { follows: true },
            Answer::Present(PresentAnswer {
                follows: true,
                led_ms_ago: Some(100),
                has_rival: false,
            }),
            Answer::NotMember { since: 90 },
            Answer::NotWelcome(Refusal::RunsTwice { node_id: 2 }),
            Answer::Identity(Identity {
                node_id: Some(2),
                incarnation: Incarnation([1; 16]),
                initialised: true,
                run: Run([2; 16]),
                up_ms: 300,
            }),
            Answer::ReadIndex {
                committed: some_log_id(),
            },
        ]
    }

    /// Whatever is cut off a message, or added to it, what is left is none.
    #[test]
    fn messages_come_back_and_parts_of_them_do_not() {
        for ask in asks() {
            let body = Request::Ask(ask.clone()).encode();
            let Request::Ask(back) = Request::decode(&body).unwrap() else {
                unreachable!("an ask came back as an append");
            };
            assert_eq!(back, ask);
            for cut in 0..body.len() {
                assert!(
                    Request::decode(&body.slice(..cut)).is_err(),
                    "{ask:?} at {cut}"
                );
            }
            let longer = Bytes::from([&body, [0].as_slice()].concat());
            assert!(Request::decode(&longer).is_err());
        }
        for answer in answers() {
            let body = answer.encode();
            assert_eq!(Answer::decode(&body).unwrap(), answer);
            for cut in 0..body.len() {
                assert!(
                    Answer::decode(&body.slice(..cut)).is_err(),
                    "{answer:?} at {cut}"
                );
            }
        }
    }

    /// Golden bytes of protocol 6: a change needs a new protocol version.
    #[test]
    fn the_protocol_does_not_change_unnoticed() {
        let ask = Request::Ask(Ask::SnapshotEnd { transfer: 8 }).encode();
        assert_eq!(hex::encode(ask), "01820a8108");
        let vote = asks().into_iter().nth(1).unwrap();
        let vote = Request::Ask(vote).encode();
        assert_eq!(hex::encode(vote), "01820181a30044830502f502f503f4");
    }
}
