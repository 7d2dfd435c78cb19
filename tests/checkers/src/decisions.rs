//! The decision records: one for each entry that asked policies, the same on every node, under engine
//! epochs that only rise, and in agreement with the answers and with what was taken from the filaments.

use std::collections::BTreeMap;

use crate::calls::{Call, Fate};
use crate::history::{DecisionFacts, Facts, Finals, LedgerWay, NodeFinals, Op, Refusal};
use crate::verdict::{Court, Verdict};

/// Name of this judge.
pub const JUDGE: &str = "decisions";

/// Judges the records of every node.
pub(crate) fn judge(calls: &[Call<'_>], finals: &Finals, verdict: &mut Verdict) {
    let mut court = Court::open(JUDGE, verdict);
    let most = finals.iter().filter_map(|node| node.decisions.as_ref());
    let Some(longest) = most.max_by_key(|records| records.len()) else {
        court.skip("no decision records were collected");
        return;
    };
    court.count("decision records", longest.len());
    let longest: BTreeMap<u64, &DecisionFacts> = longest
        .iter()
        .map(|record| (record.revision, record))
        .collect();
    for node in finals {
        let Some(records) = &node.decisions else {
            court.skip(&format!(
                "the records of node {} were not collected",
                node.node
            ));
            continue;
        };
        for pair in records.windows(2) {
            let [a, b] = pair else { continue };
            if a.revision >= b.revision || a.epoch > b.epoch {
                let what = format!("node {}: these do not follow", node.node);
                court.blame(what, [format!("{a:?}"), format!("{b:?}")]);
            }
        }
        for record in records {
            let other = longest.get(&record.revision);
            if other.is_some_and(|other| *other != record) {
                let what = format!("node {} has another record", node.node);
                court.blame(what, [format!("{record:?}"), format!("{other:?}")]);
            }
        }
        against_answers(&mut court, calls, node, records);
        against_ledger(&mut court, node, records);
    }
}

/// What was answered, the policies have decided so.
fn against_answers(
    court: &mut Court<'_>,
    calls: &[Call<'_>],
    node: &NodeFinals,
    records: &[DecisionFacts],
) {
    let records: BTreeMap<u64, &DecisionFacts> = records
        .iter()
        .map(|record| (record.revision, record))
        .collect();
    let oldest = records.keys().next().copied();
    for call in calls {
        // Whoever overrides may pass by all policies.
        let asks = match call.op {
            Op::CreateJob { .. } => true,
            Op::SetStatus { wants_override, .. } => !wants_override,
            _ => false,
        };
        let (revision, job, code) = match &call.fate {
            Fate::Done {
                revision,
                facts: Facts::Job(job),
            } if asks => (*revision, Some(&job.id), None),
            Fate::Refused {
                why: Refusal::PolicyDenied | Refusal::PolicyFailed,
                code: Some(code),
                revision: Some(revision),
            } => (*revision, None, Some(*code)),
            _ => continue,
        };
        // Older ones may have left the window.
        if revision > node.applied || oldest.is_some_and(|oldest| revision < oldest) {
            continue;
        }
        let record = records.get(&revision);
        let fits = record.is_some_and(|record| {
            record.denied.as_deref() == code && job.is_none_or(|job| record.job == *job)
        });
        if !fits {
            let what = format!(
                "node {}: the record of revision {revision} is not that of the answer",
                node.node
            );
            court.blame(
                what,
                [format!("{record:?}")].into_iter().chain(call.shown()),
            );
        }
    }
}

/// What was taken, a policy has said.
fn against_ledger(court: &mut Court<'_>, node: &NodeFinals, records: &[DecisionFacts]) {
    let Some(ledger) = &node.ledger else { return };
    let taken = ledger.iter().filter(|line| line.way == LedgerWay::Deducted);
    let taken: BTreeMap<u64, u64> = taken.map(|line| (line.revision, line.amount_mg)).collect();
    for record in records {
        // A denied transition, or one that would take more than there is, takes nothing.
        let Some(line) = taken.get(&record.revision) else {
            continue;
        };
        if record.taken_mg != Some(*line) {
            let what = format!("node {}: {line} mg were taken, and not decided", node.node);
            court.blame(what, [format!("{record:?}")]);
        }
    }
}
