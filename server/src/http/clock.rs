//! `/api/v1/cluster/clock`: this node's clock beside the log's, and the way back where log time lies
//! in the future.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use raft3d_engine::core::command::AdjustClock;
use raft3d_engine::core::{Command, Revision};
use raft3d_engine::raft::api::ClockStatus;

use super::extract::{Caller, JsonBody};
use super::fields::Door;
use super::problem::{Kind, Problem};
use super::wire::clock::{Adjustment, ClockV1, read_adjustment};
use super::{App, reply};

/// An offset may take log time so much further ahead: what two clocks may differ by.
const AHEAD_MS_MAX: u64 = 10_000;

/// Answers with or without a leader.
pub(super) async fn show(State(app): State<App>) -> Result<Response, Problem> {
    shown(&app, app.backend.status().applied)
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
    let clock = app.backend.status().clock;
    let command = Command::AdjustClock(AdjustClock {
        offset_ms: offset_ms(&wanted, &clock)?,
        expected: if_match.expected().unwrap_or(clock.adjusted_at),
        reason: wanted.reason,
    });
    let written = app.write(caller, command).await?;
    Ok(written.mark(shown(&app, written.revision)?))
}

fn shown(app: &App, revision: Revision) -> Result<Response, Problem> {
    let clock = app.backend.status().clock;
    let response = reply::json(StatusCode::OK, revision, &ClockV1::from(&clock))?;
    Ok(reply::with_etag(response, clock.adjusted_at))
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
        return Ok(goes_on_ms);
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
