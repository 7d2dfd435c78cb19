//! Raising the engine epoch, once every voter runs a program that supports the next one.
//!
//! The leader asks all of them at once and proposes the next epoch when each says that it supports
//! it. It holds the lock of membership changes meanwhile, and a learner is promoted only if its
//! program supports the epoch in force, so that no voter stands there who was not asked. A voter
//! whose program is replaced by an older one after it was asked stops with
//! [`LocalFault::Epoch`](raft3d_core::LocalFault::Epoch) when it comes to the entry; it has
//! computed nothing under an epoch that it does not know.

use std::time::Duration;

use futures_util::future::join_all;
use openraft::ServerState;
use raft3d_core::Command;
use raft3d_core::command::RaiseEpoch;
use raft3d_core::state::meta;

use super::api::{MembershipError, NodeStatus};
use super::node::Node;
use super::types::NodeId;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Raises the epoch where this node leads, again and again.
pub(super) async fn raise_epochs(node: Node) {
    let mut looks = tokio::time::interval(PAUSE);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        match meta::epoch(&node.inner.machine.view()) {
            Ok(epoch) => {
                let next = epoch.saturating_add(1);
                if epoch > 0 && next <= node.inner.epochs.newest {
                    node.raise_epoch(next).await;
                }
            }
            Err(fault) => node.inner.fail(fault.to_string()),
        }
    }
}

impl Node {
    async fn raise_epoch(&self, to: u32) {
        if self.inner.metrics().state != ServerState::Leader
            || self.inner.unavailable().is_some()
            || self.inner.health.may_not_propose()
        {
            return;
        }
        let _no_other_voters = self.inner.membership_changes.lock().await;
        let without = self.voters_without(to).await;
        if without.is_empty() {
            tracing::info!(to, "every voter supports the next engine epoch");
            self.own_command(Command::RaiseEpoch(RaiseEpoch { to }))
                .await;
        } else {
            tracing::debug!(to, ?without, "not all voters support the next engine epoch");
        }
    }

    /// The voters that do not say that they support `epoch`.
    async fn voters_without(&self, epoch: u32) -> Vec<NodeId> {
        let membership = self.inner.membership();
        let asked = membership.voter_ids().map(|id| {
            let member = membership.get_node(&id).cloned();
            async move {
                let status = self.status_of(id, &member?).await.ok()?.status;
                status.epochs().supports(epoch).then_some(id)
            }
        });
        let supporting = join_all(asked).await;
        let voters = membership.voter_ids();
        voters
            .zip(supporting)
            .filter(|(_, supports)| supports.is_none())
            .map(|(id, _)| id)
            .collect()
    }

    /// Whether a learner with this status may vote: an entry that raises the epoch may be among
    /// those that it has not applied yet.
    pub(super) async fn expect_epoch(&self, learner: &NodeStatus) -> Result<(), MembershipError> {
        // Once this is applied, so is what earlier leaders committed.
        if self.inner.raft.write_blank().await.is_err() {
            return Err(MembershipError::NoLeader);
        }
        let refused = |reason| MembershipError::Refused { reason };
        let epoch = meta::epoch(&self.inner.machine.view());
        let epoch = epoch.map_err(|fault| refused(fault.to_string()))?;
        let supported = learner.epochs();
        if supported.supports(epoch) {
            return Ok(());
        }
        Err(refused(format!(
            "the cluster is at engine epoch {epoch}, and the program of learner {} supports \
             {supported}: run a newer version of it there",
            learner.node_id
        )))
    }
}
