//! Writes beside etcd: throughput, latency, and what a write costs.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::load::Work;
use crate::measure::Measured;
use crate::setting::{Setting, bar, leader_first, remove};
use crate::stats::{Rounds, short};
use crate::systems::{Cluster, System};
use crate::table::Table;

/// Clients, each with a connection of its own and one request in flight.
pub const CLIENTS: [usize; 4] = [1, 16, 64, 256];

/// What was measured: one entry a round.
pub type Results = BTreeMap<(usize, System), Vec<Measured>>;

/// Measures both systems in turns. Each turn has a new cluster, so that none starts with more data
/// than another; who is first changes from round to round.
///
/// # Errors
/// A cluster cannot be started, or does not serve.
pub fn run(setting: &Setting, clients: &[usize]) -> Result<Results> {
    let mut results = Results::new();
    let steps = setting.rounds * System::BOTH.len() * clients.len();
    let bar = bar("writes", steps as u64);
    for round in 0..setting.rounds {
        let mut systems = System::BOTH;
        systems.rotate_left(round % 2);
        for system in systems {
            let folder = setting.folder(&format!("writes-{}", system.name()))?;
            let extra = if system == System::Raft3d {
                setting.node_args.as_slice()
            } else {
                &[]
            };
            let cluster = Cluster::start(system, &folder, extra)?;
            cluster.open_shop()?;
            for clients in clients {
                bar.set_message(format!("{} with {clients}", system.name()));
                let places = leader_first(&cluster)?;
                let prefix = format!("w{clients}");
                let spec = setting.spec(&cluster, &places, Work::Write, *clients, &prefix)?;
                let measured = Measured::take(&cluster, &spec)?;
                results
                    .entry((*clients, system))
                    .or_default()
                    .push(measured);
                bar.inc(1);
            }
            drop(cluster);
            remove(&folder)?;
        }
    }
    bar.finish_and_clear();
    Ok(results)
}

/// A figure of every round.
pub fn rounds(measured: &[Measured], figure: impl Fn(&Measured) -> f64) -> Rounds {
    measured.iter().map(figure).collect()
}

/// What clients see.
#[must_use]
pub fn client_table(title: &str, results: &Results) -> Table {
    let head = [
        "clients",
        "system",
        "per second",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "failed",
    ];
    let mut table = Table::new(title, &head);
    for ((clients, system), measured) in results {
        let latency = |quantile| rounds(measured, |one| one.outcome.latency_ms(quantile)).show();
        let failed: u64 = measured.iter().map(|one| one.outcome.failed).sum();
        table.row([
            clients.to_string(),
            system.name().to_owned(),
            rounds(measured, |one| one.outcome.per_second()).show(),
            latency(5_000),
            latency(9_900),
            latency(9_990),
            failed.to_string(),
        ]);
    }
    table
}

/// What an answer costs, by part.
#[must_use]
pub fn cost_table(title: &str, results: &Results) -> Table {
    let head = [
        "clients",
        "system",
        "all nodes us",
        "leader us (user + kernel)",
        "followers us (user + kernel)",
        "load generator us (user + kernel)",
        "switches",
        "KiB written",
        "disk flushes",
        "others on the machine",
    ];
    let mut table = Table::new(title, &head);
    for ((clients, system), measured) in results {
        let median = |figure: &dyn Fn(&Measured) -> u64| {
            short(rounds(measured, |one| one.each(figure(one))).median())
        };
        let halves = |part: &dyn Fn(&Measured) -> crate::usage::Usage| {
            let user = median(&|one| part(one).user_us);
            format!("{user} + {}", median(&|one| part(one).kernel_us))
        };
        table.row([
            clients.to_string(),
            system.name().to_owned(),
            rounds(measured, |one| one.each(one.nodes().cpu_us())).show(),
            halves(&|one| one.leader),
            halves(&|one| one.followers),
            halves(&|one| one.load),
            median(&|one| one.nodes().switches),
            short(rounds(measured, |one| one.each(one.nodes().written_bytes) / 1024.0).median()),
            median(&|one| one.flushes),
            format!("{:.0} %", rounds(measured, others_percent).median()),
        ]);
    }
    table
}

/// Share of the used processor time that neither the nodes nor the load generator used.
fn others_percent(measured: &Measured) -> f64 {
    let ours = measured.nodes().cpu_us() + measured.load.cpu_us();
    measured.others_us as f64 * 100.0 / (measured.others_us + ours).max(1) as f64
}
