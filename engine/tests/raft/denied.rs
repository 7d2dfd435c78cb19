//! Denied entries are remembered: by whoever builds its state anew, and by whoever joins.

use std::collections::BTreeSet;
use std::fs;

use raft3d_core::{RejectionKind, Response};
use raft3d_engine::raft::api::DeniedStatus;

use crate::cluster::{Cluster, Tune, accepted, wait_for};

/// Entries that are denied from the next one on: elections and checkpoints take some of them.
const DENIED: u64 = 12;
/// Writes until all of them are passed.
const WRITES: u64 = 20;

fn quick() -> Tune {
    Tune {
        checkpoint_ms: 300,
        ..Tune::default()
    }
}

fn denied(cluster: &Cluster, at: usize) -> Vec<DeniedStatus> {
    cluster.node(at).status().denied
}

fn is_fenced(cluster: &Cluster, at: usize) -> bool {
    let why = cluster.node(at).status().not_ready.unwrap_or_default();
    why.contains("differs from the majority")
}

async fn delete_state(cluster: &Cluster, at: usize) {
    cluster.kill(at).await;
    fs::remove_dir_all(cluster.slots[at].dir.join("state")).unwrap();
}

/// Three nodes that deny some entries, as the operators told all of them; answers how many writes were
/// refused for it.
async fn denying(cluster: &Cluster) -> usize {
    let next = cluster.printer(0, "before").await.unwrap().revision.0 + 1;
    let indexes: BTreeSet<u64> = (next..next + DENIED).collect();
    for at in 0..3 {
        cluster.kill(at).await;
    }
    for at in 0..3 {
        cluster.start_denying(at, indexes.clone()).await;
    }
    let mut refused = 0;
    for n in 0..WRITES {
        let outcome = cluster.printer(n as usize % 3, &format!("p{n}")).await;
        if let Response::Rejected(rejection) = &outcome.unwrap().response {
            assert_eq!(rejection.kind, RejectionKind::PolicyFailed);
            assert!(rejection.message.contains("--deny-at"));
            refused += 1;
        }
    }
    assert!(refused > 0);
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_entry_stays_denied_where_it_is_applied_again() {
    let mut cluster = Cluster::started(3, quick()).await;
    let refused = denying(&cluster).await;
    // The log records it, without anybody's doing.
    for at in 0..3 {
        wait_for("the denials are recorded", || {
            let denied = denied(&cluster, at);
            denied.len() >= refused && denied.iter().all(|denied| denied.recorded)
        })
        .await;
    }
    let recorded = denied(&cluster, 0);
    cluster.settle().await;

    // The documented rebuild, without the flag.
    for at in 0..3 {
        delete_state(&cluster, at).await;
        cluster.start(at).await;
        accepted(&cluster.printer(at, &format!("after-{at}")).await.unwrap());
        assert_eq!(denied(&cluster, at), recorded);
    }
    cluster.settle().await;

    // An empty folder gets the whole log, and asks before it applies it.
    let joined = cluster.join(0).await;
    wait_for("the new node has applied the log", || {
        cluster.node(joined).status().not_ready.is_none()
    })
    .await;
    assert_eq!(denied(&cluster, joined), recorded);
    accepted(&cluster.printer(joined, "by-the-new").await.unwrap());
    // Whoever differs at the next checkpoint would be fenced.
    let checkpoint = cluster.node(0).status().applied.0 + 1;
    wait_for("a checkpoint", || {
        cluster.node(joined).status().applied.0 >= checkpoint
    })
    .await;
    cluster.settle().await;
    assert!(!(0..=joined).any(|at| is_fenced(&cluster, at)));
}

/// Before the log records it, this state's own word counts after a crash; alone it makes nobody deny.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_alone_denied_is_not_recorded_and_goes_with_its_state() {
    let cluster = Cluster::started(3, quick()).await;
    cluster.printer(0, "p1").await.unwrap();
    let odd = cluster.follower().await;
    cluster.kill(odd).await;
    let through = cluster.running()[0];
    let revision = cluster.printer(through, "p2").await.unwrap().revision;
    let indexes = BTreeSet::from([revision.0]);
    cluster.start_denying(odd, indexes).await;
    wait_for("the odd one is fenced", || is_fenced(&cluster, odd)).await;
    let own = denied(&cluster, odd);
    assert!(own.iter().all(|d| d.entry.index == revision && !d.recorded));
    assert_eq!(own.len(), 1);
    // After a restart without the flag it still knows what its state did.
    cluster.kill(odd).await;
    cluster.start(odd).await;
    assert_eq!(denied(&cluster, odd), own);
    delete_state(&cluster, odd).await;
    cluster.start(odd).await;
    assert_eq!(cluster.printers(odd).await.unwrap(), ["p1", "p2"]);
    assert_eq!(denied(&cluster, odd), []);
    assert_eq!(denied(&cluster, through), []);
    cluster.settle().await;
}
