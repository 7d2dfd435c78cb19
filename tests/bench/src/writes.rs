//! Writes beside etcd: a new job here, a new key of about a job's size there.

use anyhow::Result;
use raft3d_checkers::report::Table;

use crate::beside::{Results, client_table, cost_table, in_turns, ratio, times};
use crate::load::Work;
use crate::measure::Measured;
use crate::setting::{Setting, bar, leader_first};
use crate::targets::Target;

/// Clients, each with a connection of its own and one request in flight; a single one talks to the
/// leader, more are spread over all nodes.
pub const CLIENTS: [usize; 4] = [1, 16, 64, 256];
/// Writes a second beside etcd's that are the goal with many clients.
const GOAL: f64 = 3.0;
/// Writes a second beside etcd's that must be reached with many clients.
const LEAST: f64 = 2.0;

/// Measures.
///
/// # Errors
/// A cluster cannot be started, or does not serve.
pub fn run(setting: &Setting, clients: &[usize]) -> Result<Results<usize>> {
    let mut results = Results::new();
    let steps = setting.rounds * setting.systems().len() * clients.len();
    let bar = bar("writes", steps as u64);
    in_turns(setting, "writes", |cluster| {
        for clients in clients {
            bar.set_message(format!("{}, {clients} clients", cluster.system().name()));
            let places = leader_first(cluster)?;
            let prefix = format!("w{clients}");
            let spec = setting.spec(cluster, &places, Work::Write, *clients, &prefix)?;
            let measured = Measured::take(cluster, &spec)?;
            let case = (*clients, cluster.system());
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
pub fn tables(results: &Results<usize>) -> Vec<Table> {
    vec![
        client_table(
            "Writes: `POST /api/v1/print_jobs` beside etcd's `Put` (median, range of rounds)",
            "clients",
            results,
        ),
        cost_table("Cost of one write", "clients", results),
    ]
}

/// What must be reached.
#[must_use]
pub fn targets(results: &Results<usize>) -> Vec<Target> {
    let measured: Vec<usize> = results.keys().map(|(clients, _)| *clients).collect();
    let mut targets = Vec::new();
    for clients in CLIENTS
        .into_iter()
        .filter(|clients| measured.contains(clients))
    {
        let speed = ratio(results, clients, |one| one.outcome.per_second());
        let who = if clients == 1 { "client" } else { "clients" };
        let what = format!("job creation, writes a second, {clients} {who}");
        match clients {
            1 => targets.push(Target::new(
                what,
                "no slower than etcd",
                times(&speed),
                speed.median() >= 1.0,
            )),
            64 | 256 => {
                let must = format!("goal {GOAL} x etcd, at least {LEAST} x");
                let goal = speed.median() >= GOAL;
                let target = Target::new(what, must, times(&speed), speed.median() >= LEAST);
                targets.push(if goal { target.with_goal() } else { target });
                let p99 = ratio(results, clients, |one| one.outcome.latency_ms(9_900));
                let what = format!("job creation, p99, {clients} clients");
                let met = p99.median() <= 0.5;
                targets.push(Target::new(what, "at most 0.5 x etcd", times(&p99), met));
            }
            _ => {}
        }
    }
    targets
}
