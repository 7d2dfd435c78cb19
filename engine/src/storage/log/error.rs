//! Why the log cannot go on. Every message says what to do.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::bounds::OutOfBounds;
use crate::codec::CodecError;
use crate::raft::types::LogId;
use crate::storage::newer::NewerFormat;

/// What follows after acknowledged data was lost: this replica must not vote with a shorter log.
const REJOIN: &str = "this node must not vote with a shorter log: remove this member from the \
    cluster, empty its data folder and let it join again, which gives it a new id";

/// Why the log could not be opened, or had to stop.
///
/// Every variant but [`LogError::Options`], [`LogError::EntryTooLarge`], [`LogError::NotNext`] and
/// [`LogError::Closed`] is a fault of this machine: the process must stop serving.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// A value of [`LogOptions`](super::LogOptions) is out of its range.
    #[error("log option {option} is {value}; it must be {range}")]
    Options {
        /// Name of the option.
        option: &'static str,
        /// What it is set to.
        value: u64,
        /// What is allowed.
        range: String,
    },
    /// A file operation failed. After a failed write or sync nobody knows what is on the disk
    /// (Rebello et al., "Can Applications Recover from fsync Failures?", 2020), so it is never
    /// tried again.
    #[error(
        "cannot {what} {path}: {error}; check the disk (space, health, permissions) and start \
         the node again: it recovers by itself what had been synced",
        path = path.display()
    )]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The log was made by a later version.
    #[error(transparent)]
    Newer(#[from] NewerFormat),
    /// The log was made by an earlier version.
    #[error(
        "{path} has log format {found} and this program knows format {known} only: start it with \
         the program that wrote it",
        path = path.display()
    )]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Bytes that were synced are not what they were.
    #[error(
        "{path} is damaged at byte {offset}: {detail}; {REJOIN}",
        path = path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        detail: String,
    },
    /// A segment file is not there.
    #[error("{path} is missing: {detail}; {REJOIN}", path = path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
        /// How that is known.
        detail: String,
    },
    /// The log ends before what the watermark says was synced.
    #[error(
        "acknowledged data was lost: the log ends at frame {found}, and frame {expected} had been \
         synced (last entry then: {last}); {REJOIN}"
    )]
    Lost {
        /// Sequence number of the last frame that is there.
        found: u64,
        /// Sequence number of the last frame that was synced.
        expected: u64,
        /// Last log id that was synced.
        last: String,
    },
    /// An entry is larger than a segment.
    #[error("log entry {log_id} is {bytes} bytes long; the limit is {limit} bytes")]
    EntryTooLarge {
        /// Which entry.
        log_id: Box<LogId>,
        /// Encoded length, bytes.
        bytes: usize,
        /// Limit, bytes.
        limit: usize,
    },
    /// An entry that this log could not read again.
    #[error("an entry is not written: {0}; this is a defect, report it")]
    OutOfBounds(#[from] OutOfBounds),
    /// A call that would leave a hole, or that touches what was purged.
    #[error("{what} at {at} does not fit a log that ends at {last}; this is a defect, report it")]
    NotNext {
        /// What was asked for.
        what: &'static str,
        /// Where.
        at: String,
        /// Where the log ends.
        last: String,
    },
    /// Bytes with a right checksum that say nothing.
    #[error("a record of the log cannot be read: {0}; this is a defect, report it")]
    Record(String),
    /// The log was closed.
    #[error("the log is closed: this node is shutting down")]
    Closed,
    /// The writer thread ended without saying why.
    #[error("the log's {thread} thread ended unexpectedly; start the node again and report it")]
    ThreadEnded {
        /// Which thread.
        thread: &'static str,
    },
    /// An earlier fault; nothing is served after it.
    #[error("the log stopped earlier: {0}")]
    Stopped(std::sync::Arc<LogError>),
}

impl LogError {
    /// The log is of another format than `known`.
    pub(super) fn other_format(path: &Path, found: u32, known: u32) -> Self {
        let path = path.to_owned();
        if found > known {
            return Self::Newer(NewerFormat { path, found, known });
        }
        Self::Format { path, found, known }
    }

    /// Whether another version of this program is to be run on the folder.
    #[must_use]
    pub const fn is_of_other_version(&self) -> bool {
        matches!(self, Self::Newer(_) | Self::Format { .. })
    }

    /// For `map_err` on a file operation.
    pub(super) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { what, path, error }
    }
}

impl From<CodecError> for LogError {
    fn from(error: CodecError) -> Self {
        Self::Record(error.to_string())
    }
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        Self::other(error)
    }
}
