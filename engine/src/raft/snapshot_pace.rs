//! When a node takes a snapshot of its own: each costs as much as the state is large, so the
//! larger the state, the more entries from one to the next.
//!
//! This is the rule of Raft's author (Ongaro 2014, "Consensus: Bridging Theory and Practice",
//! section 5.1.3): the log may grow to a multiple of the last snapshot before the next is taken.
//!
//! Chance makes each a little early: replicas that have applied the same entries would all be busy
//! with their snapshots at the same time, and then there is no majority of others to go on with.

use std::time::Duration;

use super::node::Node;
use crate::runtime;

/// Between two looks.
const TICK: Duration = Duration::from_millis(100);
/// A snapshot of this many bytes may be taken as often as the options say.
const SMALL_BYTES: u64 = 4 * 1024 * 1024;
/// With so many bytes in the log since the last one, a snapshot is due however few entries they are:
/// modules are large.
const LOG_BYTES_SOFT_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of a larger snapshot for which one entry must have come since, where the bytes of the
/// entries are not known: those before the last start.
const BYTES_PER_ENTRY: u64 = 512;

/// A snapshot is taken when so many hundredths of what asks for it are there, at the earliest.
const EARLIEST_PERCENT: u64 = 75;

/// What came since the last snapshot.
#[derive(Clone, Copy)]
struct Since {
    entries: u64,
    /// Bytes that they took in the log; less after a start.
    log_bytes: u64,
}

impl Since {
    /// As many as they are when `percent` of them are taken for all.
    fn counted_for(self, percent: u64) -> Self {
        let scaled = |count: u64| count.saturating_mul(100) / percent.max(1);
        Self {
            entries: scaled(self.entries),
            log_bytes: scaled(self.log_bytes),
        }
    }
}

/// By chance from [`EARLIEST_PERCENT`] to 100.
fn percent_by_chance() -> u64 {
    let mut random = [0];
    // Without chance all replicas take theirs at once, which is only slower.
    let _ = runtime::fill_random(&mut random);
    EARLIEST_PERCENT + u64::from(random[0]) % (101 - EARLIEST_PERCENT)
}

/// Takes snapshots for as long as the node runs.
pub(super) async fn take_snapshots(node: Node) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = (0, 0);
    let mut percent = percent_by_chance();
    loop {
        ticks.tick().await;
        let applied = node.inner.machine.view().revision().0;
        let written = node.inner.log.bytes_written();
        let newest = node.inner.machine.snapshot();
        let (covered, bytes) = newest.map_or((0, 0), |snapshot| {
            let last = snapshot.header().last_log_id;
            (last.map_or(0, |id| id.index), snapshot.size_bytes())
        });
        if last.0 != covered {
            last = (covered, written);
            percent = percent_by_chance();
        }
        let since = Since {
            entries: applied.saturating_sub(covered),
            log_bytes: written.saturating_sub(last.1),
        };
        let since = since.counted_for(percent);
        // While one is being made, Raft passes over this.
        if is_due(since, node.inner.options.snapshot_entries, bytes)
            && node.inner.raft.trigger().snapshot().await.is_err()
        {
            // Raft has ended.
            return;
        }
    }
}

/// Whether what came since a snapshot of `bytes` asks for the next one.
fn is_due(since: Since, least: u64, bytes: u64) -> bool {
    let paid_for = bytes <= SMALL_BYTES
        || since.log_bytes >= bytes
        || since.entries >= bytes / BYTES_PER_ENTRY;
    (since.entries >= least || since.log_bytes >= LOG_BYTES_SOFT_MAX) && paid_for
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_a_little_early_by_chance() {
        let drawn: Vec<u64> = (0..1_000).map(|_| percent_by_chance()).collect();
        let (least, most) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
        assert!(*least >= EARLIEST_PERCENT && *most <= 100);
        assert!(least < most, "no two replicas would differ");
        let since = Since {
            entries: 1_000,
            log_bytes: 8,
        };
        let counted = |percent| {
            let Since { entries, log_bytes } = since.counted_for(percent);
            (entries, log_bytes)
        };
        assert_eq!(counted(100), (1_000, 8));
        assert_eq!(counted(80), (1_250, 10));
    }

    #[test]
    fn a_large_state_is_written_out_less_often() {
        let is_due = |entries, log_bytes, bytes| {
            let since = Since { entries, log_bytes };
            is_due(since, 20_000, bytes)
        };
        assert!(
            !is_due(19_999, LOG_BYTES_SOFT_MAX - 1, 0),
            "too few entries"
        );
        assert!(is_due(1, LOG_BYTES_SOFT_MAX, 0), "large ones");
        assert!(!is_due(1, LOG_BYTES_SOFT_MAX, LOG_BYTES_SOFT_MAX + 1));
        assert!(is_due(20_000, 0, 0));
        assert!(is_due(20_000, 0, SMALL_BYTES), "nothing worth sparing");
        let large = 600 * 1024 * 1024;
        assert!(!is_due(1_000_000, large - 1, large));
        assert!(is_due(20_000, large, large), "the log is as large");
        assert!(is_due(large / BYTES_PER_ENTRY, 0, large));
    }
}
