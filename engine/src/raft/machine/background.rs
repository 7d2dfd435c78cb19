//! What the state does beside apply, on threads of low priority: writing table files, and
//! recomputing the digest once after a start.
//!
//! Neither changes what is applied or shown; a fault of either stops the replica.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
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
    /// Asks for table files to be written; none while the thread is told to end.
    flush_due: Option<SyncSender<()>>,
    flush: JoinHandle<()>,
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
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
        if !matches!(flavor, Ok(RuntimeFlavor::MultiThread)) {
            return Ok(Self { threads: None });
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (scrubbed, stopped) = (Arc::clone(shared), Arc::clone(&stop));
        let scrub = spawn("state-scrub", move || {
            let go_on = || !stopped.load(Ordering::Relaxed);
            if let Err(error) = scrubbed.state.scrub(SCRUB_PAUSE, go_on) {
                stop_replica(&scrubbed, "checking the state failed", &error);
            }
        });
        let (flush_due, asked) = mpsc::sync_channel(1);
        let flushed = Arc::clone(shared);
        // One thread for good: what it frees, it uses again for the next files.
        let flush = spawn("state-flush", move || flush_when_asked(&flushed, &asked))?;
        let threads = Some(Threads {
            flush_due: Some(flush_due),
            flush,
            scrub: scrub.ok(),
            stop,
        });
        Ok(Self { threads })
    }

    /// Writes what is in memory to table files: on a thread, where there is one.
    ///
    /// # Errors
    /// The disk failed, where it is done here.
    pub(super) fn flush(&self, shared: &Shared) -> io::Result<()> {
        let Some(threads) = &self.threads else {
            return shared.state.flush().map_err(io::Error::other);
        };
        if let Some(flush_due) = &threads.flush_due {
            // Where it was asked already, that is enough.
            let _ = flush_due.try_send(());
        }
        Ok(())
    }
}

fn flush_when_asked(shared: &Shared, asked: &Receiver<()>) {
    while asked.recv().is_ok() {
        // Every chunk asks until its rows are set apart.
        if !shared.state.is_flush_due() {
            continue;
        }
        if let Err(error) = shared.when_there_is_room("the state", || shared.state.flush()) {
            return stop_replica(shared, "writing the state failed", &error);
        }
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
        if let Some(mut threads) = self.threads.take() {
            threads.stop.store(true, Ordering::Relaxed);
            threads.flush_due = None;
            for thread in threads.scrub.into_iter().chain([threads.flush]) {
                // One that panicked has said so.
                drop(thread.join());
            }
        }
    }
}
