//! The print shop at work: clients that use all nodes at once and record what they did.

mod client;
mod facts;
mod request;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use raft3d_checkers::history::{
    Consistency, DigestSeen, MarkKind, Nanos, NodeFinals, NodeName, Op, Record, Recorder,
};
use raft3d_cluster_tests::client::Client;
use serde_json::Value;

use crate::patience::Patience;
use crate::rng::Rng;
pub use client::Desk;

/// Clients that work at once.
pub const CLIENTS: u32 = 8;
/// Printers of the shop.
pub(crate) const PRINTERS: [&str; 3] = ["p0", "p1", "p2"];
/// Filaments of the shop and their weights in grams. The last one soon has no room for more jobs.
pub(crate) const FILAMENTS: [(&str, u64); 5] = [
    ("f0", 100_000),
    ("f1", 100_000),
    ("f2", 100_000),
    ("f3", 100_000),
    ("f4", 400),
];
/// How often the nodes are asked for their digests.
const DIGESTS_EVERY: Duration = Duration::from_millis(500);
/// Longest wait for that answer.
const DIGESTS_PATIENCE: Duration = Duration::from_secs(2);
/// How long the shop may take to be furnished: nothing else goes on then.
const OPEN_PATIENCE: Duration = Duration::from_secs(60);

/// When a write was sent and accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// When it was sent.
    pub sent: Nanos,
    /// When its answer came.
    pub at: Nanos,
}

/// What all clients share.
#[derive(Debug)]
pub struct Shop {
    /// What was done and told.
    pub recorder: Recorder,
    started: Instant,
    seed: u64,
    targets: Mutex<Vec<(NodeName, SocketAddr)>>,
    jobs: Mutex<Vec<String>>,
    accepted: Mutex<Vec<Accepted>>,
    closed: AtomicBool,
    /// Operators come behind the clients, each under a number of its own.
    next_operator: AtomicU32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shop {
    /// An empty shop.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            recorder: Recorder::new(),
            started: Instant::now(),
            seed,
            targets: Mutex::default(),
            jobs: Mutex::default(),
            accepted: Mutex::default(),
            closed: AtomicBool::new(false),
            next_operator: AtomicU32::new(CLIENTS),
        })
    }

    /// The time of the history.
    #[must_use]
    pub fn now(&self) -> Nanos {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Records something that was done to the cluster.
    pub fn mark(&self, kind: MarkKind, what: &str) -> Nanos {
        let now = self.now();
        self.recorder.mark(now, kind, what);
        now
    }

    /// The nodes that clients use from now on.
    pub fn set_targets(&self, targets: Vec<(NodeName, SocketAddr)>) {
        *lock(&self.targets) = targets;
    }

    fn targets(&self) -> Vec<(NodeName, SocketAddr)> {
        lock(&self.targets).clone()
    }

    /// Every write accepted so far, in the order of the answers.
    #[must_use]
    pub fn accepted(&self) -> Vec<Accepted> {
        lock(&self.accepted).clone()
    }

    /// When the first write after `since` was accepted; none yet.
    #[must_use]
    pub fn accepted_after(&self, since: Nanos) -> Option<Nanos> {
        let accepted = lock(&self.accepted);
        let after = accepted.iter().rev().take_while(|write| write.at > since);
        after.map(|write| write.at).min()
    }

    /// A client for an operator.
    #[must_use]
    pub fn operator(self: &Arc<Self>) -> Desk {
        let number = self.next_operator.fetch_add(1, Ordering::Relaxed);
        Desk::new(self, number, Rng::part(self.seed, u64::from(number)))
    }

    /// Adds the printers and the filaments.
    ///
    /// # Errors
    /// Where the cluster does not take them.
    pub fn open(self: &Arc<Self>) -> Result<(), String> {
        let mut patience = Patience::new(OPEN_PATIENCE);
        let mut desk = self.operator();
        let printers = PRINTERS.iter().map(|id| Op::CreatePrinter {
            id: Some((*id).to_owned()),
        });
        let filaments = FILAMENTS.iter().map(|(id, grams)| Op::CreateFilament {
            id: Some((*id).to_owned()),
            total_mg: grams * 1_000,
            remaining_mg: grams * 1_000,
        });
        for op in printers.chain(filaments) {
            while desk.write(&op).is_none() {
                if !patience.lasts() {
                    return Err(format!("the shop cannot be furnished: {op:?}"));
                }
            }
        }
        Ok(())
    }

    /// Starts the clients.
    #[must_use]
    pub fn start(self: &Arc<Self>) -> Work {
        let mut threads: Vec<JoinHandle<()>> = (0..CLIENTS)
            .map(|number| {
                let rng = Rng::part(self.seed, u64::from(number));
                let mut desk = Desk::new(self, number, rng);
                let shop = Arc::clone(self);
                std::thread::spawn(move || {
                    while !shop.closed.load(Ordering::Relaxed) {
                        desk.work();
                    }
                })
            })
            .collect();
        let shop = Arc::clone(self);
        threads.push(std::thread::spawn(move || shop.watch_digests()));
        Work {
            shop: Arc::clone(self),
            threads,
        }
    }

    fn watch_digests(&self) {
        while !self.closed.load(Ordering::Relaxed) {
            for (_, addr) in self.targets() {
                let client = Client::with_patience(addr, DIGESTS_PATIENCE);
                let answer = client.try_call("GET", "/api/v1/cluster", &[], None);
                if let Some(answer) = answer.ok().filter(|answer| answer.status == 200) {
                    self.record_digests(&answer.json());
                }
            }
            std::thread::sleep(DIGESTS_EVERY);
        }
    }

    fn record_digests(&self, cluster: &Value) {
        let at = self.now();
        for node in cluster["nodes"].as_array().into_iter().flatten() {
            let seen = (|| {
                Some(DigestSeen {
                    at,
                    node: node["id"].as_u64()?,
                    index: node["applied_revision"].as_u64()?,
                    digest: node["digest"].as_str()?.to_owned(),
                })
            })();
            if let Some(seen) = seen {
                self.recorder.digest(seen);
            }
        }
    }

    /// Records what one node holds, once it has applied `min_revision`.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn record_finals(
        &self,
        client: &Client,
        mut finals: NodeFinals,
        min_revision: u64,
    ) -> Result<(), String> {
        let list = |resource| request::list(client, resource, min_revision);
        let printers = list("printers")?;
        let filaments = list("filaments")?;
        let jobs = list("print_jobs")?;
        let decisions = list("decisions")?;
        finals.printers = Some(printers.iter().filter_map(facts::printer).collect());
        finals.filaments = Some(filaments.iter().filter_map(facts::filament).collect());
        finals.jobs = Some(jobs.iter().filter_map(facts::job).collect());
        finals.decisions = Some(decisions.iter().filter_map(facts::decision).collect());
        self.recorder.record(Record::Finals(finals));
        Ok(())
    }
}

/// Clients at work.
#[derive(Debug)]
pub struct Work {
    shop: Arc<Shop>,
    threads: Vec<JoinHandle<()>>,
}

impl Work {
    /// Tells the clients to stop, and waits until each has its last answer.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shop.closed.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads see every write acknowledged before, or what the replica has; with a revision that was
/// seen before, or without.
pub(crate) fn any_consistency(rng: &mut Rng, seen: u64) -> Consistency {
    match rng.below(10) {
        0..6 => Consistency::Linearizable,
        6..8 => Consistency::Stale { min_revision: None },
        _ => Consistency::Stale {
            min_revision: Some(seen),
        },
    }
}
