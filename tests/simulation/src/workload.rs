//! What clients ask for, and how they go on when they get no answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use raft3d_checkers::history::{Answer, Consistency, Op, RequestKey};
use raft3d_core::command::{
    ActivateRuleset, Actor, CreateFilament, CreateJob, CreatePrinter, RollbackRuleset, SetJobStatus,
};
use raft3d_core::{Command, FilamentId, JobId, ModuleDigest, PrinterId, RequestId, Revision};
use raft3d_engine::raft::api::{self, ReadError, ReadOptions, WriteRequest};
use raft3d_sdk::Grams;

use crate::client::{Call, Query, Reply};
use crate::convert;
use crate::net::Net;
use crate::random::Random;
use crate::world::World;

/// Printers and filaments that the first client makes.
const PRINTERS: u64 = 3;
const FILAMENTS: u64 = 3;
/// Weight of a full filament, in milligrams.
const FILAMENT_MG: u64 = 3_000_000;
/// Most tries under one key.
const ATTEMPTS_MAX: u32 = 5;
/// A client waits so much longer than the node that it asked.
const PATIENCE: Duration = Duration::from_millis(150);

/// What clients know of one another's doings.
#[derive(Debug, Default)]
pub(crate) struct Known {
    jobs: Mutex<Vec<String>>,
    ruleset: Mutex<Option<u64>>,
    /// Highest revision of a write that was acknowledged.
    newest: AtomicU64,
}

impl Known {
    fn job(&self, random: &mut Random) -> Option<String> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        // Mostly a late one: the others have come to their end.
        let newest = jobs.len().saturating_sub(12);
        let from = if random.percent(80) { newest } else { 0 };
        random.pick(jobs.get(from..)?).cloned()
    }

    fn ruleset(&self) -> Option<u64> {
        *self.ruleset.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what an answer shows.
    fn learn(&self, answer: &Answer) {
        use raft3d_checkers::history::Facts;
        let Answer::Accepted {
            revision, facts, ..
        } = answer
        else {
            return;
        };
        self.newest.fetch_max(*revision, Ordering::Relaxed);
        match facts {
            Facts::Job(job) => {
                let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
                if !jobs.contains(&job.id) {
                    jobs.push(job.id.clone());
                }
            }
            Facts::Ruleset(_) => {
                let mut known = self.ruleset.lock().unwrap_or_else(PoisonError::into_inner);
                *known = (*known).max(Some(*revision));
            }
            _ => {}
        }
    }
}

/// One client.
pub(crate) struct Client {
    pub(crate) world: Arc<World>,
    pub(crate) net: Arc<Net>,
    pub(crate) known: Arc<Known>,
    pub(crate) number: u32,
    random: Random,
    requests: u64,
    /// The slot that it asks, until that one does not answer.
    slot: usize,
    events_seen: Option<(u64, u32)>,
    /// Revision of its own last write.
    written: Option<u64>,
}

/// What a write asks, in both languages.
struct Wish {
    op: Op,
    command: Command,
}

impl Client {
    pub(crate) fn new(world: &Arc<World>, net: &Arc<Net>, known: &Arc<Known>, number: u32) -> Self {
        let mut random = Random::of(world.seed, 20 + u64::from(number));
        let slot = usize::try_from(random.below(world.slots().len() as u64)).unwrap_or(0);
        Self {
            world: Arc::clone(world),
            net: Arc::clone(net),
            known: Arc::clone(known),
            number,
            random,
            requests: 0,
            slot,
            events_seen: None,
            written: None,
        }
    }

    /// Makes the printers and filaments that all others use.
    pub(crate) async fn prepare(&mut self) {
        for n in 0..PRINTERS {
            let wish = self.create_printer(Some(format!("p{n}")));
            self.write(wish).await;
        }
        for n in 0..FILAMENTS {
            let wish = self.create_filament(Some(format!("f{n}")));
            self.write(wish).await;
        }
    }

    /// Asks for one thing after the other, until it is told to stop.
    pub(crate) async fn run(mut self) {
        while !self.world.is_quiet() {
            let pause = self.random.between(1, 30);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            self.one().await;
        }
    }

    async fn one(&mut self) {
        if self.random.percent(15) {
            self.ask_another();
        }
        let wish = match self.random.below(100) {
            0..30 => self.create_job(),
            30..58 => self.set_status(),
            58..61 => self.create_filament(None),
            61..63 => self.create_printer(None),
            63..65 => self.upload(),
            65..67 => self.activate(),
            67..69 => self.roll_back(),
            _ => return self.read().await,
        };
        self.write(wish).await;
    }

    fn create_printer(&mut self, id: Option<String>) -> Wish {
        Wish {
            op: Op::CreatePrinter { id: id.clone() },
            command: Command::CreatePrinter(CreatePrinter {
                id: id.map(PrinterId::new),
                company: "Acme".to_owned(),
                model: "M".to_owned(),
                ..CreatePrinter::default()
            }),
        }
    }

    fn create_filament(&mut self, id: Option<String>) -> Wish {
        let remaining_mg = if self.random.percent(70) {
            FILAMENT_MG
        } else {
            self.random.below(FILAMENT_MG)
        };
        Wish {
            op: Op::CreateFilament {
                id: id.clone(),
                total_mg: FILAMENT_MG,
                remaining_mg,
            },
            command: Command::CreateFilament(CreateFilament {
                id: id.map(FilamentId::new),
                material: "PLA".to_owned(),
                color: "red".to_owned(),
                total: grams(FILAMENT_MG),
                remaining: Some(grams(remaining_mg)),
                ..CreateFilament::default()
            }),
        }
    }

    fn create_job(&mut self) -> Wish {
        let (number, nth) = (self.number, self.requests);
        let id = match self.random.below(10) {
            // Sometimes one that is taken.
            0 => self.known.job(&mut self.random),
            1..6 => Some(format!("c{number}-{nth}")),
            _ => None,
        };
        let printer = format!("p{}", self.random.below(PRINTERS));
        let filament = format!("f{}", self.random.below(FILAMENTS));
        let weight_mg = match self.random.below(20) {
            0 => FILAMENT_MG * 2,
            _ => self.random.between(500, 60_000),
        };
        let priority = i32::try_from(self.random.below(5)).unwrap_or(0);
        let tag = format!("c{number}-{nth}.gcode");
        Wish {
            op: Op::CreateJob {
                id: id.clone(),
                printer: printer.clone(),
                filament: filament.clone(),
                weight_mg,
                priority,
                tag: tag.clone(),
            },
            command: Command::CreateJob(CreateJob {
                id: id.map(JobId::new),
                printer_id: PrinterId::new(printer),
                filament_id: FilamentId::new(filament),
                filepath: tag,
                print_weight: grams(weight_mg),
                priority,
                labels: Default::default(),
                status: None,
            }),
        }
    }

    fn set_status(&mut self) -> Wish {
        let Some(job) = self.known.job(&mut self.random) else {
            return self.create_job();
        };
        let to = match self.random.below(10) {
            0..5 => "Running",
            5..8 => "Done",
            8 => "Canceled",
            _ => "Queued",
        };
        let reports = matches!(to, "Done" | "Canceled") && self.random.percent(40);
        let used_mg = reports.then(|| self.random.below(70_000));
        let wants_override = self.random.percent(5);
        Wish {
            op: Op::SetStatus {
                job: job.clone(),
                to: to.to_owned(),
                used_mg,
                wants_override,
            },
            command: Command::SetJobStatus(SetJobStatus {
                id: JobId::new(job),
                status: to.to_owned(),
                used: used_mg.map(grams),
                reason: None,
                wants_override,
            }),
        }
    }

    fn upload(&mut self) -> Wish {
        let module = self.world.policies.any_upload(&mut self.random);
        Wish {
            op: Op::UploadPolicy {
                module: ModuleDigest::to_string(&module.digest),
            },
            command: Command::UploadModule(module),
        }
    }

    fn activate(&mut self) -> Wish {
        let ruleset = self.world.policies.any_ruleset(&mut self.random);
        let (name, expected) = self.activation();
        Wish {
            op: Op::ActivateRuleset {
                name: name.clone(),
                expected,
            },
            command: Command::ActivateRuleset(ActivateRuleset {
                ruleset,
                expected: expected.map(Revision),
                force: false,
                reason: Some(name),
            }),
        }
    }

    /// A rollback without a target is an activation, too: of the revision before.
    fn roll_back(&mut self) -> Wish {
        let (name, expected) = self.activation();
        Wish {
            op: Op::ActivateRuleset {
                name: name.clone(),
                expected,
            },
            command: Command::RollbackRuleset(RollbackRuleset {
                to: None,
                expected: expected.map(Revision),
                force: false,
                reason: Some(name),
            }),
        }
    }

    fn activation(&mut self) -> (String, Option<u64>) {
        let name = format!("rules-{}-{}", self.number, self.requests);
        let compares = self.random.percent(50);
        (name, self.known.ruleset().filter(|_| compares))
    }

    /// Asks for a write until its outcome is known, under one key, or gives it up.
    async fn write(&mut self, wish: Wish) {
        self.requests += 1;
        let actor = format!("client-{}", self.number);
        let id = format!("k{}-{}", self.number, self.requests);
        let attempts = self.random.between(1, u64::from(ATTEMPTS_MAX) + 1);
        for attempt in 0..u32::try_from(attempts).unwrap_or(1) {
            let key = RequestKey {
                actor: actor.clone(),
                id: id.clone(),
                attempt,
            };
            let timeout = Duration::from_millis(self.random.between(300, 2_500));
            let request = WriteRequest {
                command: wish.command.clone(),
                asked: None,
                actor: Actor {
                    name: actor.clone(),
                    verified: false,
                },
                idempotency_key: Some(RequestId::new(id.clone())),
                timeout,
            };
            let answer = self.attempt(&wish.op, key, request).await;
            self.known.learn(&answer);
            if let Answer::Accepted { revision, .. } = &answer {
                self.written = self.written.max(Some(*revision));
            }
            if !matches!(answer, Answer::Unknown | Answer::Never) || self.world.is_quiet() {
                return;
            }
            self.ask_another();
            let pause = self.random.between(1, 200);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn attempt(&mut self, op: &Op, key: RequestKey, request: WriteRequest) -> Answer {
        let wait = request.timeout + PATIENCE;
        let world = Arc::clone(&self.world);
        let who = (self.number, self.node());
        let invoked = world.clock.nanos();
        let pending = world
            .recorder
            .invoke(who, invoked, Some(key.clone()), op.clone());
        world.trace(format_args!(
            "ask {} {}#{} {op:?}",
            self.number, key.id, key.attempt
        ));
        let answer = match self.call(Call::Write(request), wait).await {
            Some(Reply::Write(written)) => {
                if matches!(&written, Err(error) if error.to_string().contains("no storage space"))
                {
                    world.count("writes refused over a full disk");
                }
                convert::write_answer(written)
            }
            _ => Answer::Unknown,
        };
        world.trace(format_args!("got {} {answer:?}", self.number));
        let returned = world.clock.nanos();
        world.stats().operation(&kind_of(&answer));
        world.recorder.returned(&pending, returned, answer.clone());
        answer
    }

    async fn read(&mut self) {
        let Some((op, query)) = self.question() else {
            return;
        };
        let (consistency, min_revision) = match op.consistency() {
            Some(Consistency::Stale { min_revision }) => (api::Consistency::Stale, min_revision),
            _ => (api::Consistency::Linearizable, None),
        };
        let timeout = Duration::from_millis(self.random.between(300, 2_000));
        let options = ReadOptions {
            consistency,
            min_revision: min_revision.map(Revision),
            timeout,
        };
        let world = Arc::clone(&self.world);
        let who = (self.number, self.node());
        let waits = min_revision.is_some_and(|wanted| self.is_behind(wanted));
        let pending = world
            .recorder
            .invoke(who, world.clock.nanos(), None, op.clone());
        world.trace(format_args!("ask {} {op:?}", self.number));
        let reply = self
            .call(Call::Read(options, query), timeout + PATIENCE)
            .await;
        let (answer, kind) = match reply {
            Some(Reply::Read(Ok((revision, facts)))) => {
                let replayed = false;
                let answer = Answer::Accepted {
                    revision,
                    replayed,
                    facts,
                };
                if waits {
                    world.count("reads that waited for their revision");
                }
                let kind = min_revision.map_or("read", |_| "read: not before a revision");
                (answer, kind)
            }
            Some(Reply::Read(Err(ReadError::Behind { applied, wanted }))) => {
                // A linearizable read wants the read index.
                if applied >= wanted || min_revision.is_some_and(|asked| asked != wanted.0) {
                    let what = format!("{op:?} was refused at {applied}, as before {wanted}");
                    world.blame("refusal", what);
                }
                (Answer::Never, "read: behind")
            }
            Some(_) => (Answer::Never, "read: refused"),
            None => (Answer::Unknown, "read: no answer"),
        };
        world.trace(format_args!("got {} {answer:?}", self.number));
        world.stats().operation(kind);
        if matches!(answer, Answer::Unknown | Answer::Never) {
            self.ask_another();
        }
        self.learn_place(&answer);
        let returned = world.clock.nanos();
        world.recorder.returned(&pending, returned, answer);
    }

    /// Where the events that it has seen end.
    fn learn_place(&mut self, answer: &Answer) {
        use raft3d_checkers::history::Facts;
        if let Answer::Accepted { facts, .. } = answer
            && let Facts::Events(events) = facts
            && let Some(last) = events.last()
        {
            self.events_seen = Some((last.revision, last.sequence));
        }
    }

    fn question(&mut self) -> Option<(Op, Query)> {
        let consistency = match self.random.below(10) {
            0..5 => Consistency::Linearizable,
            5..7 => Consistency::Stale { min_revision: None },
            _ => self.not_before(),
        };
        Some(match self.random.below(20) {
            0..9 => {
                let job = self.known.job(&mut self.random)?;
                let query = Query::Job(job.clone());
                (Op::ReadJob { job, consistency }, query)
            }
            9..13 => {
                let filament = format!("f{}", self.random.below(FILAMENTS));
                let query = Query::Filament(filament.clone());
                let op = Op::ReadFilament {
                    filament,
                    consistency,
                };
                (op, query)
            }
            13..15 => {
                let printer = format!("p{}", self.random.below(PRINTERS));
                let query = Query::Printer(printer.clone());
                let op = Op::ReadPrinter {
                    printer,
                    consistency,
                };
                (op, query)
            }
            15..17 => (Op::ReadRuleset { consistency }, Query::Ruleset),
            17 => {
                let complete = true;
                let op = Op::ListJobs {
                    consistency,
                    complete,
                };
                (op, Query::Jobs)
            }
            _ => {
                let after = self.events_seen;
                (Op::ReadEvents { after }, Query::Events(after))
            }
        })
    }

    /// A revision to see at least: of the client's own last write, or of anybody's; asked of any
    /// node.
    fn not_before(&mut self) -> Consistency {
        let newest = self.known.newest.load(Ordering::Relaxed);
        let min_revision = match self.random.below(10) {
            0..5 => self.written,
            // Perhaps soon, perhaps not in time.
            5 => Some(newest + self.random.below(40)),
            _ => Some(newest),
        };
        if self.random.percent(60) {
            self.ask_another();
        }
        Consistency::Stale { min_revision }
    }

    /// Whether the node that is asked has not applied that yet.
    fn is_behind(&self, wanted: u64) -> bool {
        let machine = self
            .world
            .slot(self.slot)
            .and_then(|slot| slot.state().machine.clone());
        machine.is_some_and(|machine| machine.view().revision().0 < wanted)
    }

    fn node(&self) -> Option<u64> {
        self.world.slot(self.slot)?.id()
    }

    fn ask_another(&mut self) {
        let slots = self.world.slots().len() as u64;
        self.slot = usize::try_from(self.random.below(slots)).unwrap_or(0);
    }

    async fn call(&mut self, call: Call, wait: Duration) -> Option<Reply> {
        let slot = self.world.slot(self.slot)?;
        let world = Arc::clone(&self.world);
        world.calls.call(&self.net, &slot.name, call, wait).await
    }
}

fn grams(mg: u64) -> Grams {
    Grams::from_mg(mg).expect("the weight is in range")
}

/// What came of a write, in a word.
fn kind_of(answer: &Answer) -> String {
    match answer {
        Answer::Accepted { replayed: true, .. } => "accepted, replayed".to_owned(),
        Answer::Accepted { .. } => "accepted".to_owned(),
        Answer::Rejected { why, .. } => format!("rejected: {why:?}"),
        Answer::Unknown => "unknown".to_owned(),
        Answer::Never => "never happened".to_owned(),
    }
}
