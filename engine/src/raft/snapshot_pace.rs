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
/// With so many bytes in the log since the last one, a snapshot is due however few entries they are:
/// modules are large.
const LOG_BYTES_SOFT_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of a larger snapshot for which one entry must have come since, where the bytes of the
/// entries are not known: those before the last start.
const BYTES_PER_ENTRY: u64 = 512;

/// What came since the last snapshot.
#[derive(Clone, Copy)]
struct Since {
    entries: u64,
    /// Bytes that they took in the log; less after a start.
    log_bytes: u64,
}

/// Takes snapshots for as long as the node runs.
pub(super) async fn take_snapshots(node: Node) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = (0, 0);
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
        }
        let since = Since {
            entries: applied.saturating_sub(covered),
            log_bytes: written.saturating_sub(last.1),
        };
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
mod tests {
    use super::*;

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
