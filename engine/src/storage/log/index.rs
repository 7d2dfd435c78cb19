//! Where each entry lies, and the most recent entries themselves.

use std::collections::VecDeque;

use crate::raft::types::Entry;

/// Where one entry's record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// Ordinal of the segment.
    pub(super) segment: u64,
    /// Offset of the record in it, bytes.
    pub(super) offset: u32,
}

/// Entries of consecutive indexes in one segment.
#[derive(Debug)]
struct Run {
    segment: u64,
    first_index: u64,
    /// Offsets of the records. Four bytes an entry are what the log costs in memory.
    offsets: VecDeque<u32>,
}

impl Run {
    fn end_index(&self) -> u64 {
        self.first_index + self.offsets.len() as u64
    }
}

/// Where each entry lies that is in a segment. Consecutive, oldest first.
#[derive(Debug, Default)]
pub(super) struct Index {
    runs: VecDeque<Run>,
}

impl Index {
    /// Index after the last entry; none where there is no entry.
    pub(super) fn end_index(&self) -> Option<u64> {
        self.runs.back().map(Run::end_index)
    }

    /// Index of the first entry; none where there is no entry.
    pub(super) fn first_index(&self) -> Option<u64> {
        self.runs.front().map(|run| run.first_index)
    }

    /// Notes where the next entry lies.
    pub(super) fn push(&mut self, index: u64, location: Location) {
        let end = self.end_index();
        assert!(
            end.is_none_or(|end| end == index),
            "entries are written in order: {index} after {end:?}"
        );
        match self.runs.back_mut() {
            Some(run) if run.segment == location.segment => run.offsets.push_back(location.offset),
            _ => self.runs.push_back(Run {
                segment: location.segment,
                first_index: index,
                offsets: VecDeque::from([location.offset]),
            }),
        }
    }

    /// Where entry `index` lies.
    pub(super) fn get(&self, index: u64) -> Option<Location> {
        let after = self.runs.partition_point(|run| run.first_index <= index);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let nth = usize::try_from(index - run.first_index).ok()?;
        Some(Location {
            segment: run.segment,
            offset: *run.offsets.get(nth)?,
        })
    }

    /// Forgets entries from `index` on.
    pub(super) fn truncate_from(&mut self, index: u64) {
        while let Some(run) = self.runs.back_mut() {
            let keep = usize::try_from(index.saturating_sub(run.first_index)).unwrap_or(usize::MAX);
            run.offsets.truncate(keep);
            if !run.offsets.is_empty() {
                return;
            }
            self.runs.pop_back();
        }
    }

    /// Forgets entries below `index`.
    pub(super) fn drop_below(&mut self, index: u64) {
        while let Some(run) = self.runs.front_mut() {
            if run.end_index() <= index {
                self.runs.pop_front();
                continue;
            }
            let go = usize::try_from(index.saturating_sub(run.first_index)).unwrap_or(0);
            run.offsets.drain(..go);
            run.first_index += go as u64;
            return;
        }
    }

    /// Gives back the memory that growing by doubling took, in all but the newest segment.
    pub(super) fn shrink(&mut self) {
        if let Some(run) = self.runs.back_mut() {
            run.offsets.shrink_to_fit();
        }
    }
}

/// An entry in memory.
#[derive(Debug)]
struct Cached {
    entry: Entry,
    bytes: usize,
    /// Tells this entry from another one that had its index before a truncation.
    ticket: u64,
}

/// The last entries of the log: those that no segment holds yet, and as many more as fit.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: VecDeque<Cached>,
    /// Index of the first of `entries`.
    first_index: u64,
    bytes: usize,
}

impl Cache {
    /// Adds the next entry.
    pub(super) fn push(&mut self, entry: Entry, bytes: usize, ticket: u64) {
        if self.entries.is_empty() {
            self.first_index = entry.log_id.index;
        }
        assert_eq!(
            self.first_index + self.entries.len() as u64,
            entry.log_id.index,
            "entries are appended in order"
        );
        self.bytes += bytes;
        self.entries.push_back(Cached {
            entry,
            bytes,
            ticket,
        });
    }

    /// Index of the first entry; none where there is no entry.
    pub(super) fn first_index(&self) -> Option<u64> {
        (!self.entries.is_empty()).then_some(self.first_index)
    }

    fn nth(&self, index: u64) -> Option<&Cached> {
        let nth = index.checked_sub(self.first_index)?;
        self.entries.get(usize::try_from(nth).ok()?)
    }

    /// The entry at `index` and its encoded length, if it is here.
    pub(super) fn get(&self, index: u64) -> Option<(&Entry, usize)> {
        self.nth(index).map(|cached| (&cached.entry, cached.bytes))
    }

    /// Whether the entry at `index` is still the one with this ticket.
    pub(super) fn holds(&self, index: u64, ticket: u64) -> bool {
        self.nth(index)
            .is_some_and(|cached| cached.ticket == ticket)
    }

    /// Drops entries from `index` on.
    pub(super) fn truncate_from(&mut self, index: u64) {
        let keep = usize::try_from(index.saturating_sub(self.first_index)).unwrap_or(usize::MAX);
        while self.entries.len() > keep {
            self.bytes -= self.entries.pop_back().map_or(0, |cached| cached.bytes);
        }
    }

    /// Drops entries below `index`.
    pub(super) fn drop_below(&mut self, index: u64) {
        while self.first_index < index && self.pop_front() {}
    }

    /// Drops the oldest entries while there are more than `bytes_max`, but none from `located_end`
    /// on: no segment holds those yet.
    pub(super) fn evict(&mut self, bytes_max: usize, located_end: u64) {
        while self.bytes > bytes_max && self.first_index < located_end && self.pop_front() {}
    }

    fn pop_front(&mut self) -> bool {
        let Some(cached) = self.entries.pop_front() else {
            return false;
        };
        self.first_index += 1;
        self.bytes -= cached.bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(segment: u64, offset: u32) -> Location {
        Location { segment, offset }
    }

    #[test]
    fn locations_survive_truncation_and_purge_across_segments() {
        let mut index = Index::default();
        for i in 5..15 {
            index.push(i, at(1 + (i - 5) / 4, i as u32 * 8));
        }
        assert_eq!(index.get(4), None);
        assert_eq!(index.get(5), Some(at(1, 40)));
        assert_eq!(index.get(9), Some(at(2, 72)));
        assert_eq!(index.get(14), Some(at(3, 112)));
        assert_eq!(index.get(15), None);

        index.truncate_from(8);
        assert_eq!(index.get(8), None);
        assert_eq!(index.end_index(), Some(8));
        index.push(8, at(3, 200));
        assert_eq!(index.get(7), Some(at(1, 56)));
        assert_eq!(index.get(8), Some(at(3, 200)));

        index.drop_below(7);
        assert_eq!(index.get(6), None);
        assert_eq!(index.get(7), Some(at(1, 56)));
        index.drop_below(100);
        assert_eq!(index.end_index(), None);
        index.push(101, at(3, 300));
        assert_eq!(index.get(101), Some(at(3, 300)));
    }

    #[test]
    fn what_no_segment_holds_is_never_evicted() {
        let mut cache = Cache::default();
        for i in 0..10 {
            let entry = Entry {
                log_id: openraft::LogId {
                    leader_id: crate::raft::types::LeaderId {
                        term: 1,
                        node_id: 1,
                    },
                    index: i,
                },
                payload: openraft::EntryPayload::Blank,
            };
            cache.push(entry, 100, i);
        }
        cache.evict(150, 4);
        assert!(cache.get(3).is_none());
        assert!(cache.get(4).is_some());
        cache.evict(150, 10);
        assert!(cache.get(8).is_none());
        assert!(cache.get(9).is_some() && cache.holds(9, 9) && !cache.holds(9, 8));
    }
}
