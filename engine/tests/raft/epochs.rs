//! Raising the engine epoch while programs are replaced one after the other.

use std::time::Duration;

use raft3d_core::Epochs;
use raft3d_engine::raft::api::MembershipError;
use raft3d_engine::raft::machine::ApplyOptions;

use crate::cluster::{Cluster, PATIENCE, Tune, accepted, wait_for};

/// More than two looks of the leader at what the voters support.
const LOOKS: Duration = Duration::from_millis(2_500);

fn epochs(cluster: &Cluster) -> Vec<u32> {
    let running = cluster.running().into_iter();
    running
        .map(|at| cluster.node(at).status().engine_epoch)
        .collect()
}

/// Three nodes whose programs support the epochs from 1 to these.
async fn started(newest: [u32; 3]) -> Cluster {
    let cluster = Cluster::new(3, Tune::default());
    for (at, newest) in newest.into_iter().enumerate() {
        cluster.start_supporting(at, newest).await;
    }
    let all = (0..3).map(|at| cluster.bootstrap(at));
    for done in futures_util::future::join_all(all).await {
        done.unwrap();
    }
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_is_raised_when_every_voter_supports_it() {
    let cluster = started([2, 2, 1]).await;
    if cluster.leader().await == 2 {
        let to = cluster.node(0).id();
        cluster.node(2).transfer_leader(to).await.unwrap();
    }
    accepted(&cluster.printer(2, "p1").await.unwrap());
    tokio::time::sleep(LOOKS).await;
    cluster.settle().await;
    assert_eq!(epochs(&cluster), [1, 1, 1], "one voter does not support 2");
    cluster.stop(2).await;
    tokio::time::sleep(LOOKS).await;
    assert_eq!(epochs(&cluster), [1, 1], "one voter says nothing");
    cluster.start_supporting(2, 2).await;
    wait_for("epoch 2", || epochs(&cluster) == [2, 2, 2]).await;
    accepted(&cluster.printer(0, "p2").await.unwrap());
    cluster.settle().await;

    // The way back is closed, whatever the node still has of the log.
    cluster.stop(1).await;
    let old = ApplyOptions {
        epochs: Epochs {
            oldest: 1,
            newest: 1,
        },
        ..ApplyOptions::default()
    };
    let refused = cluster.open(1, old).await.err().expect("a refusal");
    let refused = refused.to_string();
    assert!(
        refused.contains("at engine epoch 2, and this program supports epoch 1"),
        "{refused}"
    );
    cluster.start_supporting(1, 3).await;
    accepted(&cluster.printer(1, "p3").await.unwrap());
    tokio::time::sleep(LOOKS).await;
    assert_eq!(epochs(&cluster), [2, 2, 2], "3 is supported by one alone");
    cluster.settle().await;
}

/// By entries, and by a snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_too_old_cannot_join() {
    for snapshot_entries in [10_000, 5] {
        let tune = Tune {
            snapshot_entries,
            log_entries_kept: 0,
            ..Tune::default()
        };
        let mut cluster = Cluster::new(1, tune);
        cluster.start_supporting(0, 2).await;
        cluster.bootstrap(0).await.unwrap();
        wait_for("epoch 2", || epochs(&cluster) == [2]).await;
        for id in 0..20 {
            let id = format!("p{id}");
            accepted(&cluster.printer(0, &id).await.unwrap());
        }
        let purged = || cluster.node(0).status().purged_index > 0;
        let is_purged = snapshot_entries == 5;
        wait_for("a snapshot", || purged() == is_purged).await;
        let at = cluster.join(0).await;
        let fault = tokio::time::timeout(PATIENCE, cluster.node(at).fault()).await;
        let fault = fault.expect("it stops");
        assert!(fault.contains("engine epoch 2"), "{fault}");
        let id = cluster.node(at).id();
        let promoted = cluster.node(0).promote(id, None).await;
        assert!(
            matches!(promoted, Err(MembershipError::Refused { .. })),
            "{promoted:?}"
        );
        let printers = cluster.printers(0).await.unwrap();
        assert_eq!(printers.len(), 20);
    }
}
