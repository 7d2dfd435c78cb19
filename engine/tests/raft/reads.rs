//! Reads: never older than what was acknowledged before they began.

use std::sync::Arc;
use std::time::Duration;

use raft3d_core::Revision;
use raft3d_engine::raft::api::{Consistency, ReadError, ReadOptions};

use crate::cluster::{Cluster, Tune};

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_never_shows_less_than_was_acknowledged() {
    let cluster = Arc::new(Cluster::started(3, Tune::default()).await);
    for n in 0..40_usize {
        let id = format!("p{n:02}");
        cluster.printer(n % 3, &id).await.unwrap();
        // Many at once share a round.
        let reads = (0..6).map(|at| {
            let cluster = Arc::clone(&cluster);
            async move { cluster.printers(at % 3).await.unwrap() }
        });
        for seen in futures_util::future::join_all(reads).await {
            assert!(seen.contains(&id), "{id} was acknowledged and is not seen");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn min_revision_waits_and_says_where_it_is() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let follower = cluster.follower().await;
    let written = cluster.printer(follower, "p1").await.unwrap().revision;
    let stale = Consistency::Stale;
    let seen = cluster
        .printers_with(follower, stale, Some(written))
        .await
        .unwrap();
    assert_eq!(seen, ["p1"]);
    let wanted = Revision(written.0 + 1_000);
    let options = ReadOptions {
        consistency: stale,
        min_revision: Some(wanted),
        timeout: Duration::from_millis(100),
    };
    match cluster.node(follower).read(options).await {
        Err(ReadError::Behind {
            applied,
            wanted: asked,
        }) => {
            assert!(applied >= written && asked == wanted);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_only_stale_reads_answer() {
    let cluster = Cluster::started(3, Tune::default()).await;
    cluster.printer(0, "p1").await.unwrap();
    cluster.settle().await;
    let left = cluster.leader().await;
    for at in cluster.running().into_iter().filter(|at| *at != left) {
        cluster.kill(at).await;
    }
    let options = ReadOptions {
        consistency: Consistency::Linearizable,
        min_revision: None,
        timeout: Duration::from_millis(1_500),
    };
    let read = cluster.node(left).read(options).await;
    assert!(matches!(read, Err(ReadError::NoLeader)), "{read:?}");
    let stale = cluster
        .printers_with(left, Consistency::Stale, None)
        .await
        .unwrap();
    assert_eq!(stale, ["p1"]);
    // After a restart it cannot know what it had shown: closed until a majority is there again.
    cluster.kill(left).await;
    cluster.start(left).await;
    let options = ReadOptions {
        consistency: Consistency::Stale,
        ..options
    };
    let read = cluster.node(left).read(options).await;
    assert!(
        matches!(read, Err(ReadError::Unavailable { .. })),
        "{read:?}"
    );
    assert!(cluster.node(left).status().not_ready.is_some());
    for at in (0..3).filter(|at| *at != left) {
        cluster.start(at).await;
    }
    assert_eq!(cluster.printers(left).await.unwrap(), ["p1"]);
}
