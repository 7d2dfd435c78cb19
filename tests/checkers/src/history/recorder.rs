//! Recording a history from many clients at once.

use std::sync::{Mutex, PoisonError};

use super::{
    Answer, DigestSeen, Finals, History, Mark, MarkKind, Nanos, NodeName, Op, Operation, Record,
    RequestKey, sort,
};

/// Collects records from many threads. Times are the caller's, so that a simulation can give its
/// own.
#[derive(Debug, Default)]
pub struct Recorder {
    records: Mutex<Vec<Record>>,
}

/// An attempt that was recorded when it was sent and waits for its answer. One that never gets one
/// stays in the history as unknown.
#[derive(Debug)]
#[must_use = "an attempt without an answer is unknown"]
pub struct Pending(usize);

impl Recorder {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records an attempt as it is sent.
    pub fn invoke(
        &self,
        (client, node): (u32, Option<NodeName>),
        invoked: Nanos,
        request: Option<RequestKey>,
        op: Op,
    ) -> Pending {
        let answer = Answer::Unknown;
        let operation = Operation {
            client,
            node,
            invoked,
            returned: None,
            request,
            op,
            answer,
        };
        self.with(|records| {
            records.push(Record::Operation(operation));
            Pending(records.len() - 1)
        })
    }

    /// Records the answer. `Answer::Unknown` with a time is an attempt that was given up.
    pub fn returned(&self, pending: &Pending, at: Nanos, answer: Answer) {
        self.with(|records| {
            if let Some(Record::Operation(operation)) = records.get_mut(pending.0) {
                operation.returned = Some(at);
                operation.answer = answer;
            }
        });
    }

    /// Records something that was done to the cluster.
    pub fn mark(&self, at: Nanos, kind: MarkKind, what: impl Into<String>) {
        let what = what.into();
        self.record(Record::Mark(Mark { at, kind, what }));
    }

    /// Records a digest that a node said it had.
    pub fn digest(&self, seen: DigestSeen) {
        self.record(Record::Digest(seen));
    }

    /// Records anything.
    pub fn record(&self, record: Record) {
        self.with(|records| records.push(record));
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|records| records.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All records so far.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.with(|records| records.clone())
    }

    /// All records so far, sorted for the judges.
    #[must_use]
    pub fn sorted(&self) -> (History, Finals) {
        sort(self.records())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Vec<Record>) -> T) -> T {
        work(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
