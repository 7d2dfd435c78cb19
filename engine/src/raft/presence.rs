//! What a node does all the time to know how it stands: it tells every member that it is there, and
//! hears from them whether they follow it, whether a majority follows the leader, whether it is a
//! member still, and whether another process runs with its data folder.
//!
//! The answers come from memory, with no sync of their own: a disk that is slow does not make a node
//! lose touch. Several questions to one member may be under way at once, so that what is slow is
//! not taken for what is cut.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::Instant;

use super::message::{Answer, Ask, PresentAnswer, Request};
use super::node::Node;
use super::peers::PeerError;
use super::processes::Met;
use super::read_index::committed_as_leader;
use super::standing::{DOUBLE, Refused, removed_reason, runs_at};
use super::transport::{Channel, Party, Refusal};
use super::types::{JOINED_NODE_ID_MIN, Member, NodeId, StoredMembership, TypeConfig, Vote};

/// A round is begun every so many heartbeats.
const HEARTBEATS: u64 = 2;
/// Most rounds under way at once: a round ends after two election times at the latest.
const ROUNDS_MAX: usize = 16;
/// How often a node asks who answers at the address that the membership has for it.
const OWN_ADDRESS_EVERY: Duration = Duration::from_secs(5);
/// How long whoever is there may take.
const OWN_ADDRESS_TIMEOUT: Duration = Duration::from_secs(1);

/// Tells all members that this node is there, again and again.
pub(super) async fn be_present(node: Node) {
    node.look_at_own_address().await;
    let period = node.inner.options.timing.heartbeat_ms * HEARTBEATS;
    let mut ticks = tokio::time::interval(Duration::from_millis(period));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut changes = node.inner.raft.server_metrics();
    let mut rounds = FuturesUnordered::new();
    while node.inner.standing.removed().is_none() {
        tokio::select! {
            // In a fixed order, or one seed would make several runs in the simulation.
            biased;
            _ = ticks.tick() => {}
            // Another leader, or other members: ask at once.
            changed = changes.changed() => if changed.is_err() { return },
            Some(()) = rounds.next() => continue,
        }
        if rounds.len() < ROUNDS_MAX {
            rounds.push(node.presence_round());
        }
    }
}

/// Looks from time to time who answers at this node's address.
pub(super) async fn watch_own_address(node: Node) {
    let mut ticks = tokio::time::interval(OWN_ADDRESS_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut changes = node.inner.raft.server_metrics();
    let mut looked_at: Option<Member> = None;
    while node.inner.standing.removed().is_none() {
        tokio::select! {
            biased;
            _ = ticks.tick() => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                if node.inner.member(node.id()) == looked_at {
                    continue;
                }
            }
        }
        looked_at = node.inner.member(node.id());
        node.look_at_own_address().await;
    }
}

impl Node {
    async fn presence_round(&self) {
        let inner = &self.inner;
        if inner.closed_by().is_some() {
            return;
        }
        let at = Instant::now();
        let membership = inner.membership();
        inner.peers.learn(Arc::clone(&membership));
        inner.processes.keep(|id, incarnation| {
            let member = membership.get_node(&id);
            member.is_some_and(|member| member.incarnation == incarnation)
        });
        self.look_at_own_membership();
        let Some(vote) = self.vote().await else {
            return;
        };
        let others = membership.nodes().filter(|(id, _)| **id != self.id());
        let told = others.map(|(id, member)| self.present_to(*id, member, vote, at));
        join_all(told).await;
        // A leader without other voters is asked by nobody.
        self.note_led();
        if inner.standing.closed().is_none() && inner.standing.set_checked() {
            self.set_elect();
        }
    }

    async fn present_to(&self, id: NodeId, member: &Member, vote: Vote, at: Instant) {
        let ask = Request::Ask(Ask::Present { vote });
        let peers = &self.inner.peers;
        let asked = peers.ask(Channel::Control, id, member, &ask, self.ready_window());
        match asked.await {
            Ok(Answer::Present(answer)) => self.note_presence(id, vote, at, answer),
            Err(PeerError::NotMember { since }) => self.consider_removed(since),
            Err(error) if error.runs_twice() => self.note_refused(id),
            // It is a fault of the way, or of the member, and shows as no answer.
            Ok(_) | Err(_) => {}
        }
    }

    fn note_presence(&self, id: NodeId, vote: Vote, at: Instant, answer: PresentAnswer) {
        let inner = &self.inner;
        if answer.follows {
            inner.touch.followed(vote, id, at);
            self.note_led();
        }
        let led_at = answer.led_ms_ago.map(Duration::from_millis);
        if let Some(led_at) = led_at.and_then(|ago| at.checked_sub(ago)) {
            inner.touch.leader_confirmed(led_at);
        }
        if answer.has_rival {
            self.note_double();
        }
        if inner.standing.taken_by(id) {
            self.set_elect();
        }
    }

    fn note_led(&self) {
        let led_at = self.led_at(&self.inner.raft.metrics().borrow_watched(), None);
        if let Some(led_at) = led_at {
            self.inner.touch.led(led_at);
        }
    }

    /// When a majority followed this node, if it leads and has a read index to give; `also` follows it
    /// now.
    pub(super) fn led_at(
        &self,
        metrics: &RaftMetrics<TypeConfig>,
        also: Option<NodeId>,
    ) -> Option<Instant> {
        let vote = metrics.vote;
        let committed = metrics.local_committed.as_ref();
        committed_as_leader(self.id(), metrics.state, &vote, committed)?;
        let membership = &metrics.membership_config;
        let now = Instant::now();
        self.inner
            .touch
            .led_at(vote, membership, self.id(), also, now)
    }

    pub(super) async fn answer_present(&self, from: &Party, vote: Vote) -> Answer {
        let Some(own) = self.vote().await else {
            return Answer::Failed {
                reason: "it is stopping".to_owned(),
            };
        };
        let also = from.node_id.filter(|_| vote <= own);
        let led_at = self.led_at(&self.inner.raft.metrics().borrow_watched(), also);
        let ago = led_at.map(|at| at.elapsed().as_millis());
        let who = from.node_id.zip(from.incarnation);
        Answer::Present(PresentAnswer {
            follows: own <= vote && self.inner.standing.no_part().is_none(),
            led_ms_ago: ago.and_then(|ms| u64::try_from(ms).ok()),
            has_rival: who.is_some_and(|who| self.inner.processes.has_rival(who, Instant::now())),
        })
    }

    /// Judges the process that a message comes from.
    ///
    /// # Errors
    /// Another one of the same member was there before, and lives.
    pub(super) fn meet(&self, from: &Party) -> Result<(), Refusal> {
        let inner = &self.inner;
        let (Some(node_id), Some(incarnation), Some(run)) =
            (from.node_id, from.incarnation, from.run)
        else {
            return Ok(());
        };
        if node_id == self.id() {
            if incarnation == inner.member.incarnation && run != inner.run {
                self.note_double();
                return Err(Refusal::RunsTwice { node_id });
            }
            return Ok(());
        }
        // Of others nothing is kept.
        if inner.recorded_incarnation(node_id) != Some(incarnation) {
            return Ok(());
        }
        let met = inner
            .processes
            .meet((node_id, incarnation), run, Instant::now());
        match met {
            Met::Counts => Ok(()),
            Met::Second { first_time } => {
                if first_time {
                    tracing::warn!(
                        node_id,
                        "a second process with this member's data folder is refused"
                    );
                }
                Err(Refusal::RunsTwice { node_id })
            }
        }
    }

    fn note_double(&self) {
        if self.inner.standing.saw_double(Instant::now()) {
            tracing::warn!("{DOUBLE}");
        }
    }

    fn note_refused(&self, by: NodeId) {
        match self.inner.standing.refused_by(by, Instant::now()) {
            Refused::Now => {
                tracing::warn!(by, "another process with this data folder was there before");
                self.set_elect();
            }
            Refused::Still => {}
            Refused::ForLong(why) => self.inner.fail(why),
        }
    }

    /// Whether this node may stand for election.
    pub(super) fn set_elect(&self) {
        let inner = &self.inner;
        let may = inner.standing.no_part().is_none() && inner.health.fenced().is_none();
        inner.raft.runtime_config().elect(may);
    }

    /// This node may have applied its own removal, or got it with a snapshot.
    fn look_at_own_membership(&self) {
        let server = self.inner.raft.server_metrics();
        let committed = Arc::clone(&server.borrow_watched().committed_membership_config);
        if let Some(since) = without(&committed, self.id()) {
            self.consider_removed(since);
        }
    }

    /// A membership without this node is committed at `since`. Ids are never given twice: it is
    /// removed if it was a member before that.
    fn consider_removed(&self, since: u64) {
        let inner = &self.inner;
        let server = inner.raft.server_metrics();
        let committed = Arc::clone(&server.borrow_watched().committed_membership_config);
        let own = committed.get_node(&self.id());
        let known = own.and_then(|_| committed.log_id().map(|id| id.index));
        let is_initialised = inner.initialised();
        if was_member_before(self.id(), known, is_initialised).is_some_and(|at| since > at) {
            self.close_as_removed(removed_reason(since));
        }
    }

    fn close_as_removed(&self, reason: String) {
        let inner = &self.inner;
        if !inner.standing.set_removed(reason.clone()) {
            return;
        }
        tracing::warn!("{reason}");
        self.set_elect();
        if let Err(error) = inner.data_dir.set_removed(&reason) {
            tracing::error!(%error, "a restart will not know at once that this node was removed");
        }
    }

    /// What is told to a node that asks for what members get; none where it is one, or may be.
    pub(super) fn no_member(&self, from: &Party) -> Option<Answer> {
        let id = from.node_id?;
        let server = self.inner.raft.server_metrics();
        let server = server.borrow_watched();
        if server.membership_config.get_node(&id).is_some() {
            return None;
        }
        let since = without(&server.committed_membership_config, id)?;
        Some(Answer::NotMember { since })
    }

    /// Asks who answers at the address that the membership has for this node.
    async fn look_at_own_address(&self) {
        let inner = &self.inner;
        let Some(recorded) = inner.member(self.id()) else {
            return;
        };
        let own = &inner.member;
        if recorded.incarnation != own.incarnation || inner.closed_by().is_some() {
            return;
        }
        let asked = inner.peers.ask_address(
            &recorded.peer_addr,
            None,
            Ask::Identify,
            OWN_ADDRESS_TIMEOUT,
        );
        let found = match asked.await {
            Ok(Answer::Identity(there)) if there.incarnation == own.incarnation => {
                if there.run == inner.run {
                    String::new()
                } else {
                    let up_ms = inner.up_ms();
                    if (there.up_ms, there.run) >= (up_ms, inner.run) {
                        return inner.fail(runs_at(&recorded.peer_addr));
                    }
                    self.note_double();
                    "another process with this folder answers there".to_owned()
                }
            }
            Ok(Answer::Identity(there)) => match there.node_id {
                Some(id) => format!("node {id} answers there"),
                None => "another node answers there".to_owned(),
            },
            Ok(_) | Err(_) => "nobody answers there".to_owned(),
        };
        let wrong = wrong_addresses(self.id(), own, &recorded, &found);
        if inner.standing.set_address(wrong.clone()) {
            for warning in wrong {
                tracing::warn!("{warning}");
            }
        }
    }
}

/// What to tell of the addresses that the membership has for this node; `found` says who answers at
/// the peer address, if it is not this process.
fn wrong_addresses(id: NodeId, own: &Member, recorded: &Member, found: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut say = |name: &str, recorded: &str, own: &str, found: &str| {
        wrong.push(format!(
            "the cluster has the {name} address {recorded} for this node, which runs at {own}\
             {found}: correct it with PATCH /api/v1/cluster/members/{id} on a node that is ready, or start \
             this node there"
        ));
    };
    if !found.is_empty() && recorded.peer_addr != own.peer_addr {
        let found = format!(" ({found})");
        say("peer", &recorded.peer_addr, &own.peer_addr, &found);
    }
    if recorded.http_addr != own.http_addr {
        say("http", &recorded.http_addr, &own.http_addr, "");
    }
    wrong
}

/// The log index of a membership, if there is one and it has no node `id`.
fn without(membership: &StoredMembership, id: NodeId) -> Option<u64> {
    let is_any = membership.nodes().next().is_some();
    if !is_any || membership.get_node(&id).is_some() {
        return None;
    }
    membership.log_id().map(|id| id.index)
}

/// A log index at or before which the node certainly was a member or had got its id; none where
/// nothing says that it ever was. `known` is that of a committed membership with it.
///
/// Whoever joins gets its id from an entry that the leader commits right before the membership with
/// it: a member that lags may tell a newcomer of a membership from before that, and is not believed.
fn was_member_before(id: NodeId, known: Option<u64>, is_initialised: bool) -> Option<u64> {
    let joined = id.checked_sub(JOINED_NODE_ID_MIN);
    // A founder that has a log was in the first membership.
    let founded = (joined.is_none() && is_initialised).then_some(0);
    known.max(joined).max(founded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_membership_from_after_the_admission_says_that_a_node_was_removed() {
        let removed = |id, known, is_initialised, since| {
            was_member_before(id, known, is_initialised).is_some_and(|at| since > at)
        };
        // A founder.
        assert!(!removed(2, Some(40), true, 40), "the same one");
        assert!(!removed(2, Some(40), true, 39));
        assert!(removed(2, Some(40), true, 41));
        assert!(
            removed(2, None, true, 7),
            "its log is as old as the cluster"
        );
        assert!(
            !removed(2, None, false, 7),
            "it never belonged to this cluster"
        );
        // One that joined by the entry 70; its log is empty, or old.
        assert!(!removed(1_070, None, false, 70), "who answers lags");
        assert!(removed(1_070, None, false, 72));
        assert!(!removed(1_070, Some(90), true, 80));
    }

    #[test]
    fn wrong_addresses_are_told_with_what_to_do() {
        let at = |peer: &str, http: &str| Member {
            peer_addr: peer.to_owned(),
            http_addr: http.to_owned(),
            ..Member::default()
        };
        let told = |found| wrong_addresses(4, &at("a:2", "h:1"), &at("a:1", "h:1"), found);
        assert_eq!(told(""), Vec::<String>::new(), "it is reached there");
        let said = told("nobody answers there").concat();
        assert!(said.contains("a:1") && said.contains("a:2"), "{said}");
        assert!(said.contains("/api/v1/cluster/members/4"), "{said}");
        let http = wrong_addresses(4, &at("a:1", "h:1"), &at("a:1", "h:2"), "");
        assert_eq!(http.len(), 1);
        // A way that leads nowhere from here may lead here from elsewhere.
        let same = at("a:1", "h:1");
        let said = wrong_addresses(4, &same, &same, "nobody answers there");
        assert!(said.is_empty());
    }
}
