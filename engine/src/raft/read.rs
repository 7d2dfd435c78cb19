//! Reads: linearizable on every node by the read index (Raft thesis, 6.4), or stale.
//!
//! Concurrent reads share a round: whoever comes while one is under way waits for the next, which
//! begins after all of them did. On the leader a round is a heartbeat that a majority answers; on
//! another node it asks the leader for one.

use std::time::Duration;

use openraft::LinearizerOption;
use raft3d_core::Revision;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::api::{Consistency, ReadError, ReadOptions};
use super::message::{Answer, Ask, Request};
use super::node::Node;
use super::transport::Channel;
use crate::sabotage::{Bug, armed};
use crate::storage::state::StateView;

/// Most reads that wait for a round at once.
const READS_WAITING_MAX: usize = 16_384;
/// Longest round.
const ROUND_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two rounds while no leader confirms.
const ROUND_PAUSE: Duration = Duration::from_millis(20);

/// The answer to a round: the log index that must be applied; none where no leader confirmed.
type Confirmed = Option<u64>;

/// The queue to the rounds.
pub(super) struct ReadRounds {
    queue: mpsc::Sender<oneshot::Sender<Confirmed>>,
}

impl ReadRounds {
    pub(super) fn new() -> (Self, mpsc::Receiver<oneshot::Sender<Confirmed>>) {
        let (queue, rounds) = mpsc::channel(READS_WAITING_MAX);
        (Self { queue }, rounds)
    }
}

/// Runs rounds, one at a time, until the node stops.
pub(super) async fn run_rounds(node: Node, mut queue: mpsc::Receiver<oneshot::Sender<Confirmed>>) {
    let mut stopping = node.inner.stopping.subscribe();
    loop {
        let first = tokio::select! {
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
                Ok(Ok(Some(index))) => return Ok(index),
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

    async fn read_index_round(&self) -> Confirmed {
        let leader = self.inner.current_leader()?;
        if leader == self.id() {
            return self.leader_read_index().await;
        }
        let member = self.inner.member(leader)?;
        let ask = Request::Ask(Ask::ReadIndex);
        let peers = &self.inner.peers;
        match peers
            .ask(Channel::Control, leader, &member, &ask, ROUND_TIMEOUT)
            .await
        {
            Ok(Answer::ReadIndex { index }) => Some(index),
            Ok(_) | Err(_) => None,
        }
    }

    /// The read index, on the leader: what was committed when a majority still took it for the
    /// leader after the request came.
    pub(super) async fn leader_read_index(&self) -> Confirmed {
        let option =
            LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(ROUND_TIMEOUT);
        let linearizer = self.inner.raft.get_read_linearizer(option).await.ok()?;
        Some(linearizer.read_log_id().index())
    }
}
