//! What the state does beside apply, on threads of low priority: writing table files, and
//! recomputing the digest once after a start.
//!
//! Neither changes what is applied or shown; a fault of either stops the replica.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tracing::error;

use super::handle::Shared;
use crate::storage::state::StateError;

/// How much nicer than apply these threads are (nice(2)).
const NICENESS: i32 = 10;
/// Pause of the scrub after a thousand rows: at most 20,000 rows a second, some 5 % of a processor.
const SCRUB_PAUSE: Duration = Duration::from_millis(50);

/// The threads. They end with this.
pub(super) struct Background {
    /// None where a simulation runs everything on one thread.
    threads: Option<Threads>,
}

struct Threads {
    flush: Option<JoinHandle<()>>,
    scrub: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

/// Runs `work` on a thread of low priority and waits for it.
pub(super) fn nicely<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("state-reader".to_owned());
        let thread = thread.spawn_scoped(scope, || {
            be_nice();
            work()
        })?;
        let panicked = |_| io::Error::other("a background thread panicked");
        thread.join().map_err(panicked)
    })
}

fn be_nice() {
    // Where the system does not allow it, the thread runs as the others do.
    let _ = rustix::process::nice(NICENESS);
}

impl Background {
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
        if !matches!(flavor, Ok(RuntimeFlavor::MultiThread)) {
            return Self { threads: None };
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (scrubbed, stopped) = (Arc::clone(shared), Arc::clone(&stop));
        let scrub = spawn("state-scrub", move || {
            let go_on = || !stopped.load(Ordering::Relaxed);
            if let Err(error) = scrubbed.state.scrub(SCRUB_PAUSE, go_on) {
                stop_replica(&scrubbed, "checking the state failed", &error);
            }
        });
        let threads = Some(Threads {
            flush: None,
            scrub: scrub.ok(),
            stop,
        });
        Self { threads }
    }

    /// Writes what is in memory to table files: on a thread, unless one does it already.
    ///
    /// # Errors
    /// There is no thread to be had, or the disk failed where it is done here.
    pub(super) fn flush(&mut self, shared: &Arc<Shared>) -> io::Result<()> {
        let Some(threads) = &mut self.threads else {
            return shared.state.flush().map_err(io::Error::other);
        };
        if threads.flush.as_ref().is_some_and(|t| !t.is_finished()) {
            return Ok(());
        }
        let shared = Arc::clone(shared);
        threads.flush = Some(spawn("state-flush", move || {
            if let Err(error) = shared.state.flush() {
                stop_replica(&shared, "writing the state failed", &error);
            }
        })?);
        Ok(())
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(|| {
        be_nice();
        work();
    })
}

fn stop_replica(shared: &Shared, what: &str, error: &StateError) {
    let remedy = match error {
        // It says what to do.
        StateError::Refused { .. } => "",
        _ => ". Restart this node: it rebuilds what is damaged",
    };
    let message = format!("{what}: {error}{remedy}");
    error!("{message}");
    shared.set_fault(message);
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.stop.store(true, Ordering::Relaxed);
            for thread in threads.flush.into_iter().chain(threads.scrub) {
                // One that panicked has said so.
                drop(thread.join());
            }
        }
    }
}
