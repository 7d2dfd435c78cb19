//! Inside the load generator's process.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::{
    Answered, EtcdClient, Line, Outcome, PROGRESS_EVERY, QUANTILES, Raft3dClient, SHELVES, SPOOL_G,
    Spec, Until, VALUE_BYTES, Work,
};
use crate::systems::System;

/// Pause before a worker whose request failed connects again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// Times that one of a counted number of writes is tried: through an election, and a while more.
const COUNTED_ATTEMPTS_MAX: usize = 200;
/// Multiplier and increment of a 64-bit linear congruential generator (Knuth, MMIX): which job is
/// read next need not be more random than that.
const LCG: (u64, u64) = (6_364_136_223_846_793_005, 1_442_695_040_888_963_407);

/// Takes each line for the parent.
pub(super) type Tell = fn(&Line) -> Result<()>;

/// Makes the load, tells how it goes, and answers what was measured.
pub(super) async fn run(spec: Spec, tell: Tell) -> Result<Outcome> {
    let shared = Arc::new(Shared::new(spec));
    let mut workers = JoinSet::new();
    for index in 0..shared.spec.clients {
        let target = *shared
            .spec
            .targets
            .get(index % shared.spec.targets.len().max(1))
            .context("no targets")?;
        let worker = Worker {
            connection: Some(Connection::open(shared.spec.system, target).await?),
            shared: Arc::clone(&shared),
            target,
            random: (index as u64).wrapping_mul(LCG.0).wrapping_add(LCG.1),
        };
        workers.spawn(async move {
            // None asks before all are connected.
            tokio::task::yield_now().await;
            worker.run().await
        });
    }
    let (began, mut samples) = wait(&shared, &mut workers, tell).await?;
    shared.counting.store(false, Ordering::Relaxed);
    let elapsed = began.elapsed();
    tell(&Line::End)?;
    shared.over.store(true, Ordering::Relaxed);
    while let Some(done) = workers.join_next().await {
        samples.extend(done?);
    }
    Ok(shared.outcome(samples, elapsed))
}

/// Waits until the load is to stop; answers when the window began and what ended workers measured.
async fn wait(
    shared: &Arc<Shared>,
    workers: &mut JoinSet<Vec<Answered>>,
    tell: Tell,
) -> Result<(Instant, Vec<Answered>)> {
    let mut samples = Vec::new();
    if let Until::Time { warm_up_ms, .. } = shared.spec.until {
        sleep(Duration::from_millis(warm_up_ms)).await;
    }
    let began = Instant::now();
    shared.counting.store(true, Ordering::Relaxed);
    tell(&Line::Begin)?;
    match shared.spec.until {
        Until::Time { window_ms, .. } => sleep(Duration::from_millis(window_ms)).await,
        Until::Count(_) => {
            let mut progress = interval(PROGRESS_EVERY);
            loop {
                tokio::select! {
                    _ = progress.tick() => {
                        tell(&Line::Progress(shared.answered.load(Ordering::Relaxed)))?;
                    }
                    done = workers.join_next() => match done {
                        Some(done) => samples.extend(done?),
                        None => break,
                    },
                }
            }
        }
        Until::Told => {
            let told =
                tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
            told.await??;
        }
    }
    Ok((began, samples))
}

struct Shared {
    spec: Spec,
    /// Number of the next job or key.
    next: AtomicU64,
    /// Right answers until now, counted or not.
    answered: AtomicU64,
    counting: AtomicBool,
    over: AtomicBool,
    /// Counted failures, and what the first of them said.
    failures: Mutex<(u64, Option<String>)>,
    /// The value of each key in etcd.
    value: Bytes,
    /// One moment on both clocks.
    started: Instant,
    started_unix_us: u64,
}

impl Shared {
    fn new(spec: Spec) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            // What has no warm-up counts from the start.
            counting: AtomicBool::new(!matches!(spec.until, Until::Time { .. })),
            spec,
            next: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            over: AtomicBool::new(false),
            failures: Mutex::new((0, None)),
            value: Bytes::from(vec![b'v'; VALUE_BYTES]),
            started: Instant::now(),
            started_unix_us: micros(since_epoch.unwrap_or_default()),
        }
    }

    fn failed(&self, error: &anyhow::Error) {
        if self.counting.load(Ordering::Relaxed) {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.0 += 1;
            failures.1.get_or_insert_with(|| format!("{error:#}"));
        }
    }

    fn outcome(&self, samples: Vec<Answered>, elapsed: Duration) -> Outcome {
        let mut took: Vec<u32> = samples.iter().map(|sample| sample.took_us).collect();
        took.sort_unstable();
        let (failed, first_failure) = self
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Outcome {
            answered: samples.len() as u64,
            failed,
            first_failure,
            seconds: elapsed.as_secs_f64(),
            quantiles_us: QUANTILES.iter().map(|q| nearest_rank(&took, *q)).collect(),
            trace: if self.spec.trace { samples } else { Vec::new() },
        }
    }
}

/// The smallest of `sorted` that at least `quantile` ten-thousandths do not exceed; 0 of none.
pub(crate) fn nearest_rank(sorted: &[u32], quantile: u32) -> u32 {
    let rank = (sorted.len() as u64 * u64::from(quantile)).div_ceil(10_000);
    let place = usize::try_from(rank).unwrap_or(usize::MAX).max(1) - 1;
    sorted.get(place).copied().unwrap_or_default()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

enum Connection {
    Raft3d(Raft3dClient),
    Etcd(EtcdClient),
}

impl Connection {
    async fn open(system: System, target: SocketAddr) -> Result<Self> {
        let opened = match system {
            System::Raft3d | System::Against => Self::Raft3d(Raft3dClient::connect(target).await?),
            System::Etcd => Self::Etcd(EtcdClient::connect(target).await?),
        };
        Ok(opened)
    }

    async fn write(&mut self, shared: &Shared, number: u64) -> Result<()> {
        let prefix = &shared.spec.prefix;
        match self {
            Self::Raft3d(client) => {
                let body = job(prefix, number, 1);
                match shared.spec.until {
                    // Tried again until it is there.
                    Until::Count(_) => client.ensure_job(Bytes::from(body)).await,
                    _ => client.create_job(Bytes::from(body)).await,
                }
            }
            Self::Etcd(client) => {
                let key = Bytes::from(format!("{prefix}-{number}"));
                client.put(key, shared.value.clone()).await
            }
        }
    }

    async fn refused(&mut self, shared: &Shared, number: u64) -> Result<()> {
        match self {
            Self::Raft3d(client) => {
                // As much as a whole spool holds, of which others reserve a part.
                let body = job(&shared.spec.prefix, number, SPOOL_G);
                client.refused_job(Bytes::from(body)).await
            }
            Self::Etcd(_) => bail!("etcd has no rules"),
        }
    }

    async fn read(&mut self, shared: &Shared, number: u64) -> Result<()> {
        let id = format!("{}-{number}", shared.spec.prefix);
        match self {
            Self::Raft3d(client) => client.get_job(&id).await,
            Self::Etcd(client) => client.get(Bytes::from(id)).await,
        }
    }
}

/// A job's description in JSON, with its weight in grams.
fn job(prefix: &str, number: u64, weight_g: u64) -> String {
    let shelf = number % SHELVES;
    format!(
        "{{\"id\":\"{prefix}-{number}\",\"printer_id\":\"p{shelf}\",\
         \"filament_id\":\"f{shelf}\",\"filepath\":\"/load/{prefix}-{number}.stl\",\
         \"print_weight_in_grams\":{weight_g}}}"
    )
}

struct Worker {
    shared: Arc<Shared>,
    target: SocketAddr,
    connection: Option<Connection>,
    random: u64,
}

impl Worker {
    /// Asks until the load is over; answers what was counted.
    async fn run(mut self) -> Vec<Answered> {
        let mut samples = Vec::new();
        while !self.shared.over.load(Ordering::Relaxed) {
            let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
            if matches!(self.shared.spec.until, Until::Count(count) if number >= count) {
                break;
            }
            let attempts = match self.shared.spec.until {
                Until::Count(_) => COUNTED_ATTEMPTS_MAX,
                _ => 1,
            };
            for _ in 0..attempts {
                let sent = Instant::now();
                match self.ask(number).await {
                    Ok(()) => {
                        self.answered(sent, &mut samples);
                        break;
                    }
                    Err(error) => self.failed(&error).await,
                }
            }
        }
        samples
    }

    async fn failed(&mut self, error: &anyhow::Error) {
        self.shared.failed(error);
        self.connection = None;
        sleep(RECONNECT_PAUSE).await;
    }

    fn answered(&self, sent: Instant, samples: &mut Vec<Answered>) {
        self.shared.answered.fetch_add(1, Ordering::Relaxed);
        if self.shared.counting.load(Ordering::Relaxed) {
            let now = Instant::now();
            let since_start = micros(now.duration_since(self.shared.started));
            samples.push(Answered {
                at_us: self.shared.started_unix_us + since_start,
                took_us: u32::try_from(micros(now.duration_since(sent))).unwrap_or(u32::MAX),
            });
        }
    }

    async fn ask(&mut self, number: u64) -> Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(self.shared.spec.system, self.target).await?),
        };
        match self.shared.spec.work {
            Work::Write => connection.write(&self.shared, number).await,
            Work::Refused => connection.refused(&self.shared, number).await,
            Work::Read { of } => {
                self.random = self.random.wrapping_mul(LCG.0).wrapping_add(LCG.1);
                // The high bits are the random ones.
                let number = (self.random >> 32) % of.max(1);
                connection.read(&self.shared, number).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "A test may end where a value is missing."
    )]
    use std::io::{BufRead, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A node that gives these statuses, one for each request, and 201 afterwards; it closes the
    /// connection in place of a status 0.
    fn node(statuses: Vec<u16>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut statuses = statuses.into_iter();
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                while skip_request(&mut reader).is_some() {
                    let status = statuses.next().unwrap_or(201);
                    if status == 0 {
                        break;
                    }
                    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\n{{}}");
                    reader.get_mut().write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        address
    }

    fn skip_request(reader: &mut impl BufRead) -> Option<()> {
        let mut length = 0;
        for line in reader.by_ref().lines() {
            let line = line.ok()?;
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().ok()?;
            }
            if line.is_empty() {
                return reader.read_exact(&mut vec![0; length]).ok();
            }
        }
        None
    }

    fn load(target: SocketAddr, count: u64) -> Outcome {
        let spec = Spec {
            system: System::Raft3d,
            work: Work::Write,
            targets: vec![target],
            clients: 1,
            prefix: "t".to_owned(),
            until: Until::Count(count),
            trace: false,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(run(spec, |_| Ok(()))).unwrap()
    }

    #[test]
    fn a_counted_load_tries_until_all_is_stored() {
        // A second answer of 409: the first attempt had happened.
        let outcome = load(node(vec![201, 503, 0, 409]), 3);
        assert_eq!((outcome.answered, outcome.failed), (3, 2), "{outcome:?}");
        assert!(outcome.first_failure.unwrap().contains("503"));
    }

    #[test]
    fn quantiles_are_nearest_rank() {
        let of = |n: u32| (1..=n).collect::<Vec<_>>();
        assert_eq!(nearest_rank(&of(100), 5_000), 50);
        assert_eq!(nearest_rank(&of(100), 9_900), 99);
        assert_eq!(nearest_rank(&of(100), 10_000), 100);
        assert_eq!(nearest_rank(&of(100), 0), 1);
        assert_eq!(nearest_rank(&of(3), 5_000), 2);
        assert_eq!(nearest_rank(&[], 5_000), 0);
    }
}
