//! Replicas whose state is not what the majority has.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use raft3d_engine::raft::api::{Consistency, ReadError, Role, WriteError};

use crate::cluster::{Cluster, Tune, accepted, wait_for};

fn quick() -> Tune {
    Tune {
        checkpoint_ms: 300,
        ..Tune::default()
    }
}

/// Kills a follower, makes a write without it, and brings it back with another answer to that
/// write under the same keys.
async fn corrupt(cluster: &Cluster, at: usize, id: &str) {
    cluster.kill(at).await;
    let through = cluster.running()[0];
    let revision = cluster.printer(through, id).await.unwrap().revision;
    cluster
        .start_denying(at, BTreeSet::from([revision.0]))
        .await;
}

fn why(cluster: &Cluster, at: usize) -> String {
    cluster.node(at).status().not_ready.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_replica_is_fenced_and_rebuilt() {
    let cluster = Cluster::started(3, quick()).await;
    cluster.printer(0, "p1").await.unwrap();
    let odd = cluster.follower().await;
    let odd_id = cluster.node(odd).id();
    corrupt(&cluster, odd, "p2").await;
    // An odd leader hands over before it closes.
    let _ = cluster
        .node(cluster.leader().await)
        .transfer_leader(odd_id)
        .await;
    wait_for("the odd one is fenced", || {
        why(&cluster, odd).contains("delete the folder `state`")
    })
    .await;
    wait_for("another one leads", || {
        let leads = |at: &usize| cluster.node(*at).status().role == Role::Leader;
        (0..3).filter(|at| *at != odd).any(|at| leads(&at))
    })
    .await;
    serves_nothing(&cluster, odd).await;

    // The majority goes on, and names it.
    let other = (odd + 1) % 3;
    accepted(&cluster.printer(other, "p3").await.unwrap());
    assert_eq!(cluster.printers(other).await.unwrap(), ["p1", "p2", "p3"]);
    let members = cluster.node(other).cluster_status().await.members;
    let named = members.iter().find(|m| m.node_id == odd_id).unwrap();
    let said = named.status.clone().unwrap().not_ready.unwrap();
    assert!(said.contains("differs from the majority"), "{said}");

    // A restart forgets nothing.
    cluster.kill(odd).await;
    cluster.start(odd).await;
    serves_nothing(&cluster, odd).await;

    // The documented way back.
    cluster.kill(odd).await;
    fs::remove_dir_all(cluster.slots[odd].dir.join("state")).unwrap();
    cluster.start(odd).await;
    assert_eq!(cluster.printers(odd).await.unwrap(), ["p1", "p2", "p3"]);
    accepted(&cluster.printer(odd, "p4").await.unwrap());
    cluster.settle().await;
}

async fn serves_nothing(cluster: &Cluster, at: usize) {
    for consistency in [Consistency::Linearizable, Consistency::Stale] {
        let read = cluster.printers_with(at, consistency, None).await;
        assert!(
            matches!(read, Err(ReadError::Unavailable { .. })),
            "{read:?}"
        );
    }
    let write = cluster.printer(at, "never").await;
    assert!(
        matches!(write, Err(WriteError::Unavailable { .. })),
        "{write:?}"
    );
}

/// Of two, none is the odd one: writes stop, and go on when one of the states is rebuilt.
#[tokio::test(flavor = "multi_thread")]
async fn writes_stop_without_a_majority_and_go_on_after_a_rebuild() {
    let mut cluster = Cluster::started(1, quick()).await;
    cluster.printer(0, "p1").await.unwrap();
    let second = cluster.join(0).await;
    let id = cluster.node(second).id();
    cluster.node(0).promote(id, None).await.unwrap();
    let revision = cluster.printer(0, "p2").await.unwrap().revision;
    cluster.kill(second).await;
    fs::remove_dir_all(cluster.slots[second].dir.join("state")).unwrap();
    cluster
        .start_denying(second, BTreeSet::from([revision.0]))
        .await;
    for at in [0, second] {
        wait_for("writes are stopped", || {
            why(&cluster, at).contains("no majority of the voters agrees")
        })
        .await;
    }
    // At once, and on every node: nothing was proposed, and what the matter is.
    for at in [0, second] {
        let begun = Instant::now();
        let write = cluster.printer(at, "never").await;
        let Err(WriteError::Stopped { reason }) = &write else {
            panic!("{write:?}");
        };
        assert!(
            reason.contains("no majority of the voters agrees"),
            "{reason}"
        );
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
    cluster.kill(second).await;
    fs::remove_dir_all(cluster.slots[second].dir.join("state")).unwrap();
    cluster.start(second).await;
    wait_for("the alarm has ended", || {
        [0, second].iter().all(|at| why(&cluster, *at).is_empty())
    })
    .await;
    accepted(&cluster.printer(second, "p3").await.unwrap());
    assert_eq!(cluster.printers(second).await.unwrap(), ["p1", "p2", "p3"]);
    wait_for("nothing is wrong any more", || {
        [0, second].iter().all(|at| why(&cluster, *at).is_empty())
    })
    .await;
    cluster.settle().await;
}
