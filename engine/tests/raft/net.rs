//! A network in memory whose links can be cut.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use raft3d_engine::raft::transport::{
    Channel, Hello, PeerService, Route, Transport, TransportError,
};
use tokio::sync::oneshot;

/// Addresses and what is wrong between them.
#[derive(Default)]
pub struct Net {
    services: Mutex<HashMap<String, Arc<dyn PeerService>>>,
    /// Connections that were greeted: from where, to where, and who dialed.
    connections: Mutex<HashSet<(String, String, Hello)>>,
    cuts: Mutex<HashSet<(String, String)>>,
    /// Requests of this channel are done, and their answers lost: how many more times.
    lose: Mutex<Option<(Channel, usize)>>,
    /// Requests that were carried, by channel.
    carried: Mutex<HashMap<Channel, usize>>,
    /// To whom answers wait on their way, and on which channel.
    held: Mutex<Option<(String, Channel)>>,
    /// Nothing of this channel arrives, and how many requests of whom did not.
    blocked: Mutex<Option<(Channel, HashMap<String, usize>)>>,
    /// Answers that wait, by who sent them.
    waiting: Mutex<HashMap<String, VecDeque<oneshot::Sender<()>>>>,
}

impl Net {
    pub fn listen(&self, addr: &str, service: Arc<dyn PeerService>) {
        self.services
            .lock()
            .unwrap()
            .insert(addr.to_owned(), service);
    }

    pub fn hang_up(&self, addr: &str) {
        self.services.lock().unwrap().remove(addr);
        let mut connections = self.connections.lock().unwrap();
        let of = |end: &(String, String, Hello)| end.0 == addr || end.1 == addr;
        let ended: Vec<_> = connections.extract_if(of).collect();
        drop(connections);
        for (_, to, hello) in ended.into_iter().filter(|end| end.0 == addr) {
            let service = self.services.lock().unwrap().get(&to).cloned();
            if let Some(service) = service {
                service.gone(&hello);
            }
        }
    }

    /// Cuts one direction.
    pub fn cut(&self, from: &str, to: &str) {
        let cut = (from.to_owned(), to.to_owned());
        self.cuts.lock().unwrap().insert(cut);
    }

    /// From now on nothing of that channel arrives; none: everything does.
    pub fn block(&self, channel: Option<Channel>) {
        *self.blocked.lock().unwrap() = channel.map(|channel| (channel, HashMap::new()));
    }

    /// How many requests of that node were blocked.
    pub fn blocked(&self, from: &str) -> usize {
        let blocked = self.blocked.lock().unwrap();
        let blocked = blocked.as_ref().and_then(|(_, of)| of.get(from));
        blocked.copied().unwrap_or(0)
    }

    fn blocks(&self, from: &str, channel: Channel) -> bool {
        match self.blocked.lock().unwrap().as_mut() {
            Some((of, counts)) if *of == channel => {
                *counts.entry(from.to_owned()).or_default() += 1;
                true
            }
            _ => false,
        }
    }

    /// Cuts a node off from everybody.
    pub fn isolate(&self, addr: &str) {
        let services = self.services.lock().unwrap();
        let mut cuts = self.cuts.lock().unwrap();
        for other in services.keys().filter(|other| *other != addr) {
            cuts.insert((addr.to_owned(), other.clone()));
            cuts.insert((other.clone(), addr.to_owned()));
        }
    }

    pub fn heal(&self) {
        self.cuts.lock().unwrap().clear();
    }

    pub fn lose_answers(&self, channel: Channel, times: usize) {
        *self.lose.lock().unwrap() = Some((channel, times));
    }

    pub fn answers_to_lose(&self) -> usize {
        self.lose.lock().unwrap().map_or(0, |(_, times)| times)
    }

    pub fn carried(&self, channel: Channel) -> usize {
        let carried = self.carried.lock().unwrap();
        carried.get(&channel).copied().unwrap_or(0)
    }

    /// From now on answers to that node wait on their way, as in the socket of a process that is
    /// suspended: they arrive also when the link has been cut by then.
    pub fn hold_answers(&self, to: &str, channel: Channel) {
        *self.held.lock().unwrap() = Some((to.to_owned(), channel));
    }

    /// How many answers of that node wait.
    pub fn held_answers(&self, from: &str) -> usize {
        let waiting = self.waiting.lock().unwrap();
        waiting.get(from).map_or(0, VecDeque::len)
    }

    /// Has the first of them arrive; false where whoever asked has given up.
    pub fn release_answer(&self, from: &str) -> bool {
        let mut waiting = self.waiting.lock().unwrap();
        let first = waiting.get_mut(from).and_then(VecDeque::pop_front);
        first.expect("an answer waits").send(()).is_ok()
    }

    fn hold(&self, from: &str, to: &str, channel: Channel) -> Option<oneshot::Receiver<()>> {
        let held = self.held.lock().unwrap();
        held.as_ref()
            .filter(|held| **held == (to.to_owned(), channel))?;
        let (release, released) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap();
        waiting
            .entry(from.to_owned())
            .or_default()
            .push_back(release);
        Some(released)
    }

    fn loses(&self, channel: Channel) -> bool {
        match self.lose.lock().unwrap().as_mut() {
            Some((on, times)) if *on == channel && *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }

    fn is_cut(&self, from: &str, to: &str) -> bool {
        self.cuts
            .lock()
            .unwrap()
            .contains(&(from.to_owned(), to.to_owned()))
    }

    async fn carry(
        self: Arc<Self>,
        from: String,
        route: Route,
        body: Bytes,
    ) -> Result<Bytes, TransportError> {
        let addr = route.addr.clone();
        let unreachable = |reason: &str| {
            Err(TransportError::Unreachable {
                addr: addr.clone(),
                reason: reason.to_owned(),
            })
        };
        if self.is_cut(&from, &addr) || self.blocks(&from, route.hello.channel) {
            return unreachable("the link is cut");
        }
        let service = self.services.lock().unwrap().get(&addr).cloned();
        let Some(service) = service else {
            return unreachable("nobody listens");
        };
        let connection = (from.clone(), addr.clone(), route.hello);
        if !self.connections.lock().unwrap().contains(&connection) {
            let checked = service
                .greet(&route.hello)
                .and_then(|w| route.hello.check(&w));
            if let Err(refusal) = checked {
                return Err(TransportError::Refused { addr, refusal });
            }
            self.connections.lock().unwrap().insert(connection);
        }
        let lost = |reason: &str| {
            Err(TransportError::Lost {
                addr: addr.clone(),
                reason: reason.to_owned(),
            })
        };
        let channel = route.hello.channel;
        *self.carried.lock().unwrap().entry(channel).or_default() += 1;
        let answered = tokio::spawn(service.handle(route.hello, body)).await;
        if self.is_cut(&addr, &from) || self.loses(channel) {
            return lost("the link was cut");
        }
        if let Some(released) = self.hold(&addr, &from, channel) {
            let _ = released.await;
        }
        match answered {
            Ok(Some(answer)) => Ok(answer),
            _ => lost("the other side closed"),
        }
    }
}

/// One node's way into the network.
pub struct Link {
    pub net: Arc<Net>,
    pub from: String,
}

impl Transport for Link {
    fn call(
        &self,
        route: Route,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let addr = route.addr.clone();
        let carried = Arc::clone(&self.net).carry(self.from.clone(), route, body);
        async move {
            match tokio::time::timeout(timeout, carried).await {
                Ok(result) => result,
                Err(_) => {
                    let timeout_ms = timeout.as_millis() as u64;
                    Err(TransportError::Timeout { addr, timeout_ms })
                }
            }
        }
        .boxed()
    }
}
