//! `/api/v1/print_jobs`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use raft3d_engine::core::command::SetJobStatus;
use raft3d_engine::core::limits::RULESET_REVISIONS_MAX;
use raft3d_engine::core::state::jobs::{self, Job, JobFilter};
use raft3d_engine::core::state::rulesets;
use raft3d_engine::core::{Accepted, Command, FilamentId, JobId, PrinterId, ReadRows};

use super::extract::{Caller, JsonBody, Params, PathId};
use super::fields::{Door, unquote};
use super::problem::Problem;
use super::wire::job::{JobV1, read_create, read_status};
use super::{App, Written, list_of, reply};

const COLLECTION: &str = "/api/v1/print_jobs";

pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    let command = Command::CreateJob(read_create(body.fields(Door::V1)?, Door::V1)?);
    let written = app.write(caller, command).await?;
    let job = job_of(&written)?;
    let response = reply::json(StatusCode::CREATED, written.revision, &JobV1::from(job))?;
    let response = reply::with_location(response, COLLECTION, job.id.as_str());
    Ok(written.mark(reply::with_etag(response, job.revision)))
}

pub(super) async fn list(State(app): State<App>, mut params: Params) -> Result<Response, Problem> {
    let (options, page) = (params.read_options()?, params.page()?);
    let mut filter = filter(&mut params)?;
    params.finish(Door::V1)?;
    let read = app.read(options, move |rows| {
        if let Some(status) = &filter.status {
            filter.status = Some(state_name(rows, status)?);
        }
        let after = page.after.map(JobId::new);
        Ok(jobs::list(rows, &filter, after.as_ref(), page.limit)?)
    });
    let (revision, page) = read.await?;
    let items: Vec<_> = page.jobs.iter().map(JobV1::from).collect();
    list_of(
        &params,
        revision,
        &items,
        page.next.map(|id| id.as_str().to_owned()),
    )
}

/// Takes the filters. `label` is `key` or `key=value`; one may also write `key:value`.
fn filter(params: &mut Params) -> Result<JobFilter, Problem> {
    let label = params
        .take("label")?
        .map(|text| match text.split_once(['=', ':']) {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (text, None),
        });
    Ok(JobFilter {
        status: params.take("status")?.map(|text| unquote(&text).to_owned()),
        printer_id: params.take("printer_id")?.map(PrinterId::new),
        filament_id: params.take("filament_id")?.map(FilamentId::new),
        label,
    })
}

/// The display name of the state that `text` names, in the active lifecycle or, for jobs that were
/// stranded, in that of a kept revision.
fn state_name(rows: &dyn ReadRows, text: &str) -> Result<String, Problem> {
    let find = |revision: &rulesets::RulesetRevision| {
        revision
            .lifecycle
            .find(text)
            .map(|state| state.name.clone())
    };
    if let Some(name) = rulesets::active(rows)?.as_ref().and_then(find) {
        return Ok(name);
    }
    let kept = usize::try_from(RULESET_REVISIONS_MAX).unwrap_or(usize::MAX);
    let history = rulesets::history(rows, None, kept)?;
    let name = history.iter().find_map(find);
    name.ok_or_else(|| Problem::parameter("status", "no lifecycle here has such a status"))
}

pub(super) async fn show(
    State(app): State<App>,
    PathId(id): PathId,
    mut params: Params,
) -> Result<Response, Problem> {
    let options = params.read_options()?;
    params.finish(Door::V1)?;
    let read = app.read_row(options, move |rows| {
        let job = jobs::get(rows, &JobId::new(id.as_str()))?;
        job.ok_or_else(|| Problem::not_found("print job", id))
    });
    let (revision, job) = read.await?;
    let response = reply::json(StatusCode::OK, revision, &JobV1::from(&job))?;
    Ok(reply::with_etag(response, job.revision))
}

pub(super) async fn set_status(
    State(app): State<App>,
    PathId(id): PathId,
    caller: Caller,
    mut params: Params,
    body: JsonBody,
) -> Result<Response, Problem> {
    let command = transition(id, &mut params, &body, Door::V1)?;
    let written = app.write(caller, command).await?;
    let job = job_of(&written)?;
    let response = reply::json(StatusCode::OK, written.revision, &JobV1::from(job))?;
    Ok(written.mark(reply::with_etag(response, job.revision)))
}

/// The job of an accepted write.
pub(super) fn job_of(written: &Written) -> Result<&Job, Problem> {
    match &written.accepted {
        Accepted::Job(job) => Ok(job),
        _ => Err(written.unexpected()),
    }
}

/// The command for `?status=` or a body that says the same and more.
pub(super) fn transition(
    id: String,
    params: &mut Params,
    body: &JsonBody,
    door: Door,
) -> Result<Command, Problem> {
    let asked = params.take("status")?;
    params.finish(door)?;
    let fields = match (&asked, door) {
        // Classic clients send bodies that nobody ever read.
        (Some(_), Door::Classic) => None,
        _ => body.optional_fields(door)?,
    };
    let mut report = match fields {
        Some(fields) => read_status(fields, door)?,
        None => SetJobStatus {
            id: JobId::new(""),
            status: String::new(),
            used: None,
            reason: None,
            wants_override: false,
        },
    };
    if let Some(status) = asked {
        if !report.status.is_empty() {
            return Err(Problem::field("/status", "is given in the query already"));
        }
        unquote(&status).clone_into(&mut report.status);
    }
    if report.status.is_empty() {
        return Err(Problem::parameter("status", "is required"));
    }
    report.id = JobId::new(id);
    Ok(Command::SetJobStatus(report))
}
