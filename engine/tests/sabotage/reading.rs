//! Reads without the read index.

use std::time::Duration;

use raft3d_core::state::printers;
use raft3d_engine::raft::api::{Consistency, ReadError, ReadOptions};
use raft3d_engine::sabotage::Bug;

use crate::Turn;
use crate::cluster::{Cluster, Tune};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_answers_linearizable_reads() {
    let turn = Turn::new();
    let cluster = Cluster::started(3, Tune::default()).await;
    cluster.printer(0, "p1").await.unwrap();
    cluster.settle().await;
    let cut = cluster.follower().await;
    cluster.net.isolate(&cluster.slots[cut].addr);
    cluster.printer(cluster.leader().await, "p2").await.unwrap();
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
    turn.arm(Bug::StaleFollowerRead);
    assert_eq!(read().await.unwrap(), 1, "it does not know of p2");
}
