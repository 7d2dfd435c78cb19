//! The data folder: whose it is, one process at a time, and what damage of it says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test is to panic"
)]

use std::fs;
use std::path::Path;

use raft3d_core::ClusterId;
use raft3d_engine::storage::data_dir::{DATA_FORMAT_VERSION, DataDir, DataDirError};
use tempfile::tempdir;

fn error(path: &Path) -> DataDirError {
    DataDir::open(path).unwrap_err()
}

#[test]
fn the_identity_is_made_once_and_kept() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("a/b");
    let dir = DataDir::open(&path).unwrap();
    let made = dir.identity();
    assert_eq!((made.node_id, made.cluster_id), (None, None));
    dir.set_node_id(7).unwrap();
    dir.set_node_id(7).unwrap();
    dir.set_cluster_id(ClusterId([3; 16])).unwrap();
    drop(dir);

    let dir = DataDir::open(&path).unwrap();
    let kept = dir.identity();
    assert_eq!(kept.incarnation, made.incarnation);
    assert_eq!(
        (kept.node_id, kept.cluster_id),
        (Some(7), Some(ClusterId([3; 16])))
    );
    let other = dir.set_node_id(8).unwrap_err();
    assert!(
        matches!(
            other,
            DataDirError::OtherNode {
                stored: 7,
                given: 8,
                ..
            }
        ),
        "{other}"
    );
    let other = dir.set_cluster_id(ClusterId([4; 16])).unwrap_err();
    assert!(
        matches!(other, DataDirError::OtherCluster { .. }),
        "{other}"
    );
    assert_eq!(dir.identity(), kept);

    let another = DataDir::open(&parent.path().join("c")).unwrap();
    assert_ne!(another.identity().incarnation, made.incarnation);
}

#[test]
fn a_folder_in_use_is_refused_in_one_line() {
    let dir = tempdir().unwrap();
    let first = DataDir::open(dir.path()).unwrap();
    let error = error(dir.path());
    assert!(matches!(error, DataDirError::InUse { .. }), "{error}");
    assert!(!error.to_string().contains('\n'));
    drop(first);
    DataDir::open(dir.path()).unwrap();
}

#[test]
fn another_format_is_refused() {
    let dir = tempdir().unwrap();
    drop(DataDir::open(dir.path()).unwrap());
    let version = |n: u32| {
        fs::write(dir.path().join("VERSION"), format!("raft3d-data {n}\n")).unwrap();
        error(dir.path())
    };
    let newer = version(DATA_FORMAT_VERSION + 1);
    assert!(matches!(newer, DataDirError::Newer(_)), "{newer}");
    let (found, known) = (DATA_FORMAT_VERSION + 1, DATA_FORMAT_VERSION);
    let text =
        format!("a newer version of raft3d (format {found}; this program reads up to {known}");
    assert!(newer.to_string().contains(&text), "{newer}");
    let older = version(DATA_FORMAT_VERSION - 1);
    assert!(
        matches!(older, DataDirError::WrongVersion { .. }),
        "{older}"
    );
    assert!(newer.is_of_other_version() && older.is_of_other_version());
}

/// As a later version would write it: its first and last line are the same in every format.
fn sealed(kind: &str, format: u32, body: &str) -> String {
    let text = format!("raft3d {kind} {format}\n{body}");
    format!("{text}blake3 {}\n", blake3::hash(text.as_bytes()).to_hex())
}

#[test]
fn a_newer_identity_is_no_damage() {
    let dir = tempdir().unwrap();
    drop(DataDir::open(dir.path()).unwrap());
    let file = dir.path().join("identity");
    let newer = sealed("identity", 2, "incarnation 00\nsomething new\n");
    fs::write(&file, &newer).unwrap();
    let error = error(dir.path());
    assert!(error.is_of_other_version(), "{error}");
    let text = "identity was written by a newer version of raft3d (format 2; this program reads up \
                to 1): run that version";
    assert!(error.to_string().contains(text), "{error}");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        newer,
        "it is left alone"
    );
}

#[test]
fn a_fence_that_is_newer_or_damaged_is_still_a_fence() {
    let dir = tempdir().unwrap();
    let open = DataDir::open(dir.path()).unwrap();
    assert_eq!(open.fence().unwrap(), None);
    open.set_fence("its state differs\nfrom the others")
        .unwrap();
    let kept = open.fence().unwrap();
    assert_eq!(kept.as_deref(), Some("its state differs from the others"));
    let file = dir.path().join("state/fenced");
    for damaged in ["", "its state differs", "\u{fffd}"] {
        fs::write(&file, damaged).unwrap();
        let said = open.fence().unwrap().unwrap();
        assert!(said.contains("delete the folder `state`"), "{said}");
    }
    fs::write(&file, [0xff, 0xfe]).unwrap();
    assert!(open.fence().unwrap().is_some());
    fs::write(&file, sealed("fence", 2, "in another language\n")).unwrap();
    let error = open.fence().unwrap_err();
    assert!(error.is_of_other_version(), "{error}");
}

/// A removed node that took a later version's word for none would dial the members again.
#[test]
fn a_removal_that_a_newer_version_noted_is_not_forgotten() {
    let dir = tempdir().unwrap();
    let open = DataDir::open(dir.path()).unwrap();
    assert_eq!(open.removed().unwrap(), None);
    open.set_removed("the cluster has removed\nthis node")
        .unwrap();
    let kept = open.removed().unwrap();
    assert_eq!(kept.as_deref(), Some("the cluster has removed this node"));
    let file = dir.path().join("removed");
    let newer = sealed("removed", 2, "in another language\n");
    fs::write(&file, &newer).unwrap();
    let error = open.removed().unwrap_err();
    assert!(error.is_of_other_version(), "{error}");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        newer,
        "it is left alone"
    );
    fs::write(&file, "half a wo").unwrap();
    assert_eq!(open.removed().unwrap(), None, "the members say it again");
}

#[test]
fn somebody_elses_folder_is_refused_and_left_alone() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("letter.txt"), "dear").unwrap();
    let error = error(dir.path());
    assert!(
        matches!(&error, DataDirError::NotOurs { entry, .. } if entry == "letter.txt"),
        "{error}"
    );
    assert!(!dir.path().join("identity").exists());
}

#[test]
fn every_damage_of_the_small_files_is_refused() {
    for name in ["VERSION", "identity"] {
        let dir = tempdir().unwrap();
        let open = DataDir::open(dir.path()).unwrap();
        open.set_node_id(7).unwrap();
        drop(open);
        let file = dir.path().join(name);
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let flipped = whole
                .iter()
                .enumerate()
                .map(|(i, b)| b ^ u8::from(i == at))
                .collect();
            for bytes in [flipped, whole.iter().copied().take(at).collect::<Vec<_>>()] {
                fs::write(&file, &bytes).unwrap();
                let error = error(dir.path());
                let refused = matches!(error, DataDirError::Damaged { .. })
                    || name == "VERSION" && error.is_of_other_version();
                assert!(refused, "{name} at {at}: {error}");
            }
        }
        fs::remove_file(&file).unwrap();
        let error = error(dir.path());
        assert!(
            matches!(error, DataDirError::Damaged { .. }),
            "no {name}: {error}"
        );
        fs::write(&file, &whole).unwrap();
        assert_eq!(
            DataDir::open(dir.path()).unwrap().identity().node_id,
            Some(7)
        );
    }
}

#[test]
fn a_first_start_that_was_cut_short_is_completed() {
    let dir = tempdir().unwrap();
    // After the lock; in the middle of VERSION; after it, before the identity.
    fs::write(dir.path().join("LOCK"), "").unwrap();
    fs::write(dir.path().join("VERSION.tmp"), "raft3").unwrap();
    let made = DataDir::open(dir.path()).unwrap().identity();
    let dir = tempdir().unwrap();
    let version = format!("raft3d-data {DATA_FORMAT_VERSION}\n");
    fs::write(dir.path().join("VERSION"), version).unwrap();
    fs::write(dir.path().join("identity.tmp"), "raft3").unwrap();
    let other = DataDir::open(dir.path()).unwrap().identity();
    assert_ne!(made.incarnation, other.incarnation);
}
