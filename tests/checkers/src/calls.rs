//! Attempts joined into calls: all attempts under one request key are one call, which takes effect
//! once or never.

use std::collections::BTreeMap;

use crate::history::{Answer, Facts, Finals, JobFacts, Nanos, Op, Operation, Refusal};

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate<'a> {
    /// It was done.
    Done { revision: u64, facts: &'a Facts },
    /// It was refused.
    Refused {
        why: &'a Refusal,
        code: Option<&'a str>,
        revision: Option<u64>,
    },
    /// It may take effect at any time after it was sent, or never.
    Unknown,
}

/// One call with all its attempts.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) op: &'a Op,
    /// When the first attempt that may have done something was sent.
    pub(crate) invoked: Nanos,
    /// When the first answer that tells its fate came; none where none did.
    pub(crate) returned: Option<Nanos>,
    pub(crate) fate: Fate<'a>,
    /// By time, without those that certainly did nothing.
    pub(crate) attempts: Vec<&'a Operation>,
}

impl Call<'_> {
    /// When its effect is there at the latest.
    pub(crate) fn deadline(&self) -> Nanos {
        self.returned.unwrap_or(Nanos::MAX)
    }

    /// The attempts, to be shown.
    pub(crate) fn shown(&self) -> Vec<String> {
        self.attempts.iter().map(ToString::to_string).collect()
    }
}

/// Whether an attempt that was answered so may have done something or tells what did.
fn counts(answer: &Answer) -> bool {
    match answer {
        Answer::Never => false,
        Answer::Rejected { why, .. } => why.is_remembered(),
        Answer::Accepted { .. } | Answer::Unknown => true,
    }
}

/// The calls of a history, by the time of their first attempt. Calls that certainly did nothing
/// are left out; so are reads without an answer.
pub(crate) fn join(operations: &[Operation]) -> Vec<Call<'_>> {
    type Name<'a> = (&'a str, &'a str, String);
    let mut keyed: BTreeMap<Name<'_>, Vec<&Operation>> = BTreeMap::new();
    let mut groups: Vec<Vec<&Operation>> = Vec::new();
    for operation in operations
        .iter()
        .filter(|operation| counts(&operation.answer))
    {
        let op = &operation.op;
        match &operation.request {
            // Another request under the same id is a call of its own; all but one are refused.
            Some(key) if op.is_write() => {
                let name = (key.actor.as_str(), key.id.as_str(), format!("{op:?}"));
                keyed.entry(name).or_default().push(operation);
            }
            _ if op.is_write() || operation.answer != Answer::Unknown => {
                groups.push(vec![operation]);
            }
            _ => {}
        }
    }
    groups.extend(keyed.into_values());
    let mut calls: Vec<Call<'_>> = groups.into_iter().filter_map(call).collect();
    calls.sort_by_key(|call| (call.invoked, call.deadline()));
    calls
}

fn call(mut attempts: Vec<&Operation>) -> Option<Call<'_>> {
    attempts.sort_by_key(|operation| operation.invoked);
    let first = *attempts.first()?;
    let told = attempts
        .iter()
        .filter(|operation| operation.answer != Answer::Unknown);
    // Answers of one call must agree, which `once` judges; here the earliest is taken.
    let told = told.min_by_key(|operation| operation.returned.unwrap_or(Nanos::MAX));
    let fate = match told.map(|operation| &operation.answer) {
        Some(Answer::Accepted {
            revision, facts, ..
        }) => Fate::Done {
            revision: *revision,
            facts,
        },
        Some(Answer::Rejected {
            why,
            code,
            revision,
            ..
        }) => Fate::Refused {
            why,
            code: code.as_deref(),
            revision: *revision,
        },
        _ => Fate::Unknown,
    };
    let returned = told.and_then(|operation| operation.returned);
    Some(Call {
        op: &first.op,
        invoked: first.invoked,
        returned,
        fate,
        attempts,
    })
}

/// Jobs that were shown anywhere, by answers or in the final dumps.
fn shown<'a>(calls: &[Call<'a>], finals: &'a Finals) -> Vec<&'a JobFacts> {
    let answers = calls.iter().flat_map(|call| match &call.fate {
        Fate::Done {
            facts: Facts::Job(job),
            ..
        } => core::slice::from_ref(job),
        Fate::Done {
            facts: Facts::Jobs(jobs),
            ..
        } => jobs.as_slice(),
        _ => &[],
    });
    answers
        .chain(finals.iter().flat_map(|node| node.jobs.iter().flatten()))
        .collect()
}

/// The jobs that requests made or may have made.
#[derive(Debug, Default)]
pub(crate) struct Jobs<'a> {
    /// Ids that the cluster was seen to give, by the tag of the request.
    named: BTreeMap<&'a str, &'a str>,
    /// The requests that may have made the jobs, by the jobs' ids.
    made: BTreeMap<&'a str, &'a Op>,
}

impl<'a> Jobs<'a> {
    pub(crate) fn gather(calls: &[Call<'a>], finals: &'a Finals) -> Self {
        let shown = shown(calls, finals);
        let by_id: BTreeMap<&str, &str> = shown
            .iter()
            .map(|job| (job.id.as_str(), job.tag.as_str()))
            .collect();
        let named = shown
            .iter()
            .map(|job| (job.tag.as_str(), job.id.as_str()))
            .collect();
        let mut jobs = Self {
            named,
            made: BTreeMap::new(),
        };
        for call in calls
            .iter()
            .filter(|call| !matches!(call.fate, Fate::Refused { .. }))
        {
            let (Some(id), Op::CreateJob { tag, .. }) = (jobs.id_of(call.op), call.op) else {
                continue;
            };
            // Of two requests for one id, the one that was seen to have made it counts.
            if by_id.get(id).is_none_or(|seen| seen == tag) {
                jobs.made.insert(id, call.op);
            }
        }
        jobs
    }

    /// The id of the job that a request makes: the client's, or the one that the cluster was seen
    /// to give it.
    pub(crate) fn id_of(&self, op: &'a Op) -> Option<&'a str> {
        match op {
            Op::CreateJob { id: Some(id), .. } => Some(id),
            Op::CreateJob { tag, .. } => self.named.get(tag.as_str()).copied(),
            _ => None,
        }
    }

    /// Filament and weight of a job, as its request said.
    pub(crate) fn load(&self, id: &str) -> Option<(&'a str, u64)> {
        match self.made.get(id)? {
            Op::CreateJob {
                filament,
                weight_mg,
                ..
            } => Some((filament, *weight_mg)),
            _ => None,
        }
    }

    /// Jobs of a printer.
    pub(crate) fn of_printer(&self, wanted: &str) -> impl Iterator<Item = &'a str> {
        let own = move |op: &Op| matches!(op, Op::CreateJob { printer, .. } if printer == wanted);
        self.made
            .iter()
            .filter(move |(_, op)| own(op))
            .map(|(id, _)| *id)
    }
}
