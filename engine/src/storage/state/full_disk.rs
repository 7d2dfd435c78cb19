//! A disk that takes no more, while a chunk is applied and while a snapshot is written.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test is to panic"
)]

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use raft3d_core::LocalFault;
use rustix::process::{Resource, Rlimit, setrlimit};
use tempfile::tempdir;

use super::folders::files;
use super::random::Random;
use super::testing::{Model, listed};
use super::{StateError, StateStore};
use crate::storage::snapshot::{SnapshotError, SnapshotHandle, SnapshotStore};

const CHILD_DIR: &str = "RAFT3D_TEST_FULL_DISK_CHILD";
const TEST: &str = "a_state_whose_disk_is_full_stops_and_opens_where_it_was_written";
/// No file of the child grows beyond this, bytes: less than what comes together in memory.
const FILE_BYTES_MAX: u64 = 32 * 1024;

/// Chunks between two writes of table files.
const CHUNKS_IN_MEMORY: u64 = 40;

/// Applies until the disk takes no more, and says at which index.
fn fill_up(dir: &Path, seed: u64) {
    let store = StateStore::open(dir).unwrap();
    let mut model = Model::replay(seed, &store, 10);
    store.flush().unwrap();
    let limit = Rlimit {
        current: Some(FILE_BYTES_MAX),
        maximum: Some(FILE_BYTES_MAX),
    };
    setrlimit(Resource::Fsize, limit).unwrap();
    while !model.index.is_multiple_of(CHUNKS_IN_MEMORY) || store.flush().is_ok() {
        assert!(model.index < 10_000, "the limit does not hold");
        model.commit_next(&store);
    }
    // Nothing more is taken, and what was taken is still shown.
    model.check(&store.view());
    let failed = model.clone();
    let changes = model.step();
    match store.commit(
        &listed(&changes),
        model.head(store.view().head().generation),
    ) {
        Err(LocalFault::Storage(_)) => failed.check(&store.view()),
        other => panic!("a fault was expected: {other:?}"),
    }
    println!("\n{}", model.index);
}

#[test]
fn a_state_whose_disk_is_full_stops_and_opens_where_it_was_written() {
    let seed = Random::seed("storage::state");
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        return fill_up(Path::new(&dir), seed);
    }
    let dir = tempdir().unwrap();
    // A write beyond the limit is an error only where the signal for it is ignored.
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("storage::state::full_disk::{TEST}")])
        .arg("--nocapture")
        .env(CHILD_DIR, dir.path())
        .env("RAFT3D_SEED", seed.to_string())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{output}");
    let mut numbers = output.lines().filter_map(|line| line.parse::<u64>().ok());
    let failed = numbers.next_back().expect("the index that failed");
    let store = StateStore::open(dir.path()).unwrap();
    let opened = store.view().revision().0;
    assert!(opened < failed, "{opened} was never applied");
    Model::at(seed, opened).check(&store.view());
    // There is room again: it goes on from there.
    let more = Model::replay(seed, &store, failed + 5);
    more.check(&store.view());
}

/// Whoever meets it, fjall or the tree below it: a database that cannot be opened for want of room
/// is not set aside.
#[test]
fn a_full_disk_is_no_damage() {
    let full = || io::Error::from(ErrorKind::StorageFull);
    let told = [
        fjall::Error::Io(full()),
        fjall::Error::Storage(fjall::LsmError::Io(full())),
    ];
    for error in told {
        let error = StateError::from(error);
        assert!(matches!(error, StateError::Refused(_)), "{error:?}");
        assert!(error.to_string().contains("check the disk"), "{error}");
    }
}

#[test]
fn a_snapshot_that_does_not_fit_leaves_the_one_before() {
    let seed = Random::seed("storage::state");
    let dir = tempdir().unwrap();
    let store = StateStore::open(&dir.path().join("state")).unwrap();
    let folder = dir.path().join("snapshots");
    let snapshots = SnapshotStore::open(&folder).unwrap().0;
    let mut model = Model::replay(seed, &store, 40);
    let before = snapshots.build(&store.view()).unwrap();
    model.commit_next(&store);

    // Whatever temporary file comes next stands on a full disk.
    for name in 0..8 {
        let _ = symlink("/dev/full", folder.join(format!("{name}.tmp")));
    }
    let is_full = |error: &SnapshotError| match error {
        SnapshotError::Io { source, .. } => source.kind() == ErrorKind::StorageFull,
        _ => false,
    };
    let error = snapshots.build(&store.view()).unwrap_err();
    assert!(is_full(&error), "{error}");
    let mut incoming = snapshots.begin_incoming().unwrap();
    let error = incoming.append(b"a piece").unwrap_err();
    assert!(is_full(&error), "{error}");
    drop(incoming);
    let current = snapshots.current().unwrap();
    assert_eq!(current.path(), before.path());
    let whole = SnapshotHandle::open(current.path()).unwrap();
    assert_eq!(whole.header(), before.header());

    for path in files(&folder) {
        if path.extension().is_some_and(|end| end == "tmp") {
            fs::remove_file(path).unwrap();
        }
    }
    let after = snapshots.build(&store.view()).unwrap();
    assert_eq!(after.header().digest, model.digest);
    assert_eq!(files(&folder).len(), 1);
}

const SMALL_DISK: &str = "RAFT3D_TEST_SMALL_DISK";
const SMALL_DISK_TEST: &str = "a_small_disk_that_fills_up_holds_nothing_back_of_the_room_it_gets";

/// Uses up all that is free on the disk of `dir`.
fn fill_disk(dir: &Path) -> PathBuf {
    let path = dir.join("filler");
    let mut file = File::create(&path).unwrap();
    for bytes in [64 * 1024, 1] {
        while file.write_all(&vec![7; bytes]).is_ok() {}
    }
    path
}

/// Table files, snapshots and a replaced state, each met by a full disk, and again with room.
fn use_a_small_disk(dir: &Path, seed: u64) {
    let store = StateStore::open(&dir.join("state")).unwrap();
    let other = StateStore::open(&dir.join("other")).unwrap();
    let folder = dir.join("snapshots");
    let snapshots = SnapshotStore::open(&folder).unwrap().0;
    let mut model = Model::replay(seed, &store, 60);
    store.flush().unwrap();
    let older = snapshots.build(&store.view()).unwrap();
    let older_model = model.clone();
    for _ in 0..CHUNKS_IN_MEMORY {
        model.commit_next(&store);
    }

    let filler = fill_disk(dir);
    let all_files = || files(dir).len();
    // What a merge that is under way makes is its own.
    std::thread::sleep(Duration::from_millis(300));
    let (before, mut tries) = (all_files(), 0);
    while tries < 20 {
        let error = store.flush().unwrap_err();
        assert!(error.is_full(), "{error}");
        tries += 1;
    }
    assert_eq!(all_files(), before, "each try leaves a file");
    let error = snapshots.build(&store.view()).unwrap_err();
    assert!(StateError::from(error).is_full());
    let error = other.install(&older).unwrap_err();
    assert!(error.is_full(), "{error}");
    assert_eq!(other.view().revision().0, 0);
    // What is known is read, and what comes is taken.
    model.check(&store.view());
    model.commit_next(&store);
    model.check(&store.view());
    // A start finds what was written.
    drop(other);
    let other = StateStore::open(&dir.join("other")).unwrap();
    assert_eq!(other.view().revision().0, 0);

    fs::remove_file(filler).unwrap();
    store.flush().unwrap();
    other.install(&older).unwrap();
    older_model.check(&other.view());
    let newer = snapshots.build(&store.view()).unwrap();
    other.install(&newer).unwrap();
    model.check(&other.view());
    drop((store, other));
    model.check(&StateStore::open(&dir.join("state")).unwrap().view());
    model.check(&StateStore::open(&dir.join("other")).unwrap().view());
    println!("\ndone");
}

/// On a real file system that is full, in a namespace of its own.
#[test]
fn a_small_disk_that_fills_up_holds_nothing_back_of_the_room_it_gets() {
    let seed = Random::seed("storage::state");
    if let Some(dir) = std::env::var_os(SMALL_DISK) {
        return use_a_small_disk(Path::new(&dir), seed);
    }
    let dir = tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=64m tmpfs \"$RAFT3D_TEST_SMALL_DISK\"";
    let unshare = |script: &str| {
        let mut child = Command::new("unshare");
        child.args(["-rm", "sh", "-c", script]);
        child.env(SMALL_DISK, dir.path());
        child
    };
    if !unshare(mount).status().is_ok_and(|status| status.success()) {
        println!("NOT RUN: this system lets nobody mount a disk of its own");
        return;
    }
    let child = unshare(&format!("{mount} && exec \"$0\" \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("storage::state::full_disk::{SMALL_DISK_TEST}"),
        ])
        .arg("--nocapture")
        .env("RAFT3D_SEED", seed.to_string())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{output}\n{errors}");
    assert!(output.contains("\ndone"), "{output}");
}
