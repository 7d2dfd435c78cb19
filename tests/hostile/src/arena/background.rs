//! What other clients do meanwhile: a write and a read after each other on every node, all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use raft3d_cluster_tests::{Client, client};

/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(50);
/// A request that is not answered with success is sent again after this.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// The clients' printer.
pub(super) const PRINTER: &str = "p1";
/// The clients' filament.
pub(super) const FILAMENT: &str = "f1";

/// One client on each node.
#[derive(Debug)]
pub struct Background {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Told>>,
}

/// What clients were told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Requests answered with success.
    pub answered: usize,
    /// The longest wait for that, attempts that were refused for a moment (503, 429) included.
    pub slowest: Duration,
    /// Such attempts.
    pub again: usize,
    /// Answers that none may get.
    pub wrong: Vec<String>,
}

impl Background {
    /// Starts them; `name` makes ids that no others have.
    #[must_use]
    pub fn start(name: &str, clients: Vec<Client>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = clients.into_iter().enumerate().map(|(node, client)| {
            let (stop, name) = (Arc::clone(&stop), format!("{name}-{node}"));
            std::thread::spawn(move || work(&client, &name, &stop))
        });
        let threads = threads.collect();
        Self { stop, threads }
    }

    /// Lets each finish what it does, and tells what all were told.
    ///
    /// # Panics
    /// A client had no answer at all.
    #[must_use]
    pub fn finish(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        for thread in self.threads {
            let told = thread.join().expect("a client's thread");
            all.answered += told.answered;
            all.again += told.again;
            all.slowest = all.slowest.max(told.slowest);
            all.wrong.extend(told.wrong);
        }
        all
    }
}

fn work(client: &Client, name: &str, stop: &AtomicBool) -> Told {
    let mut told = Told::default();
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let id = format!("{name}-{number}");
        number += 1;
        let body = client::job(&id, PRINTER, FILAMENT, 1);
        let write = || client.post_with("/api/v1/print_jobs", &[("idempotency-key", &id)], &body);
        let path = format!("/api/v1/print_jobs/{id}");
        until_answered(&mut told, 201, write);
        until_answered(&mut told, 200, || client.get(&path));
        std::thread::sleep(PAUSE);
    }
    told
}

fn until_answered(
    told: &mut Told,
    status: u16,
    request: impl Fn() -> raft3d_cluster_tests::Answer,
) {
    let started = Instant::now();
    loop {
        let answer = request();
        match answer.status {
            429 | 503 => {
                told.again += 1;
                std::thread::sleep(RETRY_PAUSE);
                continue;
            }
            came if came == status => told.answered += 1,
            _ => told.wrong.push(answer.to_string()),
        }
        told.slowest = told.slowest.max(started.elapsed());
        return;
    }
}
