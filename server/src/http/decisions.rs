//! `/api/v1/decisions` and `/api/v1/print_jobs/{id}/decisions`: what policies were asked, and what
//! they said.

use axum::extract::State;
use axum::response::Response;
use raft3d_engine::core::state::decisions::{self, DecisionRecord};
use raft3d_engine::core::state::jobs;
use raft3d_engine::core::{JobId, ReadRows, Revision};

use super::extract::{Params, PathId};
use super::fields::Door;
use super::problem::Problem;
use super::wire::decision::{DecisionRecordV1, InputShown};
use super::{App, page_of};

/// Oldest first; whoever asks again after the last one that it saw follows what is decided. The
/// inputs are the larger part of a page, so they are shown where they are asked for.
pub(super) async fn list(State(app): State<App>, params: Params) -> Result<Response, Problem> {
    page_by_page(&app, params, InputShown::Left, |rows, after, limit| {
        Ok(decisions::list(rows, after, limit)?)
    })
    .await
}

/// Those about one job, oldest first: a handful, so with what was asked. A job that was not
/// admitted has records, too.
pub(super) async fn of_job(
    State(app): State<App>,
    PathId(id): PathId,
    params: Params,
) -> Result<Response, Problem> {
    page_by_page(&app, params, InputShown::Json, move |rows, after, limit| {
        let job = JobId::new(id.as_str());
        let records = decisions::of_job(rows, &job, after, limit)?;
        if records.is_empty() && after.is_none() && jobs::get(rows, &job)?.is_none() {
            return Err(Problem::not_found("print job", id));
        }
        Ok(records)
    })
    .await
}

/// Shows a page of what `records` finds after a revision, up to a limit.
async fn page_by_page(
    app: &App,
    mut params: Params,
    shown: InputShown,
    records: impl FnOnce(&dyn ReadRows, Option<Revision>, usize) -> Result<Vec<DecisionRecord>, Problem>
    + Send
    + 'static,
) -> Result<Response, Problem> {
    let (options, page) = (params.read_options()?, params.page()?);
    let input = InputShown::take(&mut params, shown)?;
    let after = params.take("after")?.map(|text| text.parse()).transpose();
    let after = after.map_err(|_| Problem::parameter("after", "must be a revision"))?;
    let after = page.after_key()?.or(after).map(Revision);
    params.finish(Door::V1)?;
    let limit = page.limit + 1;
    let read = app.read(options, move |rows| records(rows, after, limit));
    let (revision, records) = read.await?;
    let items = records.iter().map(|row| DecisionRecordV1::new(row, input));
    let items = items.collect::<Result<Vec<_>, _>>()?;
    page_of(&params, &page, revision, items, |item| {
        item.revision.to_string()
    })
}
