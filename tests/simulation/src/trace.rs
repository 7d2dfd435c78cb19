//! What happened, as one hash: two runs of a seed must have the same.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Simulated time, for all hosts the same. Set by the driver with each step.
#[derive(Debug, Default)]
pub struct Clock {
    now_ms: AtomicU64,
    order: AtomicU64,
}

/// Nanoseconds in a millisecond.
const NANOS_PER_MS: u64 = 1_000_000;

impl Clock {
    /// Milliseconds since the simulation began.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn set_ms(&self, ms: u64) {
        self.now_ms.store(ms, Ordering::Relaxed);
        self.order.store(0, Ordering::Relaxed);
    }

    /// Nanoseconds since then, later with every call: within one step of the simulation things
    /// happen one after the other, too.
    #[must_use]
    pub fn nanos(&self) -> u64 {
        let order = self.order.fetch_add(1, Ordering::Relaxed) + 1;
        self.now_ms() * NANOS_PER_MS + order.min(NANOS_PER_MS - 1)
    }
}

/// The hash over every event so far: messages delivered, log writes synced, entries applied,
/// answers, faults.
pub struct Trace {
    inner: Mutex<Inner>,
}

struct Inner {
    hasher: blake3::Hasher,
    events: u64,
    line: String,
    file: Option<BufWriter<File>>,
}

impl Trace {
    /// An empty one; with every event as a line in `file`, where one is given.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn new(file: Option<&Path>) -> io::Result<Self> {
        let file = file.map(File::create).transpose()?.map(BufWriter::new);
        let inner = Inner {
            hasher: blake3::Hasher::new(),
            events: 0,
            line: String::new(),
            file,
        };
        Ok(Self {
            inner: Mutex::new(inner),
        })
    }

    /// Adds an event.
    pub fn event(&self, at_ms: u64, what: fmt::Arguments<'_>) {
        let mut guard = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *guard;
        inner.line.clear();
        // Writing to a string does not fail.
        let _ = writeln!(inner.line, "{at_ms} {what}");
        inner.hasher.update(inner.line.as_bytes());
        inner.events += 1;
        if let Some(file) = &mut inner.file {
            file.write_all(inner.line.as_bytes())
                .expect("the trace's file takes it");
        }
    }

    /// The hash in hexadecimal, and over how many events it is.
    #[must_use]
    pub fn finish(&self) -> (String, u64) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &mut inner.file {
            file.flush().expect("the trace's file takes it");
        }
        (inner.hasher.finalize().to_hex().to_string(), inner.events)
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").finish_non_exhaustive()
    }
}

/// The first bytes of a BLAKE3 hash, for events about many bytes.
#[must_use]
pub fn short_hash(bytes: &[u8]) -> String {
    let mut hex = blake3::hash(bytes).to_hex().to_string();
    hex.truncate(16);
    hex
}
