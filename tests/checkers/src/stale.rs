//! Reads that may be old: never older than what was asked for, and never older than what the same
//! node showed before, restarts included. That they were true at some time, `replay` checks.

use std::collections::BTreeMap;

use crate::history::{Answer, Consistency, NodeName, Operation};
use crate::verdict::{Court, Verdict};

/// Name of this judge.
pub const JUDGE: &str = "stale";

/// Judges the reads among the operations.
pub(crate) fn judge(operations: &[Operation], verdict: &mut Verdict) {
    let mut court = Court::open(JUDGE, verdict);
    let mut by_node: BTreeMap<NodeName, Vec<(&Operation, u64)>> = BTreeMap::new();
    let mut reads = 0;
    for operation in operations {
        let (Some(consistency), Answer::Accepted { revision, .. }) =
            (operation.op.consistency(), &operation.answer)
        else {
            continue;
        };
        reads += 1;
        if let Consistency::Stale {
            min_revision: Some(wanted),
        } = consistency
            && *revision < wanted
        {
            let what = format!("a read that wanted revision {wanted} saw revision {revision}");
            court.blame(what, [operation]);
        }
        if let Some(node) = operation.node {
            by_node
                .entry(node)
                .or_default()
                .push((operation, *revision));
        }
    }
    court.count("reads", reads);
    for (node, reads) in by_node {
        never_back(&mut court, node, &reads);
    }
}

/// A read that was sent after another one's answer shows at least as much.
fn never_back(court: &mut Court<'_>, node: NodeName, reads: &[(&Operation, u64)]) {
    let mut answered: Vec<&(&Operation, u64)> = reads.iter().collect();
    answered.sort_by_key(|(operation, _)| operation.returned);
    let mut answered = answered.into_iter().peekable();
    let mut newest: Option<(&Operation, u64)> = None;
    let mut sent: Vec<_> = reads.iter().collect();
    sent.sort_by_key(|(operation, _)| operation.invoked);
    for (operation, revision) in sent {
        while let Some(earlier) = answered.next_if(|(earlier, _)| {
            earlier
                .returned
                .is_some_and(|returned| returned < operation.invoked)
        }) {
            if newest.is_none_or(|(_, revision)| revision < earlier.1) {
                newest = Some(*earlier);
            }
        }
        if let Some((earlier, seen)) = newest
            && *revision < seen
        {
            let what = format!("time ran back on node {node}: revision {revision} after {seen}");
            court.blame(what, [earlier, operation]);
        }
    }
}
