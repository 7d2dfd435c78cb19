//! Snapshots between nodes: in chunks with offset and checksum, one after the other, over a
//! channel of their own. The file's own checksums and digest are checked when it is complete.

use std::time::Duration;

use openraft::type_config::alias::SnapshotOf;
use tokio::time::Instant;

use super::message::{Answer, Ask, Request, SNAPSHOT_CHUNK_BYTES, SnapshotBegin, SnapshotChunk};
use super::network::PeerClient;
use super::node::Node;
use super::peers::PeerError;
use super::transport::Channel;
use super::types::{TypeConfig, Vote};
use crate::runtime;
use crate::storage::snapshot::{IncomingSnapshot, SnapshotHandle};

/// How long one chunk may take.
pub(super) const CHUNK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long checking and installing a complete snapshot may take.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);

/// A transfer of which no piece came for so long is given up, and its file deleted.
const SILENCE: Duration = Duration::from_secs(60);

/// A snapshot as openraft passes it around.
pub(super) type Snapshot = SnapshotOf<TypeConfig, SnapshotHandle>;

/// A snapshot that this node is receiving.
pub(super) struct Receiver {
    begin: SnapshotBegin,
    file: IncomingSnapshot,
    /// When it began, or its last piece came.
    heard_at: Instant,
}

/// Sends a snapshot and waits until it is installed. Answers the receiver's vote.
pub(super) async fn send(
    client: &PeerClient,
    vote: Vote,
    snapshot: Snapshot,
) -> Result<Vote, PeerError> {
    let transfer = transfer_id()?;
    let file = snapshot.snapshot;
    let begin = SnapshotBegin {
        vote,
        last_log_id: snapshot.meta.last_log_id,
        membership: snapshot.meta.last_membership,
        bytes: file.size_bytes(),
        transfer,
    };
    let answered = |theirs| client.check_vote(&vote, &theirs).map(|()| theirs);
    if let Some(theirs) = step(client, Ask::SnapshotBegin(begin), 0, CHUNK_TIMEOUT).await? {
        return answered(theirs);
    }
    let mut offset = 0;
    while offset < file.size_bytes() {
        let piece = read(&file, offset).await?;
        let chunk = SnapshotChunk {
            transfer,
            offset,
            crc: crc32c::crc32c(&piece),
            data: piece,
        };
        offset += chunk.data.len() as u64;
        if let Some(theirs) = step(client, Ask::SnapshotChunk(chunk), offset, CHUNK_TIMEOUT).await?
        {
            return answered(theirs);
        }
    }
    match step(client, Ask::SnapshotEnd { transfer }, 0, INSTALL_TIMEOUT).await? {
        Some(theirs) => answered(theirs),
        None => Err(PeerError::Garbage(
            "the end of a snapshot was taken for a part".to_owned(),
        )),
    }
}

/// Random, so that a piece of a transfer that a restart cut short fits no later one.
fn transfer_id() -> Result<u64, PeerError> {
    let mut bytes = [0; 8];
    match runtime::fill_random(&mut bytes) {
        Ok(()) => Ok(u64::from_le_bytes(bytes)),
        Err(error) => Err(PeerError::Failed(error.to_string())),
    }
}

/// One request of a transfer. None where the receiver wants more, from `next` on.
async fn step(
    client: &PeerClient,
    ask: Ask,
    next: u64,
    timeout: Duration,
) -> Result<Option<Vote>, PeerError> {
    match client
        .ask(Channel::Bulk, Request::Ask(ask), timeout)
        .await?
    {
        Answer::SnapshotDone { vote } => Ok(Some(vote)),
        Answer::SnapshotNext { offset } if offset == next => Ok(None),
        other => Err(PeerError::unexpected(&other)),
    }
}

async fn read(file: &SnapshotHandle, offset: u64) -> Result<Vec<u8>, PeerError> {
    let file = file.clone();
    let read = runtime::off_thread(move || file.read_at(offset, SNAPSHOT_CHUNK_BYTES));
    match read.await {
        Ok(Ok(piece)) if !piece.is_empty() => Ok(piece.to_vec()),
        Ok(Ok(_)) => Err(PeerError::Failed(
            "the snapshot file is shorter than it was".to_owned(),
        )),
        Ok(Err(error)) => Err(PeerError::Failed(format!(
            "the snapshot is not readable: {error}"
        ))),
        Err(error) => Err(PeerError::Failed(error.to_string())),
    }
}

impl Node {
    pub(super) async fn begin_snapshot(&self, begin: SnapshotBegin) -> Answer {
        let vote = self.inner.metrics().vote;
        if vote > begin.vote {
            return Answer::SnapshotDone { vote };
        }
        // A leader has said more than this before it knows what a follower lacks.
        if vote != begin.vote {
            return Answer::Failed {
                reason: "a snapshot is taken from the leader that this node follows".to_owned(),
            };
        }
        let (node, bytes) = (self.clone(), begin.bytes);
        let full = runtime::off_thread(move || node.inner.disk.refuses_snapshot(bytes)).await;
        match full {
            Ok(None) => {}
            Ok(Some(reason)) => {
                if self.inner.told.is_due("no room for a snapshot".to_owned()) {
                    tracing::warn!("{reason}");
                }
                return Answer::Failed { reason };
            }
            Err(error) => {
                let reason = error.to_string();
                return Answer::Failed { reason };
            }
        }
        let machine = self.inner.machine.clone();
        match blocking(move || machine.begin_incoming()).await {
            Ok(file) => {
                tracing::info!(bytes = begin.bytes, "a snapshot arrives");
                *self.inner.incoming.lock().await = Some(Receiver {
                    begin,
                    file,
                    heard_at: Instant::now(),
                });
                Answer::SnapshotNext { offset: 0 }
            }
            Err(reason) => Answer::Failed { reason },
        }
    }

    pub(super) async fn take_snapshot_chunk(&self, chunk: SnapshotChunk) -> Answer {
        let refused = |reason: &str| Answer::Failed {
            reason: reason.to_owned(),
        };
        let mut incoming = self.inner.incoming.lock().await;
        let Some(mut receiver) = incoming.take() else {
            return refused("no snapshot is being received");
        };
        let expected = (receiver.begin.transfer, receiver.file.size_bytes());
        if (chunk.transfer, chunk.offset) != expected {
            // A late piece of an earlier transfer must not disturb the one that is under way.
            let same = chunk.transfer == receiver.begin.transfer;
            *incoming = (!same).then_some(receiver);
            return refused("a piece of a snapshot is out of place");
        }
        let end = chunk.offset.saturating_add(chunk.data.len() as u64);
        if chunk.crc != crc32c::crc32c(&chunk.data) || end > receiver.begin.bytes {
            return refused("a piece of a snapshot is damaged");
        }
        let written = blocking(move || receiver.file.append(&chunk.data).map(|()| receiver));
        match written.await {
            Ok(mut receiver) => {
                receiver.heard_at = Instant::now();
                *incoming = Some(receiver);
                Answer::SnapshotNext { offset: end }
            }
            Err(reason) => Answer::Failed { reason },
        }
    }

    pub(super) async fn end_snapshot(&self, transfer: u64) -> Answer {
        let refused = |reason: &str| Answer::Failed {
            reason: reason.to_owned(),
        };
        let Some(Receiver { begin, file, .. }) = self.inner.incoming.lock().await.take() else {
            return refused("no snapshot is being received");
        };
        if begin.transfer != transfer || file.size_bytes() != begin.bytes {
            return refused("the snapshot is not complete");
        }
        let handle = match blocking(move || file.finish()).await {
            Ok(handle) => handle,
            Err(reason) => return Answer::Failed { reason },
        };
        let meta = handle.meta();
        let beyond = meta
            .last_log_id
            .is_some_and(|id| id.leader_id > begin.vote.leader_id);
        let other =
            meta.last_log_id != begin.last_log_id || meta.last_membership != begin.membership;
        let committed = self.look(|state| state.local_committed().copied()).await;
        let committed = committed.flatten();
        let contradicts = meta.last_log_id > committed
            && meta.last_log_id.map(|id| id.index) <= committed.map(|id| id.index);
        // openraft panics on a snapshot that its sender cannot have.
        if beyond || other || contradicts {
            return refused("the snapshot is not the one that was announced");
        }
        let snapshot = Snapshot {
            meta,
            snapshot: handle,
        };
        match self
            .inner
            .raft
            .install_full_snapshot(begin.vote, snapshot)
            .await
        {
            Ok(response) => Answer::SnapshotDone {
                vote: response.vote,
            },
            Err(error) => Answer::Failed {
                reason: error.to_string(),
            },
        }
    }
}

impl Node {
    /// Gives up a transfer whose sender has fallen silent.
    pub(super) fn drop_silent_snapshot(&self) {
        let Ok(mut incoming) = self.inner.incoming.try_lock() else {
            return;
        };
        if incoming
            .as_ref()
            .is_some_and(|r| r.heard_at.elapsed() > SILENCE)
        {
            tracing::warn!("a snapshot did not arrive whole; what came of it is deleted");
            *incoming = None;
        }
    }
}

/// Runs what waits for the disk off the async threads.
async fn blocking<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, String> {
    match runtime::off_thread(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
