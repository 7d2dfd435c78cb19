//! Replicas that applied the same entries hold the same rows.

use std::collections::BTreeMap;

use crate::history::{DigestSeen, Finals, NodeFinals, NodeName};
use crate::verdict::{Court, Verdict};

/// Name of this judge.
pub const JUDGE: &str = "digests";

/// Judges all digests that were seen, and the final rows of nodes with the same applied index.
pub(crate) fn judge(seen: &[DigestSeen], finals: &Finals, verdict: &mut Verdict) {
    let mut court = Court::open(JUDGE, verdict);
    let mut known: BTreeMap<u64, BTreeMap<&str, NodeName>> = BTreeMap::new();
    let mut compared = 0;
    let during = seen
        .iter()
        .map(|seen| (seen.node, seen.index, seen.digest.as_str()));
    let checkpoints = finals.iter().flat_map(|node| {
        let last = (node.applied, &node.digest);
        let checkpoints = node
            .checkpoints
            .iter()
            .map(|(index, digest)| (*index, digest));
        checkpoints
            .chain([last])
            .map(|(index, digest)| (node.node, index, digest.as_str()))
    });
    for (node, index, digest) in during.chain(checkpoints) {
        if digest.is_empty() {
            continue;
        }
        let at_index = known.entry(index).or_default();
        compared += usize::from(!at_index.is_empty());
        let first = at_index.is_empty();
        if at_index.insert(digest, node).is_none() && !first {
            let lines = at_index
                .iter()
                .map(|(digest, node)| format!("node {node}: {digest}"));
            let lines: Vec<String> = lines.collect();
            court.blame(format!("nodes disagree about index {index}"), lines);
        }
    }
    court.count("digests compared", compared);
    if compared == 0 {
        court.skip("no two digests at the same index were collected");
    }
    for (nth, a) in finals.iter().enumerate() {
        for b in finals
            .iter()
            .skip(nth + 1)
            .filter(|b| b.applied == a.applied)
        {
            compare_rows(&mut court, a, b);
        }
    }
}

fn compare_rows(court: &mut Court<'_>, a: &NodeFinals, b: &NodeFinals) {
    let mut compare = |table: &str, differences: Vec<String>| {
        if !differences.is_empty() {
            let what = format!(
                "nodes {} and {} hold other {table} at index {}",
                a.node, b.node, a.applied
            );
            court.blame(what, differences);
        }
    };
    compare(
        "printers",
        differences(a.printers.as_deref(), b.printers.as_deref()),
    );
    compare(
        "filaments",
        differences(a.filaments.as_deref(), b.filaments.as_deref()),
    );
    compare("jobs", differences(a.jobs.as_deref(), b.jobs.as_deref()));
    compare(
        "ledger lines",
        differences(a.ledger.as_deref(), b.ledger.as_deref()),
    );
}

/// What only one of the two has; nothing where one was not collected.
fn differences<T: Ord + core::fmt::Debug>(a: Option<&[T]>, b: Option<&[T]>) -> Vec<String> {
    let (Some(a), Some(b)) = (a, b) else {
        return Vec::new();
    };
    let mut many: BTreeMap<&T, i64> = BTreeMap::new();
    for row in a {
        *many.entry(row).or_default() += 1;
    }
    for row in b {
        *many.entry(row).or_default() -= 1;
    }
    let differing = many.into_iter().filter(|(_, many)| *many != 0);
    differing
        .map(|(row, many)| {
            format!(
                "only the {}: {row:?}",
                if many > 0 { "first" } else { "second" }
            )
        })
        .collect()
}
