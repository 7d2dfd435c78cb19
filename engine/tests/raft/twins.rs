//! Two processes with copies of one data folder: one of them counts, the other ends.

use std::fs;
use std::path::Path;
use std::time::Duration;

use raft3d_engine::raft::api::Role;

use crate::cluster::{Cluster, PATIENCE, Tune, wait_for};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Starts the node at `clone`, and waits until it has ended. Answers why.
async fn ends(cluster: &Cluster, clone: usize) -> String {
    let node = cluster.start(clone).await;
    let fault = tokio::time::timeout(PATIENCE, node.fault()).await;
    let why = fault.expect("the clone runs on");
    drop(node);
    cluster.kill(clone).await;
    why
}

/// Three nodes of which a follower is stopped, its place, and that of a copy of it that never ran.
async fn with_a_clone() -> (Cluster, usize, usize) {
    let mut cluster = Cluster::started(3, Tune::default()).await;
    cluster.printer(0, "p1").await.unwrap();
    let original = cluster.follower().await;
    let id = cluster.node(original).id();
    cluster.kill(original).await;
    let clone = cluster.add_slot(Some(id));
    copy(&cluster.slots[original].dir, &cluster.slots[clone].dir);
    (cluster, original, clone)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_with_one_folder_the_later_ends() {
    let (cluster, original, clone) = with_a_clone().await;
    let id = cluster.slots[clone].id.lock().unwrap().unwrap();
    cluster.start(original).await;
    let ready = |at: usize| cluster.node(at).status().not_ready.is_none();
    wait_for("the original is ready", || ready(original)).await;

    // It finds the original at the address that the cluster has for it.
    let why = ends(&cluster, clone).await;
    assert!(why.contains("another process runs with a copy"), "{why}");
    wait_for("the original says so too", || {
        let warnings = cluster.node(original).status().warnings.concat();
        warnings.contains("another process with a copy of this node's data folder")
    })
    .await;
    assert!(ready(original));

    // Where it cannot reach the original, the others tell it; they tell the operator too.
    let addr = |at: usize| cluster.slots[at].addr.clone();
    cluster.net.cut(&addr(clone), &addr(original));
    let why = ends(&cluster, clone).await;
    assert!(why.contains("was there before"), "{why}");
    for at in (0..3).filter(|at| *at != original) {
        let warnings = cluster.node(at).status().warnings.concat();
        let named = format!("data folder of node {id}");
        assert!(warnings.contains(&named), "{warnings}");
    }
    cluster.printer(original, "p2").await.unwrap();
    assert!(ready(original));
    cluster.settle().await;
}

/// The clone has the address that the cluster has for the node, the original has moved and is
/// followed: the clone, which the others dial, neither votes nor acknowledges anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_clone_that_is_dialed_takes_no_part() {
    let (mut cluster, original, clone) = with_a_clone().await;
    cluster.slots[clone].addr = cluster.slots[original].addr.clone();
    cluster.slots[original].addr = "elsewhere:1".to_owned();
    cluster.start(original).await;
    // Of three, one is gone: what the clone acknowledged would be committed.
    let leader = cluster.leader().await;
    let third = (0..3).find(|at| ![leader, original].contains(at)).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.kill(third).await;
    let before = cluster.node(leader).status().applied;
    let write = {
        let node = cluster.node(leader);
        let cluster = &cluster;
        async move {
            let written = cluster.printer(leader, "p2");
            let _ = tokio::time::timeout(Duration::from_secs(3), written).await;
            node.status().applied
        }
    };
    let (why, after) = tokio::join!(ends(&cluster, clone), write);
    assert!(why.contains("was there before"), "{why}");
    assert_eq!(after, before, "the clone acknowledged a write");
    let warnings = cluster.node(original).status().warnings.concat();
    assert!(warnings.contains("another process"), "{warnings}");
    assert_ne!(cluster.node(original).status().role, Role::Stopped);
    cluster.start(third).await;
    cluster.printer(third, "p3").await.unwrap();
}

/// A node that was killed and is started again at once is no clone.
#[tokio::test(flavor = "multi_thread")]
async fn a_quick_restart_is_not_refused() {
    let cluster = Cluster::started(3, Tune::default()).await;
    for round in 0..5 {
        let at = round % 3;
        cluster.kill(at).await;
        cluster.start(at).await;
        cluster.printer(at, &format!("p{round}")).await.unwrap();
        let status = cluster.node(at).status();
        assert_eq!(status.warnings, Vec::<String>::new());
    }
    cluster.settle().await;
}
