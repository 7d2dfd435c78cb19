//! `/api/v1/filaments`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use raft3d_engine::core::state::filaments;
use raft3d_engine::core::{Accepted, Command, FilamentId};

use super::extract::{Caller, JsonBody, Params, PathId};
use super::fields::Door;
use super::problem::Problem;
use super::wire::filament::{FilamentV1, read_create};
use super::{App, page_of, reply};

const COLLECTION: &str = "/api/v1/filaments";

pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    let command = Command::CreateFilament(read_create(body.fields(Door::V1)?, Door::V1)?);
    let written = app.write(caller, command).await?;
    let Accepted::Filament(filament) = &written.accepted else {
        return Err(written.unexpected());
    };
    let response = reply::json(
        StatusCode::CREATED,
        written.revision,
        &FilamentV1::from(filament),
    )?;
    let response = reply::with_location(response, COLLECTION, filament.id.as_str());
    Ok(written.mark(reply::with_etag(response, filament.revision)))
}

pub(super) async fn list(State(app): State<App>, mut params: Params) -> Result<Response, Problem> {
    let (options, page) = (params.read_options()?, params.page()?);
    params.finish(Door::V1)?;
    let (limit, after) = (page.limit + 1, page.after.clone().map(FilamentId::new));
    let read = app.read(options, move |rows| {
        Ok(filaments::list(rows, after.as_ref(), limit)?)
    });
    let (revision, filaments) = read.await?;
    let items: Vec<_> = filaments.iter().map(FilamentV1::from).collect();
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
        let filament = filaments::get(rows, &FilamentId::new(id.as_str()))?;
        filament.ok_or_else(|| Problem::not_found("filament", id))
    });
    let (revision, filament) = read.await?;
    let response = reply::json(StatusCode::OK, revision, &FilamentV1::from(&filament))?;
    Ok(reply::with_etag(response, filament.revision))
}
