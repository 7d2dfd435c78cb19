//! A cluster in miniature that makes histories which are right: every operation takes effect at one
//! moment between its sending and its answer, on one state. Written apart from the judges' models.

use std::collections::{BTreeMap, BTreeSet};

use raft3d_checkers::history::{
    Answer, Consistency, DigestSeen, EventFacts, EventWhat, Facts, FilamentFacts, History,
    JobFacts, LedgerFacts, LedgerWay, Mark, MarkKind, NodeFinals, Op, Operation, PrinterFacts,
    Refusal, RequestKey,
};
use raft3d_checkers::{Finals, Verdict, check_all};

use crate::random::Random;

pub(crate) const NODES: u64 = 3;
const STATES: [&str; 4] = ["Queued", "Running", "Done", "Canceled"];

/// What a history is made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) clients: u32,
    pub(crate) operations: usize,
    pub(crate) filaments: u64,
    /// How many answers in a hundred get lost.
    pub(crate) lost_answers: u64,
    /// With claims, adjustments, priorities and deletions.
    pub(crate) wide: bool,
    /// How many operations in a hundred are reads.
    pub(crate) reads: u64,
}

pub(crate) const SMALL: Plan = Plan {
    clients: 5,
    operations: 300,
    filaments: 3,
    lost_answers: 4,
    wide: false,
    reads: 35,
};

/// A history with what a test needs to spoil it.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) history: History,
    pub(crate) finals: Finals,
    /// What each job looked like: (revision, row).
    pub(crate) versions: BTreeMap<String, Vec<(u64, Option<JobFacts>)>>,
}

impl Made {
    pub(crate) fn check(&self) -> Verdict {
        check_all(&self.history, &self.finals)
    }
}

#[derive(Default)]
struct Shop {
    revision: u64,
    now_ms: u64,
    printers: BTreeSet<String>,
    filaments: BTreeMap<String, FilamentFacts>,
    jobs: BTreeMap<String, JobFacts>,
    born: BTreeMap<String, u64>,
    ruleset: String,
    ledger: Vec<LedgerFacts>,
    events: Vec<EventFacts>,
    remembered: BTreeMap<String, Answer>,
    versions: BTreeMap<String, Vec<(u64, Option<JobFacts>)>>,
    applied: BTreeMap<u64, u64>,
}

type Change = Result<Facts, (Refusal, Option<&'static str>)>;

impl Shop {
    fn answer(&mut self, operation: &Operation, random: &mut Random) -> Answer {
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
            Op::AdjustFilament { filament, delta_mg } => {
                let row = self.filaments.get_mut(filament).unwrap();
                let remaining = row.remaining_mg.checked_add_signed(*delta_mg);
                let Some(remaining) = remaining.filter(|left| *left <= row.total_mg) else {
                    return Err((Refusal::InvalidField, None));
                };
                row.remaining_mg = remaining;
                let row = row.clone();
                let way = match *delta_mg >= 0 {
                    true => LedgerWay::AdjustedUp,
                    false => LedgerWay::AdjustedDown,
                };
                self.enter(filament, way, delta_mg.unsigned_abs(), None);
                Ok(Facts::Filament(row))
            }
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
        if row.reserved_mg + weight_mg > row.remaining_mg {
            return Err((Refusal::PolicyDenied, Some("weight_exceeds_available")));
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

    fn finals(&self) -> Finals {
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
        };
        (1..=NODES).map(node).collect()
    }
}

/// A moment in the making of a history.
enum Moment {
    Send,
    Effect(usize),
    Answer(usize),
}

struct Making<'a> {
    plan: &'a Plan,
    random: Random,
    shop: Shop,
    operations: Vec<Operation>,
    answers: Vec<Option<Answer>>,
    /// Moments to come, by time.
    agenda: BTreeMap<(u64, u64), (u32, Moment)>,
    tie: u64,
    jobs: Vec<String>,
}

/// Makes a history.
pub(crate) fn make(seed: u64, plan: &Plan) -> Made {
    let mut making = Making {
        plan,
        random: Random::new(seed),
        shop: Shop::default(),
        operations: Vec::new(),
        answers: Vec::new(),
        agenda: BTreeMap::new(),
        tie: 0,
        jobs: Vec::new(),
    };
    making.run();
    let (finals, versions) = (making.shop.finals(), making.shop.versions);
    let end = making
        .operations
        .iter()
        .filter_map(|operation| operation.returned)
        .max();
    let history = History {
        operations: making.operations,
        marks: vec![Mark {
            at: 0,
            kind: MarkKind::Healed,
            what: "the start".to_owned(),
        }],
        digests: vec![DigestSeen {
            at: end.unwrap(),
            node: 1,
            index: finals[0].applied,
            digest: finals[0].digest.clone(),
        }],
    };
    Made {
        history,
        finals,
        versions,
    }
}

impl Making<'_> {
    fn run(&mut self) {
        for printer in ["p0", "p1"] {
            self.at_once(Op::CreatePrinter {
                id: Some(printer.to_owned()),
            });
        }
        for filament in 0..self.plan.filaments {
            let id = Some(format!("f{filament}"));
            let total_mg = if filament == 0 { 2_000_000_000 } else { 40_000 };
            self.at_once(Op::CreateFilament {
                id,
                total_mg,
                remaining_mg: total_mg,
            });
        }
        let start = self.operations.len() as u64 * 10;
        for client in 0..self.plan.clients {
            self.plan_at(start + 1, client, Moment::Send);
        }
        while let Some(((now, _), (client, moment))) = self.agenda.pop_first() {
            match moment {
                Moment::Send if self.operations.len() >= self.plan.operations => {}
                Moment::Send => self.send(now, client, None),
                Moment::Effect(which) => {
                    let operation = self.operations[which].clone();
                    let answer = self.shop.answer(&operation, &mut self.random);
                    self.answers[which] = Some(answer);
                }
                Moment::Answer(which) => self.answer(now, client, which),
            }
        }
    }

    fn plan_at(&mut self, at: u64, client: u32, moment: Moment) {
        self.tie += 1;
        self.agenda.insert((at, self.tie), (client, moment));
    }

    fn at_once(&mut self, op: Op) {
        let invoked = self.operations.len() as u64 * 10;
        let mut operation = self.operation(invoked, 0, op);
        operation.answer = self.shop.answer(&operation, &mut self.random);
        operation.returned = Some(invoked + 5);
        self.operations.push(operation);
        self.answers.push(None);
    }

    fn operation(&mut self, invoked: u64, client: u32, op: Op) -> Operation {
        let id = format!("key-{}", self.operations.len());
        let actor = "ann".to_owned();
        let request = op.is_write().then_some(RequestKey {
            actor,
            id,
            attempt: 0,
        });
        let node = Some(1 + self.random.below(NODES));
        let answer = Answer::Unknown;
        Operation {
            client,
            node,
            invoked,
            returned: None,
            request,
            op,
            answer,
        }
    }

    fn send(&mut self, now: u64, client: u32, again: Option<usize>) {
        let operation = match again {
            Some(which) => {
                let mut operation = self.operations[which].clone();
                operation.invoked = now;
                operation.node = Some(1 + self.random.below(NODES));
                operation.request.as_mut().unwrap().attempt += 1;
                operation
            }
            None => {
                let op = self.choose();
                self.operation(now, client, op)
            }
        };
        let which = self.operations.len();
        self.operations.push(operation);
        self.answers.push(None);
        let effect = now + 1 + self.random.below(40);
        let answer = effect + 1 + self.random.below(40);
        let is_write = self.operations[which].op.is_write();
        let lost = is_write && self.random.chance(self.plan.lost_answers);
        if !lost {
            self.plan_at(effect, client, Moment::Effect(which));
            self.plan_at(answer, client, Moment::Answer(which));
            return;
        }
        // The client gives up; the effect comes before or after that, or never.
        if self.random.chance(60) {
            let late = now + 1 + self.random.below(120);
            self.plan_at(late, client, Moment::Effect(which));
        }
        self.operations[which].returned = Some(answer);
        match self.random.chance(60) {
            true => {
                // `Moment::Answer` of an attempt without an answer sends it again.
                self.plan_at(answer + 1, client, Moment::Answer(which));
            }
            false => self.plan_at(answer + 1, client, Moment::Send),
        }
    }

    fn answer(&mut self, now: u64, client: u32, which: usize) {
        if self.operations[which].returned.is_some() {
            return self.send(now, client, Some(which));
        }
        let answer = self.answers[which].clone().unwrap();
        if let Answer::Accepted {
            facts: Facts::Job(job),
            ..
        } = &answer
        {
            self.jobs.push(job.id.clone());
        }
        let operation = &mut self.operations[which];
        (operation.returned, operation.answer) = (Some(now), answer);
        let pause = self.random.below(20);
        self.plan_at(now + 1 + pause, client, Moment::Send);
    }

    fn choose(&mut self) -> Op {
        let filament = format!("f{}", self.random.below(self.plan.filaments));
        if self.jobs.is_empty() || !self.random.chance(self.plan.reads + 30) {
            return self.choose_create(filament);
        }
        // Mostly a young job, so that clients meet.
        let young = self.jobs.len().saturating_sub(8);
        let jobs = if self.random.chance(70) {
            &self.jobs[young..]
        } else {
            &self.jobs[..]
        };
        let job = self.random.pick(jobs).clone();
        if self.random.chance(self.plan.reads) {
            return self.choose_read(job, filament);
        }
        let printer = format!("p{}", self.random.below(2));
        match self.random.below(20) {
            0 if self.plan.wide => Op::Claim { printer },
            1 if self.plan.wide => {
                let delta_mg = i64::try_from(self.random.below(2_000)).unwrap() - 1_000;
                Op::AdjustFilament { filament, delta_mg }
            }
            2 if self.plan.wide => {
                let priority = i32::try_from(self.random.below(5)).unwrap();
                Op::SetPriority { job, priority }
            }
            3 if self.plan.wide => Op::DeleteJob { job },
            4 => Op::ActivateRuleset {
                name: format!("r{}", self.operations.len()),
                expected: None,
            },
            _ => {
                let to = (*self.random.pick(&STATES)).to_owned();
                let used_mg = self.random.chance(20).then(|| self.random.below(3_000));
                Op::SetStatus {
                    job,
                    to,
                    used_mg,
                    wants_override: false,
                }
            }
        }
    }

    fn choose_create(&mut self, filament: String) -> Op {
        let number = self.operations.len();
        let id = match self.random.below(10) {
            0 => Some(format!("j{}", number.saturating_sub(1))),
            1..=6 => Some(format!("j{number}")),
            _ => None,
        };
        let printer = format!("p{}", self.random.below(2));
        let weight_mg = 1 + self.random.below(4_000);
        let priority = i32::try_from(self.random.below(3)).unwrap();
        Op::CreateJob {
            id,
            printer,
            filament,
            weight_mg,
            priority,
            tag: format!("/t{number}"),
        }
    }

    fn choose_read(&mut self, job: String, filament: String) -> Op {
        let consistency = Consistency::Linearizable;
        match self.random.below(20) {
            0..8 => Op::ReadJob { job, consistency },
            8..14 => Op::ReadFilament {
                filament,
                consistency,
            },
            14..17 => {
                let min_revision = self.random.chance(50).then_some(self.shop.revision / 2);
                Op::ReadJob {
                    job,
                    consistency: Consistency::Stale { min_revision },
                }
            }
            17 => Op::ReadRuleset { consistency },
            18 if self.jobs.len() < 300 => Op::ListJobs {
                consistency,
                complete: true,
            },
            19 if self.jobs.len() < 300 => Op::ReadEvents { after: None },
            _ => Op::ReadPrinter {
                printer: "p0".to_owned(),
                consistency,
            },
        }
    }
}
