//! A cluster that holds a million jobs.

mod cost;
mod restart;
mod snapshots;
mod stored;

use anyhow::Result;
use raft3d_checkers::report::Table;

use crate::setting::{Setting, remove};
use crate::stats::{Rounds, short};
use crate::systems::Cluster;
use crate::table::table;
use crate::targets::Target;
use crate::usage::anonymous_bytes;

pub use stored::Stored;

/// Jobs of a small cluster.
const SMALL: u64 = 1_000;
/// Clients of every load here.
const CLIENTS: usize = 64;
/// What a write may cost beside one on a small cluster.
const COST_MOST: f64 = 1.3;
/// Resident anonymous memory of a node, in MiB.
const MEMORY_MOST_MIB: f64 = 400.0;
/// Restart to ready, in seconds.
const RESTART_MOST_S: f64 = 5.0;
/// p99 of writes while a snapshot is taken or sent, beside the normal one.
const P99_MOST: f64 = 3.0;

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Results {
    jobs: u64,
    stored: Stored,
    /// MiB of each node once it has started with all jobs and served the loads below.
    memory_mib: Vec<f64>,
    cost: cost::Cost,
    restarts: restart::Restarts,
    snapshots: snapshots::Snapshots,
}

/// Measures with `jobs` jobs. A copy of a cluster that an earlier run has filled is used again,
/// unless `refill` is asked for.
///
/// # Errors
/// A cluster cannot be started, or does not serve.
pub fn run(setting: &Setting, jobs: u64, refill: bool) -> Result<Results> {
    let (mut cluster, stored) = stored::obtain(setting, jobs, refill)?;
    let cost = cost::measure(setting, &cluster, jobs)?;
    let snapshots = snapshots::measure(setting, &mut cluster)?;
    let memory_mib = memory_mib(&cluster)?;
    let restarts = restart::measure(setting, &mut cluster)?;
    drop(cluster);
    remove(&setting.scratch.join(stored::FOLDER))?;
    Ok(Results {
        jobs,
        stored,
        memory_mib,
        cost,
        restarts,
        snapshots,
    })
}

/// Resident anonymous memory of each node.
fn memory_mib(cluster: &Cluster) -> Result<Vec<f64>> {
    let mib = |place| Ok(anonymous_bytes(cluster.pid(place)?)? as f64 / f64::from(1 << 20));
    cluster.running().map(mib).collect()
}

impl Results {
    /// What was measured.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let jobs = short(self.jobs as f64);
        let mut shown = table(format!("With {jobs} jobs"), &["what", "measured"]);
        let mut row = |what: &str, measured: String| {
            shown.rows.push(vec![what.to_owned(), measured]);
        };
        row(
            "filled, jobs a second, 256 clients",
            short(self.stored.per_second),
        );
        let list = |mib: &[f64]| {
            let mib: Vec<String> = mib.iter().copied().map(short).collect();
            format!("{} MiB", mib.join(", "))
        };
        row(
            "resident anonymous memory of each node right after filling",
            list(&self.stored.memory_mib),
        );
        row(
            "the same after a start and all loads below (the last node joined)",
            list(&self.memory_mib),
        );
        row(
            "follower killed, start to ready",
            format!("{} s", self.restarts.killed.show()),
        );
        row(
            "follower stopped, start to ready",
            format!("{} s", self.restarts.stopped.show()),
        );
        vec![shown, self.cost.table(), self.snapshots.table()]
    }

    /// What must be reached.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        let jobs = short(self.jobs as f64);
        let memory: Rounds = self.memory_mib.iter().copied().collect();
        let restarts = self.restarts.all();
        let mut targets = vec![
            Target::new(
                format!(
                    "cost of a write at {jobs} stored jobs beside {}",
                    short(SMALL as f64)
                ),
                format!("at most {COST_MOST} x"),
                self.cost.show_ratio(),
                self.cost.ratio() <= COST_MOST,
            ),
            Target::new(
                format!("resident anonymous memory of a node with {jobs} jobs, after load"),
                format!("at most {MEMORY_MOST_MIB} MiB"),
                format!("{} MiB at most", short(memory.max())),
                memory.max() <= MEMORY_MOST_MIB,
            ),
            Target::new(
                format!("restart of a node with {jobs} jobs to ready"),
                format!("at most {RESTART_MOST_S} s"),
                format!("{} s", restarts.show()),
                restarts.max() <= RESTART_MOST_S,
            ),
        ];
        targets.extend(self.snapshots.targets(P99_MOST));
        targets
    }
}
