//! Disks that hang and disks without room: seen, bounded, and left behind without a restart.

use std::sync::Arc;
use std::time::Duration;

use openraft::vote::RaftLeaderId;
use raft3d_engine::raft::api::WriteError;
use raft3d_engine::raft::message::{Answer, Ask, SnapshotBegin};
use raft3d_engine::raft::types::{LeaderId, StoredMembership, Vote};

use crate::cluster::{Cluster, Tune, accepted, wait_for};
use crate::power::Power;

/// More than any disk has.
const TOO_MUCH: Option<u64> = Some(u64::MAX / 4);

async fn wait_alarm(cluster: &Cluster, at: usize, part: &str) -> String {
    let said = || alarm(cluster, at).filter(|said| said.contains(part));
    wait_for("an alarm", || said().is_some()).await;
    said().unwrap_or_default()
}

fn alarm(cluster: &Cluster, at: usize) -> Option<String> {
    cluster.node(at).status().not_ready
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_no_writes_and_names_itself_and_reads_go_on() {
    let mut cluster = Cluster::started(1, Tune::default()).await;
    accepted(&cluster.printer(0, "before").await.unwrap());
    cluster.kill(0).await;
    cluster.tune.disk_reserve_bytes = TOO_MUCH;
    cluster.start(0).await;
    let said = wait_alarm(&cluster, 0, "is full").await;
    let folder = cluster.slots[0].dir.display().to_string();
    assert!(said.contains(&folder), "{said}");
    let disk = cluster.node(0).status().disk;
    assert!(disk.free_bytes.is_some() && disk.alarm.is_some());
    let refused = cluster.printer(0, "refused").await;
    let Err(WriteError::Paused { reason }) = refused else {
        panic!("a full disk takes no writes: {refused:?}");
    };
    assert!(reason.contains(&folder), "{reason}");
    assert_eq!(cluster.printers(0).await.unwrap(), ["before"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_with_a_full_disk_hands_over_to_one_with_room() {
    let mut cluster = Cluster::new(3, Tune::default());
    for at in 0..3 {
        cluster.tune.disk_reserve_bytes = TOO_MUCH.filter(|_| at == 0);
        cluster.start(at).await;
    }
    for at in 0..3 {
        cluster.bootstrap(at).await.unwrap();
    }
    for at in 0..3 {
        let id = format!("through-{at}");
        accepted(&cluster.printer(at, &id).await.unwrap());
    }
    assert_ne!(cluster.leader().await, 0);
    wait_alarm(&cluster, 0, "is full").await;
    assert_eq!(cluster.printers(0).await.unwrap().len(), 3, "reads go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_is_seen_and_its_node_leads_no_more() {
    let power = Arc::new(Power::default());
    let tune = Tune {
        power: Some(Arc::clone(&power)),
        ..Tune::default()
    };
    let cluster = Cluster::started(3, tune).await;
    accepted(&cluster.printer(0, "before").await.unwrap());
    let leader = cluster.leader().await;
    power.hold(Some(cluster.slots[leader].dir.clone()));
    accepted(&cluster.printer(leader, "hanging").await.unwrap());
    wait_alarm(&cluster, leader, "hangs").await;
    let waited = cluster.node(leader).status().disk.oldest_unsynced_ms;
    assert!(waited > 2_000, "{waited} ms");
    wait_for("another leader", || {
        let others = (0..3).find(|at| *at != leader).unwrap();
        let leads = cluster.node(others).status().leader;
        leads.is_some_and(|id| id != cluster.node(leader).id())
    })
    .await;
    power.hold(None);
    wait_for("the disk to be sound", || alarm(&cluster, leader).is_none()).await;
    tokio::time::timeout(Duration::from_secs(20), cluster.settle())
        .await
        .unwrap();
}

/// What came of it filled the disk, and with it the log and the state.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_larger_than_the_disk_is_refused_and_one_that_fits_is_taken() {
    let tune = Tune {
        disk_reserve_bytes: Some(1),
        ..Tune::default()
    };
    let cluster = Cluster::started(3, tune).await;
    accepted(&cluster.printer(0, "before").await.unwrap());
    cluster.settle().await;
    let at = cluster.follower().await;
    let status = cluster.node(cluster.leader().await).status();
    let begin = |bytes| {
        Ask::SnapshotBegin(SnapshotBegin {
            vote: Vote {
                leader_id: LeaderId::new(status.term, status.node_id),
                committed: true,
            },
            last_log_id: None,
            membership: StoredMembership::default(),
            bytes,
            transfer: 1,
        })
    };
    let from = (status.node_id, status.incarnation);
    let refused = cluster.ask(from, at, begin(1 << 39)).await;
    let Answer::Failed { reason } = refused else {
        panic!("{refused:?}");
    };
    assert!(
        reason.contains("no room for a snapshot of 512 GiB"),
        "{reason}"
    );
    let folder = cluster.slots[at].dir.clone();
    assert!(reason.contains(&folder.display().to_string()), "{reason}");
    let files = std::fs::read_dir(folder.join("snapshots")).unwrap();
    assert_eq!(files.count(), 0);
    accepted(&cluster.printer(at, "after").await.unwrap());
    let taken = cluster.ask(from, at, begin(1 << 10)).await;
    assert!(
        matches!(taken, Answer::SnapshotNext { offset: 0 }),
        "{taken:?}"
    );
}
