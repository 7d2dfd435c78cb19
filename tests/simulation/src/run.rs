//! The driver: builds a cluster, lets clients and faults loose, heals it, waits, and judges.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use raft3d_checkers::history::{DigestSeen, HistoryError, MarkKind, Record, write_lines};
use raft3d_engine::raft::api::Role;
use raft3d_engine::raft::machine::StateHandle;
use raft3d_engine::runtime;
use tokio::sync::mpsc;
use turmoil::Sim;

use crate::host;
use crate::judge::{self, Violation};
use crate::plan::Plan;
use crate::policies::Policies;
use crate::random::Random;
use crate::stats::Stats;
use crate::trace::Trace;
use crate::world::{Slot, World};

mod faults;
mod operators;
use faults::Faults;
use operators::run_clients;

/// Simulated time of one step, in milliseconds.
pub(crate) const TICK_MS: u64 = 1;
/// The host that clients and operators are on.
const CLIENTS: &str = "clients";
/// How long the cluster may take to begin, in milliseconds.
const BEGIN_MS_MAX: u64 = 15_000;
/// After healing, a write must be accepted within so many milliseconds.
const RECOVERY_MS_MAX: u64 = 10_000;
/// Clients go on for so long after the first write that was accepted then.
const CALM_MS: u64 = 700;
/// A node whose log has failed must be closed within so many milliseconds.
const CLOSE_MS_MAX: u64 = 200;
/// How long the nodes may take to agree after the clients have stopped, in milliseconds.
const SETTLE_MS_MAX: u64 = 30_000;
/// Between two looks at the nodes, in milliseconds.
const LOOK_MS: u64 = 20;
/// Between two comparisons of the nodes' checkpoints, in milliseconds.
const COMPARE_MS: u64 = 200;
/// A replica that differs from the majority must be closed within so many milliseconds.
const FENCE_MS_MAX: u64 = 4_000;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// Nodes at the beginning.
    pub nodes: usize,
    /// Where every event goes as a line, for comparing two runs.
    pub trace_file: Option<PathBuf>,
}

impl Options {
    /// A seed with so many nodes; where that is left out, the seed decides it too.
    #[must_use]
    pub fn of(seed: u64, nodes: Option<usize>) -> Self {
        let usual = if seed.is_multiple_of(3) { 5 } else { 3 };
        Self {
            seed,
            nodes: nodes.unwrap_or(usual),
            trace_file: None,
        }
    }

    /// The line that replays it.
    #[must_use]
    pub fn replay(&self) -> String {
        let Self { seed, nodes, .. } = self;
        format!("cargo xtask simulate --seed {seed} --nodes {nodes}")
    }
}

/// Writes what clients did and nodes held where a reader finds it; answers where.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn write_history(
    target: &Path,
    options: &Options,
    records: &[Record],
) -> Result<PathBuf, HistoryError> {
    let folder = target.join("simulation");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("seed-{}-{}.jsonl", options.seed, options.nodes));
    let mut file = BufWriter::new(File::create(&path)?);
    write_lines(&mut file, records)?;
    Ok(path)
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Hash over every event, in hexadecimal.
    pub trace: String,
    /// How many events it is over.
    pub events: u64,
    /// Counters.
    pub stats: Stats,
    /// What did not hold. Empty is the good case.
    pub violations: Vec<Violation>,
    /// Everything that clients did and nodes held, for a file.
    pub records: Vec<Record>,
}

/// Runs one seed. One thread may run one at a time.
#[must_use]
pub fn run(options: &Options, policies: &Arc<Policies>) -> Outcome {
    let _simulated = runtime::simulate();
    let plan = Plan::new(options.seed, options.nodes);
    let trace = Trace::new(options.trace_file.as_deref()).expect("the trace's file can be made");
    let world = Arc::new(World::new(
        options.seed,
        plan.tune,
        Arc::clone(policies),
        trace,
    ));
    let mut driver = Driver::new(&world, plan);
    driver.run();
    let violations = driver.judge();
    drop(driver);
    let (trace, events) = world.finish_trace();
    let stats = world.stats().clone();
    let records = world.recorder.records();
    Outcome {
        trace,
        events,
        stats,
        violations,
        records,
    }
}

/// Steps the simulation.
struct Driver {
    world: Arc<World>,
    plan: Plan,
    sim: Sim<'static>,
    faults: Faults,
    /// Terms, and who was seen to lead in them: a term may have several leaders, who are ordered by
    /// their ids.
    leaders: BTreeSet<(u64, u64)>,
    snapshots: BTreeMap<usize, u64>,
    /// Since when a slot differs from the majority.
    odd: BTreeMap<usize, u64>,
    /// Since when a slot's log has found no room; no time where its node is closed.
    full: BTreeMap<usize, u64>,
}

impl Driver {
    fn new(world: &Arc<World>, plan: Plan) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(world.seed)
            .epoch(SystemTime::UNIX_EPOCH)
            .simulation_duration(Duration::from_secs(3_600))
            .tick_duration(Duration::from_millis(TICK_MS))
            .min_message_latency(Duration::ZERO)
            .max_message_latency(Duration::from_millis(plan.tune.latency_ms_max))
            .udp_capacity(1 << 16)
            .enable_random_order()
            .build();
        for _ in 0..plan.tune.nodes {
            let slot = world.add_slot(false);
            add_host(&mut sim, world, &slot);
        }
        let (tasks, asked) = mpsc::unbounded_channel();
        let clients = Arc::clone(world);
        sim.client(CLIENTS, async move {
            let seed = Random::of(clients.seed, 3).next();
            runtime::seeded(seed, run_clients(clients, asked)).await;
            Ok(())
        });
        Self {
            faults: Faults::new(world, tasks),
            world: Arc::clone(world),
            plan,
            sim,
            leaders: BTreeSet::new(),
            snapshots: BTreeMap::new(),
            odd: BTreeMap::new(),
            full: BTreeMap::new(),
        }
    }

    fn now(&self) -> u64 {
        self.world.clock.now_ms()
    }

    fn run(&mut self) {
        let began = |world: &World| {
            let accepted = world.stats().operations.get("accepted").copied();
            accepted.unwrap_or(0) > 6
        };
        if !self.step_until(BEGIN_MS_MAX, began) {
            self.world.blame(
                "begin",
                "the cluster accepts no writes although nothing is wrong",
            );
            return;
        }
        let start = self.now();
        let actions = std::mem::take(&mut self.plan.actions);
        for (at, action) in actions {
            while self.now() < start + at {
                self.step();
            }
            self.faults.act(&mut self.sim, action);
        }
        while self.now() < start + self.plan.heal_ms {
            self.step();
        }
        self.heal();
        let healed = self.accepted();
        let recovered = move |world: &World| {
            let accepted = world.stats().operations.get("accepted").copied();
            accepted.unwrap_or(0) > healed
        };
        if !self.step_until(RECOVERY_MS_MAX, recovered) {
            self.world.blame(
                "recovery",
                "no write is accepted 10 s after everything was healed",
            );
        }
        let calm = self.now() + CALM_MS;
        while self.now() < calm {
            self.step();
        }
        self.world.quiet.store(true, Ordering::Relaxed);
        let quiet = self.world.clock.nanos();
        self.world
            .recorder
            .mark(quiet, MarkKind::Quiet, "the clients stop");
        self.settle();
        self.world.stats().simulated_ms = self.now();
    }

    fn accepted(&self) -> u64 {
        let stats = self.world.stats();
        stats.operations.get("accepted").copied().unwrap_or(0)
    }

    /// Steps until it holds; false where it does not within so many milliseconds.
    fn step_until(&mut self, ms_max: u64, holds: impl Fn(&World) -> bool) -> bool {
        let end = self.now() + ms_max;
        while self.now() < end {
            if holds(&self.world) {
                return true;
            }
            self.step();
        }
        false
    }

    fn step(&mut self) {
        let now = self.now() + TICK_MS;
        self.world.clock.set_ms(now);
        self.faults.tick(&mut self.sim, now);
        if let Err(error) = self.sim.step() {
            self.world
                .blame("harness", format!("a simulated host ended: {error}"));
        }
        if now.is_multiple_of(LOOK_MS) {
            self.look();
        }
        if now.is_multiple_of(COMPARE_MS) {
            self.compare();
        }
    }

    /// Looks at all nodes: who leads, which digests they have, whether one has failed.
    fn look(&mut self) {
        for slot in self.world.slots() {
            self.look_whether_closed(&slot);
            let Some(node) = slot.node() else { continue };
            let status = node.status();
            if status.role == Role::Leader && self.leaders.insert((status.term, status.node_id)) {
                self.world.count("leaders");
                let (term, name) = (status.term, &slot.name);
                self.world.trace(format_args!("{name} leads term {term}"));
                self.faults.elected(&slot);
            }
            let snapshot = self.snapshots.entry(slot.at).or_default();
            if status.snapshot_index > *snapshot {
                *snapshot = status.snapshot_index;
                self.world.count("snapshots seen");
            }
            let seen = DigestSeen {
                at: self.world.clock.nanos(),
                node: status.node_id,
                index: status.applied.0,
                digest: status.digest.to_string(),
            };
            self.world.recorder.digest(seen);
            if let Some(why) = status.not_ready.filter(|why| why.contains("differs from")) {
                let mut state = slot.state();
                if !state.fenced {
                    state.fenced = true;
                    drop(state);
                    self.world
                        .blame("fence", format!("{} is fenced: {why}", slot.name));
                }
            }
        }
    }

    /// A node whose disk has no room closes itself and says why; no other ends by itself.
    fn look_whether_closed(&mut self, slot: &Arc<Slot>) {
        let died = slot.state().died.take();
        let full = slot.disk.has_failed();
        if let Some(why) = died {
            if full && why.contains("no storage space") {
                self.world.count("nodes closed by a full disk");
                self.faults.end_later(slot);
                self.full.insert(slot.at, u64::MAX);
            } else {
                let what = format!("{} failed: {why}", slot.name);
                self.world.blame("fault", what);
                self.faults.crash(&mut self.sim, slot);
                self.faults.restart_later(slot, 500);
            }
        } else if full && slot.node().is_some() {
            let now = self.now();
            let since = self.full.entry(slot.at).or_insert(now);
            if now == since.saturating_add(CLOSE_MS_MAX) {
                let what = format!("{} goes on without room for its log", slot.name);
                self.world.blame("full disk", what);
            }
        } else {
            self.full.remove(&slot.at);
        }
    }

    /// Looks for replicas that differ from the majority and go on nevertheless.
    fn compare(&mut self) {
        let slots = self.world.slots();
        let mut by_index: BTreeMap<u64, Vec<(usize, String)>> = BTreeMap::new();
        for slot in &slots {
            let machine = slot.state().machine.clone();
            for checkpoint in machine.iter().flat_map(StateHandle::checkpoints) {
                let digest = checkpoint.digest.to_string();
                let at = by_index.entry(checkpoint.index.0).or_default();
                at.push((slot.at, digest));
            }
        }
        let mut odd = BTreeSet::new();
        for digests in by_index.values() {
            let most = digests
                .iter()
                .map(|(_, digest)| digest)
                .max_by_key(|digest| digests.iter().filter(|(_, d)| d == *digest).count());
            let same = digests.iter().filter(|(_, d)| Some(d) == most).count();
            if same > slots.len() / 2 {
                let others = digests.iter().filter(|(_, d)| Some(d) != most);
                odd.extend(others.map(|(at, _)| *at));
            }
        }
        let now = self.now();
        self.odd.retain(|at, _| odd.contains(at));
        for at in odd {
            let since = *self.odd.entry(at).or_insert(now);
            let late = now == since + FENCE_MS_MAX;
            let closed = slots.get(at).is_none_or(|slot| slot.state().fenced);
            if late && !closed {
                let what = format!("n{} differs from the majority and goes on", at + 1);
                self.world.blame("fencing", what);
            }
        }
    }

    fn heal(&mut self) {
        self.faults.heal(&mut self.sim);
        let now = self.world.clock.nanos();
        self.world
            .recorder
            .mark(now, MarkKind::Healed, "everything is healed");
        self.world.trace(format_args!("healed"));
    }

    /// Waits until all members have applied the same and are ready.
    fn settle(&mut self) {
        let end = self.now() + SETTLE_MS_MAX;
        while self.now() < end {
            for _ in 0..LOOK_MS {
                self.step();
            }
            if self.faults.is_calm() && self.agree() {
                return;
            }
        }
        let states: Vec<String> = self.world.slots().iter().map(|s| describe(s)).collect();
        let what = format!("the nodes do not come to agree: {}", states.join("; "));
        self.world.blame("settle", what);
    }

    /// Whether all members agree. Stops processes that are no members any more.
    fn agree(&mut self) -> bool {
        let slots = self.world.slots();
        let leads = |slot: &&Arc<Slot>| {
            let node = slot.node();
            node.is_some_and(|node| node.status().role == Role::Leader)
        };
        let Some(leader) = slots.iter().filter(leads).max_by_key(|slot| {
            let node = slot.node();
            node.map(|node| node.status().term)
        }) else {
            return false;
        };
        let machine = leader.state().machine.clone();
        let (Some(node), Some(machine)) = (leader.node(), machine) else {
            return false;
        };
        let status = node.status();
        let view = machine.view();
        let members: BTreeSet<u64> = view.membership().nodes().map(|(id, _)| *id).collect();
        drop(view);
        if status.applied.0 != status.last_log_index {
            return false;
        }
        for slot in &slots {
            let id = slot.id();
            if !id.is_some_and(|id| members.contains(&id)) {
                if !slot.state().removed {
                    slot.state().removed = true;
                    self.faults.crash(&mut self.sim, slot);
                }
                continue;
            }
            let Some(node) = slot.node() else {
                return false;
            };
            let its = node.status();
            if its.applied != status.applied || its.not_ready.is_some() {
                return false;
            }
        }
        true
    }

    fn judge(&mut self) -> Vec<Violation> {
        for slot in self.world.slots() {
            let state = slot.state();
            let (Some(id), Some(machine)) = (state.id, state.machine.clone()) else {
                continue;
            };
            drop(state);
            let finals = crate::convert::finals(id, &machine);
            let digest = &finals.digest;
            self.world.trace(format_args!(
                "{} ends {} {digest}",
                slot.name, finals.applied
            ));
            self.world.recorder.record(Record::Finals(finals));
        }
        let (history, finals) = self.world.recorder.sorted();
        let (found, verdict) = judge::judge(&history, &finals);
        self.world.violations().extend(found);
        let mut stats = self.world.stats();
        for (what, many) in &verdict.counts {
            // The longest of many runs is no sum.
            if !what.starts_with("ms ") {
                stats.event_times(&format!("judged: {what}"), *many);
            }
        }
        stats.event_times("judged: undecided", verdict.undecided.len() as u64);
        drop(stats);
        std::mem::take(&mut self.world.violations())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        for slot in self.world.slots() {
            slot.clear();
        }
    }
}

fn describe(slot: &Slot) -> String {
    match slot.node() {
        None => format!("{} is down", slot.name),
        Some(node) => {
            let status = node.status();
            format!(
                "{} ({}) {:?} term {} applied {} of {}{}",
                slot.name,
                status.node_id,
                status.role,
                status.term,
                status.applied,
                status.last_log_index,
                status
                    .not_ready
                    .map_or(String::new(), |why| format!(": {why}"))
            )
        }
    }
}

/// Makes a slot a host of the simulation; its process begins.
pub(crate) fn add_host(sim: &mut Sim<'static>, world: &Arc<World>, slot: &Arc<Slot>) {
    let (world, of) = (Arc::clone(world), Arc::clone(slot));
    sim.host(slot.name.clone(), move || {
        host::run(Arc::clone(&world), Arc::clone(&of))
    });
}
