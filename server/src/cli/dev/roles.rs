//! Asks a node which part each of them has.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::plan::Plan;

/// How often to ask before showing the table without roles.
const TRIES_MAX: u32 = 20;
/// Time between tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Roles by node id; empty where nobody could tell.
pub(super) async fn ask(plan: &Plan) -> BTreeMap<u64, String> {
    let Some(node) = plan.nodes.first() else {
        return BTreeMap::new();
    };
    for _ in 0..TRIES_MAX {
        if let Ok(Ok(cluster)) = tokio::time::timeout(PAUSE * 10, fetch(node.http)).await {
            let roles = roles_in(&cluster);
            if roles.values().any(|role| role == "leader") {
                return roles;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    BTreeMap::new()
}

fn roles_in(cluster: &Value) -> BTreeMap<u64, String> {
    let nodes = cluster
        .get("nodes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let role = |node: &Value| {
        let id = node.get("id")?.as_u64()?;
        Some((id, node.get("role")?.as_str()?.to_owned()))
    };
    nodes.filter_map(role).collect()
}

async fn fetch(address: SocketAddr) -> anyhow::Result<Value> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    let request = hyper::Request::get("/api/v1/cluster")
        .header(hyper::header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let answer = sender
        .send_request(request)
        .await?
        .into_body()
        .collect()
        .await?
        .to_bytes();
    connection.abort();
    Ok(serde_json::from_slice(&answer)?)
}
