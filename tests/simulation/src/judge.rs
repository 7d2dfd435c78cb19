//! What must hold of every run, beside what the driver sees itself: whatever the checkers say.

use std::fmt;

use raft3d_checkers::{Finals, History, Verdict, check_all};

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
    let found = verdict.violations.iter().map(|violation| Violation {
        judge: violation.judge.to_owned(),
        what: violation.to_string(),
    });
    (found.collect(), verdict)
}
