//! Every limit of the HTTP side, with its unit.

use std::time::Duration;

use raft3d_engine::core::limits::MODULE_BYTES_MAX;
use raft3d_engine::raft::node::WRITES_IN_FLIGHT_MAX;

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
/// Most connections at once. Who comes then takes the place of another one (`places.rs`).
pub(crate) const CONNECTIONS_MAX: usize = if cfg!(test) { 16 } else { 1_024 };
/// Most connections from one address.
pub(crate) const CONNECTIONS_OF_ONE_MAX: usize = CONNECTIONS_MAX / 8 * 7;
/// A connection that was idle for so long may go for a new one of its own address.
pub(crate) const CONNECTION_IDLE_TIME_MIN: Duration = if cfg!(test) {
    Duration::from_millis(100)
} else {
    Duration::from_secs(1)
};
/// Connections that are told that they are refused, at once; more are closed without a word.
pub(crate) const REFUSALS_MAX: usize = 64;
/// How long a refused client may take to read that.
pub(crate) const REFUSAL_TIME_MAX: Duration = Duration::from_secs(1);
/// Requests from one address that have or await a turn at one kind of rare work.
pub(crate) const TURNS_OF_ONE_MAX: usize = 4;
/// Longest that a dry run waits for its turn.
pub(crate) const DRY_RUN_WAIT_MAX: Duration = Duration::from_secs(2);
/// Longest that an upload waits for its turn: those before it are compiled.
pub(crate) const UPLOAD_WAIT_MAX: Duration = Duration::from_secs(30);
// HTTP/1.1 has one request under way on a connection: whoever gets a connection finds a place for its
// write.
const _: () = assert!(CONNECTIONS_MAX <= WRITES_IN_FLIGHT_MAX);
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
