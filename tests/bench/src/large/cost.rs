//! What a write costs with many jobs stored, beside a write with few.
//!
//! Nothing but the number of jobs is to differ. A new cluster has less to forget than it ever will
//! again (decision records, events, answers), and one that was started a moment ago forgets what
//! expired in between and reads all of its state once. So both get as many entries first as fill
//! every window, and are then left alone until they are idle. They are measured in turns. The figure
//! is an average over all rounds: snapshots and merges of table files belong to the cost, and fall
//! into some rounds and not into others.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use raft3d_checkers::report::Table;

use super::{CLIENTS, SMALL};
use crate::beside::{rounds, times};
use crate::load::Work;
use crate::measure::{Measured, fill};
use crate::setting::{Setting, bar, leader_first, remove};
use crate::stats::{Rounds, short};
use crate::systems::{Cluster, System};
use crate::table::table;
use crate::usage::Usage;

/// Entries that both get first: more than the decision records that are kept.
const AGE_ENTRIES: u64 = 250_000;
/// Processor time a second below which the three nodes do nothing but their rounds, in microseconds.
const IDLE_US: u64 = 60_000;
/// So many idle seconds in a row are enough.
const IDLE_SECONDS: u32 = 3;
/// Longest wait for that: a check of all rows after a start takes minutes.
const IDLE_PATIENCE: Duration = Duration::from_secs(400);

/// One entry a round for each size.
#[derive(Clone, Debug, Default)]
pub(super) struct Cost {
    jobs: u64,
    small: Vec<Measured>,
    large: Vec<Measured>,
}

/// Measures in turns: while one cluster has its turn, the other idles.
pub(super) fn measure(setting: &Setting, large: &Cluster, jobs: u64) -> Result<Cost> {
    let mut cost = Cost {
        jobs,
        ..Cost::default()
    };
    let bar = bar("cost by size", (setting.rounds * 2) as u64);
    let folder = setting.folder("small")?;
    let small = Cluster::start(setting.launch(System::Raft3d)?, &folder)?;
    small.open_shop()?;
    fill(setting, &small, Work::Write, SMALL, "job", |_| {})?;
    for cluster in [&small, large] {
        bar.set_message("getting old");
        fill(setting, cluster, Work::Refused, AGE_ENTRIES, "age", |_| {})?;
    }
    bar.set_message("waiting until all is quiet");
    wait_idle(&[&small, large])?;
    bar.set_message("");
    for round in 0..setting.rounds {
        let mut sizes = [(&small, &mut cost.small), (large, &mut cost.large)];
        sizes.rotate_left(round % 2);
        for (cluster, measured) in sizes {
            let places = leader_first(cluster)?;
            let prefix = format!("cost{round}");
            let spec = setting.spec(cluster, &places, Work::Write, CLIENTS, &prefix)?;
            measured.push(Measured::take(cluster, &spec)?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    drop(small);
    remove(&folder)?;
    Ok(cost)
}

/// Waits until nothing is left to do; says so where that takes too long.
fn wait_idle(clusters: &[&Cluster]) -> Result<()> {
    let begun = Instant::now();
    let mut idle_seconds = 0;
    while idle_seconds < IDLE_SECONDS {
        let mut used_us = Vec::new();
        let before: Vec<u64> = clusters
            .iter()
            .map(|one| cpu_us(one))
            .collect::<Result<_>>()?;
        sleep(Duration::from_secs(1));
        for (cluster, before) in clusters.iter().zip(before) {
            used_us.push(cpu_us(cluster)?.saturating_sub(before));
        }
        let is_idle = used_us.iter().all(|used| *used < IDLE_US);
        idle_seconds = if is_idle { idle_seconds + 1 } else { 0 };
        if begun.elapsed() > IDLE_PATIENCE {
            eprintln!("the nodes are still busy: {used_us:?} us a second of the clusters");
            break;
        }
    }
    Ok(())
}

/// Processor time that the nodes have used.
fn cpu_us(cluster: &Cluster) -> Result<u64> {
    let nodes = cluster.running();
    nodes
        .map(|place| Ok(Usage::of(cluster.pid(place)?)?.cpu_us()))
        .sum()
}

fn each_cpu_us(measured: &[Measured]) -> Rounds {
    rounds(measured, |one| one.each(one.nodes().cpu_us()))
}

/// Processor time of a write in microseconds, over all rounds.
fn mean_cpu_us(measured: &[Measured]) -> f64 {
    let all: u64 = measured.iter().map(|one| one.nodes().cpu_us()).sum();
    let writes: u64 = measured.iter().map(|one| one.outcome.answered).sum();
    all as f64 / writes.max(1) as f64
}

impl Cost {
    /// Processor time of a write on the large cluster over that on the small one, over all rounds.
    pub(super) fn ratio(&self) -> f64 {
        mean_cpu_us(&self.large) / mean_cpu_us(&self.small)
    }

    fn ratio_of_rounds(&self) -> Rounds {
        each_cpu_us(&self.large).over(&each_cpu_us(&self.small))
    }

    /// [`Cost::ratio`] for people, with the range of the rounds.
    pub(super) fn show_ratio(&self) -> String {
        let each = self.ratio_of_rounds();
        let (min, max) = (short(each.min()), short(each.max()));
        format!("{} x (rounds: {min} to {max})", short(self.ratio()))
    }

    pub(super) fn table(&self) -> Table {
        let head = [
            "jobs stored",
            "writes a second",
            "p99 ms",
            "all nodes us",
            "on average us",
            "KiB written",
        ];
        let mut shown = table("Cost of a write by jobs stored, 64 clients", &head);
        let per_second = |one: &Measured| one.outcome.per_second();
        let p99 = |one: &Measured| one.outcome.latency_ms(9_900);
        let kib = |one: &Measured| one.each(one.written_bytes) / 1024.0;
        for (jobs, measured) in [(SMALL, &self.small), (self.jobs, &self.large)] {
            shown.rows.push(vec![
                short(jobs as f64),
                rounds(measured, per_second).show(),
                rounds(measured, p99).show(),
                each_cpu_us(measured).show(),
                short(mean_cpu_us(measured)),
                rounds(measured, kib).show(),
            ]);
        }
        let over = |figure: &dyn Fn(&Measured) -> f64| {
            times(&rounds(&self.large, figure).over(&rounds(&self.small, figure)))
        };
        shown.rows.push(vec![
            "many / few".to_owned(),
            over(&per_second),
            over(&p99),
            times(&self.ratio_of_rounds()),
            format!("{} x", short(self.ratio())),
            over(&kib),
        ]);
        shown
    }
}
