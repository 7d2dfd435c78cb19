//! Whether the voters have compiled the modules of a ruleset that is about to be activated.
//!
//! A replica that lacks a module's compiled form compiles it in the middle of apply, and everything
//! behind that entry waits, for minutes where the module is made to take long. So an activation is
//! proposed only when a majority with the leader has compiled its modules, which each voter begins
//! by itself when the upload is applied, or else when it is asked for them. That is a courtesy and no rule: an activation that was
//! proposed without it is as good, and a rollback never waits.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use raft3d_core::ModuleDigest;
use thiserror::Error;
use tokio::time::Instant;

use super::message::{Answer, Ask, Request};
use super::node::Node;
use super::transport::Channel;
use super::types::{Member, NodeId};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// A voter that has not answered after this is silent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The voters that do not have the modules compiled, where there are too many of them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not compiled on a majority with the leader: {}", .voters.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
pub struct NotCompiled {
    /// Each of them.
    pub voters: Vec<LackingVoter>,
}

/// A voter without them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("node {node_id} {why}")]
pub struct LackingVoter {
    /// Its id.
    pub node_id: NodeId,
    /// Why, in words that follow its name.
    pub why: String,
}

impl Node {
    /// Waits until a majority of the voters, the leader among them, has compiled all of `modules`.
    ///
    /// # Errors
    /// That is not so after `patience`; the voters that lack them are named.
    pub async fn await_compiled(
        &self,
        modules: &[ModuleDigest],
        patience: Duration,
    ) -> Result<(), NotCompiled> {
        let deadline = Instant::now() + patience;
        loop {
            let membership = self.inner.membership();
            let ids: BTreeSet<NodeId> = membership.voter_ids().collect();
            let voters = membership.nodes().filter(|(id, _)| ids.contains(id));
            let asked = voters.map(|(id, member)| self.lacks(*id, member, modules));
            let voters: Vec<LackingVoter> = join_all(asked).await.into_iter().flatten().collect();
            let leader = self.inner.current_leader();
            let leader_lacks = leader.is_none_or(|id| voters.iter().any(|v| v.node_id == id));
            if !leader_lacks && voters.len() < ids.len().div_ceil(2) {
                return Ok(());
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(NotCompiled { voters });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What keeps the voter from evaluating all of `modules` at once; none where nothing does.
    async fn lacks(
        &self,
        node_id: NodeId,
        member: &Member,
        modules: &[ModuleDigest],
    ) -> Option<LackingVoter> {
        let lacking = |why: String| Some(LackingVoter { node_id, why });
        let compiled = if node_id == self.id() {
            self.compiled(modules)
        } else {
            let ask = Request::Ask(Ask::Compiled {
                modules: modules.to_vec(),
            });
            let peers = &self.inner.peers;
            let asked = peers.ask(Channel::Control, node_id, member, &ask, ANSWER_TIMEOUT);
            match asked.await {
                Ok(Answer::Compiled { compiled }) if compiled.len() == modules.len() => compiled,
                Ok(_) => return lacking("answered something else".to_owned()),
                Err(error) => return lacking(format!("is silent ({error})")),
            }
        };
        let missing = modules.iter().zip(compiled).find(|(_, compiled)| !compiled);
        missing.and_then(|(module, _)| lacking(format!("is still compiling {module}")))
    }

    /// For each module, whether this node has it compiled. One that it has not is begun with: it may
    /// have come with a snapshot, or with so many others that it was left.
    pub(super) fn compiled(&self, modules: &[ModuleDigest]) -> Vec<bool> {
        let compiled = |module: &ModuleDigest| {
            let compiled = self.inner.host.is_compiled(*module);
            if !compiled {
                self.inner.machine.want_compiled(*module);
            }
            compiled
        };
        modules.iter().map(compiled).collect()
    }
}
