//! What the clients of a cluster did and were told, and what its nodes held in the end: in terms
//! of the print shop, without a type of the engine.
//!
//! A history is a list of [`Record`]s, one JSON object per line on disk, so that a run that failed
//! can be judged again offline. All times are nanoseconds of one monotonic clock (simulated or
//! real); all weights are whole milligrams.

use serde::{Deserialize, Serialize};

mod facts;
mod file;
mod ops;
mod recorder;

pub use facts::{
    DecisionFacts, EventFacts, EventWhat, FilamentFacts, JobFacts, LedgerFacts, LedgerWay,
    NodeFinals, PrinterFacts,
};
pub use file::{HistoryError, read_lines, write_lines};
pub use ops::{
    Answer, Consistency, Facts, Moment, Nanos, NodeName, Op, Operation, Refusal, RequestKey,
};
pub use recorder::{Pending, Recorder};

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// What one client asked and was told.
    Operation(Operation),
    /// Something that was done to the cluster.
    Mark(Mark),
    /// A digest that a node said it had at an index, during the run.
    Digest(DigestSeen),
    /// What a node held in the end.
    Finals(NodeFinals),
}

/// Something that was done to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When.
    pub at: Nanos,
    /// What kind.
    pub kind: MarkKind,
    /// In words: `kill -9 of node 2`.
    pub what: String,
}

/// Kinds of marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// A fault begins.
    Fault,
    /// From here on nothing stands in the way of a majority: a write must be accepted within
    /// ten seconds, unless a fault begins before.
    Healed,
    /// The clients stop here: what was not accepted before is not missed.
    Quiet,
}

/// A digest that a node said it had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestSeen {
    /// When it said so.
    pub at: Nanos,
    /// Which node.
    pub node: NodeName,
    /// At which applied index.
    pub index: u64,
    /// The digest in hexadecimal.
    pub digest: String,
}

/// Everything that the judges look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// What clients did.
    pub operations: Vec<Operation>,
    /// What was done to the cluster.
    pub marks: Vec<Mark>,
    /// Digests seen during the run.
    pub digests: Vec<DigestSeen>,
}

/// What each node held in the end.
pub type Finals = Vec<NodeFinals>;

/// Sorts records into a history and the finals, operations and marks by time.
#[must_use]
pub fn sort(records: impl IntoIterator<Item = Record>) -> (History, Finals) {
    let mut history = History::default();
    let mut finals = Finals::new();
    for record in records {
        match record {
            Record::Operation(operation) => history.operations.push(operation),
            Record::Mark(mark) => history.marks.push(mark),
            Record::Digest(seen) => history.digests.push(seen),
            Record::Finals(node) => finals.push(node),
        }
    }
    history
        .operations
        .sort_by_key(|operation| operation.invoked);
    history.marks.sort_by_key(|mark| mark.at);
    (history, finals)
}
