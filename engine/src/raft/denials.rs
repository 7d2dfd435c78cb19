//! Denied entries, as the nodes of a cluster learn of them from one another: the leader has them
//! recorded in the log, a node that joins asks before it applies anything, and one that starts with a
//! log that it has not applied asks too. What a node remembers stands in `machine/denials.rs`.
//!
//! Only what the log records is taken on another node's word. One node that denies an entry by itself
//! is odd, and what it says of it makes nobody else odd.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::ServerState;
use raft3d_core::Command;
use raft3d_core::LocalFault;
use raft3d_core::command::DeniedEntry;
use tokio::time::MissedTickBehavior;

use super::api::NodeStatus;
use super::machine::StateHandle;
use super::message::{Answer, Ask, Request};
use super::node::Node;
use super::peers::Peers;
use super::transport::Channel;
use super::types::{JOINED_NODE_ID_MIN, NodeId};

/// Between two looks of the leader at what is not recorded yet.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two questions of a node that joins.
const JOIN_PAUSE: Duration = Duration::from_millis(100);
/// How long a start waits for another node's word: it goes on without.
const START_TIMEOUT: Duration = Duration::from_millis(500);

/// What `status` says that the log records.
fn recorded(status: &NodeStatus) -> impl Iterator<Item = DeniedEntry> + '_ {
    let denied = status.denied.iter().filter(|denied| denied.recorded);
    denied.map(|denied| denied.entry)
}

/// Before Raft applies what is committed of this node's own log. One whose log is empty and that
/// joined waits until it has asked the others; whoever has a log asks those that its state knows,
/// once, because all nodes may be starting and none answer.
///
/// # Errors
/// What was learned cannot be written.
pub(super) async fn before_start(
    peers: &Peers,
    machine: &StateHandle,
    me: NodeId,
    last_log_index: u64,
) -> Result<(), LocalFault> {
    let view = machine.view();
    let applied = view.revision().0;
    if applied == 0 && last_log_index == 0 {
        if me >= JOINED_NODE_ID_MIN {
            machine.denials().close_gate();
        }
        return Ok(());
    }
    if applied >= last_log_index {
        return Ok(());
    }
    let others = view.membership().nodes().filter(|(id, _)| **id != me);
    let asked = others.map(|(id, member)| async move {
        let ask = Request::Ask(Ask::Status);
        let answer = peers.ask(Channel::Control, *id, member, &ask, START_TIMEOUT);
        match answer.await {
            Ok(Answer::Status(answer)) => recorded(&answer.status).collect(),
            Ok(_) | Err(_) => Vec::new(),
        }
    });
    let learned: Vec<DeniedEntry> = join_all(asked).await.concat();
    machine.denials().learn(&learned)
}

/// Learns and records, for as long as the node runs.
pub(super) async fn keep(node: Node) {
    node.open_gate().await;
    let mut looks = tokio::time::interval(PAUSE);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        node.record_denials().await;
    }
}

impl Node {
    /// Lets a node that joined apply entries, when the leader and a majority of the voters have said
    /// what is denied. What the log records was denied by a majority before.
    async fn open_gate(&self) {
        while self.inner.machine.denials().is_closed() {
            if self.ask_what_is_denied().await {
                return self.inner.machine.denials().open_gate();
            }
            tokio::time::sleep(JOIN_PAUSE).await;
        }
    }

    /// Whether the leader and a majority of the voters have answered.
    async fn ask_what_is_denied(&self) -> bool {
        let Some(leader) = self.inner.current_leader() else {
            return false;
        };
        let membership = self.inner.membership();
        let voters: Vec<NodeId> = membership.voter_ids().collect();
        let statuses = self.voters_statuses().await;
        let majority = voters.len() / 2 + 1;
        self.learn_denied(statuses.values());
        statuses.contains_key(&leader) && statuses.len() >= majority
    }

    /// What each voter that answers says of itself, this node among them.
    async fn voters_statuses(&self) -> BTreeMap<NodeId, NodeStatus> {
        let membership = self.inner.membership();
        let asked = membership.voter_ids().map(|id| {
            let member = membership.get_node(&id).cloned();
            async move { Some((id, self.status_of(id, &member?).await.ok()?.status)) }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Remembers what the log records by the word of others.
    pub(super) fn learn_denied<'a>(&self, statuses: impl Iterator<Item = &'a NodeStatus>) {
        let learned: Vec<DeniedEntry> = statuses.flat_map(recorded).collect();
        if let Err(fault) = self.inner.machine.denials().learn(&learned) {
            self.inner.fail(fault.to_string());
        }
    }

    /// Has the log record what this state and those of a majority of the voters have denied.
    async fn record_denials(&self) {
        let unrecorded = self.inner.machine.denials().unrecorded();
        if unrecorded.is_empty()
            || self.inner.metrics().state != ServerState::Leader
            || self.inner.unavailable().is_some()
            || self.inner.health.may_not_propose()
        {
            return;
        }
        let voters = self.inner.membership().voter_ids().count();
        let statuses = self.voters_statuses().await;
        for entry in unrecorded {
            let denies = |status: &&NodeStatus| status.denied.iter().any(|d| d.entry == entry);
            let agreed = statuses.values().filter(denies).count();
            if agreed > voters / 2 {
                self.own_command(Command::RecordDenied(entry)).await;
            } else {
                tracing::debug!(
                    index = entry.index.0,
                    "no majority of the voters has denied this entry yet"
                );
            }
        }
    }
}
