//! Which fault comes when: made from the seed before the run begins.

use crate::random::Random;

/// When faults begin, in milliseconds after the clients have.
const FIRST_FAULT_MS: u64 = 300;
/// How long faults come, in milliseconds.
const FAULTS_MS: (u64, u64) = (6_000, 10_000);
/// A clock that is off by less is within the limit of the cluster, in milliseconds.
const SKEW_SMALL_MS: i64 = 4_000;
/// The same beyond the limit.
const SKEW_LARGE_MS: (u64, u64) = (15_000, 90_000);

/// What differs between the clusters of two seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tune {
    /// Nodes at the beginning.
    pub nodes: usize,
    /// Clients.
    pub clients: u32,
    /// A snapshot is taken after so many entries.
    pub snapshot_entries: u64,
    /// So many entries stay behind it.
    pub log_entries_kept: u64,
    /// Longest way of a datagram, in milliseconds.
    pub latency_ms_max: u64,
}

/// Whom a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The leader, where there is one.
    Leader,
    /// The nodes in their order, beginning from this one.
    Any(usize),
}

/// What a power cut does to the state database, which is never synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateDamage {
    /// It is as it was.
    Kept,
    /// It is gone.
    Lost,
    /// It is as it was some time ago.
    Older,
}

/// One thing that happens to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// So many nodes, the target among them, are cut off from the others.
    Partition(Target, usize),
    /// The target hears everybody, and nobody hears it; or the other way round.
    OneWay(Target, bool),
    /// Two halves see one node in the middle, and not one another.
    Bridge(Target),
    /// Messages between the target and one other wait until it is over.
    Hold(Target),
    /// All of that is over.
    RepairNetwork,
    /// So many of a hundred datagrams are lost; none with 0.
    Loss(u64),
    /// The target's datagrams take up to so long, in milliseconds; as before with 0.
    Delay(Target, u64),
    /// The process is killed, and started again after so many milliseconds.
    Kill(Target, u64),
    /// So many processes are killed at once.
    KillMany(usize, u64),
    /// The process is asked to stop, and started again.
    Restart(Target, u64),
    /// The same, and what is started supports the next engine epoch too.
    Upgrade(Target, u64),
    /// One node loses its power.
    PowerCut(Target, StateDamage, u64),
    /// All do.
    PowerCutAll(u64),
    /// Whoever is elected next is cut off from all others, who lose their power; or no more.
    CutElection(bool),
    /// Keeps copies of all state databases: what `Older` goes back to.
    CopyStates,
    /// The target's syncs take up to so many milliseconds more; healthy with 0.
    SlowDisk(Target, u64),
    /// The same for all of them.
    SlowDisks(u64),
    /// There is no room on the disks of so many nodes, the target's among them.
    FullDisks(Target, usize),
    /// There is room again on all disks.
    FreeDisks,
    /// The target's clock is off by so many milliseconds.
    Skew(Target, i64),
    /// The leadership is handed to somebody.
    Transfer(Target),
    /// A new node joins and becomes a voter.
    Join,
    /// The target is removed from the membership.
    Remove(Target),
}

/// The plan of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The cluster.
    pub tune: Tune,
    /// What happens, by milliseconds after the clients begin.
    pub actions: Vec<(u64, Action)>,
    /// When everything is healed.
    pub heal_ms: u64,
}

impl Plan {
    /// The plan of a seed for a cluster of so many nodes.
    #[must_use]
    pub fn new(seed: u64, nodes: usize) -> Self {
        let mut random = Random::of(seed, 2);
        let tune = Tune {
            nodes,
            clients: u32::try_from(random.between(3, 7)).unwrap_or(3),
            snapshot_entries: random.between(25, 120),
            log_entries_kept: random.between(0, 25),
            latency_ms_max: random.between(2, 12),
        };
        let end = FIRST_FAULT_MS + random.between(FAULTS_MS.0, FAULTS_MS.1);
        let mut tracks = Tracks {
            random,
            nodes,
            end,
            actions: Vec::new(),
        };
        tracks.network();
        tracks.loss_and_delay();
        tracks.processes();
        tracks.disks();
        tracks.clocks();
        tracks.members();
        tracks.elections();
        tracks.full_disks();
        tracks.upgrades();
        let mut actions = tracks.actions;
        actions.sort_by_key(|(at, _)| *at);
        Self {
            tune,
            actions,
            heal_ms: end,
        }
    }
}

/// Kinds of faults that follow their own time, side by side.
struct Tracks {
    random: Random,
    nodes: usize,
    end: u64,
    actions: Vec<(u64, Action)>,
}

impl Tracks {
    fn target(&mut self) -> Target {
        if self.random.percent(40) {
            Target::Leader
        } else {
            let at = self.random.below(self.nodes as u64 + 2);
            Target::Any(usize::try_from(at).unwrap_or(0))
        }
    }

    /// Times at which something begins, with pauses of `from..to` between them.
    fn times(&mut self, chance: u64, from: u64, to: u64) -> Vec<u64> {
        let mut times = Vec::new();
        if !self.random.percent(chance) {
            return times;
        }
        let mut at = FIRST_FAULT_MS + self.random.below(to);
        while at < self.end {
            times.push(at);
            at += self.random.between(from, to);
        }
        times
    }

    fn push(&mut self, at: u64, action: Action) {
        self.actions.push((at.min(self.end), action));
    }

    fn network(&mut self) {
        // One after the other: turmoil's repair is of a whole link.
        let mut free = 0;
        for at in self.times(75, 500, 2_500) {
            if at < free {
                continue;
            }
            let target = self.target();
            let minority = self.random.between(1, self.nodes as u64 / 2 + 1);
            let action = match self.random.below(10) {
                0..4 => Action::Partition(target, usize::try_from(minority).unwrap_or(1)),
                4..7 => Action::OneWay(target, self.random.percent(50)),
                7..9 => Action::Bridge(target),
                _ => Action::Hold(target),
            };
            free = at + self.random.between(200, 2_500);
            self.push(at, action);
            self.push(free, Action::RepairNetwork);
        }
    }

    fn loss_and_delay(&mut self) {
        for at in self.times(50, 1_000, 4_000) {
            let percent = self.random.between(1, 25);
            let end = at + self.random.between(200, 2_000);
            self.push(at, Action::Loss(percent));
            self.push(end, Action::Loss(0));
        }
        for at in self.times(40, 1_000, 4_000) {
            let (target, ms) = (self.target(), self.random.between(20, 200));
            let end = at + self.random.between(200, 2_000);
            self.push(at, Action::Delay(target, ms));
            self.push(end, Action::Delay(target, 0));
        }
    }

    fn processes(&mut self) {
        for at in self.times(80, 400, 3_000) {
            let (target, down_ms) = (self.target(), self.random.between(50, 1_500));
            let action = match self.random.below(12) {
                0..4 => Action::Kill(target, down_ms),
                4 => Action::KillMany(self.nodes / 2 + 1, down_ms),
                5..7 => Action::Restart(target, down_ms),
                7..10 => {
                    let damage = match self.random.below(3) {
                        0 => StateDamage::Kept,
                        1 => StateDamage::Lost,
                        _ => StateDamage::Older,
                    };
                    Action::PowerCut(target, damage, down_ms)
                }
                10 => {
                    self.slow_disks_before(at);
                    Action::PowerCutAll(down_ms)
                }
                _ => Action::CopyStates,
            };
            self.push(at, action);
        }
        let early = self.random.below(1_500);
        self.push(early, Action::CopyStates);
    }

    /// Makes syncs slow on all nodes until `at`: so that there is something which a power cut can
    /// take back.
    fn slow_disks_before(&mut self, at: u64) {
        for node in 0..self.nodes {
            let ms = self.random.between(20, 150);
            let target = Target::Any(node);
            self.push(at.saturating_sub(300), Action::SlowDisk(target, ms));
            self.push(at + 1, Action::SlowDisk(target, 0));
        }
    }

    fn disks(&mut self) {
        for at in self.times(40, 1_000, 4_000) {
            let (target, ms) = (self.target(), self.random.between(20, 150));
            let end = at + self.random.between(300, 2_500);
            self.push(at, Action::SlowDisk(target, ms));
            self.push(end, Action::SlowDisk(target, 0));
        }
    }

    fn clocks(&mut self) {
        for at in self.times(35, 1_500, 4_000) {
            let target = self.target();
            let sign = if self.random.percent(50) { 1 } else { -1 };
            let ms = if self.random.percent(50) {
                self.random.below(SKEW_SMALL_MS.unsigned_abs())
            } else {
                self.random.between(SKEW_LARGE_MS.0, SKEW_LARGE_MS.1)
            };
            let skew = i64::try_from(ms).unwrap_or(0) * sign;
            let end = at + self.random.between(500, 3_000);
            self.push(at, Action::Skew(target, skew));
            self.push(end, Action::Skew(target, 0));
        }
    }

    fn members(&mut self) {
        for at in self.times(50, 700, 3_000) {
            let target = self.target();
            self.push(at, Action::Transfer(target));
        }
        if self.random.percent(45) {
            // 3 -> 5 -> 3, or as far as it comes.
            let mut at = FIRST_FAULT_MS;
            for _ in 0..2 {
                at += self.random.between(200, 1_500);
                self.push(at, Action::Join);
            }
            for _ in 0..2 {
                at += self.random.between(800, 2_500);
                let target = self.target();
                self.push(at, Action::Remove(target));
            }
        }
    }

    /// The leader is killed while all disks are slow, and those who then vote lose their power: a
    /// vote that was told and not synced would be forgotten, and given once more.
    fn elections(&mut self) {
        for at in self.times(40, 3_000, 5_000) {
            let slow_ms = self.random.between(200, 800);
            self.push(at, Action::SlowDisks(slow_ms));
            self.push(at, Action::CutElection(true));
            let down_ms = self.random.between(50, 400);
            self.push(at + 50, Action::Kill(Target::Leader, down_ms));
            let end = at + self.random.between(1_500, 2_500);
            self.push(end, Action::CutElection(false));
            self.push(end, Action::SlowDisks(0));
        }
    }

    /// All nodes of the beginning get a newer program, one after the other.
    fn upgrades(&mut self) {
        if !self.random.percent(50) {
            return;
        }
        let mut at = FIRST_FAULT_MS;
        for node in 0..self.nodes {
            at += self.random.between(300, 1_500);
            let down_ms = self.random.between(50, 500);
            self.push(at, Action::Upgrade(Target::Any(node), down_ms));
        }
    }

    fn full_disks(&mut self) {
        for at in self.times(35, 1_500, 5_000) {
            let target = self.target();
            let count = match self.random.below(10) {
                0 => self.nodes,
                1 => self.nodes / 2 + 1,
                _ => 1,
            };
            let end = at + self.random.between(100, 2_500);
            self.push(at, Action::FullDisks(target, count));
            self.push(end, Action::FreeDisks);
        }
    }
}
