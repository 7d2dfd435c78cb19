//! The log's limits.

use std::time::Duration;

use super::error::LogError;
use super::frame::{CHECKPOINT_BYTES_MAX, FRAME_ALIGN_BYTES, FRAME_HEADER_BYTES};
use super::segment::SEGMENT_HEADER_BYTES;

/// Size of a segment, bytes. A node's log takes at least two of them on the disk, and gives space
/// back one at a time.
pub const SEGMENT_BYTES: u64 = 32 << 20;
/// Largest segment: offsets in it are 32 bits.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Smallest segment, for tests.
pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// Most bytes in one frame, unless a single entry is larger.
pub const BATCH_BYTES_MAX: usize = 4 << 20;
/// Appends wait while this many entries are queued.
pub const QUEUE_ENTRIES_MAX: usize = 65_536;
/// Appends wait while this many bytes are queued.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Whoever may refuse gives nothing more to a log in which this part of the queue is taken: an append
/// that waits for the queue keeps Raft from everything else.
const BACKLOG_PART: usize = 4;
/// Bytes of entries kept in memory that are in a segment already.
pub const CACHE_BYTES_MAX: usize = 4 << 20;
/// A read that may answer less answers at most this many bytes, unless one entry is larger.
pub const READ_BYTES_MAX: usize = 1 << 20;
/// A read that may answer less answers at most this many entries.
pub const READ_ENTRIES_MAX: u64 = 4_096;
/// A pause of this length seals the log, milliseconds.
pub const IDLE_SEAL_MS: u64 = 200;
/// The watermark is synced at least this often while the log is written, milliseconds.
pub const WATERMARK_SYNC_MS: u64 = 1_000;

/// The log's limits. [`LogOptions::default`] is what a node uses.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Size of new segments in bytes, [`SEGMENT_BYTES_MIN`] ..= [`SEGMENT_BYTES_MAX`], a multiple
    /// of 4096.
    pub segment_bytes: u64,
    /// See [`BATCH_BYTES_MAX`]; at least 1, and with a frame's overhead at most a segment.
    pub batch_bytes_max: usize,
    /// See [`QUEUE_ENTRIES_MAX`]; at least 1.
    pub queue_entries_max: usize,
    /// See [`QUEUE_BYTES_MAX`]; at least 1.
    pub queue_bytes_max: usize,
    /// See [`CACHE_BYTES_MAX`]; 0 keeps only what no segment holds yet.
    pub cache_bytes_max: usize,
    /// See [`READ_BYTES_MAX`]; at least 1.
    pub read_bytes_max: usize,
    /// See [`IDLE_SEAL_MS`]; none seals only when the log is closed.
    pub idle_seal: Option<Duration>,
    /// See [`WATERMARK_SYNC_MS`].
    pub watermark_sync: Duration,
    /// Refuse a folder without a log: set it where the node is known to have had one, so that a
    /// log folder that vanished is not taken for a new one.
    pub must_exist: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            batch_bytes_max: BATCH_BYTES_MAX,
            queue_entries_max: QUEUE_ENTRIES_MAX,
            queue_bytes_max: QUEUE_BYTES_MAX,
            cache_bytes_max: CACHE_BYTES_MAX,
            read_bytes_max: READ_BYTES_MAX,
            idle_seal: Some(Duration::from_millis(IDLE_SEAL_MS)),
            watermark_sync: Duration::from_millis(WATERMARK_SYNC_MS),
            must_exist: false,
        }
    }
}

impl LogOptions {
    /// Longest record that fits a segment, bytes.
    pub(super) fn record_bytes_max(&self) -> usize {
        // The frame of a batch also carries what the writer adds to it: a checkpoint, a committed
        // log id, a vote; none of them is longer than a checkpoint.
        let overhead = FRAME_HEADER_BYTES + FRAME_ALIGN_BYTES + 2 * CHECKPOINT_BYTES_MAX;
        let room = self.segment_bytes - SEGMENT_HEADER_BYTES;
        usize::try_from(room).unwrap_or(usize::MAX) - overhead
    }

    /// Entries that are queued when nothing more should be given to the log.
    pub(super) fn backlog_entries(&self) -> usize {
        (self.queue_entries_max / BACKLOG_PART).max(1)
    }

    /// The same in bytes.
    pub(super) fn backlog_bytes(&self) -> usize {
        (self.queue_bytes_max / BACKLOG_PART).max(1)
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first option that is out of its range.
    pub(super) fn check(&self) -> Result<(), LogError> {
        let whole = self.segment_bytes.is_multiple_of(SEGMENT_HEADER_BYTES);
        let sizes = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if !sizes.contains(&self.segment_bytes) || !whole {
            return Err(LogError::Options {
                option: "segment_bytes",
                value: self.segment_bytes,
                range: format!(
                    "a multiple of {SEGMENT_HEADER_BYTES}, from {SEGMENT_BYTES_MIN} to \
                     {SEGMENT_BYTES_MAX}"
                ),
            });
        }
        let record_bytes_max = self.record_bytes_max();
        let ranges = [
            ("batch_bytes_max", self.batch_bytes_max, record_bytes_max),
            ("queue_entries_max", self.queue_entries_max, usize::MAX),
            ("queue_bytes_max", self.queue_bytes_max, usize::MAX),
            ("read_bytes_max", self.read_bytes_max, usize::MAX),
        ];
        for (option, value, max) in ranges {
            if !(1..=max).contains(&value) {
                return Err(LogError::Options {
                    option,
                    value: value as u64,
                    range: format!("from 1 to {max}"),
                });
            }
        }
        Ok(())
    }
}
