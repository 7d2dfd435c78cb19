//! When this node was last in touch with a majority: followed by one, if it leads, or else in touch
//! with a leader that was.
//!
//! All stamps are of this node's monotonic clock, and of when it *asked*, not of when it was
//! answered. So answers that lay in the socket of a process while it was suspended prove nothing
//! when it goes on.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::types::{NodeId, StoredMembership, Vote};

#[derive(Default)]
struct Stamps {
    /// The vote that the next are of.
    vote: Option<Vote>,
    /// When each member that follows this leader was asked.
    followed: BTreeMap<NodeId, Instant>,
    /// The latest time at which a majority is known to have followed this node, or the leader that
    /// it asked.
    majority: Option<Instant>,
    /// When the leader's last append came.
    heard: Option<Instant>,
}

/// The stamps of one node.
#[derive(Default)]
pub(super) struct Touch {
    stamps: Mutex<Stamps>,
}

impl Touch {
    fn lock(&self) -> MutexGuard<'_, Stamps> {
        self.stamps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A leader's append has come.
    pub(super) fn heard(&self, now: Instant) {
        let mut stamps = self.lock();
        stamps.heard = stamps.heard.max(Some(now));
    }

    /// The member `id`, asked at `at`, had no later vote than `vote`, this node's.
    pub(super) fn followed(&self, vote: Vote, id: NodeId, at: Instant) {
        let mut stamps = self.lock();
        if stamps.vote != Some(vote) {
            stamps.vote = Some(vote);
            stamps.followed.clear();
        }
        let stamp = stamps.followed.entry(id).or_insert(at);
        *stamp = at.max(*stamp);
    }

    /// The leader, asked by this node, was followed by a majority at `at`.
    pub(super) fn leader_confirmed(&self, at: Instant) {
        let mut stamps = self.lock();
        stamps.majority = stamps.majority.max(Some(at));
    }

    /// This node, the leader, was followed by a majority at `at`.
    pub(super) fn led(&self, at: Instant) {
        self.leader_confirmed(at);
        self.heard(at);
    }

    /// When a majority followed this node by its vote, `also` among them by its word of now. Of the
    /// old and of the new voters while the membership changes.
    pub(super) fn led_at(
        &self,
        vote: Vote,
        membership: &StoredMembership,
        own: NodeId,
        also: Option<NodeId>,
        now: Instant,
    ) -> Option<Instant> {
        let stamps = self.lock();
        let of_vote = stamps.vote == Some(vote);
        let stamp = |id: &NodeId| {
            if *id == own || Some(*id) == also {
                return Some(now);
            }
            of_vote.then(|| stamps.followed.get(id).copied()).flatten()
        };
        let configs = membership.membership().get_joint_config().iter();
        let of_config = configs.map(|voters| {
            let mut at: Vec<_> = voters.iter().map(stamp).collect();
            at.sort_unstable_by(|a, b| b.cmp(a));
            at.get(voters.len() / 2).copied().flatten()
        });
        of_config.min().flatten()
    }

    /// When this node was last in touch with a leader that a majority follows, in both directions.
    pub(super) fn last(&self) -> Option<Instant> {
        let stamps = self.lock();
        stamps.majority.min(stamps.heard)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::raft::testing::vote;
    use crate::raft::types::{Member, Membership};

    fn membership(configs: &[&[NodeId]]) -> StoredMembership {
        let configs = configs.iter().map(|c| c.iter().copied().collect());
        let members = (1..=6).map(|id| (id, Member::default()));
        let members: BTreeMap<NodeId, Member> = members.collect();
        StoredMembership::new(None, Membership::new(configs.collect(), members).unwrap())
    }

    #[test]
    fn a_leader_is_as_fresh_as_the_majority_s_oldest_voice() {
        let touch = Touch::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let led = |configs: &[&[NodeId]], also| {
            touch.led_at(vote(), &membership(configs), 1, also, at(90))
        };
        assert_eq!(led(&[&[1]], None), Some(at(90)), "its own majority");
        assert_eq!(led(&[&[1, 2, 3]], None), None);
        touch.followed(vote(), 2, at(20));
        touch.followed(vote(), 3, at(40));
        touch.followed(vote(), 3, at(30));
        touch.followed(vote(), 6, at(80));
        assert_eq!(led(&[&[1, 2, 3]], None), Some(at(40)));
        assert_eq!(led(&[&[1, 2, 3]], Some(2)), Some(at(90)));
        assert_eq!(led(&[&[1, 2, 3, 4]], None), Some(at(20)));
        assert_eq!(led(&[&[1, 4, 5]], None), None, "learners do not count");
        assert_eq!(led(&[&[1, 2, 3], &[1, 2, 4]], None), Some(at(20)));
        assert_eq!(led(&[&[2, 3]], None), Some(at(20)), "it leaves");
        // Whoever followed in an earlier term says nothing of this one.
        let later = Vote::new_committed(99, 1);
        let led = touch.led_at(later, &membership(&[&[1, 2, 3]]), 1, None, at(90));
        assert_eq!(led, None);
    }

    #[test]
    fn a_follower_needs_both_directions() {
        let touch = Touch::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        touch.leader_confirmed(at(50));
        assert_eq!(touch.last(), None, "no append came");
        touch.heard(at(20));
        assert_eq!(touch.last(), Some(at(20)));
        touch.heard(at(70));
        touch.leader_confirmed(at(10));
        assert_eq!(touch.last(), Some(at(50)));
    }
}
