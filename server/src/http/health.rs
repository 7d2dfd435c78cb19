//! `/healthz` and `/readyz`, as application/health+json
//! (draft-inadarei-api-health-check-06).

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use raft3d_engine::raft::api::{NodeStatus, Role};
use serde::Serialize;

use super::problem::Problem;
use super::{App, reply};

const CONTENT_TYPE: &str = "application/health+json";

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    version: &'a str,
    #[serde(rename = "serviceId")]
    service_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
}

/// Liveness: whether the node runs at all. One that fails here wants to be restarted.
pub(super) async fn healthz(State(app): State<App>) -> Result<Response, Problem> {
    let status = app.backend.status();
    let stopped = status.role == Role::Stopped;
    let why = stopped.then(|| {
        status
            .not_ready
            .as_deref()
            .unwrap_or("the node has stopped")
    });
    answer(&status, why)
}

/// Readiness: whether the node serves reads and writes. One that fails here wants no requests. The
/// notes say what an operator has to look at all the same.
pub(super) async fn readyz(State(app): State<App>) -> Result<Response, Problem> {
    let status = app.backend.status();
    answer(&status, status.not_ready.as_deref())
}

fn answer(status: &NodeStatus, output: Option<&str>) -> Result<Response, Problem> {
    let (code, word) = match output {
        None if status.warnings.is_empty() => (StatusCode::OK, "pass"),
        None => (StatusCode::OK, "warn"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "fail"),
    };
    let service_id = status.node_id.to_string();
    let health = Health {
        status: word,
        version: &status.version,
        service_id,
        output,
        notes: &status.warnings,
    };
    let bytes = serde_json::to_vec(&health).map_err(Problem::internal)?;
    let mut response = reply::of_now(CONTENT_TYPE, status.applied, Body::from(bytes));
    *response.status_mut() = code;
    Ok(response)
}
