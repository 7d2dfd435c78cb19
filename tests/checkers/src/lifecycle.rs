//! Jobs only go where the rules let them: each job's events are one way through the lifecycle, and
//! no answer shows a job elsewhere.

use std::collections::BTreeMap;

use crate::calls::{Call, Fate};
use crate::events::longest;
use crate::history::{EventWhat, Facts, Finals, JobFacts, Op};
use crate::rules::{INITIAL, is_terminal, may_move};
use crate::verdict::{Court, Verdict};

/// Name of this judge.
pub const JUDGE: &str = "lifecycle";

/// Judges the events of every node, and the answers.
pub(crate) fn judge(calls: &[Call<'_>], finals: &Finals, verdict: &mut Verdict) {
    let mut court = Court::open(JUDGE, verdict);
    if longest(finals).is_none() {
        court.skip("no events were collected");
    }
    for call in calls {
        answers(&mut court, call);
    }
    let mut moves = 0;
    for node in finals {
        let whole = node.events_deleted_to.is_none();
        let mut at: BTreeMap<&str, &str> = BTreeMap::new();
        for event in node.events.iter().flatten() {
            let wrong = match &event.what {
                EventWhat::JobCreated(job) => {
                    let twice = at.insert(job, INITIAL).is_some();
                    twice.then(|| format!("job {job} was made twice"))
                }
                EventWhat::JobStatusChanged { job, from, to } => {
                    moves += 1;
                    let before = at.insert(job, to);
                    let known = before.map_or(!whole, |before| before == from);
                    let now = before.unwrap_or("not there");
                    let wrong = !known || !may_move(from, to);
                    wrong.then(|| format!("job {job}, which is {now}, moved so"))
                }
                _ => None,
            };
            if let Some(wrong) = wrong {
                let what = format!("node {}: {wrong}", node.node);
                court.blame(what, [format!("{event:?}")]);
            }
        }
        for job in node.jobs.iter().flatten() {
            let last = at.get(job.id.as_str()).copied();
            let fits = last.map_or(!whole || node.events.is_none(), |last| last == job.status);
            if !fits {
                let what = format!(
                    "node {}: the events leave job {} as {last:?}; its row says {}",
                    node.node, job.id, job.status
                );
                court.blame(what, Vec::<String>::new());
            }
        }
    }
    court.count("transitions in the events", moves);
}

/// An answer shows a job where its call put it, and in a state that exists.
fn answers(court: &mut Court<'_>, call: &Call<'_>) {
    let Fate::Done { facts, .. } = &call.fate else {
        return;
    };
    let jobs: &[JobFacts] = match facts {
        Facts::Job(job) => core::slice::from_ref(job),
        Facts::Jobs(jobs) => jobs,
        _ => &[],
    };
    for job in jobs {
        let exists =
            job.status == INITIAL || may_move(INITIAL, &job.status) || is_terminal(&job.status);
        let asked = match call.op {
            Op::CreateJob { .. } => Some(INITIAL),
            Op::SetStatus { to, .. } => Some(to.as_str()),
            _ => None,
        };
        if !exists || asked.is_some_and(|asked| asked != job.status) {
            court.blame(
                format!("job {} is shown as {}", job.id, job.status),
                call.shown(),
            );
        }
    }
}
