//! Decision records that agree with the answers, and some that do not.

use raft3d_checkers::decisions;
use raft3d_checkers::history::{
    Answer, DecisionFacts, Facts, LedgerFacts, LedgerWay, NodeFinals, Refusal,
};

use crate::script::{Script, create, job, running, set};

/// What the policies said of a job `j` that is created at 3, runs at 4, and is done at 6 after a
/// second one was denied at 5.
fn records() -> Vec<DecisionFacts> {
    let record = |revision, job: &str, denied: Option<&str>, taken_mg| DecisionFacts {
        revision,
        // It was raised at 5.
        epoch: 1 + u32::from(revision > 5),
        job: job.to_owned(),
        denied: denied.map(str::to_owned),
        taken_mg,
    };
    vec![
        record(3, "j", None, None),
        record(4, "j", None, None),
        record(5, "k", Some("weight_exceeds_available"), None),
        record(6, "j", None, Some(60_000)),
    ]
}

/// That history; two nodes end with these records.
fn told(records: [Vec<DecisionFacts>; 2]) -> Script {
    let mut script = running();
    let refused = Answer::Rejected {
        why: Refusal::PolicyDenied,
        code: Some("weight_exceeds_available".to_owned()),
        revision: Some(5),
        replayed: false,
    };
    script.push((20, 21), create("k", 60), refused);
    script.revision = 5;
    let done = Facts::Job(job("j", 60, "Done", 6));
    script.write((22, 23), set("j", "Done"), done);
    let line = LedgerFacts {
        filament: "f".to_owned(),
        revision: 6,
        way: LedgerWay::Deducted,
        amount_mg: 60_000,
        job: Some("j".to_owned()),
    };
    script.finals = (1..)
        .zip(records)
        .map(|(node, records)| NodeFinals {
            node,
            applied: 6,
            digest: "aa".to_owned(),
            ledger: Some(vec![line.clone()]),
            decisions: Some(records),
            ..NodeFinals::default()
        })
        .collect();
    script
}

fn is_blamed(change: impl Fn(&mut Vec<DecisionFacts>)) {
    let mut wrong = records();
    change(&mut wrong);
    told([wrong.clone(), wrong]).is_blamed_by(decisions::JUDGE);
}

#[test]
fn records_that_tell_what_was_answered_are_right() {
    let verdict = told([records(), records()]).check();
    assert!(!verdict.blames(decisions::JUDGE), "{verdict}");
    // A node that has only the newest of them.
    let newest = records().split_off(2);
    let verdict = told([records(), newest]).check();
    assert!(!verdict.blames(decisions::JUDGE), "{verdict}");
}

#[test]
fn records_that_tell_something_else_are_wrong() {
    is_blamed(|records| drop(records.remove(1)));
    is_blamed(|records| drop(records.remove(2)));
    is_blamed(|records| records[0].job = "k".to_owned());
    is_blamed(|records| records[0].denied = Some("no".to_owned()));
    is_blamed(|records| records[2].denied = None);
    is_blamed(|records| records[2].denied = Some("another".to_owned()));
    is_blamed(|records| records[3].taken_mg = Some(59_999));
    is_blamed(|records| records[3].taken_mg = None);
    is_blamed(|records| records.swap(0, 1));
    // An epoch is never left.
    is_blamed(|records| records[1].epoch = 2);
}

#[test]
fn nodes_with_different_records_are_wrong() {
    let mut other = records();
    other[1].taken_mg = Some(1);
    told([records(), other]).is_blamed_by(decisions::JUDGE);
}
