//! The calling side.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use raft3d_engine::raft::transport::{
    BODY_BYTES_MAX, Channel, Refusal, Route, Transport, TransportError, Welcome, answer_within,
};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::outage::Outage;
use super::stream::{Reader, Writer, garbage, set_options};

/// Most calls that wait to be written to one connection.
const QUEUE_CALLS_MAX: usize = 8_192;
/// Most bytes of calls that wait to be written to one connection.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long making a connection may take, with its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection that failed is not tried again before so long, at first; then twice as long, and
/// so on.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Longest time between two tries.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// A connection that nobody used for so long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

type Answer = oneshot::Sender<Result<Bytes, TransportError>>;

/// A call on its way.
struct Call {
    body: Bytes,
    answer: Answer,
}

/// What callers and the task of a connection share.
struct Link {
    queue: mpsc::Sender<Call>,
    queued_bytes: AtomicUsize,
}

type Links = Mutex<HashMap<Route, Arc<Link>>>;

/// Calls over TCP: one connection per route.
#[derive(Default)]
pub(super) struct TcpTransport {
    links: Arc<Links>,
}

impl Transport for TcpTransport {
    fn call(
        &self,
        route: Route,
        body: Bytes,
        wait: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let addr = route.addr.clone();
        match self.enqueue(route, body) {
            Err(error) => ready(Err(error)).boxed(),
            Ok(answered) => answer_within(wait, answered, addr).boxed(),
        }
    }
}

impl TcpTransport {
    fn enqueue(
        &self,
        route: Route,
        body: Bytes,
    ) -> Result<oneshot::Receiver<Result<Bytes, TransportError>>, TransportError> {
        let bytes = body.len();
        if bytes > BODY_BYTES_MAX {
            return Err(TransportError::TooLarge { bytes });
        }
        let addr = route.addr.clone();
        let link = self.link(route);
        let (answer, answered) = oneshot::channel();
        let queued = link.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        // A frame always goes into an empty queue.
        let fits = queued == 0 || queued + bytes <= QUEUE_BYTES_MAX;
        if !fits || link.queue.try_send(Call { body, answer }).is_err() {
            link.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(TransportError::Full { addr });
        }
        Ok(answered)
    }

    fn link(&self, route: Route) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(&route)
            && !link.queue.is_closed()
        {
            return Arc::clone(link);
        }
        let (queue, calls) = mpsc::channel(QUEUE_CALLS_MAX);
        let queued_bytes = AtomicUsize::new(0);
        let link = Arc::new(Link {
            queue,
            queued_bytes,
        });
        links.insert(route.clone(), Arc::clone(&link));
        let task = LinkTask {
            links: Arc::downgrade(&self.links),
            link: Arc::downgrade(&link),
            route,
            calls,
        };
        tokio::spawn(task.run());
        link
    }
}

/// Keeps one connection: makes it when there is a call, and again when it is lost.
struct LinkTask {
    links: Weak<Links>,
    link: Weak<Link>,
    route: Route,
    calls: mpsc::Receiver<Call>,
}

impl LinkTask {
    async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        let mut closed_until = Instant::now();
        let mut last_error = None;
        let mut outage = Outage::default();
        while let Some(call) = self.next_call().await {
            if let Some(error) = &last_error
                && Instant::now() < closed_until
            {
                self.refuse(call, error);
                continue;
            }
            match timeout(CONNECT_TIMEOUT, self.connect()).await {
                Ok(Ok((reader, writer))) => {
                    outage.over(&self.route);
                    last_error = None;
                    backoff = BACKOFF_MIN;
                    self.carry(call, reader, writer).await;
                }
                failed => {
                    let error = match failed {
                        Ok(Err(error)) => error,
                        _ => self.unreachable("no connection in time"),
                    };
                    self.refuse(call, &error);
                    outage.failed(&self.route, &error);
                    closed_until = Instant::now() + backoff;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                    last_error = Some(error);
                }
            }
        }
    }

    /// The next call; none when nobody has called for long, or nobody can any more.
    async fn next_call(&mut self) -> Option<Call> {
        if let Ok(call) = timeout(IDLE_TIMEOUT, self.calls.recv()).await {
            return call;
        }
        if let Some(links) = self.links.upgrade() {
            links
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&self.route);
        }
        // Whoever got hold of the link before it was removed may still have put a call in.
        self.calls.close();
        self.calls.recv().await
    }

    fn unreachable(&self, reason: impl ToString) -> TransportError {
        TransportError::Unreachable {
            addr: self.route.addr.clone(),
            reason: reason.to_string(),
        }
    }

    /// Answers a call that was not sent.
    fn refuse(&self, call: Call, error: &TransportError) {
        self.taken(&call);
        // Whoever gave up does not listen.
        let _ = call.answer.send(Err(error.clone()));
    }

    fn taken(&self, call: &Call) {
        if let Some(link) = self.link.upgrade() {
            link.queued_bytes
                .fetch_sub(call.body.len(), Ordering::Relaxed);
        }
    }

    async fn connect(&self) -> Result<(Reader, Writer), TransportError> {
        let stream = TcpStream::connect(&self.route.addr).await;
        let stream = stream.map_err(|e| self.unreachable(e))?;
        set_options(&stream).map_err(|e| self.unreachable(e))?;
        let (reader, writer) = stream.into_split();
        let (mut reader, mut writer) = (Reader::new(reader), Writer::new(writer));
        let answer = self.shake_hands(&mut reader, &mut writer).await;
        let checked = answer
            .map_err(|e| self.unreachable(e))?
            .and_then(|welcome| self.route.hello.check(&welcome));
        match checked {
            Ok(()) => Ok((reader.greeted(), writer.greeted())),
            Err(refusal) => Err(TransportError::Refused {
                addr: self.route.addr.clone(),
                refusal,
            }),
        }
    }

    async fn shake_hands(
        &self,
        reader: &mut Reader,
        writer: &mut Writer,
    ) -> io::Result<Result<Welcome, Refusal>> {
        let hello = minicbor::to_vec(self.route.hello).map_err(garbage)?;
        writer.magic().await?;
        writer.put(0, &hello).await?;
        writer.flush().await?;
        minicbor::decode(&reader.hello().await?).map_err(garbage)
    }

    /// Sends calls and takes answers until the connection is lost.
    async fn carry(&mut self, first: Call, reader: Reader, writer: Writer) {
        let waiting = Waiting::default();
        let stall = stall_timeout(self.route.hello.channel);
        let ended = tokio::select! {
            ended = take_answers(reader, &waiting, stall) => ended,
            ended = self.write_calls(first, writer, &waiting) => ended,
        };
        let reason = match ended {
            Ok(()) => "the other side closed it".to_owned(),
            Err(error) => error.to_string(),
        };
        let addr = &self.route.addr;
        for answer in waiting.drain() {
            let (addr, reason) = (addr.clone(), reason.clone());
            let _ = answer.send(Err(TransportError::Lost { addr, reason }));
        }
    }

    async fn write_calls(
        &mut self,
        first: Call,
        mut writer: Writer,
        waiting: &Waiting,
    ) -> io::Result<()> {
        let mut next = Some(first);
        let mut id = 0;
        while let Some(call) = next {
            self.taken(&call);
            // Nobody waits for it any more: it is as good as never sent.
            if !call.answer.is_closed() {
                id += 1;
                waiting.insert(id, call.answer);
                writer.put(id, &call.body).await?;
            }
            next = match self.calls.try_recv() {
                Ok(call) => Some(call),
                Err(_) => {
                    writer.flush().await?;
                    self.later_call(waiting).await?
                }
            };
        }
        Ok(())
    }

    /// The next call, however long an answer to an earlier one takes.
    async fn later_call(&mut self, waiting: &Waiting) -> io::Result<Option<Call>> {
        loop {
            match timeout(IDLE_TIMEOUT, self.calls.recv()).await {
                Ok(call) => return Ok(call),
                Err(_) if waiting.is_empty() => return Err(io::Error::other("nobody used it")),
                Err(_) => {}
            }
        }
    }
}

/// The calls that were sent and not answered.
#[derive(Default)]
struct Waiting {
    calls: Mutex<HashMap<u64, Answer>>,
}

impl Waiting {
    fn insert(&self, id: u64, answer: Answer) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() >= QUEUE_CALLS_MAX {
            // Those whose callers gave up need no place.
            calls.retain(|_, answer| !answer.is_closed());
        }
        calls.insert(id, answer);
    }

    fn remove(&self, id: u64) -> Option<Answer> {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id)
    }

    fn is_empty(&self) -> bool {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    fn drain(self) -> Vec<Answer> {
        let calls = self
            .calls
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        calls.into_values().collect()
    }
}

async fn take_answers(mut reader: Reader, waiting: &Waiting, stall: Duration) -> io::Result<()> {
    loop {
        match timeout(stall, reader.next()).await {
            Ok(Ok(Some(frame))) => {
                if let Some(answer) = waiting.remove(frame.id) {
                    let _ = answer.send(Ok(frame.body));
                }
            }
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) if waiting.is_empty() => {}
            // A machine that lost its power says nothing, not even that it is gone.
            Err(_) => return Err(io::Error::other("no answer for too long")),
        }
    }
}

/// A connection with open calls that brings no answer for so long is given up. Longer than the
/// longest honest answer on that channel.
const fn stall_timeout(channel: Channel) -> Duration {
    match channel {
        Channel::Control => Duration::from_secs(3),
        Channel::Log => Duration::from_secs(5),
        Channel::Forward => Duration::from_secs(65),
        Channel::Bulk => Duration::from_secs(660),
    }
}
