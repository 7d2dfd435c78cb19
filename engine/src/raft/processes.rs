//! Which process of each member is the one that counts.
//!
//! Two processes may run with copies of one data folder: a cloned machine, a backup that was
//! started beside the original. Both have the member's id and incarnation, so both might vote, and
//! one would not know what the other has promised. Each start has a random [`Run`] that the
//! handshake carries. The first one that is met counts for as long as it lives; the other is
//! refused. A process has ended when all its connections have, or when it has said nothing for
//! [`SILENCE_MAX`]: each speaks to all members several times a second (`presence.rs`).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::types::{Incarnation, NodeId, Run};

/// A process that is connected and silent for so long has ended: its machine lost its power.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(2);
/// For so long it is told that a second process was refused.
const TOLD: Duration = Duration::from_secs(60);

/// What comes of meeting a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// It is the one that counts.
    Counts,
    /// Another one was there before, and lives.
    Second {
        /// This one was not refused before.
        first_time: bool,
    },
}

struct Member {
    run: Run,
    heard: Instant,
    /// Open connections of each process.
    connections: BTreeMap<Run, usize>,
    /// The last process that was refused, and when.
    refused: Option<(Run, Instant)>,
}

impl Member {
    fn new(run: Run, now: Instant) -> Self {
        Self {
            run,
            heard: now,
            connections: BTreeMap::new(),
            refused: None,
        }
    }

    fn lives(&self, now: Instant) -> bool {
        let connected = self.connections.contains_key(&self.run);
        connected && now.saturating_duration_since(self.heard) < SILENCE_MAX
    }
}

/// The processes of all members that this node has met.
#[derive(Default)]
pub(super) struct Processes {
    members: Mutex<BTreeMap<(NodeId, Incarnation), Member>>,
}

impl Processes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(NodeId, Incarnation), Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member's process has sent something.
    pub(super) fn meet(&self, who: (NodeId, Incarnation), run: Run, now: Instant) -> Met {
        let mut members = self.lock();
        let member = members.entry(who).or_insert_with(|| Member::new(run, now));
        if member.run != run && member.lives(now) {
            let first_time = member.refused.is_none_or(|(refused, _)| refused != run);
            member.refused = Some((run, now));
            return Met::Second { first_time };
        }
        member.run = run;
        member.heard = now;
        Met::Counts
    }

    /// A connection of that process was taken.
    pub(super) fn connected(&self, who: (NodeId, Incarnation), run: Run) {
        if let Some(member) = self.lock().get_mut(&who) {
            *member.connections.entry(run).or_default() += 1;
        }
    }

    /// A connection of that process is closed.
    pub(super) fn gone(&self, who: (NodeId, Incarnation), run: Run) {
        let mut members = self.lock();
        let Some(member) = members.get_mut(&who) else {
            return;
        };
        if let Some(count) = member.connections.get_mut(&run) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                member.connections.remove(&run);
            }
        }
    }

    /// Whether a second process of that member was refused not long ago.
    pub(super) fn has_rival(&self, who: (NodeId, Incarnation), now: Instant) -> bool {
        let members = self.lock();
        members.get(&who).is_some_and(|member| rival(member, now))
    }

    /// The members of which a second process was refused not long ago.
    pub(super) fn with_rivals(&self, now: Instant) -> Vec<NodeId> {
        let members = self.lock();
        let of = members.iter().filter(|(_, member)| rival(member, now));
        of.map(|((id, _), _)| *id).collect()
    }

    /// Forgets who is no member any more.
    pub(super) fn keep(&self, is_member: impl Fn(NodeId, Incarnation) -> bool) {
        self.lock().retain(|who, _| is_member(who.0, who.1));
    }
}

fn rival(member: &Member, now: Instant) -> bool {
    let refused = member.refused.as_ref();
    refused.is_some_and(|(_, at)| now.saturating_duration_since(*at) < TOLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: (NodeId, Incarnation) = (2, Incarnation([2; 16]));
    const FIRST: Run = Run([1; 16]);
    const LATER: Run = Run([9; 16]);

    fn running(now: Instant) -> Processes {
        let processes = Processes::default();
        assert_eq!(processes.meet(WHO, FIRST, now), Met::Counts);
        processes.connected(WHO, FIRST);
        processes
    }

    #[test]
    fn the_later_of_two_live_processes_is_refused() {
        let now = Instant::now();
        let processes = running(now);
        let refused = |first_time| Met::Second { first_time };
        assert_eq!(processes.meet(WHO, LATER, now), refused(true));
        assert_eq!(processes.meet(WHO, LATER, now), refused(false));
        assert_eq!(processes.meet(WHO, FIRST, now), Met::Counts);
        assert!(processes.has_rival(WHO, now));
        assert_eq!(processes.with_rivals(now), [2]);
        let other_folder = (2, Incarnation([3; 16]));
        assert_eq!(processes.meet(other_folder, LATER, now), Met::Counts);
        assert!(!processes.has_rival(WHO, now + TOLD));
    }

    #[test]
    fn a_process_whose_connections_have_ended_makes_room_at_once() {
        let now = Instant::now();
        let processes = running(now);
        processes.connected(WHO, FIRST);
        processes.gone(WHO, FIRST);
        assert_ne!(processes.meet(WHO, LATER, now), Met::Counts);
        processes.gone(WHO, FIRST);
        assert_eq!(processes.meet(WHO, LATER, now), Met::Counts);
        processes.connected(WHO, LATER);
        assert_ne!(processes.meet(WHO, FIRST, now), Met::Counts);
    }

    #[test]
    fn a_process_that_says_nothing_makes_room() {
        let now = Instant::now();
        let processes = running(now);
        let later = now + SILENCE_MAX - Duration::from_millis(1);
        assert_ne!(processes.meet(WHO, LATER, later), Met::Counts);
        let later = now + SILENCE_MAX;
        assert_eq!(processes.meet(WHO, LATER, later), Met::Counts);
        processes.connected(WHO, LATER);
        // One that was suspended is the second when it goes on.
        assert_ne!(processes.meet(WHO, FIRST, later), Met::Counts);
    }

    #[test]
    fn who_is_no_member_is_forgotten() {
        let processes = running(Instant::now());
        processes.keep(|id, _| id != WHO.0);
        assert!(processes.lock().is_empty());
    }
}
