//! Histories of a cluster and the judges that check them; knows no node and no network.
//!
//! Whoever runs a cluster records what its clients asked and were told
//! ([`history::Recorder`]) and what the nodes held in the end ([`history::NodeFinals`], collected
//! when the last write's deadline has passed and all nodes have caught up), and lets
//! [`check_all`] judge both. Each judge stands in a file of its own and trusts none of the others:
//!
//! | judge | question | trusts revisions |
//! |---|---|---|
//! | [`linearizable`] | is there an order that explains every answer, row by row? | no |
//! | [`replay`] | does every answer follow from the writes of lower revisions? | yes |
//! | [`stale`] | are reads that may be old never older than promised? | yes |
//! | [`lost`] | is every acknowledged write in every dump, and nothing else? | no |
//! | [`once`] | has every request id one answer and one effect? | no |
//! | [`grams`] | is what was loaded what remains, was used and adjusted? | no |
//! | [`lifecycle`] | do jobs only go where the rules let them? | no |
//! | [`events`] | is the stream ordered, whole, the same everywhere, and true? | yes |
//! | [`digests`] | are replicas equal at equal indexes? | yes |
//! | [`recovery`] | is a write accepted within 10 s of each healing? | no |
//!
//! What they know of the rules are the default ones (`rules.rs`), from their description: a history
//! may activate policies that refuse more, but none that change what transitions take or where
//! jobs go, and none that fail.

pub mod canary;
pub mod decisions;
pub mod digests;
pub mod events;
pub mod grams;
pub mod history;
pub mod lifecycle;
pub mod linearizable;
pub mod lost;
pub mod once;
pub mod recovery;
pub mod replay;
pub mod report;
pub mod stale;
pub mod verdict;

mod calls;
mod from_core;
mod rules;
mod search;
mod shop;

pub use history::{Finals, History};
pub use verdict::{Verdict, Violation};

/// Whether an operation is of some kind.
type IsOfKind = fn(&history::Operation) -> bool;

/// What operations came to: (how it is called, whether one is of that kind).
const ANSWERS: [(&str, IsOfKind); 5] = [
    ("writes accepted", |operation| {
        operation.op.is_write() && matches!(operation.answer, history::Answer::Accepted { .. })
    }),
    ("writes refused", |operation| {
        operation.op.is_write() && matches!(operation.answer, history::Answer::Rejected { .. })
    }),
    ("writes without an answer", |operation| {
        operation.op.is_write() && operation.answer == history::Answer::Unknown
    }),
    ("writes certainly not done", |operation| {
        operation.op.is_write() && operation.answer == history::Answer::Never
    }),
    ("reads answered", |operation| {
        !operation.op.is_write() && matches!(operation.answer, history::Answer::Accepted { .. })
    }),
];

/// Lets every judge look at the history.
#[must_use]
pub fn check_all(history: &History, finals: &Finals) -> Verdict {
    let mut verdict = Verdict::default();
    let calls = calls::join(&history.operations);
    verdict.count("operations", history.operations.len());
    verdict.count("calls", calls.len());
    for (what, of_kind) in ANSWERS {
        let many = history
            .operations
            .iter()
            .filter(|operation| of_kind(operation));
        verdict.count(what, many.count());
    }
    linearizable::judge(&calls, finals, &mut verdict);
    replay::judge(&calls, finals, &mut verdict);
    stale::judge(&history.operations, &mut verdict);
    lost::judge(&calls, finals, &mut verdict);
    once::judge(&history.operations, &calls, finals, &mut verdict);
    grams::judge(&calls, finals, &mut verdict);
    lifecycle::judge(&calls, finals, &mut verdict);
    events::judge(&calls, finals, &mut verdict);
    decisions::judge(&calls, finals, &mut verdict);
    digests::judge(&history.digests, finals, &mut verdict);
    let took = recovery::judge(history, &mut verdict);
    if let Some(longest) = took.into_iter().max() {
        verdict
            .counts
            .push(("ms of the longest recovery", longest / 1_000_000));
    }
    verdict
}
