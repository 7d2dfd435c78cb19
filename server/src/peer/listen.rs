//! The answering side.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use raft3d_engine::raft::frame::{self, Frame};
use raft3d_engine::raft::transport::{Hello, PeerService};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::guests::{Budget, Guests, Patience, Room, Row, Seat};
use super::stream::{Reader, Writer, garbage, set_options};

/// Most answers of one connection that wait to be written; more are not made meanwhile.
const ANSWERS_MAX: usize = 256;
/// After an accept that failed, for want of file descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers the peers that come to `listener`, for ever. Dropping the future closes all connections.
pub async fn serve(listener: TcpListener, service: Arc<dyn PeerService>) {
    serve_with(listener, service, Patience::default()).await;
}

pub(super) async fn serve_with(
    listener: TcpListener,
    service: Arc<dyn PeerService>,
    patience: Patience,
) {
    let guests = Guests::new(patience);
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                number += 1;
                let (seat, must_go) = guests.come(number);
                let connection = Connection {
                    from,
                    service: Arc::clone(&service),
                    guests: Arc::clone(&guests),
                    seat,
                };
                connections.spawn(async move {
                    tokio::select! {
                        () = connection.serve(stream) => {}
                        _ = must_go => tracing::debug!(%from, "a peer's connection gives way"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a peer's connection is not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One connection of whoever dials.
struct Connection {
    from: SocketAddr,
    service: Arc<dyn PeerService>,
    guests: Arc<Guests>,
    seat: Seat,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        let from = self.from;
        match self.run(stream).await {
            Ok(()) => tracing::debug!(%from, "a peer's connection is closed"),
            Err(error) => tracing::debug!(%from, %error, "a peer's connection is dropped"),
        }
    }

    async fn run(mut self, stream: TcpStream) -> io::Result<()> {
        set_options(&stream)?;
        let (reader, writer) = stream.into_split();
        let (mut reader, mut writer) = (Reader::new(reader), Writer::new(writer));
        let patience = self.guests.patience;
        let greeted = timeout(patience.handshake, self.greet(&mut reader, &mut writer)).await;
        let Some(greeted) = greeted.map_err(|_| io::ErrorKind::TimedOut)?? else {
            return Ok(());
        };
        let hello = greeted.hello;
        let row = match hello.from.node_id {
            Some(id) if self.service.is_member(&hello) => Row::Member(id),
            _ => Row::Stranger,
        };
        if self.seat.change(row).is_none() {
            return Ok(());
        }
        let (reader, writer) = (reader.greeted(), writer.greeted());
        let requests = Requests {
            reader,
            budget: self.guests.budget(row, hello.channel),
            patience: patience.frame,
            begun: None,
            room: None,
        };
        let idle = self.guests.idle(row, hello.channel);
        let (answers, written) = mpsc::channel(ANSWERS_MAX);
        tokio::select! {
            done = handle_calls(requests, hello, &*self.service, answers, idle) => done,
            done = write_answers(writer, written, patience.write) => done,
        }
    }

    /// Reads who dials and tells it whether it is welcome. None where it is not.
    async fn greet(&self, reader: &mut Reader, writer: &mut Writer) -> io::Result<Option<Greeted>> {
        reader.magic().await?;
        let hello: Hello = minicbor::decode(&reader.hello().await?).map_err(garbage)?;
        let answer = self.service.greet(&hello);
        let greeted = answer.is_ok().then(|| Greeted {
            hello,
            service: Arc::clone(&self.service),
        });
        if let Err(refusal) = &answer
            && self.guests.is_refusal_due(self.from.ip())
        {
            let (addr, from) = (self.from, hello.from);
            tracing::warn!(%addr, ?from, %refusal, "a peer's connection is refused");
        }
        let body = minicbor::to_vec(&answer).map_err(garbage)?;
        writer.put(0, &body).await?;
        writer.flush().await?;
        Ok(greeted)
    }
}

/// Whoever was welcome. The service is told when the connection ends, however it does.
struct Greeted {
    hello: Hello,
    service: Arc<dyn PeerService>,
}

impl Drop for Greeted {
    fn drop(&mut self) {
        self.service.gone(&self.hello);
    }
}

/// The requests of a connection, received within its budget.
struct Requests {
    reader: Reader,
    budget: Budget,
    /// How long one frame may take, from its first byte to its last.
    patience: Duration,
    /// When the frame that is being received began.
    begun: Option<Instant>,
    /// The room for it, once its length is known.
    room: Option<Room>,
}

impl Requests {
    /// The next one; none where the other side has closed between two. Cancelling loses nothing.
    async fn next(&mut self) -> io::Result<Option<(Frame, Room)>> {
        loop {
            let bytes = frame::announced(self.reader.buffer()).map_err(garbage)?;
            if let Some(bytes) = bytes
                && self.room.is_none()
            {
                if bytes > self.budget.frame_bytes_max {
                    return Err(garbage("a request that is too large for its channel"));
                }
                self.room = Some(self.budget.take(bytes).await);
                self.begun = Some(Instant::now());
            }
            if self.room.is_some()
                && let Some(frame) = self.reader.take()?
            {
                self.begun = None;
                return Ok(self.room.take().map(|room| (frame, room)));
            }
            let more = if self.reader.buffer().is_empty() {
                self.reader.more().await?
            } else {
                let begun = *self.begun.get_or_insert_with(Instant::now);
                let more = timeout_at(begun + self.patience, self.reader.more());
                more.await.map_err(|_| io::ErrorKind::TimedOut)??
            };
            if !more {
                return match self.reader.buffer().is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }
}

/// An answer on its way, with the room that it and its request take.
struct Answer {
    id: u64,
    body: Bytes,
    _rooms: (Room, Room),
}

/// Calls are begun in the order in which they come, and may end in any.
async fn handle_calls(
    mut requests: Requests,
    hello: Hello,
    service: &dyn PeerService,
    answers: mpsc::Sender<Answer>,
    idle: Duration,
) -> io::Result<()> {
    let answers_room = requests.budget.answers();
    let mut calls = FuturesUnordered::new();
    let mut idle_at = Instant::now() + idle;
    loop {
        tokio::select! {
            frame = requests.next() => {
                let Some((frame, room)) = frame? else { return Ok(()) };
                let answer = service.handle(hello, frame.body);
                calls.push(async move { (frame.id, answer.await, room) });
            }
            Some((id, answer, room)) = calls.next() => {
                let body = answer.ok_or_else(|| garbage("not a request of this protocol"))?;
                let _rooms = (room, answers_room.take(body.len()).await);
                if answers.send(Answer { id, body, _rooms }).await.is_err() {
                    return Ok(());
                }
                idle_at = Instant::now() + idle;
            }
            () = sleep_until(idle_at), if calls.is_empty() => {
                return Err(io::Error::other("it was not used"));
            }
        }
    }
}

async fn write_answers(
    mut writer: Writer,
    mut answers: mpsc::Receiver<Answer>,
    patience: Duration,
) -> io::Result<()> {
    while let Some(answer) = answers.recv().await {
        let more = !answers.is_empty();
        let write = async {
            writer.put(answer.id, &answer.body).await?;
            if more { Ok(()) } else { writer.flush().await }
        };
        timeout(patience, write)
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
    }
    Ok(())
}
