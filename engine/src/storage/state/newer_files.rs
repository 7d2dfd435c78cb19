//! State and snapshots of a later version of this program are refused, and left as they are.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is to panic"
)]

use std::fs;
use std::path::Path;

use tempfile::tempdir;

use super::folders::files;
use super::head::{HEAD_KEY, STATE_FORMAT_VERSION};
use super::testing::Model;
use super::{StateError, StateStore, recovery};
use crate::storage::snapshot::SnapshotStore;

const SEED: u64 = 19;
/// A format that is not known yet.
const LATER: u32 = 99;
/// Length of the trailer of a snapshot file: head, rows, hash.
const TRAILER_BYTES: usize = 49;

/// A data folder with a snapshot at 30 and the state at 40; answers the snapshot's file.
fn folder(dir: &Path) -> std::path::PathBuf {
    let store = StateStore::open(&dir.join("state")).unwrap();
    let snapshots = SnapshotStore::open(&dir.join("snapshots")).unwrap().0;
    Model::replay(SEED, &store, 30);
    snapshots.build(&store.view()).unwrap();
    Model::replay(SEED, &store, 40);
    files(&dir.join("snapshots")).remove(0)
}

/// What a later version would have written: another format, and a hash that fits.
fn as_of_later(file: &Path, format: u32) {
    let mut bytes = fs::read(file).unwrap();
    bytes[8..12].copy_from_slice(&format.to_le_bytes());
    let sealed = bytes.len() - TRAILER_BYTES;
    let hash = blake3::hash(&bytes[..sealed]);
    let at = bytes.len() - blake3::OUT_LEN;
    bytes[at..].copy_from_slice(hash.as_bytes());
    fs::write(file, bytes).unwrap();
}

/// Opens a folder that must be refused because of its version, and stay as it is.
fn refusal(dir: &Path) -> StateError {
    let before: Vec<_> = files(dir)
        .into_iter()
        .filter(|file| !is_fjalls_own(file))
        .collect();
    let error = recovery::open(dir, Some(25)).unwrap_err();
    assert!(error.is_of_other_version(), "{error}");
    let after: Vec<_> = files(dir)
        .into_iter()
        .filter(|file| !is_fjalls_own(file))
        .collect();
    assert_eq!(before, after, "a refusal moves nothing");
    error
}

/// Opening a database makes a new journal, whatever comes of it.
fn is_fjalls_own(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "state")
}

#[test]
fn a_newer_snapshot_is_refused_and_not_set_aside() {
    let dir = tempdir().unwrap();
    let file = folder(dir.path());
    let ours = fs::read(&file).unwrap();
    as_of_later(&file, LATER);
    let error = refusal(dir.path());
    let text = format!("a newer version of raft3d (format {LATER}; this program reads up to");
    assert!(error.to_string().contains(&text), "{error}");
    as_of_later(&file, 1);
    let error = refusal(dir.path());
    assert!(error.to_string().contains("has format 1"), "{error}");
    // Also where the state would have to be rebuilt from it.
    as_of_later(&file, LATER);
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    refusal(dir.path());
    fs::write(&file, ours).unwrap();
    let (store, _) = recovery::open(dir.path(), Some(25)).unwrap();
    Model::at(SEED, 30).check(&store.view());
}

/// One bit of the number makes another format of a damaged file, and not a newer one.
#[test]
fn a_damaged_format_number_is_damage() {
    let dir = tempdir().unwrap();
    let file = folder(dir.path());
    let mut bytes = fs::read(&file).unwrap();
    bytes[8] ^= 0x40;
    fs::write(&file, bytes).unwrap();
    let (store, snapshots) = recovery::open(dir.path(), Some(25)).unwrap();
    Model::at(SEED, 40).check(&store.view());
    assert!(snapshots.current().is_none() && !file.exists());
}

#[test]
fn a_newer_state_is_refused_and_not_set_aside() {
    let dir = tempdir().unwrap();
    folder(dir.path());
    let state = dir.path().join("state");
    {
        let store = StateStore::open(&state).unwrap();
        // Of the rest of a later record nothing is known.
        let record = [&[0x82, 0x18, LATER as u8][..], b"\x63new"].concat();
        let newest = store.newest.read().unwrap();
        let mut ingestion = newest.tables.rows().start_ingestion().unwrap();
        ingestion.write(HEAD_KEY, record).unwrap();
        ingestion.finish().unwrap();
        drop(newest);
        store.abandon();
    }
    let error = refusal(dir.path());
    let text = format!("(format {LATER}; this program reads up to {STATE_FORMAT_VERSION})");
    assert!(error.to_string().contains(&text), "{error}");
    let set_aside = |name: &str| name.contains("damaged");
    let names = fs::read_dir(dir.path()).unwrap();
    let names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.iter().any(|name| set_aside(name)), "{names:?}");
}
