//! After healing the cluster serves again: within [`RECOVERY_LIMIT`] a write is accepted.

use core::time::Duration;

use crate::history::{Answer, History, MarkKind, Moment, Nanos, Operation};
use crate::verdict::{Court, Verdict};

/// Name of this judge.
pub const JUDGE: &str = "recovery";
/// Longest time from healing to the first accepted write.
pub const RECOVERY_LIMIT: Duration = Duration::from_secs(10);

/// Judges every healing mark that is followed by [`RECOVERY_LIMIT`] without another fault, and
/// answers how long each took until a write was accepted.
pub(crate) fn judge(history: &History, verdict: &mut Verdict) -> Vec<Nanos> {
    let mut court = Court::open(JUDGE, verdict);
    let limit = u64::try_from(RECOVERY_LIMIT.as_nanos()).unwrap_or(u64::MAX);
    let mut accepted: Vec<Nanos> = history
        .operations
        .iter()
        .filter(|operation| operation.op.is_write())
        .filter(|operation| matches!(operation.answer, Answer::Accepted { .. }))
        .filter_map(|operation| operation.returned)
        .collect();
    accepted.sort_unstable();
    let ends = history
        .operations
        .iter()
        .flat_map(|o| [Some(o.invoked), o.returned])
        .flatten();
    let end = ends.max().unwrap_or_default();
    let mut took = Vec::new();
    let mut unjudged = 0;
    for (place, healed) in history.marks.iter().enumerate() {
        if healed.kind != MarkKind::Healed {
            continue;
        }
        let later = history.marks.iter().skip(place + 1);
        let next = later.into_iter().find(|mark| mark.kind != MarkKind::Healed);
        let calm_until = next.map_or(end, |mark| mark.at.min(end));
        let deadline = healed.at.saturating_add(limit);
        let first = accepted
            .get(accepted.partition_point(|at| *at <= healed.at))
            .copied();
        if let Some(at) = first.filter(|at| *at <= calm_until.min(deadline)) {
            took.push(at - healed.at);
            continue;
        }
        let waited = history.operations.iter().filter(|operation| {
            let open = operation
                .returned
                .is_none_or(|returned| returned > healed.at);
            operation.op.is_write() && open && operation.invoked <= deadline
        });
        let waited: Vec<&Operation> = waited.collect();
        if calm_until < deadline || waited.is_empty() {
            unjudged += 1;
            continue;
        }
        let what = format!(
            "no write was accepted within {} s of healing at {}: {}",
            RECOVERY_LIMIT.as_secs(),
            Moment(healed.at),
            healed.what
        );
        court.blame(what, waited);
    }
    court.count("healings judged", took.len());
    if unjudged > 0 {
        court.skip(&format!(
            "{unjudged} healings were followed by less than the limit of calm, or by no write"
        ));
    }
    took
}
