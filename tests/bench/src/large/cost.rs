//! What a write costs with many jobs stored, beside a write with few.

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

/// One entry a round for each size.
#[derive(Clone, Debug, Default)]
pub(super) struct Cost {
    jobs: u64,
    small: Vec<Measured>,
    large: Vec<Measured>,
}

/// Measures in turns: a new small cluster each time, and always the same large one, which idles
/// meanwhile.
pub(super) fn measure(setting: &Setting, large: &Cluster, jobs: u64) -> Result<Cost> {
    let mut cost = Cost {
        jobs,
        ..Cost::default()
    };
    let bar = bar("cost by size", (setting.rounds * 2) as u64);
    for round in 0..setting.rounds {
        let folder = setting.folder("small")?;
        let small = Cluster::start(System::Raft3d, &folder, &setting.node_args)?;
        small.open_shop()?;
        fill(setting, &small, SMALL, "job", |_| {})?;
        let mut sizes = [(&small, &mut cost.small), (large, &mut cost.large)];
        sizes.rotate_left(round % 2);
        for (cluster, measured) in sizes {
            let places = leader_first(cluster)?;
            let prefix = format!("cost{round}");
            let spec = setting.spec(cluster, &places, Work::Write, CLIENTS, &prefix)?;
            measured.push(Measured::take(cluster, &spec)?);
            bar.inc(1);
        }
        drop(small);
        remove(&folder)?;
    }
    bar.finish_and_clear();
    Ok(cost)
}

fn cpu_us(measured: &[Measured]) -> Rounds {
    rounds(measured, |one| one.each(one.nodes().cpu_us()))
}

impl Cost {
    /// Processor time of a write on the large cluster over that on the small one.
    pub(super) fn ratio(&self) -> Rounds {
        cpu_us(&self.large).over(&cpu_us(&self.small))
    }

    pub(super) fn table(&self) -> Table {
        let head = [
            "jobs stored",
            "writes a second",
            "p99 ms",
            "all nodes us",
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
                cpu_us(measured).show(),
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
            times(&self.ratio()),
            over(&kib),
        ]);
        shown
    }
}
