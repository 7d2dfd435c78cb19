//! The answering side.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use raft3d_engine::raft::transport::{Hello, PeerService};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::stream::{Reader, Writer, garbage};

/// Most connections at once, the ones that are not greeted yet among them. A peer has four.
const CONNECTIONS_MAX: usize = 256;
/// How long a connection may take to say who it is.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Most calls of one connection that are handled at once; more are not read meanwhile.
const CALLS_MAX: usize = 8_192;
/// Most answers of one connection that wait to be written; more are not made meanwhile.
const ANSWERS_MAX: usize = 256;
/// How long one answer may take to be written: a peer that does not read is let go.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// After an accept that failed, for want of file descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers the peers that come to `listener`, for ever. Dropping the future closes all connections.
pub async fn serve(listener: TcpListener, service: Arc<dyn PeerService>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = Arc::clone(&service);
                connections.spawn(connection(stream, service, permit));
            }
            Err(error) => {
                tracing::warn!(%error, "a peer's connection is not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(
    stream: TcpStream,
    service: Arc<dyn PeerService>,
    _permit: OwnedSemaphorePermit,
) {
    let from = stream
        .peer_addr()
        .map_or_else(|e| e.to_string(), |addr| addr.to_string());
    match run(stream, service).await {
        Ok(()) => tracing::debug!(from, "a peer's connection is closed"),
        Err(error) => tracing::debug!(from, %error, "a peer's connection is dropped"),
    }
}

async fn run(stream: TcpStream, service: Arc<dyn PeerService>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let (mut reader, mut writer) = (Reader::new(reader), Writer::new(writer));
    let greeted = timeout(
        HANDSHAKE_TIMEOUT,
        greet(&mut reader, &mut writer, &*service),
    )
    .await;
    let Some(hello) = greeted.map_err(|_| io::ErrorKind::TimedOut)?? else {
        return Ok(());
    };
    let (answers, written) = mpsc::channel(ANSWERS_MAX);
    tokio::select! {
        done = handle_calls(reader, hello, &*service, answers) => done,
        done = write_answers(writer, written) => done,
    }
}

/// Reads who dials and tells it whether it is welcome. None where it is not.
async fn greet(
    reader: &mut Reader,
    writer: &mut Writer,
    service: &dyn PeerService,
) -> io::Result<Option<Hello>> {
    reader.magic().await?;
    let hello: Hello = minicbor::decode(&reader.hello().await?).map_err(garbage)?;
    let answer = service.greet(&hello);
    let body = minicbor::to_vec(&answer).map_err(garbage)?;
    writer.put(0, &body).await?;
    writer.flush().await?;
    Ok(answer.is_ok().then_some(hello))
}

/// Calls are begun in the order in which they come, and may end in any.
async fn handle_calls(
    mut reader: Reader,
    hello: Hello,
    service: &dyn PeerService,
    answers: mpsc::Sender<(u64, Bytes)>,
) -> io::Result<()> {
    let mut calls = FuturesUnordered::new();
    loop {
        tokio::select! {
            frame = reader.next(), if calls.len() < CALLS_MAX => {
                let Some(frame) = frame? else { return Ok(()) };
                let answer = service.handle(hello, frame.body);
                calls.push(async move { (frame.id, answer.await) });
            }
            Some((id, answer)) = calls.next() => {
                let answer = answer.ok_or_else(|| garbage("not a request of this protocol"))?;
                if answers.send((id, answer)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

async fn write_answers(
    mut writer: Writer,
    mut answers: mpsc::Receiver<(u64, Bytes)>,
) -> io::Result<()> {
    while let Some((id, body)) = answers.recv().await {
        let more = !answers.is_empty();
        let write = async {
            writer.put(id, &body).await?;
            if more { Ok(()) } else { writer.flush().await }
        };
        timeout(WRITE_TIMEOUT, write)
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
    }
    Ok(())
}
