//! Clocks that jump: the log's time stays near the clocks that are right, and where it is ahead of
//! all of them, writes go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use raft3d_core::state::meta;
use raft3d_engine::raft::api::{Consistency, ReadOptions};

use crate::cluster::{Cluster, Tune, accepted, wait_for};

/// A jump that no deadline bears.
const HOUR_MS: i64 = 3_600_000;

/// By how much the log's time is ahead of this machine's clock, in milliseconds.
async fn log_time_ahead_ms(cluster: &Cluster, at: usize) -> i64 {
    let options = ReadOptions {
        consistency: Consistency::Linearizable,
        min_revision: None,
        timeout: Duration::from_secs(20),
    };
    let view = cluster.node(at).read(options).await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    meta::log_time_ms(&view).unwrap() as i64 - now.as_millis() as i64
}

/// Found on real processes: a leader stamped entries with a clock that had just jumped by a
/// minute, and the cluster then took every write for too late until that minute was over.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_clock_jumps_does_not_take_the_log_s_time_along() {
    let mut cluster = Cluster::new(3, Tune::default());
    let mut clocks = Vec::new();
    for at in 0..3 {
        cluster.tune.clock_jump_ms = Arc::new(AtomicI64::new(0));
        clocks.push(Arc::clone(&cluster.tune.clock_jump_ms));
        cluster.start(at).await;
    }
    cluster.bootstrap(0).await.unwrap();
    let leader = cluster.leader().await;
    accepted(&cluster.printer(leader, "before").await.unwrap());
    clocks[leader].store(HOUR_MS, Ordering::Relaxed);
    for at in 0..3 {
        let id = format!("jumped-{at}");
        accepted(&cluster.printer(at, &id).await.unwrap());
    }
    assert!(log_time_ahead_ms(&cluster, leader).await < HOUR_MS / 2);
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    wait_for("another leader", || {
        let led_by = cluster.node(others[0]).status().leader;
        led_by.is_some_and(|id| id != cluster.node(leader).id())
    })
    .await;
    // It is right again, and leads again if it is to.
    clocks[leader].store(0, Ordering::Relaxed);
    accepted(&cluster.printer(leader, "after").await.unwrap());
    cluster.settle().await;
}

/// As where all clocks were set from the same wrong source, or a log comes from a machine whose
/// clock was ahead.
#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_where_the_log_s_time_is_ahead_of_all_clocks() {
    let cluster = Cluster::started(3, Tune::default()).await;
    cluster.tune.clock_jump_ms.store(HOUR_MS, Ordering::Relaxed);
    accepted(&cluster.printer(0, "ahead").await.unwrap());
    assert!(log_time_ahead_ms(&cluster, 0).await > HOUR_MS / 2);
    cluster.tune.clock_jump_ms.store(0, Ordering::Relaxed);
    for at in 0..3 {
        accepted(&cluster.printer(at, &format!("back-{at}")).await.unwrap());
    }
    for at in 0..3 {
        cluster.kill(at).await;
    }
    cluster.start_all().await;
    for at in 0..3 {
        accepted(
            &cluster
                .printer(at, &format!("restarted-{at}"))
                .await
                .unwrap(),
        );
    }
    cluster.settle().await;
}
