//! The engine's transport over turmoil's datagrams, which are lost, late and out of order.
//!
//! What TCP does for the real transport (`server/src/peer`) is done here in small: requests of one
//! connection are handed over in order and once, what is lost is sent again, and a connection ends
//! when the other side has forgotten it (its process ended) or says nothing for too long. Then what
//! was under way is `Lost`: perhaps done.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use raft3d_engine::raft::transport::{
    BODY_BYTES_MAX, Channel, Hello, PeerService, Refusal, Route, Transport, TransportError,
    Welcome, answer_within,
};
use raft3d_engine::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use turmoil::net::UdpSocket;

use crate::frames::{Frame, Kind};
use crate::trace::short_hash;
use crate::world::World;

/// Where nodes listen, for peers and clients alike.
pub(crate) const PORT: u16 = 7000;
/// A request without an answer is sent again after so long, at first.
const RESEND_MIN: Duration = Duration::from_millis(60);
/// Longest time between two copies of a request.
const RESEND_MAX: Duration = Duration::from_millis(480);
/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// A connection that failed is not tried again before so long.
const BACKOFF: Duration = Duration::from_millis(40);

type CallAnswer = Result<Bytes, TransportError>;

/// A call on its way.
struct Call {
    body: Bytes,
    answer: oneshot::Sender<CallAnswer>,
}

/// A datagram for a connection that this side made.
struct Arrived {
    kind: Kind,
    sequence: u64,
    body: Bytes,
}

/// Serves the calls of clients.
pub(crate) type ClientHandler = Arc<dyn Fn(u64) -> BoxFuture<'static, ()> + Send + Sync>;

struct Service {
    peers: Arc<dyn PeerService>,
    clients: ClientHandler,
}

/// A connection that another side made.
struct Accepted {
    hello: Hello,
    welcome: Vec<u8>,
    next: u64,
    early: BTreeMap<u64, Bytes>,
    /// None while it is being handled.
    answers: BTreeMap<u64, Option<Bytes>>,
}

#[derive(Default)]
struct State {
    links: BTreeMap<Route, mpsc::UnboundedSender<Call>>,
    dialed: BTreeMap<u64, mpsc::UnboundedSender<Arrived>>,
    accepted: BTreeMap<(SocketAddr, u64), Accepted>,
}

/// One host's network.
pub(crate) struct Net {
    world: Arc<World>,
    me: String,
    socket: UdpSocket,
    service: OnceLock<Service>,
    state: Mutex<State>,
}

impl Net {
    /// Binds the host's socket and begins to receive.
    pub(crate) async fn bind(world: Arc<World>, me: &str) -> std::io::Result<Arc<Self>> {
        let net = Arc::new(Self {
            world,
            me: me.to_owned(),
            socket: UdpSocket::bind(("0.0.0.0", PORT)).await?,
            service: OnceLock::new(),
            state: Mutex::new(State::default()),
        });
        runtime::spawn(Arc::clone(&net).receive());
        Ok(net)
    }

    /// Lets peers and clients in.
    pub(crate) fn serve(&self, peers: Arc<dyn PeerService>, clients: ClientHandler) {
        // The first one stays: a process serves one node.
        let _ = self.service.set(Service { peers, clients });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a datagram, or loses it.
    pub(crate) fn send(&self, to: impl turmoil::ToSocketAddrs, frame: Frame<'_>) {
        if self.world.loses_datagram() {
            self.world.count("datagrams lost");
            return;
        }
        let bytes = frame.encode();
        let (length, hash) = (bytes.len(), short_hash(&bytes));
        self.world
            .trace(format_args!("{} sends {length} {hash}", self.me));
        // A host that is not there yet is one that does not answer.
        let _ = self.socket.try_send_to(&bytes, to);
    }

    async fn receive(self: Arc<Self>) {
        let mut buffer = vec![0; BODY_BYTES_MAX + 1024];
        loop {
            let Ok((length, from)) = self.socket.recv_from(&mut buffer).await else {
                return;
            };
            let bytes = buffer.get(..length).unwrap_or_default();
            let name = turmoil::reverse_lookup(from.ip()).unwrap_or_default();
            self.world.trace(format_args!(
                "{name} > {} {length} {}",
                self.me,
                short_hash(bytes)
            ));
            self.world.count("datagrams delivered");
            if let Some(frame) = Frame::decode(bytes) {
                self.take(from, frame);
            }
        }
    }

    fn take(self: &Arc<Self>, from: SocketAddr, frame: Frame<'_>) {
        match frame.kind {
            Kind::Hello => self.greet(from, frame),
            Kind::Request => self.request(from, frame),
            Kind::Welcome | Kind::Answer | Kind::Reset => {
                let arrived = Arrived {
                    kind: frame.kind,
                    sequence: frame.sequence,
                    body: Bytes::copy_from_slice(frame.body),
                };
                if let Some(dialed) = self.lock().dialed.get(&frame.connection) {
                    // A connection that was given up does not listen.
                    let _ = dialed.send(arrived);
                }
            }
            Kind::Call => {
                let Some(service) = self.service.get() else {
                    return;
                };
                let (net, number) = (Arc::clone(self), frame.connection);
                let handled = (service.clients)(number);
                runtime::spawn(async move {
                    handled.await;
                    let kind = Kind::Reply;
                    net.send(from, Frame { kind, ..EMPTY }.of(number));
                });
            }
            Kind::Reply => self.world.calls.replied(frame.connection),
        }
    }

    fn greet(&self, from: SocketAddr, frame: Frame<'_>) {
        let Some(service) = self.service.get() else {
            return;
        };
        let key = (from, frame.connection);
        let known = self.lock().accepted.get(&key).map(|a| a.welcome.clone());
        let welcome = match known {
            Some(welcome) => welcome,
            None => {
                let Ok(hello) = minicbor::decode::<Hello>(frame.body) else {
                    return;
                };
                self.forget_ended(service, from, &hello);
                let answer: Result<Welcome, Refusal> = service.peers.greet(&hello);
                let welcome = minicbor::to_vec(&answer).unwrap_or_default();
                if answer.is_ok() {
                    let accepted = Accepted {
                        hello,
                        welcome: welcome.clone(),
                        next: 0,
                        early: BTreeMap::new(),
                        answers: BTreeMap::new(),
                    };
                    self.lock().accepted.insert(key, accepted);
                }
                welcome
            }
        };
        let kind = Kind::Welcome;
        let body = &welcome;
        self.send(
            from,
            Frame {
                kind,
                body,
                ..EMPTY
            }
            .of(frame.connection),
        );
    }

    /// A host runs one process at a time: whoever dials from it now has taken the place of another,
    /// whose connections have ended with it.
    fn forget_ended(&self, service: &Service, from: SocketAddr, hello: &Hello) {
        let ended = |key: &(SocketAddr, u64), accepted: &Accepted| {
            key.0.ip() == from.ip()
                && accepted.hello.from.run.is_some()
                && accepted.hello.from.run != hello.from.run
        };
        let mut state = self.lock();
        let ended = state
            .accepted
            .extract_if(.., |key, accepted| ended(key, accepted));
        let ended: Vec<Hello> = ended.map(|(_, accepted)| accepted.hello).collect();
        drop(state);
        for hello in &ended {
            service.peers.gone(hello);
        }
    }

    fn request(self: &Arc<Self>, from: SocketAddr, frame: Frame<'_>) {
        let connection = frame.connection;
        let mut state = self.lock();
        let Some(accepted) = state.accepted.get_mut(&(from, connection)) else {
            drop(state);
            self.send(
                from,
                Frame {
                    kind: Kind::Reset,
                    ..EMPTY
                }
                .of(connection),
            );
            return;
        };
        accepted.answers = accepted.answers.split_off(&frame.waiting);
        if frame.sequence >= accepted.next {
            let body = Bytes::copy_from_slice(frame.body);
            accepted.early.insert(frame.sequence, body);
        } else if let Some(Some(answer)) = accepted.answers.get(&frame.sequence).cloned() {
            drop(state);
            self.answer(from, connection, frame.sequence, &answer);
            return;
        }
        while let Some(body) = accepted.early.remove(&accepted.next) {
            let sequence = accepted.next;
            accepted.next += 1;
            accepted.answers.insert(sequence, None);
            let net = Arc::clone(self);
            let hello = accepted.hello;
            runtime::spawn(net.handle((from, connection), sequence, hello, body));
        }
    }

    async fn handle(
        self: Arc<Self>,
        key: (SocketAddr, u64),
        sequence: u64,
        hello: Hello,
        body: Bytes,
    ) {
        let Some(service) = self.service.get() else {
            return;
        };
        let Some(answer) = service.peers.handle(hello, body).await else {
            self.lock().accepted.remove(&key);
            self.send(
                key.0,
                Frame {
                    kind: Kind::Reset,
                    ..EMPTY
                }
                .of(key.1),
            );
            return;
        };
        if let Some(accepted) = self.lock().accepted.get_mut(&key)
            && let Some(kept) = accepted.answers.get_mut(&sequence)
        {
            *kept = Some(answer.clone());
        }
        self.answer(key.0, key.1, sequence, &answer);
    }

    fn answer(&self, to: SocketAddr, connection: u64, sequence: u64, body: &[u8]) {
        let kind = Kind::Answer;
        let frame = Frame {
            kind,
            connection,
            sequence,
            waiting: 0,
            body,
        };
        self.send(to, frame);
    }
}

/// What a datagram is without content.
pub(crate) const EMPTY: Frame<'static> = Frame {
    kind: Kind::Reset,
    connection: 0,
    sequence: 0,
    waiting: 0,
    body: &[],
};

impl Frame<'_> {
    /// The same in that connection.
    pub(crate) fn of(self, connection: u64) -> Self {
        Self { connection, ..self }
    }
}

/// The way into a host's network. Weak: the network holds the node that it serves, and the node
/// holds this.
pub(crate) struct Link(pub(crate) Weak<Net>);

impl Transport for Link {
    fn call(
        &self,
        route: Route,
        body: Bytes,
        wait: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let addr = route.addr.clone();
        let Some(net) = self.0.upgrade() else {
            let reason = "the network is down".to_owned();
            return ready(Err(TransportError::Unreachable { addr, reason })).boxed();
        };
        let (answer, answered) = oneshot::channel();
        let mut state = net.lock();
        let call = Call { body, answer };
        let link = state.links.entry(route.clone()).or_insert_with(|| {
            let (link, calls) = mpsc::unbounded_channel();
            let net = Arc::clone(&net);
            runtime::spawn(LinkTask { net, route, calls }.run());
            link
        });
        // The task ends with the runtime.
        let _ = link.send(call);
        drop(state);
        answer_within(wait, answered, addr).boxed()
    }
}

/// Keeps one connection: makes it when there is a call, and again when it is lost.
struct LinkTask {
    net: Arc<Net>,
    route: Route,
    calls: mpsc::UnboundedReceiver<Call>,
}

/// A request that waits for its answer.
struct Waiting {
    body: Bytes,
    answer: oneshot::Sender<CallAnswer>,
    again: Instant,
    pause: Duration,
}

impl LinkTask {
    async fn run(mut self) {
        let mut closed_until = Instant::now();
        let mut last_error = None;
        while let Some(call) = self.calls.recv().await {
            if let Some(error) = &last_error
                && Instant::now() < closed_until
            {
                let error: &TransportError = error;
                let _ = call.answer.send(Err(error.clone()));
                continue;
            }
            let mut bytes = [0; 8];
            runtime::fill_random(&mut bytes).expect("the simulation has random numbers");
            let connection = u64::from_be_bytes(bytes);
            let (dialed, mut arrived) = mpsc::unbounded_channel();
            self.net.lock().dialed.insert(connection, dialed);
            match timeout(CONNECT_TIMEOUT, self.connect(connection, &mut arrived)).await {
                Ok(Ok(())) => {
                    last_error = None;
                    self.carry(connection, call, &mut arrived).await;
                }
                failed => {
                    let error = match failed {
                        Ok(Err(error)) => error,
                        _ => self.unreachable("no connection in time"),
                    };
                    let _ = call.answer.send(Err(error.clone()));
                    closed_until = Instant::now() + BACKOFF;
                    last_error = Some(error);
                }
            }
            self.net.lock().dialed.remove(&connection);
        }
    }

    fn unreachable(&self, reason: &str) -> TransportError {
        TransportError::Unreachable {
            addr: self.route.addr.clone(),
            reason: reason.to_owned(),
        }
    }

    async fn connect(
        &self,
        connection: u64,
        arrived: &mut mpsc::UnboundedReceiver<Arrived>,
    ) -> Result<(), TransportError> {
        let hello = minicbor::to_vec(self.route.hello).unwrap_or_default();
        let welcome = loop {
            let kind = Kind::Hello;
            let body = &hello;
            self.send(
                Frame {
                    kind,
                    body,
                    ..EMPTY
                }
                .of(connection),
            );
            if let Ok(Some(arrived)) = timeout(RESEND_MIN, arrived.recv()).await
                && arrived.kind == Kind::Welcome
            {
                break arrived.body;
            }
        };
        let answer: Result<Welcome, Refusal> =
            minicbor::decode(&welcome).map_err(|_| self.unreachable("not a welcome"))?;
        let checked = answer.and_then(|welcome| self.route.hello.check(&welcome));
        checked.map_err(|refusal| TransportError::Refused {
            addr: self.route.addr.clone(),
            refusal,
        })
    }

    fn send(&self, frame: Frame<'_>) {
        self.net.send(self.route.addr.as_str(), frame);
    }

    /// Sends calls and takes answers until the connection is lost.
    async fn carry(
        &mut self,
        connection: u64,
        first: Call,
        arrived: &mut mpsc::UnboundedReceiver<Arrived>,
    ) {
        let mut waiting: BTreeMap<u64, Waiting> = BTreeMap::new();
        let mut next = 0;
        let mut heard = Instant::now();
        let stall = stall_timeout(self.route.hello.channel);
        self.put(connection, &mut next, &mut waiting, first);
        let reason = loop {
            let again = waiting.values().map(|w| w.again).min();
            let again = again.unwrap_or_else(|| Instant::now() + RESEND_MAX);
            tokio::select! {
                biased;
                got = arrived.recv() => match got {
                    Some(Arrived { kind: Kind::Answer, sequence, body }) => {
                        heard = Instant::now();
                        if let Some(done) = waiting.remove(&sequence) {
                            let _ = done.answer.send(Ok(body));
                        }
                    }
                    Some(Arrived { kind: Kind::Reset, .. }) => break "the other side closed it",
                    _ => {}
                },
                call = self.calls.recv() => match call {
                    Some(call) => {
                        if waiting.is_empty() {
                            heard = Instant::now();
                        }
                        self.put(connection, &mut next, &mut waiting, call);
                    }
                    None => break "this side closed it",
                },
                () = tokio::time::sleep_until(again) => {
                    if !waiting.is_empty() && heard.elapsed() > stall {
                        break "no answer for too long";
                    }
                    self.resend(connection, &mut waiting);
                }
            }
        };
        let addr = &self.route.addr;
        for (_, one) in waiting {
            let (addr, reason) = (addr.clone(), reason.to_owned());
            let _ = one.answer.send(Err(TransportError::Lost { addr, reason }));
        }
    }

    fn put(
        &self,
        connection: u64,
        next: &mut u64,
        waiting: &mut BTreeMap<u64, Waiting>,
        call: Call,
    ) {
        let sequence = *next;
        *next += 1;
        let one = Waiting {
            body: call.body,
            answer: call.answer,
            again: Instant::now() + RESEND_MIN,
            pause: RESEND_MIN,
        };
        waiting.insert(sequence, one);
        self.copy(connection, waiting, sequence);
    }

    fn resend(&self, connection: u64, waiting: &mut BTreeMap<u64, Waiting>) {
        let now = Instant::now();
        let mut due = Vec::new();
        for (sequence, one) in waiting.iter_mut().filter(|(_, one)| one.again <= now) {
            one.pause = (one.pause * 2).min(RESEND_MAX);
            one.again = now + one.pause;
            due.push(*sequence);
        }
        for sequence in due {
            self.copy(connection, waiting, sequence);
        }
    }

    fn copy(&self, connection: u64, waiting: &BTreeMap<u64, Waiting>, sequence: u64) {
        let Some(one) = waiting.get(&sequence) else {
            return;
        };
        let oldest = waiting.keys().next().copied().unwrap_or(sequence);
        let frame = Frame {
            kind: Kind::Request,
            connection,
            sequence,
            waiting: oldest,
            body: &one.body,
        };
        self.send(frame);
    }
}

/// A connection with open calls that brings no answer for so long is given up, as the real
/// transport does.
const fn stall_timeout(channel: Channel) -> Duration {
    match channel {
        Channel::Control => Duration::from_secs(3),
        Channel::Log => Duration::from_secs(5),
        Channel::Forward | Channel::Bulk => Duration::from_secs(12),
    }
}
