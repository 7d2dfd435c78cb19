//! Writes: exactly once, from any node.
//!
//! The node that a client asks mints the request's id and keeps asking leaders under it until the
//! deadline. What may have been proposed is never reported as failed: the answer is then the true
//! outcome, or that it is not known.

use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader, RaftError};
use raft3d_core::command::{ENVELOPE_VERSION, RequestOrigin};
use raft3d_core::limits::{ACTOR_BYTES_MAX, DEADLINE_MS_MAX, REQUEST_ID_BYTES_MAX};
use raft3d_core::{Envelope, RejectionKind, RequestId, Response};
use tokio::time::Instant;

use super::api::{WriteError, WriteOutcome, WriteRequest};
use super::encoding;
use super::message::{self, Answer, Ask, ENTRY_BYTES_MAX, Request, WriteAnswer, WriteAsk};
use super::node::Node;
use super::transport::Channel;
use super::types::{NodeId, Proposal, TypeConfig};

/// What the leader's stamp may add to an envelope's encoding, in bytes.
const STAMP_BYTES_MAX: usize = 8;
/// Between two tries while there is no leader or it does not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// What one try came to.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every value is the large one"
)]
enum Try {
    Done(WriteOutcome),
    /// Certainly not proposed; ask another node, or this one later.
    NotProposed,
    /// Certainly not proposed: a queue is full.
    Overloaded,
    /// Certainly not proposed; another try will not help.
    Refused(String),
    /// Perhaps proposed.
    Unknown,
}

impl Node {
    /// Makes a write, wherever the leader is, and waits for its outcome.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn write(&self, request: WriteRequest) -> Result<WriteOutcome, WriteError> {
        if let Some(reason) = self.inner.closed_or_fenced() {
            return Err(WriteError::Unavailable { reason });
        }
        let Ok(_permit) = self.inner.own_writes.try_acquire() else {
            return Err(WriteError::Overloaded);
        };
        let timeout = request.timeout.min(Duration::from_millis(DEADLINE_MS_MAX));
        let deadline = Instant::now() + timeout;
        let mut envelope = self.envelope(request, timeout)?;
        let request_id = envelope.request_id.clone();
        let encoded = encoding::to_vec(&envelope);
        let bytes = encoded.len() + STAMP_BYTES_MAX;
        if bytes > ENTRY_BYTES_MAX {
            let bytes_max = ENTRY_BYTES_MAX;
            return Err(WriteError::TooLarge { bytes, bytes_max });
        }
        let told = self.retry(&encoded, request_id.clone(), deadline).await;
        match told {
            // Too late for the log's time only, which this node did not know yet. That entry never
            // runs, and there is no other: the request gets a deadline that may be met.
            Ok(outcome) if is_too_late(&outcome) && Instant::now() + RETRY_PAUSE < deadline => {
                envelope.deadline_ms = self.deadline_ms(deadline - Instant::now());
                let encoded = encoding::to_vec(&envelope);
                self.retry(&encoded, request_id, deadline).await
            }
            told => told,
        }
    }

    /// The log time at which a request is too late that may take `time` from now on.
    fn deadline_ms(&self, time: Duration) -> u64 {
        let time_ms = u64::try_from(time.as_millis()).unwrap_or(DEADLINE_MS_MAX);
        self.inner.cluster_now_ms().saturating_add(time_ms)
    }

    async fn retry(
        &self,
        envelope: &[u8],
        request_id: RequestId,
        deadline: Instant,
    ) -> Result<WriteOutcome, WriteError> {
        let mut perhaps_proposed = false;
        loop {
            match self.try_once(envelope, deadline).await {
                Try::Done(outcome) if is_too_late(&outcome) => {
                    // The log's time may be ahead of all clocks: the next write is to know.
                    self.inner.look_at_log_time();
                    // An earlier try may have been done, and its record be gone by now.
                    if perhaps_proposed {
                        return Err(WriteError::OutcomeUnknown { request_id });
                    }
                    return Ok(outcome);
                }
                Try::Done(outcome) => return Ok(outcome),
                Try::Overloaded if !perhaps_proposed => return Err(WriteError::Overloaded),
                Try::Refused(reason) if !perhaps_proposed => {
                    return Err(WriteError::Unavailable { reason });
                }
                Try::Unknown => perhaps_proposed = true,
                Try::NotProposed | Try::Overloaded | Try::Refused(_) => {}
            }
            let closed = self.inner.closed_by();
            if closed.is_none() && Instant::now() + RETRY_PAUSE < deadline {
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
            return Err(match closed {
                _ if perhaps_proposed => WriteError::OutcomeUnknown { request_id },
                Some(reason) => WriteError::Unavailable { reason },
                None => WriteError::NoLeader,
            });
        }
    }

    fn envelope(&self, request: WriteRequest, timeout: Duration) -> Result<Envelope, WriteError> {
        let refuse = |reason: &str| {
            Err(WriteError::Unavailable {
                reason: reason.to_owned(),
            })
        };
        let (request_id, request_origin) = match request.idempotency_key {
            Some(id) => (id, RequestOrigin::Client),
            None => match message::mint_request_id() {
                Ok(id) => (id, RequestOrigin::Node),
                Err(_) => return refuse("the system has no random numbers"),
            },
        };
        if request_id.as_str().len() > REQUEST_ID_BYTES_MAX {
            return refuse("the request id is too long");
        }
        if request.actor.name.len() > ACTOR_BYTES_MAX {
            return refuse("the actor's name is too long");
        }
        Ok(Envelope {
            version: ENVELOPE_VERSION,
            proposed_at_ms: 0,
            deadline_ms: self.deadline_ms(timeout),
            actor: request.actor,
            request_id,
            request_origin,
            request_hash: *blake3::hash(&encoding::to_vec(&request.command)).as_bytes(),
            command: request.command,
        })
    }

    async fn try_once(&self, envelope: &[u8], deadline: Instant) -> Try {
        match self.inner.current_leader() {
            Some(leader) if leader == self.id() => self.propose(envelope, deadline).await,
            Some(leader) => self.forward(leader, envelope, deadline).await,
            None => Try::NotProposed,
        }
    }

    async fn forward(&self, leader: NodeId, envelope: &[u8], deadline: Instant) -> Try {
        let Some(member) = self.inner.member(leader) else {
            return Try::NotProposed;
        };
        let timeout = deadline.saturating_duration_since(Instant::now());
        let ask = Request::Ask(Ask::Write(WriteAsk {
            envelope: envelope.to_vec(),
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(0),
        }));
        let asked = self
            .inner
            .peers
            .ask(Channel::Forward, leader, &member, &ask, timeout)
            .await;
        match asked {
            Ok(Answer::Write(answer)) => Try::from(answer),
            Ok(Answer::NotLeader { .. }) => Try::NotProposed,
            Err(error) if error.no_effect() => Try::NotProposed,
            Ok(_) | Err(_) => Try::Unknown,
        }
    }

    /// A write that another node took, on the leader.
    pub(super) async fn forwarded_write(&self, ask: WriteAsk) -> Answer {
        if let Some(reason) = self.inner.closed_or_fenced() {
            tracing::debug!(reason, "a forwarded write is not taken");
            return Answer::Write(WriteAnswer::NotNow);
        }
        let leader = self.inner.current_leader();
        if leader != Some(self.id()) {
            return Answer::NotLeader { leader };
        }
        let Ok(_permit) = self.inner.forwarded_writes.try_acquire() else {
            return Answer::Write(WriteAnswer::Overloaded);
        };
        let timeout = Duration::from_millis(ask.timeout_ms.min(DEADLINE_MS_MAX));
        let tried = self.propose(&ask.envelope, Instant::now() + timeout).await;
        Answer::Write(match tried {
            Try::Done(outcome) => WriteAnswer::Done(outcome),
            Try::NotProposed => WriteAnswer::NotNow,
            Try::Overloaded => WriteAnswer::Overloaded,
            Try::Refused(reason) => WriteAnswer::Refused { reason },
            Try::Unknown => WriteAnswer::Unknown,
        })
    }

    /// Stamps and proposes on this node, which is the leader or thinks so.
    async fn propose(&self, envelope: &[u8], deadline: Instant) -> Try {
        if self.inner.health.may_not_propose() {
            return Try::NotProposed;
        }
        if self.inner.clock.jumped() {
            tracing::warn!(
                "this node's clock has jumped; nothing is stamped before it is compared"
            );
            return Try::NotProposed;
        }
        let mut envelope: Envelope = match encoding::whole(envelope) {
            Ok(envelope) => envelope,
            Err(error) => return Try::Refused(error.to_string()),
        };
        envelope.proposed_at_ms = self.inner.clock.stamp_ms();
        let bytes = encoding::to_vec(&envelope);
        if bytes.len() > ENTRY_BYTES_MAX {
            return Try::Refused(format!(
                "the request is larger than {ENTRY_BYTES_MAX} bytes"
            ));
        }
        let write = self.inner.raft.client_write(Proposal(Bytes::from(bytes)));
        match tokio::time::timeout_at(deadline, write).await {
            Ok(Ok(done)) => match done.data {
                Some(outcome) => {
                    let outcome = WriteOutcome {
                        revision: outcome.revision,
                        replayed: outcome.replayed,
                        response: outcome.response,
                    };
                    if is_too_late(&outcome) {
                        self.inner.look_at_log_time();
                    }
                    Try::Done(outcome)
                }
                // Invariant: every command has an outcome (`every_write_has_an_outcome`).
                None => Try::Unknown,
            },
            Ok(Err(RaftError::APIError(error))) => Try::from(error),
            // The deadline has passed, or Raft has stopped, with the entry under way.
            Ok(Err(RaftError::Fatal(_))) | Err(_) => Try::Unknown,
        }
    }
}

/// Whether the command did not run because its deadline had passed.
fn is_too_late(outcome: &WriteOutcome) -> bool {
    matches!(
        &outcome.response,
        Response::Rejected(rejection) if rejection.kind == RejectionKind::DeadlineExceeded
    )
}

impl From<ClientWriteError<TypeConfig>> for Try {
    fn from(error: ClientWriteError<TypeConfig>) -> Self {
        match error {
            ClientWriteError::ForwardToLeader(ForwardToLeader { reason, .. }) => match reason {
                ForwardReason::NotLeader
                | ForwardReason::LeadershipTransfer
                | ForwardReason::LeaseExpired => Self::NotProposed,
            },
            // A later leader may have it in its log.
            ClientWriteError::LogEntryDiscarded(_) => Self::Unknown,
            ClientWriteError::ChangeMembershipError(_)
            | ClientWriteError::PreconditionFailed(_) => Self::NotProposed,
        }
    }
}

impl From<WriteAnswer> for Try {
    fn from(answer: WriteAnswer) -> Self {
        match answer {
            WriteAnswer::Done(outcome) => Self::Done(outcome),
            WriteAnswer::Overloaded => Self::Overloaded,
            WriteAnswer::Unknown => Self::Unknown,
            WriteAnswer::Refused { reason } => Self::Refused(reason),
            WriteAnswer::NotNow => Self::NotProposed,
        }
    }
}
