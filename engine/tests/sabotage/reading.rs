//! Reads without the read index, or with one that nobody confirmed.

use std::time::Duration;

use raft3d_core::state::printers;
use raft3d_engine::raft::api::{Consistency, ReadError, ReadOptions};
use raft3d_engine::sabotage::Bug;

use crate::Turn;
use crate::cluster::{Cluster, Tune};

/// A node is cut off, and another one acknowledges a write: how many printers it shows.
async fn cut_off(cluster: &Cluster, cut: usize) -> impl AsyncFn() -> Result<usize, ReadError> {
    cluster.printer(0, "p1").await.unwrap();
    cluster.settle().await;
    cluster.net.isolate(&cluster.slots[cut].addr);
    let other = (0..3).find(|at| *at != cut).unwrap();
    cluster.printer(other, "p2").await.unwrap();
    let node = cluster.node(cut);
    async move || {
        let (consistency, timeout) = (Consistency::Linearizable, Duration::from_millis(1_500));
        let options = ReadOptions {
            consistency,
            min_revision: None,
            timeout,
        };
        let view = node.read(options).await?;
        Ok(printers::list(&view, None, 10).unwrap().len())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_answers_linearizable_reads() {
    let turn = Turn::new();
    let cluster = Cluster::started(3, Tune::default()).await;
    let read = cut_off(&cluster, cluster.follower().await).await;
    let honest = read().await;
    assert!(matches!(honest, Err(ReadError::NoLeader)), "{honest:?}");
    turn.arm(Bug::StaleFollowerRead);
    assert_eq!(read().await.unwrap(), 1, "it does not know of p2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_tells_a_read_index() {
    let turn = Turn::new();
    let cluster = Cluster::started(3, Tune::default()).await;
    let read = cut_off(&cluster, cluster.leader().await).await;
    let honest = read().await;
    assert!(matches!(honest, Err(ReadError::NoLeader)), "{honest:?}");
    turn.arm(Bug::UnconfirmedReadIndex);
    assert_eq!(read().await.unwrap(), 1, "it does not know of p2");
}
