//! For how long learners have not answered the leader: who gives way to a node that joins.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use openraft::async_runtime::Instant as _;
use openraft::{RaftMetrics, ServerState};
use tokio::time::Instant;

use super::types::{NodeId, TypeConfig};

/// A learner that has not answered for so long may be removed, if its place is needed. A machine
/// that is repaired meanwhile joins again.
pub(super) const LEARNER_ABSENT: Duration = Duration::from_secs(15 * 60);

/// When each learner was last heard of, or first seen by this leader: an earlier leader's memory is
/// not asked for.
#[derive(Debug, Default)]
pub(super) struct Absences(Mutex<BTreeMap<NodeId, Instant>>);

impl Absences {
    /// Notes what Raft knows of the learners' answers. To be called again and again.
    pub(super) fn note(&self, metrics: &RaftMetrics<TypeConfig>) {
        let learners = match metrics.state {
            ServerState::Leader => metrics.membership_config.membership().learner_ids(),
            _ => return self.heard(Instant::now(), std::iter::empty()),
        };
        let acked = |id: &NodeId| {
            let acked = metrics.heartbeat.as_ref()?.get(id)?.as_ref()?;
            Instant::now().checked_sub(acked.elapsed())
        };
        self.heard(Instant::now(), learners.map(|id| (id, acked(&id))));
    }

    fn heard(&self, now: Instant, learners: impl Iterator<Item = (NodeId, Option<Instant>)>) {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *since);
        *since = learners
            .map(|(id, acked)| {
                let before = before.get(&id).copied().unwrap_or(now);
                (id, acked.map_or(before, |acked| acked.max(before)))
            })
            .collect();
    }

    /// The learner that has been away longest, if that is [`LEARNER_ABSENT`] or longer.
    pub(super) fn longest(&self, now: Instant) -> Option<NodeId> {
        let since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (id, at) = since.iter().min_by_key(|(_, at)| **at)?;
        (now.saturating_duration_since(*at) >= LEARNER_ABSENT).then_some(*id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learner_that_has_been_away_longest_gives_way_and_only_after_the_named_time() {
        let absences = Absences::default();
        let start = Instant::now();
        let minutes = |count: u64| start + Duration::from_secs(60 * count);
        absences.heard(start, [(1, None), (2, None)].into_iter());
        absences.heard(
            minutes(4),
            [(1, Some(minutes(4))), (2, None), (3, None)].into_iter(),
        );
        assert_eq!(absences.longest(minutes(14)), None);
        assert_eq!(absences.longest(minutes(15)), Some(2));
        absences.heard(minutes(16), [(1, Some(minutes(4))), (3, None)].into_iter());
        assert_eq!(absences.longest(minutes(18)), None, "2 is a member no more");
        assert_eq!(absences.longest(minutes(19)), Some(1));
        // Another leader begins anew.
        absences.heard(minutes(20), std::iter::empty());
        absences.heard(minutes(20), [(1, None), (3, None)].into_iter());
        assert_eq!(absences.longest(minutes(34)), None);
    }
}
