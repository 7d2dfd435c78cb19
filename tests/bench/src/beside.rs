//! The systems in turns, and the tables of what came out.

use std::collections::BTreeMap;
use std::fmt::Display;

use anyhow::Result;
use raft3d_checkers::report::Table;

use crate::measure::Measured;
use crate::setting::{Setting, remove};
use crate::stats::{Rounds, short};
use crate::systems::{Cluster, System};
use crate::table::table;
use crate::usage::Usage;

/// What was measured of one case (so many clients, such a place): one entry a round.
pub type Results<Case> = BTreeMap<(Case, System), Vec<Measured>>;

/// Lets `turn` measure each system once a round. Each turn has a new cluster, so that none starts
/// with more data than another; who is first changes from round to round.
///
/// # Errors
/// A cluster cannot be started, or `turn` fails.
pub fn in_turns(
    setting: &Setting,
    name: &str,
    mut turn: impl FnMut(&Cluster) -> Result<()>,
) -> Result<()> {
    for round in 0..setting.rounds {
        let mut systems = setting.systems();
        let first = round % systems.len();
        systems.rotate_left(first);
        for system in systems {
            let folder = setting.folder(&format!("{name}-{}", system.folder()))?;
            let cluster = Cluster::start(setting.launch(system)?, &folder)?;
            cluster.open_shop()?;
            turn(&cluster)?;
            drop(cluster);
            remove(&folder)?;
        }
    }
    Ok(())
}

/// A figure of every round.
pub fn rounds(measured: &[Measured], figure: impl Fn(&Measured) -> f64) -> Rounds {
    measured.iter().map(figure).collect()
}

/// Our figure over etcd's, round by round.
pub fn ratio<Case: Ord + Copy>(
    results: &Results<Case>,
    case: Case,
    figure: impl Fn(&Measured) -> f64,
) -> Rounds {
    ratio_to(System::Etcd, results, case, figure)
}

/// Our figure over that of `other`, round by round.
fn ratio_to<Case: Ord + Copy>(
    other: System,
    results: &Results<Case>,
    case: Case,
    figure: impl Fn(&Measured) -> f64,
) -> Rounds {
    let of = |system| {
        let measured = results.get(&(case, system)).map_or(&[][..], Vec::as_slice);
        rounds(measured, &figure)
    };
    of(System::Raft3d).over(&of(other))
}

/// What clients see, with our figures over those of the others.
#[must_use]
pub fn client_table<Case: Ord + Copy + Display>(
    title: &str,
    case_name: &str,
    results: &Results<Case>,
) -> Table {
    let head = [
        case_name,
        "system",
        "per second",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "failed",
    ];
    let mut shown = table(title, &head);
    for ((case, system), measured) in results {
        let latency = |quantile| rounds(measured, |one| one.outcome.latency_ms(quantile)).show();
        let failed: u64 = measured.iter().map(|one| one.outcome.failed).sum();
        shown.rows.push(vec![
            case.to_string(),
            system.name().to_owned(),
            rounds(measured, |one| one.outcome.per_second()).show(),
            latency(5_000),
            latency(9_900),
            latency(9_990),
            failed.to_string(),
        ]);
        if *system != System::Raft3d {
            let over = |figure: &dyn Fn(&Measured) -> f64| {
                times(&ratio_to(*system, results, *case, figure))
            };
            let latency = |quantile| over(&|one| one.outcome.latency_ms(quantile));
            shown.rows.push(vec![
                case.to_string(),
                format!("raft3d / {}", system.name()),
                over(&|one| one.outcome.per_second()),
                latency(5_000),
                latency(9_900),
                latency(9_990),
                String::new(),
            ]);
        }
    }
    shown
}

/// What an answer costs, by part. Medians of the rounds; the disk's figures are the machine's.
#[must_use]
pub fn cost_table<Case: Ord + Copy + Display>(
    title: &str,
    case_name: &str,
    results: &Results<Case>,
) -> Table {
    let head = [
        case_name,
        "system",
        "all nodes us",
        "leader us, user + kernel",
        "followers us, user + kernel",
        "load generator us, user + kernel",
        "switches of nodes",
        "KiB written",
        "disk flushes",
        "used by others",
    ];
    let mut shown = table(title, &head);
    for ((case, system), measured) in results {
        let each = |figure: &dyn Fn(&Measured) -> u64| {
            short(rounds(measured, |one| one.each(figure(one))).median())
        };
        let halves = |part: &dyn Fn(&Measured) -> Usage| {
            let user = each(&|one| part(one).user_us);
            format!("{user} + {}", each(&|one| part(one).kernel_us))
        };
        let kib = rounds(measured, |one| one.each(one.written_bytes) / 1024.0);
        shown.rows.push(vec![
            case.to_string(),
            system.name().to_owned(),
            rounds(measured, |one| one.each(one.nodes().cpu_us())).show(),
            halves(&|one| one.leader),
            halves(&|one| one.followers),
            halves(&|one| one.load),
            each(&|one| one.nodes().switches),
            short(kib.median()),
            each(&|one| one.flushes),
            format!(
                "{:.0} %",
                rounds(measured, Measured::others_percent).median()
            ),
        ]);
        if *system != System::Raft3d {
            let cost = |one: &Measured| one.each(one.nodes().cpu_us());
            let mut row = vec![String::new(); head.len()];
            let cells = [
                case.to_string(),
                format!("raft3d / {}", system.name()),
                times(&ratio_to(*system, results, *case, cost)),
            ];
            for (place, cell) in row.iter_mut().zip(cells) {
                *place = cell;
            }
            shown.rows.push(row);
        }
    }
    shown
}

/// A ratio as a reader wants it.
#[must_use]
pub fn times(ratio: &Rounds) -> String {
    format!("{} x", ratio.show())
}
