//! `/api/v1/cluster`: members, their status, the leader.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use raft3d_engine::raft::NodeId;
use raft3d_engine::raft::api::NodeStatus;

use super::extract::{Caller, IfMatch, JsonBody, PathId};
use super::fields::Door;
use super::problem::Problem;
use super::wire::cluster::{ClusterV1, MemberAdded, read_addresses, read_member, read_transfer};
use super::{App, nearly_full, reply};

/// Answers on every node, with or without a leader: this is where one looks when there is none.
pub(super) async fn show(State(app): State<App>) -> Result<Response, Problem> {
    let mut cluster = app.backend.cluster_status().await;
    let NodeStatus {
        node_id, applied, ..
    } = app.backend.status();
    let own = cluster.members.iter_mut().find(|it| it.node_id == node_id);
    if let Some(Ok(status)) = own.map(|own| own.status.as_mut()) {
        status.warnings.extend(nearly_full::warnings(&app).await);
    }
    reply::json(StatusCode::OK, applied, &ClusterV1::from(&cluster))
}

pub(super) async fn add_member(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    refuse_if_match(&caller)?;
    let member = read_member(body.fields(Door::V1)?)?;
    let id = app.backend.add_learner(member).await?;
    reply::json(
        StatusCode::CREATED,
        app.backend.status().applied,
        &MemberAdded { id },
    )
}

pub(super) async fn promote(
    State(app): State<App>,
    PathId(id): PathId,
    caller: Caller,
) -> Result<Response, Problem> {
    app.backend
        .promote(node_id(&id)?, expected(&caller))
        .await?;
    Ok(reply::empty(app.backend.status().applied))
}

pub(super) async fn readdress(
    State(app): State<App>,
    PathId(id): PathId,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    let id = node_id(&id)?;
    let (peer_addr, http_addr) = read_addresses(body.fields(Door::V1)?)?;
    let changed = app
        .backend
        .readdress(id, peer_addr, http_addr, expected(&caller));
    changed.await?;
    Ok(reply::empty(app.backend.status().applied))
}

pub(super) async fn remove(
    State(app): State<App>,
    PathId(id): PathId,
    caller: Caller,
) -> Result<Response, Problem> {
    app.backend.remove(node_id(&id)?, expected(&caller)).await?;
    Ok(reply::empty(app.backend.status().applied))
}

pub(super) async fn transfer(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    refuse_if_match(&caller)?;
    let to = read_transfer(body.fields(Door::V1)?)?;
    app.backend.transfer_leader(to).await?;
    Ok(reply::empty(app.backend.status().applied))
}

fn node_id(text: &str) -> Result<NodeId, Problem> {
    text.parse()
        .map_err(|_| Problem::path("id", "a member's id is a whole number"))
}

/// The membership revision that the caller has seen.
fn expected(caller: &Caller) -> Option<u64> {
    caller
        .if_match
        .and_then(IfMatch::expected)
        .map(|revision| revision.0)
}

fn refuse_if_match(caller: &Caller) -> Result<(), Problem> {
    match caller.if_match {
        Some(_) => Err(Problem::header("If-Match", "is not supported on this call")),
        None => Ok(()),
    }
}
