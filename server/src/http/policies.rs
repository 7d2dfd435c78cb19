//! `/api/v1/policies`: modules.

use core::str::FromStr;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use raft3d_engine::core::command::{DeleteModule, UploadModule};
use raft3d_engine::core::state::modules;
use raft3d_engine::core::{Accepted, Command, ModuleDigest};

use super::extract::{Caller, ModuleBody, Params, PathId};
use super::fields::Door;
use super::places::Sender;
use super::problem::{Kind, Problem};
use super::wire::policy::{ModuleDetail, ModuleV1};
use super::{App, page_of, reply};
use crate::backend::CheckError;
use crate::module::check_schema;

const COLLECTION: &str = "/api/v1/policies";

/// Validates and compiles the module here before every replica has to.
pub(super) async fn upload(
    State(app): State<App>,
    sender: Sender,
    caller: Caller,
    body: ModuleBody,
) -> Result<Response, Problem> {
    let bytes = body.wasm()?;
    let busy = || Problem::new(Kind::Overloaded, CheckError::Busy.to_string());
    let turn = app.uploads.take(sender.source()).await;
    let turn = turn.ok_or_else(busy)?;
    let report = app
        .backend
        .check_module(bytes.clone())
        .await
        .map_err(|error| match error {
            CheckError::Refused(problem) => Problem::from(problem),
            CheckError::Busy => busy(),
            CheckError::Fault(fault) => Problem::internal(fault),
        })?;
    drop(turn);
    // What a manifest says is what a program read, and a retry may come to a newer one.
    let asked = ("POST /api/v1/policies", report.digest.to_string());
    let manifest = report.manifest.clone();
    let checked = tokio::task::spawn_blocking(move || check_schema(&manifest));
    checked.await.map_err(Problem::internal)??;
    let command = Command::UploadModule(UploadModule {
        digest: report.digest,
        bytes: bytes.into(),
        manifest: report.manifest,
    });
    let written = app.write_found(caller, command, &asked).await?;
    let Accepted::Module(info, is_new) = &written.accepted else {
        return Err(written.unexpected());
    };
    let status = if *is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let response = reply::json(status, written.revision, &ModuleV1::from(info))?;
    let response = reply::with_location(response, COLLECTION, &info.digest.to_string());
    Ok(written.mark(reply::with_etag(response, info.revision)))
}

pub(super) async fn list(State(app): State<App>, mut params: Params) -> Result<Response, Problem> {
    let (options, page) = (params.read_options()?, params.page()?);
    params.finish(Door::V1)?;
    let (limit, after) = (page.limit + 1, page.after_key::<ModuleDigest>()?);
    let read = app.read(options, move |rows| Ok(modules::list(rows, after, limit)?));
    let (revision, modules) = read.await?;
    let items: Vec<_> = modules.iter().map(ModuleV1::from).collect();
    page_of(&params, &page, revision, items, |item| item.sha256.clone())
}

pub(super) async fn show(
    State(app): State<App>,
    PathId(id): PathId,
    mut params: Params,
) -> Result<Response, Problem> {
    let options = params.read_options()?;
    params.finish(Door::V1)?;
    let digest = digest(&id)?;
    let read = app.read(options, move |rows| {
        modules::get(rows, digest)?.ok_or_else(|| Problem::not_found("module", digest))
    });
    let (revision, info) = read.await?;
    let response = reply::json(StatusCode::OK, revision, &ModuleDetail::new(&info)?)?;
    Ok(reply::with_etag(response, info.revision))
}

/// The original bytes.
pub(super) async fn module(
    State(app): State<App>,
    PathId(id): PathId,
    mut params: Params,
) -> Result<Response, Problem> {
    let options = params.read_options()?;
    params.finish(Door::V1)?;
    let digest = digest(&id)?;
    let read = app.read(options, move |rows| {
        modules::bytes(rows, digest)?.ok_or_else(|| Problem::not_found("module", digest))
    });
    let (revision, bytes) = read.await?;
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/wasm"),
    );
    let etag = HeaderValue::try_from(format!("\"{digest}\"")).map_err(Problem::internal)?;
    headers.insert(header::ETAG, etag);
    reply::insert_revision(headers, revision);
    Ok(response)
}

pub(super) async fn remove(
    State(app): State<App>,
    PathId(id): PathId,
    caller: Caller,
) -> Result<Response, Problem> {
    let command = Command::DeleteModule(DeleteModule {
        digest: digest(&id)?,
    });
    let written = app.write(caller, command).await?;
    Ok(written.mark(reply::empty(written.revision)))
}

fn digest(id: &str) -> Result<ModuleDigest, Problem> {
    let digest = ModuleDigest::from_str(id);
    digest.map_err(|_| Problem::path("sha256", "must be 64 hex digits"))
}
