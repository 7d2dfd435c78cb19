//! A cluster in miniature: every operation takes effect at one moment, on one state. Written apart
//! from the judges' models.

use std::collections::{BTreeMap, BTreeSet};

use raft3d_checkers::Finals;
use raft3d_checkers::history::{
    Answer, Consistency, DecisionFacts, EventFacts, EventWhat, Facts, FilamentFacts, JobFacts,
    LedgerFacts, LedgerWay, NodeFinals, Op, Operation, PrinterFacts, Refusal,
};

use crate::random::Random;

/// Ids of the nodes are 1 to this.
pub(crate) const NODES: u64 = 3;

#[derive(Default)]
pub(crate) struct Shop {
    pub(crate) revision: u64,
    now_ms: u64,
    printers: BTreeSet<String>,
    filaments: BTreeMap<String, FilamentFacts>,
    jobs: BTreeMap<String, JobFacts>,
    born: BTreeMap<String, u64>,
    ruleset: String,
    ledger: Vec<LedgerFacts>,
    events: Vec<EventFacts>,
    decisions: Vec<DecisionFacts>,
    remembered: BTreeMap<String, Answer>,
    /// What each job looked like: (revision, row).
    pub(crate) versions: BTreeMap<String, Vec<(u64, Option<JobFacts>)>>,
    applied: BTreeMap<u64, u64>,
}

type Change = Result<Facts, (Refusal, Option<&'static str>)>;

impl Shop {
    pub(crate) fn answer(&mut self, operation: &Operation, random: &mut Random) -> Answer {
        if operation.op.is_write() {
            return self.write(operation, random);
        }
        let node = operation.node.unwrap();
        let seen = self.applied.get(&node).copied().unwrap_or_default();
        let revision = match operation.op.consistency() {
            Some(Consistency::Stale { min_revision }) => {
                let from = seen.max(min_revision.unwrap_or_default());
                from + random.below(self.revision - from + 1)
            }
            _ => self.revision,
        };
        self.applied.insert(node, revision);
        let facts = match &operation.op {
            Op::ReadJob { job, .. } => self.job_at(job, revision).map_or(Facts::Absent, Facts::Job),
            Op::ReadFilament { filament, .. } => self
                .filaments
                .get(filament)
                .cloned()
                .map_or(Facts::Absent, Facts::Filament),
            Op::ReadPrinter { printer, .. } => match self.printers.get(printer) {
                Some(id) => Facts::Printer(PrinterFacts { id: id.clone() }),
                None => Facts::Absent,
            },
            Op::ReadRuleset { .. } => Facts::Ruleset(self.ruleset.clone()),
            Op::ListJobs { .. } => Facts::Jobs(self.jobs.values().cloned().collect()),
            Op::ReadEvents { after } => {
                let events = self
                    .events
                    .iter()
                    .filter(|event| event.revision <= revision);
                let behind = |event: &&EventFacts| Some((event.revision, event.sequence)) > *after;
                Facts::Events(events.filter(behind).cloned().collect())
            }
            other => panic!("{other:?} is no read"),
        };
        Answer::Accepted {
            revision,
            replayed: false,
            facts,
        }
    }

    fn job_at(&self, job: &str, revision: u64) -> Option<JobFacts> {
        let versions = self.versions.get(job)?;
        let at = versions.iter().rev().find(|(from, _)| *from <= revision)?;
        at.1.clone()
    }

    fn write(&mut self, operation: &Operation, random: &mut Random) -> Answer {
        let key = &operation.request.as_ref().unwrap().id;
        self.revision += 1 + random.below(2);
        self.now_ms += random.below(5);
        match self.remembered.get(key).cloned() {
            Some(Answer::Accepted {
                revision, facts, ..
            }) => {
                return Answer::Accepted {
                    revision,
                    replayed: true,
                    facts,
                };
            }
            Some(Answer::Rejected {
                why,
                code,
                revision,
                ..
            }) => {
                return Answer::Rejected {
                    why,
                    code,
                    revision,
                    replayed: true,
                };
            }
            _ => {}
        }
        let revision = self.revision;
        let answer = match self.change(&operation.op) {
            Ok(facts) => Answer::Accepted {
                revision,
                replayed: false,
                facts,
            },
            Err((why, code)) => {
                let code = code.map(str::to_owned);
                Answer::Rejected {
                    why,
                    code,
                    revision: Some(revision),
                    replayed: false,
                }
            }
        };
        self.remembered.insert(key.clone(), answer.clone());
        answer
    }

    fn emit(&mut self, what: EventWhat) {
        let sequence = match self.events.last() {
            Some(last) if last.revision == self.revision => last.sequence + 1,
            _ => 0,
        };
        let (revision, at_ms) = (self.revision, self.now_ms);
        self.events.push(EventFacts {
            revision,
            sequence,
            at_ms,
            what,
        });
    }

    fn enter(&mut self, filament: &str, way: LedgerWay, amount_mg: u64, job: Option<&str>) {
        let (filament, job) = (filament.to_owned(), job.map(str::to_owned));
        self.ledger.push(LedgerFacts {
            filament,
            revision: self.revision,
            way,
            amount_mg,
            job,
        });
    }

    fn put(&mut self, mut job: JobFacts) -> Facts {
        job.revision = self.revision;
        let created = job.stamps_ms.map_or(self.now_ms, |(created, _)| created);
        job.stamps_ms = Some((created, self.now_ms));
        let versions = self.versions.entry(job.id.clone()).or_default();
        versions.push((self.revision, Some(job.clone())));
        self.jobs.insert(job.id.clone(), job.clone());
        Facts::Job(job)
    }

    fn change(&mut self, op: &Op) -> Change {
        match op {
            Op::CreatePrinter { id } => {
                let id = id.clone().unwrap();
                self.printers.insert(id.clone());
                self.emit(EventWhat::PrinterCreated(id.clone()));
                Ok(Facts::Printer(PrinterFacts { id }))
            }
            Op::CreateFilament {
                id,
                total_mg,
                remaining_mg,
            } => {
                let id = id.clone().unwrap();
                let (total_mg, remaining_mg) = (*total_mg, *remaining_mg);
                let row = FilamentFacts {
                    id,
                    total_mg,
                    remaining_mg,
                    reserved_mg: 0,
                };
                self.enter(&row.id, LedgerWay::Loaded, row.remaining_mg, None);
                self.emit(EventWhat::FilamentCreated(row.id.clone()));
                self.filaments.insert(row.id.clone(), row.clone());
                Ok(Facts::Filament(row))
            }
            Op::CreateJob { .. } => self.create_job(op),
            Op::SetStatus {
                job, to, used_mg, ..
            } => self.set_status(job, to, *used_mg),
            Op::Claim { printer } => self.claim(printer),
            Op::AdjustFilament { filament, delta_mg } => self.adjust(filament, *delta_mg),
            Op::SetPriority { job, priority } => match self.jobs.get(job) {
                Some(row) => Ok(self.put(JobFacts {
                    priority: *priority,
                    ..row.clone()
                })),
                None => Err((Refusal::NotFound, None)),
            },
            Op::DeleteJob { job } => match self.jobs.get(job).map(|row| row.status.clone()) {
                None => Err((Refusal::NotFound, None)),
                Some(status) if status == "Done" || status == "Canceled" => {
                    self.jobs.remove(job);
                    let versions = self.versions.entry(job.clone()).or_default();
                    versions.push((self.revision, None));
                    Ok(Facts::None)
                }
                Some(_) => Err((Refusal::Other("job-is-open".to_owned()), None)),
            },
            Op::ActivateRuleset { name, .. } => {
                self.ruleset.clone_from(name);
                self.emit(EventWhat::RulesetActivated(self.revision));
                Ok(Facts::Ruleset(name.clone()))
            }
            other => panic!("{other:?} is no write"),
        }
    }

    fn adjust(&mut self, filament: &str, delta_mg: i64) -> Change {
        let Some(row) = self.filaments.get_mut(filament) else {
            return Err((Refusal::NotFound, None));
        };
        let remaining = row.remaining_mg.checked_add_signed(delta_mg);
        let Some(remaining) = remaining.filter(|left| *left <= row.total_mg) else {
            return Err((Refusal::InvalidField, None));
        };
        row.remaining_mg = remaining;
        let row = row.clone();
        let way = match delta_mg >= 0 {
            true => LedgerWay::AdjustedUp,
            false => LedgerWay::AdjustedDown,
        };
        self.enter(filament, way, delta_mg.unsigned_abs(), None);
        Ok(Facts::Filament(row))
    }

    fn create_job(&mut self, op: &Op) -> Change {
        let Op::CreateJob {
            id,
            printer,
            filament,
            weight_mg,
            priority,
            tag,
        } = op
        else {
            panic!("{op:?}");
        };
        let id = id
            .clone()
            .unwrap_or_else(|| format!("r3d-{}", self.revision));
        if self.jobs.contains_key(&id) {
            return Err((Refusal::AlreadyExists, None));
        }
        if !self.printers.contains(printer) {
            return Err((Refusal::UnknownReference, None));
        }
        let Some(row) = self.filaments.get_mut(filament) else {
            return Err((Refusal::UnknownReference, None));
        };
        let denied = row.reserved_mg + weight_mg > row.remaining_mg;
        let code = denied.then_some("weight_exceeds_available");
        self.decisions.push(DecisionFacts {
            revision: self.revision,
            epoch: 1,
            job: id.clone(),
            denied: code.map(str::to_owned),
            taken_mg: None,
        });
        if denied {
            return Err((Refusal::PolicyDenied, code));
        }
        row.reserved_mg += weight_mg;
        self.born.insert(id.clone(), self.revision);
        self.emit(EventWhat::JobCreated(id.clone()));
        Ok(self.put(JobFacts {
            id,
            printer: printer.clone(),
            filament: filament.clone(),
            weight_mg: *weight_mg,
            status: "Queued".to_owned(),
            priority: *priority,
            tag: tag.clone(),
            ..JobFacts::default()
        }))
    }

    fn set_status(&mut self, id: &str, to: &str, used_mg: Option<u64>) -> Change {
        let Some(job) = self.jobs.get(id).cloned() else {
            return Err((Refusal::NotFound, None));
        };
        let taken = match (job.status.as_str(), to) {
            ("Queued", "Running") => 0,
            ("Running", "Done") => used_mg.unwrap_or(job.weight_mg),
            ("Queued" | "Running", "Canceled") => used_mg.unwrap_or(0),
            _ => return Err((Refusal::IllegalTransition, None)),
        };
        self.decisions.push(DecisionFacts {
            revision: self.revision,
            epoch: 1,
            job: id.to_owned(),
            denied: None,
            taken_mg: Some(taken),
        });
        let row = self.filaments.get_mut(&job.filament).unwrap();
        if taken > row.remaining_mg {
            return Err((Refusal::DeductionExceedsRemaining, None));
        }
        row.remaining_mg -= taken;
        if to != "Running" {
            row.reserved_mg -= job.weight_mg;
        }
        let (job_id, from) = (id.to_owned(), job.status.clone());
        self.emit(EventWhat::JobStatusChanged {
            job: job_id,
            from,
            to: to.to_owned(),
        });
        if taken > 0 {
            self.enter(&job.filament, LedgerWay::Deducted, taken, Some(id));
            let (filament, job) = (job.filament.clone(), id.to_owned());
            self.emit(EventWhat::FilamentDeducted {
                filament,
                job,
                amount_mg: taken,
            });
        }
        Ok(self.put(JobFacts {
            status: to.to_owned(),
            deducted_mg: taken,
            ..job
        }))
    }

    fn claim(&mut self, printer: &str) -> Change {
        let queue = self.jobs.values().filter(|job| job.printer == printer);
        let queue = queue.filter(|job| job.status == "Queued");
        let next = queue.max_by_key(|job| (job.priority, u64::MAX - self.born[&job.id]));
        match next.map(|job| job.id.clone()) {
            Some(id) => self.set_status(&id, "Running", None),
            None => Ok(Facts::Absent),
        }
    }

    pub(crate) fn finals(&self) -> Finals {
        let node = |node| NodeFinals {
            node,
            applied: self.revision,
            digest: format!("digest of {}", self.revision),
            checkpoints: vec![(self.revision / 2, "digest in the middle".to_owned())],
            printers: Some(
                self.printers
                    .iter()
                    .map(|id| PrinterFacts { id: id.clone() })
                    .collect(),
            ),
            filaments: Some(self.filaments.values().cloned().collect()),
            jobs: Some(self.jobs.values().cloned().collect()),
            ledger: Some(self.ledger.clone()),
            events: Some(self.events.clone()),
            events_deleted_to: None,
            decisions: Some(self.decisions.clone()),
        };
        (1..=NODES).map(node).collect()
    }
}
