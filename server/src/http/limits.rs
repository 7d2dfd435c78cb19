//! Every limit of the HTTP side, with its unit.

use std::time::Duration;

use raft3d_engine::core::limits::MODULE_BYTES_MAX;

/// Largest body of a request, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;
/// Largest body of a module upload, in bytes.
pub(crate) const MODULE_BODY_BYTES_MAX: usize = MODULE_BYTES_MAX;
/// Of a body that is too large, this much is read and thrown away, so that a client that is still
/// sending gets to see the answer; then the connection is closed. In bytes.
pub(crate) const DRAIN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest that a body may take to arrive.
pub(crate) const BODY_READ_TIME_MAX: Duration = if cfg!(test) {
    Duration::from_millis(500)
} else {
    Duration::from_secs(10)
};
/// Longest that a request's head may take to arrive; also the longest idle time of a connection.
pub(crate) const HEAD_READ_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a client may leave what was sent to it unread. An answer that waits holds a connection
/// and, where it is a long list, a view of the state.
pub(crate) const WRITE_STALL_TIME_MAX: Duration = if cfg!(test) {
    Duration::from_millis(500)
} else {
    Duration::from_secs(30)
};
/// Largest head of a request, in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Most connections at once; more wait in the listen queue.
pub(crate) const CONNECTIONS_MAX: usize = 1_024;
/// How long a write may take before its outcome is "unknown".
pub(crate) const WRITE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a read may wait for a leader's confirmation or for a revision.
pub(crate) const READ_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a look may take whether a write under a client's key has its answer already.
pub(crate) const ANSWERED_TIME_MAX: Duration = Duration::from_secs(1);
/// How long open requests may take to finish when the node stops.
pub(crate) const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(5);
/// Entries on a page where the request does not say.
pub(crate) const PAGE_DEFAULT: usize = 100;
/// Most entries on a page.
pub(crate) const PAGE_MAX: usize = 1_000;
