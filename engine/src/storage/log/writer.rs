//! The one thread that writes the log.
//!
//! It drains the queue into one frame, writes it with one call, syncs once, and only then
//! completes what the frame holds, in order. The next frame is not begun before: this is what lets
//! recovery tell a torn end from damage. Any error is final: after a failed sync nobody knows what
//! the disk holds, so nothing is tried again and nothing more is acknowledged.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Instant;

use super::disk::Disk;
use super::early;
use super::error::LogError;
use super::frame::{
    FRAME_HEADER_BYTES, finish_frame, frame_bytes, put_checkpoint, put_committed, put_purge,
    put_seal, put_truncate, put_vote,
};
use super::index::Location;
use super::preparer::Preparer;
use super::recovery::Recovered;
use super::segment::Segment;
use super::shared::{Op, Shared, State, Waits};
use super::tip::{Tip, next_index};
use super::watermark::Watermark;
use crate::raft::types::LogId;

/// State of the writer thread: the log as it is on the disk.
pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    preparer: Preparer,
    watermark: Watermark,
    watermark_synced_at: Instant,
    /// The tip as of the last frame.
    tip: Tip,
    /// Highest index of an entry that was ever written to a segment, by ordinal.
    highest: BTreeMap<u64, Option<u64>>,
    first_segment: u64,
    active: Arc<Segment>,
    /// Where the next frame goes, bytes.
    end: u64,
    sequence: u64,
    /// The last frame is one whose loss would lose nothing.
    sealed: bool,
    /// The frame being made; kept so that its memory is used again.
    frame: Vec<u8>,
}

/// What the writer is to do next.
enum Work {
    Batch(Vec<Op>, Option<Option<LogId>>),
    /// Nothing came for a while.
    Idle(Option<Option<LogId>>),
    End,
}

/// What a checkpoint holds: the state before the frame that it begins.
struct Before {
    first_segment: u64,
    tip: Tip,
}

/// What a batch means for the writer beside its bytes.
#[derive(Default)]
struct Effects {
    records: u32,
    entries: u64,
    vote: bool,
    purge: bool,
    /// Index, ticket, and place in the payload, of each entry.
    places: Vec<(u64, u64, usize)>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        disk: Arc<dyn Disk>,
        recovered: Recovered,
        preparer: Preparer,
    ) -> Self {
        Self {
            shared,
            disk,
            preparer,
            watermark: recovered.watermark,
            watermark_synced_at: Instant::now(),
            tip: recovered.tip,
            highest: recovered.highest,
            first_segment: recovered.first_segment,
            active: recovered.active,
            end: recovered.end,
            sequence: recovered.sequence,
            sealed: recovered.sequence == 0,
            frame: Vec::new(),
        }
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn spawn(self) -> Result<thread::JoinHandle<()>, LogError> {
        thread::Builder::new()
            .name("raft-log-writer".to_owned())
            .spawn(move || self.run())
            .map_err(LogError::io("start a thread for", "the log's writer"))
    }

    fn run(mut self) {
        let _guard = EndGuard(Arc::clone(&self.shared));
        loop {
            let done = match self.next() {
                Work::Batch(ops, committed) => self.batch(ops, committed),
                Work::Idle(committed) => self.seal(committed),
                Work::End => return,
            };
            if let Err(error) = done {
                self.shared.fail(error);
                return;
            }
        }
    }

    /// Waits for work.
    fn next(&mut self) -> Work {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        state.writing_since = None;
        loop {
            if state.fault.is_some() {
                return Work::End;
            }
            if !state.queue.is_empty() {
                let ops = drain(&mut state, shared.options.batch_bytes_max);
                let committed = self.take_committed(&mut state, &ops);
                state.writing_since = state.queued_since.take();
                if !state.queue.is_empty() {
                    state.queued_since = Some(Instant::now());
                }
                drop(state);
                shared.space.notify_waiters();
                return Work::Batch(ops, committed);
            }
            let rested = self.sealed && !state.committed_is_new && self.watermark.is_synced();
            if state.closing {
                if rested {
                    return Work::End;
                }
                state.writing_since = Some(Instant::now());
                return Work::Idle(self.take_committed(&mut state, &[]));
            }
            let timed_out;
            (state, timed_out) = match shared.options.idle_seal.filter(|_| !rested) {
                None => {
                    state.writer_waits = Waits::Rests;
                    let waited = shared.work.wait(state);
                    (waited.unwrap_or_else(PoisonError::into_inner), false)
                }
                Some(pause) => {
                    state.writer_waits = Waits::OrSeals;
                    let waited = shared.work.wait_timeout(state, pause);
                    let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    (state, timeout.timed_out())
                }
            };
            state.writer_waits = Waits::No;
            if timed_out && state.queue.is_empty() && state.fault.is_none() {
                state.writing_since = Some(Instant::now());
                return Work::Idle(self.take_committed(&mut state, &[]));
            }
        }
    }

    /// The committed log id, where it is new and the log will reach it with `ops`.
    fn take_committed(&self, state: &mut State, ops: &[Op]) -> Option<Option<LogId>> {
        if !state.committed_is_new {
            return None;
        }
        let end = ops
            .iter()
            .fold(next_index(self.tip.last), |end, op| match op {
                Op::Entries(entries) => next_index(Some(entries.last)),
                Op::Truncate(after) => end.min(next_index(*after)),
                Op::Purge(up_to) => end.max(next_index(Some(*up_to))),
                Op::Vote(..) | Op::Barrier(_) => end,
            });
        if next_index(state.tip.committed) > end {
            return None;
        }
        state.committed_is_new = false;
        Some(state.tip.committed)
    }

    /// Writes, syncs and completes a batch.
    fn batch(
        &mut self,
        mut ops: Vec<Op>,
        committed: Option<Option<LogId>>,
    ) -> Result<(), LogError> {
        early::answer(&mut ops);
        let written = self.write_batch(&ops, committed);
        match written {
            Ok(()) => {
                for op in ops {
                    op.complete(Ok(()));
                }
            }
            Err(error) => {
                let fault = self.shared.fail(error);
                for op in ops {
                    op.complete(Err(&fault));
                }
                return Err(LogError::Stopped(fault));
            }
        }
        self.drop_segments()?;
        if self.watermark_synced_at.elapsed() >= self.shared.options.watermark_sync {
            self.sync_watermark()?;
        }
        Ok(())
    }

    fn write_batch(
        &mut self,
        ops: &[Op],
        committed: Option<Option<LogId>>,
    ) -> Result<(), LogError> {
        let before = self.before();
        let mut effects = self.encode(ops);
        if let Some(committed) = committed {
            put_committed(&mut self.frame, committed.as_ref());
            self.tip.commit(committed);
            effects.records += 1;
        }
        if effects.records == 0 {
            return Ok(());
        }
        self.sealed = false;
        self.write_frame(effects, &before)
    }

    /// Makes the log rest: with a frame behind the last one that matters, and the watermark synced.
    fn seal(&mut self, committed: Option<Option<LogId>>) -> Result<(), LogError> {
        if !self.sealed || committed.is_some() {
            let before = self.before();
            let mut effects = self.encode(&[]);
            if let Some(committed) = committed {
                put_committed(&mut self.frame, committed.as_ref());
                self.tip.commit(committed);
                effects.records += 1;
            }
            put_seal(&mut self.frame);
            effects.records += 1;
            self.write_frame(effects, &before)?;
            self.sealed = true;
        }
        self.sync_watermark()
    }

    /// Begins `self.frame` with the records of `ops`, and brings `self.tip` to after them.
    fn encode(&mut self, ops: &[Op]) -> Effects {
        let mut effects = Effects::default();
        self.frame.clear();
        self.frame.resize(FRAME_HEADER_BYTES, 0);
        for op in ops {
            match op {
                Op::Entries(entries) => {
                    let mut place = self.frame.len() - FRAME_HEADER_BYTES;
                    let numbers = (entries.first_index..).zip(entries.first_ticket..);
                    for ((index, ticket), length) in numbers.zip(&entries.lengths) {
                        effects.places.push((index, ticket, place));
                        place += length;
                    }
                    self.frame.extend_from_slice(&entries.records);
                    effects.records += u32::try_from(entries.lengths.len()).unwrap_or(u32::MAX);
                    effects.entries += entries.lengths.len() as u64;
                    self.tip.last = Some(entries.last);
                }
                Op::Vote(vote, _) => {
                    put_vote(&mut self.frame, vote);
                    effects.records += 1;
                    effects.vote = true;
                    self.tip.vote = Some(*vote);
                }
                Op::Truncate(after) => {
                    put_truncate(&mut self.frame, after.as_ref());
                    effects.records += 1;
                    self.tip.truncate_after(*after);
                }
                Op::Purge(up_to) => {
                    self.first_segment = self.first_needed(*up_to);
                    put_purge(&mut self.frame, self.first_segment, up_to);
                    effects.records += 1;
                    effects.purge = true;
                    self.tip.purge(*up_to);
                }
                Op::Barrier(_) => {}
            }
        }
        effects
    }

    /// Oldest segment that holds an entry after `purged`, or ever held one.
    fn first_needed(&self, purged: LogId) -> u64 {
        let needed = |(_, highest): &(&u64, &Option<u64>)| **highest > Some(purged.index);
        let first = self
            .highest
            .iter()
            .find(needed)
            .map(|(ordinal, _)| *ordinal);
        first.unwrap_or(self.active.ordinal)
    }

    fn before(&self) -> Before {
        Before {
            first_segment: self.first_segment,
            tip: self.tip.clone(),
        }
    }

    /// Writes and syncs `self.frame`.
    fn write_frame(&mut self, mut effects: Effects, before: &Before) -> Result<(), LogError> {
        let payload_bytes = self.frame.len() - FRAME_HEADER_BYTES;
        if self.end + frame_bytes(payload_bytes) as u64 > self.active.bytes {
            self.roll()?;
        }
        let mut shift = FRAME_HEADER_BYTES as u64 + self.end;
        if self.end == super::segment::SEGMENT_HEADER_BYTES {
            shift += self.begin_with_checkpoint(before);
            effects.records += 1;
        }
        self.sequence += 1;
        let salt = self.active.salt;
        finish_frame(
            &mut self.frame,
            self.end,
            self.sequence,
            effects.records,
            &salt,
        );
        let path = &self.active.path;
        let end = self.end + self.frame.len() as u64;
        assert!(end <= self.active.bytes, "a frame fits an empty segment");
        self.disk
            .write_all_at(&self.active.file, path, &self.frame, self.end)
            .map_err(LogError::io("write", path))?;
        self.disk
            .sync_data(&self.active.file, path)
            .map_err(LogError::io("sync", path))?;
        self.end = end;
        self.shared.count(self.frame.len() as u64, effects.entries);
        self.watermark.write(self.sequence, &self.tip)?;
        if effects.vote {
            self.sync_watermark()?;
        }
        self.locate(&effects, shift);
        Ok(())
    }

    /// Puts a checkpoint before the records of `self.frame`. Answers its length, bytes.
    fn begin_with_checkpoint(&mut self, before: &Before) -> u64 {
        let mut checkpoint = Vec::new();
        put_checkpoint(&mut checkpoint, before.first_segment, &before.tip);
        let length = checkpoint.len() as u64;
        self.frame
            .splice(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES, checkpoint);
        length
    }

    /// Goes on in the next segment.
    fn roll(&mut self) -> Result<(), LogError> {
        let next = Arc::new(self.preparer.take(self.active.ordinal + 1)?);
        assert_eq!(
            next.ordinal,
            self.active.ordinal + 1,
            "segments follow one another"
        );
        self.end = super::segment::SEGMENT_HEADER_BYTES;
        self.highest.insert(next.ordinal, None);
        self.active = Arc::clone(&next);
        let mut state = self.shared.lock();
        state.segments.insert(next.ordinal, next);
        state.index.shrink();
        Ok(())
    }

    /// Tells readers where the entries of the frame lie whose payload begins at `shift`.
    fn locate(&mut self, effects: &Effects, shift: u64) {
        if let Some((last, ..)) = effects.places.iter().max() {
            let highest = self.highest.entry(self.active.ordinal).or_default();
            *highest = (*highest).max(Some(*last));
        }
        let mut state = self.shared.lock();
        for (index, ticket, place) in &effects.places {
            let offset = u32::try_from(shift + *place as u64).unwrap_or(u32::MAX);
            let segment = self.active.ordinal;
            state.locate(*index, *ticket, Location { segment, offset });
        }
        let located_end = state.index.end_index().unwrap_or(0);
        let bytes_max = self.shared.options.cache_bytes_max;
        state.cache.evict(bytes_max, located_end);
    }

    /// Removes the segments that the last synced purge made superfluous.
    fn drop_segments(&mut self) -> Result<(), LogError> {
        let oldest = self.highest.keys().next();
        if oldest.is_none_or(|oldest| *oldest >= self.first_segment) {
            return Ok(());
        }
        self.sync_watermark()?;
        self.highest = self.highest.split_off(&self.first_segment);
        let mut state = self.shared.lock();
        let live = state.segments.split_off(&self.first_segment);
        let gone = std::mem::replace(&mut state.segments, live);
        drop(state);
        self.preparer.remove(gone.into_values())
    }

    fn sync_watermark(&mut self) -> Result<(), LogError> {
        self.watermark.sync()?;
        self.watermark_synced_at = Instant::now();
        Ok(())
    }
}

/// Takes ops off the queue: one, and more as long as they fit a batch.
fn drain(state: &mut State, batch_bytes_max: usize) -> Vec<Op> {
    let mut ops = Vec::new();
    let mut bytes = 0;
    while let Some(op) = state.queue.pop_front() {
        if !ops.is_empty() && bytes + op.bytes() > batch_bytes_max {
            state.queue.push_front(op);
            break;
        }
        bytes += op.bytes();
        state.queue_bytes -= op.bytes();
        state.queue_entries -= op.entries();
        ops.push(op);
    }
    ops
}

/// A thread that ends other than by a close is a fault, a panic included.
struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        let closed = {
            let state = self.0.lock();
            state.closing && state.queue.is_empty() && !thread::panicking()
        };
        if !closed {
            self.0.fail(LogError::ThreadEnded { thread: "writer" });
        }
    }
}
