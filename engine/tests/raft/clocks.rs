//! Clocks that jump: the log's time stays near the clocks that are right, and where it is ahead of
//! all of them, writes go on.
#![allow(
    clippy::needless_range_loop,
    reason = "a node's place is its number in the cluster and among the hands"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use raft3d_core::Command;
use raft3d_core::command::{Actor, AdjustClock};
use raft3d_core::state::meta;
use raft3d_engine::raft::api::{Consistency, ReadOptions, WriteError, WriteRequest};

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

const DAY_MS: i64 = 24 * HOUR_MS;

/// A cluster in which each node has a clock of its own, and their hands.
async fn with_hands(count: u64) -> (Cluster, Vec<Arc<AtomicI64>>) {
    let mut cluster = Cluster::new(count, Tune::default());
    let mut hands = Vec::new();
    for at in 0..cluster.slots.len() {
        hands.push(Arc::new(AtomicI64::new(0)));
        start_by(&mut cluster, at, &hands[at]).await;
    }
    cluster.bootstrap(0).await.unwrap();
    (cluster, hands)
}

async fn start_by(cluster: &mut Cluster, at: usize, hand: &Arc<AtomicI64>) {
    cluster.tune.clock_jump_ms = Arc::clone(hand);
    cluster.start(at).await;
}

/// The write is refused for sure, and why.
async fn paused(cluster: &Cluster, at: usize, id: &str) -> String {
    match cluster.printer(at, id).await {
        Err(WriteError::Paused { reason }) => reason,
        other => panic!("expected that no writes are taken: {other:?}"),
    }
}

async fn offers_reads(cluster: &Cluster, at: usize) {
    wait_for("reads are open", || {
        let not_ready = cluster.node(at).status().not_ready;
        not_ready.is_none_or(|reason| reason.contains("takes no writes"))
    })
    .await;
    assert!(!cluster.printers(at).await.unwrap().is_empty());
}

/// One start with a clock some days ahead took log time along for good.
#[tokio::test(flavor = "multi_thread")]
async fn one_node_alone_does_not_stamp_with_a_clock_that_is_days_ahead() {
    let (mut cluster, hands) = with_hands(1).await;
    accepted(&cluster.printer(0, "before").await.unwrap());
    for wrong_ms in [3 * DAY_MS, -3 * DAY_MS] {
        cluster.kill(0).await;
        hands[0].store(wrong_ms, Ordering::Relaxed);
        start_by(&mut cluster, 0, &hands[0]).await;
        let reason = paused(&cluster, 0, "wrong").await;
        assert!(
            reason.contains("--trust-clock") && reason.contains(" h "),
            "{reason}"
        );
        let status = cluster.node(0).status();
        assert!(status.not_ready.is_some_and(|said| said.contains(&reason)));
        offers_reads(&cluster, 0).await;
        assert!(log_time_ahead_ms(&cluster, 0).await < HOUR_MS / 2);
    }
    // It is put right while the node runs.
    hands[0].store(0, Ordering::Relaxed);
    accepted(&cluster.printer(0, "right").await.unwrap());
    // Or it was right all the time, and an operator says so.
    cluster.kill(0).await;
    hands[0].store(3 * DAY_MS, Ordering::Relaxed);
    cluster.tune.trust_clock = true;
    start_by(&mut cluster, 0, &hands[0]).await;
    accepted(&cluster.printer(0, "vouched").await.unwrap());
    assert!(log_time_ahead_ms(&cluster, 0).await > 2 * DAY_MS);
}

/// With one voter away there was no third voice, and no guard.
#[tokio::test(flavor = "multi_thread")]
async fn with_one_voter_away_a_wrong_clock_does_not_take_log_time_along() {
    let (mut cluster, hands) = with_hands(3).await;
    accepted(&cluster.printer(0, "before").await.unwrap());
    cluster.kill(2).await;
    // One of the two comes back with a clock that is ahead: the other one stamps, whoever led.
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    hands[leader].store(3 * DAY_MS, Ordering::Relaxed);
    start_by(&mut cluster, leader, &hands[leader]).await;
    for at in 0..2 {
        let id = format!("one-wrong-{at}");
        accepted(&cluster.printer(at, &id).await.unwrap());
    }
    assert!(log_time_ahead_ms(&cluster, 1 - leader).await < HOUR_MS / 2);
    // Both come back long after the log's last stamp, with clocks that differ: neither stamps.
    for at in 0..2 {
        cluster.kill(at).await;
    }
    hands[1 - leader].store(2 * DAY_MS, Ordering::Relaxed);
    for at in 0..2 {
        start_by(&mut cluster, at, &hands[at]).await;
    }
    for at in 0..2 {
        paused(&cluster, at, "both-wrong").await;
        offers_reads(&cluster, at).await;
    }
    assert!(log_time_ahead_ms(&cluster, 0).await < HOUR_MS / 2);
    // They agree again.
    for at in 0..2 {
        hands[at].store(0, Ordering::Relaxed);
    }
    accepted(&cluster.printer(0, "both-right").await.unwrap());
}

/// A cluster that was off for a weekend goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_weekend_off_a_cluster_of_good_clocks_writes_without_a_flag() {
    let (mut cluster, hands) = with_hands(3).await;
    accepted(&cluster.printer(0, "friday").await.unwrap());
    for at in 0..3 {
        cluster.kill(at).await;
        hands[at].store(60 * HOUR_MS, Ordering::Relaxed);
    }
    for at in 0..3 {
        start_by(&mut cluster, at, &hands[at]).await;
    }
    accepted(&cluster.printer(1, "monday").await.unwrap());
    assert!(log_time_ahead_ms(&cluster, 1).await > 59 * HOUR_MS);
    cluster.settle().await;
}

/// The way back where log time lies in the future: it goes on from there at the clock's pace.
#[tokio::test(flavor = "multi_thread")]
async fn poisoned_log_time_goes_on_at_the_right_pace_after_an_adjustment() {
    let cluster = Cluster::started(3, Tune::default()).await;
    cluster
        .tune
        .clock_jump_ms
        .store(3 * DAY_MS, Ordering::Relaxed);
    accepted(&cluster.printer(0, "poisoned").await.unwrap());
    cluster.tune.clock_jump_ms.store(0, Ordering::Relaxed);
    accepted(&cluster.printer(0, "stands").await.unwrap());
    let follower = cluster.follower().await;
    wait_for("an alarm", || {
        let status = cluster.node(follower).status();
        status.not_ready.is_none()
            && status
                .warnings
                .iter()
                .any(|said| said.contains("log time is 71 h"))
    })
    .await;
    let clock = cluster.node(follower).status().clock;
    let request = WriteRequest {
        command: Command::AdjustClock(AdjustClock {
            offset_ms: clock.log_time_ahead_ms(),
            expected: clock.adjusted_at,
            reason: Some("node 2 was ahead".to_owned()),
        }),
        asked: None,
        actor: Actor {
            name: "ann".to_owned(),
            verified: false,
        },
        idempotency_key: None,
        timeout: Duration::from_secs(20),
    };
    accepted(&cluster.node(follower).write(request).await.unwrap());
    let before_ms = cluster.node(follower).status().clock.log_time_ms;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let first = cluster
        .printer_keyed(0, "keyed", Some("key"))
        .await
        .unwrap();
    let again = cluster
        .printer_keyed(1, "keyed", Some("key"))
        .await
        .unwrap();
    assert!(again.replayed && again.revision == first.revision);
    cluster.settle().await;
    for at in 0..3 {
        let clock = cluster.node(at).status().clock;
        let went_on_ms = clock.log_time_ms - before_ms;
        assert!((300..60_000).contains(&went_on_ms), "{went_on_ms} ms");
        wait_for("the alarm is over", || {
            cluster.node(at).status().warnings.is_empty()
        })
        .await;
    }
    // A restart knows it too.
    for at in 0..3 {
        cluster.kill(at).await;
    }
    cluster.start_all().await;
    accepted(&cluster.printer(2, "restarted").await.unwrap());
    assert!(cluster.node(2).status().warnings.is_empty());
}

/// A laptop that slept for two hours: the node runs on, and nobody has to restart it.
#[tokio::test(flavor = "multi_thread")]
async fn one_node_alone_that_was_suspended_for_hours_writes_again_at_an_operator_s_word() {
    let cluster = Cluster::started(1, Tune::default()).await;
    accepted(&cluster.printer(0, "before").await.unwrap());
    let hand = &cluster.tune.clock_jump_ms;
    hand.store(2 * HOUR_MS, Ordering::Relaxed);
    let reason = paused(&cluster, 0, "too-soon").await;
    for way in [
        "raft3d clock trust",
        "/api/v1/cluster/clock",
        "--trust-clock",
    ] {
        assert!(reason.contains(way), "{reason}");
    }
    cluster.node(0).trust_clock().await;
    assert_eq!(cluster.node(0).status().clock.waits, None);
    accepted(&cluster.printer(0, "after").await.unwrap());
    assert!(log_time_ahead_ms(&cluster, 0).await > HOUR_MS);
}
