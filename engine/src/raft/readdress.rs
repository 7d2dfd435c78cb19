//! Correcting where a member is, without removing it.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::ChangeMembers;

use super::api::MembershipError;
use super::message::{AdminAsk, Answer, Ask};
use super::node::Node;
use super::types::{Member, NodeId};
use crate::bounds;

/// How long whoever is at an address may take to say who it is.
const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(1);

/// Who answers at an address.
#[derive(PartialEq, Eq)]
enum There {
    Member,
    Another,
    Nobody,
}

impl Node {
    /// Corrects the addresses of a member; what is none stays. Its id and its data folder stay too.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn readdress(
        &self,
        node_id: NodeId,
        peer_addr: Option<String>,
        http_addr: Option<String>,
        expected_membership: Option<u64>,
    ) -> Result<(), MembershipError> {
        let ask = AdminAsk::Readdress {
            node_id,
            peer_addr,
            http_addr,
            expected: expected_membership,
        };
        self.admin(ask).await.map(drop)
    }

    pub(super) async fn leader_readdress(
        &self,
        id: NodeId,
        peer_addr: Option<String>,
        http_addr: Option<String>,
        expected: Option<u64>,
    ) -> Result<NodeId, MembershipError> {
        let membership = self.expect(id, expected)?;
        let known = membership.get_node(&id).cloned();
        let known = known.ok_or(MembershipError::UnknownMember { node_id: id })?;
        let changed = Member {
            peer_addr: peer_addr.unwrap_or_else(|| known.peer_addr.clone()),
            http_addr: http_addr.unwrap_or_else(|| known.http_addr.clone()),
            incarnation: known.incarnation,
        };
        if changed == known {
            return Ok(id);
        }
        if let Err(error) = bounds::member(&changed) {
            let reason = error.to_string();
            return Err(MembershipError::Refused { reason });
        }
        let mut others = membership.nodes().filter(|(other, _)| **other != id);
        if let Some((other, _)) = others.find(|(_, m)| m.peer_addr == changed.peer_addr) {
            let reason = format!("{} is the peer address of node {other}", changed.peer_addr);
            return Err(MembershipError::Refused { reason });
        }
        if changed.peer_addr != known.peer_addr {
            self.expect_at(id, &known, &changed.peer_addr).await?;
        }
        let change = ChangeMembers::SetNodes(BTreeMap::from([(id, changed)]));
        self.change(&membership, change).await?;
        Ok(id)
    }

    /// Refuses an address at which another node answers, and one at which nobody does while the
    /// member answers where it is: a mistake in it would cut off a member that works.
    async fn expect_at(
        &self,
        id: NodeId,
        known: &Member,
        addr: &str,
    ) -> Result<(), MembershipError> {
        let reason = match self.who_is_at(addr, known).await {
            There::Member => return Ok(()),
            There::Another => format!("another node answers at {addr}, not node {id}"),
            There::Nobody => {
                let before = &known.peer_addr;
                if self.who_is_at(before, known).await != There::Member {
                    return Ok(());
                }
                format!(
                    "nobody answers at {addr}, and node {id} answers at {before}: start it at the \
                     new address first"
                )
            }
        };
        Err(MembershipError::Refused { reason })
    }

    async fn who_is_at(&self, addr: &str, member: &Member) -> There {
        let peers = &self.inner.peers;
        let asked = peers.ask_address(addr, None, Ask::Identify, IDENTIFY_TIMEOUT);
        match asked.await {
            Ok(Answer::Identity(there)) if there.incarnation == member.incarnation => There::Member,
            Ok(_) => There::Another,
            Err(_) => There::Nobody,
        }
    }
}
