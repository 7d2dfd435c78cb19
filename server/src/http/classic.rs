//! The classic API: the calls that existing Raft3D clients make.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use raft3d_engine::core::state::jobs::JobFilter;
use raft3d_engine::core::state::{filaments, jobs, printers};
use raft3d_engine::core::{Accepted, Command, FilamentId, JobId, PrinterId, ReadRows};
use serde::Serialize;

use super::extract::{Caller, JsonBody, Params, PathId};
use super::fields::Door;
use super::limits::PAGE_DEFAULT;
use super::print_jobs::{job_of, transition};
use super::problem::{Kind, Problem};
use super::wire::{filament, job, printer};
use super::{App, Written, reply};
use crate::backend::View;

/// What a classic client is told when a status has changed.
const STATUS_UPDATED: &str = "Print job status updated successfully";

pub(super) async fn create_printer(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    let create = printer::read_create(body.fields(Door::Classic)?, Door::Classic)?;
    let written = app.write(caller, Command::CreatePrinter(create)).await?;
    match &written.accepted {
        Accepted::Printer(row) => created(&written, &printer::PrinterClassic::from(row)),
        _ => Err(written.unexpected()),
    }
}

pub(super) async fn create_filament(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    let create = filament::read_create(body.fields(Door::Classic)?, Door::Classic)?;
    let written = app.write(caller, Command::CreateFilament(create)).await?;
    match &written.accepted {
        Accepted::Filament(row) => created(&written, &filament::FilamentClassic::from(row)),
        _ => Err(written.unexpected()),
    }
}

pub(super) async fn create_job(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    let create = job::read_create(body.fields(Door::Classic)?, Door::Classic)?;
    let written = app.write(caller, Command::CreateJob(create)).await?;
    created(&written, &job::JobClassic::from(job_of(&written)?))
}

fn created(written: &Written, body: &impl Serialize) -> Result<Response, Problem> {
    Ok(written.mark(reply::json(StatusCode::CREATED, written.revision, body)?))
}

/// A refusal is one line of plain text with status 400, whatever the class of the denial.
pub(super) async fn set_job_status(
    State(app): State<App>,
    PathId(id): PathId,
    caller: Caller,
    mut params: Params,
    body: JsonBody,
) -> Result<Response, Problem> {
    let command = transition(id, &mut params, &body, Door::Classic)?;
    match app.write(caller, command).await {
        Ok(written) => {
            let response = reply::text(StatusCode::OK, Some(written.revision), STATUS_UPDATED);
            Ok(written.mark(response))
        }
        Err(problem) => Ok(refusal(problem)),
    }
}

fn refusal(problem: Problem) -> Response {
    let status = match problem.status() {
        status if status == StatusCode::NOT_FOUND => status,
        status
            if status.is_client_error()
                && !matches!(
                    problem.kind(),
                    Kind::Overloaded | Kind::TooManyKeys | Kind::BodyTooLarge
                ) =>
        {
            StatusCode::BAD_REQUEST
        }
        _ => return problem.into_response(),
    };
    let line = problem.detail().replace(['\r', '\n'], " ");
    let mut response = reply::text(status, problem.found_at(), &line);
    if problem.is_replayed() {
        reply::mark_replayed(response.headers_mut());
    }
    response
}

pub(super) async fn list_printers(
    State(app): State<App>,
    params: Params,
) -> Result<Response, Problem> {
    list(app, params, |rows, after| {
        let after = after.map(PrinterId::new);
        let page = printers::list(rows, after.as_ref(), PAGE_DEFAULT)?;
        let next = full(&page).map(|last| last.id.as_str().to_owned());
        Ok((
            items(&page, |row| row.id.as_str(), printer::PrinterClassic::from)?,
            next,
        ))
    })
    .await
}

pub(super) async fn list_filaments(
    State(app): State<App>,
    params: Params,
) -> Result<Response, Problem> {
    list(app, params, |rows, after| {
        let after = after.map(FilamentId::new);
        let page = filaments::list(rows, after.as_ref(), PAGE_DEFAULT)?;
        let next = full(&page).map(|last| last.id.as_str().to_owned());
        Ok((
            items(
                &page,
                |row| row.id.as_str(),
                filament::FilamentClassic::from,
            )?,
            next,
        ))
    })
    .await
}

pub(super) async fn list_jobs(State(app): State<App>, params: Params) -> Result<Response, Problem> {
    list(app, params, |rows, after| {
        let after = after.map(JobId::new);
        let page = jobs::list(rows, &JobFilter::default(), after.as_ref(), PAGE_DEFAULT)?;
        let next = page.next.map(|id| id.as_str().to_owned());
        Ok((
            items(&page.jobs, |row| row.id.as_str(), job::JobClassic::from)?,
            next,
        ))
    })
    .await
}

/// The last row of a page that may not be the last one.
fn full<T>(page: &[T]) -> Option<&T> {
    page.last().filter(|_| page.len() >= PAGE_DEFAULT)
}

/// `"id":{…}` for each row, with commas between them.
fn items<'a, T, W: Serialize>(
    rows: &'a [T],
    id: impl Fn(&'a T) -> &'a str,
    show: impl Fn(&'a T) -> W,
) -> Result<Vec<u8>, Problem> {
    let mut out = Vec::new();
    for row in rows {
        if !out.is_empty() {
            out.push(b',');
        }
        serde_json::to_writer(&mut out, id(row)).map_err(Problem::internal)?;
        out.push(b':');
        serde_json::to_writer(&mut out, &show(row)).map_err(Problem::internal)?;
    }
    Ok(out)
}

/// Reads the items after a key, and the key to go on after.
type ReadPage = fn(&dyn ReadRows, Option<String>) -> Result<(Vec<u8>, Option<String>), Problem>;

/// A list on its way to a client: one page is in memory, whatever the number of rows. Nothing is
/// read, and no thread waits, while the client does not take what was sent.
struct Listing {
    view: View,
    next: Option<String>,
    is_first: bool,
}

async fn list(app: App, mut params: Params, read: ReadPage) -> Result<Response, Problem> {
    let options = params.read_options()?;
    let view = app.backend.read(options).await?;
    let revision = view.revision;
    // The first page is read before the status is sent, so that a fault still shows as one.
    let listing = Listing {
        view,
        next: None,
        is_first: true,
    };
    let (first, rest) = page(listing, read)
        .await
        .map_err(|p| p.revision(revision))?;
    let opening = stream::iter([Ok(Bytes::from_static(b"{")), Ok(first)]);
    let pages = stream::unfold(rest, move |rest| async move {
        match page(rest?, read).await {
            Ok((bytes, rest)) => Some((Ok(bytes), rest)),
            // The connection breaks off, so that nobody takes half a list for a whole one.
            Err(problem) => Some((
                Err(std::io::Error::other(problem.detail().to_owned())),
                None,
            )),
        }
    });
    let closing = stream::iter([Ok(Bytes::from_static(b"}"))]);
    let body = futures_util::StreamExt::chain(opening, pages);
    let body = futures_util::StreamExt::chain(body, closing);
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    reply::insert_revision(headers, revision);
    Ok(response)
}

async fn page(mut listing: Listing, read: ReadPage) -> Result<(Bytes, Option<Listing>), Problem> {
    let task = tokio::task::spawn_blocking(move || {
        let (mut bytes, next) = read(&*listing.view.rows, listing.next.take())?;
        if !listing.is_first && !bytes.is_empty() {
            bytes.insert(0, b',');
        }
        listing.is_first = listing.is_first && bytes.is_empty();
        listing.next = next;
        let more = listing.next.is_some();
        Ok((Bytes::from(bytes), more.then_some(listing)))
    });
    task.await.map_err(Problem::internal)?
}
