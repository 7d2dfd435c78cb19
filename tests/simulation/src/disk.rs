//! A simulated disk with one log on it: slow, and forgetful about what was not synced.
//!
//! Three images of the log: what is queued in the process (lost with it), what was written (kept by
//! the system when the process dies, perhaps lost with the power), and what was synced (never
//! lost). A power cut keeps a prefix of what was written and not synced: the real log
//! (`engine/src/storage/log`) cuts its torn tail at a whole frame, which is such a prefix, and its
//! own tests show that it does.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raft3d_engine::raft::types::{Entry, LogId, Vote};

use crate::random::Random;

/// Longest a sync takes on a healthy disk, in milliseconds.
const SYNC_MS_MAX: u64 = 4;

/// One change of a log.
#[derive(Clone, Debug)]
pub enum Write {
    /// Entries at the end.
    Entries(Vec<Entry>),
    /// The vote.
    Vote(Vote),
    /// The end is cut off behind this entry.
    Truncate(Option<LogId>),
    /// The beginning is cut off up to this entry.
    Purge(LogId),
    /// How far entries are committed.
    Committed(Option<LogId>),
}

/// A log at rest.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The vote.
    pub vote: Option<Vote>,
    /// Entries up to here are gone.
    pub purged: Option<LogId>,
    /// A hint for the next start.
    pub committed: Option<LogId>,
    /// By index.
    pub entries: BTreeMap<u64, Entry>,
}

impl Image {
    /// The last entry, or the last one that was purged.
    #[must_use]
    pub fn last(&self) -> Option<LogId> {
        let last = self.entries.values().next_back().map(|e| e.log_id);
        last.or(self.purged)
    }

    /// Makes a change.
    pub fn change(&mut self, write: &Write) {
        match write {
            Write::Entries(entries) => {
                for entry in entries {
                    self.entries.insert(entry.log_id.index, entry.clone());
                }
            }
            Write::Vote(vote) => self.vote = Some(*vote),
            Write::Truncate(after) => {
                let end = after.map_or(0, |id| id.index + 1);
                drop(self.entries.split_off(&end));
                self.committed = self.committed.min(*after);
            }
            Write::Purge(up_to) => {
                self.entries = self.entries.split_off(&(up_to.index + 1));
                self.purged = self.purged.max(Some(*up_to));
            }
            Write::Committed(committed) => self.committed = *committed,
        }
    }
}

/// The disk of one node. Outlives its processes.
#[derive(Debug)]
pub struct SimDisk {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    random: Random,
    synced: Image,
    written: Vec<Write>,
    /// A sync takes so many milliseconds more, at most.
    slow_ms: u64,
    /// There is no room: writes fail, or the syncs behind them.
    full: bool,
    /// One of them has, since the log was opened.
    failed: bool,
    syncs: u64,
}

impl SimDisk {
    /// An empty one.
    #[must_use]
    pub fn new(random: Random) -> Self {
        let inner = Inner {
            random,
            synced: Image::default(),
            written: Vec::new(),
            slow_ms: 0,
            full: false,
            failed: false,
            syncs: 0,
        };
        Self {
            inner: Mutex::new(inner),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes syncs slow: up to `ms` milliseconds more; healthy again with 0.
    pub fn slow_down(&self, ms: u64) {
        self.lock().slow_ms = ms;
    }

    /// Leaves no room for writes, or gives it back.
    pub fn fill(&self, full: bool) {
        self.lock().full = full;
    }

    /// Whether a write or sync of this process has found no room.
    pub fn has_failed(&self) -> bool {
        self.lock().failed
    }

    /// What a process finds that opens the log. What an earlier one wrote and did not sync is
    /// synced first, as the real log's recovery does.
    pub fn open(&self) -> Image {
        let mut inner = self.lock();
        inner.sync();
        inner.failed = false;
        inner.synced.clone()
    }

    /// Hands a batch to the system. Answers how long the sync that follows takes.
    ///
    /// # Errors
    /// The disk is full, and nothing of the batch is written.
    pub fn write(&self, batch: Vec<Write>) -> io::Result<Duration> {
        let mut inner = self.lock();
        // A system that finds room for blocks late says so with the sync.
        if inner.full && inner.random.percent(50) {
            return Err(inner.no_room());
        }
        inner.written.extend(batch);
        let slow_ms = inner.slow_ms;
        let ms = inner.random.below(SYNC_MS_MAX) + inner.random.below(slow_ms + 1);
        Ok(Duration::from_millis(ms))
    }

    /// What was written is on the disk now.
    ///
    /// # Errors
    /// The disk is full, and some of it is there.
    pub fn sync(&self) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.full {
            inner.keep_some();
            return Err(inner.no_room());
        }
        inner.sync();
        inner.syncs += 1;
        Ok(())
    }

    /// Syncs so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// The power goes: of what was written and not synced, a prefix stays. Answers how many writes
    /// were lost, whole or in part.
    pub fn cut_power(&self) -> u64 {
        self.lock().keep_some()
    }

    /// The power goes, and nothing stays of what was written and not synced. Answers how many
    /// writes were lost.
    pub fn lose_unsynced(&self) -> u64 {
        std::mem::take(&mut self.lock().written).len() as u64
    }
}

impl Inner {
    fn sync(&mut self) {
        for write in std::mem::take(&mut self.written) {
            self.synced.change(&write);
        }
    }

    fn no_room(&mut self) -> io::Error {
        self.failed = true;
        io::ErrorKind::StorageFull.into()
    }

    /// Of what was written, a prefix gets to the disk. Answers how many writes do not, whole or in
    /// part.
    fn keep_some(&mut self) -> u64 {
        let mut written = std::mem::take(&mut self.written);
        let whole = self.random.below(written.len() as u64 + 1);
        let lost = written.split_off(usize::try_from(whole).unwrap_or(0));
        for write in &written {
            self.synced.change(write);
        }
        // The first that is not whole may be there in part.
        if let Some(Write::Entries(entries)) = lost.first() {
            let torn = self.random.below(entries.len() as u64);
            let kept = entries.iter().take(usize::try_from(torn).unwrap_or(0));
            let kept = Write::Entries(kept.cloned().collect());
            self.synced.change(&kept);
        }
        lost.len() as u64
    }
}
