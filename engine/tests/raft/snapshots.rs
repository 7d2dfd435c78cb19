//! Nodes that are too far behind for the log.

use crate::cluster::{Cluster, Tune, wait_for};

fn small() -> Tune {
    Tune {
        snapshot_entries: 50,
        log_entries_kept: 10,
        ..Tune::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_far_behind_gets_a_snapshot() {
    let cluster = Cluster::started(3, small()).await;
    let late = cluster.follower().await;
    cluster.kill(late).await;
    let through = cluster.leader().await;
    for n in 0..400 {
        cluster.printer(through, &format!("p{n:03}")).await.unwrap();
    }
    let leader = cluster.node(cluster.leader().await);
    wait_for("the log is purged", || leader.status().purged_index > 100).await;
    cluster.start(late).await;
    assert_eq!(cluster.printers(late).await.unwrap().len(), 400);
    // Read through a view, the rows may be there before the status says where they came from.
    let node = cluster.node(late);
    wait_for("the snapshot is told", || node.status().snapshot_index > 0).await;
    // Whoever holds a node keeps its folder locked.
    drop(node);
    cluster.settle().await;
    // What it got is durable.
    cluster.kill(late).await;
    cluster.start(late).await;
    assert_eq!(cluster.printers(late).await.unwrap().len(), 400);
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_by_a_snapshot() {
    let mut cluster = Cluster::started(1, small()).await;
    for n in 0..300 {
        cluster.printer(0, &format!("p{n:03}")).await.unwrap();
    }
    let first = cluster.node(0);
    wait_for("the log is purged", || first.status().purged_index > 100).await;
    let joined = cluster.join(0).await;
    assert_eq!(cluster.printers(joined).await.unwrap().len(), 300);
    let id = cluster.node(joined).id();
    first.promote(id, None).await.unwrap();
    cluster.printer(joined, "after").await.unwrap();
    cluster.settle().await;
}
