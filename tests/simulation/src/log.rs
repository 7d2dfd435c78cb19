//! The Raft log of a simulated node: in memory, on a [`SimDisk`].
//!
//! Like the real one (`engine/src/storage/log`): entries are readable at once, one batch is under
//! way at a time, callbacks come after its sync and in order, a vote is answered after its own
//! sync, and truncations and purges keep their place in the queue; a write that fails is the last.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use raft3d_engine::raft::TypeConfig;
use raft3d_engine::raft::log_handle::LogHandle;
use raft3d_engine::raft::types::{Entry, LogId, Vote};
use raft3d_engine::runtime;
use raft3d_engine::sabotage::{Bug, armed};
use raft3d_engine::storage::log::LogError;
use tokio::sync::{Notify, oneshot, watch};

use crate::disk::{Image, SimDisk, Write};

/// Most changes that are written and synced together.
const BATCH_WRITES_MAX: usize = 64;
/// Most entries that one read for replication answers.
const READ_ENTRIES_MAX: u64 = 64;

/// Who waits for a write.
enum Waiter {
    Nobody,
    Append(IOFlushed<TypeConfig>),
    Caller(oneshot::Sender<Result<(), LogError>>),
}

impl Waiter {
    fn tell(self, fault: Option<&Arc<LogError>>) {
        let told = fault.map_or(Ok(()), |fault| Err(LogError::Stopped(Arc::clone(fault))));
        match self {
            Self::Nobody => {}
            Self::Append(callback) => callback.io_completed(told.map_err(io::Error::from)),
            // Whoever gave up does not listen.
            Self::Caller(done) => drop(done.send(told)),
        }
    }
}

struct Op {
    /// None for somebody who only waits for what came before.
    write: Option<Write>,
    waiter: Waiter,
}

#[derive(Default)]
struct State {
    /// What readers see.
    image: Image,
    queue: VecDeque<Op>,
    closed: bool,
}

struct Shared {
    disk: Arc<SimDisk>,
    state: Mutex<State>,
    work: Notify,
    fault: watch::Sender<Option<Arc<LogError>>>,
}

/// The log; all clones are the same.
#[derive(Clone)]
pub(crate) struct SimLog {
    shared: Arc<Shared>,
}

/// Reads it.
#[derive(Clone)]
pub(crate) struct SimReader {
    shared: Arc<Shared>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a change be seen and queues it.
    fn queue(&self, write: Option<Write>, waiter: Waiter) -> Result<(), LogError> {
        let mut state = self.lock();
        if state.closed {
            let fault = self.fault.borrow().clone();
            return Err(fault.map_or(LogError::Closed, LogError::Stopped));
        }
        if let Some(write) = &write {
            state.image.change(write);
        }
        state.queue.push_back(Op { write, waiter });
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Writes, syncs and answers, one batch after the other.
    async fn run_writer(self: Arc<Self>) {
        loop {
            let batch: Vec<Op> = {
                let mut state = self.lock();
                let length = state.queue.len().min(BATCH_WRITES_MAX);
                state.queue.drain(..length).collect()
            };
            if batch.is_empty() {
                self.work.notified().await;
                continue;
            }
            let writes = batch.iter().filter_map(|op| op.write.clone()).collect();
            let fault = self
                .write_and_sync(writes)
                .await
                .err()
                .map(|error| self.fail(error));
            for op in batch {
                op.waiter.tell(fault.as_ref());
            }
            if fault.is_some() {
                return;
            }
        }
    }

    async fn write_and_sync(&self, writes: Vec<Write>) -> io::Result<()> {
        let sync = self.disk.write(writes)?;
        if sync.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(sync).await;
        }
        self.disk.sync()
    }

    /// Stops for good, as the real log does: what waits is told, and nothing more is taken.
    fn fail(&self, error: io::Error) -> Arc<LogError> {
        let fault = Arc::new(LogError::Io {
            what: "write",
            path: "the simulated log".into(),
            error,
        });
        self.fault.send_replace(Some(Arc::clone(&fault)));
        let mut state = self.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.queue);
        drop(state);
        for op in waiting {
            op.waiter.tell(Some(&fault));
        }
        fault
    }

    async fn wait_synced(&self, write: Option<Write>) -> Result<(), LogError> {
        let (done, synced) = oneshot::channel();
        self.queue(write, Waiter::Caller(done))?;
        synced.await.map_err(|_| LogError::Closed)?
    }

    fn read(&self, start: u64, end: u64) -> Vec<Entry> {
        let state = self.lock();
        let range = state.image.entries.range(start..end.max(start));
        range.map(|(_, entry)| entry.clone()).collect()
    }
}

impl SimLog {
    /// Opens the log on that disk.
    pub(crate) fn open(disk: Arc<SimDisk>) -> Self {
        let image = disk.open();
        let shared = Arc::new(Shared {
            disk,
            state: Mutex::new(State {
                image,
                ..State::default()
            }),
            work: Notify::new(),
            fault: watch::Sender::new(None),
        });
        runtime::spawn(Arc::clone(&shared).run_writer());
        Self { shared }
    }
}

impl LogHandle for SimLog {
    fn fault(&self) -> watch::Receiver<Option<Arc<LogError>>> {
        self.shared.fault.subscribe()
    }

    fn bytes_written(&self) -> u64 {
        0
    }

    fn synced(&self) -> BoxFuture<'_, Result<(), LogError>> {
        self.shared.wait_synced(None).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), LogError>> {
        async {
            self.shared.wait_synced(None).await?;
            self.shared.lock().closed = true;
            Ok(())
        }
        .boxed()
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for SimReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (start, end) = bounds(&range);
        Ok(self.shared.read(start, end))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.shared.read(start, end.min(start + READ_ENTRIES_MAX)))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.lock().image.vote)
    }
}

impl RaftLogStorage<TypeConfig> for SimLog {
    type LogReader = SimReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.shared.lock();
        Ok(LogState {
            last_purged_log_id: state.image.purged,
            last_log_id: state.image.last(),
        })
    }

    async fn get_log_reader(&mut self) -> SimReader {
        let shared = Arc::clone(&self.shared);
        SimReader { shared }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if armed(Bug::VoteBeforeSync) {
            return Ok(self
                .shared
                .queue(Some(Write::Vote(*vote)), Waiter::Nobody)?);
        }
        Ok(self.shared.wait_synced(Some(Write::Vote(*vote))).await?)
    }

    /// A hint: nobody waits for it, and a crash may take it.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let write = Write::Committed(committed);
        Ok(self.shared.queue(Some(write), Waiter::Nobody)?)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.lock().image.committed)
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
        let mut next = self.shared.lock().image.last().map(|id| id.index + 1);
        for entry in &entries {
            let index = entry.log_id.index;
            assert!(
                next.is_none_or(|next| next == index),
                "an append at {index} leaves a hole after {next:?}"
            );
            next = Some(index + 1);
        }
        let write = Write::Entries(entries);
        if armed(Bug::ReplyBeforeFsync) {
            self.shared.queue(Some(write), Waiter::Nobody)?;
            callback.io_completed(Ok(()));
            return Ok(());
        }
        Ok(self.shared.queue(Some(write), Waiter::Append(callback))?)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let write = Write::Truncate(last_log_id);
        Ok(self.shared.queue(Some(write), Waiter::Nobody)?)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let write = Write::Purge(log_id);
        Ok(self.shared.queue(Some(write), Waiter::Nobody)?)
    }
}
