//! Writes: exactly once, from any node.
//!
//! The node that a client asks mints the request's id and keeps asking leaders under it until the
//! deadline. What may have been proposed is never reported as failed: the answer is then the true
//! outcome, or that it is not known.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use openraft::errors::{ClientWriteError, Fatal, ForwardReason, ForwardToLeader};
use openraft::raft::WriteResult;
use raft3d_core::command::{ENVELOPE_VERSION, RequestOrigin};
use raft3d_core::limits::{ACTOR_BYTES_MAX, DEADLINE_MS_MAX, REQUEST_ID_BYTES_MAX};
use raft3d_core::{Envelope, RejectionKind, RequestId, Response};
use tokio::time::Instant;

use super::api::{WriteError, WriteOutcome, WriteRequest};
use super::encoding::{self, STAMP_BYTES_MAX};
use super::message::WriteAnswer;
use super::node::Node;
use super::tried::Tried;
use super::types::{Proposal, TypeConfig};
use crate::bounds::ENTRY_BYTES_MAX;

/// Between two tries while there is no leader or it does not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// For how long a leader that takes no writes is asked again: another one may take over.
const PAUSED_PATIENCE: Duration = Duration::from_secs(2);

/// Where a write that is to be proposed comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This node: a client of its own, or its duties.
    Here,
    /// Another node, on whose word nothing is taken.
    Peer,
}

/// What one try came to.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every value is the large one"
)]
#[derive(Clone)]
pub(super) enum Try {
    Done(WriteOutcome),
    /// Certainly not proposed; ask another node, or this one later.
    NotProposed,
    /// Certainly not proposed: a queue is full.
    Overloaded,
    /// Certainly not proposed; another try will not help.
    Refused(String),
    /// Certainly not proposed: this alarm stops all writes.
    Stopped(String),
    /// Certainly not proposed: the leader takes no writes for now, for this reason.
    Paused(String),
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
        if let Some(reason) = self.inner.health.alarm() {
            return Err(WriteError::Stopped { reason });
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
        let told = self
            .retry(Bytes::from(encoded), request_id.clone(), deadline)
            .await;
        match told {
            // Too late for the log's time only, which this node did not know yet. That entry never
            // runs, and there is no other: the request gets a deadline that may be met.
            Ok(outcome) if is_too_late(&outcome) && Instant::now() + RETRY_PAUSE < deadline => {
                envelope.deadline_ms = self.deadline_ms(deadline - Instant::now());
                let encoded = Bytes::from(encoding::to_vec(&envelope));
                self.retry(encoded, request_id, deadline).await
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
        envelope: Bytes,
        request_id: RequestId,
        deadline: Instant,
    ) -> Result<WriteOutcome, WriteError> {
        let mut tries = Tried::not_yet(request_id);
        let impatient = Instant::now() + PAUSED_PATIENCE;
        loop {
            let tried = self.inner.groups.try_once(envelope.clone(), deadline);
            let tried = tried.await;
            if matches!(&tried, Try::Done(outcome) if is_too_late(outcome)) {
                // The log's time may be ahead of all clocks: the next write is to know.
                self.inner.look_at_log_time();
            }
            if let Some(told) = tries.after(tried) {
                return told;
            }
            let closed = self.inner.closed_by();
            let gives_up = tries.may_give_up() && Instant::now() >= impatient;
            if closed.is_none() && !gives_up && Instant::now() + RETRY_PAUSE < deadline {
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
            return Err(tries.at_the_end(closed));
        }
    }

    fn envelope(&self, request: WriteRequest, timeout: Duration) -> Result<Envelope, WriteError> {
        let refuse = |reason: &str| {
            Err(WriteError::Unavailable {
                reason: reason.to_owned(),
            })
        };
        let request_hash = request.hash();
        let (request_id, request_origin) = match request.idempotency_key {
            Some(id) => (id, RequestOrigin::Client),
            None => {
                let mut random = [0; 10];
                if crate::runtime::fill_random(&mut random).is_err() {
                    return refuse("the system has no random numbers");
                }
                let id = RequestId::minted(self.inner.now_ms(), random);
                (id, RequestOrigin::Node)
            }
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
            request_hash,
            command: request.command,
        })
    }

    /// Stamps and proposes on this node, which is the leader or thinks so, in that order and
    /// together. Some of them may be refused alone.
    pub(super) async fn propose(&self, writes: Vec<(&Bytes, Origin)>, deadline: Instant) -> Tries {
        let mut tries = Tries::new(deadline);
        if let Some(alarm) = self.inner.health.alarm() {
            let stopped = writes.iter().map(|_| Some(Try::Stopped(alarm.clone())));
            tries.known.extend(stopped);
            return tries;
        }
        self.inner.look_at_log_time();
        let not_now = if self.inner.health.may_not_propose() {
            Some(Try::NotProposed)
        } else {
            let log = self.inner.log.health();
            let disk = || self.inner.disk.refuses_writes(&log);
            self.inner.clock.waits().or_else(disk).map(Try::Paused)
        };
        if let Some(not_now) = not_now {
            tries
                .known
                .extend(writes.iter().map(|_| Some(not_now.clone())));
            return tries;
        }
        let now_ms = self.inner.clock.stamp_ms();
        let mut proposals = Vec::new();
        for (envelope, origin) in writes {
            let known = match stamped(envelope, now_ms, origin) {
                Ok(proposal) => {
                    proposals.push(proposal);
                    None
                }
                Err(reason) => Some(Try::Refused(reason)),
            };
            tries.known.push_back(known);
        }
        if !proposals.is_empty() {
            let proposed = self.inner.raft.client_write_many(proposals);
            // Raft that has stopped gives no results, nor does one that is stuck.
            if let Ok(Ok(results)) = tokio::time::timeout_at(deadline, proposed).await {
                tries.await_results(results);
            }
        }
        tries
    }
}

/// The proposal of an unstamped envelope, or why it cannot be one. What a replica cannot read, or
/// would not survive, is refused here: in the log it would stop all of them.
fn stamped(envelope: &[u8], now_ms: u64, origin: Origin) -> Result<Proposal, String> {
    let stamped = encoding::stamp(envelope, now_ms);
    let (bytes, read) = stamped.map_err(|error| format!("the leader does not take it: {error}"))?;
    if origin == Origin::Peer && read.command.is_leaders_own() {
        return Err("the leader does not take a command of its own from another node".to_owned());
    }
    // Every replica takes the last of two values, but a later program or another reader might not.
    if origin == Origin::Peer && !encoding::has_distinct_keys(&bytes, &read) {
        return Err(
            "the leader does not take an envelope in which a map has a key twice".to_owned(),
        );
    }
    Ok(Proposal(Bytes::from(bytes)))
}

/// What openraft tells of proposals, one after the other.
type Results = BoxStream<'static, Result<WriteResult<TypeConfig>, Fatal<TypeConfig>>>;

/// What comes of writes that were proposed together, one after the other.
pub(super) struct Tries {
    /// For each write: what is known already, or none where a result will tell.
    known: VecDeque<Option<Try>>,
    results: Results,
    deadline: Instant,
}

impl Tries {
    fn new(deadline: Instant) -> Self {
        Self {
            known: VecDeque::new(),
            results: stream::empty().boxed(),
            deadline,
        }
    }

    fn await_results(&mut self, results: Results) {
        // Raft that stops in the middle ends them early, and they panic when they are asked again.
        self.results = results.fuse().boxed();
    }

    /// What came of the next one.
    pub(super) async fn next(&mut self) -> Try {
        if let Some(Some(known)) = self.known.pop_front() {
            return known;
        }
        match tokio::time::timeout_at(self.deadline, self.results.next()).await {
            Ok(Some(Ok(Ok(done)))) => match done.response {
                Some(outcome) => Try::Done(WriteOutcome {
                    revision: outcome.revision,
                    replayed: outcome.replayed,
                    response: outcome.response,
                    certain_since_ms: outcome.certain_since_ms,
                }),
                // Invariant: every command has an outcome (`every_write_has_an_outcome`).
                None => Try::Unknown,
            },
            Ok(Some(Ok(Err(error)))) => Try::from(error),
            // The deadline has passed, or Raft has stopped, with the entry under way.
            Ok(Some(Err(_)) | None) | Err(_) => Try::Unknown,
        }
    }
}

/// Whether the command did not run because its deadline had passed.
pub(super) fn is_too_late(outcome: &WriteOutcome) -> bool {
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

impl From<Try> for WriteAnswer {
    fn from(tried: Try) -> Self {
        match tried {
            Try::Done(outcome) => Self::Done(outcome),
            Try::NotProposed => Self::NotNow,
            Try::Overloaded => Self::Overloaded,
            Try::Refused(reason) => Self::Refused { reason },
            Try::Stopped(reason) => Self::Stopped { reason },
            Try::Paused(reason) => Self::Paused { reason },
            Try::Unknown => Self::Unknown,
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
            WriteAnswer::Stopped { reason } => Self::Stopped(reason),
            WriteAnswer::Paused { reason } => Self::Paused(reason),
            WriteAnswer::NotNow => Self::NotProposed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use raft3d_core::Command;
    use raft3d_core::command::{CreatePrinter, RaiseEpoch};

    use super::super::testing::envelope;
    use super::*;

    fn bytes(version: u16, command: Command) -> Vec<u8> {
        encoding::to_vec(&Envelope {
            version,
            ..envelope(command)
        })
    }

    #[test]
    fn a_leader_proposes_what_every_replica_can_read_and_nothing_else() {
        let printer = || Command::CreatePrinter(CreatePrinter::default());
        let sound = bytes(ENVELOPE_VERSION, printer());
        for origin in [Origin::Here, Origin::Peer] {
            let proposed = stamped(&sound, 77, origin).map(|proposal| proposal.0);
            let read = proposed.map(|bytes| Envelope::from_bytes(&bytes));
            assert!(matches!(read, Ok(Ok(read)) if read.proposed_at_ms == 77));
            let later = bytes(ENVELOPE_VERSION + 1, printer());
            let refused = stamped(&later, 77, origin).err();
            assert!(refused.is_some_and(|why| why.contains("version 2")));
            assert!(stamped(b"garbage", 77, origin).is_err());
            let large = [sound.as_slice(), &vec![0; ENTRY_BYTES_MAX]].concat();
            assert!(stamped(&large, 77, origin).is_err());
        }
        let raise = || Command::RaiseEpoch(RaiseEpoch { to: 9 });
        for own in [Command::Checkpoint, raise()] {
            let own = bytes(ENVELOPE_VERSION, own);
            assert!(stamped(&own, 77, Origin::Here).is_ok());
            assert!(stamped(&own, 77, Origin::Peer).is_err());
        }
    }

    #[test]
    #[allow(clippy::indexing_slicing, reason = "a failed test is to panic")]
    fn a_forwarded_write_in_which_a_key_stands_twice_is_not_proposed() {
        let printer = CreatePrinter::default();
        let fields = encoding::to_vec(&printer);
        let sound = bytes(ENVELOPE_VERSION, Command::CreatePrinter(printer));
        // The map of the command's fields, which ends the envelope, with one pair more.
        let with = |pair: &[u8]| {
            let mut bytes = sound.clone();
            let head = bytes.len() - fields.len();
            assert_eq!(
                (bytes[head..].to_vec(), bytes[head] >> 5),
                (fields.clone(), 5)
            );
            bytes[head] += 1;
            bytes.extend_from_slice(pair);
            bytes
        };
        let twice = with(&[fields[1], 0x61, b'x']);
        assert!(Envelope::from_bytes(&twice).is_ok(), "the decoder takes it");
        let why = stamped(&twice, 77, Origin::Peer).err();
        assert!(why.is_some_and(|why| why.contains("a key twice")));
        // A field that a later program added is nobody's harm.
        assert!(stamped(&with(&[0x18, 200, 0x00]), 77, Origin::Peer).is_ok());
    }

    /// As openraft does where a disk is full: the first write of the group fails, and there is no
    /// word of the others.
    #[tokio::test]
    async fn writes_after_the_end_of_a_stopped_raft_are_unknown() {
        let mut tries = Tries::new(Instant::now() + Duration::from_secs(60));
        tries.known.extend([None, None, None]);
        let stopped = stream::unfold(true, |is_first| async move {
            is_first.then_some((Err(Fatal::Stopped), false))
        });
        tries.await_results(stopped.boxed());
        for _ in 0..3 {
            assert!(matches!(tries.next().await, Try::Unknown));
        }
    }
}
