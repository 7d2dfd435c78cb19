//! Opening state and snapshots together: what is damaged is set aside and built anew, as long as
//! snapshot and log together still reach the end of the log.
//!
//! | state database | snapshot | log purged | result |
//! |---|---|---|---|
//! | whole, not behind | whole or none | any | as it is |
//! | whole, behind the snapshot | whole | any | snapshot loaded |
//! | damaged | whole, not behind the purge | any | set aside; snapshot loaded; log replayed |
//! | damaged | damaged or none | no | both set aside; whole log replayed |
//! | damaged, or behind the purge | damaged, missing or behind the purge | yes | refusal |
//! | whole, not behind the purge | damaged | yes | snapshot set aside; openraft makes a new one |

use std::fs;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::{StateError, StateStore};
use crate::storage::files::{create_dir, rename_durably};
use crate::storage::snapshot::{SnapshotError, SnapshotStore};

/// Damaged databases that are kept for whoever wants to look at them; more are deleted.
const DAMAGED_KEPT_MAX: usize = 2;
const STATE_DIR: &str = "state";
const SNAPSHOTS_DIR: &str = "snapshots";
const DAMAGED_PREFIX: &str = "state.damaged-";

/// Opens the state database and the snapshots in the data folder `data_dir`, and makes the state
/// at least as new as the log needs it: `purged_index` is the last log index that is purged.
///
/// # Errors
/// [`StateError::CannotRebuild`] where nothing here reaches the log; otherwise disk errors.
pub fn open(
    data_dir: &Path,
    purged_index: Option<u64>,
) -> Result<(StateStore, SnapshotStore), StateError> {
    let (snapshots, damaged) = SnapshotStore::open(&data_dir.join(SNAPSHOTS_DIR))?;
    let dir = data_dir.join(STATE_DIR);
    let state = match StateStore::open(&dir) {
        Ok(state) => state,
        Err(StateError::Damaged(detail)) => {
            // Before anything is moved: a refusal leaves the folder as it was found.
            check_reach(None, &snapshots, purged_index, &damaged)?;
            let kept = set_aside(data_dir, &dir)?;
            warn!(
                "the state database is damaged ({detail}); it is kept as {} and rebuilt from {}",
                kept.display(),
                source_of_rebuild(&snapshots)
            );
            StateStore::open(&dir)?
        }
        Err(error) => return Err(error),
    };
    let applied = state.view().last_applied().map(|log_id| log_id.index);
    check_reach(applied, &snapshots, purged_index, &damaged)?;
    if let Some(snapshot) = snapshots.current()
        && snapshot.header().last_log_id > state.view().last_applied()
    {
        state.install(&snapshot)?;
    }
    set_aside_damaged(&snapshots, damaged)?;
    // openraft keeps the snapshot at or after the purge point. One that is before it serves
    // nobody; without one, openraft makes a new one at once.
    if let Some(snapshot) = snapshots.current()
        && snapshot.header().last_log_id.map(|log_id| log_id.index) < purged_index
    {
        warn!(
            "the snapshot {} is older than the log; a new one is made",
            snapshot.path().display()
        );
        snapshots.forget_current();
    }
    Ok((state, snapshots))
}

/// Invariant: no start goes on with a state that the log cannot complete (test
/// `a_needed_snapshot_that_is_damaged_is_refused`).
fn check_reach(
    applied: Option<u64>,
    snapshots: &SnapshotStore,
    purged_index: Option<u64>,
    damaged: &[(PathBuf, SnapshotError)],
) -> Result<(), StateError> {
    let current = snapshots.current();
    let snapshot_index = current
        .as_ref()
        .and_then(|handle| handle.header().last_log_id)
        .map(|log_id| log_id.index);
    let Some(needed) = purged_index.filter(|purged| applied.max(snapshot_index) < Some(*purged))
    else {
        return Ok(());
    };
    let found = match (damaged.last(), snapshot_index) {
        (Some((_, error)), _) => error.to_string(),
        (None, Some(index)) => format!("the newest snapshot reaches to {index} only"),
        (None, None) => "there is no snapshot file".to_owned(),
    };
    Err(StateError::CannotRebuild { needed, found })
}

fn set_aside_damaged(
    snapshots: &SnapshotStore,
    damaged: Vec<(PathBuf, SnapshotError)>,
) -> Result<(), StateError> {
    for (path, error) in damaged {
        let kept = snapshots.set_aside(&path)?;
        warn!("{error}; it is not needed, and kept as {}", kept.display());
    }
    Ok(())
}

fn source_of_rebuild(snapshots: &SnapshotStore) -> String {
    match snapshots.current() {
        Some(snapshot) => format!("{} and the log", snapshot.path().display()),
        None => "the log".to_owned(),
    }
}

/// Renames the damaged database and keeps at most [`DAMAGED_KEPT_MAX`] of them.
fn set_aside(data_dir: &Path, dir: &Path) -> Result<PathBuf, StateError> {
    let io = |action: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| StateError::Io {
            action,
            path,
            source,
        }
    };
    let mut kept = Vec::new();
    for entry in fs::read_dir(data_dir).map_err(io("list", data_dir))? {
        let name = entry.map_err(io("list", data_dir))?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(DAMAGED_PREFIX));
        kept.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    kept.sort_unstable();
    let number = kept.last().map_or(1, |last| last + 1);
    let to = data_dir.join(format!("{DAMAGED_PREFIX}{number}"));
    rename_durably(dir, &to).map_err(io("set aside", dir))?;
    create_dir(dir).map_err(io("create", dir))?;
    kept.push(number);
    for number in kept
        .iter()
        .take(kept.len().saturating_sub(DAMAGED_KEPT_MAX))
    {
        let old = data_dir.join(format!("{DAMAGED_PREFIX}{number}"));
        fs::remove_dir_all(&old).map_err(io("delete", &old))?;
    }
    Ok(to)
}
