//! No acknowledged write is missing from the final dump of any node, and nothing is in a dump that
//! nobody asked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::calls::{Call, Fate};
use crate::history::{Facts, Finals, JobFacts, NodeFinals, Op};
use crate::rules::{CLAIMED, INITIAL, is_terminal};
use crate::verdict::{Court, Verdict};

/// Name of this judge.
pub const JUDGE: &str = "lost";

/// Judges the dump of every node.
pub(crate) fn judge(calls: &[Call<'_>], finals: &Finals, verdict: &mut Verdict) {
    let mut court = Court::open(JUDGE, verdict);
    if finals.is_empty() {
        court.skip("no final dump was collected");
    }
    let asked = Asked::gather(calls);
    for node in finals {
        let behind = asked
            .newest
            .filter(|(revision, _)| *revision > node.applied);
        if let Some((revision, call)) = behind {
            let what = format!(
                "node {} has applied {} and lacks revision {revision}, which was acknowledged",
                node.node, node.applied
            );
            court.blame(what, call.shown());
        }
        let Some(jobs) = &node.jobs else {
            court.skip(&format!(
                "the jobs of node {} were not collected",
                node.node
            ));
            continue;
        };
        court.count("rows of jobs looked at", jobs.len());
        asked.check_jobs(&mut court, node, jobs);
        asked.check_moved(&mut court, node, jobs);
        asked.check_others(&mut court, node);
    }
}

/// What was asked for, by what became of it.
#[derive(Default)]
struct Asked<'a> {
    newest: Option<(u64, &'a Call<'a>)>,
    /// Acknowledged jobs by tag, and tags that may be there.
    made: BTreeMap<&'a str, &'a Call<'a>>,
    perhaps: BTreeSet<&'a str>,
    deleted: BTreeSet<&'a str>,
    perhaps_deleted: BTreeSet<&'a str>,
    /// Acknowledged transitions by job.
    moves: BTreeMap<&'a str, Vec<(&'a str, &'a Call<'a>)>>,
    rows: Vec<(&'static str, &'a str, &'a Call<'a>)>,
}

impl<'a> Asked<'a> {
    fn gather(calls: &'a [Call<'a>]) -> Self {
        let mut asked = Self::default();
        for call in calls.iter().filter(|call| call.op.is_write()) {
            match &call.fate {
                Fate::Done { revision, facts } => {
                    if asked.newest.is_none_or(|(newest, _)| newest < *revision) {
                        asked.newest = Some((*revision, call));
                    }
                    asked.add_done(call, facts);
                }
                Fate::Unknown => match call.op {
                    Op::CreateJob { tag, .. } => {
                        asked.perhaps.insert(tag);
                    }
                    Op::DeleteJob { job } => {
                        asked.perhaps_deleted.insert(job);
                    }
                    _ => {}
                },
                Fate::Refused { .. } => {}
            }
        }
        asked
    }

    fn add_done(&mut self, call: &'a Call<'a>, facts: &'a Facts) {
        match (call.op, facts) {
            (Op::CreateJob { tag, .. }, _) => {
                self.made.insert(tag, call);
            }
            (Op::SetStatus { job, to, .. }, _) => {
                self.moves.entry(job).or_default().push((to, call));
            }
            (Op::Claim { .. }, Facts::Job(job)) => {
                self.moves.entry(&job.id).or_default().push((CLAIMED, call));
            }
            (Op::DeleteJob { job }, _) => {
                self.deleted.insert(job);
            }
            (Op::CreatePrinter { .. }, Facts::Printer(row)) => {
                self.rows.push(("printer", &row.id, call));
            }
            (Op::CreatePrinter { id: Some(id) }, _) => self.rows.push(("printer", id, call)),
            (Op::CreateFilament { .. }, Facts::Filament(row)) => {
                self.rows.push(("filament", &row.id, call));
            }
            (Op::CreateFilament { id: Some(id), .. }, _) => self.rows.push(("filament", id, call)),
            _ => {}
        }
    }

    fn check_jobs(&self, court: &mut Court<'_>, node: &NodeFinals, jobs: &[JobFacts]) {
        let by_tag: BTreeMap<&str, &JobFacts> =
            jobs.iter().map(|job| (job.tag.as_str(), job)).collect();
        for (tag, call) in &self.made {
            let id = match &call.fate {
                Fate::Done {
                    facts: Facts::Job(job),
                    ..
                } => Some(job.id.as_str()),
                _ => None,
            };
            let Op::CreateJob { id: asked_id, .. } = call.op else {
                continue;
            };
            let id = id.or(asked_id.as_deref()).unwrap_or_default();
            let gone = self.deleted.contains(id) || self.perhaps_deleted.contains(id);
            match by_tag.get(tag) {
                None if !gone => {
                    let what = format!("node {} lost job {id}", node.node);
                    court.blame(what, call.shown());
                }
                Some(job) if job.id != id && !id.is_empty() => {
                    let what = format!("node {} has job {id} as {}", node.node, job.id);
                    court.blame(what, call.shown());
                }
                _ => {}
            }
        }
        for job in jobs {
            let tag = job.tag.as_str();
            if self.deleted.contains(job.id.as_str()) {
                court.blame(
                    format!("node {} still has deleted job {}", node.node, job.id),
                    [tag],
                );
            }
            if !self.made.contains_key(tag) && !self.perhaps.contains(tag) {
                let what = format!("node {} has job {} that nobody made", node.node, job.id);
                court.blame(what, [format!("{job:?}")]);
            }
            for (to, call) in self.moves.get(job.id.as_str()).into_iter().flatten() {
                if !is_at_or_past(&job.status, to) {
                    let what = format!(
                        "node {} has job {} as {}; that it is {to} was acknowledged",
                        node.node, job.id, job.status
                    );
                    court.blame(what, call.shown());
                }
            }
        }
    }

    /// Jobs that somebody moved are there, whoever made them.
    fn check_moved(&self, court: &mut Court<'_>, node: &NodeFinals, jobs: &[JobFacts]) {
        let there: BTreeSet<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
        for (id, moves) in &self.moves {
            let gone = self.deleted.contains(id) || self.perhaps_deleted.contains(id);
            if let Some((_, call)) = moves.first().filter(|_| !gone && !there.contains(id)) {
                court.blame(format!("node {} lost job {id}", node.node), call.shown());
            }
        }
    }

    fn check_others(&self, court: &mut Court<'_>, node: &NodeFinals) {
        let printers = node
            .printers
            .iter()
            .flatten()
            .map(|row| ("printer", row.id.as_str()));
        let filaments = node
            .filaments
            .iter()
            .flatten()
            .map(|row| ("filament", row.id.as_str()));
        let there: BTreeSet<(&str, &str)> = printers.chain(filaments).collect();
        for (table, id, call) in &self.rows {
            let collected = match *table {
                "printer" => node.printers.is_some(),
                _ => node.filaments.is_some(),
            };
            if collected && !there.contains(&(*table, *id)) {
                court.blame(
                    format!("node {} lost {table} {id}", node.node),
                    call.shown(),
                );
            }
        }
    }
}

/// Whether a job that was in state `to` may be in state `now` later.
fn is_at_or_past(now: &str, to: &str) -> bool {
    match (to, now) {
        _ if now == to => true,
        (INITIAL, _) => true,
        (CLAIMED, now) => is_terminal(now),
        _ => false,
    }
}
