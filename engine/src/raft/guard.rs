//! What another node says, judged before Raft hears it.
//!
//! Raft believes its members. A message that no sound member sends, by whatever cause (a later
//! program, damaged memory, a stranger), must not stop the node that gets it: openraft panics on
//! some, and others would be stored and stop every replica later.

use openraft::raft::AppendEntriesRequest;
use raft3d_core::Envelope;

use super::message::{Ask, Request};
use super::types::{EntryPayload, NodeId, TypeConfig, Vote};
use crate::bounds;

/// Largest snapshot that is received, in bytes: some ten times the rows that a cluster may hold.
pub(super) const SNAPSHOT_BYTES_MAX: u64 = 1 << 40;

/// What a node knows of itself when it judges a message.
pub(super) struct Own {
    pub(super) id: NodeId,
    pub(super) vote: Vote,
    /// Whether its log holds a membership: it belongs to a cluster.
    pub(super) is_member: bool,
}

impl Own {
    /// Judges what `sender` asks.
    ///
    /// # Errors
    /// What no sound member would send.
    pub(super) fn judge(&self, sender: Option<NodeId>, request: &Request) -> Result<(), String> {
        let (vote, leads) = match request {
            Request::Append(append) => (&append.vote, true),
            Request::Ask(Ask::SnapshotBegin(begin)) => {
                if begin.bytes > SNAPSHOT_BYTES_MAX {
                    let bytes = begin.bytes;
                    return Err(format!(
                        "a snapshot of {bytes} bytes; at most {SNAPSHOT_BYTES_MAX} are taken"
                    ));
                }
                (&begin.vote, true)
            }
            Request::Ask(Ask::TransferLeader(ask)) => (&ask.from, true),
            Request::Ask(Ask::Vote(ask)) => (&ask.vote, false),
            Request::Ask(_) => return Ok(()),
        };
        if sender == Some(self.id) {
            return Err("it comes from a node with the id of this one".to_owned());
        }
        if vote.committed != leads {
            return Err("a leader's vote is committed, and a candidate's is not".to_owned());
        }
        bounds::later_vote(&self.vote, self.is_member, vote).map_err(|error| error.to_string())
    }
}

/// Whether every replica can read the entries of an append. One that is denied need not be read.
///
/// # Errors
/// The first that cannot be read.
pub(super) fn check_readable(
    append: &AppendEntriesRequest<TypeConfig>,
    is_denied: impl Fn(u64) -> bool,
) -> Result<(), String> {
    for entry in &append.entries {
        if let EntryPayload::Normal(proposal) = &entry.payload
            && let Err(error) = Envelope::from_bytes(&proposal.0)
            && !is_denied(entry.log_id.index)
        {
            let index = entry.log_id.index;
            return Err(format!(
                "this node cannot read the entry at index {index}, and does not store it: {error}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use bytes::Bytes;
    use openraft::vote::RaftLeaderId;

    use super::super::message::{SnapshotBegin, TransferAsk, VoteAsk};
    use super::super::testing::log_id;
    use super::super::types::{Entry, LeaderId, Proposal, StoredMembership};
    use super::*;
    use crate::bounds::{FIRST_TERM_MAX, TERM_JUMP_MAX, TERM_MAX};

    fn vote(term: u64, committed: bool) -> Vote {
        Vote {
            leader_id: LeaderId::new(term, 2),
            committed,
        }
    }

    /// Every request that brings a vote of that term.
    fn requests(term: u64) -> Vec<Request> {
        let (leads, stands) = (vote(term, true), vote(term, false));
        vec![
            Request::Append(AppendEntriesRequest {
                vote: leads,
                prev_log_id: None,
                entries: Vec::new(),
                leader_commit: None,
            }),
            Request::Ask(Ask::SnapshotBegin(SnapshotBegin {
                vote: leads,
                last_log_id: None,
                membership: StoredMembership::default(),
                bytes: 9,
                transfer: 7,
            })),
            Request::Ask(Ask::TransferLeader(TransferAsk {
                from: leads,
                to: 1,
                last_log_id: None,
            })),
            Request::Ask(Ask::Vote(VoteAsk {
                vote: stands,
                last_log_id: None,
                pre_vote: false,
                leadership_transfer: true,
            })),
        ]
    }

    #[test]
    fn no_vote_comes_in_by_any_way_that_is_too_far_ahead() {
        let own = |is_member| Own {
            id: 1,
            vote: vote(7, true),
            is_member,
        };
        let taken = |is_member, term| -> Vec<bool> {
            let requests = requests(term);
            let judged = requests.iter();
            judged
                .map(|request| own(is_member).judge(Some(2), request).is_ok())
                .collect()
        };
        for term in [0, 7, 8, 7 + TERM_JUMP_MAX] {
            assert_eq!(taken(true, term), [true; 4], "{term}");
        }
        for term in [8 + TERM_JUMP_MAX, TERM_MAX, TERM_MAX + 1, u64::MAX] {
            assert_eq!(taken(true, term), [false; 4], "{term}");
        }
        assert_eq!(taken(false, FIRST_TERM_MAX), [true; 4]);
        assert_eq!(taken(false, FIRST_TERM_MAX + 1), [false; 4]);
    }

    #[test]
    fn a_message_that_openraft_would_panic_on_is_refused() {
        let own = Own {
            id: 1,
            vote: vote(7, true),
            is_member: true,
        };
        for request in requests(8) {
            assert!(own.judge(Some(1), &request).is_err(), "from itself");
            let other = match request {
                Request::Append(mut append) => {
                    append.vote.committed = false;
                    Request::Append(append)
                }
                Request::Ask(Ask::SnapshotBegin(mut begin)) => {
                    begin.vote.committed = false;
                    Request::Ask(Ask::SnapshotBegin(begin))
                }
                Request::Ask(Ask::TransferLeader(mut ask)) => {
                    ask.from.committed = false;
                    Request::Ask(Ask::TransferLeader(ask))
                }
                Request::Ask(Ask::Vote(mut ask)) => {
                    ask.vote.committed = true;
                    Request::Ask(Ask::Vote(ask))
                }
                Request::Ask(_) => continue,
            };
            assert!(own.judge(Some(2), &other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_refused_unless_it_is_denied() {
        let append = AppendEntriesRequest {
            vote: vote(3, true),
            prev_log_id: None,
            entries: vec![Entry {
                log_id: log_id(5),
                payload: EntryPayload::Normal(Proposal(Bytes::from_static(b"garbage"))),
            }],
            leader_commit: None,
        };
        let why = check_readable(&append, |_| false).unwrap_err();
        assert!(why.contains("index 5"), "{why}");
        assert_eq!(check_readable(&append, |index| index == 5), Ok(()));
    }
}
