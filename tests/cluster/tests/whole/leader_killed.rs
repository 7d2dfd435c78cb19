//! `kill -9` of the leader under load.

use std::time::{Duration, Instant};

use raft3d_cluster_tests::failover::{OUTAGE_MAX, times_to_accepted_write};
use raft3d_cluster_tests::{Cluster, Options, verify};

use crate::support::{load, open_large_shop};

/// How long load may take to get some more writes through.
const PROGRESS_PATIENCE: Duration = Duration::from_secs(60);

/// Kills the leader and `others` more nodes of `size` under load, and brings them back.
#[track_caller]
fn survives(name: &str, size: usize, others: usize) {
    let mut cluster = Cluster::start(name, Options::nodes(size));
    open_large_shop(&cluster.client(0));
    let load = load(&cluster, "load");
    load.wait_more(200, PROGRESS_PATIENCE);

    let mut victims = vec![cluster.leader()];
    let followers: Vec<usize> = cluster
        .running()
        .filter(|node| *node != victims[0])
        .collect();
    victims.extend(followers.into_iter().take(others));
    let killed_at = Instant::now();
    cluster.kill9_all(&victims);
    let survivors: Vec<_> = cluster
        .running()
        .map(|node| cluster.http_addr(node))
        .collect();
    for waited in times_to_accepted_write(&survivors, "probe", killed_at) {
        println!("{name}: a survivor accepted a write {waited:?} after the kill");
        assert!(waited < OUTAGE_MAX);
    }
    load.wait_more(100, PROGRESS_PATIENCE);

    cluster.restart_all(&victims);
    load.wait_more(100, PROGRESS_PATIENCE);
    let report = load.finish();
    println!(
        "{name}: {} writes acknowledged, {} retries, {} unknown",
        report.acknowledged.len(),
        report.retries,
        report.unknown.len()
    );
    assert_eq!(report.refused, []);
    verify::check(&cluster, &report);
}

#[test]
fn three_nodes_lose_their_leader() {
    survives("leader-killed-3", 3, 0);
}

#[test]
fn five_nodes_lose_their_leader_and_one_more() {
    survives("leader-killed-5", 5, 1);
}
