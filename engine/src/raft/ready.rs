//! What a node says of itself: whether it is ready, its role, and whom it takes for the leader.
//!
//! `/readyz`, `/metrics` and `/api/v1/cluster` all show what is decided here. A node is ready if it
//! was in touch with a majority within the last two election times ([`touch`](super::touch)) and
//! none of [`REASONS`] speaks against it.

use std::time::Duration;

use openraft::{RaftMetrics, ServerState};
use tokio::time::Instant;

use super::api::Role;
use super::node::Node;
use super::types::{NodeId, TypeConfig};

type Metrics = RaftMetrics<TypeConfig>;

/// Why a node is not ready, in the order in which they are told: the first that applies.
const REASONS: [fn(&Node, &Metrics) -> Option<String>; 8] = [
    |node, _| node.inner.unavailable(),
    not_bootstrapped,
    not_known,
    without_leader,
    out_of_touch,
    |node, _| node.inner.health.alarm(),
    |node, _| node.inner.disk.alarm(&node.inner.log.health()),
    writes_wait,
];

/// What an operator has to look at although the node serves.
const WARNINGS: [fn(&Node) -> Vec<String>; 3] = [
    |node| node.inner.standing.warnings(Instant::now()),
    doubled_members,
    clock_warnings,
];

impl Node {
    /// Why this node is not ready; none where it is.
    pub(super) fn not_ready(&self, metrics: &Metrics) -> Option<String> {
        REASONS.iter().find_map(|reason| reason(self, metrics))
    }

    /// What an operator has to look at although this node serves.
    pub(super) fn warnings(&self) -> Vec<String> {
        WARNINGS
            .iter()
            .flat_map(|warnings| warnings(self))
            .collect()
    }

    /// This node's role: it leads only if a majority followed it a moment ago.
    pub(super) fn role(&self, metrics: &Metrics) -> Role {
        if self.inner.closed_by().is_some() {
            return Role::Stopped;
        }
        match metrics.state {
            ServerState::Leader if self.leads(metrics) => Role::Leader,
            ServerState::Leader | ServerState::Candidate => Role::Candidate,
            ServerState::Follower => Role::Follower,
            ServerState::Learner => Role::Learner,
            ServerState::Shutdown => Role::Stopped,
        }
    }

    /// The leader, if this node is in touch with it.
    pub(super) fn known_leader(&self, metrics: &Metrics) -> Option<NodeId> {
        let leader = metrics.current_leader?;
        let knows = if leader == self.id() {
            self.leads(metrics)
        } else {
            self.is_in_touch(metrics)
        };
        knows.then_some(leader)
    }

    /// Whether a majority followed this leader within the shortest time in which another one can be
    /// elected behind its back: voters that hear of it refuse their votes for one election time,
    /// and wait for a part of another one. So two nodes never say at once that they lead.
    fn leads(&self, metrics: &Metrics) -> bool {
        let timing = self.inner.options.timing;
        let least_ms = timing.election_max_ms + timing.election_min_ms;
        let window = Duration::from_millis(least_ms.saturating_sub(timing.heartbeat_ms));
        let led_at = self.led_at(metrics, None);
        led_at.is_some_and(|at| at.elapsed() <= window)
    }

    fn is_in_touch(&self, metrics: &Metrics) -> bool {
        // A leader's own stamps may be newer than what was noted.
        let last = self.led_at(metrics, None).max(self.inner.touch.last());
        last.is_some_and(|at| at.elapsed() <= self.ready_window())
    }

    /// A node that was in touch with a majority so long ago is ready still: two election times.
    pub(super) fn ready_window(&self) -> Duration {
        Duration::from_millis(self.inner.options.timing.election_max_ms * 2)
    }
}

fn not_bootstrapped(node: &Node, _: &Metrics) -> Option<String> {
    let is_bootstrapped = node.inner.peers.cluster_id().is_some();
    (!is_bootstrapped).then(|| "the cluster is not bootstrapped yet".to_owned())
}

fn not_known(node: &Node, metrics: &Metrics) -> Option<String> {
    let is_member = metrics.membership_config.get_node(&node.id()).is_some();
    (!is_member).then(|| "the newest membership that this node has is without it".to_owned())
}

fn without_leader(_: &Node, metrics: &Metrics) -> Option<String> {
    let has_leader = metrics.current_leader.is_some();
    (!has_leader).then(|| "there is no leader".to_owned())
}

fn out_of_touch(node: &Node, metrics: &Metrics) -> Option<String> {
    if node.is_in_touch(metrics) {
        return None;
    }
    let ms = node.ready_window().as_millis();
    let leads = metrics.state == ServerState::Leader;
    Some(if leads {
        format!("no majority of the voters has answered this leader within the last {ms} ms")
    } else {
        format!(
            "within the last {ms} ms this node and a leader that a majority follows have not \
             reached one another"
        )
    })
}

/// Why the leader takes no writes although it could commit them, as far as this node knows.
fn writes_wait(node: &Node, metrics: &Metrics) -> Option<String> {
    let clock = &node.inner.clock;
    if let Some(reason) = clock.not_compared() {
        return Some(reason);
    }
    if metrics.current_leader == Some(node.id()) {
        let reason = clock.known_waits()?;
        return Some(format!("this node leads and takes no writes: {reason}"));
    }
    let (leader, reason) = (metrics.current_leader?, clock.leader_waits()?);
    Some(format!("node {leader} leads and takes no writes: {reason}"))
}

/// What a clock that is off, or log time that lies in the future, asks of an operator.
fn clock_warnings(node: &Node) -> Vec<String> {
    let clock = node.inner.clock.status();
    let leads = node.inner.current_leader() == Some(node.id());
    let alarm = clock.alarm();
    let waits = clock.waits.filter(|_| !leads);
    let waits = waits.map(|reason| format!("this node would stamp no writes: {reason}"));
    waits.into_iter().chain(alarm).collect()
}

fn doubled_members(node: &Node) -> Vec<String> {
    let doubled = node.inner.processes.with_rivals(Instant::now());
    let say = |id: NodeId| {
        format!(
            "a second process with a copy of the data folder of node {id} was started, and is \
             refused: stop it, and start it with --join and an empty folder if it is to be a node \
             of its own"
        )
    };
    doubled.into_iter().map(say).collect()
}
