//! Calls of clients and operators to nodes: a datagram there, one back; either may be lost.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raft3d_checkers::history::Facts;
use raft3d_engine::raft::api::{
    ClusterStatus, MembershipError, ReadError, ReadOptions, WriteError, WriteOutcome, WriteRequest,
};
use raft3d_engine::raft::{Node, NodeId};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::convert;
use crate::frames::{Frame, Kind};
use crate::net::{EMPTY, Net, PORT};

/// What is asked of a node.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every value is the large one"
)]
pub enum Call {
    /// A write.
    Write(WriteRequest),
    /// A read.
    Read(ReadOptions, Query),
    /// Make a learner a voter.
    Promote(NodeId),
    /// Remove a member.
    Remove(NodeId),
    /// Hand the leadership over.
    Transfer(NodeId),
    /// How is the cluster?
    Status,
    /// Stop in good order.
    Stop,
}

/// What a read looks at.
#[derive(Clone, Debug)]
pub enum Query {
    /// One job.
    Job(String),
    /// One filament.
    Filament(String),
    /// One printer.
    Printer(String),
    /// The active ruleset.
    Ruleset,
    /// All jobs.
    Jobs,
    /// Events after a place.
    Events(Option<(u64, u32)>),
}

/// What a node answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// To a write.
    Write(Result<WriteOutcome, WriteError>),
    /// To a read: the revision and what it shows.
    Read(Result<(u64, Facts), ReadError>),
    /// To a change of the membership.
    Admin(Result<(), MembershipError>),
    /// To a question for the status.
    Status(ClusterStatus),
}

/// Calls under way. The datagrams carry their numbers alone.
#[derive(Debug, Default)]
pub struct ClientCalls {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    asked: BTreeMap<u64, Call>,
    replies: BTreeMap<u64, Reply>,
    waiting: BTreeMap<u64, oneshot::Sender<Reply>>,
}

impl ClientCalls {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a call to a host and waits for its reply. None where none came in time.
    pub(crate) async fn call(
        &self,
        net: &Net,
        to: &str,
        call: Call,
        wait: Duration,
    ) -> Option<Reply> {
        let (reply, replied) = oneshot::channel();
        let number = {
            let mut inner = self.lock();
            inner.next += 1;
            let number = inner.next;
            inner.asked.insert(number, call);
            inner.waiting.insert(number, reply);
            number
        };
        net.send(
            (to, PORT),
            Frame {
                kind: Kind::Call,
                ..EMPTY
            }
            .of(number),
        );
        let answer = timeout(wait, replied).await;
        self.lock().waiting.remove(&number);
        answer.ok().and_then(Result::ok)
    }

    /// A reply's datagram has arrived.
    pub(crate) fn replied(&self, number: u64) {
        let mut inner = self.lock();
        if let (Some(reply), Some(waiting)) =
            (inner.replies.remove(&number), inner.waiting.remove(&number))
        {
            // Whoever gave up does not listen.
            let _ = waiting.send(reply);
        }
    }

    /// Has the node do what the call with that number asks.
    pub(crate) async fn handle(&self, node: &Node, number: u64) {
        let Some(call) = self.lock().asked.remove(&number) else {
            return;
        };
        let reply = match call {
            Call::Write(request) => Reply::Write(node.write(request).await),
            Call::Read(options, query) => Reply::Read(match node.read(options).await {
                Ok(view) => Ok((view.revision().0, convert::answer(&view, &query))),
                Err(error) => Err(error),
            }),
            Call::Promote(id) => Reply::Admin(node.promote(id, None).await),
            Call::Remove(id) => Reply::Admin(node.remove(id, None).await),
            Call::Transfer(to) => Reply::Admin(node.transfer_leader(to).await),
            Call::Status => Reply::Status(node.cluster_status().await),
            Call::Stop => {
                node.shutdown().await;
                Reply::Admin(Ok(()))
            }
        };
        self.lock().replies.insert(number, reply);
    }
}
