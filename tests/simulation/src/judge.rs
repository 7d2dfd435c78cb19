//! What must hold of every run, beside what the driver sees itself: whatever the checkers say.

use std::fmt;

use raft3d_checkers::history::Answer;
use raft3d_checkers::{Finals, History, Verdict, canary, check_all};

/// Something that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which judge found it: one of the checkers', or a part of the simulation.
    pub judge: String,
    /// What it found.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.judge, self.what)
    }
}

/// Judges a run. Answers also what was looked at.
pub(crate) fn judge(history: &History, finals: &Finals) -> (Vec<Violation>, Verdict) {
    let verdict = check_all(history, finals);
    let remembers = history.operations.iter().filter(|operation| {
        let code = match &operation.answer {
            Answer::Rejected { code, .. } => code.as_deref(),
            _ => None,
        };
        code == Some(canary::REMEMBERS)
    });
    let remembers = remembers.map(|operation| Violation {
        judge: "canary".to_owned(),
        what: format!("a policy's memory outlived a call: {operation}"),
    });
    let found = verdict.violations.iter().map(|violation| Violation {
        judge: violation.judge.to_owned(),
        what: violation.to_string(),
    });
    (found.chain(remembers.take(1)).collect(), verdict)
}
