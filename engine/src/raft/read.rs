//! Reads: linearizable on every node by the read index ([`read_index`](super::read_index)), or stale.
//!
//! Concurrent reads share a round: whoever comes while one is under way waits for the next, which
//! begins after all of them did. On the leader a round asks the voters whether they still follow; on
//! another node it asks the leader.

use std::sync::atomic::{AtomicU64, Ordering};

use openraft::raft::AppendEntriesRequest;
use raft3d_core::Revision;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::api::{Consistency, ReadError, ReadOptions};
use super::message::{Answer, Ask, Request};
use super::node::Node;
use super::read_index::{Confirmed, ROUND_PAUSE, ROUND_TIMEOUT};
use super::transport::Channel;
use super::types::{LogId, Vote};
use crate::runtime;
use crate::sabotage::{Bug, armed};
use crate::storage::state::StateView;

/// Most reads that wait for a round at once.
const READS_WAITING_MAX: usize = 16_384;

/// The queue to the rounds.
pub(super) struct ReadRounds {
    queue: mpsc::Sender<oneshot::Sender<Confirmed>>,
    /// The newest commit that openraft was told.
    told: AtomicU64,
}

impl ReadRounds {
    pub(super) fn new() -> (Self, mpsc::Receiver<oneshot::Sender<Confirmed>>) {
        let (queue, rounds) = mpsc::channel(READS_WAITING_MAX);
        let told = AtomicU64::new(0);
        (Self { queue, told }, rounds)
    }
}

/// Runs rounds, one at a time, until the node stops.
pub(super) async fn run_rounds(node: Node, mut queue: mpsc::Receiver<oneshot::Sender<Confirmed>>) {
    let mut stopping = node.inner.stopping.subscribe();
    loop {
        let first = tokio::select! {
            // In a fixed order, or one seed would make several runs in the simulation.
            biased;
            first = queue.recv() => first,
            _ = stopping.wait_for(|stopping| *stopping) => None,
        };
        let Some(first) = first else { return };
        let mut waiting = vec![first];
        while let Ok(next) = queue.try_recv() {
            waiting.push(next);
        }
        let confirmed = node.read_index_round().await;
        for one in waiting {
            // Whoever gave up does not listen.
            let _ = one.send(confirmed);
        }
    }
}

impl Node {
    /// A view of the state to read from.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(&self, options: ReadOptions) -> Result<StateView, ReadError> {
        let deadline = Instant::now() + options.timeout;
        let mut recovered = self.inner.recovered.subscribe();
        // Before that, a read could show less than one before the restart did.
        let _ = timeout_at(deadline, recovered.wait_for(|recovered| *recovered)).await;
        self.check_open()?;
        let confirmed = match options.consistency {
            Consistency::Linearizable if !armed(Bug::StaleFollowerRead) => {
                self.confirmed_index(deadline).await?
            }
            Consistency::Linearizable | Consistency::Stale => 0,
        };
        let wanted = options
            .min_revision
            .unwrap_or_default()
            .max(Revision(confirmed));
        self.wait_applied(wanted, deadline).await?;
        self.check_open()?;
        Ok(self.inner.machine.view())
    }

    fn check_open(&self) -> Result<(), ReadError> {
        match self.inner.unavailable() {
            Some(reason) => Err(ReadError::Unavailable { reason }),
            None => Ok(()),
        }
    }

    async fn confirmed_index(&self, deadline: Instant) -> Result<u64, ReadError> {
        while Instant::now() < deadline {
            let (answer, confirmed) = oneshot::channel();
            if self.inner.read_rounds.queue.try_send(answer).is_err() {
                self.check_open()?;
                let reason = "too many reads wait".to_owned();
                return Err(ReadError::Unavailable { reason });
            }
            match timeout_at(deadline, confirmed).await {
                Ok(Ok(Some(committed))) => return Ok(committed.index),
                Ok(Ok(None) | Err(_)) => {
                    self.check_open()?;
                    tokio::time::sleep(ROUND_PAUSE).await;
                }
                Err(_) => break,
            }
        }
        Err(ReadError::NoLeader)
    }

    async fn wait_applied(&self, wanted: Revision, deadline: Instant) -> Result<(), ReadError> {
        let mut applied = self.inner.machine.applied();
        loop {
            let now = *applied.borrow_and_update();
            if now >= wanted {
                return Ok(());
            }
            self.check_open()?;
            if !matches!(timeout_at(deadline, applied.changed()).await, Ok(Ok(()))) {
                let applied = *applied.borrow();
                if applied >= wanted {
                    return Ok(());
                }
                return Err(ReadError::Behind { applied, wanted });
            }
        }
    }

    /// A read index of the leader, as soon as there is one that confirms it.
    pub(super) async fn read_index(&self) -> u64 {
        loop {
            if let Some(committed) = self.read_index_round().await {
                return committed.index;
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }

    async fn read_index_round(&self) -> Confirmed {
        // Its vote is not its own to tell.
        if self.inner.standing.no_part().is_some() {
            return None;
        }
        let vote = self.vote().await?;
        let leader = vote.committed.then_some(vote.leader_id.node_id)?;
        if leader == self.id() {
            return self.leader_read_index(None).await;
        }
        let member = self.inner.member(leader)?;
        let ask = Request::Ask(Ask::ReadIndex { vote });
        let peers = &self.inner.peers;
        match peers
            .ask(Channel::Control, leader, &member, &ask, ROUND_TIMEOUT)
            .await
        {
            Ok(Answer::ReadIndex { committed }) => {
                self.take_commit(vote, committed?);
                committed
            }
            Ok(_) | Err(_) => None,
        }
    }

    /// The leader has told what is committed, before an append did: its own may wait for more
    /// entries ([`commit_notice`](super::commit_notice)).
    fn take_commit(&self, vote: Vote, committed: LogId) {
        let index = committed.index;
        // An append speaks for one leader. Of another one this node may have other entries than it.
        let is_of_leader = committed.leader_id == vote.leader_id;
        if !is_of_leader || index <= self.inner.machine.applied().borrow().0 {
            return;
        }
        // Once is enough, also where the entries are still to come. More would be signs of life of a
        // leader that may not be able to send any.
        let told = &self.inner.read_rounds.told;
        if told.fetch_max(index, Ordering::Relaxed) >= index {
            return;
        }
        let append = AppendEntriesRequest {
            vote,
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: Some(committed),
        };
        let raft = self.inner.raft.clone();
        // It is answered when the log is synced, and applied before.
        runtime::spawn(async move { raft.append_entries(append).await });
    }
}
