//! Answers of the log before its sync.

use std::sync::Arc;
use std::time::Duration;

use openraft::storage::RaftLogStorage;
use raft3d_engine::sabotage::Bug;

use crate::Turn;
use crate::cluster::PATIENCE;
use crate::logs::{TestDisk, append, append_only, entry, open_on, vote};

/// Shorter than any sync of a disk that is held: what is not there by then waits for the sync.
const HELD: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn an_append_is_answered_before_its_sync() {
    let turn = Turn::new();
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(TestDisk::default()));
    let mut store = open_on(dir.path(), &disk);
    append(&mut store, vec![entry(1, 0, vec![1])]).await;
    disk.hold();
    let mut honest = Box::pin(append_only(&mut store, vec![entry(1, 1, vec![2])]).await);
    assert!(tokio::time::timeout(HELD, &mut honest).await.is_err());
    disk.release();
    honest.await.unwrap();
    turn.arm(Bug::ReplyBeforeFsync);
    disk.hold();
    let early = append_only(&mut store, vec![entry(1, 2, vec![3])]).await;
    let early = tokio::time::timeout(PATIENCE, early).await;
    early
        .expect("the answer does not wait for the sync")
        .unwrap();
    // A vote is another bug's business.
    let mut voter = store.clone();
    let vote = vote(9);
    assert!(
        tokio::time::timeout(HELD, voter.save_vote(&vote))
            .await
            .is_err()
    );
    disk.release();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_is_reported_before_its_sync() {
    let turn = Turn::new();
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(TestDisk::default()));
    let mut store = open_on(dir.path(), &disk);
    append(&mut store, vec![entry(1, 0, vec![1])]).await;
    turn.arm(Bug::VoteBeforeSync);
    disk.hold();
    let voted = vote(9);
    let early = tokio::time::timeout(PATIENCE, store.save_vote(&voted)).await;
    early
        .expect("the answer does not wait for the sync")
        .unwrap();
    let append = append_only(&mut store, vec![entry(9, 1, vec![2])]).await;
    let append = tokio::time::timeout(HELD, append).await;
    assert!(append.is_err(), "entries are another bug's business");
    disk.release();
}
