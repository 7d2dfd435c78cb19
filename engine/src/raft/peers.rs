//! Calls to peers: the engine's messages over whatever [`Transport`] there is.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use raft3d_core::ClusterId;
use thiserror::Error;

use super::encoding::MessageError;
use super::message::{Answer, Ask, Request};
use super::told::Told;
use super::transport::{
    Channel, Hello, PROTOCOL_VERSION, Party, Refusal, Route, Transport, TransportError, Welcome,
};
use super::types::{Incarnation, Member, NodeId, Run, StoredMembership};

/// Why a peer gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum PeerError {
    /// The transport's word.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The answer does not decode, or answers something else.
    #[error("the peer's answer is not understood: {0}")]
    Garbage(String),
    /// The peer says that it cannot answer.
    #[error("the peer does not serve: {0}")]
    Failed(String),
    /// The peer does not take the request, which had no effect.
    #[error("the peer refuses the request: {0}")]
    Refused(String),
    /// The peer did not do what was asked, because of who asked.
    #[error("the peer refuses this node: {0}")]
    NotWelcome(Refusal),
    /// The peer did not do what was asked: the membership that is committed there has no such node.
    #[error("the peer says that this node is no member (membership of log index {since})")]
    NotMember {
        /// Log index of that membership.
        since: u64,
    },
}

impl PeerError {
    /// Whether the request certainly had no effect.
    #[must_use]
    pub(super) fn no_effect(&self) -> bool {
        match self {
            Self::Transport(error) => error.never_sent(),
            Self::Refused(_) => true,
            Self::NotWelcome(_) | Self::NotMember { .. } => true,
            Self::Garbage(_) | Self::Failed(_) => false,
        }
    }

    /// Whether the peer met another process with this node's data folder before this one.
    pub(super) fn runs_twice(&self) -> bool {
        let refusal = match self {
            Self::Transport(TransportError::Refused { refusal, .. }) => refusal,
            Self::NotWelcome(refusal) => refusal,
            _ => return false,
        };
        matches!(refusal, Refusal::RunsTwice { .. })
    }

    /// An answer to something else.
    #[must_use]
    pub(super) fn unexpected(answer: &Answer) -> Self {
        Self::Garbage(format!("{answer:.200?}"))
    }
}

impl From<MessageError> for PeerError {
    fn from(error: MessageError) -> Self {
        Self::Garbage(error.to_string())
    }
}

/// This node among its peers.
pub(super) struct Peers {
    transport: Arc<dyn Transport>,
    me: Party,
    cluster_id: OnceLock<ClusterId>,
    told: Told,
    /// Where the members are, as far as this node knows.
    membership: Mutex<Arc<StoredMembership>>,
}

impl Peers {
    /// Calls over `transport`, made by that process of the node with that id and folder.
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        me: NodeId,
        incarnation: Incarnation,
        run: Run,
    ) -> Self {
        let me = Party {
            node_id: Some(me),
            incarnation: Some(incarnation),
            run: Some(run),
        };
        Self::of(transport, me)
    }

    fn of(transport: Arc<dyn Transport>, me: Party) -> Self {
        Self {
            transport,
            me,
            cluster_id: OnceLock::new(),
            told: Told::default(),
            membership: Mutex::default(),
        }
    }

    /// The same for a node that has no id yet.
    pub(super) fn anonymous(transport: Arc<dyn Transport>, incarnation: Incarnation) -> Self {
        let me = Party {
            node_id: None,
            incarnation: Some(incarnation),
            run: None,
        };
        Self::of(transport, me)
    }

    /// Notes where the members are now.
    pub(super) fn learn(&self, membership: Arc<StoredMembership>) {
        *self
            .membership
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = membership;
    }

    /// Where the member `id` is now. openraft keeps the address that a member had when the leader
    /// began to speak to it; an operator may have corrected it since.
    pub(super) fn newest(&self, id: NodeId, known: &Member) -> Member {
        let membership = self
            .membership
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let newest = membership.get_node(&id);
        let newest = newest.filter(|member| member.incarnation == known.incarnation);
        newest.unwrap_or(known).clone()
    }

    /// Remembers the cluster's identity. False where it was another one before: a node belongs to
    /// one cluster for ever.
    #[must_use]
    pub(super) fn set_cluster_id(&self, cluster_id: ClusterId) -> bool {
        *self.cluster_id.get_or_init(|| cluster_id) == cluster_id
    }

    /// The cluster's identity, once it is known.
    pub(super) fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster_id.get().copied()
    }

    /// Sends `request` to the member `to`.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub(super) async fn ask(
        &self,
        channel: Channel,
        to: NodeId,
        member: &Member,
        request: &Request,
        timeout: Duration,
    ) -> Result<Answer, PeerError> {
        let party = Party {
            node_id: Some(to),
            incarnation: Some(member.incarnation),
            run: None,
        };
        self.send(
            self.route(channel, &member.peer_addr, party),
            request,
            timeout,
        )
        .await
    }

    /// Sends `ask` to whoever answers at `addr`, expecting the node `to` there, if any.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub(super) async fn ask_address(
        &self,
        addr: &str,
        to: Option<NodeId>,
        ask: Ask,
        timeout: Duration,
    ) -> Result<Answer, PeerError> {
        let party = Party {
            node_id: to,
            incarnation: None,
            run: None,
        };
        let route = self.route(Channel::Control, addr, party);
        self.send(route, &Request::Ask(ask), timeout).await
    }

    async fn send(
        &self,
        route: Route,
        request: &Request,
        timeout: Duration,
    ) -> Result<Answer, PeerError> {
        let body = self
            .transport
            .call(route.clone(), request.encode(), timeout)
            .await?;
        match Answer::decode(&body)? {
            Answer::Failed { reason } => Err(PeerError::Failed(reason)),
            Answer::Refused { reason } => {
                let key = format!("answer {:?} {reason}", route.hello.to.node_id);
                if self.told.is_due(key) {
                    let peer = route.hello.to.node_id;
                    tracing::error!(peer, reason, "a peer refuses what this node sends");
                }
                Err(PeerError::Refused(reason))
            }
            Answer::NotWelcome(refusal) => Err(PeerError::NotWelcome(refusal)),
            Answer::NotMember { since } => Err(PeerError::NotMember { since }),
            answer => Ok(answer),
        }
    }

    fn route(&self, channel: Channel, addr: &str, to: Party) -> Route {
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            channel,
            cluster_id: self.cluster_id(),
            from: self.me,
            to,
        };
        Route {
            addr: addr.to_owned(),
            hello,
        }
    }

    /// Judges who dials in, by `recorded`: the data folder that the membership has for an id.
    ///
    /// An id that the membership does not know is let in: a replica that lags may not know a new
    /// member yet, and must still take its log. A member that was removed is told so when it asks
    /// for anything, and does no harm until then: pre-vote and the leader's lease keep it from
    /// disturbing elections.
    ///
    /// # Errors
    /// Why the connection is refused.
    pub(super) fn greet(
        &self,
        hello: &Hello,
        recorded: impl Fn(NodeId) -> Option<Incarnation>,
    ) -> Result<Welcome, Refusal> {
        if hello.protocol != PROTOCOL_VERSION {
            let (theirs, ours) = (PROTOCOL_VERSION, hello.protocol);
            return Err(Refusal::Protocol { theirs, ours });
        }
        self.check_dialer(hello, recorded)?;
        let welcome = Welcome {
            cluster_id: self.cluster_id(),
            party: self.me,
        };
        hello.check(&welcome)?;
        Ok(welcome)
    }

    /// Whether the dialer's cluster and data folder are the ones that are known here.
    ///
    /// # Errors
    /// Why they are not.
    pub(super) fn check_dialer(
        &self,
        hello: &Hello,
        recorded: impl Fn(NodeId) -> Option<Incarnation>,
    ) -> Result<(), Refusal> {
        if let (Some(theirs), Some(ours)) = (self.cluster_id(), hello.cluster_id)
            && theirs != ours
        {
            return Err(Refusal::OtherCluster { theirs });
        }
        if let Some(node_id) = hello.from.node_id {
            let known = recorded(node_id);
            if known.is_some() && known != hello.from.incarnation {
                return Err(Refusal::OtherFolder { node_id });
            }
        }
        Ok(())
    }
}
