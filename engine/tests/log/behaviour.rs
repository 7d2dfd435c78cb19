//! What the log does when nothing goes wrong.

use openraft::storage::{RaftLogReader, RaftLogStorage};
use raft3d_engine::raft::types::Entry;
use raft3d_engine::storage::log::{LogError, LogOptions, LogStore};

use crate::support::{
    Content, append, append_only, entries, entry, log_id, open, options, segment_files, vote,
};

/// Entries `from..to` of `length` bytes each, every one recognizable.
fn made(term: u64, from: u64, to: u64, length: usize) -> Vec<Entry> {
    (from..to)
        .map(|index| entry(term, index, vec![(term * 31 + index) as u8; length]))
        .collect()
}

#[tokio::test]
async fn what_was_written_is_there_again_after_a_close_and_after_a_drop() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    store.save_vote(&vote(3)).await.unwrap();
    append(&mut store, made(3, 0, 500, 300)).await;
    store.save_committed(Some(log_id(3, 400))).await.unwrap();
    let content = Content::of(&store).await;
    assert_eq!(content.entries.len(), 500);
    store.close().await.unwrap();
    assert!(matches!(store.synced().await, Err(LogError::Closed)));
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(Content::of(&store).await, content);
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(Content::of(&store).await, content);
}

#[tokio::test]
async fn truncate_then_append_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    append(&mut store, made(1, 0, 400, 500)).await;
    assert!(segment_files(dir.path()).len() > 3, "over several segments");
    store.truncate_after(Some(log_id(1, 99))).await.unwrap();
    append(&mut store, made(2, 100, 350, 500)).await;
    store.truncate_after(Some(log_id(2, 340))).await.unwrap();
    append(&mut store, made(3, 341, 345, 500)).await;
    let mut expected = made(1, 0, 100, 500);
    expected.extend(made(2, 100, 341, 500));
    expected.extend(made(3, 341, 345, 500));
    assert_eq!(entries(&store).await, expected);
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(entries(&store).await, expected);
}

/// Truncations and new entries at the same indexes are queued while older ones are in flight.
#[tokio::test]
async fn a_truncated_entry_is_never_located() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    append(&mut store, made(1, 0, 10, 200)).await;
    let mut answers = Vec::new();
    for term in 2..50 {
        store.truncate_after(Some(log_id(1, 4))).await.unwrap();
        let new = made(term, 5, 5 + term % 7 + 1, 200);
        answers.push(append_only(&mut store, new.clone()).await);
        let mut expected = made(1, 0, 5, 200);
        expected.extend(new);
        assert_eq!(entries(&store).await, expected);
        if term % 9 == 0 {
            store.synced().await.unwrap();
            assert_eq!(entries(&store).await, expected);
        }
    }
    for answer in answers {
        answer.await.unwrap();
    }
    let content = Content::of(&store).await;
    drop(store);
    assert_eq!(Content::of(&open(dir.path()).unwrap()).await, content);
}

#[tokio::test]
async fn a_purge_gives_back_whole_segments_and_keeps_what_they_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    store.save_vote(&vote(7)).await.unwrap();
    append(&mut store, made(7, 0, 600, 500)).await;
    store.save_committed(Some(log_id(7, 550))).await.unwrap();
    let mut reader = store.reader();
    store.purge(log_id(7, 500)).await.unwrap();
    store.synced().await.unwrap();
    store.purge(log_id(7, 200)).await.unwrap();
    assert_eq!(entries(&store).await, made(7, 501, 600, 500));
    assert_eq!(reader.try_get_log_entries(0..=501).await.unwrap().len(), 1);
    store.close().await.unwrap();
    drop(store);
    let kept = segment_files(dir.path());
    // A hundred entries of some 550 bytes lie in two segments at most; one more is made ahead.
    assert!(kept.len() <= 3, "{} segments are left", kept.len());
    assert!(!kept[0].ends_with("0000000000000001.seg"));
    let mut store = open(dir.path()).unwrap();
    let content = Content::of(&store).await;
    assert_eq!(
        content.vote,
        Some(vote(7)),
        "it was in a segment that is gone"
    );
    assert_eq!(content.committed, Some(log_id(7, 550)));
    assert_eq!(content.purged, Some(log_id(7, 500)));
    assert_eq!(content.entries, made(7, 501, 600, 500));

    // A snapshot far ahead of the log.
    store.purge(log_id(8, 5_000)).await.unwrap();
    append(&mut store, made(8, 5_001, 5_003, 10)).await;
    drop(store);
    let content = Content::of(&open(dir.path()).unwrap()).await;
    assert_eq!(content.purged, Some(log_id(8, 5_000)));
    assert_eq!(content.entries, made(8, 5_001, 5_003, 10));
    assert_eq!(content.vote, Some(vote(7)));
}

/// A removal that the disk forgot, in any order, is done again when the log is opened.
#[tokio::test]
async fn leftovers_of_a_purge_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    append(&mut store, made(1, 0, 400, 1_000)).await;
    store.synced().await.unwrap();
    let old: Vec<_> = segment_files(dir.path())
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    store.purge(log_id(1, 390)).await.unwrap();
    store.close().await.unwrap();
    let content = entries(&store).await;
    drop(store);
    for skip in 1..4 {
        for (path, bytes) in old.iter().take(4).step_by(skip) {
            std::fs::write(path, bytes).unwrap();
        }
        let store = open(dir.path()).unwrap();
        assert_eq!(entries(&store).await, content);
        drop(store);
        assert!(old.iter().take(4).all(|(path, _)| !path.exists()));
    }
}

#[tokio::test]
async fn a_large_entry_fits_and_a_larger_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    append(&mut store, made(1, 0, 3, 58_000)).await;
    assert_eq!(entries(&store).await, made(1, 0, 3, 58_000));
    let error = store
        .append(
            made(1, 3, 4, 64 << 10),
            openraft::storage::IOFlushed::noop(),
        )
        .await
        .unwrap_err();
    assert!(error.to_string().contains("limit is"), "{error}");
    append(&mut store, made(1, 3, 4, 10)).await;
    drop(store);
    assert_eq!(entries(&open(dir.path()).unwrap()).await.len(), 4);
}

#[tokio::test]
async fn reads_stop_at_their_limit_and_never_before_the_first() {
    let dir = tempfile::tempdir().unwrap();
    for cache_bytes_max in [0, 1 << 20] {
        let limited = LogOptions {
            read_bytes_max: 10_000,
            cache_bytes_max,
            ..options()
        };
        let dir = dir.path().join(cache_bytes_max.to_string());
        let mut store = LogStore::open(&dir, limited).unwrap();
        append(&mut store, made(1, 0, 100, 1_000)).await;
        append(&mut store, made(1, 100, 101, 50_000)).await;
        let mut reader = store.reader();
        let some = reader.limited_get_log_entries(0, 101).await.unwrap();
        assert_eq!(some, made(1, 0, 10, 1_000));
        let one = reader.limited_get_log_entries(100, 101).await.unwrap();
        assert_eq!(one.len(), 1);
        let stream = reader.entries_stream(5..101).await;
        let all: Vec<_> = futures_util::StreamExt::collect(stream).await;
        assert_eq!(all.len(), 96);
        assert_eq!(all.last().unwrap().as_ref().unwrap().log_id, log_id(1, 100));
    }
}

#[tokio::test]
async fn holes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    append(&mut store, made(1, 5, 8, 10)).await;
    for wrong in [made(1, 9, 10, 10), made(1, 7, 9, 10)] {
        let noop = openraft::storage::IOFlushed::noop();
        assert!(store.append(wrong, noop).await.is_err());
    }
    store.purge(log_id(1, 6)).await.unwrap();
    assert!(store.truncate_after(Some(log_id(1, 4))).await.is_err());
    assert!(store.truncate_after(None).await.is_err());
    assert_eq!(entries(&store).await, made(1, 7, 8, 10));
}

#[tokio::test]
async fn committed_never_passes_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    append(&mut store, made(1, 0, 5, 10)).await;
    store.save_committed(Some(log_id(1, 100))).await.unwrap();
    assert_eq!(store.read_committed().await.unwrap(), Some(log_id(1, 4)));
    store.truncate_after(Some(log_id(1, 2))).await.unwrap();
    assert_eq!(store.read_committed().await.unwrap(), Some(log_id(1, 2)));
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(Content::of(&store).await.committed, Some(log_id(1, 2)));
}

#[tokio::test]
async fn another_segment_size_is_for_new_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for (nth, segment_bytes) in [64 << 10, 256 << 10, 64 << 10].into_iter().enumerate() {
        let sized = LogOptions {
            segment_bytes,
            ..options()
        };
        let mut store = LogStore::open(dir.path(), sized).unwrap();
        assert_eq!(entries(&store).await, expected);
        let from = nth as u64 * 300;
        let new = made(1, from, from + 300, 1_000);
        append(&mut store, new.clone()).await;
        expected.extend(new);
    }
    assert_eq!(entries(&open(dir.path()).unwrap()).await, expected);
}

#[tokio::test]
async fn a_log_that_vanished_is_not_taken_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let strict = LogOptions {
        must_exist: true,
        ..options()
    };
    let gone = dir.path().join("log");
    let error = LogStore::open(&gone, strict.clone()).unwrap_err();
    assert!(matches!(error, LogError::Missing { .. }), "{error}");
    drop(open(&gone).unwrap());
    drop(LogStore::open(&gone, strict).unwrap());
}

#[test]
fn options_out_of_range_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let bad = [
        (
            "segment_bytes",
            LogOptions {
                segment_bytes: 5_000,
                ..options()
            },
        ),
        (
            "segment_bytes",
            LogOptions {
                segment_bytes: 1 << 40,
                ..options()
            },
        ),
        (
            "batch_bytes_max",
            LogOptions {
                batch_bytes_max: 0,
                ..options()
            },
        ),
        (
            "batch_bytes_max",
            LogOptions {
                batch_bytes_max: 64 << 10,
                ..options()
            },
        ),
        (
            "queue_entries_max",
            LogOptions {
                queue_entries_max: 0,
                ..options()
            },
        ),
        (
            "queue_bytes_max",
            LogOptions {
                queue_bytes_max: 0,
                ..options()
            },
        ),
        (
            "read_bytes_max",
            LogOptions {
                read_bytes_max: 0,
                ..options()
            },
        ),
    ];
    for (option, options) in bad {
        let error = LogStore::open(dir.path(), options).unwrap_err();
        assert!(error.to_string().contains(option), "{error}");
    }
}
