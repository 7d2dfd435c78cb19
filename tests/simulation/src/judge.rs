//! What must hold of every run, beside what the driver sees itself.

use std::collections::BTreeMap;
use std::fmt;

use raft3d_checkers::history::{Answer, Facts, Finals, History, Op};

/// Something that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which judge found it.
    pub judge: String,
    /// What it found.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.judge, self.what)
    }
}

/// Judges a run.
pub(crate) fn judge(history: &History, finals: &Finals) -> Vec<Violation> {
    let mut found = Vec::new();
    digests(history, finals, &mut found);
    jobs(history, finals, &mut found);
    found
}

fn violation(found: &mut Vec<Violation>, judge: &str, what: String) {
    found.push(Violation {
        judge: judge.to_owned(),
        what,
    });
}

/// Equal digests at equal indexes, whenever seen.
fn digests(history: &History, finals: &Finals, found: &mut Vec<Violation>) {
    let mut by_index: BTreeMap<u64, (u64, &str)> = BTreeMap::new();
    let seen = history.digests.iter();
    let seen = seen.map(|seen| (seen.node, seen.index, seen.digest.as_str()));
    let last = finals.iter();
    let last = last.map(|last| (last.node, last.applied, last.digest.as_str()));
    for (node, index, digest) in seen.chain(last) {
        let (other, first) = *by_index.entry(index).or_insert((node, digest));
        if first != digest {
            let what = format!("at {index} node {other} has {first} and node {node} {digest}");
            return violation(found, "digests", what);
        }
    }
}

/// Every accepted job is there, once, on every node.
fn jobs(history: &History, finals: &Finals, found: &mut Vec<Violation>) {
    for node in finals {
        let Some(jobs) = &node.jobs else { continue };
        let mut by_tag: BTreeMap<&str, u64> = BTreeMap::new();
        for job in jobs {
            *by_tag.entry(job.tag.as_str()).or_default() += 1;
        }
        for (tag, times) in by_tag.iter().filter(|(_, times)| **times > 1) {
            let what = format!("{tag} was made {times} times on node {}", node.node);
            violation(found, "exactly once", what);
        }
        for operation in &history.operations {
            let Op::CreateJob { tag, .. } = &operation.op else {
                continue;
            };
            let accepted = matches!(
                &operation.answer,
                Answer::Accepted {
                    facts: Facts::Job(_),
                    ..
                }
            );
            if accepted && !by_tag.contains_key(tag.as_str()) {
                let what = format!("{operation} is not on node {}", node.node);
                violation(found, "lost", what);
            }
        }
    }
}
