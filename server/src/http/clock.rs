//! `/api/v1/cluster/clock`: this node's clock beside the log's, and the way back where log time lies
//! in the future.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use raft3d_engine::core::command::AdjustClock;
use raft3d_engine::core::state::meta::{self, ClockAdjustment};
use raft3d_engine::core::{Command, Revision};
use raft3d_engine::raft::api::{ClockStatus, Consistency, ReadOptions};

use super::extract::{Caller, JsonBody};
use super::fields::Door;
use super::problem::{Kind, Problem};
use super::wire::clock::{Adjustment, ClockOut, read_adjustment};
use super::{App, reply};

/// An offset may take log time so much further ahead: what two clocks may differ by.
const AHEAD_MS_MAX: u64 = 10_000;
/// How long the last adjustment may take to be read: what is asked for is this node's clock.
const LAST_ADJUSTMENT_TIME_MAX: Duration = Duration::from_secs(1);

/// Answers with or without a leader.
pub(super) async fn show(State(app): State<App>) -> Result<Response, Problem> {
    let last = last_adjustment(&app, None).await?;
    shown(&app, app.backend.status().applied, last)
}

/// Two operators who adjust at once must not add up, so If-Match is required.
pub(super) async fn adjust(
    State(app): State<App>,
    mut caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    let if_match = caller.if_match.take().ok_or_else(|| {
        let detail = "send If-Match with the ETag of the clock that you have seen";
        Problem::new(Kind::PreconditionRequired, detail).with("field", "If-Match")
    })?;
    let wanted = read_adjustment(body.fields(Door::V1)?)?;
    let expected = if_match.expected();
    // A retry vouches for nothing again, and whether it can be done is no question any more.
    let is_answered = app.is_answered(&caller).await;
    let seen = app.backend.status().clock.adjusted_at;
    let may_trust = !is_answered && expected.is_none_or(|expected| expected == seen);
    if wanted.trust_clock && may_trust {
        // Whoever saw another clock vouches for nothing.
        app.backend.trust_clock().await;
    }
    let status = app.backend.status();
    let offset_ms = if is_answered {
        status.clock.offset_ms
    } else {
        offset_ms(&wanted, &status.clock)?
    };
    let asked = wanted.asked(expected, status.node_id);
    let asked = serde_json::json!(["PUT /api/v1/cluster/clock", asked]);
    let command = Command::AdjustClock(AdjustClock {
        offset_ms,
        expected: expected.unwrap_or(status.clock.adjusted_at),
        reason: wanted.reason.or_else(|| {
            let id = status.node_id;
            (wanted.trust_clock).then(|| format!("the clock of node {id} is right"))
        }),
    });
    let written = app.write_found(caller, command, &asked).await?;
    // Another node may have done it, and this one may not have applied it yet.
    let last = last_adjustment(&app, Some(written.revision)).await?;
    Ok(written.mark(shown(&app, written.revision, last)?))
}

fn shown(
    app: &App,
    revision: Revision,
    last: Option<ClockAdjustment>,
) -> Result<Response, Problem> {
    let clock = app.backend.status().clock;
    let body = ClockOut::new(&clock, last.as_ref());
    let response = reply::json(StatusCode::OK, revision, &body)?;
    Ok(reply::with_etag(response, clock.adjusted_at))
}

/// As far as this node has applied it, once that is `min_revision`; none also while the node may not
/// read.
async fn last_adjustment(
    app: &App,
    min_revision: Option<Revision>,
) -> Result<Option<ClockAdjustment>, Problem> {
    let options = ReadOptions {
        consistency: Consistency::Stale,
        min_revision,
        timeout: LAST_ADJUSTMENT_TIME_MAX,
    };
    match app.backend.read(options).await {
        Ok(view) => Ok(meta::clock_adjustment(&*view.rows)?),
        Err(_) => Ok(None),
    }
}

/// The offset that is asked for. By a clock that is wrong it would be wrong for good, and one that is
/// too large would take log time into the future itself.
fn offset_ms(wanted: &Adjustment, clock: &ClockStatus) -> Result<u64, Problem> {
    if let Some(reason) = &clock.waits {
        let detail = format!("this node cannot say how late it is: {reason}");
        return Err(Problem::new(Kind::WritesPaused, detail));
    }
    let goes_on_ms = clock.log_time_ms.saturating_sub(clock.clock_ms);
    let Some(offset_ms) = wanted.offset_ms else {
        // A clock that is right changes no offset.
        let kept = (wanted.trust_clock).then_some(clock.offset_ms);
        return Ok(kept.unwrap_or(goes_on_ms));
    };
    let most_ms = goes_on_ms.max(clock.offset_ms).saturating_add(AHEAD_MS_MAX);
    if offset_ms > most_ms {
        let message = format!(
            "would take log time into the future: with {goes_on_ms} it goes on from where it \
             stands; leave it out for that"
        );
        return Err(Problem::field("/offset_ms", &message));
    }
    Ok(offset_ms)
}
