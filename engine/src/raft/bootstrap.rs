//! How a cluster begins, and how a node finds into one.
//!
//! Bootstrap: the node with the lowest id waits until every other one answers that it is
//! uninitialised, and with which data folder; then it initialises Raft's membership with those
//! folders. Whoever becomes the leader proposes [`Bootstrap`](raft3d_core::command::Bootstrap)
//! until the state has it (`duties.rs`). Every step may be cut short and done again: a membership
//! that is there is not made again, and the second `Bootstrap` is rejected.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{InitializeError, RaftError};
use thiserror::Error;

use super::message::{AdminAnswer, Answer, Ask, Identity};
use super::node::{Inner, Node};
use super::peers::{PeerError, Peers};
use super::transport::{Hello, Refusal, Transport, TransportError};
use super::types::{Member, Membership, NodeId};
use crate::bounds::{self, OutOfBounds};

/// Between two rounds of questions to nodes that did not answer.
const ROUND_PAUSE: Duration = Duration::from_millis(200);
/// How long one node is waited for in a round.
const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(1);
/// After so many rounds without everybody, the log says whom the bootstrap waits for.
const ROUNDS_PER_MESSAGE: u32 = 25;
/// How long a member may take to add a node that joins.
const JOIN_TIMEOUT: Duration = Duration::from_secs(25);

/// Where an initial member is; its data folder is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMember {
    /// Where its peers reach it, `host:port`.
    pub peer_addr: String,
    /// Where clients reach it, `host:port`.
    pub http_addr: String,
}

/// Why a node does not find into a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BootstrapError {
    /// The list does not name this node.
    #[error("the initial cluster does not name this node ({0})")]
    NotNamed(NodeId),
    /// A peer knows this node with another data folder, or the other way round, or another node.
    #[error("{addr} refuses this node: {refusal}")]
    Refused {
        /// Who.
        addr: String,
        /// Why.
        refusal: Refusal,
    },
    /// No member added this node.
    #[error("no member added this node: {0}")]
    NotAdded(String),
    /// More members than a cluster may have, or an address that is none.
    #[error("the initial cluster: {0}")]
    OutOfBounds(#[from] OutOfBounds),
    /// Raft failed.
    #[error("{0}")]
    Raft(String),
}

impl Node {
    /// Makes this node part of its first membership: initialises it, or waits until the node with
    /// the lowest id has. Answers when the membership is there and the state is bootstrapped. On a
    /// node that belongs to a cluster already, `initial` is ignored.
    ///
    /// # Errors
    /// See [`BootstrapError`]; those do not go away by waiting.
    pub async fn bootstrap(
        &self,
        initial: &BTreeMap<NodeId, InitialMember>,
    ) -> Result<(), BootstrapError> {
        if !self.inner.initialised() {
            if !initial.contains_key(&self.id()) {
                return Err(BootstrapError::NotNamed(self.id()));
            }
            let lowest = initial.keys().next() == Some(&self.id());
            let mut rounds = 0;
            while !self.bootstrap_round(initial, lowest, rounds).await? {
                rounds += 1;
                tokio::time::sleep(ROUND_PAUSE).await;
            }
        }
        while self.inner.peers.cluster_id().is_none() {
            if let Some(reason) = self.inner.closed_by() {
                return Err(BootstrapError::Raft(reason));
            }
            tokio::time::sleep(ROUND_PAUSE / 4).await;
        }
        Ok(())
    }

    /// Asks everybody once. True when the membership is there.
    async fn bootstrap_round(
        &self,
        initial: &BTreeMap<NodeId, InitialMember>,
        lowest: bool,
        round: u32,
    ) -> Result<bool, BootstrapError> {
        if self.inner.initialised() {
            return Ok(true);
        }
        if let Some(reason) = self.inner.closed_by() {
            return Err(BootstrapError::Raft(reason));
        }
        let mut members = BTreeMap::from([(self.id(), self.inner.member.clone())]);
        let mut missing = Vec::new();
        for (id, at) in initial.iter().filter(|(id, _)| **id != self.id()) {
            match self.identify(*id, &at.peer_addr).await? {
                Some(identity) if !identity.initialised => {
                    let member = Member {
                        peer_addr: at.peer_addr.clone(),
                        http_addr: at.http_addr.clone(),
                        incarnation: identity.incarnation,
                    };
                    members.insert(*id, member);
                }
                // It belongs to the cluster already, and its leader will come to this node.
                Some(_) => missing.push(format!("{id} (initialised)")),
                None => missing.push(id.to_string()),
            }
        }
        if round.is_multiple_of(ROUNDS_PER_MESSAGE) && round > 0 {
            let missing = missing.join(", ");
            tracing::info!(missing, "the bootstrap waits for other nodes");
        }
        if !lowest || !missing.is_empty() {
            return Ok(false);
        }
        self.initialise(members).await?;
        Ok(true)
    }

    async fn initialise(&self, members: BTreeMap<NodeId, Member>) -> Result<(), BootstrapError> {
        let voters = members.keys().copied().collect();
        match Membership::new(vec![voters], members.clone()) {
            Ok(membership) => bounds::membership(&membership)?,
            Err(error) => return Err(BootstrapError::Raft(error.to_string())),
        }
        match self.inner.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(BootstrapError::Raft(error.to_string())),
        }
    }

    async fn identify(&self, id: NodeId, addr: &str) -> Result<Option<Identity>, BootstrapError> {
        let asked = self
            .inner
            .peers
            .ask_address(addr, Some(id), Ask::Identify, IDENTIFY_TIMEOUT);
        match asked.await {
            Ok(Answer::Identity(identity)) => Ok(Some(identity)),
            Err(PeerError::Transport(TransportError::Refused { addr, refusal }))
                if refusal.is_final() =>
            {
                Err(BootstrapError::Refused { addr, refusal })
            }
            Ok(_) | Err(_) => Ok(None),
        }
    }
}

impl Refusal {
    /// Whether waiting does not help.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::NotServing { .. })
    }
}

impl Inner {
    /// Whether this node has a membership: it belongs to a cluster.
    pub(super) fn initialised(&self) -> bool {
        self.membership().nodes().next().is_some()
    }

    /// Somebody dials this node and expects another folder under its id. If that is a member of its
    /// cluster, the folder was wiped; it may as well be a stranger, on whose word this node does not
    /// end. It asks the members itself, and ends if one of those says so ([`Node::bootstrap`]).
    pub(super) fn note_refusal(&self, hello: &Hello, refusal: &Refusal) {
        if let Refusal::OtherFolder { node_id } = refusal
            && *node_id == self.options.node_id
            && !self.initialised()
            && self.told.is_due("another folder is expected".to_owned())
        {
            let from = hello.from;
            tracing::warn!(
                ?from,
                "somebody expects another data folder under this node's id"
            );
        }
    }
}

/// Asks the members at `peers` to add this node as a learner, until one does. The id is to be
/// stored before Raft is started with it; a node that asks again gets the same one.
///
/// # Errors
/// See [`BootstrapError`].
pub async fn join(
    transport: Arc<dyn Transport>,
    peers: &[String],
    member: Member,
    timeout: Duration,
) -> Result<NodeId, BootstrapError> {
    let anonymous = Peers::anonymous(transport, member.incarnation);
    let deadline = tokio::time::Instant::now() + timeout;
    let mut last = "no address to ask".to_owned();
    loop {
        for addr in peers {
            let ask = Ask::Join(member.clone());
            match anonymous.ask_address(addr, None, ask, JOIN_TIMEOUT).await {
                Ok(Answer::Admin(AdminAnswer::Done { node_id })) => return Ok(node_id),
                Ok(Answer::Admin(AdminAnswer::Failed(error))) => last = format!("{addr}: {error}"),
                Ok(other) => last = PeerError::unexpected(&other).to_string(),
                Err(error) => last = error.to_string(),
            }
        }
        if tokio::time::Instant::now() + ROUND_PAUSE >= deadline {
            return Err(BootstrapError::NotAdded(last));
        }
        tokio::time::sleep(ROUND_PAUSE).await;
    }
}
