//! Linearizable reads of single jobs beside etcd's linearizable range of single keys.

use std::fmt;

use anyhow::Result;
use raft3d_checkers::report::Table;

use crate::beside::{Results, client_table, cost_table, in_turns, ratio, times};
use crate::load::Work;
use crate::measure::{Measured, fill};
use crate::setting::{Setting, bar};
use crate::targets::Target;

/// Clients, each with a connection of its own and one request in flight.
const CLIENTS: usize = 64;
/// Jobs, or keys, that are read, at random.
const STORED: u64 = 1_000;
/// Reads a second beside etcd's that must be reached.
const LEAST: f64 = 3.0;

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// The leader alone.
    Leader,
    /// The followers, half of the clients each.
    Followers,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leader => "the leader",
            Self::Followers => "followers",
        })
    }
}

/// Measures.
///
/// # Errors
/// A cluster cannot be started, or does not serve.
pub fn run(setting: &Setting) -> Result<Results<Asked>> {
    let mut results = Results::new();
    let bar = bar(
        "reads",
        (setting.rounds * setting.systems().len() * 2) as u64,
    );
    in_turns(setting, "reads", |cluster| {
        fill(setting, cluster, Work::Write, STORED, "r", |_| {})?;
        for asked in [Asked::Leader, Asked::Followers] {
            bar.set_message(format!("{} of {}", asked, cluster.system().name()));
            let leader = cluster.leader()?;
            let places: Vec<usize> = cluster
                .running()
                .filter(|place| (*place == leader) == (asked == Asked::Leader))
                .collect();
            let work = Work::Read { of: STORED };
            let spec = setting.spec(cluster, &places, work, CLIENTS, "r")?;
            let measured = Measured::take(cluster, &spec)?;
            let case = (asked, cluster.system());
            results.entry(case).or_default().push(measured);
            bar.inc(1);
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(results)
}

/// What was measured.
#[must_use]
pub fn tables(results: &Results<Asked>) -> Vec<Table> {
    vec![
        client_table(
            "Linearizable reads, 64 clients: `GET /api/v1/print_jobs/{id}` beside etcd's `Range`",
            "asked",
            results,
        ),
        cost_table("Cost of one read", "asked", results),
    ]
}

/// What must be reached.
#[must_use]
pub fn targets(results: &Results<Asked>) -> Vec<Target> {
    [Asked::Leader, Asked::Followers]
        .into_iter()
        .map(|asked| {
            let speed = ratio(results, asked, |one| one.outcome.per_second());
            Target::new(
                format!("linearizable reads a second, {asked}, {CLIENTS} clients"),
                format!("at least {LEAST} x etcd"),
                times(&speed),
                speed.median() >= LEAST,
            )
        })
        .collect()
}
