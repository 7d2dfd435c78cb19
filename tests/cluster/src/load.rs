//! A load generator: workers that create print jobs as fast as they are answered, remember every
//! answer and follow a write over failures with the same idempotency key.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::latency::Latencies;

/// Longest wait for one answer. Above the server's own deadline for a write.
const ATTEMPT_PATIENCE: Duration = Duration::from_secs(15);
/// Pause before the same write goes to the next node.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// What load to make.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Nodes, by their HTTP address. Worker `i` starts at node `i` modulo their number.
    pub targets: Vec<SocketAddr>,
    /// Workers, each with one connection.
    pub connections: usize,
    /// Keys start so; two loads on one cluster need two prefixes.
    pub prefix: String,
    /// Printer of the jobs.
    pub printer: String,
    /// Filament of the jobs.
    pub filament: String,
    /// Weight of each job.
    pub grams: u64,
}

/// A write that was acknowledged.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// Its idempotency key.
    pub key: String,
    /// The revision that the answer named.
    pub revision: u64,
    /// When it was sent for the first time.
    pub first_sent: Instant,
    /// When its answer came.
    pub at: Instant,
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Filament of the jobs.
    pub filament: String,
    /// Weight of each job.
    pub grams: u64,
    /// Acknowledged writes.
    pub acknowledged: Vec<Acknowledged>,
    /// Keys of writes that may or may not have happened.
    pub unknown: Vec<String>,
    /// Answers that were neither an acknowledgement nor worth a retry, with their key.
    pub refused: Vec<(String, String)>,
    /// Attempts that were made again.
    pub retries: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

impl Report {
    /// From first sending to acknowledgement, of every acknowledged write.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        let waited = |ack: &Acknowledged| ack.at.duration_since(ack.first_sent);
        Latencies::new(self.acknowledged.iter().map(waited).collect())
    }

    /// Both reports as one, of loads on the same filament with the same weight.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.acknowledged.extend(other.acknowledged);
        self.unknown.extend(other.unknown);
        self.refused.extend(other.refused);
        self.retries += other.retries;
        self.elapsed += other.elapsed;
        self
    }

    /// Acknowledged writes per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.acknowledged.len() as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }
}

/// Path of the model file of the job with that key.
#[must_use]
pub fn filepath(key: &str) -> String {
    format!("/load/{key}.stl")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Finish what was sent, send nothing new.
    Finishing,
    /// Leave everything as it is.
    Aborted,
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    phase: watch::Sender<Phase>,
    report: Arc<Mutex<Report>>,
    thread: Option<JoinHandle<()>>,
    started: Instant,
}

impl Load {
    /// Starts it.
    ///
    /// # Panics
    /// Where the runtime cannot be started.
    #[must_use]
    pub fn start(options: LoadOptions) -> Self {
        let (phase, watched) = watch::channel(Phase::Running);
        let report = Report {
            filament: options.filament.clone(),
            grams: options.grams,
            ..Report::default()
        };
        let report = Arc::new(Mutex::new(report));
        let shared = Arc::new(Shared {
            options,
            report: Arc::clone(&report),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime for the load");
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let workers = 0..shared.options.connections;
                let workers = workers.map(|index| {
                    let worker = Worker::new(Arc::clone(&shared), watched.clone(), index);
                    tokio::spawn(worker.run())
                });
                for worker in workers.collect::<Vec<_>>() {
                    let _ = worker.await;
                }
            });
        });
        Self {
            phase,
            report,
            thread: Some(thread),
            started: Instant::now(),
        }
    }

    /// Writes acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.lock().acknowledged.len()
    }

    /// Waits until `count` more writes are acknowledged than are now.
    ///
    /// # Panics
    /// Where that takes longer than `patience`.
    #[track_caller]
    pub fn wait_more(&self, count: usize, patience: Duration) {
        let goal = self.acknowledged() + count;
        crate::process::wait_for("more acknowledged writes", patience, || {
            let now = self.acknowledged();
            if now >= goal {
                Ok(())
            } else {
                Err(format!("{now} of {goal}; {:?}", self.refused()))
            }
        });
    }

    fn refused(&self) -> Option<(String, String)> {
        self.lock().refused.first().cloned()
    }

    /// Stops sending, waits for every answer, and tells.
    ///
    /// # Panics
    /// Where a worker panicked.
    pub fn finish(self) -> Report {
        self.end(Phase::Finishing)
    }

    /// Leaves everything as it is; what was not answered is unknown.
    ///
    /// # Panics
    /// Where a worker panicked.
    pub fn abort(self) -> Report {
        self.end(Phase::Aborted)
    }

    fn end(mut self, phase: Phase) -> Report {
        self.phase.send_replace(phase);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the load's thread");
        }
        let mut report = self.lock().clone();
        report.elapsed = self.started.elapsed();
        report
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Aborted);
    }
}

struct Shared {
    options: LoadOptions,
    report: Arc<Mutex<Report>>,
}

impl Shared {
    fn record(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What one attempt came to.
enum Attempt {
    Acknowledged(u64),
    Refused(String),
    /// Not now; whether anything happened the server said or nobody knows.
    Again,
}

struct Worker {
    shared: Arc<Shared>,
    phase: watch::Receiver<Phase>,
    index: usize,
    target: usize,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Worker {
    fn new(shared: Arc<Shared>, phase: watch::Receiver<Phase>, index: usize) -> Self {
        let target = index % shared.options.targets.len();
        Self {
            shared,
            phase,
            index,
            target,
            connection: None,
        }
    }

    async fn run(mut self) {
        for number in 0_u64.. {
            if *self.phase.borrow() != Phase::Running {
                return;
            }
            let key = format!("{}-{}-{number}", self.shared.options.prefix, self.index);
            self.write(key).await;
        }
    }

    /// Follows one write until its outcome is known or the load is aborted.
    async fn write(&mut self, key: String) {
        let body = Bytes::from(self.body(&key).to_string());
        let first_sent = Instant::now();
        loop {
            match self.attempt_unless_aborted(&key, &body).await {
                None => return self.shared.record(|report| report.unknown.push(key)),
                Some(Ok(Attempt::Acknowledged(revision))) => {
                    let ack = Acknowledged {
                        key,
                        revision,
                        first_sent,
                        at: Instant::now(),
                    };
                    return self.shared.record(|report| report.acknowledged.push(ack));
                }
                Some(Ok(Attempt::Refused(answer))) => {
                    return self
                        .shared
                        .record(|report| report.refused.push((key, answer)));
                }
                Some(Ok(Attempt::Again)) => {}
                Some(Err(_)) => self.connection = None,
            }
            self.shared.record(|report| report.retries += 1);
            self.target = (self.target + 1) % self.shared.options.targets.len();
            self.connection = None;
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Every second worker leaves the id to the server: only exactly-once records keep a retry
    /// from making a second job there.
    fn body(&self, key: &str) -> Value {
        let options = &self.shared.options;
        let mut body = json!({
            "printer_id": options.printer, "filament_id": options.filament,
            "filepath": filepath(key), "print_weight_in_grams": options.grams,
        });
        if self.index.is_multiple_of(2) {
            body["id"] = json!(key);
        }
        body
    }

    async fn attempt_unless_aborted(
        &mut self,
        key: &str,
        body: &Bytes,
    ) -> Option<anyhow::Result<Attempt>> {
        let mut phase = self.phase.clone();
        tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase == Phase::Aborted) => None,
            outcome = timeout(ATTEMPT_PATIENCE, self.attempt(key, body)) => {
                Some(outcome.unwrap_or_else(|late| Err(late.into())))
            }
        }
    }

    async fn attempt(&mut self, key: &str, body: &Bytes) -> anyhow::Result<Attempt> {
        let target = self.shared.options.targets[self.target];
        let connection = match &mut self.connection {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.connection.insert(connect(target).await?),
        };
        connection.ready().await?;
        let request = Request::post("/api/v1/print_jobs")
            .header("host", target.to_string())
            .header("content-type", "application/json")
            .header("idempotency-key", key)
            .body(Full::new(body.clone()))?;
        let response = connection.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        match status {
            StatusCode::CREATED => Ok(Attempt::Acknowledged(revision(&body)?)),
            StatusCode::TOO_MANY_REQUESTS => Ok(Attempt::Again),
            status if status.is_server_error() => Ok(Attempt::Again),
            status => Ok(Attempt::Refused(format!(
                "{status} {}",
                String::from_utf8_lossy(&body)
            ))),
        }
    }
}

async fn connect(target: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the connection; the sender then says so.
    tokio::spawn(connection);
    Ok(sender)
}

fn revision(body: &[u8]) -> anyhow::Result<u64> {
    let job: Value = serde_json::from_slice(body).context("a job")?;
    match job["revision"].as_u64() {
        Some(revision) => Ok(revision),
        None => bail!("a job without a revision: {job}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::sync::mpsc;

    /// A node that answers by script: `None` closes the connection instead. After the script it
    /// never answers. Tells the idempotency keys that it was sent.
    fn node(script: Vec<Option<(u16, &'static str)>>) -> (SocketAddr, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (keys, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut script = script.into_iter();
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                while let Some(key) = read_request(&mut reader) {
                    keys.send(key).unwrap();
                    match script.next() {
                        Some(Some((status, body))) => {
                            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: ");
                            let answer = format!("{head}{}\r\n\r\n{body}", body.len());
                            reader.get_mut().write_all(answer.as_bytes()).unwrap();
                        }
                        Some(None) => break,
                        None => std::thread::sleep(Duration::from_secs(60)),
                    }
                }
            }
        });
        (addr, told)
    }

    /// Reads one request and answers its idempotency key.
    fn read_request(reader: &mut impl std::io::BufRead) -> Option<String> {
        let (mut key, mut length) = (None, 0);
        for line in reader.by_ref().lines() {
            let line = line.ok()?;
            match line.split_once(": ") {
                Some(("idempotency-key", value)) => key = Some(value.to_owned()),
                Some(("content-length", value)) => length = value.parse().unwrap(),
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        key
    }

    fn start(targets: Vec<SocketAddr>) -> Load {
        Load::start(LoadOptions {
            targets,
            connections: 1,
            prefix: "t".to_owned(),
            printer: "p".to_owned(),
            filament: "f".to_owned(),
            grams: 1,
        })
    }

    #[test]
    fn a_write_is_followed_through_other_nodes_under_its_key() {
        let (first, first_told) = node(vec![Some((503, "{}")), None]);
        let (second, second_told) = node(vec![None, Some((201, r#"{"revision":9}"#))]);
        let load = start(vec![first, second]);
        load.wait_more(1, Duration::from_secs(10));
        let report = load.abort();
        assert_eq!(report.acknowledged.len(), 1);
        assert_eq!(
            (
                report.acknowledged[0].key.as_str(),
                report.acknowledged[0].revision
            ),
            ("t-0-0", 9)
        );
        assert_eq!(report.retries, 3);
        let told: Vec<String> = first_told.try_iter().take(2).collect();
        assert_eq!(told, ["t-0-0", "t-0-0"]);
        let told: Vec<String> = second_told.try_iter().take(2).collect();
        assert_eq!(told, ["t-0-0", "t-0-0"]);
    }

    #[test]
    fn what_was_not_answered_is_unknown_and_what_was_refused_is_told() {
        let (addr, told) = node(vec![Some((422, "no"))]);
        let load = start(vec![addr]);
        assert_eq!(told.recv().as_deref(), Ok("t-0-0"));
        assert_eq!(told.recv().as_deref(), Ok("t-0-1"));
        let report = load.abort();
        assert_eq!(report.refused.len(), 1);
        assert!(report.refused[0].1.contains("no"), "{:?}", report.refused);
        assert_eq!(report.unknown, ["t-0-1"]);
        assert!(report.acknowledged.is_empty());
    }
}
