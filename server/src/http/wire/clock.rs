//! A node's clock beside the log's, in JSON.

use raft3d_engine::core::Revision;
use raft3d_engine::core::state::meta::ClockAdjustment;
use raft3d_engine::raft::NodeId;
use raft3d_engine::raft::api::ClockStatus;
use serde::Serialize;
use serde_json::{Value, json};

use super::time::TimeOut;
use crate::http::fields::{Door, Fields};
use crate::http::problem::Problem;

/// A node's clock beside the log's.
#[derive(Debug, Serialize)]
pub(crate) struct ClockV1<'a> {
    /// Log index of the last adjustment; 0 before the first one.
    revision: u64,
    offset_ms: u64,
    log_time: TimeOut,
    clock: TimeOut,
    /// By how much log time is ahead of clock and offset; 0 if it is behind.
    log_time_ahead_ms: u64,
    evidence: &'static str,
    /// Why the node stamps no entries.
    waits: Option<&'a str>,
}

impl<'a> From<&'a ClockStatus> for ClockV1<'a> {
    fn from(status: &'a ClockStatus) -> Self {
        Self {
            revision: status.adjusted_at.0,
            offset_ms: status.offset_ms,
            log_time: TimeOut(status.log_time_ms),
            clock: TimeOut(status.clock_ms),
            log_time_ahead_ms: status.log_time_ahead_ms(),
            evidence: status.evidence.name(),
            waits: status.waits.as_deref(),
        }
    }
}

/// The same, with the last adjustment: what `GET /api/v1/cluster/clock` answers.
#[derive(Debug, Serialize)]
pub(crate) struct ClockOut<'a> {
    #[serde(flatten)]
    clock: ClockV1<'a>,
    /// Null before the first one, and while the node cannot read its state.
    last_adjustment: Option<AdjustmentOut<'a>>,
}

/// Who adjusted the clock, when (in log time) and by how much.
#[derive(Debug, Serialize)]
struct AdjustmentOut<'a> {
    revision: u64,
    at: TimeOut,
    by: &'a str,
    by_verified: bool,
    from_offset_ms: u64,
    to_offset_ms: u64,
    reason: Option<&'a str>,
}

impl<'a> ClockOut<'a> {
    pub(crate) fn new(status: &'a ClockStatus, last: Option<&'a ClockAdjustment>) -> Self {
        Self {
            clock: ClockV1::from(status),
            last_adjustment: last.map(|last| AdjustmentOut {
                revision: last.revision.0,
                at: TimeOut(last.at_ms),
                by: &last.by.name,
                by_verified: last.by.verified,
                from_offset_ms: last.from_ms,
                to_offset_ms: last.to_ms,
                reason: last.reason.as_deref(),
            }),
        }
    }
}

/// How an operator wants the clock adjusted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Adjustment {
    /// The offset; left out, log time is to go on from where it stands, or, with `trust_clock`, the
    /// offset stays.
    pub(crate) offset_ms: Option<u64>,
    /// The clock of the node that is asked is right, as with `--trust-clock` at its start.
    pub(crate) trust_clock: bool,
    pub(crate) reason: Option<String>,
}

impl Adjustment {
    /// What is asked for: what the caller saw, and, of a clock that is vouched for, whose it is.
    pub(crate) fn asked(&self, seen: Option<Revision>, node: NodeId) -> Value {
        json!({
            "seen": seen.map(|revision| revision.0),
            "offset_ms": self.offset_ms,
            "trusted": self.trust_clock.then_some(node),
            "reason": self.reason,
        })
    }
}

/// Reads the body that adjusts the clock.
pub(crate) fn read_adjustment(mut body: Fields<'_>) -> Result<Adjustment, Problem> {
    let offset_ms = body.integer("offset_ms", "(milliseconds, 0 or more)")?;
    let trust_clock = body.flag("trust_clock")?;
    let reason = body.text("reason")?;
    body.finish(Door::V1)?;
    Ok(Adjustment {
        offset_ms,
        trust_clock,
        reason,
    })
}
