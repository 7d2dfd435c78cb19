//! Making histories that are right: clients that ask a small cluster at random, with answers that
//! get lost and are asked for again.

use std::collections::BTreeMap;

use raft3d_checkers::history::{
    Answer, Consistency, DigestSeen, Facts, History, JobFacts, Mark, MarkKind, Op, Operation,
    RequestKey,
};
use raft3d_checkers::{Finals, Verdict, check_all};

use crate::random::Random;
use crate::shop::{NODES, Shop};

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
    /// How many creations in a hundred are of printers and filaments.
    pub(crate) rows: u64,
}

pub(crate) const SMALL: Plan = Plan {
    clients: 5,
    operations: 300,
    filaments: 3,
    lost_answers: 4,
    wide: false,
    reads: 35,
    rows: 10,
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
    /// Printers and filaments, those among them that were asked for and may not be there.
    printers: Vec<String>,
    filaments: Vec<String>,
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
        printers: Vec::new(),
        filaments: Vec::new(),
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
        self.printers = vec!["p0".to_owned(), "p1".to_owned()];
        self.filaments = (0..self.plan.filaments).map(|n| format!("f{n}")).collect();
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
        let filament = self.a_filament();
        if self.jobs.is_empty() || !self.random.chance(self.plan.reads + 30) {
            return match self.random.chance(self.plan.rows) {
                true => self.choose_row(),
                false => self.choose_create(filament),
            };
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
        let printer = self.a_printer();
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

    /// Mostly one of those that were there from the start.
    fn a_printer(&mut self) -> String {
        let many = if self.random.chance(80) {
            2
        } else {
            self.printers.len()
        };
        self.random.pick(&self.printers[..many]).clone()
    }

    fn a_filament(&mut self) -> String {
        let first = usize::try_from(self.plan.filaments).unwrap();
        let many = if self.random.chance(80) {
            first
        } else {
            self.filaments.len()
        };
        self.random.pick(&self.filaments[..many]).clone()
    }

    /// Another printer or filament. Others may use it before anybody is told that it is there.
    fn choose_row(&mut self) -> Op {
        let id = format!("x{}", self.operations.len());
        if self.random.chance(50) {
            self.printers.push(id.clone());
            return Op::CreatePrinter { id: Some(id) };
        }
        self.filaments.push(id.clone());
        Op::CreateFilament {
            id: Some(id),
            total_mg: 30_000,
            remaining_mg: self.random.below(30_001),
        }
    }

    fn choose_create(&mut self, filament: String) -> Op {
        let number = self.operations.len();
        let id = match self.random.below(10) {
            0 => Some(format!("j{}", number.saturating_sub(1))),
            1..=6 => Some(format!("j{number}")),
            _ => None,
        };
        let printer = self.a_printer();
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
                printer: self.a_printer(),
                consistency,
            },
        }
    }
}
