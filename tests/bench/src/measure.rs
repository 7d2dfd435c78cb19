//! One load against one cluster, with what every process used in the measured window.

use anyhow::{Context as _, Result, ensure};

use crate::load::driver::LoadProcess;
use crate::load::{Outcome, Spec, Until, Work};
use crate::setting::{Setting, leader_first};
use crate::systems::Cluster;
use crate::usage::{Machine, Usage};

/// Share of failed requests above which a measurement is worth nothing, in per mille.
const FAILED_PER_MILLE_MAX: u64 = 10;

/// What one load came to.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What clients saw.
    pub outcome: Outcome,
    /// What the leader used in the window.
    pub leader: Usage,
    /// What the followers used in the window, together.
    pub followers: Usage,
    /// What the load generator used in the window.
    pub load: Usage,
    /// Processor time that everything else on the machine used in the window, in microseconds.
    pub others_us: u64,
    /// Bytes written to the disk in the window, by anybody.
    pub written_bytes: u64,
    /// Flushes of the disk in the window, by anybody.
    pub flushes: u64,
}

impl Measured {
    /// Makes the load of `spec`, whose targets are nodes of `cluster`.
    ///
    /// # Errors
    /// A process ends, or more than a few requests fail.
    pub fn take(cluster: &Cluster, spec: &Spec) -> Result<Self> {
        let leader = cluster.leader()?;
        let mut load = LoadProcess::start(spec)?;
        load.wait_begin()?;
        let before = Look::at(cluster, leader, load.pid())?;
        load.wait_end(|_| {})?;
        let after = Look::at(cluster, leader, load.pid())?;
        let outcome = load.outcome()?;
        let failed_max = (outcome.answered + outcome.failed) * FAILED_PER_MILLE_MAX / 1_000;
        ensure!(
            outcome.answered > 0 && outcome.failed <= failed_max,
            "{}: {} requests failed, {} were answered; the first failure: {}",
            cluster.system().name(),
            outcome.failed,
            outcome.answered,
            outcome.first_failure.as_deref().unwrap_or("none"),
        );
        let (leader, followers) = (
            after.leader - before.leader,
            after.followers - before.followers,
        );
        let load = after.load - before.load;
        let busy_us = after.machine.busy_us - before.machine.busy_us;
        let ours_us = leader.cpu_us() + followers.cpu_us() + load.cpu_us();
        Ok(Self {
            outcome,
            leader,
            followers,
            load,
            others_us: busy_us.saturating_sub(ours_us),
            written_bytes: after.machine.written_bytes - before.machine.written_bytes,
            flushes: after.machine.flushes - before.machine.flushes,
        })
    }

    /// `amount` for each right answer.
    #[must_use]
    pub fn each(&self, amount: u64) -> f64 {
        amount as f64 / self.outcome.answered.max(1) as f64
    }

    /// Share of the used processor time that neither the nodes nor the load generator used, in
    /// percent. Above some 5, something disturbed the measurement.
    #[must_use]
    pub fn others_percent(&self) -> f64 {
        let ours = self.nodes().cpu_us() + self.load.cpu_us();
        self.others_us as f64 * 100.0 / (self.others_us + ours).max(1) as f64
    }

    /// What all nodes used in the window.
    #[must_use]
    pub fn nodes(&self) -> Usage {
        self.leader.and(self.followers)
    }
}

/// What all had used at one moment.
struct Look {
    leader: Usage,
    followers: Usage,
    load: Usage,
    machine: Machine,
}

impl Look {
    fn at(cluster: &Cluster, leader: usize, load: u32) -> Result<Self> {
        let mut followers = Usage::default();
        for place in cluster.running().filter(|place| *place != leader) {
            followers = followers.and(Usage::of(cluster.pid(place)?)?);
        }
        let first = cluster.members().first().context("a cluster of none")?;
        Ok(Self {
            leader: Usage::of(cluster.pid(leader)?)?,
            followers,
            load: Usage::of(load)?,
            machine: Machine::look(first.data())?,
        })
    }
}

/// Clients that fill a cluster: as many as its writes gain anything from.
const FILL_CLIENTS: usize = 256;

/// Makes `count` requests, of which each must come to what it should (`work`), with running numbers
/// behind `prefix`, and tells `progress` how many there are.
///
/// # Errors
/// One is not acknowledged, however often it is tried.
pub fn fill(
    setting: &Setting,
    cluster: &Cluster,
    work: Work,
    count: u64,
    prefix: &str,
    progress: impl FnMut(u64),
) -> Result<Outcome> {
    let places = leader_first(cluster)?;
    let mut spec = setting.spec(cluster, &places, work, FILL_CLIENTS, prefix)?;
    spec.until = Until::Count(count);
    let mut load = LoadProcess::start(&spec)?;
    load.wait_begin()?;
    load.wait_end(progress)?;
    let outcome = load.outcome()?;
    ensure!(
        outcome.answered == count,
        "{} of {count} came to what they should: {}",
        outcome.answered,
        outcome.first_failure.as_deref().unwrap_or_default(),
    );
    Ok(outcome)
}
