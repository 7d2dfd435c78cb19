//! What a node does unasked: it watches for faults, opens reads once it has recovered, takes
//! snapshots, learns which cluster it belongs to, and, as the leader, bootstraps, finishes changes of the membership
//! that another leader began, and proposes checkpoints; `upgrade.rs` raises the engine epoch.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{ChangeMembers, RaftMetrics, ServerState};
use raft3d_core::Command;
use raft3d_core::command::Actor;
use raft3d_core::state::meta;
use tokio::time::Instant;

use super::api::WriteRequest;
use super::clock_duty::watch_clock;
use super::denials;
use super::disk::watch_disk;
use super::health::{Verdict, fence_reason, judge};
use super::message::StatusAnswer;
use super::node::Node;
use super::presence::{be_present, watch_own_address};
use super::snapshot_pace::take_snapshots;
use super::types::TypeConfig;
use super::upgrade::raise_epochs;
use crate::runtime;
use crate::sabotage::{Bug, armed};

/// Between two looks at what there is to do.
const TICK: Duration = Duration::from_millis(100);
/// How long a command of the node's own may take.
const OWN_COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// A membership that stays joint for so long was left so by an earlier leader.
const JOINT_LEFT_AFTER: Duration = Duration::from_secs(2);
/// How long another node may take to become the leader when this one may not propose.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts the node's duties; they end when it stops.
pub(super) fn spawn(node: &Node, last_log_index: u64) {
    runtime::spawn(watch_faults(node.clone()));
    runtime::spawn(until_stopped(node.clone(), watch_log(node.clone())));
    runtime::spawn(until_stopped(
        node.clone(),
        recover(node.clone(), last_log_index),
    ));
    runtime::spawn(until_stopped(node.clone(), tick(node.clone())));
    runtime::spawn(until_stopped(node.clone(), compare(node.clone())));
    runtime::spawn(until_stopped(node.clone(), watch_clock(node.clone())));
    runtime::spawn(until_stopped(node.clone(), watch_disk(node.clone())));
    runtime::spawn(until_stopped(node.clone(), take_snapshots(node.clone())));
    runtime::spawn(until_stopped(node.clone(), raise_epochs(node.clone())));
    runtime::spawn(until_stopped(node.clone(), denials::keep(node.clone())));
    runtime::spawn(until_stopped(node.clone(), be_present(node.clone())));
    runtime::spawn(until_stopped(node.clone(), watch_own_address(node.clone())));
}

/// A duty that panics is a fault: without it the node would go on and no longer do it.
pub(super) async fn until_stopped(node: Node, duty: impl Future<Output = ()>) {
    let mut stopping = node.inner.stopping.subscribe();
    tokio::select! {
        // In a fixed order, or one seed would make several runs in the simulation.
        biased;
        done = AssertUnwindSafe(duty).catch_unwind() => {
            if done.is_err() {
                node.inner.fail("a task of the node has panicked".to_owned());
            }
        }
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

/// Raft stops for good when its storage fails: then so does the node.
async fn watch_faults(node: Node) {
    let metrics = node.inner.raft.metrics();
    // The metrics change with every message; these only when something happens. Both end with Raft.
    let mut changes = node.inner.raft.server_metrics();
    loop {
        let stopped = metrics.borrow_watched().running_state.clone().err();
        let gone = stopped.is_none() && changes.changed().await.is_err();
        if stopped.is_none() && !gone {
            continue;
        }
        if !*node.inner.stopping.borrow() {
            let raft = stopped.map_or("Raft has ended".to_owned(), |fatal| fatal.to_string());
            // Whoever failed says best what to do.
            let log = node
                .inner
                .log
                .fault()
                .borrow()
                .as_ref()
                .map(ToString::to_string);
            node.inner
                .fail(log.or_else(|| node.inner.machine.fault()).unwrap_or(raft));
        }
        return;
    }
}

/// A log that fails while Raft asks nothing of it would go unnoticed.
async fn watch_log(node: Node) {
    let mut fault = node.inner.log.fault();
    if let Ok(fault) = fault.wait_for(Option::is_some).await
        && let Some(fault) = fault.as_ref()
    {
        node.inner.fail(fault.to_string());
    }
}

/// Opens reads when everything is applied that may have been before the restart: what the cluster
/// has committed of the log that this node came back with; on a node that joined, all that was
/// committed when it did. Its own admission is an entry like any other: who has applied it has
/// applied what was before it.
///
/// What this node came back with may be less than what it has shown: entries are applied when a
/// majority has synced them, and a power cut may then take them from this node's own log. Whatever
/// it applied was committed, so the leader's read index is not before it.
async fn recover(node: Node, last_log_index: u64) {
    let committed = |m: &RaftMetrics<TypeConfig>| {
        // Another leader may have cut what was never committed.
        let end = last_log_index.min(m.last_log_index.unwrap_or(0));
        let committed = m.cluster_committed.map_or(0, |id| id.index);
        (committed >= end).then_some(committed)
    };
    let reached = |m: &RaftMetrics<TypeConfig>| committed(m).is_some();
    let waited = node
        .inner
        .raft
        .wait(None)
        .metrics(reached, "the log's end is committed")
        .await;
    let Ok(Some(target)) = waited.map(|m| committed(&m)) else {
        return;
    };
    let mut applied = node.inner.machine.applied();
    if applied
        .wait_for(|applied| applied.0 >= target.min(last_log_index) && node.is_applied_member())
        .await
        .is_err()
    {
        return;
    }
    let shown_before = node.read_index().await;
    if applied
        .wait_for(|applied| applied.0 >= shown_before)
        .await
        .is_ok()
    {
        node.inner.recovered.send_replace(true);
    }
}

impl Node {
    /// Whether the applied membership has this node, with this data folder.
    fn is_applied_member(&self) -> bool {
        let view = self.inner.machine.view();
        let recorded = view.membership().get_node(&self.id());
        recorded.is_some_and(|m| m.incarnation == self.inner.member.incarnation)
    }
}

async fn tick(node: Node) {
    let mut checkpoint = CheckpointClock::new(node.inner.machine.view().revision().0);
    let mut joint_since: Option<Instant> = None;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        node.learn_cluster();
        node.drop_silent_snapshot();
        let metrics = node.inner.metrics();
        node.inner.absences.note(&metrics);
        if metrics.state != ServerState::Leader {
            joint_since = None;
            checkpoint.follow(&node);
            continue;
        }
        if node.inner.peers.cluster_id().is_none() {
            node.propose_bootstrap().await;
            continue;
        }
        if metrics.membership_config.get_joint_config().len() > 1 {
            let since = *joint_since.get_or_insert_with(Instant::now);
            if since.elapsed() > JOINT_LEFT_AFTER {
                node.leave_joint(&metrics).await;
                joint_since = None;
            }
        } else {
            joint_since = None;
        }
        if checkpoint.is_due(&node) {
            node.own_command(Command::Checkpoint).await;
            checkpoint.follow(&node);
        }
    }
}

/// When the next checkpoint is due.
struct CheckpointClock {
    last: u64,
    at: Instant,
}

impl CheckpointClock {
    fn new(applied: u64) -> Self {
        Self {
            last: applied,
            at: Instant::now(),
        }
    }

    fn follow(&mut self, node: &Node) {
        let newest = node
            .inner
            .machine
            .checkpoints()
            .last()
            .map_or(0, |c| c.index.0);
        if newest > self.last {
            *self = Self::new(newest);
        }
    }

    fn is_due(&mut self, node: &Node) -> bool {
        self.follow(node);
        let options = &node.inner.options;
        let applied = node.inner.machine.view().revision().0;
        let entries = applied.saturating_sub(self.last);
        let waited = self.at.elapsed() >= Duration::from_millis(options.checkpoint_ms);
        entries >= options.checkpoint_entries || (entries > 0 && waited)
    }
}

impl Node {
    /// Takes the cluster's identity from the state, for handshakes and for the data folder.
    fn learn_cluster(&self) {
        if self.inner.peers.cluster_id().is_some() {
            return;
        }
        let cluster_id = match meta::cluster_id(&self.inner.machine.view()) {
            Ok(Some(cluster_id)) => cluster_id,
            Ok(None) => return,
            Err(fault) => return self.inner.fail(fault.to_string()),
        };
        match self.inner.data_dir.set_cluster_id(cluster_id) {
            Ok(()) => {
                let _ = self.inner.peers.set_cluster_id(cluster_id);
            }
            Err(error) => self.inner.fail(error.to_string()),
        }
    }

    async fn propose_bootstrap(&self) {
        if let Some(bootstrap) = self.inner.options.bootstrap.clone() {
            self.own_command(Command::Bootstrap(bootstrap)).await;
        }
    }

    pub(super) async fn own_command(&self, command: Command) {
        // The alarm has been told to the log.
        if self.inner.health.alarm().is_some() {
            return;
        }
        let request = WriteRequest {
            command,
            asked: None,
            actor: Actor {
                name: "raft3d".to_owned(),
                verified: true,
            },
            idempotency_key: None,
            timeout: OWN_COMMAND_TIMEOUT,
        };
        match self.write(request).await {
            Ok(outcome) => tracing::debug!(?outcome.response, "the node's own command is done"),
            Err(error) => tracing::info!(%error, "the node's own command is not done yet"),
        }
    }

    /// Ends a change of the membership whose leader did not live to do it.
    async fn leave_joint(&self, metrics: &RaftMetrics<TypeConfig>) {
        let _one_at_a_time = self.inner.membership_changes.lock().await;
        let none = ChangeMembers::AddVoterIds(std::collections::BTreeSet::new());
        if let Err(error) = self.change(&metrics.membership_config, none).await {
            tracing::info!(%error, "a change of the membership is not ended yet");
        }
    }
}

/// Compares digests with the other voters, again and again.
async fn compare(node: Node) {
    // Twice as often as there is something new to compare.
    let period = Duration::from_millis(node.inner.options.checkpoint_ms / 2);
    let mut ticks = tokio::time::interval(period.max(TICK));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if node.inner.health.fenced().is_some() {
            // It may still have been voted for: an election may have been under way.
            node.hand_over(HANDOVER_TIMEOUT).await;
            continue;
        }
        if node.inner.unavailable().is_some() {
            continue;
        }
        node.compare_with_voters().await;
    }
}

impl Node {
    pub(super) async fn compare_with_voters(&self) {
        let membership = self.inner.membership();
        let voters: Vec<_> = membership.voter_ids().collect();
        let others = voters
            .iter()
            .filter(|id| **id != self.id())
            .filter_map(|id| {
                let member = membership.get_node(id)?;
                Some(self.status_of(*id, member))
            });
        let answers: Vec<StatusAnswer> = join_all(others).await.into_iter().flatten().collect();
        self.learn_denied(answers.iter().map(|answer| &answer.status));
        let mine = self.status_answer();
        let reports: Vec<_> = answers.into_iter().map(|a| a.checkpoints).collect();
        let verdict = judge(
            &mine.checkpoints,
            &reports,
            voters.len(),
            voters.contains(&self.id()),
        );
        let diverged_at = match verdict {
            Verdict::NoMajority { index } => Some(index),
            Verdict::Sound | Verdict::Odd { .. } => None,
        };
        self.inner.health.set_diverged(diverged_at);
        match verdict {
            Verdict::Sound => {}
            Verdict::NoMajority { index } => {
                tracing::error!(index, "no majority agrees on the state: writes are stopped");
            }
            Verdict::Odd { .. } if armed(Bug::FencingOff) => {}
            Verdict::Odd { index } => {
                self.hand_over(HANDOVER_TIMEOUT).await;
                self.fence(fence_reason(index));
            }
        }
    }

    /// Closes this replica until its state is rebuilt. It still stores the log and votes, and does
    /// not stand for election.
    pub(super) fn fence(&self, reason: String) {
        if let Err(error) = self.inner.data_dir.set_fence(&reason) {
            tracing::error!(%error, "a restart will not know that this replica is fenced");
        }
        self.inner.health.set_fence(reason);
        self.set_elect();
    }
}
