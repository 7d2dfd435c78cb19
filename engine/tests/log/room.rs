//! A disk that hangs, and one without room for the next segment.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use raft3d_engine::storage::log::{Disk, LogOptions, LogStore};

use crate::support::{
    TestDisk, append, append_only, entries, entry, open_on, options, segment_files,
};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited too long for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_write_that_waits_for_its_sync_shows_how_long() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(TestDisk::default()));
    let few = LogOptions {
        queue_entries_max: 8,
        ..options()
    };
    let mut store = LogStore::open_on(dir.path(), few, Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
    append(&mut store, vec![entry(1, 0, vec![])]).await;
    wait_for("the log to rest", || {
        store.health().oldest_unsynced.is_none()
    })
    .await;
    disk.hold();
    let first = append_only(&mut store, vec![entry(1, 1, vec![])]).await;
    disk.wait_for_sync();
    let aged = || store.health().oldest_unsynced > Some(Duration::from_millis(100));
    wait_for("the write to have waited", aged).await;
    assert!(!store.health().is_backlogged);
    // What waits behind it is counted before an append would have to wait for the queue.
    let mut waiting = Vec::new();
    for index in [2, 3] {
        waiting.push(append_only(&mut store, vec![entry(1, index, vec![])]).await);
    }
    assert!(store.health().is_backlogged);
    disk.release();
    first.await.unwrap();
    for answer in waiting {
        answer.await.unwrap();
    }
    wait_for("the log to rest", || {
        store.health().oldest_unsynced.is_none()
    })
    .await;
    assert!(!store.health().is_backlogged);
}

/// A log whose third segment stands on a full disk, filled until it knows. Answers its last index
/// and one more.
async fn filled(dir: &Path, disk: &Arc<TestDisk>) -> (LogStore, u64) {
    let mut store = open_on(dir, disk);
    wait_for("the next segment", || segment_files(dir).len() == 2).await;
    symlink("/dev/full", dir.join("segment.new")).unwrap();
    // Into the second segment: the third is made then.
    for index in 0..10_000 {
        if store.health().no_room.is_some() {
            return (store, index);
        }
        append(&mut store, vec![entry(1, index, vec![7; 2_000])]).await;
    }
    panic!("the disk is not full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_room_for_its_next_segment_goes_on_when_there_is_some() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(TestDisk::default()));
    let (mut store, mut index) = filled(dir.path(), &disk).await;
    let said = store.health().no_room.unwrap();
    assert!(said.contains("No space left on device"), "{said}");
    assert!(store.fault().borrow().is_none());
    // What it has room for it takes; beyond that it waits, and then goes on by itself.
    for _ in 0..40 {
        append(&mut store, vec![entry(1, index, vec![7; 2_000])]).await;
        index += 1;
    }
    wait_for("room", || store.health().no_room.is_none()).await;
    store.close().await.unwrap();
    drop(store);
    let store = open_on(dir.path(), &disk);
    assert_eq!(entries(&store).await.len() as u64, index);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_closed_although_its_disk_is_full() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(TestDisk::default()));
    let (store, index) = filled(dir.path(), &disk).await;
    store.close().await.unwrap();
    drop(store);
    assert!(fs::metadata(dir.path().join("segment.new")).is_err());
    assert_eq!(
        entries(&open_on(dir.path(), &disk)).await.len() as u64,
        index
    );
}
