//! No gram appears or vanishes: what was loaded is what remains, what was used and what was
//! adjusted; what is reserved is what open jobs may still need.

use std::collections::BTreeMap;

use crate::calls::{Call, Fate};
use crate::history::{FilamentFacts, Finals, LedgerWay, NodeFinals, Op};
use crate::rules::reserves;
use crate::verdict::{Court, Verdict};

/// Name of this judge.
pub const JUDGE: &str = "grams";

/// Sums of one filament, in milligrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    loaded: i128,
    loads: usize,
    used: i128,
    adjusted: i128,
}

impl Sums {
    const fn remaining(self) -> i128 {
        self.loaded - self.used + self.adjusted
    }
}

/// Judges the final dump of every node: against its own ledger, and against what was asked for.
pub(crate) fn judge(calls: &[Call<'_>], finals: &Finals, verdict: &mut Verdict) {
    let mut court = Court::open(JUDGE, verdict);
    let asked = asked(calls);
    let mut weighed = 0;
    for node in finals {
        let Some(filaments) = &node.filaments else {
            court.skip(&format!(
                "the filaments of node {} were not collected",
                node.node
            ));
            continue;
        };
        let ledger = ledger(node);
        let used = used(node);
        weighed += filaments.len();
        for row in filaments {
            bounds(&mut court, node, row);
            if let Some(ledger) = &ledger {
                let sums = ledger.get(row.id.as_str()).copied().unwrap_or_default();
                against_ledger(&mut court, node, row, sums);
            }
            if let (Some(asked), Some(used)) = (&asked, &used)
                && let Some(loaded) = asked.get(row.id.as_str())
            {
                let used = used.get(row.id.as_str()).copied().unwrap_or_default();
                let sums = Sums { used, ..*loaded };
                if i128::from(row.remaining_mg) != sums.remaining() {
                    let what = format!(
                        "node {}: the calls leave {} mg of filament {}",
                        node.node,
                        sums.remaining(),
                        row.id
                    );
                    court.blame(what, [format!("{row:?}"), format!("{sums:?}")]);
                }
            }
            reserved(&mut court, node, row);
        }
        jobs_against_ledger(&mut court, node);
    }
    court.count("filaments weighed", weighed);
}

fn bounds(court: &mut Court<'_>, node: &NodeFinals, row: &FilamentFacts) {
    if row.remaining_mg > row.total_mg {
        let what = format!("node {}: more remains than fits", node.node);
        court.blame(what, [format!("{row:?}")]);
    }
}

fn against_ledger(court: &mut Court<'_>, node: &NodeFinals, row: &FilamentFacts, sums: Sums) {
    if sums.loads != 1 {
        let what = format!(
            "node {}: {} was loaded {} times",
            node.node, row.id, sums.loads
        );
        court.blame(what, [format!("{row:?}")]);
    }
    if i128::from(row.remaining_mg) != sums.remaining() {
        let what = format!(
            "node {}: the ledger leaves {} mg of filament {}",
            node.node,
            sums.remaining(),
            row.id
        );
        court.blame(what, [format!("{row:?}"), format!("{sums:?}")]);
    }
}

fn reserved(court: &mut Court<'_>, node: &NodeFinals, row: &FilamentFacts) {
    let Some(jobs) = &node.jobs else { return };
    let on_it = jobs.iter().filter(|job| job.filament == row.id);
    let open: u64 = on_it.map(reserves).sum();
    if open != row.reserved_mg {
        let what = format!(
            "node {}: open jobs reserve {open} mg of filament {}",
            node.node, row.id
        );
        court.blame(what, [format!("{row:?}")]);
    }
}

/// What each job says that it took is what the ledger says.
fn jobs_against_ledger(court: &mut Court<'_>, node: &NodeFinals) {
    let (Some(jobs), Some(ledger)) = (&node.jobs, &node.ledger) else {
        return;
    };
    let mut taken: BTreeMap<&str, u64> = BTreeMap::new();
    for line in ledger.iter().filter(|line| line.way == LedgerWay::Deducted) {
        if let Some(job) = &line.job {
            *taken.entry(job).or_default() += line.amount_mg;
        }
    }
    for job in jobs {
        let taken = taken.get(job.id.as_str()).copied().unwrap_or_default();
        if taken != job.deducted_mg {
            let what = format!(
                "node {}: by the ledger, job {} took {taken} mg",
                node.node, job.id
            );
            court.blame(what, [format!("{job:?}")]);
        }
    }
}

fn ledger(node: &NodeFinals) -> Option<BTreeMap<&str, Sums>> {
    let mut by_filament: BTreeMap<&str, Sums> = BTreeMap::new();
    for line in node.ledger.as_ref()? {
        let sums = by_filament.entry(&line.filament).or_default();
        let amount = i128::from(line.amount_mg);
        match line.way {
            LedgerWay::Loaded => {
                sums.loaded += amount;
                sums.loads += 1;
            }
            LedgerWay::Deducted => sums.used += amount,
            LedgerWay::AdjustedUp => sums.adjusted += amount,
            LedgerWay::AdjustedDown => sums.adjusted -= amount,
        }
    }
    Some(by_filament)
}

/// What the jobs say that they took, by filament.
fn used(node: &NodeFinals) -> Option<BTreeMap<&str, i128>> {
    let mut by_filament: BTreeMap<&str, i128> = BTreeMap::new();
    for job in node.jobs.as_ref()? {
        *by_filament.entry(&job.filament).or_default() += i128::from(job.deducted_mg);
    }
    Some(by_filament)
}

/// What the acknowledged calls loaded and adjusted; none where calls without an answer, or jobs
/// that were deleted with what they took, leave it open.
fn asked<'a>(calls: &[Call<'a>]) -> Option<BTreeMap<&'a str, Sums>> {
    let mut by_filament: BTreeMap<&str, Sums> = BTreeMap::new();
    for call in calls {
        let done = matches!(call.fate, Fate::Done { .. });
        match (call.op, &call.fate) {
            (Op::DeleteJob { .. }, Fate::Done { .. } | Fate::Unknown)
            | (Op::AdjustFilament { .. }, Fate::Unknown) => return None,
            (Op::AdjustFilament { filament, delta_mg }, _) if done => {
                by_filament.entry(filament).or_default().adjusted += i128::from(*delta_mg);
            }
            (
                Op::CreateFilament {
                    id: Some(id),
                    remaining_mg,
                    ..
                },
                _,
            ) if done => {
                by_filament.entry(id).or_default().loaded += i128::from(*remaining_mg);
            }
            _ => {}
        }
    }
    Some(by_filament)
}
