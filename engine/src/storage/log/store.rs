//! The log as openraft sees it.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use tokio::sync::{oneshot, watch};

use super::disk::{Disk, RealDisk};
use super::error::LogError;
use super::frame::put_entry;
use super::options::LogOptions;
use super::preparer::Preparer;
use super::reader::LogReader;
use super::recovery::{Recovered, recover};
use super::shared::{Entries, LogHealth, LogStats, Op, Shared, State, Waits, stopped};
use super::tip::next_index;
use super::writer::Writer;
use crate::bounds;
use crate::raft::types::{Entry, LogId, TypeConfig, Vote};

/// The log. Cheap to clone; all clones are the same log. It is closed with [`LogStore::close`], or
/// when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct LogStore {
    handle: Arc<Handle>,
}

/// Closes the log when it is dropped.
struct Handle {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore").finish_non_exhaustive()
    }
}

impl Handle {
    /// Lets the writer write what is queued, seal and end, and waits for it.
    fn close(&self) -> Result<(), LogError> {
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
        self.shared.space.notify_waiters();
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // A panic of the writer shows as a fault.
        drop(writer.map(JoinHandle::join));
        match &self.shared.lock().fault {
            Some(fault) => Err(stopped(fault)),
            None => Ok(()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the log was not closed cleanly");
        }
    }
}

impl LogStore {
    /// Opens the log in `dir`, or makes one where there is none. Reads all of it, so it blocks:
    /// about a second for each gigabyte. No other process may have it open.
    ///
    /// # Errors
    /// [`LogError::Lost`], [`LogError::Damaged`] and [`LogError::Missing`]: this replica must not
    /// serve; nothing was changed on the disk. For the others see [`LogError`].
    pub fn open(dir: &Path, options: LogOptions) -> Result<Self, LogError> {
        Self::open_on(dir, options, Arc::new(RealDisk))
    }

    /// The same on another [`Disk`], for tests.
    ///
    /// # Errors
    /// As [`LogStore::open`].
    pub fn open_on(dir: &Path, options: LogOptions, disk: Arc<dyn Disk>) -> Result<Self, LogError> {
        options.check()?;
        let mut recovered = recover(dir, &options, &disk)?;
        tracing::info!(
            frames = recovered.sequence,
            segments = recovered.segments.len(),
            last = next_index(recovered.tip.last).saturating_sub(1),
            "the log is open"
        );
        if recovered.torn_bytes > 0 {
            let bytes = recovered.torn_bytes;
            tracing::info!(bytes, "cut off a write that was never synced");
        }
        let shared = Arc::new(Shared::new(options, visible(&mut recovered)));
        let prepared = std::mem::take(&mut recovered.prepared);
        let next = recovered.active.ordinal + 1;
        let preparer = Preparer::spawn(dir.to_owned(), Arc::clone(&shared), prepared, next)?;
        let writer = Writer::new(Arc::clone(&shared), disk, recovered, preparer).spawn()?;
        Ok(Self {
            handle: Arc::new(Handle {
                shared,
                writer: Mutex::new(Some(writer)),
            }),
        })
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// A reader.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader {
            shared: Arc::clone(self.shared()),
        }
    }

    /// Tells of the fault that stopped the log, once there is one. The node must then stop: nothing
    /// is written, acknowledged or read any more.
    #[must_use]
    pub fn fault(&self) -> watch::Receiver<Option<Arc<LogError>>> {
        self.shared().watch_fault()
    }

    /// How the writer keeps up.
    #[must_use]
    pub fn health(&self) -> LogHealth {
        let shared = self.shared();
        shared.lock().health(&shared.options)
    }

    /// Counters since the log was opened.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.shared().stats()
    }

    /// Returns once everything that was asked for before is synced.
    ///
    /// # Errors
    /// The log stopped.
    pub async fn synced(&self) -> Result<(), LogError> {
        let (done, synced) = oneshot::channel();
        self.queue(Op::Barrier(done), |_| true)?;
        wait(synced).await
    }

    /// Writes what is queued, seals the log, syncs it and its watermark, and ends its threads.
    /// Every later call fails, but for reads. A second close changes nothing.
    ///
    /// # Errors
    /// The log had stopped, or stopped over this.
    pub async fn close(&self) -> Result<(), LogError> {
        let handle = Arc::clone(&self.handle);
        tokio::task::spawn_blocking(move || handle.close())
            .await
            .map_err(|_| LogError::ThreadEnded { thread: "closing" })?
    }

    /// Lets `change` make `op` visible, and queues it unless that says that it changes nothing.
    fn queue(&self, op: Op, change: impl FnOnce(&mut State) -> bool) -> Result<(), LogError> {
        let mut state = self.shared().lock();
        state.usable()?;
        if change(&mut state) {
            state.push(op);
            self.shared().wake_writer(state, Waits::OrSeals);
        }
        Ok(())
    }

    /// Waits until the queue has space.
    async fn space(&self) -> Result<(), LogError> {
        let shared = self.shared();
        loop {
            let space = shared.space.notified();
            tokio::pin!(space);
            space.as_mut().enable();
            {
                let state = shared.lock();
                state.usable()?;
                if state.queue_entries < shared.options.queue_entries_max
                    && state.queue_bytes < shared.options.queue_bytes_max
                {
                    return Ok(());
                }
            }
            space.await;
        }
    }

    /// Encodes entries into parts of at most a batch.
    fn encode(&self, entries: &[Entry]) -> Result<Vec<Entries>, LogError> {
        let options = &self.shared().options;
        let mut parts: Vec<Entries> = Vec::new();
        for entry in entries {
            bounds::entry(entry)?;
            let mut record = Vec::new();
            let length = put_entry(&mut record, entry);
            if length > options.record_bytes_max() {
                return Err(LogError::EntryTooLarge {
                    log_id: Box::new(entry.log_id),
                    bytes: length,
                    limit: options.record_bytes_max(),
                });
            }
            match parts.last_mut() {
                Some(part) if part.records.len() + length <= options.batch_bytes_max => {
                    part.records.append(&mut record);
                    part.lengths.push(length);
                    part.last = entry.log_id;
                }
                _ => parts.push(Entries {
                    records: record,
                    lengths: vec![length],
                    first_index: entry.log_id.index,
                    last: entry.log_id,
                    first_ticket: 0,
                    callback: None,
                }),
            }
        }
        Ok(parts)
    }

    /// Makes entries visible and queues them.
    fn push(
        &self,
        entries: Vec<Entry>,
        mut parts: Vec<Entries>,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), LogError> {
        let mut state = self.shared().lock();
        state.usable()?;
        let mut next = state.tip.next_index();
        for entry in &entries {
            let index = entry.log_id.index;
            if next.is_some_and(|next| next != index) {
                return Err(not_next("an append", Some(entry.log_id), &state));
            }
            next = Some(index + 1);
        }
        let mut ticket = state.next_ticket;
        for part in &mut parts {
            part.first_ticket = ticket;
            ticket += part.lengths.len() as u64;
        }
        let lengths = parts.iter().flat_map(|part| &part.lengths);
        for ((entry, length), ticket) in entries.into_iter().zip(lengths).zip(state.next_ticket..) {
            state.tip.last = Some(entry.log_id);
            state.cache.push(entry, *length, ticket);
        }
        state.next_ticket = ticket;
        if let Some(part) = parts.last_mut() {
            part.callback = Some(callback);
        }
        for part in parts {
            state.push(Op::Entries(part));
        }
        self.shared().wake_writer(state, Waits::OrSeals);
        Ok(())
    }
}

/// What readers see of a log that was just opened.
fn visible(recovered: &mut Recovered) -> State {
    State {
        tip: recovered.tip.clone(),
        index: std::mem::take(&mut recovered.index),
        segments: recovered.segments.clone(),
        ..State::default()
    }
}

async fn wait(done: oneshot::Receiver<Result<(), Arc<LogError>>>) -> Result<(), LogError> {
    match done.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(fault)) => Err(stopped(&fault)),
        Err(_) => Err(LogError::ThreadEnded { thread: "writer" }),
    }
}

fn not_next(what: &'static str, at: Option<LogId>, state: &State) -> LogError {
    let show = |id: Option<LogId>| id.map_or("none".to_owned(), |id| id.to_string());
    LogError::NotNext {
        what,
        at: show(at),
        last: show(state.tip.last),
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.shared().lock();
        state.usable()?;
        Ok(LogState {
            last_purged_log_id: state.tip.purged,
            last_log_id: state.tip.last,
        })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, synced) = oneshot::channel();
        self.queue(Op::Vote(*vote, done), |state| {
            state.tip.vote = Some(*vote);
            true
        })?;
        Ok(wait(synced).await?)
    }

    /// Returns at once: the committed log id is a hint for the next start and is written with the
    /// next batch, or when nothing has come for [`LogOptions::idle_seal`].
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut state = self.shared().lock();
        state.usable()?;
        let before = state.tip.committed;
        state.tip.commit(committed);
        if state.tip.committed != before {
            state.committed_is_new = true;
            self.shared().wake_writer(state, Waits::Rests);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let state = self.shared().lock();
        state.usable()?;
        Ok(state.tip.committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        if entries.is_empty() {
            callback.io_completed(Ok(()));
            return Ok(());
        }
        let parts = self.encode(&entries)?;
        self.space().await?;
        Ok(self.push(entries, parts, callback)?)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let mut refused = None;
        self.queue(Op::Truncate(last_log_id), |state| {
            if next_index(last_log_id) < next_index(state.tip.purged) {
                refused = Some(not_next("a truncation", last_log_id, state));
                return false;
            }
            let end = next_index(state.tip.last);
            state.truncate_after(last_log_id);
            end != next_index(state.tip.last)
        })?;
        match refused {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        Ok(self.queue(Op::Purge(log_id), |state| state.purge(log_id))?)
    }
}
