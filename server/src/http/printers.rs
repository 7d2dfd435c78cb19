//! `/api/v1/printers`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use raft3d_engine::core::state::printers;
use raft3d_engine::core::{Accepted, Command, PrinterId};

use super::extract::{Caller, JsonBody, Params, PathId};
use super::fields::Door;
use super::problem::Problem;
use super::wire::printer::{PrinterV1, read_create};
use super::{App, page_of, reply};

const COLLECTION: &str = "/api/v1/printers";

pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    let command = Command::CreatePrinter(read_create(body.fields(Door::V1)?, Door::V1)?);
    let written = app.write(caller, command).await?;
    let Accepted::Printer(printer) = &written.accepted else {
        return Err(written.unexpected());
    };
    let response = reply::json(
        StatusCode::CREATED,
        written.revision,
        &PrinterV1::from(printer),
    )?;
    let response = reply::with_location(response, COLLECTION, printer.id.as_str());
    Ok(written.mark(reply::with_etag(response, printer.revision)))
}

pub(super) async fn list(State(app): State<App>, mut params: Params) -> Result<Response, Problem> {
    let (options, page) = (params.read_options()?, params.page()?);
    params.finish(Door::V1)?;
    let (limit, after) = (page.limit + 1, page.after.clone().map(PrinterId::new));
    let read = app.read(options, move |rows| {
        Ok(printers::list(rows, after.as_ref(), limit)?)
    });
    let (revision, printers) = read.await?;
    let items: Vec<_> = printers.iter().map(PrinterV1::from).collect();
    page_of(&params, &page, revision, items, |item| item.id.to_owned())
}

pub(super) async fn show(
    State(app): State<App>,
    PathId(id): PathId,
    mut params: Params,
) -> Result<Response, Problem> {
    let options = params.read_options()?;
    params.finish(Door::V1)?;
    let read = app.read_row(options, move |rows| {
        let printer = printers::get(rows, &PrinterId::new(id.as_str()))?;
        printer.ok_or_else(|| Problem::not_found("printer", id))
    });
    let (revision, printer) = read.await?;
    let response = reply::json(StatusCode::OK, revision, &PrinterV1::from(&printer))?;
    Ok(reply::with_etag(response, printer.revision))
}
