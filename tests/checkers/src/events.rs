//! The stream of events: ordered, without a gap, the same on every node and for every reader, and
//! in agreement with the answers.

use std::collections::{BTreeMap, BTreeSet};

use crate::calls::{Call, Fate};
use crate::history::{EventFacts, EventWhat, Facts, Finals, NodeFinals, Op};
use crate::verdict::{Court, Verdict};

/// Name of this judge.
pub const JUDGE: &str = "events";

/// (log index, sequence) of an event.
type Place = (u64, u32);

const fn place(event: &EventFacts) -> Place {
    (event.revision, event.sequence)
}

/// The events of the node that knows most: complete from the start where any node's are, else up to
/// the newest.
pub(crate) fn longest(finals: &Finals) -> Option<&Vec<EventFacts>> {
    let most = finals.iter().filter(|node| node.events.is_some());
    let most = most.max_by_key(|node| (node.events_deleted_to.is_none(), node.applied))?;
    most.events.as_ref()
}

/// Judges the events of every node, of every reader, and of every answer.
pub(crate) fn judge(calls: &[Call<'_>], finals: &Finals, verdict: &mut Verdict) {
    let mut court = Court::open(JUDGE, verdict);
    let Some(longest) = longest(finals) else {
        court.skip("no events were collected");
        return;
    };
    court.count("events", longest.len());
    for node in finals {
        let Some(events) = &node.events else {
            court.skip(&format!(
                "the events of node {} were not collected",
                node.node
            ));
            continue;
        };
        in_order(&mut court, &format!("node {}", node.node), events);
        same_as(&mut court, node, events, longest);
        told(&mut court, calls, node, events);
    }
    let first = longest.first().map(place);
    for call in calls {
        if let (
            Op::ReadEvents { after },
            Fate::Done {
                revision,
                facts: Facts::Events(events),
            },
        ) = (call.op, &call.fate)
        {
            in_order(&mut court, "a reader", events);
            let upto = events.last().map_or((*revision, u32::MAX), place);
            let from = (*after)
                .or(events.first().map(before))
                .max(first.map(below));
            let range = |event: &&EventFacts| Some(place(event)) > from && place(event) <= upto;
            let expected: Vec<&EventFacts> = longest.iter().filter(range).collect();
            let read: Vec<&EventFacts> = events.iter().filter(range).collect();
            if let Some(lines) = difference(&read, &expected) {
                court.blame(
                    "a reader missed events or saw others",
                    lines.into_iter().chain(call.shown()),
                );
            }
        }
    }
}

/// The place just before an event.
const fn before(event: &EventFacts) -> Place {
    below(place(event))
}

const fn below((revision, sequence): Place) -> Place {
    match sequence.checked_sub(1) {
        Some(sequence) => (revision, sequence),
        None => (revision.saturating_sub(1), u32::MAX),
    }
}

/// Places rise, sequences within an entry have no gap, and log time never runs back.
fn in_order(court: &mut Court<'_>, who: &str, events: &[EventFacts]) {
    for pair in events.windows(2) {
        let [a, b] = pair else { continue };
        let follows = if a.revision == b.revision {
            b.sequence == a.sequence.saturating_add(1)
        } else {
            b.revision > a.revision && b.sequence == 0
        };
        if !follows || a.at_ms > b.at_ms {
            court.blame(
                format!("{who}: these do not follow"),
                [format!("{a:?}"), format!("{b:?}")],
            );
        }
    }
}

/// Where both nodes have events, they are the same.
fn same_as(
    court: &mut Court<'_>,
    node: &NodeFinals,
    events: &[EventFacts],
    longest: &[EventFacts],
) {
    let (Some(first), Some(longest_first)) = (events.first(), longest.first()) else {
        if !longest.is_empty() && node.events_deleted_to.is_none() {
            let newer = longest.iter().find(|event| event.revision <= node.applied);
            if let Some(event) = newer {
                let what = format!("node {} has no events", node.node);
                court.blame(what, [format!("it lacks {event:?}")]);
            }
        }
        return;
    };
    let from = match node.events_deleted_to {
        None => place(longest_first),
        Some(_) => place(first).max(place(longest_first)),
    };
    let range = |event: &&EventFacts| place(event) >= from && event.revision <= node.applied;
    let own: Vec<&EventFacts> = events.iter().filter(range).collect();
    let expected: Vec<&EventFacts> = longest.iter().filter(range).collect();
    if let Some(lines) = difference(&own, &expected) {
        court.blame(format!("node {} has other events", node.node), lines);
    }
}

/// The first difference.
fn difference(own: &[&EventFacts], expected: &[&EventFacts]) -> Option<Vec<String>> {
    let many = own.len().max(expected.len());
    let at = (0..many).find(|&at| own.get(at) != expected.get(at))?;
    let line = |who: &str, event: Option<&&EventFacts>| format!("{who}: {event:?}");
    Some(vec![
        line("has", own.get(at)),
        line("others", expected.get(at)),
    ])
}

/// Every acknowledged write of jobs has its event at its revision, and every such event somebody
/// who asked for it.
fn told(court: &mut Court<'_>, calls: &[Call<'_>], node: &NodeFinals, events: &[EventFacts]) {
    let mut by_revision: BTreeMap<u64, Vec<&EventFacts>> = BTreeMap::new();
    for event in events {
        by_revision.entry(event.revision).or_default().push(event);
    }
    let kept_from = node
        .events_deleted_to
        .map_or(0, |(revision, _)| revision.saturating_add(1));
    let mut answered = BTreeSet::new();
    let mut unknown = BTreeSet::new();
    for call in calls.iter().filter(|call| call.op.is_write()) {
        match &call.fate {
            Fate::Done { revision, facts } => {
                answered.insert(*revision);
                let within = (kept_from..=node.applied).contains(revision);
                let told = by_revision.get(revision).map_or(&[][..], Vec::as_slice);
                let Some(expected) = expected(call.op, facts).filter(|_| within) else {
                    continue;
                };
                if !told.iter().any(|event| event.what.tells(&expected)) {
                    let what = format!("node {} has no event of revision {revision}", node.node);
                    court.blame(what, call.shown());
                }
            }
            Fate::Unknown => {
                unknown.insert(kind(call.op));
            }
            Fate::Refused { .. } => {}
        }
    }
    for event in events
        .iter()
        .filter(|event| !answered.contains(&event.revision))
    {
        let asked = match event.what {
            EventWhat::JobCreated(_) => unknown.contains("create"),
            EventWhat::JobStatusChanged { .. } | EventWhat::FilamentDeducted { .. } => {
                unknown.contains("move")
            }
            _ => true,
        };
        if !asked {
            court.blame(
                format!("node {}: nobody asked for this", node.node),
                [format!("{event:?}")],
            );
        }
    }
}

fn kind(op: &Op) -> &'static str {
    match op {
        Op::CreateJob { .. } => "create",
        Op::SetStatus { .. } | Op::Claim { .. } => "move",
        _ => "other",
    }
}

/// The event of an accepted write.
fn expected(op: &Op, facts: &Facts) -> Option<EventWhat> {
    let job = if let Facts::Job(job) = facts {
        Some(&job.id)
    } else {
        None
    };
    match op {
        Op::CreateJob { id, .. } => Some(EventWhat::JobCreated(id.as_ref().or(job)?.clone())),
        Op::SetStatus { job, to, .. } => Some(EventWhat::JobStatusChanged {
            job: job.clone(),
            from: String::new(),
            to: to.clone(),
        }),
        Op::CreatePrinter { id: Some(id) } => Some(EventWhat::PrinterCreated(id.clone())),
        Op::CreateFilament { id: Some(id), .. } => Some(EventWhat::FilamentCreated(id.clone())),
        _ => None,
    }
}

impl EventWhat {
    /// Whether it tells what was expected; from where a job came was not known.
    fn tells(&self, expected: &Self) -> bool {
        match (self, expected) {
            (
                Self::JobStatusChanged { job, to, .. },
                Self::JobStatusChanged {
                    job: own,
                    to: own_to,
                    ..
                },
            ) => job == own && to == own_to,
            _ => self == expected,
        }
    }
}
