//! What must be reached, beside what was.

use raft3d_checkers::report::Table;

use crate::table::table;

/// One line of the list of what must be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    what: String,
    must: String,
    measured: String,
    verdict: &'static str,
}

impl Target {
    /// A target that is met or missed.
    #[must_use]
    pub fn new(
        what: impl Into<String>,
        must: impl Into<String>,
        measured: impl Into<String>,
        met: bool,
    ) -> Self {
        Self {
            what: what.into(),
            must: must.into(),
            measured: measured.into(),
            verdict: if met { "met" } else { "MISSED" },
        }
    }

    /// The same, and the goal beyond it is reached too.
    #[must_use]
    pub fn with_goal(self) -> Self {
        Self {
            verdict: "met, goal reached",
            ..self
        }
    }

    /// A target of which this run has no figure.
    #[must_use]
    pub fn unmeasured(what: impl Into<String>, must: impl Into<String>, why: String) -> Self {
        Self {
            what: what.into(),
            must: must.into(),
            measured: why,
            verdict: "not measured",
        }
    }
}

/// All of them.
#[must_use]
pub fn targets_table(targets: &[Target]) -> Table {
    let mut shown = table(
        "What must be reached",
        &["what", "must reach", "measured", "verdict"],
    );
    for target in targets {
        shown.rows.push(vec![
            target.what.clone(),
            target.must.clone(),
            target.measured.clone(),
            target.verdict.to_owned(),
        ]);
    }
    shown
}
