//! What unit tests of several modules write down of Raft: one leader's vote and log ids.

use openraft::vote::RaftLeaderId;

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
