//! Reads without the read index, or with one that nobody confirmed.

use std::time::Duration;

use raft3d_core::state::printers;
use raft3d_engine::raft::api::{Consistency, ReadError, ReadOptions};
use raft3d_engine::sabotage::Bug;

use crate::Turn;
use crate::cluster::{Cluster, Tune};

/// The node `cut` is cut off, and another one acknowledges a write: with `bug` it shows less.
async fn shows_less_with(bug: Bug, turn: &Turn, cluster: &Cluster, cut: usize) {
    cluster.printer(0, "p1").await.unwrap();
    cluster.settle().await;
    cluster.net.isolate(&cluster.slots[cut].addr);
    let other = (0..3).find(|at| *at != cut).unwrap();
    cluster.printer(other, "p2").await.unwrap();
    let read = || async {
        let (consistency, timeout) = (Consistency::Linearizable, Duration::from_millis(1_500));
        let options = ReadOptions {
            consistency,
            min_revision: None,
            timeout,
        };
        let view = cluster.node(cut).read(options).await?;
        Ok::<_, ReadError>(printers::list(&view, None, 10).unwrap().len())
    };
    let honest = read().await;
    assert!(matches!(honest, Err(ReadError::NoLeader)), "{honest:?}");
    turn.arm(bug);
    assert_eq!(read().await.unwrap(), 1, "it does not know of p2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_answers_linearizable_reads() {
    let (turn, cluster) = (Turn::new(), Cluster::started(3, Tune::default()).await);
    let cut = cluster.follower().await;
    shows_less_with(Bug::StaleFollowerRead, &turn, &cluster, cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_tells_a_read_index() {
    let (turn, cluster) = (Turn::new(), Cluster::started(3, Tune::default()).await);
    let cut = cluster.leader().await;
    shows_less_with(Bug::UnconfirmedReadIndex, &turn, &cluster, cut).await;
}
