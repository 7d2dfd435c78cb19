//! Does every answer follow from the writes before it, in the order of the revisions that the
//! cluster gave? One pass: the accepted writes sorted by revision run against a plain model of the
//! shop; every answer, refusal, read and final dump must show what the model says at its revision.
//! And the order of the revisions must agree with the order in which things happened.
//!
//! Where a write got no answer, the final events tell at which revision it happened, if it did.
//! Where they do not, a printer or filament is there from the first answer on that shows it; other
//! rows that are left open are compared no more.

use std::collections::{BTreeMap, BTreeSet};

use crate::calls::{Call, Fate, Jobs};
use crate::canary;
use crate::history::{
    Consistency, EventFacts, EventWhat, Facts, Finals, LedgerWay, NodeFinals, Op, PrinterFacts,
    Refusal,
};
use crate::shop::{RULESET, Shop};
use crate::verdict::{Court, Verdict};

/// Name of this judge.
pub const JUDGE: &str = "replay";

/// What happens at a revision, in this order.
enum Step<'a> {
    Write(&'a Call<'a>, &'a Facts),
    /// Events of an entry that no answer told of.
    Unanswered(Vec<&'a EventFacts>),
    Refused(&'a Call<'a>, &'a Refusal, Option<&'a str>),
    Read(&'a Call<'a>, &'a Facts),
    Dump(&'a NodeFinals),
}

impl Step<'_> {
    const fn place(&self) -> u8 {
        match self {
            Self::Write(..) | Self::Unanswered(_) => 0,
            Self::Refused(..) => 1,
            Self::Read(..) => 2,
            Self::Dump(_) => 3,
        }
    }
}

/// Judges the calls.
pub(crate) fn judge(calls: &[Call<'_>], finals: &Finals, verdict: &mut Verdict) {
    let mut court = Court::open(JUDGE, verdict);
    one_call_a_revision(&mut court, calls);
    agrees_with_time(&mut court, calls);
    policies_answer(&mut court, calls);
    let mut steps = steps(calls, finals);
    steps.sort_by_key(|(revision, step)| (*revision, step.place()));
    court.count("answers replayed", steps.len());
    let unknown: Vec<&Call<'_>> = calls
        .iter()
        .filter(|call| call.fate == Fate::Unknown)
        .collect();
    let gone = finals
        .iter()
        .all(|node| node.events.is_none() || node.events_deleted_to.is_some());
    let perhaps = if gone { perhaps(&unknown) } else { Vec::new() };
    let mut shop = Shop::new(uncertain(calls, &unknown, finals, gone), perhaps);
    for (revision, step) in &steps {
        let (said, shown) = match step {
            Step::Write(call, facts) => (shop.write(call.op, facts, *revision), call.shown()),
            Step::Unanswered(events) => {
                let shown = events.iter().map(|event| format!("{event:?}")).collect();
                (unanswered(&mut shop, events, &unknown, finals), shown)
            }
            Step::Refused(call, why, code) => (shop.refuse(call.op, why, *code), call.shown()),
            Step::Read(call, facts) => (shop.read(call.op, facts), call.shown()),
            Step::Dump(node) => (dump(&mut shop, node), vec![format!("node {}", node.node)]),
        };
        if let Err(problem) = said {
            court.blame(format!("at revision {revision}: {problem}"), shown);
        }
    }
}

fn steps<'a>(calls: &'a [Call<'a>], finals: &'a Finals) -> Vec<(u64, Step<'a>)> {
    let mut steps = Vec::new();
    let mut answered = BTreeSet::new();
    for call in calls {
        match &call.fate {
            Fate::Done { revision, facts } if call.op.is_write() => {
                answered.insert(*revision);
                steps.push((*revision, Step::Write(call, facts)));
            }
            Fate::Done { revision, facts } => steps.push((*revision, Step::Read(call, facts))),
            Fate::Refused {
                why,
                code,
                revision: Some(revision),
            } => {
                steps.push((*revision, Step::Refused(call, why, *code)));
            }
            _ => {}
        }
    }
    let mut others: BTreeMap<u64, Vec<&EventFacts>> = BTreeMap::new();
    for event in crate::events::longest(finals).into_iter().flatten() {
        if !answered.contains(&event.revision) {
            others.entry(event.revision).or_default().push(event);
        }
    }
    let others = others
        .into_iter()
        .map(|(revision, them)| (revision, Step::Unanswered(them)));
    steps.extend(others);
    steps.extend(finals.iter().map(|node| (node.applied, Step::Dump(node))));
    steps
}

/// The requests without an answer for printers and filaments.
fn perhaps(unknown: &[&Call<'_>]) -> Vec<Op> {
    let adds = |op: &&Op| matches!(op, Op::CreatePrinter { .. } | Op::CreateFilament { .. });
    unknown
        .iter()
        .map(|call| call.op)
        .filter(adds)
        .cloned()
        .collect()
}

/// Rows that writes without an answer may have changed unseen; `gone`: no events tell of them.
fn uncertain(
    calls: &[Call<'_>],
    unknown: &[&Call<'_>],
    finals: &Finals,
    gone: bool,
) -> BTreeSet<String> {
    let jobs = Jobs::gather(calls, finals);
    let mut rows = BTreeSet::new();
    let add_job = |rows: &mut BTreeSet<String>, id: &str| {
        rows.insert(id.to_owned());
        rows.extend(jobs.load(id).map(|(filament, _)| filament.to_owned()));
    };
    for call in unknown {
        match call.op {
            Op::SetPriority { job, .. } | Op::DeleteJob { job } => {
                rows.insert(job.clone());
            }
            Op::AdjustFilament { filament, .. } => {
                rows.insert(filament.clone());
            }
            Op::ActivateRuleset { .. } => {
                rows.insert(RULESET.to_owned());
            }
            Op::CreateJob { filament, .. } if gone => {
                rows.extend(jobs.id_of(call.op).map(str::to_owned));
                rows.insert(filament.clone());
            }
            Op::SetStatus { job, .. } if gone => add_job(&mut rows, job),
            Op::Claim { printer } if gone => {
                jobs.of_printer(printer)
                    .for_each(|id| add_job(&mut rows, id));
            }
            _ => {}
        }
    }
    rows
}

/// Does what an entry did that no answer told of. Somebody must have asked for it.
fn unanswered(
    shop: &mut Shop,
    events: &[&EventFacts],
    unknown: &[&Call<'_>],
    finals: &Finals,
) -> Result<(), String> {
    let taken = events.iter().find_map(|event| match &event.what {
        EventWhat::FilamentDeducted { amount_mg, .. } => Some(*amount_mg),
        _ => None,
    });
    for event in events {
        match &event.what {
            EventWhat::JobCreated(id) => {
                let asked = who_made(id, unknown, finals).ok_or_else(|| nobody("job", id))?;
                shop.create_job(asked, id, event.revision)?;
            }
            EventWhat::JobStatusChanged { job, to, .. } => {
                let printer = shop.jobs.get(job).map(|job| job.printer.clone());
                let asked = |op: &Op| match op {
                    Op::SetStatus {
                        job: own,
                        to: state,
                        ..
                    } => own == job && state == to,
                    Op::Claim { printer: own } => Some(own) == printer.as_ref(),
                    _ => false,
                };
                if !unknown.iter().any(|call| asked(call.op)) {
                    return Err(nobody("transition of", job));
                }
                // Nothing taken is no event: neither of a job that weighs nothing.
                shop.move_job(job, to, Some(taken.unwrap_or_default()))?;
                if let Some(job) = shop.jobs.get_mut(job) {
                    job.revision = event.revision;
                    // The time of the change was not shown to anybody.
                    job.stamps_ms = None;
                }
            }
            EventWhat::PrinterCreated(id) | EventWhat::FilamentCreated(id) => {
                let all = unknown
                    .iter()
                    .filter_map(|call| named(call.op, &event.what, id));
                // Several may have asked for a spool; the ledger tells how full it was.
                let loaded = loaded_mg(finals, id);
                let op = (all.clone().find(|op| loads(op) == loaded))
                    .or_else(|| all.clone().next())
                    .ok_or_else(|| nobody("row", id))?;
                let shown = Facts::Printer(PrinterFacts { id: id.clone() });
                shop.write(&op, &shown, event.revision)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The request without an answer that made the job.
fn who_made<'a>(id: &str, unknown: &[&Call<'a>], finals: &Finals) -> Option<&'a Op> {
    let mut rows = finals.iter().flat_map(|node| node.jobs.iter().flatten());
    let tag = rows.find(|row| row.id == id).map(|row| row.tag.as_str());
    let asked = || unknown.iter().map(|call| call.op);
    let tagged =
        |op: &&Op| matches!(op, Op::CreateJob { tag: own, .. } if Some(own.as_str()) == tag);
    let named = |op: &&Op| matches!(op, Op::CreateJob { id: Some(own), .. } if own == id);
    // Several may have asked for that id; the row tells whose it is.
    asked().find(tagged).or_else(|| asked().find(named))
}

/// How full a spool was when it was made, as the ledger has it.
fn loaded_mg(finals: &Finals, id: &str) -> Option<u64> {
    let mut lines = finals.iter().flat_map(|node| node.ledger.iter().flatten());
    lines
        .find(|line| line.filament == id && line.way == LedgerWay::Loaded)
        .map(|line| line.amount_mg)
}

/// How full the spool is to be that it makes.
fn loads(op: &Op) -> Option<u64> {
    match op {
        Op::CreateFilament { remaining_mg, .. } => Some(*remaining_mg),
        _ => None,
    }
}

/// The request, if it made the printer or filament that the event tells of, with its id.
fn named(op: &Op, what: &EventWhat, id: &str) -> Option<Op> {
    let fits = |own: &Option<String>| own.as_ref().is_none_or(|own| own == id);
    let id = Some(id.to_owned());
    match (op, what) {
        (Op::CreatePrinter { id: own }, EventWhat::PrinterCreated(_)) if fits(own) => {
            Some(Op::CreatePrinter { id })
        }
        (
            Op::CreateFilament {
                id: own,
                total_mg,
                remaining_mg,
            },
            EventWhat::FilamentCreated(_),
        ) if fits(own) => {
            let (total_mg, remaining_mg) = (*total_mg, *remaining_mg);
            Some(Op::CreateFilament {
                id,
                total_mg,
                remaining_mg,
            })
        }
        _ => None,
    }
}

fn nobody(what: &str, id: &str) -> String {
    format!("nobody asked for {what} {id}")
}

/// A final dump is a complete read.
fn dump(shop: &mut Shop, node: &NodeFinals) -> Result<(), String> {
    let consistency = Consistency::Linearizable;
    if let Some(jobs) = &node.jobs {
        let list = Op::ListJobs {
            consistency,
            complete: true,
        };
        shop.read(&list, &Facts::Jobs(jobs.clone()))?;
    }
    for row in node.filaments.iter().flatten() {
        let read = Op::ReadFilament {
            filament: row.id.clone(),
            consistency,
        };
        shop.read(&read, &Facts::Filament(row.clone()))?;
    }
    for row in node.printers.iter().flatten() {
        let read = Op::ReadPrinter {
            printer: row.id.clone(),
            consistency,
        };
        shop.read(&read, &Facts::Printer(row.clone()))?;
    }
    Ok(())
}

/// No policy of a history fails, and none finds memory that another call has used.
fn policies_answer(court: &mut Court<'_>, calls: &[Call<'_>]) {
    for call in calls {
        let Fate::Refused { why, code, .. } = &call.fate else {
            continue;
        };
        if **why == Refusal::PolicyFailed || *code == Some(canary::REMEMBERS) {
            let code = code.unwrap_or("no code");
            court.blame(format!("a sound policy failed: {code}"), call.shown());
        }
    }
}

fn one_call_a_revision(court: &mut Court<'_>, calls: &[Call<'_>]) {
    let mut by_revision: BTreeMap<u64, &Call<'_>> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.op.is_write()) {
        let Fate::Done { revision, .. } = call.fate else {
            continue;
        };
        if let Some(other) = by_revision.insert(revision, call) {
            let shown = other.shown().into_iter().chain(call.shown());
            court.blame(format!("revision {revision} is two writes"), shown);
        }
    }
}

/// What was sent after an answer came has a later revision if it is a write, and sees at least
/// as much if it is a linearizable read.
fn agrees_with_time(court: &mut Court<'_>, calls: &[Call<'_>]) {
    let is_fresh =
        |call: &Call<'_>| !matches!(call.op.consistency(), Some(Consistency::Stale { .. }));
    let timed = calls
        .iter()
        .filter(|call| is_fresh(call))
        .filter_map(|call| {
            let Fate::Done { revision, .. } = call.fate else {
                return None;
            };
            Some((call, revision, call.returned?))
        });
    let timed: Vec<_> = timed.collect();
    let mut answered = timed.clone();
    answered.sort_by_key(|(.., returned)| *returned);
    let mut answered = answered.into_iter().peekable();
    let mut newest: Option<(&Call<'_>, u64)> = None;
    // Calls are sorted by the time at which they were sent.
    for (call, revision, _) in &timed {
        while let Some((earlier, seen, _)) =
            answered.next_if(|(.., returned)| *returned < call.invoked)
        {
            if newest.is_none_or(|(_, newest)| newest < seen) {
                newest = Some((earlier, seen));
            }
        }
        let Some((earlier, seen)) = newest else {
            continue;
        };
        let wrong = if call.op.is_write() {
            *revision <= seen
        } else {
            *revision < seen
        };
        if wrong {
            let what = format!("revision {revision} was given after {seen} had been shown");
            court.blame(what, earlier.shown().into_iter().chain(call.shown()));
        }
    }
}
