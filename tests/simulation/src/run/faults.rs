//! Lets faults come and go.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use raft3d_checkers::history::MarkKind;
use raft3d_engine::raft::api::Role;
use rustix::fs::{SeekFrom, seek};
use tokio::sync::mpsc;
use turmoil::Sim;

use super::add_host;
use super::operators::Task;
use crate::plan::{Action, StateDamage, Target};
use crate::random::Random;
use crate::world::{Slot, World};

/// How long a process may take to stop in good order, in milliseconds.
const STOP_MS_MAX: u64 = 3_000;

/// A node that has closed itself ends within so many milliseconds.
const END_MS_MAX: u64 = 200;
/// And is started again after so many.
const RESTART_MS: u64 = 300;
/// A power cut hits an election within so many milliseconds after it was won.
const ELECTION_CUT_MS_MAX: u64 = 80;

/// How long one is down that was elected and then killed, in milliseconds.
const ELECTION_DOWN_MS: u64 = 300;
/// How long one who was elected is cut off from those who lost their power, in milliseconds: longer
/// than it takes their former processes for living, and than they need to elect another one.
const ELECTION_CUT_OFF_MS: (u64, u64) = (2_200, 3_300);

/// Faults under way.
pub(super) struct Faults {
    world: Arc<World>,
    tasks: mpsc::UnboundedSender<Task>,
    random: Random,
    /// Processes to start, by when.
    starts: Vec<(u64, Arc<Slot>)>,
    /// Processes that were asked to stop, by when they are killed, and then how long they are down.
    stops: Vec<(u64, u64, Arc<Slot>)>,
    /// Processes that have closed themselves, by when they end.
    ends: Vec<(u64, Arc<Slot>)>,
    /// The next election ends with a power cut.
    cuts_election: bool,
    /// When that comes, once somebody was elected, and who.
    election_cut: Option<(u64, Arc<Slot>)>,
    /// When the network is repaired after it.
    repair_at: Option<u64>,
}

impl Faults {
    pub(super) fn new(world: &Arc<World>, tasks: mpsc::UnboundedSender<Task>) -> Self {
        Self {
            world: Arc::clone(world),
            tasks,
            random: Random::of(world.seed, 5),
            starts: Vec::new(),
            stops: Vec::new(),
            ends: Vec::new(),
            cuts_election: false,
            election_cut: None,
            repair_at: None,
        }
    }

    fn now(&self) -> u64 {
        self.world.clock.now_ms()
    }

    /// Whether nothing is going to change any more.
    pub(super) fn is_calm(&self) -> bool {
        self.starts.is_empty() && self.stops.is_empty() && self.ends.is_empty()
    }

    fn note(&self, kind: &str, what: &str) {
        self.world.stats().fault(kind);
        self.world.trace(format_args!("fault {kind} {what}"));
        let at = self.world.clock.nanos();
        let what = format!("{kind} {what}");
        self.world.recorder.mark(at, MarkKind::Fault, what);
    }

    /// The slots that a target means first: those that hold a part of the cluster.
    fn slots(&self, target: Target) -> Vec<Arc<Slot>> {
        let mut slots = self.world.slots();
        slots.retain(|slot| !slot.state().removed);
        let first = match target {
            Target::Any(at) => at % slots.len().max(1),
            Target::Leader => slots.iter().position(|slot| leads(slot)).unwrap_or(0),
        };
        slots.rotate_left(first);
        slots
    }

    fn slot(&self, target: Target) -> Option<Arc<Slot>> {
        self.slots(target).into_iter().next()
    }

    /// Does what the plan says.
    pub(super) fn act(&mut self, sim: &mut Sim<'static>, action: Action) {
        match action {
            Action::Partition(..)
            | Action::OneWay(..)
            | Action::Bridge(_)
            | Action::Hold(_)
            | Action::RepairNetwork => self.network(sim, action),
            Action::Loss(percent) => {
                self.world.loss_percent.store(percent, Ordering::Relaxed);
                if percent > 0 {
                    self.note("loss", &format!("{percent} %"));
                }
            }
            Action::Delay(target, ms) => self.delay(sim, target, ms),
            Action::SlowDisk(target, ms) => self.slow_disk(target, ms),
            Action::SlowDisks(ms) => self.slow_disks(ms),
            Action::FullDisks(target, count) => {
                for slot in self.slots(target).into_iter().take(count) {
                    slot.disk.fill(true);
                    self.note("full disk", &slot.name);
                }
            }
            Action::FreeDisks => self.free_disks(),
            Action::Skew(target, ms) => self.skew(target, ms),
            Action::Transfer(target) => self.operate(target, "leader transfer", Task::Transfer),
            Action::Remove(target) => self.operate(target, "remove", Task::Remove),
            Action::Join => {
                let slot = self.world.add_slot(true);
                self.note("join", &slot.name);
                add_host(sim, &self.world, &slot);
                // The operators' task ends with the simulation.
                let _ = self.tasks.send(Task::Promote(slot));
            }
            Action::CopyStates => self.copy_states(),
            Action::CutElection(comes) => self.cuts_election = comes,
            Action::Kill(..)
            | Action::KillMany(..)
            | Action::Restart(..)
            | Action::Upgrade(..)
            | Action::PowerCut(..)
            | Action::PowerCutAll(_) => self.process(sim, action),
        }
    }

    fn operate(&self, target: Target, kind: &str, task: impl FnOnce(Arc<Slot>) -> Task) {
        // A transfer to the leader itself would be none.
        let slots = self.slots(target);
        let slot = match kind {
            "leader transfer" => slots.iter().find(|slot| !leads(slot)),
            _ => slots.first(),
        };
        if let Some(slot) = slot {
            self.note(kind, &slot.name);
            let _ = self.tasks.send(task(Arc::clone(slot)));
        }
    }

    fn network(&mut self, sim: &Sim<'static>, action: Action) {
        // Whoever was elected stays cut off for its time.
        if self.repair_at.is_some() {
            return;
        }
        match action {
            Action::Partition(target, count) => {
                let slots = self.slots(target);
                let (few, many) = slots.split_at(count.min(slots.len()));
                cut(sim, few, many);
                self.note("partition", &names(few));
            }
            Action::OneWay(target, hears) => {
                let slots = self.slots(target);
                let (one, others) = slots.split_at(1.min(slots.len()));
                for (one, other) in pairs(one, others) {
                    let (from, to) = if hears { (one, other) } else { (other, one) };
                    sim.partition_oneway(from.name.as_str(), to.name.as_str());
                }
                let what = if hears {
                    "is not heard"
                } else {
                    "does not hear"
                };
                self.note("one-way partition", &format!("{} {what}", names(one)));
            }
            Action::Bridge(target) => {
                let slots = self.slots(target);
                let (middle, others) = slots.split_at(1.min(slots.len()));
                let (left, right) = others.split_at(others.len() / 2);
                cut(sim, left, right);
                self.note("bridge", &format!("over {}", names(middle)));
            }
            Action::Hold(target) => {
                if let [one, other, ..] = self.slots(target).as_slice() {
                    sim.hold(one.name.as_str(), other.name.as_str());
                    self.note("hold", &format!("{} {}", one.name, other.name));
                }
            }
            _ => self.repair(sim),
        }
    }

    fn repair(&self, sim: &Sim<'static>) {
        let slots = self.world.slots();
        for (nth, one) in slots.iter().enumerate() {
            for other in slots.iter().skip(nth + 1) {
                sim.release(one.name.as_str(), other.name.as_str());
            }
        }
        self.world.trace(format_args!("network repaired"));
    }

    fn delay(&self, sim: &Sim<'static>, target: Target, ms: u64) {
        let slots = self.world.slots();
        if ms == 0 {
            let usual = Duration::from_millis(self.world.tune.latency_ms_max);
            for (one, other) in pairs(&slots, &slots).filter(|(a, b)| a.at < b.at) {
                sim.set_link_max_message_latency(one.name.as_str(), other.name.as_str(), usual);
            }
        } else if let Some(one) = self.slot(target) {
            for other in slots.iter().filter(|other| other.at != one.at) {
                let (a, b) = (one.name.as_str(), other.name.as_str());
                sim.set_link_max_message_latency(a, b, Duration::from_millis(ms));
            }
            self.note("delay", &format!("{} {ms} ms", one.name));
        }
    }

    fn slow_disk(&self, target: Target, ms: u64) {
        if ms == 0 {
            for slot in self.world.slots() {
                slot.disk.slow_down(0);
            }
        } else if let Some(slot) = self.slot(target) {
            slot.disk.slow_down(ms);
            self.note("slow disk", &format!("{} {ms} ms", slot.name));
        }
    }

    fn slow_disks(&self, ms: u64) {
        for slot in self.world.slots() {
            slot.disk.slow_down(ms);
        }
        if ms > 0 {
            self.note("slow disks", &format!("{ms} ms"));
        }
    }

    fn free_disks(&self) {
        for slot in self.world.slots() {
            slot.disk.fill(false);
        }
        self.world.trace(format_args!("disks have room"));
    }

    fn skew(&self, target: Target, ms: i64) {
        if ms == 0 {
            for slot in self.world.slots() {
                slot.skew_ms.store(0, Ordering::Relaxed);
            }
        } else if let Some(slot) = self.slot(target) {
            slot.skew_ms.store(ms, Ordering::Relaxed);
            let kind = if ms.unsigned_abs() > 10_000 {
                "clock beyond the limit"
            } else {
                "clock within the limit"
            };
            self.note(kind, &format!("{} {ms} ms", slot.name));
        }
    }

    fn process(&mut self, sim: &mut Sim<'static>, action: Action) {
        match action {
            Action::Kill(target, down_ms) => {
                if let Some(slot) = self.slot(target) {
                    self.note("kill", &slot.name);
                    self.crash(sim, &slot);
                    self.restart_later(&slot, down_ms);
                }
            }
            Action::KillMany(count, down_ms) => {
                for slot in self.slots(Target::Leader).into_iter().take(count) {
                    self.note("kill of a majority", &slot.name);
                    self.crash(sim, &slot);
                    self.restart_later(&slot, down_ms);
                }
            }
            Action::Restart(target, down_ms) => {
                if let Some(slot) = self.slot(target).filter(|slot| slot.node().is_some()) {
                    self.note("stop", &slot.name);
                    let _ = self.tasks.send(Task::Stop(Arc::clone(&slot)));
                    self.stops.push((self.now() + STOP_MS_MAX, down_ms, slot));
                }
            }
            Action::Upgrade(target, down_ms) => {
                // Also one that is down: whatever starts there next is the newer program.
                if let Some(slot) = self.slot(target) {
                    self.note("upgrade", &slot.name);
                    slot.is_upgraded.store(true, Ordering::Relaxed);
                    self.process(sim, Action::Restart(target, down_ms));
                }
            }
            Action::PowerCut(target, damage, down_ms) => {
                if let Some(slot) = self.slot(target) {
                    self.note("power cut", &slot.name);
                    self.cut_power(sim, &slot, damage);
                    self.restart_later(&slot, down_ms);
                }
            }
            _ => {
                self.note("power cut of all", "");
                let Action::PowerCutAll(down_ms) = action else {
                    return;
                };
                for slot in self.slots(Target::Any(0)) {
                    let damage = match self.random.below(3) {
                        0 => StateDamage::Lost,
                        1 => StateDamage::Older,
                        _ => StateDamage::Kept,
                    };
                    self.cut_power(sim, &slot, damage);
                    let later = self.random.below(500);
                    self.restart_later(&slot, down_ms + later);
                }
            }
        }
    }

    /// Somebody was elected: those who voted may not have synced it yet.
    pub(super) fn elected(&mut self, slot: &Arc<Slot>) {
        if self.cuts_election && self.election_cut.is_none() {
            let at = self.now() + self.random.below(ELECTION_CUT_MS_MAX);
            self.election_cut = Some((at, Arc::clone(slot)));
        }
    }

    /// Whoever was elected is cut off from the others, who lose their power and come back at once.
    /// Where they forget that they voted, they elect one who comes before it in the order of votes;
    /// and once it is back, it takes back what that one had acknowledged.
    ///
    /// Votes are ordered by term and then by id. One whom most others would come after dies, and
    /// there is another election.
    fn cut_election(&mut self, sim: &mut Sim<'static>, elected: &Arc<Slot>) {
        let mut others = self.slots(Target::Any(0));
        others.retain(|slot| slot.at != elected.at);
        let before = others.iter().filter(|slot| slot.id() < elected.id());
        if before.count() < others.len().div_ceil(2) {
            self.note("kill", &elected.name);
            self.crash(sim, elected);
            self.restart_later(elected, ELECTION_DOWN_MS);
            return;
        }
        self.cuts_election = false;
        cut(sim, std::slice::from_ref(elected), &others);
        self.note("power cut of voters", &names(&others));
        for slot in &others {
            self.crash(sim, slot);
            // A part that stays would mostly be the vote: there is little else.
            let lost = slot.disk.lose_unsynced();
            self.lost_power(slot, lost, StateDamage::Kept);
            let down_ms = self.random.below(40);
            self.restart_later(slot, down_ms);
        }
        self.slow_disks(0);
        let cut_ms = self
            .random
            .between(ELECTION_CUT_OFF_MS.0, ELECTION_CUT_OFF_MS.1);
        self.repair_at = Some(self.now() + cut_ms);
    }

    /// Ends a process.
    pub(super) fn crash(&mut self, sim: &mut Sim<'static>, slot: &Arc<Slot>) {
        self.starts.retain(|(_, other)| other.at != slot.at);
        self.stops.retain(|(_, _, other)| other.at != slot.at);
        self.ends.retain(|(_, other)| other.at != slot.at);
        // What it had in memory alone is gone with it.
        if let Some(machine) = &slot.state().machine {
            machine.abandon();
        }
        slot.clear();
        sim.crash(slot.name.as_str());
    }

    /// The node has closed itself: its process ends a little later, so that clients meet it closed,
    /// and is started again.
    pub(super) fn end_later(&mut self, slot: &Arc<Slot>) {
        let at = self.now() + self.random.below(END_MS_MAX);
        self.ends.push((at, Arc::clone(slot)));
    }

    pub(super) fn restart_later(&mut self, slot: &Arc<Slot>, down_ms: u64) {
        self.starts.push((self.now() + down_ms, Arc::clone(slot)));
    }

    fn cut_power(&mut self, sim: &mut Sim<'static>, slot: &Arc<Slot>, damage: StateDamage) {
        self.crash(sim, slot);
        let lost = slot.disk.cut_power();
        self.lost_power(slot, lost, damage);
    }

    fn lost_power(&self, slot: &Slot, lost: u64, damage: StateDamage) {
        self.world.stats().event_times("log writes lost", lost);
        let state = slot.dir.join("state");
        match damage {
            StateDamage::Kept => self.world.count("states kept over a power cut"),
            StateDamage::Lost => {
                // There is none before the first start.
                let _ = fs::remove_dir_all(&state);
                self.world.count("states lost in a power cut");
            }
            StateDamage::Older => {
                let older = older_state(slot);
                if older.exists() {
                    copy_folder(&older, &state);
                    self.world.count("states set back by a power cut");
                }
            }
        }
    }

    fn copy_states(&self) {
        for slot in self.world.slots() {
            let state = slot.dir.join("state");
            if state.exists() {
                copy_folder(&state, &older_state(&slot));
            }
        }
        self.note("states are copied", "");
    }

    /// Starts what is to be started by now, and kills what was to stop.
    pub(super) fn tick(&mut self, sim: &mut Sim<'static>, now: u64) {
        if let Some((_, elected)) = self.election_cut.take_if(|(at, _)| *at <= now) {
            self.cut_election(sim, &elected);
        }
        if self.repair_at.take_if(|at| *at <= now).is_some() {
            self.repair(sim);
        }
        let due: Vec<_> = self
            .stops
            .extract_if(.., |(at, _, slot)| *at <= now || has_stopped(slot))
            .collect();
        for (_, down_ms, slot) in due {
            self.crash(sim, &slot);
            self.restart_later(&slot, down_ms);
        }
        let due: Vec<_> = self.ends.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, slot) in due {
            self.crash(sim, &slot);
            self.restart_later(&slot, RESTART_MS);
        }
        let due: Vec<_> = self.starts.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, slot) in due {
            if !slot.state().removed {
                sim.bounce(slot.name.as_str());
            }
        }
    }

    /// Ends every fault; whatever is down starts.
    pub(super) fn heal(&mut self, sim: &mut Sim<'static>) {
        self.repair(sim);
        self.world.loss_percent.store(0, Ordering::Relaxed);
        self.delay(sim, Target::Leader, 0);
        self.slow_disk(Target::Leader, 0);
        self.free_disks();
        self.skew(Target::Leader, 0);
        (self.cuts_election, self.election_cut, self.repair_at) = (false, None, None);
        for (_, _, slot) in std::mem::take(&mut self.stops) {
            self.crash(sim, &slot);
            self.restart_later(&slot, 0);
        }
        for (_, slot) in std::mem::take(&mut self.ends) {
            self.crash(sim, &slot);
            self.restart_later(&slot, 0);
        }
        for (at, _) in &mut self.starts {
            *at = 0;
        }
        self.tick(sim, self.now());
    }
}

fn leads(slot: &Slot) -> bool {
    let node = slot.node();
    node.is_some_and(|node| node.status().role == Role::Leader)
}

fn has_stopped(slot: &Slot) -> bool {
    let node = slot.node();
    node.is_none_or(|node| node.status().role == Role::Stopped)
}

fn names(slots: &[Arc<Slot>]) -> String {
    let names: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
    names.join(" ")
}

fn pairs<'a>(
    left: &'a [Arc<Slot>],
    right: &'a [Arc<Slot>],
) -> impl Iterator<Item = (&'a Arc<Slot>, &'a Arc<Slot>)> {
    left.iter()
        .flat_map(move |one| right.iter().map(move |other| (one, other)))
}

fn cut(sim: &Sim<'static>, left: &[Arc<Slot>], right: &[Arc<Slot>]) {
    for (one, other) in pairs(left, right) {
        sim.partition(one.name.as_str(), other.name.as_str());
    }
}

fn older_state(slot: &Slot) -> PathBuf {
    slot.dir.with_extension("older")
}

/// Copies a folder over another one.
fn copy_folder(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).expect("the folder can be made");
    for entry in fs::read_dir(from).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        let Some(name) = path.file_name() else {
            continue;
        };
        if path.is_dir() {
            copy_folder(&path, &to.join(name));
        } else {
            copy_file(&path, &to.join(name)).expect("the file can be copied");
        }
    }
}

/// Copies a file with its holes: a journal is 64 MiB of which little is written.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (File::open(from)?, File::create(to)?);
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut at = 0;
    // No data behind a place is an error of its own (lseek(2), ENXIO).
    while let Ok(data) = seek(&from, SeekFrom::Data(at)) {
        at = seek(&from, SeekFrom::Hole(data))?;
        let mut bytes = vec![0; usize::try_from(at - data).unwrap_or(0)];
        from.read_exact_at(&mut bytes, data)?;
        to.write_all_at(&bytes, data)?;
    }
    Ok(())
}
