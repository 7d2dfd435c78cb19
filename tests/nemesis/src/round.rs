//! One round: a fresh cluster, clients at work, one fault after the other, and the judgement.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use raft3d_checkers::history::{Answer, History, MarkKind, Nanos, NodeFinals, Record, write_lines};
use raft3d_checkers::{Verdict, check_all};
use raft3d_cluster_tests::logs;

use crate::disk::{self, Taken};
use crate::faults::{Kind, Stage};
use crate::fleet::{Fleet, Tools, View};
use crate::net;
use crate::patience::Patience;
use crate::rng::Rng;
use crate::shop::{Accepted, Shop, Work};

/// How long a recovery is waited for before the round is given up.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(30);
/// How long all nodes may take to apply the same.
const CONVERGE_PATIENCE: Duration = Duration::from_secs(60);
/// Quiet time between two faults, in milliseconds, at least.
const CALM_MIN_MS: u64 = 200;
/// And at most.
const CALM_MAX_MS: u64 = 1_000;
/// How long a fault lasts, in milliseconds, at least: the time to elect another leader.
const FAULT_MIN_MS: u64 = 1_200;
/// And at most.
const FAULT_MAX_MS: u64 = 3_500;

/// What to do in a round.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything random in it follows from this.
    pub seed: u64,
    /// Nodes.
    pub size: usize,
    /// The faults, in this order.
    pub kinds: Vec<Kind>,
    /// Where the cluster's folders are made.
    pub folder: PathBuf,
    /// What the machine can do.
    pub tools: Tools,
    /// A bug to be had on request, for debug builds.
    pub sabotage: Option<String>,
    /// Whether a recovery that takes longer than the judges allow is a violation. Not where other
    /// work on the machine may be what it took so long for.
    pub in_time: bool,
}

/// A fault that was healed.
#[derive(Clone, Debug)]
pub struct Healed {
    /// Its kind.
    pub kind: &'static str,
    /// What was done.
    pub what: String,
    /// From healing to the next accepted write.
    pub recovery: Duration,
}

/// What came of a round.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// The faults.
    pub healed: Vec<Healed>,
    /// Attempts by what came of them.
    pub answers: BTreeMap<&'static str, u64>,
    /// The longest time between two accepted writes.
    pub longest_outage: Duration,
    /// What went wrong.
    pub violations: Vec<String>,
    /// What the disks did.
    pub disks: disk::Counts,
    /// What power cuts took.
    pub taken: Taken,
    /// What passed through the network.
    pub net: net::Counts,
    /// Jobs that every node held in the end.
    pub jobs: u64,
    /// How long it took.
    pub took: Duration,
    /// What the judges looked at: (what, how many).
    pub judged: Vec<(&'static str, u64)>,
    /// What no judge could decide or look at.
    pub undecided: Vec<String>,
    /// Which judges found something.
    pub blamed_by: Vec<&'static str>,
}

/// The judge of recoveries.
const RECOVERY_JUDGE: &str = "recovery";

impl Outcome {
    fn judge(&mut self, verdict: &Verdict, in_time: bool) {
        for violation in &verdict.violations {
            if violation.judge == RECOVERY_JUDGE && !in_time {
                self.undecided.push(violation.to_string());
                continue;
            }
            self.blamed_by.push(violation.judge);
            self.violations.push(violation.to_string());
        }
        self.undecided.extend(verdict.undecided.iter().cloned());
        self.undecided.extend(verdict.skipped.iter().cloned());
        self.judged = verdict.counts.clone();
    }
}

/// Plays a round; `told` hears what it is at.
#[must_use]
pub fn play(plan: &Plan, told: &dyn Fn(&str)) -> Outcome {
    let started = Instant::now();
    let _ = std::fs::remove_dir_all(&plan.folder);
    let mut outcome = Outcome {
        seed: plan.seed,
        ..Outcome::default()
    };
    let shop = Shop::new(plan.seed);
    if let Err(why) = std::fs::create_dir_all(&plan.folder) {
        outcome
            .violations
            .push(format!("{}: {why}", plan.folder.display()));
        return outcome;
    }
    let fleet = Fleet::start(
        plan.folder.clone(),
        plan.size,
        plan.tools.clone(),
        plan.sabotage.as_deref(),
    );
    match fleet {
        Ok(mut fleet) => {
            if let Err(why) = run(plan, &mut fleet, &shop, told, &mut outcome) {
                outcome.violations.push(why);
            }
            outcome.net = fleet.net.counts();
            outcome.disks = fleet.disk_counts();
            outcome.violations.extend(panics(&fleet));
        }
        Err(why) => outcome.violations.push(why),
    }
    let (history, finals) = shop.recorder.sorted();
    outcome.answers = answers(&history);
    outcome.longest_outage = longest_outage(&shop.accepted());
    told("judging");
    outcome.judge(&check_all(&history, &finals), plan.in_time);
    outcome.took = started.elapsed();
    keep_or_remove(plan, &shop.recorder.records(), &outcome);
    outcome
}

/// The history goes beside the data and the logs, or all of it goes.
fn keep_or_remove(plan: &Plan, records: &[Record], outcome: &Outcome) {
    if outcome.violations.is_empty() {
        let _ = std::fs::remove_dir_all(&plan.folder);
        return;
    }
    let file = std::fs::File::create(plan.folder.join("history.jsonl"));
    if let Ok(file) = file {
        let mut file = std::io::BufWriter::new(file);
        let _ = write_lines(&mut file, records);
    }
}

fn run(
    plan: &Plan,
    fleet: &mut Fleet,
    shop: &Arc<Shop>,
    told: &dyn Fn(&str),
    outcome: &mut Outcome,
) -> Result<(), String> {
    let members = fleet.members().into_iter();
    let targets = members.map(|place| (place as u64 + 1, fleet.node(place).http()));
    shop.set_targets(targets.collect());
    shop.open()?;
    let work = shop.start();
    let mut rng = Rng::part(plan.seed, u64::MAX);
    let mut taken = Taken::default();
    for kind in &plan.kinds {
        told(kind.name);
        pause(&mut rng, CALM_MIN_MS, CALM_MAX_MS);
        let stage = Stage {
            fleet: &mut *fleet,
            shop,
            rng: &mut rng,
            taken: &mut taken,
        };
        let healed = one_fault(*kind, stage);
        outcome.taken = taken;
        let healed = healed.map_err(|why| format!("{}: {why}", kind.name))?;
        outcome.healed.push(healed);
    }
    pause(&mut rng, CALM_MIN_MS, CALM_MAX_MS);
    finish(fleet, shop, work, outcome)
}

fn pause(rng: &mut Rng, min_ms: u64, max_ms: u64) {
    let time = Duration::from_millis(min_ms + rng.below(max_ms - min_ms));
    std::thread::sleep(time);
}

/// One fault from its beginning to the next accepted write and to all nodes being ready.
fn one_fault(kind: Kind, mut stage: Stage<'_>) -> Result<Healed, String> {
    let mut fault = kind.make();
    stage.shop.mark(MarkKind::Fault, kind.name);
    let what = fault.inject(&mut stage)?;
    pause(stage.rng, FAULT_MIN_MS, FAULT_MAX_MS);
    fault.heal(&mut stage)?;
    let healed = stage.shop.mark(MarkKind::Healed, &what);
    let recovery = recovered(stage.shop, healed).map_err(|why| format!("{what}: {why}"))?;
    let members = stage.fleet.members();
    let ready = stage.fleet.wait_ready(&members, CONVERGE_PATIENCE);
    ready.map_err(|why| format!("{what}: {why}"))?;
    Ok(Healed {
        kind: kind.name,
        what,
        recovery,
    })
}

fn recovered(shop: &Shop, healed: Nanos) -> Result<Duration, String> {
    let mut patience = Patience::new(RECOVERY_PATIENCE);
    loop {
        if let Some(at) = shop.accepted_after(healed) {
            return Ok(Duration::from_nanos(at - healed));
        }
        if !patience.lasts() {
            return Err(format!(
                "no write is accepted {RECOVERY_PATIENCE:?} after healing"
            ));
        }
    }
}

/// Lets the clients finish, waits until all nodes have the same, and records what they have.
fn finish(
    fleet: &mut Fleet,
    shop: &Arc<Shop>,
    work: Work,
    outcome: &mut Outcome,
) -> Result<(), String> {
    shop.mark(MarkKind::Quiet, "the clients stop");
    work.stop();
    let views = converged(fleet)?;
    for (place, view) in views {
        let finals = NodeFinals {
            node: view.id,
            applied: view.applied,
            digest: view.digest,
            ..NodeFinals::default()
        };
        let client = fleet.client(place, CONVERGE_PATIENCE);
        shop.record_finals(&client, finals, view.applied)?;
    }
    let (_, finals) = shop.recorder.sorted();
    outcome.jobs = finals
        .first()
        .and_then(|node| node.jobs.as_ref())
        .map_or(0, Vec::len) as u64;
    Ok(())
}

/// Waits until all members have applied the same index.
fn converged(fleet: &Fleet) -> Result<Vec<(usize, View)>, String> {
    let mut patience = Patience::new(CONVERGE_PATIENCE);
    loop {
        let members = fleet.members().into_iter();
        let views = members.map(|place| Ok((place, fleet.view(place)?)));
        let views: Result<Vec<(usize, View)>, String> = views.collect();
        let why = match views {
            Ok(views) => {
                let first = views.first().map(|(_, view)| view.applied);
                if views.iter().all(|(_, view)| Some(view.applied) == first) {
                    return Ok(views);
                }
                format!("{views:?}")
            }
            Err(why) => why,
        };
        if !patience.lasts() {
            return Err(format!(
                "the nodes do not apply the same after {CONVERGE_PATIENCE:?}: {why}"
            ));
        }
    }
}

/// Panics of any node: whatever is done to it, it ends with a sentence.
fn panics(fleet: &Fleet) -> Vec<String> {
    let mut found = Vec::new();
    for place in fleet.places() {
        let output = fleet.output(place);
        let lines = logs::above_warn(&output).into_iter();
        for line in lines.filter(|line| line.contains("panicked at")) {
            found.push(format!("node {place} panicked: {line}"));
        }
    }
    found
}

fn answers(history: &History) -> BTreeMap<&'static str, u64> {
    let mut answers = BTreeMap::new();
    for operation in &history.operations {
        let kind = match (&operation.answer, operation.op.is_write()) {
            (Answer::Accepted { replayed: true, .. }, _) => "write answered from memory",
            (Answer::Accepted { .. }, true) => "write accepted",
            (Answer::Accepted { .. }, false) => "read answered",
            (Answer::Rejected { .. }, true) => "write refused",
            (Answer::Rejected { .. }, false) => "read refused",
            (Answer::Unknown, true) => "write of unknown outcome",
            (Answer::Unknown, false) => "read without an answer",
            (Answer::Never, true) => "write that certainly did not happen",
            (Answer::Never, false) => "read that was turned away",
        };
        *answers.entry(kind).or_default() += 1;
    }
    answers
}

fn longest_outage(accepted: &[Accepted]) -> Duration {
    let pairs = accepted.iter().zip(accepted.iter().skip(1));
    let gaps = pairs.map(|(one, next)| next.at.saturating_sub(one.at));
    Duration::from_nanos(gaps.max().unwrap_or(0))
}
