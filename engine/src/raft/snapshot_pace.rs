//! When a node takes a snapshot of its own: each costs as much as the state is large, so the
//! larger the state, the more entries from one to the next.
//!
//! This is the rule of Raft's author (Ongaro 2014, "Consensus: Bridging Theory and Practice",
//! section 5.1.3): the log may grow to a multiple of the last snapshot before the next is taken.

use std::time::Duration;

use super::node::Node;

/// Between two looks.
const TICK: Duration = Duration::from_millis(100);
/// A snapshot of this many bytes may be taken as often as the options say.
const SMALL_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of a larger snapshot for which one entry must have come since: about the size of an entry
/// in the log, so that the log grows to the size of the snapshot.
const BYTES_PER_ENTRY: u64 = 512;

/// Takes snapshots for as long as the node runs.
pub(super) async fn take_snapshots(node: Node) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let applied = node.inner.machine.view().revision().0;
        let newest = node.inner.machine.snapshot();
        let (covered, bytes) = newest.map_or((0, 0), |snapshot| {
            let last = snapshot.header().last_log_id;
            (last.map_or(0, |id| id.index), snapshot.size_bytes())
        });
        let entries = applied.saturating_sub(covered);
        // While one is being made, Raft passes over this.
        if is_due(entries, node.inner.options.snapshot_entries, bytes)
            && node.inner.raft.trigger().snapshot().await.is_err()
        {
            // Raft has ended.
            return;
        }
    }
}

/// Whether `entries` since a snapshot of `bytes` ask for the next one.
fn is_due(entries: u64, least: u64, bytes: u64) -> bool {
    let paid_for = bytes <= SMALL_BYTES || entries >= bytes / BYTES_PER_ENTRY;
    entries >= least && paid_for
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_state_is_written_out_less_often() {
        assert!(!is_due(19_999, 20_000, 0), "too few entries");
        assert!(is_due(20_000, 20_000, 0));
        assert!(is_due(20_000, 20_000, SMALL_BYTES), "nothing worth sparing");
        let large = 600 * 1024 * 1024;
        assert!(!is_due(1_000_000, 20_000, large));
        assert!(is_due(large / BYTES_PER_ENTRY, 20_000, large));
    }
}
