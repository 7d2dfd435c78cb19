//! Compares this node's clock with the other voters', again and again, and gives the leadership to
//! a node that may stamp if this one may not.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::ServerState;
use tokio::time::Instant;

use super::clock::{ClockWord, Voters};
use super::node::Node;
use super::time::ClockStatus;
use super::types::{Member, NodeId};

/// Between two comparisons while nothing may be stamped.
const EAGER: Duration = Duration::from_millis(250);
/// The same before the first one: the node may not know the members yet.
const AT_START: Duration = Duration::from_millis(50);
/// Between two at the least, however often a jump is met.
const BREATH: Duration = Duration::from_millis(20);
/// An answer that took longer says too little of the other clock.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(2);
/// How long another node may take to become the leader.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(2);

/// A voter's answer.
struct Told {
    word: ClockWord,
    status: ClockStatus,
}

/// Compares clocks until the node stops.
pub(super) async fn watch_clock(node: Node) {
    let calm = Duration::from_millis(node.inner.options.checkpoint_ms / 2).max(EAGER);
    loop {
        node.compare_clocks().await;
        let pause = match node.inner.clock.waits() {
            None if node.inner.clock.leader_waits().is_none() => calm,
            None => EAGER,
            Some(_) if node.inner.clock.not_compared().is_some() => AT_START,
            Some(_) => EAGER,
        };
        tokio::time::sleep(BREATH).await;
        let again = Instant::now() + pause;
        while Instant::now() < again {
            tokio::select! {
                biased;
                () = node.inner.clock.suspected() => break,
                () = tokio::time::sleep(pause.min(EAGER)) => {}
            }
            // A jump shows although nothing is written.
            let _ = node.inner.clock.waits();
        }
    }
}

impl Node {
    /// Takes an operator's word that this node's clock is right, as `--trust-clock` at a start, and
    /// weighs it at once. Whether the node stamps then, its status says.
    pub async fn trust_clock(&self) {
        self.inner.clock.vouch();
        self.compare_clocks().await;
    }

    async fn compare_clocks(&self) {
        self.inner.look_at_log_time();
        let membership = self.inner.membership();
        let ids: BTreeSet<NodeId> = membership.voter_ids().collect();
        if ids.is_empty() {
            return;
        }
        let others = membership
            .nodes()
            .filter(|(id, _)| ids.contains(id) && **id != self.id())
            .map(|(id, member)| self.clock_of(*id, member));
        let told: Vec<Told> = join_all(others).await.into_iter().flatten().collect();
        let leader = self.inner.current_leader();
        let leaders = told.iter().find(|told| Some(told.word.node_id) == leader);
        self.inner
            .clock
            .saw_leader(leaders.map(|told| &told.status));
        let words: Vec<ClockWord> = told.iter().map(|told| told.word.clone()).collect();
        let voters = Voters {
            count: ids.len(),
            own: ids.contains(&self.id()),
        };
        let log_is_known = *self.inner.recovered.borrow();
        self.inner.look_at_log_time();
        self.inner.clock.compare(&words, voters, log_is_known);
        let leads = self.inner.metrics().state == ServerState::Leader;
        if leads && self.inner.clock.waits().is_some() {
            let stamping = told.iter().filter(|told| told.status.waits.is_none());
            let to: BTreeSet<NodeId> = stamping.map(|told| told.word.node_id).collect();
            self.hand_over_to(HANDOVER_TIMEOUT, &to).await;
        }
    }

    async fn clock_of(&self, id: NodeId, member: &Member) -> Option<Told> {
        let (asked, before_ms) = (Instant::now(), self.inner.clock.now_ms());
        let answer = self.status_of(id, member).await.ok()?;
        if asked.elapsed() > ROUND_TRIP_MAX {
            return None;
        }
        let (status, after_ms) = (answer.status.clock, self.inner.clock.now_ms());
        let theirs_ms = status.clock_ms;
        // Whatever it showed in between was the same time.
        let ahead_ms = if theirs_ms > after_ms {
            difference_ms(theirs_ms, after_ms)
        } else if theirs_ms < before_ms {
            difference_ms(theirs_ms, before_ms)
        } else {
            0
        };
        let word = ClockWord {
            node_id: id,
            ahead_ms,
            evidence: status.evidence,
        };
        Some(Told { word, status })
    }
}

fn difference_ms(a: u64, b: u64) -> i64 {
    let apart = i64::try_from(a.abs_diff(b)).unwrap_or(i64::MAX);
    if a < b { -apart } else { apart }
}
