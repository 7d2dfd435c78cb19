//! Rows against a plain model; replacing them; opening what is damaged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is to panic"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use raft3d_core::state::digest::Digest;
use raft3d_core::state::rows::ReadRows;
use tempfile::tempdir;

use super::folders::files;
use super::head::Record;
use super::pending::MintedTo;
use super::random::Random;
use super::recovery;
use super::testing::{Model, copy_dir, damage, listed, log_id};
use super::{Head, StateError, StateStore, rows_keyspace};
use crate::storage::snapshot::SnapshotStore;

/// Writes one more table file.
fn flush(store: &StateStore) {
    store.flush().unwrap();
}

fn snapshots(dir: &Path) -> SnapshotStore {
    SnapshotStore::open(dir).unwrap().0
}

#[test]
fn rows_and_digest_are_the_models_also_after_reopening() {
    let seed = Random::seed("storage::state");
    let dir = tempdir().unwrap();
    let mut model = Model::new(seed);
    for round in 0..5 {
        let store = StateStore::open(dir.path()).unwrap();
        model.check(&store.view());
        for _ in 0..40 {
            model.commit_next(&store);
        }
        model.check(&store.view());
        if round % 2 == 0 {
            flush(&store);
        }
    }
}

#[test]
fn a_view_keeps_showing_its_revision() {
    let dir = tempdir().unwrap();
    let store = StateStore::open(dir.path()).unwrap();
    let mut model = Model::new(Random::seed("storage::state"));
    let mut views = Vec::new();
    for index in 0..300 {
        if index % 30 == 0 {
            views.push((store.view(), model.clone()));
        }
        model.commit_next(&store);
        if index % 100 == 99 {
            flush(&store);
        }
    }
    for (view, model) in views {
        model.check(&view);
    }
}

#[test]
fn scans_are_the_models() {
    let mut random = Random::new(Random::seed("storage::state"));
    let dir = tempdir().unwrap();
    let store = StateStore::open(dir.path()).unwrap();
    let model = Model::replay(random.next(), &store, 200);
    let view = store.view();
    let keys: Vec<_> = model.rows.keys().cloned().collect();
    let prefixes: [&[u8]; 7] = [b"", b"a", b"a/", b"ab", b"b\x7f", b"c", b"\xff\xff"];
    for _ in 0..500 {
        let prefix = prefixes[random.below(7) as usize];
        let limit = random.below(20) as usize;
        let after = match random.below(4) {
            0 => None,
            1 => Some(b"zz".to_vec()),
            _ => Some(keys[random.below(keys.len() as u64) as usize].clone()),
        };
        let expected = model
            .rows
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()));
        let actual = view.scan(prefix, after.as_deref(), limit).unwrap();
        assert!(
            actual.into_iter().eq(expected),
            "{prefix:?} after {after:?}"
        );
    }
    assert_eq!(view.get(b"no such key").unwrap(), None);
}

/// fjall asserts that keys ascend, and the empty one does not come after the head's.
#[test]
fn after_a_flush_that_panics_nothing_is_taken() {
    let dir = tempdir().unwrap();
    let store = StateStore::open(dir.path()).unwrap();
    let mut model = Model::new(1);
    model.commit_next(&store);
    let wrong = [(b"".as_slice(), Some(b"value".as_slice()))];
    store.newest.write().unwrap().pending.push(&wrong);
    let error = store.flush().unwrap_err();
    assert!(matches!(error, StateError::Damaged(_)), "{error}");
    assert!(store.flush().is_err());
    let head = store.view().head().clone();
    let refused = store.commit(&[(b"key", Some(b"value"))], head).unwrap_err();
    assert!(refused.to_string().contains("assertion"), "{refused}");
    // What was written before is there, as it was.
    drop(store);
    let store = StateStore::open(dir.path()).unwrap();
    assert_eq!(store.view().last_applied(), None);
}

#[test]
fn a_key_that_cannot_be_stored_is_a_fault_and_changes_nothing() {
    let dir = tempdir().unwrap();
    let store = StateStore::open(dir.path()).unwrap();
    let mut model = Model::replay(1, &store, 3);
    for key in [Vec::new(), vec![b'k'; 70_000], vec![0, 1]] {
        let changes = [(key, Some(vec![1]))].into();
        assert!(
            store
                .commit(&listed(&changes), model.clone().head(0))
                .is_err()
        );
        model.check(&store.view());
    }
    model.commit_next(&store);
    model.check(&store.view());
    // Nor is there such a row where table files are asked.
    flush(&store);
    assert_eq!(store.view().get(&[b'k'; 70_000]).unwrap(), None);
}

#[test]
fn installing_replaces_all_rows_and_leaves_views_alone() {
    let seed = Random::seed("storage::state");
    let (a, b, s) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let source = StateStore::open(a.path()).unwrap();
    let newer = Model::replay(seed, &source, 400);
    let snapshot = snapshots(s.path()).build(&source.view()).unwrap();

    let store = StateStore::open(b.path()).unwrap();
    let older = Model::replay(seed.wrapping_add(1), &store, 50);
    let before = store.view();
    newer.check(&store.install(&snapshot).unwrap());
    newer.check(&store.view());
    older.check(&before);
    drop(before);
    // Applies go on, and it opens again, with only one generation left.
    let mut model = newer.clone();
    for _ in 0..20 {
        model.commit_next(&store);
    }
    drop(store);
    let store = StateStore::open(b.path()).unwrap();
    model.check(&store.view());
    assert_eq!(super::keyspace_names(&store.database).len(), 1);
}

#[test]
fn installing_an_empty_snapshot_empties_the_state() {
    let (a, b, s) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let empty = StateStore::open(a.path()).unwrap();
    let snapshot = snapshots(s.path()).build(&empty.view()).unwrap();
    let store = StateStore::open(b.path()).unwrap();
    Model::replay(5, &store, 50);
    store.install(&snapshot).unwrap();
    drop(store);
    assert!(
        StateStore::open(b.path())
            .unwrap()
            .view()
            .scan(b"", None, 9)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_generation_that_was_not_switched_to_is_cleaned_up() {
    let dir = tempdir().unwrap();
    let store = StateStore::open(dir.path()).unwrap();
    let model = Model::replay(9, &store, 30);
    for name in ["rows-1", "rows-7"] {
        let part = rows_keyspace(&store.database, name).unwrap();
        let mut half = part.start_ingestion().unwrap();
        half.write("half", "loaded").unwrap();
        half.finish().unwrap();
    }
    drop(store);
    let store = StateStore::open(dir.path()).unwrap();
    model.check(&store.view());
    assert_eq!(super::keyspace_names(&store.database).len(), 1);
}

/// What no checksum sees: a row that was written wrong.
#[test]
fn rows_that_do_not_add_up_to_their_digest_are_found_by_the_scrub() {
    let dir = tempdir().unwrap();
    let store = StateStore::open(dir.path()).unwrap();
    let mut model = Model::replay(9, &store, 3_000);
    let scrub = |store: &StateStore, go_on: bool| store.scrub(Duration::ZERO, || go_on);
    assert_eq!(scrub(&store, true).unwrap(), Some(model.digest));
    model.commit_next(&store);
    model.rows.insert(b"b\x7f/000".to_vec(), b"wrong".to_vec());
    let wrong = [(b"b\x7f/000".to_vec(), Some(b"wrong".to_vec()))].into();
    let head = store.view().head().clone();
    store.commit(&listed(&wrong), head).unwrap();
    flush(&store);
    drop(store);
    let store = StateStore::open(dir.path()).unwrap();
    let error = scrub(&store, true).unwrap_err();
    assert!(matches!(error, StateError::Damaged(_)), "{error}");
    drop(store);
    // It was marked: the next start does not serve it.
    let error = StateStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, StateError::Damaged(_)), "{error}");
}

/// Layers of all sizes, merged and not, with table files below and a write of them going on.
#[test]
fn what_is_in_memory_reads_as_one_with_the_table_files() {
    let seed = Random::seed("storage::state");
    let mut random = Random::new(seed);
    let dir = tempdir().unwrap();
    let store = StateStore::open(dir.path()).unwrap();
    let mut model = Model::new(seed);
    let mut views = Vec::new();
    for index in 0..2_000 {
        model.commit_next(&store);
        match random.below(100) {
            0 => flush(&store),
            1 => drop(store.newest.write().unwrap().pending.freeze()),
            2 => views.push((store.view(), model.clone())),
            _ => {}
        }
        if index % 250 == 0 {
            model.check(&store.view());
            let view = store.view();
            for (key, value) in &model.rows {
                assert_eq!(view.get(key).unwrap().as_ref(), Some(value));
            }
            assert_eq!(view.get(b"a/1000").unwrap(), None);
        }
    }
    for (view, model) in views {
        model.check(&view);
    }
    drop(store);
    model.check(&StateStore::open(dir.path()).unwrap().view());
}

#[test]
fn what_was_in_memory_is_lost_in_a_crash_and_nothing_else() {
    let seed = Random::seed("storage::state");
    let dir = tempdir().unwrap();
    for (written, lost) in [(0, 10), (40, 70), (70, 71)] {
        let store = StateStore::open(dir.path()).unwrap();
        Model::replay(seed, &store, written).check(&store.view());
        flush(&store);
        Model::replay(seed, &store, lost);
        store.abandon();
        drop(store);
        let store = StateStore::open(dir.path()).unwrap();
        Model::at(seed, written).check(&store.view());
        store.abandon();
    }
}

/// A data folder whose state is at `last`, with a snapshot at `snapshot`.
fn data_folder(dir: &Path, seed: u64, snapshot: u64, last: u64) {
    let (store, snapshots) = recovery::open(dir, None).unwrap();
    Model::replay(seed, &store, snapshot / 2);
    flush(&store);
    Model::replay(seed, &store, snapshot);
    snapshots.build(&store.view()).unwrap();
    flush(&store);
    Model::replay(seed, &store, last);
}

#[test]
fn any_damage_of_the_state_ends_in_a_clean_open_with_every_row() {
    const SNAPSHOT: u64 = 60;
    const LAST: u64 = 100;
    const COPIES: u64 = 40;
    let seed = Random::seed("storage::state");
    let mut random = Random::new(seed);
    let origin = tempdir().unwrap();
    data_folder(origin.path(), seed, SNAPSHOT, LAST);
    let (mut intact, mut rolled_back, mut rebuilt) = (0, 0, 0);
    for copy in 0..COPIES {
        let dir = tempdir().unwrap();
        copy_dir(origin.path(), dir.path());
        let state_files = files(&dir.path().join("state"));
        let mut done = Vec::new();
        for _ in 0..1 + copy % 3 {
            let file = &state_files[random.below(state_files.len() as u64) as usize];
            done.push(damage(file, &mut random));
        }
        let (store, _) = recovery::open(dir.path(), Some(SNAPSHOT))
            .unwrap_or_else(|error| panic!("{done:?}: {error}"));
        let opened = store.view().revision().0;
        assert!(
            (SNAPSHOT..=LAST).contains(&opened),
            "{done:?}: opened at {opened}"
        );
        Model::at(seed, opened).check(&store.view());
        Model::replay(seed, &store, LAST).check(&store.view());
        match (dir.path().join("state.damaged-1").exists(), opened) {
            (true, _) => rebuilt += 1,
            (false, LAST) => intact += 1,
            (false, _) => rolled_back += 1,
        }
    }
    println!("{intact} intact, {rolled_back} rolled back a little, {rebuilt} rebuilt");
    assert!(rebuilt > 0 && intact + rolled_back + rebuilt == COPIES);
}

#[test]
fn damaged_state_without_snapshot_is_rebuilt_from_the_whole_log() {
    let seed = Random::seed("storage::state");
    let dir = tempdir().unwrap();
    let (store, _) = recovery::open(dir.path(), None).unwrap();
    Model::replay(seed, &store, 50);
    drop(store);
    for round in 1..=4 {
        fs::write(dir.path().join("state/version"), b"not fjall").unwrap();
        let (store, _) = recovery::open(dir.path(), None).unwrap();
        assert_eq!(store.view().revision().0, 0);
        Model::replay(seed, &store, 50).check(&store.view());
        assert!(dir.path().join(format!("state.damaged-{round}")).exists());
    }
    // A limited number of them is kept.
    assert!(!dir.path().join("state.damaged-2").exists());
    assert!(dir.path().join("state.damaged-3").exists());
}

#[test]
fn a_needed_snapshot_that_is_damaged_is_refused() {
    let seed = Random::seed("storage::state");
    let mut random = Random::new(seed);
    let dir = tempdir().unwrap();
    data_folder(dir.path(), seed, 30, 40);
    let file = files(&dir.path().join("snapshots")).remove(0);
    fs::write(dir.path().join("state/version"), b"not fjall").unwrap();
    damage(&file, &mut random);
    let before = files(dir.path());
    let error = recovery::open(dir.path(), Some(25)).unwrap_err();
    assert!(
        matches!(error, StateError::CannotRebuild { needed: 25, .. }),
        "{error}"
    );
    let message = error.to_string();
    assert!(
        message.contains(&*file.to_string_lossy()) && message.contains("Restore"),
        "{message}"
    );
    assert_eq!(files(dir.path()), before, "a refusal moves nothing");

    // The same with no snapshot at all; and neither is needed while the log is whole.
    fs::remove_file(&file).unwrap();
    let error = recovery::open(dir.path(), Some(25)).unwrap_err();
    assert!(
        error.to_string().contains("there is no snapshot file"),
        "{error}"
    );
    let (store, _) = recovery::open(dir.path(), None).unwrap();
    Model::replay(seed, &store, 40).check(&store.view());
}

#[test]
fn a_damaged_snapshot_that_is_not_needed_is_set_aside() {
    let seed = Random::seed("storage::state");
    let mut random = Random::new(seed);
    let dir = tempdir().unwrap();
    data_folder(dir.path(), seed, 30, 40);
    let file = files(&dir.path().join("snapshots")).remove(0);
    damage(&file, &mut random);
    let (store, snapshots) = recovery::open(dir.path(), Some(25)).unwrap();
    Model::at(seed, 40).check(&store.view());
    assert!(snapshots.current().is_none());
    assert!(!file.exists());
    // A new one is made where the old one was.
    snapshots.build(&store.view()).unwrap();
    assert_eq!(files(&dir.path().join("snapshots")).len(), 2);
}

#[test]
fn a_state_behind_its_snapshot_is_brought_up_to_it() {
    let seed = Random::seed("storage::state");
    let dir = tempdir().unwrap();
    let (store, _) = recovery::open(dir.path(), None).unwrap();
    Model::replay(seed, &store, 20);
    drop(store);
    let other = tempdir().unwrap();
    data_folder(other.path(), seed, 60, 60);
    copy_dir(
        &other.path().join("snapshots"),
        &dir.path().join("snapshots"),
    );
    let (store, _) = recovery::open(dir.path(), Some(60)).unwrap();
    Model::at(seed, 60).check(&store.view());
}

const CHILD_DIR: &str = "RAFT3D_TEST_STATE_CHILD";

/// Starts this test again as a child, and kills it after `lines` lines of its output. Answers the
/// last line.
fn kill_child(test: &str, dir: &Path, seed: u64, lines: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("storage::state::tests::{test}"),
            "--nocapture",
        ])
        .env(CHILD_DIR, dir)
        .env("RAFT3D_SEED", seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap()).lines();
    let numbers = output
        .map_while(Result::ok)
        .filter_map(|line| line.parse::<u64>().ok());
    let last = numbers
        .take(lines as usize)
        .last()
        .expect("the child wrote nothing");
    child.kill().unwrap();
    child.wait().unwrap();
    last
}

#[test]
fn a_process_killed_while_it_applies_reopens_where_it_was_written() {
    let seed = Random::seed("storage::state");
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        let store = StateStore::open(Path::new(&dir)).unwrap();
        let mut model = Model::at(seed, store.view().revision().0);
        loop {
            model.commit_next(&store);
            if model.index.is_multiple_of(3) {
                flush(&store);
                println!("\n{}", model.index);
            }
        }
    }
    let mut random = Random::new(seed);
    let dir = tempdir().unwrap();
    for _ in 0..6 {
        let name = "a_process_killed_while_it_applies_reopens_where_it_was_written";
        let written = kill_child(name, dir.path(), seed, 1 + random.below(60));
        let store = StateStore::open(dir.path()).unwrap();
        let opened = store.view().revision().0;
        assert!(
            opened >= written,
            "opened at {opened}, and {written} was written"
        );
        Model::at(seed, opened).check(&store.view());
    }
}

#[test]
fn a_process_killed_while_it_replaces_the_state_reopens_with_one_of_both() {
    let seed = Random::seed("storage::state");
    let name = "a_process_killed_while_it_replaces_the_state_reopens_with_one_of_both";
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        let dir = Path::new(&dir);
        let store = StateStore::open(&dir.join("state")).unwrap();
        let handles = ["a", "b"].map(|name| snapshots(&dir.join(name)).current().unwrap());
        for round in 0_u64.. {
            println!("\n{round}");
            store.install(&handles[(round % 2) as usize]).unwrap();
        }
    }
    let mut random = Random::new(seed);
    let dir = tempdir().unwrap();
    for (name, index) in [("a", 120), ("b", 90)] {
        let source = tempdir().unwrap();
        let store = StateStore::open(source.path()).unwrap();
        Model::replay(seed, &store, index);
        snapshots(&dir.path().join(name))
            .build(&store.view())
            .unwrap();
    }
    for _ in 0..8 {
        kill_child(name, dir.path(), seed, 2 + random.below(6));
        let store = StateStore::open(&dir.path().join("state")).unwrap();
        let opened = store.view().revision().0;
        assert!([90, 120].contains(&opened), "opened at {opened}");
        Model::at(seed, opened).check(&store.view());
        assert_eq!(super::keyspace_names(&store.database).len(), 1);
    }
}

/// Format 5 of the record beside the rows, and 5 of a snapshot file. A change needs a new version
/// of the format.
#[test]
fn golden_bytes_of_the_formats() {
    let record = Record {
        head: Head {
            generation: 2,
            last_applied: Some(log_id(7)),
            ..Head::default()
        },
        minted_to: MintedTo(9),
    };
    assert_eq!(Record::decode(&record.encode()).unwrap(), record);
    assert_eq!(
        hex::encode(record.encode()),
        "86050244830301074582f68280a0500000000000000000000000000000000009"
    );
    let (dir, folder) = (tempdir().unwrap(), tempdir().unwrap());
    let store = StateStore::open(dir.path()).unwrap();
    let mut digest = Digest::default();
    digest.add(b"key", b"value");
    let head = Head {
        last_applied: Some(log_id(7)),
        digest,
        ..Head::default()
    };
    let changes = [(b"key".to_vec(), Some(b"value".to_vec()))].into();
    store.commit(&listed(&changes), head).unwrap();
    let snapshot = snapshots(folder.path()).build(&store.view()).unwrap();
    let bytes = snapshot.read_at(0, usize::MAX).unwrap();
    assert_eq!(
        hex::encode(&bytes),
        concat!(
            "523344534e415000050000000122000000064e84fda4014483030107024582f68280a00350eb3e6e",
            "3bd62afaf45864f2deee02bca00400021000000045a4232d03000000050000006b657976616c7565",
            "032800000012e7bad40100000000000000c8394ac30f907d5f8fe03f3911996f684f157a32c64b87",
            "ac5eaf9d36d6eecc77",
        )
    );
}
