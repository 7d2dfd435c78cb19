//! Exactly once: all attempts under one request id get one answer and have one effect.

use std::collections::BTreeMap;

use crate::calls::{Call, Fate};
use crate::history::{
    Answer, Facts, Finals, LedgerWay, NodeFinals, Op, Operation, Refusal, RequestKey,
};
use crate::rules::is_terminal;
use crate::verdict::{Court, Verdict};

/// Name of this judge.
pub const JUDGE: &str = "once";

/// Judges the answers of each request id, and the effects that the final dumps show.
pub(crate) fn judge(
    operations: &[Operation],
    calls: &[Call<'_>],
    finals: &Finals,
    verdict: &mut Verdict,
) {
    let mut court = Court::open(JUDGE, verdict);
    let mut by_id: BTreeMap<(&str, &str), Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        if let Some(RequestKey { actor, id, .. }) = &operation.request {
            by_id.entry((actor, id)).or_default().push(operation);
        }
    }
    court.count("request ids", by_id.len());
    court.count("retries", by_id.values().map(|them| them.len() - 1).sum());
    for ((_, id), attempts) in &by_id {
        one_answer(&mut court, id, attempts);
    }
    claimed_once(&mut court, calls);
    let shown = calls.iter().filter_map(|call| match &call.fate {
        Fate::Done {
            facts: Facts::Jobs(jobs),
            ..
        } => Some((call, jobs)),
        _ => None,
    });
    for (call, jobs) in shown {
        let again = twice(jobs.iter().map(|job| job.tag.as_str()));
        if let Some(tag) = again {
            court.blame(
                format!("a list shows two jobs of one request ({tag})"),
                call.shown(),
            );
        }
    }
    for node in finals {
        one_effect(&mut court, calls, node);
    }
}

/// The first that is there twice.
fn twice<T: Ord + Copy>(them: impl Iterator<Item = T>) -> Option<T> {
    let mut sorted: Vec<T> = them.collect();
    sorted.sort_unstable();
    sorted.windows(2).find_map(|pair| match pair {
        [a, b] if a == b => Some(*a),
        _ => None,
    })
}

/// Remembered answers are the same; at most one is not marked as a repetition; another request
/// under the same id is refused.
fn one_answer(court: &mut Court<'_>, id: &str, attempts: &[&Operation]) {
    let remembered: Vec<&&Operation> = attempts
        .iter()
        .filter(|operation| match &operation.answer {
            Answer::Accepted { .. } => true,
            Answer::Rejected { why, .. } => why.is_remembered(),
            Answer::Unknown | Answer::Never => false,
        })
        .collect();
    let Some((first, rest)) = remembered.split_first() else {
        return;
    };
    for other in rest {
        if first.op != other.op {
            let what = format!("two requests under id {id} were both answered");
            court.blame(what, [first, other]);
        } else if !same_answer(&first.answer, &other.answer) {
            court.blame(format!("request {id} got two answers"), [first, other]);
        }
    }
    let fresh: Vec<_> = remembered
        .iter()
        .filter(|op| !op.answer.replayed())
        .collect();
    if fresh.len() > 1 {
        court.blame(
            format!("request {id} was done {} times", fresh.len()),
            fresh,
        );
    }
    let answered = attempts.iter().filter(|operation| {
        matches!(
            &operation.answer,
            Answer::Rejected {
                why: Refusal::RequestMismatch,
                ..
            }
        )
    });
    for refused in answered {
        if attempts.iter().all(|operation| operation.op == refused.op) {
            court.blame(
                format!("request {id} was taken for another one"),
                attempts.iter(),
            );
        }
    }
}

fn same_answer(a: &Answer, b: &Answer) -> bool {
    match (a, b) {
        (
            Answer::Accepted {
                revision, facts, ..
            },
            Answer::Accepted {
                revision: other,
                facts: other_facts,
                ..
            },
        ) => revision == other && facts == other_facts,
        (
            Answer::Rejected {
                why,
                code,
                revision,
                ..
            },
            Answer::Rejected {
                why: other,
                code: other_code,
                revision: other_revision,
                ..
            },
        ) => {
            let revisions = revision.zip(*other_revision);
            why == other && code == other_code && revisions.is_none_or(|(a, b)| a == b)
        }
        _ => false,
    }
}

fn claimed_once(court: &mut Court<'_>, calls: &[Call<'_>]) {
    let mut claimed: BTreeMap<&str, &Call<'_>> = BTreeMap::new();
    for call in calls
        .iter()
        .filter(|call| matches!(call.op, Op::Claim { .. }))
    {
        let Fate::Done {
            facts: Facts::Job(job),
            ..
        } = &call.fate
        else {
            continue;
        };
        if let Some(other) = claimed.insert(&job.id, call) {
            let shown = other.shown().into_iter().chain(call.shown());
            court.blame(format!("job {} was claimed twice", job.id), shown);
        }
    }
}

/// What one node holds shows every request at most once.
fn one_effect(court: &mut Court<'_>, calls: &[Call<'_>], node: &NodeFinals) {
    let mut by_tag: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for job in node.jobs.iter().flatten() {
        by_tag.entry(&job.tag).or_default().push(format!("{job:?}"));
    }
    for (tag, jobs) in by_tag.into_iter().filter(|(_, jobs)| jobs.len() > 1) {
        let what = format!(
            "node {} has {} jobs of one request ({tag})",
            node.node,
            jobs.len()
        );
        court.blame(what, jobs);
    }
    let Some(ledger) = &node.ledger else {
        court.skip(&format!(
            "the ledger of node {} was not collected",
            node.node
        ));
        return;
    };
    let mut by_job: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for line in ledger.iter().filter(|line| line.way == LedgerWay::Deducted) {
        if let Some(job) = &line.job {
            by_job.entry(job).or_default().push(format!("{line:?}"));
        }
    }
    // Under the default rules a job takes once, when it ends.
    for (job, lines) in by_job.into_iter().filter(|(_, lines)| lines.len() > 1) {
        court.blame(format!("node {}: job {job} took twice", node.node), lines);
    }
    adjusted_once(court, calls, node);
    ended_once(court, calls, node);
}

/// As many adjustments as were acknowledged, and at most those without an answer on top.
fn adjusted_once(court: &mut Court<'_>, calls: &[Call<'_>], node: &NodeFinals) {
    type Counts = (usize, usize, usize);
    let mut by_filament: BTreeMap<&str, Counts> = BTreeMap::new();
    for call in calls {
        let Op::AdjustFilament { filament, .. } = call.op else {
            continue;
        };
        let (certain, perhaps, _) = by_filament.entry(filament).or_default();
        match call.fate {
            Fate::Done { .. } => *certain += 1,
            Fate::Unknown => *perhaps += 1,
            Fate::Refused { .. } => {}
        }
    }
    for line in node.ledger.iter().flatten() {
        if matches!(line.way, LedgerWay::AdjustedUp | LedgerWay::AdjustedDown) {
            by_filament.entry(&line.filament).or_default().2 += 1;
        }
    }
    for (filament, (certain, perhaps, found)) in by_filament {
        if found < certain || found > certain + perhaps {
            let what = format!(
                "node {}: filament {filament} has {found} adjustments; {certain} were \
                 acknowledged and {perhaps} not answered",
                node.node
            );
            court.blame(what, Vec::<String>::new());
        }
    }
}

/// A job ends once: never are two transitions to an end acknowledged for it.
fn ended_once(court: &mut Court<'_>, calls: &[Call<'_>], node: &NodeFinals) {
    let mut ended: BTreeMap<&str, &Call<'_>> = BTreeMap::new();
    for call in calls {
        let (Op::SetStatus { job, to, .. }, Fate::Done { .. }) = (call.op, &call.fate) else {
            continue;
        };
        if !is_terminal(to) {
            continue;
        }
        if let Some(other) = ended.insert(job, call) {
            let shown = other.shown().into_iter().chain(call.shown());
            court.blame(format!("job {job} ended twice (node {})", node.node), shown);
        }
    }
}
