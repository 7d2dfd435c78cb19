//! A slow disk, a failing disk, and power cuts at the worst moment.

use std::sync::Arc;
use std::task::Poll;

use futures_util::poll;
use openraft::storage::{RaftLogReader, RaftLogStorage};
use raft3d_engine::storage::log::{Disk, LogError, LogOptions, LogStore};

use crate::support::{
    Content, Image, TestDisk, append, append_only, entries, entry, log_id, open, open_on, options,
    segment_files, vote,
};

#[tokio::test]
async fn an_append_is_readable_at_once_and_answered_after_its_sync() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(TestDisk::default()));
    let mut store = open_on(dir.path(), &disk);
    disk.hold();
    let mut first = Box::pin(append_only(&mut store, vec![entry(1, 0, vec![7])]).await);
    disk.wait_for_sync();
    let mut others = Vec::new();
    for index in 1..=10 {
        let answer = append_only(&mut store, vec![entry(1, index, vec![7])]).await;
        others.push(Box::pin(answer));
    }
    assert_eq!(entries(&store).await.len(), 11);
    assert!(matches!(poll!(&mut first), Poll::Pending));
    let frames = store.stats().frames;
    disk.release();
    first.await.unwrap();
    for answer in others {
        answer.await.unwrap();
    }
    // What came while the first sync took its time went out together.
    assert_eq!(store.stats().frames, frames + 2);
    assert_eq!(disk.writes().len() as u64, frames + 2);
}

#[tokio::test]
async fn answers_come_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    let mut answers = Vec::new();
    for index in 0..200 {
        let new = vec![entry(1, index, vec![0; 100])];
        answers.push(Box::pin(append_only(&mut store, new).await));
    }
    while let Some(last) = answers.pop() {
        last.await.unwrap();
        // Gives the task a new budget: without one, even what is ready polls as pending.
        tokio::task::yield_now().await;
        let from = answers.len().saturating_sub(20);
        for mut earlier in answers.drain(from..) {
            assert!(matches!(poll!(&mut earlier), Poll::Ready(Ok(()))));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_after_a_failed_sync() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(TestDisk::default()));
    let mut store = open_on(dir.path(), &disk);
    append(&mut store, vec![entry(1, 0, vec![1])]).await;
    let mut fault = store.fault();
    assert!(fault.borrow().is_none());
    disk.hold();
    let in_flight = append_only(&mut store, vec![entry(1, 1, vec![2])]).await;
    disk.wait_for_sync();
    let queued = append_only(&mut store, vec![entry(1, 2, vec![3])]).await;
    let mut voter = store.clone();
    let voting = tokio::spawn(async move { voter.save_vote(&vote(9)).await });
    disk.fail_syncs();
    disk.release();
    assert!(in_flight.await.is_err());
    assert!(queued.await.is_err());
    assert!(voting.await.unwrap().is_err());
    fault.wait_for(Option::is_some).await.unwrap();
    let text = fault.borrow().as_ref().unwrap().to_string();
    assert!(
        text.contains("cannot sync") && text.contains("start the node again"),
        "{text}"
    );

    assert!(store.get_log_state().await.is_err());
    assert!(store.save_vote(&vote(3)).await.is_err());
    assert!(store.save_committed(Some(log_id(1, 0))).await.is_err());
    assert!(store.read_committed().await.is_err());
    assert!(store.truncate_after(None).await.is_err());
    assert!(store.purge(log_id(1, 0)).await.is_err());
    assert!(store.synced().await.is_err());
    assert!(store.reader().try_get_log_entries(0..).await.is_err());
    assert!(store.reader().read_vote().await.is_err());
    assert!(store.close().await.is_err());
}

#[tokio::test]
async fn a_failed_write_stops_the_log() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(TestDisk::default()));
    let mut store = open_on(dir.path(), &disk);
    append(&mut store, vec![entry(1, 0, vec![1])]).await;
    disk.fail_writes();
    let answer = append_only(&mut store, vec![entry(1, 1, vec![2])]).await;
    assert!(answer.await.is_err());
    assert!(store.synced().await.is_err());
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(entries(&store).await, vec![entry(1, 0, vec![1])]);
}

/// Power is cut between the write of a vote and the reply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vote_is_answered_only_after_its_sync() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(TestDisk::default()));
    let mut store = open_on(dir.path(), &disk);
    store.save_vote(&vote(1)).await.unwrap();
    let mut before = Image::of(dir.path());
    disk.hold();
    let mut voter = store.clone();
    let mut voting = tokio::spawn(async move { voter.save_vote(&vote(2)).await });
    disk.wait_for_sync();
    assert!(
        matches!(poll!(&mut voting), Poll::Pending),
        "no reply before the sync"
    );

    // Whatever of it reached the disk, the old vote or the new one is there.
    let write = disk.writes().last().unwrap().clone();
    let mut written = Image::of(dir.path());
    for cut in 0..=write.bytes {
        let mut image = written.clone();
        let keep = written.bytes(&write)[..cut as usize].to_vec();
        let bytes = image.bytes(&write);
        bytes.fill(0);
        bytes[..cut as usize].copy_from_slice(&keep);
        let copy = image.write();
        let found = open(copy.path())
            .unwrap()
            .reader()
            .read_vote()
            .await
            .unwrap();
        // The last bytes of a frame are zeros that align the next one.
        let whole = image.bytes(&write) == written.bytes(&write);
        assert_eq!(
            found,
            Some(vote(if whole { 2 } else { 1 })),
            "cut after {cut} bytes"
        );
    }

    disk.release();
    voting.await.unwrap().unwrap();
    // Now it was answered: it is there, and a disk that lost it is refused, even with the
    // watermark as a power cut right after the reply leaves it.
    let mut after = Image::of(dir.path());
    after
        .0
        .insert("watermark".to_owned(), disk.synced_watermark());
    let copy = after.write();
    let found = open(copy.path())
        .unwrap()
        .reader()
        .read_vote()
        .await
        .unwrap();
    assert_eq!(found, Some(vote(2)));
    after.bytes(&write).copy_from_slice(before.bytes(&write));
    let error = open(after.write().path()).unwrap_err();
    assert!(matches!(error, LogError::Lost { .. }), "{error}");
    assert!(error.to_string().contains("let it join again"), "{error}");
}

#[tokio::test]
async fn the_watermark_never_names_unsynced_data() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(TestDisk::default()));
    let mut store = open_on(dir.path(), &disk);
    for index in 0..20 {
        disk.hold();
        let answer = append_only(&mut store, vec![entry(1, index, vec![0; 500])]).await;
        disk.wait_for_sync();
        let mut image = Image::of(dir.path());
        let write = disk.writes().last().unwrap().clone();
        image.bytes(&write).fill(0);
        // Without the frame in flight the log is whole: no watermark says otherwise.
        let copy = image.write();
        assert_eq!(
            entries(&open(copy.path()).unwrap()).await.len() as u64,
            index
        );
        disk.release();
        answer.await.unwrap();
    }
}

/// Until then a segment's own frames say how far the log was synced. Once they are gone only the
/// watermark does, and one that a power cut throws back would know of nothing that was lost since.
#[tokio::test]
async fn the_watermark_is_synced_before_a_segment_goes() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(TestDisk::default()));
    let mut store = open_on(dir.path(), &disk);
    for index in 0..40 {
        append(&mut store, vec![entry(1, index, vec![7; 8_000])]).await;
    }
    let before = segment_files(dir.path()).len();
    assert!(synced_sequence(&disk) < 40, "it is synced all the time");
    store.purge(log_id(1, 35)).await.unwrap();
    store.synced().await.unwrap();
    let frames = store.stats().frames;
    while segment_files(dir.path()).len() >= before {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert_eq!(synced_sequence(&disk), frames);
    let mut image = Image::of(dir.path());
    let synced = disk.synced_watermark();
    image.0.insert("watermark".to_owned(), synced);
    let copy = image.write();
    assert_eq!(entries(&open(copy.path()).unwrap()).await.len(), 4);
}

/// The last frame that the watermark names, as of its last sync: see `storage/log/watermark.rs`.
fn synced_sequence(disk: &TestDisk) -> u64 {
    let file = disk.synced_watermark();
    let number = |at: usize| file.get(at..at + 8).map(|bytes| bytes.try_into().unwrap());
    let slots = [0, 4_096].map(|slot| number(slot + 24).map_or(0, u64::from_le_bytes));
    slots.into_iter().max().unwrap_or(0)
}

/// With a stale watermark, as a power cut leaves it, only a seal proves the last batch.
#[tokio::test]
async fn a_seal_proves_the_last_batch() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(TestDisk::default()));
    let mut store = open_on(dir.path(), &disk);
    append(&mut store, vec![entry(1, 0, vec![1; 300])]).await;
    let stale = disk.synced_watermark();
    append(&mut store, vec![entry(1, 1, vec![2; 300])]).await;
    let last = disk.writes().last().unwrap().clone();
    store.close().await.unwrap();
    assert_eq!(disk.writes().len(), 3, "two batches and a seal");
    let mut image = Image::of(dir.path());
    image.0.insert("watermark".to_owned(), stale);
    assert_eq!(entries(&open(image.write().path()).unwrap()).await.len(), 2);
    image.bytes(&last).fill(0);
    let error = open(image.write().path()).unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_pause_seals_the_log_and_syncs_the_watermark() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(TestDisk::default()));
    let pausing = LogOptions {
        idle_seal: Some(std::time::Duration::from_millis(1)),
        ..options()
    };
    let mut store =
        LogStore::open_on(dir.path(), pausing, Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
    append(&mut store, vec![entry(1, 0, vec![1; 300])]).await;
    store.save_committed(Some(log_id(1, 0))).await.unwrap();
    // However long it takes: the seal, with the committed log id, comes without being asked for.
    loop {
        let mut image = Image::of(dir.path());
        image
            .0
            .insert("watermark".to_owned(), disk.synced_watermark());
        let copy = image.write();
        let content = Content::of(&open(copy.path()).unwrap()).await;
        if content.committed == Some(log_id(1, 0)) && disk.writes().len() >= 2 {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_full_queue_makes_appends_wait() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(TestDisk::default()));
    let small = LogOptions {
        queue_entries_max: 2,
        ..options()
    };
    let mut store =
        LogStore::open_on(dir.path(), small, Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
    disk.hold();
    let first = append_only(&mut store, vec![entry(1, 0, vec![])]).await;
    disk.wait_for_sync();
    let second = append_only(&mut store, vec![entry(1, 1, vec![]), entry(1, 2, vec![])]).await;
    let mut third = Box::pin(async {
        let mut store = store.clone();
        append(&mut store, vec![entry(1, 3, vec![])]).await;
    });
    assert!(matches!(poll!(&mut third), Poll::Pending));
    assert_eq!(
        entries(&store).await.len(),
        3,
        "the third was not taken yet"
    );
    disk.release();
    third.await;
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(entries(&store).await.len(), 4);
}
