//! Reading entries: the latest from memory, the others from their segments.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use openraft::OptionalSend;
use openraft::storage::RaftLogReader;

use super::error::LogError;
use super::frame::{Kind, RECORD_HEADER_BYTES, RawRecord, record_body_bytes};
use super::options::READ_ENTRIES_MAX;
use super::segment::Segment;
use super::shared::Shared;
use super::window::Window;
use crate::codec::decode_entry;
use crate::raft::types::{Entry, TypeConfig, Vote};

/// How much of a segment is read at once where many entries are asked for, bytes.
const READ_STEP_BYTES_MAX: u64 = 256 << 10;
/// The same where one entry is, bytes.
const READ_STEP_BYTES_MIN: u64 = 4 << 10;

/// Reads the log. All readers and the store see the same entries.
#[derive(Clone)]
pub struct LogReader {
    pub(super) shared: Arc<Shared>,
}

impl Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader").finish_non_exhaustive()
    }
}

/// Where to find one entry, as of the moment of the call. What is in a segment never changes, and
/// a segment that is dropped stays readable for whoever holds it, so a read is atomic.
enum Found {
    Memory(Entry, usize),
    Segment(u64, u32, Arc<Segment>),
}

/// How much a read answers.
#[derive(Clone, Copy)]
struct Limit {
    entries: u64,
    bytes: usize,
}

impl LogReader {
    /// Reads entries of `start..end`, at most `limit` but at least one if there is one.
    async fn read(&self, start: u64, end: u64, limit: Limit) -> Result<Vec<Entry>, LogError> {
        let (found, on_disk) = self.find(start, end, limit)?;
        if !on_disk {
            return self.collect(found, limit);
        }
        let reader = self.clone();
        tokio::task::spawn_blocking(move || reader.collect(found, limit))
            .await
            .map_err(|_| LogError::ThreadEnded { thread: "reader" })?
    }

    fn find(&self, start: u64, end: u64, limit: Limit) -> Result<(Vec<Found>, bool), LogError> {
        let state = self.shared.lock();
        if let Some(fault) = &state.fault {
            return Err(super::shared::stopped(fault));
        }
        let (first, after) = state.range();
        let start = start.max(first);
        let end = end.min(after).min(start.saturating_add(limit.entries));
        let mut found = Vec::with_capacity(usize::try_from(end.saturating_sub(start)).unwrap_or(0));
        let mut on_disk = false;
        let mut bytes_found = 0;
        for index in start..end {
            if bytes_found >= limit.bytes {
                break;
            }
            if let Some((entry, bytes)) = state.cache.get(index) {
                bytes_found += bytes;
                found.push(Found::Memory(entry.clone(), bytes));
                continue;
            }
            on_disk = true;
            let location = state.index.get(index);
            let at = location.and_then(|at| Some((at.offset, state.segments.get(&at.segment)?)));
            let Some((offset, segment)) = at else {
                drop(state);
                return Err(self.fail(LogError::Record(format!("entry {index} is nowhere"))));
            };
            found.push(Found::Segment(index, offset, Arc::clone(segment)));
        }
        Ok((found, on_disk))
    }

    fn collect(&self, found: Vec<Found>, limit: Limit) -> Result<Vec<Entry>, LogError> {
        let mut entries = Vec::with_capacity(found.len());
        let mut bytes_read = 0;
        let mut rest = found.into_iter().peekable();
        while let Some(next) = rest.next_if(|_| bytes_read < limit.bytes) {
            let (index, offset, segment) = match next {
                Found::Memory(entry, bytes) => {
                    bytes_read += bytes;
                    entries.push(entry);
                    continue;
                }
                Found::Segment(index, offset, segment) => (index, offset, segment),
            };
            // One window for all that follows in the same segment.
            let step = match rest.peek() {
                Some(Found::Segment(..)) => READ_STEP_BYTES_MAX,
                _ => READ_STEP_BYTES_MIN,
            };
            let step = step.min(segment.bytes) as usize;
            let mut window = Window::new(&segment, step);
            let mut one = |index, offset, bytes_read: &mut usize| {
                let (entry, bytes) = read_entry(&mut window, index, offset)?;
                *bytes_read += bytes;
                entries.push(entry);
                Ok(())
            };
            one(index, offset, &mut bytes_read).map_err(|e| self.fail(e))?;
            while bytes_read < limit.bytes
                && let Some(Found::Segment(index, offset, _)) = rest.next_if(
                    |next| matches!(next, Found::Segment(_, _, s) if s.ordinal == segment.ordinal),
                )
            {
                one(index, offset, &mut bytes_read).map_err(|e| self.fail(e))?;
            }
        }
        Ok(entries)
    }

    /// An entry that cannot be read any more is a fault: this replica has lost acknowledged data.
    fn fail(&self, error: LogError) -> LogError {
        super::shared::stopped(&self.shared.fail(error))
    }

    fn all() -> Limit {
        Limit {
            entries: u64::MAX,
            bytes: usize::MAX,
        }
    }

    fn some(&self) -> Limit {
        Limit {
            entries: READ_ENTRIES_MAX,
            bytes: self.shared.options.read_bytes_max,
        }
    }
}

/// Reads the entry whose record stands at `offset`, and the record's length in bytes.
fn read_entry(
    window: &mut Window<'_>,
    index: u64,
    offset: u32,
) -> Result<(Entry, usize), LogError> {
    let path = window.segment().path.clone();
    let damaged = |detail: &str| LogError::Damaged {
        path: path.clone(),
        offset: u64::from(offset),
        detail: format!("entry {index} cannot be read: {detail}"),
    };
    let header = window.at(u64::from(offset), RECORD_HEADER_BYTES)?;
    let header = header
        .first_chunk()
        .ok_or_else(|| damaged("it is cut off"))?;
    let record_bytes = RECORD_HEADER_BYTES + record_body_bytes(header);
    let bytes = window.at(u64::from(offset), record_bytes)?;
    let (record, _) = RawRecord::split(bytes).map_err(damaged)?;
    let entry = decode_entry(&Bytes::copy_from_slice(record.body))?;
    if record.kind != Kind::Entry || entry.log_id.index != index {
        return Err(damaged("another record is in its place"));
    }
    Ok((entry, record_bytes))
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (start, end) = bounds(&range);
        Ok(self.read(start, end, Self::all()).await?)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.read(start, end, self.some()).await?)
    }

    /// Reads ahead by one limited read at a time, so that applying a long backlog does not bring
    /// all of it into memory. The entries are committed: they do not change meanwhile.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let reader = self.clone();
        let parts = stream::unfold(Some(start), move |next| {
            let reader = reader.clone();
            async move {
                let start = next.filter(|start| *start < end)?;
                let part = reader.read(start, end, reader.some()).await;
                match part {
                    Ok(entries) => {
                        let next = entries.last().map(|entry| entry.log_id.index + 1)?;
                        let items: Vec<_> = entries.into_iter().map(Ok).collect();
                        Some((stream::iter(items), Some(next)))
                    }
                    Err(error) => Some((stream::iter(vec![Err(error.into())]), None)),
                }
            }
        });
        Box::pin(futures_util::StreamExt::flatten(parts))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let state = self.shared.lock();
        if let Some(fault) = &state.fault {
            return Err(super::shared::stopped(fault).into());
        }
        Ok(state.tip.vote)
    }
}
