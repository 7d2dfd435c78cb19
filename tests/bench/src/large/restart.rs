//! How long a node with many jobs takes from its start to being ready.

use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::setting::{Setting, bar};
use crate::stats::Rounds;
use crate::systems::Cluster;

/// Seconds of each round.
#[derive(Clone, Debug, Default)]
pub(super) struct Restarts {
    /// After `kill -9`.
    pub(super) killed: Rounds,
    /// After being stopped as an operator would.
    pub(super) stopped: Rounds,
}

impl Restarts {
    /// All of them.
    pub(super) fn all(&self) -> Rounds {
        self.killed.and(&self.stopped)
    }
}

/// Restarts one follower again and again.
pub(super) fn measure(setting: &Setting, cluster: &mut Cluster) -> Result<Restarts> {
    let leader = cluster.leader()?;
    let follower = cluster.running().find(|place| *place != leader);
    let follower = follower.context("a cluster without a follower")?;
    let bar = bar("restarts", (setting.rounds * 2) as u64);
    let mut restarts = Restarts::default();
    for _ in 0..setting.rounds {
        cluster.wait_level()?;
        cluster.kill9(follower);
        restarts.killed.push(seconds_to_ready(cluster, follower)?);
        bar.inc(1);
        cluster.wait_level()?;
        cluster.stop(follower)?;
        restarts.stopped.push(seconds_to_ready(cluster, follower)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(restarts)
}

fn seconds_to_ready(cluster: &mut Cluster, place: usize) -> Result<f64> {
    let started = Instant::now();
    cluster.restart(place)?;
    cluster.wait_ready(place)?;
    Ok(started.elapsed().as_secs_f64())
}
