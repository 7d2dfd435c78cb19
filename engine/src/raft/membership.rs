//! Changes of the membership (Raft, 6): made by the leader one at a time, each compared with the
//! log index of the membership that it starts from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::Precondition;
use openraft::{ChangeMembers, RaftMetrics, ServerState};
use tokio::time::Instant;

use super::absences::LEARNER_ABSENT;
use super::api::{ClusterStatus, MemberStatus, MembershipError};
use super::message::{AdminAnswer, AdminAsk, Answer, Ask, Request, StatusAnswer};
use super::node::Node;
use super::transport::Channel;
use super::types::{JOINED_NODE_ID_MIN, Member, Membership, NodeId, StoredMembership, TypeConfig};
use crate::bounds::{self, LEARNERS_MAX};

/// How long a change may take, with the search for a leader.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a learner is waited for when it is promoted.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a learner that has caught up may take to say that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// A learner that lags by at most so many entries may be promoted.
const PROMOTION_LAG_MAX: u64 = 1_000;
/// How long a new leader is waited for.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a member may take to tell its status.
pub(super) const STATUS_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two tries to find a leader.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

type Change = ChangeMembers<NodeId, Member>;

impl Node {
    /// Every member, each asked over the peer connections.
    pub async fn cluster_status(&self) -> ClusterStatus {
        let membership = self.inner.membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let members = membership.nodes().map(|(id, member)| async {
            let status = self.status_of(*id, member).await;
            MemberStatus {
                node_id: *id,
                member: member.clone(),
                voter: voters.contains(id),
                status: status.map(|answer| answer.status),
            }
        });
        ClusterStatus {
            cluster_id: self.inner.peers.cluster_id(),
            leader: self.known_leader(&self.inner.metrics()),
            membership_revision: revision(&membership),
            members: join_all(members).await,
        }
    }

    pub(super) async fn status_of(
        &self,
        id: NodeId,
        member: &Member,
    ) -> Result<StatusAnswer, String> {
        if id == self.id() {
            return Ok(self.status_answer());
        }
        let ask = Request::Ask(Ask::Status);
        let peers = &self.inner.peers;
        match peers
            .ask(Channel::Control, id, member, &ask, STATUS_TIMEOUT)
            .await
        {
            Ok(Answer::Status(answer)) => Ok(answer),
            Ok(_) => Err("it answered something else".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Adds a node as a learner and answers its id. The same incarnation gets the same id again.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn add_learner(&self, member: Member) -> Result<NodeId, MembershipError> {
        self.admin(AdminAsk::AddLearner(member)).await
    }

    /// Makes a learner a voter, once it has caught up.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn promote(
        &self,
        node_id: NodeId,
        expected_membership: Option<u64>,
    ) -> Result<(), MembershipError> {
        let ask = AdminAsk::Promote {
            node_id,
            expected: expected_membership,
        };
        self.admin(ask).await.map(drop)
    }

    /// Removes a member.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn remove(
        &self,
        node_id: NodeId,
        expected_membership: Option<u64>,
    ) -> Result<(), MembershipError> {
        let ask = AdminAsk::Remove {
            node_id,
            expected: expected_membership,
        };
        self.admin(ask).await.map(drop)
    }

    /// Hands the leadership to `to`.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), MembershipError> {
        self.admin(AdminAsk::Transfer { to }).await.map(drop)
    }

    /// Has the leader make a change, wherever it is.
    pub(super) async fn admin(&self, ask: AdminAsk) -> Result<NodeId, MembershipError> {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(reason) = self.inner.closed_or_fenced() {
                return Err(MembershipError::Refused {
                    reason: format!("this node: {reason}"),
                });
            }
            let answer = match self.inner.current_leader() {
                Some(leader) if leader == self.id() => self.admin_on_leader(ask.clone()).await,
                Some(leader) => self.forward_admin(leader, ask.clone()).await?,
                None => Answer::NotLeader { leader: None },
            };
            match answer {
                Answer::Admin(AdminAnswer::Done { node_id }) => return Ok(node_id),
                Answer::Admin(AdminAnswer::Failed(error)) => return Err(error),
                _ => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
        Err(MembershipError::NoLeader)
    }

    async fn forward_admin(
        &self,
        leader: NodeId,
        ask: AdminAsk,
    ) -> Result<Answer, MembershipError> {
        let not_leader = Answer::NotLeader { leader: None };
        let Some(member) = self.inner.member(leader) else {
            return Ok(not_leader);
        };
        // Only adding a learner may be done twice without harm.
        let again = matches!(ask, AdminAsk::AddLearner(_));
        let request = Request::Ask(Ask::Admin(ask));
        let peers = &self.inner.peers;
        match peers
            .ask(Channel::Forward, leader, &member, &request, CHANGE_TIMEOUT)
            .await
        {
            Ok(answer) => Ok(answer),
            Err(error) if again || error.no_effect() => Ok(not_leader),
            Err(error) => Err(MembershipError::Refused {
                reason: format!("look at the cluster before trying again: {error}"),
            }),
        }
    }

    /// A change, on the leader.
    pub(super) async fn admin_on_leader(&self, ask: AdminAsk) -> Answer {
        let metrics = self.inner.metrics();
        if metrics.state != ServerState::Leader {
            return Answer::NotLeader {
                leader: metrics.current_leader,
            };
        }
        let _one_at_a_time = self.inner.membership_changes.lock().await;
        let done = match ask {
            AdminAsk::AddLearner(member) => self.leader_add_learner(member).await,
            AdminAsk::Promote { node_id, expected } => self.leader_promote(node_id, expected).await,
            AdminAsk::Remove { node_id, expected } => self.leader_remove(node_id, expected).await,
            AdminAsk::Transfer { to } => self.leader_transfer(to).await,
            AdminAsk::Readdress {
                node_id,
                peer_addr,
                http_addr,
                expected,
            } => {
                self.leader_readdress(node_id, peer_addr, http_addr, expected)
                    .await
            }
        };
        match done {
            Ok(node_id) => Answer::Admin(AdminAnswer::Done { node_id }),
            Err(MembershipError::NoLeader) => Answer::NotLeader { leader: None },
            Err(error) => Answer::Admin(AdminAnswer::Failed(error)),
        }
    }

    async fn leader_add_learner(&self, member: Member) -> Result<NodeId, MembershipError> {
        bounds::member(&member).map_err(refused)?;
        // Its log index makes the id; once it is applied, this leader also knows every change
        // of the membership that an earlier leader made.
        let blank = self.inner.raft.write_blank().await.map_err(not_made)?;
        let membership = self.inner.membership();
        let known = membership
            .nodes()
            .find(|(_, m)| m.incarnation == member.incarnation);
        if let Some((id, recorded)) = known {
            if *recorded == member {
                return Ok(*id);
            }
            let reason = format!(
                "member {id} has this data folder under the addresses {} and {}: correct them with \
                 PATCH /api/v1/cluster/members/{id}",
                recorded.peer_addr, recorded.http_addr
            );
            return Err(MembershipError::Refused { reason });
        }
        let id = JOINED_NODE_ID_MIN + blank.log_id.index;
        let membership = self.make_room(membership, &member).await?;
        let change = Change::AddNodes(BTreeMap::from([(id, member)]));
        self.change(&membership, change).await?;
        Ok(id)
    }

    /// Makes room for a learner: the one that was at its address before goes, and the one that has
    /// been away longest, if there are as many as there may be. A program that joins with an empty
    /// folder at each of its starts would fill the cluster otherwise.
    async fn make_room(
        &self,
        membership: Arc<StoredMembership>,
        member: &Member,
    ) -> Result<Arc<StoredMembership>, MembershipError> {
        let learners: Vec<NodeId> = membership.membership().learner_ids().collect();
        let recorded = learners
            .iter()
            .filter_map(|id| Some((*id, membership.get_node(id)?)));
        let same_address = recorded
            .into_iter()
            .find(|(_, learner)| learner.peer_addr == member.peer_addr);
        let goes = match same_address {
            Some((id, before)) if self.status_of(id, before).await.is_err() => Some(id),
            _ if learners.len() < LEARNERS_MAX => None,
            _ => Some(self.absent_learner()?),
        };
        let Some(goes) = goes else {
            return Ok(membership);
        };
        tracing::warn!(
            learner = goes,
            joins = member.peer_addr,
            "a learner that does not answer gives way to a node that joins"
        );
        let change = Change::RemoveNodes(BTreeSet::from([goes]));
        self.change(&membership, change).await?;
        Ok(self.inner.membership())
    }

    fn absent_learner(&self) -> Result<NodeId, MembershipError> {
        let absent = self.inner.absences.longest(Instant::now());
        absent.ok_or_else(|| MembershipError::Refused {
            reason: format!(
                "the cluster has {LEARNERS_MAX} learners, and takes no more: promote or remove one \
                 (DELETE /api/v1/cluster/members/ID). One that has not answered for {} minutes \
                 gives way by itself",
                LEARNER_ABSENT.as_secs() / 60
            ),
        })
    }

    async fn leader_promote(
        &self,
        id: NodeId,
        expected: Option<u64>,
    ) -> Result<NodeId, MembershipError> {
        let membership = self.expect(id, expected)?;
        if is_voter_in_all(&membership, id) {
            return Ok(id);
        }
        self.wait_caught_up(id).await?;
        let mut voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        voters.insert(id);
        self.expect_majority(&membership, &voters).await?;
        self.change(&membership, Change::AddVoterIds(BTreeSet::from([id])))
            .await?;
        Ok(id)
    }

    async fn wait_caught_up(&self, id: NodeId) -> Result<(), MembershipError> {
        let lag = |metrics: &RaftMetrics<TypeConfig>| {
            let matched = metrics.replication.as_ref()?.get(&id)?.as_ref()?.index;
            Some(metrics.last_log_index?.saturating_sub(matched))
        };
        let near = |m: &RaftMetrics<TypeConfig>| lag(m).is_some_and(|n| n <= PROMOTION_LAG_MAX);
        let wait = self.inner.raft.wait(Some(CATCH_UP_TIMEOUT));
        if wait.metrics(near, "the learner catches up").await.is_ok() {
            return self.wait_ready(id).await;
        }
        let reason = match lag(&self.inner.metrics()) {
            Some(lag) => format!("learner {id} has not caught up: it lags by {lag} entries"),
            None => format!("learner {id} has not been reached yet"),
        };
        Err(MembershipError::Refused { reason })
    }

    /// A learner that was up to date may be dead by now, or fenced.
    async fn wait_ready(&self, id: NodeId) -> Result<(), MembershipError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let member = self.inner.member(id);
            let member = member.ok_or(MembershipError::UnknownMember { node_id: id })?;
            let why = match self.status_of(id, &member).await {
                Ok(answer) => match &answer.status.not_ready {
                    None => return self.expect_epoch(&answer.status).await,
                    Some(why) => why.clone(),
                },
                Err(why) => why,
            };
            if Instant::now() >= deadline {
                let reason = format!("learner {id} is not ready: {why}");
                return Err(MembershipError::Refused { reason });
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// A membership is in force as soon as it is in the log: one whose voters do not answer could
    /// never be committed, nor be taken back.
    async fn expect_majority(
        &self,
        membership: &StoredMembership,
        voters: &BTreeSet<NodeId>,
    ) -> Result<(), MembershipError> {
        let asked = voters.iter().filter_map(|id| {
            let member = membership.get_node(id)?;
            Some(self.status_of(*id, member))
        });
        let answered = join_all(asked).await.into_iter().flatten().count();
        if answered > voters.len() / 2 {
            return Ok(());
        }
        let of = voters.len();
        let reason = format!(
            "only {answered} of the {of} voters that there would be answer: the cluster could not \
             write any more"
        );
        Err(MembershipError::Refused { reason })
    }

    async fn leader_remove(
        &self,
        id: NodeId,
        expected: Option<u64>,
    ) -> Result<NodeId, MembershipError> {
        let membership = self.expect(id, expected)?;
        let voter = membership.voter_ids().any(|voter| voter == id);
        if voter && membership.voter_ids().count() == 1 {
            let reason = "the last voter cannot be removed".to_owned();
            return Err(MembershipError::Refused { reason });
        }
        let left = membership.voter_ids().filter(|voter| *voter != id);
        let left = left.collect::<BTreeSet<NodeId>>();
        if voter {
            self.expect_majority(&membership, &left).await?;
        }
        let ids = BTreeSet::from([id]);
        let change = if voter {
            Change::RemoveVoters(ids)
        } else {
            Change::RemoveNodes(ids)
        };
        self.change(&membership, change).await?;
        Ok(id)
    }

    async fn leader_transfer(&self, to: NodeId) -> Result<NodeId, MembershipError> {
        if to == self.id() {
            return Ok(to);
        }
        let membership = self.expect(to, None)?;
        if !is_voter_in_all(&membership, to) {
            let reason = format!("member {to} is a learner: promote it first");
            return Err(MembershipError::Refused { reason });
        }
        if self.inner.raft.trigger().transfer_leader(to).await.is_err() {
            return Err(MembershipError::NoLeader);
        }
        let wait = self.inner.raft.wait(Some(TRANSFER_TIMEOUT));
        match wait
            .current_leader(to, "the leadership is handed over")
            .await
        {
            Ok(_) => Ok(to),
            Err(_) => Err(MembershipError::Refused {
                reason: format!("member {to} did not take the leadership over in time"),
            }),
        }
    }

    /// The membership in force, if it is the expected one and has the member `id`.
    pub(super) fn expect(
        &self,
        id: NodeId,
        expected: Option<u64>,
    ) -> Result<StoredMembership, MembershipError> {
        let membership = self.inner.membership();
        let actual = revision(&membership);
        if let Some(expected) = expected
            && expected != actual
        {
            return Err(MembershipError::RevisionMismatch { actual, expected });
        }
        if membership.get_node(&id).is_none() {
            return Err(MembershipError::UnknownMember { node_id: id });
        }
        Ok((*membership).clone())
    }

    /// Makes a change that starts from `from`, and no other membership.
    pub(super) async fn change(
        &self,
        from: &StoredMembership,
        change: Change,
    ) -> Result<(), MembershipError> {
        // A leader that has removed itself leads until it hears that this is committed, and openraft
        // panics when it then proposes another membership.
        if !from.voter_ids().any(|voter| voter == self.id()) {
            return Err(MembershipError::NoLeader);
        }
        bounds::membership(&after(from, &change)?).map_err(refused)?;
        let same = Precondition::LastMembershipLogId {
            last_membership_log_id: *from.log_id(),
        };
        let changed = self.inner.raft.change_membership_if(change, false, [same]);
        match tokio::time::timeout(CHANGE_TIMEOUT, changed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::PreconditionFailed(_)))) => {
                Err(MembershipError::RevisionMismatch {
                    actual: revision(&self.inner.membership()),
                    expected: revision(from),
                })
            }
            Ok(Err(error)) => Err(not_made(error)),
            Err(_) => Err(MembershipError::Refused {
                reason: "the change is proposed and not committed: no majority answers".to_owned(),
            }),
        }
    }
}

/// The membership that a change leads to.
fn after(from: &StoredMembership, change: &Change) -> Result<Membership, MembershipError> {
    let mut voters: BTreeSet<NodeId> = from.voter_ids().collect();
    let nodes = from.nodes().map(|(id, member)| (*id, member.clone()));
    let mut nodes: BTreeMap<NodeId, Member> = nodes.collect();
    match change {
        Change::AddVoterIds(ids) => voters.extend(ids),
        Change::AddNodes(new) | Change::SetNodes(new) => nodes.extend(new.clone()),
        Change::RemoveVoters(ids) => {
            voters.retain(|id| !ids.contains(id));
            nodes.retain(|id, _| !ids.contains(id));
        }
        Change::RemoveNodes(ids) => nodes.retain(|id, _| !ids.contains(id)),
        _ => return Err(refused("a change of another kind")),
    }
    Membership::new(vec![voters], nodes).map_err(refused)
}

fn refused(reason: impl ToString) -> MembershipError {
    MembershipError::Refused {
        reason: reason.to_string(),
    }
}

/// Log index of a membership; 0 before the first.
fn revision(membership: &StoredMembership) -> u64 {
    membership.log_id().map_or(0, |id| id.index)
}

fn is_voter_in_all(membership: &StoredMembership, id: NodeId) -> bool {
    let configs = membership.get_joint_config();
    configs.len() == 1 && configs.iter().all(|voters| voters.contains(&id))
}

fn not_made(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> MembershipError {
    let reason = match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => {
            return MembershipError::NoLeader;
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_),
        )) => "another change of the membership is under way".to_owned(),
        error => error.to_string(),
    };
    MembershipError::Refused { reason }
}
