//! What unit tests of several modules write down of Raft: one leader's vote and log ids, and what is
//! proposed.

use openraft::vote::RaftLeaderId;
use raft3d_core::command::{Actor, ENVELOPE_VERSION, RequestOrigin};
use raft3d_core::{Command, Envelope, RequestId};

use super::types::{LeaderId, LogId, NodeId, Vote};

const TERM: u64 = 3;
const LEADER: NodeId = 1;

pub(crate) fn log_id(index: u64) -> LogId {
    LogId::new(LeaderId::new(TERM, LEADER), index)
}

pub(crate) fn vote() -> Vote {
    Vote {
        leader_id: LeaderId::new(TERM, LEADER),
        committed: true,
    }
}

/// An envelope of a node's own, not stamped, that is never too late.
pub(crate) fn envelope(command: Command) -> Envelope {
    Envelope {
        version: ENVELOPE_VERSION,
        proposed_at_ms: 0,
        deadline_ms: u64::MAX,
        actor: Actor {
            name: "a".to_owned(),
            verified: false,
        },
        request_id: RequestId::new("r"),
        request_origin: RequestOrigin::Node,
        request_hash: [7; 32],
        command,
    }
}
