//! The cluster in JSON.

use raft3d_engine::bounds;
use raft3d_engine::raft::api::{
    ClusterStatus, DeniedStatus, DiskStatus, MemberStatus, NodeStatus, Role,
};
use raft3d_engine::raft::{Incarnation, Member, NodeId};
use serde::Serialize;

use super::clock::ClockV1;
use crate::http::fields::{Door, Fields};
use crate::http::problem::Problem;

/// The cluster as one node sees it.
#[derive(Debug, Serialize)]
pub(crate) struct ClusterV1<'a> {
    cluster_id: Option<String>,
    leader_id: Option<NodeId>,
    membership_revision: u64,
    nodes: Vec<NodeOut<'a>>,
}

impl<'a> From<&'a ClusterStatus> for ClusterV1<'a> {
    fn from(status: &'a ClusterStatus) -> Self {
        Self {
            cluster_id: status.cluster_id.map(|id| id.to_string()),
            leader_id: status.leader,
            membership_revision: status.membership_revision,
            nodes: status.members.iter().map(NodeOut::from).collect(),
        }
    }
}

/// A member; what it says of itself is null where it did not answer, and `error` says why.
#[derive(Debug, Serialize)]
struct NodeOut<'a> {
    id: NodeId,
    role: Option<&'static str>,
    voter: bool,
    peer_address: &'a str,
    http_address: &'a str,
    incarnation: String,
    term: Option<u64>,
    last_log_index: Option<u64>,
    applied_revision: Option<u64>,
    snapshot_index: Option<u64>,
    purged_index: Option<u64>,
    digest: Option<String>,
    engine_epoch: Option<u32>,
    engine_epochs_supported: Option<SupportedEpochs>,
    denied_entries: Option<Vec<DeniedOut>>,
    version: Option<&'a str>,
    ready: bool,
    not_ready_reason: Option<&'a str>,
    warnings: &'a [String],
    clock: Option<ClockV1<'a>>,
    disk: Option<DiskOut<'a>>,
    error: Option<&'a str>,
}

/// A log entry that a node denies (`--deny-at`).
#[derive(Debug, Serialize)]
struct DeniedOut {
    index: u64,
    term: u64,
    hash: String,
    /// Whether the log records it, so that every node denies it, without a flag.
    recorded: bool,
}

impl From<&DeniedStatus> for DeniedOut {
    fn from(denied: &DeniedStatus) -> Self {
        Self {
            index: denied.entry.index.0,
            term: denied.entry.term,
            hash: hex::encode(denied.entry.hash),
            recorded: denied.recorded,
        }
    }
}

/// A node's disk.
#[derive(Debug, Serialize)]
struct DiskOut<'a> {
    path: &'a str,
    free_bytes: Option<u64>,
    oldest_unsynced_ms: u64,
    alarm: Option<&'a str>,
}

impl<'a> From<&'a DiskStatus> for DiskOut<'a> {
    fn from(status: &'a DiskStatus) -> Self {
        Self {
            path: &status.path,
            free_bytes: status.free_bytes,
            oldest_unsynced_ms: status.oldest_unsynced_ms,
            alarm: status.alarm.as_deref(),
        }
    }
}

/// The engine epochs that a node's program could apply entries under.
#[derive(Debug, Serialize)]
struct SupportedEpochs {
    oldest: u32,
    newest: u32,
}

impl<'a> From<&'a MemberStatus> for NodeOut<'a> {
    fn from(member: &'a MemberStatus) -> Self {
        let own = member.status.as_ref().ok();
        let number = |get: fn(&NodeStatus) -> u64| own.map(get);
        Self {
            id: member.node_id,
            role: own.map(|status| role_name(status.role)),
            voter: member.voter,
            peer_address: &member.member.peer_addr,
            http_address: &member.member.http_addr,
            incarnation: member.member.incarnation.to_string(),
            term: number(|status| status.term),
            last_log_index: number(|status| status.last_log_index),
            applied_revision: number(|status| status.applied.0),
            snapshot_index: number(|status| status.snapshot_index),
            purged_index: number(|status| status.purged_index),
            digest: own.map(|status| status.digest.to_string()),
            engine_epoch: own.map(|status| status.engine_epoch),
            engine_epochs_supported: own.map(|status| SupportedEpochs {
                oldest: status.engine_epoch_oldest,
                newest: status.engine_epoch_newest,
            }),
            denied_entries: own.map(|status| status.denied.iter().map(DeniedOut::from).collect()),
            version: own.map(|status| status.version.as_str()),
            ready: own.is_some_and(|status| status.not_ready.is_none()),
            not_ready_reason: own.and_then(|status| status.not_ready.as_deref()),
            warnings: own.map_or(&[], |status| &status.warnings),
            clock: own.map(|status| ClockV1::from(&status.clock)),
            disk: own.map(|status| DiskOut::from(&status.disk)),
            error: member.status.as_ref().err().map(String::as_str),
        }
    }
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Stopped => "stopped",
    }
}

/// Reads the body that adds a member.
pub(crate) fn read_member(mut body: Fields<'_>) -> Result<Member, Problem> {
    let peer_addr = address(&mut body, "peer_address")?;
    let http_addr = address(&mut body, "http_address")?;
    let mut incarnation = [0; 16];
    hex::decode_to_slice(body.required_text("incarnation")?, &mut incarnation)
        .map_err(|_| Problem::field("/incarnation", "must be 32 hex digits"))?;
    body.finish(Door::V1)?;
    Ok(Member {
        peer_addr,
        http_addr,
        incarnation: Incarnation(incarnation),
    })
}

/// Reads the body that corrects a member's addresses: the peer's and the clients', of which one may
/// be left out.
pub(crate) fn read_addresses(
    mut body: Fields<'_>,
) -> Result<(Option<String>, Option<String>), Problem> {
    let mut given = |name| match body.text(name)? {
        Some(text) => checked_address(&body.pointer(name), text).map(Some),
        None => Ok(None),
    };
    let (peer_addr, http_addr) = (given("peer_address")?, given("http_address")?);
    body.finish(Door::V1)?;
    if peer_addr.is_none() && http_addr.is_none() {
        let why = "or http_address is required";
        return Err(Problem::field("/peer_address", why));
    }
    Ok((peer_addr, http_addr))
}

fn address(body: &mut Fields<'_>, name: &str) -> Result<String, Problem> {
    let text = body.required_text(name)?;
    checked_address(&body.pointer(name), text)
}

fn checked_address(field: &str, text: String) -> Result<String, Problem> {
    if let Err(error) = bounds::address(&text) {
        let why = format!("must be host:port: {error}");
        return Err(Problem::field(field, why));
    }
    Ok(text)
}

/// Reads the body that names the next leader.
pub(crate) fn read_transfer(mut body: Fields<'_>) -> Result<NodeId, Problem> {
    let to = body.integer("node_id", "(a node's id)")?;
    body.finish(Door::V1)?;
    to.ok_or_else(|| Problem::field("/node_id", "is required"))
}

/// What adding a member answers.
#[derive(Debug, Serialize)]
pub(crate) struct MemberAdded {
    pub(crate) id: NodeId,
}
