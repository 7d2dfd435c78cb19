//! openraft's network over [`Peers`]: appends are split by size and pipelined, snapshots go in
//! chunks, and errors are told apart so that openraft waits before it tries again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt, future, stream};
use openraft::RPCTypes;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};

use super::commit_notice::{NOTICE_HELD, WithNextEntries};
use super::encoding::entry_size_hint;
use super::message::{
    APPEND_BYTES_SOFT_MAX, APPEND_ENTRIES_MAX, Answer, AppendAnswer, Ask, Request, TransferAsk,
    VoteAsk,
};
use super::peers::{PeerError, Peers};
use super::snapshot_transfer::{self, Snapshot};
use super::transport::{Channel, TransportError};
use super::types::{LogId, Member, NodeId, TypeConfig, Vote};
use crate::bounds;
use crate::storage::snapshot::SnapshotHandle;

/// Appends in flight to one follower: the next ones travel while it syncs the first.
const APPEND_PIPELINE_DEPTH: usize = 8;
/// How long an append may take: a slow disk is not a reason to send the entries again.
const APPEND_TIMEOUT: Duration = Duration::from_secs(2);

type RpcError = RPCError<TypeConfig>;
type Append = AppendEntriesRequest<TypeConfig>;

/// Makes one [`PeerClient`] per peer and kind of traffic.
pub(super) struct Network {
    peers: Arc<Peers>,
    me: NodeId,
}

impl Network {
    pub(super) fn new(peers: Arc<Peers>, me: NodeId) -> Self {
        Self { peers, me }
    }

    fn client(&self, channel: Channel, target: NodeId, member: &Member) -> PeerClient {
        let peers = Arc::clone(&self.peers);
        let member = member.clone();
        PeerClient {
            peers,
            me: self.me,
            target,
            member,
            channel,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = PeerClient;

    async fn new_client(&mut self, target: NodeId, member: &Member) -> PeerClient {
        self.client(Channel::Log, target, member)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, member: &Member) -> PeerClient {
        self.client(Channel::Control, target, member)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, member: &Member) -> PeerClient {
        self.client(Channel::Bulk, target, member)
    }
}

/// One peer, over one channel.
#[derive(Clone)]
pub(super) struct PeerClient {
    peers: Arc<Peers>,
    me: NodeId,
    target: NodeId,
    member: Member,
    channel: Channel,
}

impl PeerClient {
    pub(super) async fn ask(
        &self,
        channel: Channel,
        request: Request,
        timeout: Duration,
    ) -> Result<Answer, PeerError> {
        let member = self.peers.newest(self.target, &self.member);
        self.peers
            .ask(channel, self.target, &member, &request, timeout)
            .await
    }

    fn rpc_error(&self, error: PeerError, action: RPCTypes, timeout: Duration) -> RpcError {
        match error {
            PeerError::Transport(TransportError::Timeout { .. }) => {
                let (id, target) = (self.me, self.target);
                RPCError::Timeout(openraft::errors::Timeout {
                    action,
                    id,
                    target,
                    timeout,
                })
            }
            PeerError::Transport(TransportError::Lost { .. }) => {
                RPCError::Network(NetworkError::new(&error))
            }
            // Asking again at once would not help.
            error => RPCError::Unreachable(Unreachable::new(&error)),
        }
    }

    /// Judges a vote that came as an answer to one of this node's own.
    pub(super) fn check_vote(&self, own: &Vote, theirs: &Vote) -> Result<(), PeerError> {
        bounds::later_vote(own, true, theirs).map_err(|error| PeerError::Garbage(error.to_string()))
    }

    fn append_timeout(&self, option: &RPCOption) -> Duration {
        match self.channel {
            Channel::Control => option.hard_ttl(),
            _ => APPEND_TIMEOUT,
        }
    }

    /// Sends one append that fits a frame.
    async fn append(
        self,
        frame: Append,
        timeout: Duration,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let (vote, prev, last) = (frame.vote, frame.prev_log_id, last_log_id(&frame));
        let asked = self
            .ask(self.channel, Request::Append(frame), timeout)
            .await;
        let answer = match asked {
            Ok(Answer::Append(answer)) => answer,
            Ok(other) => {
                let error = PeerError::unexpected(&other);
                return Err(self.rpc_error(error, RPCTypes::AppendEntries, timeout));
            }
            Err(error) => return Err(self.rpc_error(error, RPCTypes::AppendEntries, timeout)),
        };
        match answer {
            AppendAnswer::Success => Ok(AppendEntriesResponse::Success),
            AppendAnswer::Partial { matching } if matching < prev || matching > last => {
                let error = PeerError::Garbage("it has what was not sent".to_owned());
                Err(self.rpc_error(error, RPCTypes::AppendEntries, timeout))
            }
            AppendAnswer::Partial { matching } => {
                Ok(AppendEntriesResponse::PartialSuccess(matching))
            }
            // openraft takes it for impossible that the log's very start conflicts.
            AppendAnswer::Conflict if prev.is_none() => {
                let error = PeerError::Garbage("a conflict before the first entry".to_owned());
                Err(self.rpc_error(error, RPCTypes::AppendEntries, timeout))
            }
            AppendAnswer::Conflict => Ok(AppendEntriesResponse::Conflict),
            AppendAnswer::HigherVote { vote: theirs } => match self.check_vote(&vote, &theirs) {
                Ok(()) => Ok(AppendEntriesResponse::HigherVote(theirs)),
                Err(error) => Err(self.rpc_error(error, RPCTypes::AppendEntries, timeout)),
            },
        }
    }

    async fn append_frame(self, frame: Append, timeout: Duration) -> FrameResult {
        let (prev, last) = (frame.prev_log_id, last_log_id(&frame));
        let result = self.append(frame, timeout).await;
        FrameResult {
            last,
            result: result.map(|r| r.into_stream_result(prev, last)),
        }
    }

    async fn ask_vote(
        &self,
        rpc: VoteRequest<TypeConfig>,
        pre_vote: bool,
        timeout: Duration,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let ask = Ask::Vote(VoteAsk {
            vote: rpc.vote,
            last_log_id: rpc.last_log_id,
            pre_vote,
            leadership_transfer: rpc.leadership_transfer,
        });
        let error = match self.ask(Channel::Control, Request::Ask(ask), timeout).await {
            Ok(Answer::Vote(v)) => match self.check_vote(&rpc.vote, &v.vote) {
                Ok(()) => return Ok(VoteResponse::new(v.vote, v.last_log_id, v.granted)),
                Err(error) => error,
            },
            Ok(other) => PeerError::unexpected(&other),
            Err(error) => error,
        };
        Err(self.rpc_error(error, RPCTypes::Vote, timeout))
    }
}

struct FrameResult {
    last: Option<LogId>,
    result: Result<StreamAppendResult<TypeConfig>, RpcError>,
}

/// What the results of a stream of appends came to so far.
#[derive(Default)]
struct Session {
    acked: Option<LogId>,
    ended: bool,
}

impl Session {
    /// The result to hand on; none after the first append that was not taken whole.
    ///
    /// Two appends in flight may overtake one another on their way into the follower; the later
    /// one then conflicts although the earlier one, whose answer is handed on first, brought what
    /// it missed. openraft would take such a conflict for a follower that has lost its log, and
    /// end. So it is handed on as a network error, and the next stream begins behind what is
    /// acknowledged; a follower that really lost its log conflicts there.
    fn next(
        &mut self,
        frame: FrameResult,
    ) -> Option<Result<StreamAppendResult<TypeConfig>, RpcError>> {
        if self.ended {
            return None;
        }
        match &frame.result {
            Ok(Ok(matching)) => {
                self.acked = self.acked.max(*matching);
                self.ended = *matching < frame.last;
            }
            Ok(Err(StreamAppendError::Conflict(at))) if self.acked >= Some(*at) => {
                self.ended = true;
                let error = NetworkError::from_string("an append overtook the one before it");
                return Some(Err(RPCError::Network(error)));
            }
            Ok(Err(_)) | Err(_) => self.ended = true,
        }
        Some(frame.result)
    }
}

impl RaftNetworkV2<TypeConfig> for PeerClient {
    type SnapshotData = SnapshotHandle;

    async fn append_entries(
        &mut self,
        rpc: Append,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let timeout = self.append_timeout(&option);
        let mut done = None;
        for frame in split(rpc) {
            let last = last_log_id(&frame);
            match self.clone().append(frame, timeout).await? {
                AppendEntriesResponse::Success => done = Some(last),
                // What follows a frame that was not taken would conflict.
                AppendEntriesResponse::Conflict if done.is_some() => {
                    return Ok(AppendEntriesResponse::PartialSuccess(done.flatten()));
                }
                other => return Ok(other),
            }
        }
        Ok(AppendEntriesResponse::Success)
    }

    /// Several appends are in flight; one result for each frame that is sent, in order, until the
    /// first that was not taken whole. Appends without entries may be left out ([`WithNextEntries`]).
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>,
    >
    where
        S: Stream<Item = Append> + Send + Unpin + 'static,
    {
        let timeout = self.append_timeout(&option);
        let client = self.clone();
        let results = WithNextEntries::new(input, NOTICE_HELD)
            .flat_map(|request| stream::iter(split(request)))
            .map(move |frame| client.clone().append_frame(frame, timeout))
            .buffered(APPEND_PIPELINE_DEPTH)
            .scan(Session::default(), |session, result| {
                future::ready(session.next(result))
            });
        let results: BoxStream<'s, _> = Box::pin(results);
        future::ready(Ok(results)).boxed()
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask_vote(rpc, false, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask_vote(rpc, true, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let send = std::pin::pin!(snapshot_transfer::send(self, vote, snapshot));
        let cancel = std::pin::pin!(cancel);
        match future::select(send, cancel).await {
            future::Either::Left((Ok(vote), _)) => Ok(SnapshotResponse::new(vote)),
            future::Either::Left((Err(error), _)) => {
                let timeout = snapshot_transfer::CHUNK_TIMEOUT;
                Err(self
                    .rpc_error(error, RPCTypes::InstallSnapshot, timeout)
                    .into())
            }
            future::Either::Right((closed, _)) => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let ask = Ask::TransferLeader(TransferAsk {
            from: *req.from_leader(),
            to: *req.to_node_id(),
            last_log_id: req.last_log_id().copied(),
        });
        let timeout = option.soft_ttl();
        let error = match self.ask(Channel::Control, Request::Ask(ask), timeout).await {
            Ok(Answer::Transfer { taken: true }) => return Ok(Ok(())),
            Ok(Answer::Transfer { taken: false }) => {
                let (expected, actual) = (req.last_log_id().copied(), None);
                return Ok(Err(TransferLeaderError::LogNotFlushed { expected, actual }));
            }
            Ok(other) => PeerError::unexpected(&other),
            Err(error) => error,
        };
        Err(self.rpc_error(error, RPCTypes::TransferLeader, timeout))
    }
}

fn last_log_id(request: &Append) -> Option<LogId> {
    request
        .entries
        .last()
        .map(|e| e.log_id)
        .or(request.prev_log_id)
}

/// Splits an append so that each part holds about [`APPEND_BYTES_SOFT_MAX`]; a larger entry goes
/// alone. An append without entries stays one part.
fn split(request: Append) -> Vec<Append> {
    let AppendEntriesRequest {
        vote,
        mut prev_log_id,
        entries,
        leader_commit,
    } = request;
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        let size = entry_size_hint(&entry);
        let full = bytes + size > APPEND_BYTES_SOFT_MAX || part.len() >= APPEND_ENTRIES_MAX;
        if full && let Some(last) = part.last().map(|e: &super::types::Entry| e.log_id) {
            let entries = std::mem::take(&mut part);
            parts.push(AppendEntriesRequest {
                vote,
                prev_log_id,
                entries,
                leader_commit,
            });
            prev_log_id = Some(last);
            bytes = 0;
        }
        bytes += size;
        part.push(entry);
    }
    if parts.is_empty() || !part.is_empty() {
        parts.push(AppendEntriesRequest {
            vote,
            prev_log_id,
            entries: part,
            leader_commit,
        });
    }
    parts
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use openraft::EntryPayload;

    use super::*;
    use crate::bounds::ENTRY_BYTES_MAX;
    use crate::raft::testing::{log_id, vote};
    use crate::raft::transport::BODY_BYTES_MAX;
    use crate::raft::types::{Entry, Proposal};

    fn append(sizes: &[usize]) -> Append {
        let entry = |(n, size): (usize, &usize)| Entry {
            log_id: log_id(10 + n as u64),
            payload: EntryPayload::Normal(Proposal(Bytes::from(vec![7; *size]))),
        };
        AppendEntriesRequest {
            vote: vote(),
            prev_log_id: Some(log_id(9)),
            entries: sizes.iter().enumerate().map(entry).collect(),
            leader_commit: Some(log_id(5)),
        }
    }

    #[test]
    fn an_append_that_was_overtaken_is_no_conflict() {
        let acked = |last| FrameResult {
            last: Some(log_id(last)),
            result: Ok(Ok(Some(log_id(last)))),
        };
        let conflict = |at| FrameResult {
            last: Some(log_id(at + 5)),
            result: Ok(Err(StreamAppendError::Conflict(log_id(at)))),
        };
        let mut session = Session::default();
        assert!(matches!(session.next(acked(86)), Some(Ok(Ok(_)))));
        assert!(matches!(
            session.next(conflict(86)),
            Some(Err(RPCError::Network(_)))
        ));
        assert!(session.next(acked(91)).is_none());
        // The first of a stream means it.
        let first = Session::default().next(conflict(86));
        assert!(matches!(
            first,
            Some(Ok(Err(StreamAppendError::Conflict(_))))
        ));
        // So does one that comes after what was taken.
        let mut session = Session::default();
        assert!(session.next(acked(80)).is_some());
        assert!(matches!(session.next(conflict(86)), Some(Ok(Err(_)))));
        // What was taken in part ends the stream.
        let mut session = Session::default();
        let part = FrameResult {
            last: Some(log_id(9)),
            result: Ok(Ok(Some(log_id(7)))),
        };
        assert!(session.next(part).is_some() && session.next(acked(9)).is_none());
    }

    #[test]
    fn appends_are_bounded_in_bytes_and_lose_nothing() {
        let cases: [&[usize]; 6] = [
            &[],
            &[10; 5000],
            &[ENTRY_BYTES_MAX],
            &[10, ENTRY_BYTES_MAX, 10, ENTRY_BYTES_MAX, ENTRY_BYTES_MAX],
            &[APPEND_BYTES_SOFT_MAX / 2; 9],
            &[APPEND_BYTES_SOFT_MAX - 64, 1],
        ];
        for sizes in cases {
            let whole = append(sizes);
            let entries = whole.entries.clone();
            let mut prev = whole.prev_log_id;
            let mut got = Vec::new();
            for part in split(whole) {
                assert_eq!(part.prev_log_id, prev);
                assert!(part.entries.len() <= APPEND_ENTRIES_MAX);
                let body = Request::Append(part.clone()).encode();
                assert!(body.len() <= BODY_BYTES_MAX, "{} bytes", body.len());
                let single = part.entries.len() <= 1;
                assert!(
                    single || body.len() <= APPEND_BYTES_SOFT_MAX,
                    "{} bytes",
                    body.len()
                );
                let Request::Append(back) = Request::decode(&body).unwrap() else {
                    unreachable!("an append came back as something else");
                };
                assert_eq!(back.entries, part.entries);
                assert_eq!(back.vote, part.vote);
                assert_eq!(back.leader_commit, part.leader_commit);
                prev = last_log_id(&part);
                got.extend(part.entries);
            }
            assert_eq!(got, entries);
        }
    }
}
