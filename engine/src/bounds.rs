//! What may stand in the log and be said between nodes: one function for each bound.
//!
//! Whoever proposes, writes, sends or reads calls the same function, so that nothing is taken at
//! one door that another one cannot read: a log that holds more than its reader allows would be
//! called damaged at the next start. The limits of commands stand in
//! [`raft3d_core::command::check`].
//!
//! Invariant: what these functions let pass, the codec reads again (test
//! `whatever_is_within_its_bounds_is_read_again`).

use raft3d_core::limits::ENVELOPE_BYTES_MAX;
use thiserror::Error;

use crate::raft::types::{Entry, EntryPayload, LogId, Member, Membership, Vote};

/// Most voters of one configuration. Each more makes every write wait for more syncs.
pub const VOTERS_MAX: usize = 15;
/// Most members without a vote. A leader sends the log to each of them.
pub const LEARNERS_MAX: usize = 16;
/// Most members: the voters of one configuration and the learners.
pub const MEMBERS_MAX: usize = VOTERS_MAX + LEARNERS_MAX;
/// Most configurations of one membership: two while it changes (joint consensus).
pub const CONFIGURATIONS_MAX: usize = 2;
/// Longest address in bytes: a host name (RFC 1035, 2.3.4), a colon and a port.
pub const ADDRESS_BYTES_MAX: usize = 255 + 6;
/// Last term. At one election in each microsecond it is reached after 2,000 years.
pub const TERM_MAX: u64 = 1 << 56;
/// Last log index. Far from where adding to an index could overflow.
pub const LOG_INDEX_MAX: u64 = 1 << 56;
/// By how many terms a vote may be ahead of this node's own. Elections one after the other, without
/// a pause, take ten days for so many; and whoever wants to use up all terms needs tens of
/// billions of votes, each of which is synced to a disk.
pub const TERM_JUMP_MAX: u64 = 1_000_000;
/// Last term that a node without a membership takes from its first leader: it has nothing to
/// compare with. Far enough from [`TERM_MAX`] for a cluster to go on from there.
pub const FIRST_TERM_MAX: u64 = 1 << 40;
/// Largest payload of a log entry, in bytes.
pub const ENTRY_BYTES_MAX: usize = ENVELOPE_BYTES_MAX;

/// Something outside its bound; names it, and says what the bound is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct OutOfBounds(String);

/// A value is within its bounds, or what is not.
pub type Checked = Result<(), OutOfBounds>;

fn outside<T>(what: impl Into<String>) -> Result<T, OutOfBounds> {
    Err(OutOfBounds(what.into()))
}

fn at_most(what: &str, value: u64, max: u64) -> Checked {
    if value > max {
        return outside(format!("{what} is {value}; at most {max} is taken"));
    }
    Ok(())
}

/// An address of a member, `host:port`.
///
/// # Errors
/// It has no host or no port above 0, is too long, or holds something that no address does.
pub fn address(text: &str) -> Checked {
    if text.len() > ADDRESS_BYTES_MAX {
        return outside(format!(
            "an address of {} bytes; at most {ADDRESS_BYTES_MAX} are taken",
            text.len()
        ));
    }
    let has_other = |c: char| c.is_whitespace() || c.is_control();
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
    if text.contains(has_other) || port.is_none_or(|port| port == 0) {
        return outside(format!("the address {text:?} is not host:port"));
    }
    Ok(())
}

/// What the membership records of one node.
///
/// # Errors
/// The address that is at fault.
pub fn member(member: &Member) -> Checked {
    for (which, text) in [("peer", &member.peer_addr), ("HTTP", &member.http_addr)] {
        address(text).or_else(|error| outside(format!("its {which} address: {error}")))?;
    }
    Ok(())
}

/// A membership, in force or proposed.
///
/// # Errors
/// Too many voters, learners or configurations, or a member that is at fault.
pub fn membership(membership: &Membership) -> Checked {
    let configs = membership.get_joint_config();
    if configs.is_empty() && membership.nodes().next().is_some() {
        return outside("a membership of members without voters");
    }
    at_most(
        "the number of configurations of a membership",
        configs.len() as u64,
        CONFIGURATIONS_MAX as u64,
    )?;
    for voters in configs {
        at_most(
            "the number of voters",
            voters.len() as u64,
            VOTERS_MAX as u64,
        )?;
    }
    at_most(
        "the number of learners",
        membership.learner_ids().count() as u64,
        LEARNERS_MAX as u64,
    )?;
    for (id, recorded) in membership.nodes() {
        member(recorded).or_else(|error| outside(format!("member {id}: {error}")))?;
    }
    Ok(())
}

/// A vote.
///
/// # Errors
/// Its term is beyond [`TERM_MAX`].
pub fn vote(vote: &Vote) -> Checked {
    at_most("a vote's term", vote.leader_id.term, TERM_MAX)
}

/// A log id.
///
/// # Errors
/// Its term is beyond [`TERM_MAX`], or its index beyond [`LOG_INDEX_MAX`].
pub fn log_id(log_id: &LogId) -> Checked {
    at_most("an entry's term", log_id.leader_id.term, TERM_MAX)?;
    at_most("a log index", log_id.index, LOG_INDEX_MAX)
}

/// A log entry. What a command's own fields may be is not looked at. A membership without voters
/// is no entry: any set of nodes would be a majority of it.
///
/// # Errors
/// What of it is too large.
pub fn entry(entry: &Entry) -> Checked {
    log_id(&entry.log_id)?;
    match &entry.payload {
        EntryPayload::Blank => Ok(()),
        EntryPayload::Normal(proposal) => at_most(
            "the size of an entry in bytes",
            proposal.0.len() as u64,
            ENTRY_BYTES_MAX as u64,
        ),
        EntryPayload::Membership(proposed) if proposed.get_joint_config().is_empty() => {
            outside("a membership without voters")
        }
        EntryPayload::Membership(proposed) => membership(proposed),
    }
}

/// A vote that another node sends, beside this node's own. One vote of the last term would end all
/// elections for ever, because no later one could be held.
///
/// # Errors
/// It is further ahead than a vote can honestly be.
pub fn later_vote(own: &Vote, is_member: bool, theirs: &Vote) -> Checked {
    vote(theirs)?;
    let (ours, term) = (own.leader_id.term, theirs.leader_id.term);
    let last = match is_member {
        true => ours.saturating_add(TERM_JUMP_MAX),
        false => ours.max(FIRST_TERM_MAX),
    };
    if term > last {
        return outside(format!(
            "its term {term} is too far ahead of this node's {ours}: at most {last} is taken. If \
             the cluster really is that far, this node must join it again with an empty folder"
        ));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests;
