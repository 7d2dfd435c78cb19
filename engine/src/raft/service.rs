//! What a node answers its peers.

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest,
};

use tokio::time::Instant;

use super::guard;
use super::message::{
    AdminAnswer, Answer, AppendAnswer, Ask, CheckpointDigest, Identity, Request, StatusAnswer,
    TransferAsk, VoteAnswer, VoteAsk,
};
use super::node::Node;
use super::transport::{Hello, Party, PeerService, Refusal, Welcome};
use super::types::{Incarnation, Member, NodeId, Run, TypeConfig};

impl PeerService for Node {
    fn greet(&self, hello: &Hello) -> Result<Welcome, Refusal> {
        if let Some(reason) = self.inner.closed_by() {
            return Err(Refusal::NotServing { reason });
        }
        let recorded = |id| self.inner.recorded_incarnation(id);
        let mut welcome = self.inner.peers.greet(hello, recorded);
        if let Err(refusal) = &welcome {
            // Whoever listens says it to the log, with the address.
            tracing::debug!(from = ?hello.from, %refusal, "a peer's connection is refused");
            self.inner.note_refusal(hello, refusal);
        }
        // Another process with this node's own folder is let in: it asks who is here, and is told.
        if let Err(refusal) = self.meet(&hello.from)
            && hello.from.node_id != Some(self.id())
        {
            welcome = welcome.and(Err(refusal));
        }
        if welcome.is_ok()
            && let Some((who, run)) = process(&hello.from)
        {
            self.inner.processes.connected(who, run);
        }
        welcome
    }

    fn is_member(&self, hello: &Hello) -> bool {
        let id = hello.from.node_id;
        let recorded = id.and_then(|id| self.inner.recorded_incarnation(id));
        recorded.is_some() && recorded == hello.from.incarnation
    }

    fn gone(&self, hello: &Hello) {
        if let Some((who, run)) = process(&hello.from) {
            self.inner.processes.gone(who, run);
        }
    }

    fn handle(&self, hello: Hello, body: Bytes) -> BoxFuture<'static, Option<Bytes>> {
        let node = self.clone();
        async move {
            let answer = match Request::decode(&body) {
                Ok(request) => node.answer(&hello, request).await,
                Err(error) => node.refuse(&hello, error.to_string()),
            };
            Some(answer.encode())
        }
        .boxed()
    }
}

/// The member and the process behind a connection; none of one that has no id yet.
fn process(from: &Party) -> Option<((NodeId, Incarnation), Run)> {
    Some(((from.node_id?, from.incarnation?), from.run?))
}

/// Whether answering is a promise of this voter: a vote, or the word that it follows or has stored
/// something.
fn promises(request: &Request) -> bool {
    match request {
        Request::Append(_) => true,
        Request::Ask(ask) => matches!(
            ask,
            Ask::Vote(_)
                | Ask::TransferLeader(_)
                | Ask::Follows { .. }
                | Ask::SnapshotBegin(_)
                | Ask::SnapshotChunk(_)
                | Ask::SnapshotEnd { .. }
        ),
    }
}

/// Whether only members are answered. Raft's own messages are not among them: a replica that lags
/// may not know a new member yet, and must still take its log and give it votes.
fn is_for_members(request: &Request) -> bool {
    match request {
        Request::Append(_) => false,
        Request::Ask(ask) => matches!(
            ask,
            Ask::Present { .. } | Ask::ReadIndex { .. } | Ask::Writes(_) | Ask::Admin(_)
        ),
    }
}

impl Node {
    async fn answer(&self, hello: &Hello, request: Request) -> Answer {
        if let Some(reason) = self.inner.closed_by() {
            return Answer::Failed { reason };
        }
        if let Err(refusal) = self.meet(&hello.from)
            && !matches!(request, Request::Ask(Ask::Identify))
        {
            return Answer::NotWelcome(refusal);
        }
        if promises(&request)
            && let Some(reason) = self.inner.standing.no_part()
        {
            return Answer::Failed { reason };
        }
        if is_for_members(&request)
            && let Some(no_member) = self.no_member(&hello.from)
        {
            return no_member;
        }
        if let Err(refusal) = self.check_sender(hello, &request) {
            if self.inner.told.is_due(format!("sender {:?}", hello.from)) {
                tracing::warn!(from = ?hello.from, %refusal, "a peer's message is refused");
            }
            return Answer::Failed {
                reason: refusal.to_string(),
            };
        }
        if let Err(reason) = self.own().judge(hello.from.node_id, &request) {
            return self.refuse(hello, reason);
        }
        let ask = match request {
            // Raft is spoken between nodes that have an id.
            _ if hello.from.node_id.is_none() => match request {
                Request::Ask(Ask::Join(member)) => return self.answer_join(member).await,
                Request::Ask(Ask::Identify) => return self.answer_identify(),
                _ => {
                    return Answer::Failed {
                        reason: "the dialer has no node id".to_owned(),
                    };
                }
            },
            Request::Append(append) => {
                let is_denied = |index| self.inner.machine.denials().covers(index);
                return match guard::check_readable(&append, is_denied) {
                    Ok(()) => self.answer_append(append).await,
                    Err(reason) => self.refuse(hello, reason),
                };
            }
            Request::Ask(ask) => ask,
        };
        match ask {
            Ask::Identify => self.answer_identify(),
            Ask::Vote(ask) => self.answer_vote(ask).await,
            Ask::TransferLeader(ask) => self.answer_transfer(ask).await,
            Ask::ReadIndex { vote } => {
                let asker = hello.from.node_id.map(|asker| (asker, vote));
                let committed = self.leader_read_index(asker).await;
                Answer::ReadIndex { committed }
            }
            Ask::Status => Answer::Status(self.status_answer()),
            Ask::Writes(ask) => self.forwarded_writes(hello.from.node_id, ask).await,
            Ask::Admin(ask) => self.admin_on_leader(ask).await,
            Ask::Join(member) => self.answer_join(member).await,
            Ask::SnapshotBegin(begin) => self.begin_snapshot(begin).await,
            Ask::SnapshotChunk(chunk) => self.take_snapshot_chunk(chunk).await,
            Ask::SnapshotEnd { transfer } => self.end_snapshot(transfer).await,
            Ask::Compiled { modules } => Answer::Compiled {
                compiled: self.compiled(&modules),
            },
            Ask::Present { vote } => self.answer_present(&hello.from, vote).await,
            Ask::Follows { vote } => match self.vote().await {
                Some(own) => Answer::Follows {
                    follows: own <= vote,
                },
                None => Answer::Failed {
                    reason: "it is stopping".to_owned(),
                },
            },
        }
    }

    /// What this node compares others' messages with.
    fn own(&self) -> guard::Own {
        let known = self.inner.raft.server_metrics();
        let known = known.borrow_watched();
        guard::Own {
            id: self.id(),
            vote: known.vote,
            is_member: known.membership_config.nodes().next().is_some(),
        }
    }

    /// Refuses a message that no sound member sends, and says who sent it.
    fn refuse(&self, hello: &Hello, reason: String) -> Answer {
        if self.inner.told.is_due(format!("message {:?}", hello.from)) {
            let from = hello.from;
            tracing::error!(?from, reason, "a peer's message is not taken");
        }
        Answer::Refused { reason }
    }

    /// The handshake again, for every message: this node may have learned since who its members
    /// are. And Raft's messages must be the sender's own.
    fn check_sender(&self, hello: &Hello, request: &Request) -> Result<(), Refusal> {
        let recorded = |id| self.inner.recorded_incarnation(id);
        self.inner.peers.check_dialer(hello, recorded)?;
        let speaks_for = match request {
            Request::Append(append) => append.vote.leader_id.node_id,
            Request::Ask(Ask::Vote(ask)) => ask.vote.leader_id.node_id,
            Request::Ask(Ask::TransferLeader(ask)) => ask.from.leader_id.node_id,
            Request::Ask(Ask::SnapshotBegin(begin)) => begin.vote.leader_id.node_id,
            Request::Ask(Ask::Follows { vote }) => vote.leader_id.node_id,
            Request::Ask(_) => return Ok(()),
        };
        match hello.from.node_id {
            Some(sender) if sender != speaks_for => Err(Refusal::OtherNode {
                expected: speaks_for,
                actual: hello.from.node_id,
            }),
            _ => Ok(()),
        }
    }

    fn answer_identify(&self) -> Answer {
        Answer::Identity(Identity {
            node_id: Some(self.id()),
            incarnation: self.inner.member.incarnation,
            initialised: self.inner.initialised(),
            run: self.inner.run,
            up_ms: self.inner.up_ms(),
        })
    }

    async fn answer_append(&self, append: AppendEntriesRequest<TypeConfig>) -> Answer {
        self.inner.touch.heard(Instant::now());
        let log = self.inner.log.health();
        let refused = self.inner.disk.refuses_appends(&log);
        // A heartbeat costs the log nothing.
        if let Some(reason) = refused.filter(|_| !append.entries.is_empty()) {
            return Answer::Failed { reason };
        }
        match self.inner.raft.append_entries(append).await {
            Ok(response) => Answer::Append(match response {
                AppendEntriesResponse::Success => AppendAnswer::Success,
                AppendEntriesResponse::PartialSuccess(matching) => {
                    AppendAnswer::Partial { matching }
                }
                AppendEntriesResponse::Conflict => AppendAnswer::Conflict,
                AppendEntriesResponse::HigherVote(vote) => AppendAnswer::HigherVote { vote },
            }),
            Err(error) => Answer::Failed {
                reason: error.to_string(),
            },
        }
    }

    async fn answer_vote(&self, ask: VoteAsk) -> Answer {
        let request = VoteRequest {
            vote: ask.vote,
            last_log_id: ask.last_log_id,
            leadership_transfer: ask.leadership_transfer,
        };
        let voted = if ask.pre_vote {
            self.inner.raft.pre_vote(request).await
        } else {
            self.inner.raft.vote(request).await
        };
        match voted {
            Ok(response) => Answer::Vote(VoteAnswer {
                vote: response.vote,
                granted: response.vote_granted,
                last_log_id: response.last_log_id,
            }),
            Err(error) => Answer::Failed {
                reason: error.to_string(),
            },
        }
    }

    async fn answer_transfer(&self, ask: TransferAsk) -> Answer {
        // It could not propose anything.
        let disk = self.inner.disk.alarm(&self.inner.log.health());
        let may_not = self.inner.health.may_not_propose() || disk.is_some();
        if may_not || self.inner.clock.waits().is_some() {
            return Answer::Transfer { taken: false };
        }
        let request = TransferLeaderRequest::new(ask.from, ask.to, ask.last_log_id);
        match self.inner.raft.handle_transfer_leader(request).await {
            Ok(taken) => Answer::Transfer {
                taken: taken.is_ok(),
            },
            Err(error) => Answer::Failed {
                reason: error.to_string(),
            },
        }
    }

    async fn answer_join(&self, member: Member) -> Answer {
        Answer::Admin(match self.add_learner(member).await {
            Ok(node_id) => AdminAnswer::Done { node_id },
            Err(error) => AdminAnswer::Failed(error),
        })
    }

    pub(super) fn status_answer(&self) -> StatusAnswer {
        let checkpoints = self.inner.machine.checkpoints();
        // The asker compares clocks: one that has just jumped is to say so.
        let _ = self.inner.clock.waits();
        StatusAnswer {
            status: self.status(),
            clock_ms: self.inner.now_ms(),
            checkpoints: checkpoints
                .iter()
                .map(|c| CheckpointDigest {
                    index: c.index.0,
                    digest: c.digest,
                })
                .collect(),
        }
    }
}
