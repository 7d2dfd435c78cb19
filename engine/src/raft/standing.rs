//! Whether this process may take part in the cluster at all: whether it is a member, and the only
//! process with its data folder.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::processes::SILENCE_MAX;
use super::types::NodeId;

/// A process that a member refuses for so long, because another one was there before, ends. Longer
/// than a member may take one that has lost its power for living.
const REFUSED_MAX: Duration = SILENCE_MAX.saturating_add(Duration::from_secs(1));
/// For so long it is told that another process with this folder was seen.
const TOLD: Duration = Duration::from_secs(60);

#[derive(Default)]
struct State {
    /// The members that could be asked know no other process with this folder.
    is_checked: bool,
    removed: Option<String>,
    /// Members that know another process with this folder, and since when they say so.
    refused_by: BTreeMap<NodeId, Instant>,
    /// When another process with this folder was last seen.
    double_seen: Option<Instant>,
    address: Vec<String>,
}

/// The standing of one process.
#[derive(Default)]
pub(super) struct Standing {
    state: Mutex<State>,
}

impl Standing {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the node serves nothing, if so.
    pub(super) fn closed(&self) -> Option<String> {
        let state = self.lock();
        if let Some(removed) = &state.removed {
            return Some(removed.clone());
        }
        let by = state.refused_by.keys().next()?;
        Some(runs_twice(*by))
    }

    /// Why the process may neither vote nor acknowledge anything, if so.
    pub(super) fn no_part(&self) -> Option<String> {
        self.closed().or_else(|| {
            let why = "it asks first whether another process runs with its data folder";
            (!self.lock().is_checked).then(|| why.to_owned())
        })
    }

    /// Everybody who can be asked was asked. False where that was known.
    pub(super) fn set_checked(&self) -> bool {
        !std::mem::replace(&mut self.lock().is_checked, true)
    }

    /// Why the cluster does not know this node any more, if so.
    pub(super) fn removed(&self) -> Option<String> {
        self.lock().removed.clone()
    }

    /// The node was removed. False where that was known.
    pub(super) fn set_removed(&self, reason: String) -> bool {
        self.lock().removed.replace(reason).is_none()
    }

    /// A member takes this process for the one that counts. True where it did not before.
    pub(super) fn taken_by(&self, member: NodeId) -> bool {
        self.lock().refused_by.remove(&member).is_some()
    }

    /// A member knows another process with this folder, which was there before. Why to end, where
    /// it has said so for long.
    pub(super) fn refused_by(&self, member: NodeId, now: Instant) -> Refused {
        let mut state = self.lock();
        let first = state.refused_by.is_empty();
        let since = *state.refused_by.entry(member).or_insert(now);
        if now.saturating_duration_since(since) >= REFUSED_MAX {
            return Refused::ForLong(runs_twice(member));
        }
        if first { Refused::Now } else { Refused::Still }
    }

    /// Another process with this folder was seen. True where none was for a while.
    pub(super) fn saw_double(&self, now: Instant) -> bool {
        let before = self.lock().double_seen.replace(now);
        before.is_none_or(|at| now.saturating_duration_since(at) >= TOLD)
    }

    /// What is wrong with this node's addresses. True where that is news.
    pub(super) fn set_address(&self, wrong: Vec<String>) -> bool {
        let mut state = self.lock();
        let is_new = state.address != wrong;
        state.address = wrong;
        is_new
    }

    /// What an operator has to look at although the node serves.
    pub(super) fn warnings(&self, now: Instant) -> Vec<String> {
        let state = self.lock();
        let mut warnings = state.address.clone();
        let double = state.double_seen;
        if double.is_some_and(|at| now.saturating_duration_since(at) < TOLD) {
            warnings.push(DOUBLE.to_owned());
        }
        warnings
    }
}

/// What follows from a member's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Nobody refused this process before.
    Now,
    /// Somebody does already.
    Still,
    /// It has lasted: the process is to end, for this reason.
    ForLong(String),
}

/// What the process that was there first says.
pub(super) const DOUBLE: &str = "another process with a copy of this node's data folder was \
    started, and is refused: stop it, and start it with --join and an empty folder if it is to be \
    a node of its own";

fn runs_twice(member: NodeId) -> String {
    format!(
        "another process runs with a copy of this data folder, and was there before (node {member} \
         says so): this one must not run. Where this machine was cloned, start it with --join and \
         an empty folder; where the other process is the wrong one, stop that, and start this one \
         again"
    )
}

/// What a process says that met an older one with its folder at the address that the membership
/// has for it.
pub(super) fn runs_at(addr: &str) -> String {
    format!(
        "another process runs with a copy of this data folder at {addr}, the address that the \
         cluster has for this node: this one must not run. Where this machine was cloned, start \
         it with --join and an empty folder; where the other process is the wrong one, stop that, \
         and start this one again"
    )
}

/// Why a node that was removed serves nothing, and what to do.
pub(super) fn removed_reason(since: u64) -> String {
    format!(
        "the cluster has removed this node (the membership of log index {since} is without it), \
         for good: it serves nothing any more. Stop it; to let this machine join again, start it \
         with --join and an empty data folder, under a new id. This folder is good for nothing but \
         a copy"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_no_part_before_it_has_asked() {
        let standing = Standing::default();
        assert!(standing.no_part().is_some() && standing.closed().is_none());
        assert!(standing.set_checked() && !standing.set_checked());
        assert_eq!(standing.no_part(), None);
        assert!(standing.set_removed(removed_reason(9)));
        assert!(!standing.set_removed(removed_reason(10)));
        assert_eq!(standing.no_part(), standing.closed());
        assert!(standing.closed().is_some_and(|why| why.contains("--join")));
    }

    #[test]
    fn a_refusal_that_lasts_ends_the_process_and_a_short_one_does_not() {
        let standing = Standing::default();
        standing.set_checked();
        let now = Instant::now();
        assert_eq!(standing.refused_by(2, now), Refused::Now);
        assert_eq!(standing.refused_by(3, now), Refused::Still);
        assert!(standing.no_part().is_some());
        assert!(standing.taken_by(2) && !standing.taken_by(2));
        assert!(standing.no_part().is_some(), "3 refuses it still");
        let later = now + REFUSED_MAX;
        assert_eq!(standing.refused_by(2, later), Refused::Still);
        let lasted = standing.refused_by(3, later);
        assert!(matches!(lasted, Refused::ForLong(_)), "{lasted:?}");
        assert!(standing.taken_by(2) && standing.taken_by(3));
        assert_eq!(standing.no_part(), None);
    }
}
