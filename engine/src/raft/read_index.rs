//! The read index (Ongaro 2014, "Consensus: Bridging Theory and Practice", section 6.4): up to where
//! must a replica have applied, to show all that was acknowledged before a read came?
//!
//! The answer is what the leader has committed, if a majority that is asked after the read came has no
//! later vote: a later leader, who may have committed more, has the votes of a majority, and one of
//! those would be among the ones that agree. They answer from memory, with no sync of their own: a
//! vote that was given before is in memory since then, and a node that was started again has what it
//! had given from its log. Who asks the leader for a read index says its own vote: of three nodes, that
//! is the majority already.
//!
//! openraft has this too, and takes for an answer whatever tells it that a majority still followed
//! after the read came. Its replication (0.10.0-alpha.37) knows appends by the log id that they end
//! with, and an append without entries ends where the one before it does: the answer to the first is
//! taken for one to the second, and confirms reads that came after it was given.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use openraft::{RaftState, ServerState};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::message::{Answer, Ask, Request};
use super::node::Node;
use super::transport::Channel;
use super::types::{LogId, Member, NodeId, StoredMembership, TypeConfig, Vote};
use crate::sabotage::{Bug, armed};

/// Longest round.
pub(super) const ROUND_TIMEOUT: Duration = Duration::from_secs(1);
/// Before one is asked again who could not answer.
pub(super) const ROUND_PAUSE: Duration = Duration::from_millis(20);

/// The answer to a round: what must be applied; none where no leader confirmed.
pub(super) type Confirmed = Option<LogId>;

/// What the node `own` has committed, if it leads and has committed an entry that it proposed. Before
/// that it has all that earlier leaders have committed, and does not know how much that is.
pub(super) fn committed_as_leader(
    own: NodeId,
    state: ServerState,
    vote: &Vote,
    committed: Option<&LogId>,
) -> Option<LogId> {
    // A member that was removed has its old vote when it is started again, and does not lead by it.
    let leads = state == ServerState::Leader && vote.committed && vote.leader_id.node_id == own;
    let of_own_term = |id: &&LogId| id.leader_id == vote.leader_id;
    committed.filter(|_| leads).filter(of_own_term).copied()
}

/// What a leader knows when a round begins.
struct Leading {
    vote: Vote,
    /// Everything that it or an earlier leader has acknowledged is this entry or before it.
    committed: LogId,
    membership: Arc<StoredMembership>,
}

impl Leading {
    /// What this node knows, if it leads.
    fn of(state: &RaftState<TypeConfig>, own: NodeId) -> Option<Self> {
        let (vote, committed) = (state.vote_ref(), state.local_committed());
        Some(Self {
            vote: *vote,
            committed: committed_as_leader(own, state.server_state, vote, committed)?,
            membership: Arc::clone(state.membership_state.effective()),
        })
    }

    /// Whether these are a majority: of the old and of the new voters while the membership changes.
    fn is_majority(&self, agreed: &BTreeSet<NodeId>) -> bool {
        let configs = self.membership.membership().get_joint_config();
        let mut configs = configs.iter();
        configs.all(|voters| voters.intersection(agreed).count() > voters.len() / 2)
    }
}

impl Node {
    /// The read index, if this node leads and a majority has no later vote. Whoever asks says its own
    /// with the question, and is asked no more.
    pub(super) async fn leader_read_index(&self, asker: Option<(NodeId, Vote)>) -> Confirmed {
        let own = self.id();
        let leading = self.look(move |state| Leading::of(state, own)).await??;
        let mut agreed = BTreeSet::from([own]);
        match asker {
            Some((asker, vote)) if vote <= leading.vote => agreed.extend([asker]),
            Some(_) => return None,
            None => {}
        }
        if leading.is_majority(&agreed) || armed(Bug::UnconfirmedReadIndex) {
            return Some(leading.committed);
        }
        let voters = leading
            .membership
            .voter_ids()
            .filter(|id| !agreed.contains(id));
        let mut asked: FuturesUnordered<_> = voters
            .filter_map(|id| Some((id, leading.membership.get_node(&id)?)))
            .map(|(id, member)| self.ask_whether_follows(id, member, leading.vote))
            .collect();
        let counted = async {
            while let Some((id, follows)) = asked.next().await {
                if follows {
                    agreed.insert(id);
                }
                if leading.is_majority(&agreed) {
                    return Some(leading.committed);
                }
            }
            None
        };
        timeout(ROUND_TIMEOUT, counted).await.ok().flatten()
    }

    /// Asks a voter whether it has taken a later vote, until it says so or says no.
    async fn ask_whether_follows(
        &self,
        voter: NodeId,
        member: &Member,
        vote: Vote,
    ) -> (NodeId, bool) {
        let ask = Request::Ask(Ask::Follows { vote });
        let peers = &self.inner.peers;
        loop {
            let asked = peers.ask(Channel::Control, voter, member, &ask, ROUND_TIMEOUT);
            if let Ok(Answer::Follows { follows }) = asked.await {
                return (voter, follows);
            }
            sleep(ROUND_PAUSE).await;
        }
    }

    /// This node's vote, as of now; none where the node has stopped.
    pub(super) async fn vote(&self) -> Option<Vote> {
        self.look(|state| *state.vote_ref()).await
    }

    /// What Raft's state shows as of now; none where the node has stopped. openraft's own
    /// `with_raft_state` logs an error where whoever asked has gone.
    pub(super) async fn look<V: Send + 'static>(
        &self,
        see: impl FnOnce(&RaftState<TypeConfig>) -> V + Send + 'static,
    ) -> Option<V> {
        let (answer, seen) = oneshot::channel();
        let look = move |state: &RaftState<TypeConfig>| {
            let _ = answer.send(see(state));
        };
        self.inner.raft.external_request(look).await.ok()?;
        seen.await.ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::raft::testing::{log_id, vote};
    use crate::raft::types::Membership;

    #[test]
    fn a_majority_is_one_of_all_voters_that_count() {
        let leading = |configs: &[&[NodeId]]| {
            let configs = configs
                .iter()
                .map(|c| c.iter().copied().collect())
                .collect();
            let voters: Vec<NodeId> = (1..=6).collect();
            let members = voters.iter().map(|id| (*id, Member::default()));
            let members: BTreeMap<_, _> = members.collect();
            let membership = Membership::new(configs, members).unwrap();
            Leading {
                vote: vote(),
                committed: log_id(9),
                membership: Arc::new(StoredMembership::new(None, membership)),
            }
        };
        let agree =
            |leading: &Leading, ids: &[NodeId]| leading.is_majority(&ids.iter().copied().collect());
        assert!(agree(&leading(&[&[1]]), &[1]));
        let three = leading(&[&[1, 2, 3]]);
        assert!(agree(&three, &[1, 3]));
        assert!(!agree(&three, &[1]));
        assert!(!agree(&three, &[1, 4, 5]), "learners do not count");
        assert!(!agree(&leading(&[&[1, 2, 3, 4]]), &[1, 2]));
        let joint = leading(&[&[1, 2, 3], &[3, 4, 5]]);
        assert!(!agree(&joint, &[1, 2, 3]));
        assert!(!agree(&joint, &[3, 4, 5]));
        assert!(agree(&joint, &[2, 3, 4]));
        let leaves = leading(&[&[2, 3]]);
        assert!(
            !agree(&leaves, &[1, 2]),
            "a leader that leaves does not count"
        );
        assert!(agree(&leaves, &[1, 2, 3]));
    }
}
