//! From `kill -9` of the leader to the next accepted write.

use std::time::Instant;

use anyhow::Result;
use raft3d_checkers::report::Table;
use raft3d_cluster_tests::failover::times_to_accepted_write;

use crate::setting::{Setting, bar, remove};
use crate::stats::{Rounds, short};
use crate::systems::{Cluster, System};
use crate::table::table;
use crate::targets::Target;

/// Longest median, in seconds.
const MEDIAN_MOST_S: f64 = 1.5;
/// Longest of all, in seconds.
const WORST_MOST_S: f64 = 3.0;

/// Kills the leader `kills` times; answers the seconds of each outage. A write is tried on both
/// survivors at once, every 20 ms; the first that is accepted ends the outage.
///
/// # Errors
/// The cluster does not come back.
pub fn run(setting: &Setting, kills: usize) -> Result<Rounds> {
    let folder = setting.folder("failover")?;
    let mut cluster = Cluster::start(setting.launch(System::Raft3d)?, &folder)?;
    let bar = bar("failover", kills as u64);
    let mut outages = Rounds::default();
    for kill in 0..kills {
        let leader = cluster.leader()?;
        let survivors = cluster.running().filter(|place| *place != leader);
        let survivors = survivors.map(|place| cluster.address(place));
        let survivors: Vec<_> = survivors.collect::<Result<_>>()?;
        let killed_at = Instant::now();
        cluster.kill9(leader);
        let waited = times_to_accepted_write(&survivors, &format!("kill-{kill}"), killed_at);
        if let Some(first) = waited.into_iter().min() {
            outages.push(first.as_secs_f64());
        }
        cluster.restart(leader)?;
        cluster.wait_ready(leader)?;
        cluster.wait_level()?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    drop(cluster);
    remove(&folder)?;
    Ok(outages)
}

/// What was measured.
#[must_use]
pub fn tables(outages: &Rounds) -> Vec<Table> {
    let mut shown = table(
        "Leader killed to next accepted write, seconds",
        &["kills", "median", "shortest", "longest"],
    );
    shown.rows.push(vec![
        outages.len().to_string(),
        short(outages.median()),
        short(outages.min()),
        short(outages.max()),
    ]);
    vec![shown]
}

/// What must be reached.
#[must_use]
pub fn targets(outages: &Rounds) -> Vec<Target> {
    let met = outages.median() <= MEDIAN_MOST_S && outages.max() <= WORST_MOST_S;
    vec![Target::new(
        format!("failover, {} kills", outages.len()),
        format!("at most {MEDIAN_MOST_S} s median, {WORST_MOST_S} s worst"),
        format!(
            "{} s median, {} s worst",
            short(outages.median()),
            short(outages.max())
        ),
        met,
    )]
}
