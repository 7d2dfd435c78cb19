//! What the store, its readers and its writer share: the log as readers see it, and the queue.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use openraft::storage::IOFlushed;
use tokio::sync::{Notify, oneshot, watch};

use super::error::LogError;
use super::frame::CHECKPOINT_BYTES_MAX;
use super::index::{Cache, Index, Location};
use super::options::LogOptions;
use super::segment::Segment;
use super::tip::{Tip, next_index};
use crate::raft::types::{LogId, TypeConfig, Vote};

/// Something to write, in the order of the calls.
pub(super) enum Op {
    Entries(Entries),
    Vote(Vote, Done),
    Truncate(Option<LogId>),
    Purge(LogId),
    /// Nothing to write: answers when everything before it is synced.
    Barrier(Done),
}

/// Where a caller waits.
pub(super) type Done = oneshot::Sender<Result<(), Arc<LogError>>>;

/// Encoded entries of consecutive indexes.
pub(super) struct Entries {
    /// The records, one after the other.
    pub(super) records: Vec<u8>,
    /// Length of each record, bytes.
    pub(super) lengths: Vec<usize>,
    /// Index of the first one.
    pub(super) first_index: u64,
    /// Log id of the last one.
    pub(super) last: LogId,
    /// Ticket of the first one; the others follow.
    pub(super) first_ticket: u64,
    /// With the last part of an append.
    pub(super) callback: Option<IOFlushed<TypeConfig>>,
}

impl Op {
    /// Length of what it writes, bytes; small ones count as much as any of them may take.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Entries(entries) => entries.records.len(),
            _ => CHECKPOINT_BYTES_MAX,
        }
    }

    pub(super) fn entries(&self) -> usize {
        match self {
            Self::Entries(entries) => entries.lengths.len(),
            _ => 0,
        }
    }

    /// Tells whoever waits for it.
    pub(super) fn complete(self, result: Result<(), &Arc<LogError>>) {
        match self {
            Self::Entries(entries) => {
                if let Some(callback) = entries.callback {
                    callback.io_completed(result.map_err(|e| stopped(e).into()));
                }
            }
            Self::Vote(_, done) | Self::Barrier(done) => {
                // Nobody waits where the caller was cancelled.
                let _ = done.send(result.map_err(Arc::clone));
            }
            Self::Truncate(_) | Self::Purge(_) => {}
        }
    }
}

/// The error of a call after a fault.
pub(super) fn stopped(fault: &Arc<LogError>) -> LogError {
    LogError::Stopped(Arc::clone(fault))
}

/// What the writer waits for. To wake it is a system call and two switches of threads, so it is left
/// alone where it looks for more by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waits {
    /// For nothing: it works, and looks for more before it waits.
    #[default]
    No,
    /// For work, or until the log has been silent for long enough to be sealed.
    OrSeals,
    /// For work. Everything is sealed, and it will not look again.
    Rests,
}

/// How the writer keeps up with what it is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogHealth {
    /// How long the oldest write has waited for its sync; none if nothing waits.
    pub oldest_unsynced: Option<Duration>,
    /// So much waits that nothing more should be given to it.
    pub is_backlogged: bool,
    /// What the disk said that has no room for the next segment.
    pub no_room: Option<String>,
}

/// The log as readers see it: with everything that was asked for, synced or not.
#[derive(Default)]
pub(super) struct State {
    pub(super) tip: Tip,
    /// Entries that a segment holds.
    pub(super) index: Index,
    /// Entries that no segment holds yet, and the latest others.
    pub(super) cache: Cache,
    pub(super) segments: BTreeMap<u64, Arc<Segment>>,
    pub(super) queue: VecDeque<Op>,
    pub(super) queue_bytes: usize,
    pub(super) queue_entries: usize,
    pub(super) next_ticket: u64,
    /// `tip.committed` is not in a segment yet.
    pub(super) committed_is_new: bool,
    /// No calls any more; the writer ends once the queue is empty.
    pub(super) closing: bool,
    pub(super) writer_waits: Waits,
    /// When the oldest of what is queued came.
    pub(super) queued_since: Option<Instant>,
    /// When the oldest of what the writer is writing came.
    pub(super) writing_since: Option<Instant>,
    /// What the disk said that has no room for the next segment.
    pub(super) no_room: Option<String>,
    pub(super) fault: Option<Arc<LogError>>,
}

impl State {
    /// Refuses calls after a fault or a close.
    pub(super) fn usable(&self) -> Result<(), LogError> {
        match (&self.fault, self.closing) {
            (Some(fault), _) => Err(stopped(fault)),
            (None, true) => Err(LogError::Closed),
            (None, false) => Ok(()),
        }
    }

    /// Queues `op`.
    pub(super) fn push(&mut self, op: Op) {
        self.queued_since.get_or_insert_with(Instant::now);
        self.queue_bytes += op.bytes();
        self.queue_entries += op.entries();
        self.queue.push_back(op);
    }

    /// How the writer keeps up.
    pub(super) fn health(&self, options: &LogOptions) -> LogHealth {
        let since = self.writing_since.or(self.queued_since);
        LogHealth {
            oldest_unsynced: since.map(|since| since.elapsed()),
            is_backlogged: self.queue_entries >= options.backlog_entries()
                || self.queue_bytes >= options.backlog_bytes(),
            no_room: self.no_room.clone(),
        }
    }

    /// Takes entries after `after` out of sight.
    pub(super) fn truncate_after(&mut self, after: Option<LogId>) {
        if self.tip.truncate_after(after) {
            let from = next_index(self.tip.last);
            self.cache.truncate_from(from);
            self.index.truncate_from(from);
        }
    }

    /// Takes entries up to `up_to` out of sight.
    pub(super) fn purge(&mut self, up_to: LogId) -> bool {
        let purged = self.tip.purge(up_to);
        if purged {
            self.cache.drop_below(up_to.index + 1);
            self.index.drop_below(up_to.index + 1);
        }
        purged
    }

    /// Notes where an entry lies, unless it is out of sight by now.
    ///
    /// An entry that no segment holds is in the cache for as long as it is in sight, so the
    /// ticket there decides; see test `a_truncated_entry_is_never_located`.
    pub(super) fn locate(&mut self, index: u64, ticket: u64, location: Location) {
        if self.cache.holds(index, ticket) {
            self.index.push(index, location);
        }
    }

    /// Index of the first entry that is there, and the one after the last.
    pub(super) fn range(&self) -> (u64, u64) {
        let end = next_index(self.tip.last);
        let first = self
            .index
            .first_index()
            .or_else(|| self.cache.first_index());
        (first.unwrap_or(end), end)
    }
}

/// Counters since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Frames written; each is one batch.
    pub frames: u64,
    /// Syncs of segments.
    pub syncs: u64,
    /// Bytes of frames written.
    pub bytes: u64,
    /// Entries written.
    pub entries: u64,
}

#[derive(Debug, Default)]
struct Counters {
    frames: AtomicU64,
    syncs: AtomicU64,
    bytes: AtomicU64,
    entries: AtomicU64,
}

/// See the module.
pub(super) struct Shared {
    pub(super) options: LogOptions,
    state: Mutex<State>,
    /// The writer waits here for work.
    pub(super) work: Condvar,
    /// Appends wait here for space in the queue.
    pub(super) space: Notify,
    fault: watch::Sender<Option<Arc<LogError>>>,
    counters: Counters,
}

impl Shared {
    pub(super) fn new(options: LogOptions, state: State) -> Self {
        Self {
            options,
            state: Mutex::new(state),
            work: Condvar::new(),
            space: Notify::new(),
            fault: watch::Sender::new(None),
            counters: Counters::default(),
        }
    }

    /// The state. A thread that panicked while it held it also reports a fault, which stops
    /// every later call.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a change of the state that the writer is to see now, if what it waits for is that much.
    pub(super) fn wake_writer(&self, state: MutexGuard<'_, State>, if_it_waits: Waits) {
        let wakes = state.writer_waits >= if_it_waits;
        drop(state);
        if wakes {
            self.work.notify_one();
        }
    }

    /// Stops the log for good, and tells everybody. The first fault counts.
    pub(super) fn fail(&self, error: LogError) -> Arc<LogError> {
        let mut state = self.lock();
        let fault = Arc::clone(state.fault.get_or_insert_with(|| Arc::new(error)));
        let waiting = std::mem::take(&mut state.queue);
        drop(state);
        self.fault
            .send_if_modified(|seen| seen.is_none() && seen.replace(Arc::clone(&fault)).is_none());
        for op in waiting {
            op.complete(Err(&fault));
        }
        self.space.notify_waiters();
        self.work.notify_all();
        fault
    }

    /// Sees the fault that stops the log.
    pub(super) fn watch_fault(&self) -> watch::Receiver<Option<Arc<LogError>>> {
        self.fault.subscribe()
    }

    /// Counts a frame.
    pub(super) fn count(&self, bytes: u64, entries: u64) {
        self.counters.frames.fetch_add(1, Ordering::Relaxed);
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.counters.entries.fetch_add(entries, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> LogStats {
        LogStats {
            frames: self.counters.frames.load(Ordering::Relaxed),
            syncs: self.counters.syncs.load(Ordering::Relaxed),
            bytes: self.counters.bytes.load(Ordering::Relaxed),
            entries: self.counters.entries.load(Ordering::Relaxed),
        }
    }
}
