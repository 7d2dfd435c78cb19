//! Everything that the log says beside its entries.

use crate::raft::types::{LogId, Vote};

/// The log's state beside the entries, as of some place in the order of writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) vote: Option<Vote>,
    /// Invariant (test `committed_never_passes_the_end`): its index is at most that of `last`.
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    /// The last entry, or `purged` where there is none.
    pub(super) last: Option<LogId>,
}

impl Tip {
    /// Index that the next entry must have; none where any will do.
    pub(super) fn next_index(&self) -> Option<u64> {
        Some(self.last?.index + 1)
    }

    /// Index of the first entry that may be there.
    pub(super) fn first_index(&self) -> u64 {
        self.purged.map_or(0, |id| id.index + 1)
    }

    /// Takes away what comes after `after`. Answers whether that changes anything.
    pub(super) fn truncate_after(&mut self, after: Option<LogId>) -> bool {
        let after = after.max(self.purged);
        let (Some(last), next) = (self.last, next_index(after)) else {
            return false;
        };
        if last.index < next {
            return false;
        }
        self.last = after;
        self.clamp_committed();
        true
    }

    /// Takes away what comes up to `up_to`. Answers whether that changes anything.
    pub(super) fn purge(&mut self, up_to: LogId) -> bool {
        if next_index(self.purged) > up_to.index {
            return false;
        }
        self.purged = Some(up_to);
        if next_index(self.last) <= up_to.index {
            self.last = Some(up_to);
        }
        true
    }

    /// Notes what is committed, as far as this log reaches.
    pub(super) fn commit(&mut self, committed: Option<LogId>) {
        self.committed = committed;
        self.clamp_committed();
    }

    fn clamp_committed(&mut self) {
        if next_index(self.committed) > next_index(self.last) {
            self.committed = self.last;
        }
    }
}

/// Index after `log_id`.
pub(super) fn next_index(log_id: Option<LogId>) -> u64 {
    log_id.map_or(0, |id| id.index + 1)
}
