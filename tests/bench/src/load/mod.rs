//! The load generator: a process of its own, so that its processor time is counted apart.
//!
//! Started by [`driver`] as `raft3d-bench --load SPEC`. It connects, warms up, and then tells on its
//! standard output, one JSON value a line, when the measured window begins, how far it is, when
//! the window ends, and what was measured. One thread serves all connections, the same for both
//! systems.

pub mod driver;
mod etcd;
pub mod proto;
mod raft3d;
mod worker;

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

pub use etcd::EtcdClient;
pub use raft3d::Raft3dClient;
pub(crate) use worker::nearest_rank;

use crate::systems::System;

/// Quantiles that are told, in parts of ten thousand; the last is the largest of all.
pub const QUANTILES: [u32; 17] = [
    0, 500, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 9500, 9750, 9900, 9950, 9990,
    10_000,
];
/// Printers, and filaments, that new jobs are spread over.
pub const SHELVES: u64 = 16;
/// Weight of each filament, in grams: the most that there is.
pub const SPOOL_G: u64 = 1_000_000_000;
/// Bytes of a value in etcd: about what a job is as JSON.
pub const VALUE_BYTES: usize = 250;

/// What the workers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// New jobs; new keys.
    Write,
    /// New jobs that the rules refuse: entries like any other, of which nothing is stored but that
    /// they were. Only of our own system.
    Refused,
    /// One of so many jobs, or keys, that a load with the same prefix has written before.
    Read {
        /// How many there are.
        of: u64,
    },
}

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Until {
    /// After a warm-up and a measured window, both in milliseconds.
    Time {
        /// Answers in this time are not counted.
        warm_up_ms: u64,
        /// Answers in this time are counted.
        window_ms: u64,
    },
    /// After so many right answers, all of them counted. A write that fails is tried again.
    Count(u64),
    /// When the parent closes standard input; all answers are counted.
    Told,
}

/// A load to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Of which system.
    pub system: System,
    /// What to do.
    pub work: Work,
    /// Where clients are served. Worker `i` talks to number `i` modulo their count.
    pub targets: Vec<SocketAddr>,
    /// Workers, each with a connection of its own and one request in flight.
    pub clients: usize,
    /// Ids and keys start so, and end with a running number.
    pub prefix: String,
    /// When to stop.
    pub until: Until,
    /// Whether each answer is told one by one.
    pub trace: bool,
}

/// One answer of a traced load.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Answered {
    /// When, in microseconds since the Unix epoch.
    pub at_us: u64,
    /// How long it took, in microseconds.
    pub took_us: u32,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Answers that were right.
    pub answered: u64,
    /// Requests that were not answered, or not as they should be.
    pub failed: u64,
    /// What the first of these said.
    pub first_failure: Option<String>,
    /// Length of the window.
    pub seconds: f64,
    /// Latencies at [`QUANTILES`], in microseconds.
    pub quantiles_us: Vec<u32>,
    /// Each answer, where the load is traced.
    pub trace: Vec<Answered>,
}

impl Outcome {
    /// Right answers per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.answered as f64 / self.seconds.max(f64::EPSILON)
    }

    /// The latency at `quantile` (in parts of ten thousand, one of [`QUANTILES`]), in
    /// milliseconds; not a number for another one.
    #[must_use]
    pub fn latency_ms(&self, quantile: u32) -> f64 {
        let place = QUANTILES.iter().position(|known| *known == quantile);
        let micros = place.and_then(|place| self.quantiles_us.get(place));
        micros.map_or(f64::NAN, |micros| f64::from(*micros) / 1_000.0)
    }
}

/// A line that the load generator writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Line {
    /// The measured window begins.
    Begin,
    /// So many answers until now.
    Progress(u64),
    /// The measured window is over.
    End,
    /// What was measured.
    Outcome(Outcome),
}

/// Makes the load that `spec`, as JSON, asks for. The whole of the child process.
///
/// # Errors
/// A connection cannot be made, or standard output is closed.
pub fn run(spec: &str) -> Result<()> {
    let spec: Spec = serde_json::from_str(spec)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(worker::run(spec, tell))?;
    tell(&Line::Outcome(outcome))
}

/// Writes one line for the parent.
fn tell(line: &Line) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// How often a long load tells how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
