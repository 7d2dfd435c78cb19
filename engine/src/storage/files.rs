//! Durable file operations: what must be synced, and in which order.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes of a growing file that [`Trickle`] syncs together: the disk has them in milliseconds.
const TRICKLE_BYTES: u64 = 1024 * 1024;

/// Syncs a file while it grows. Left to the sync at the end, tens of megabytes go to the disk at
/// once, and the log's syncs wait behind them.
pub(crate) struct Trickle {
    file: File,
    synced: u64,
}

impl Trickle {
    pub(crate) fn new(file: File) -> Self {
        Self { file, synced: 0 }
    }

    /// Syncs what has come since, if that is enough. What fails here is met by the sync at the end.
    pub(crate) fn go_on(&mut self) {
        self.sync_from(TRICKLE_BYTES);
    }

    /// Syncs all that has come, so that the sync at the end finds little to do.
    pub(crate) fn sync(&mut self) {
        self.sync_from(1);
    }

    /// Bytes that are synced.
    #[cfg(test)]
    pub(crate) fn synced(&self) -> u64 {
        self.synced
    }

    fn sync_from(&mut self, least: u64) {
        let length = self.file.metadata().map_or(self.synced, |file| file.len());
        if length.saturating_sub(self.synced) >= least {
            let _met_at_the_end = self.file.sync_data();
            self.synced = length;
        }
    }
}

/// Syncs a folder, so that the names in it survive a power cut. Creating, renaming and deleting a
/// file changes its folder, and a folder is synced separately (POSIX, `fsync`).
///
/// # Errors
/// What the operating system said.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates a folder and its parents, and makes the names durable.
///
/// # Errors
/// What the operating system said.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    // Each of them is a name in the one above, which has to be synced for itself.
    let missing: Vec<&Path> = dir
        .ancestors()
        .take_while(|above| !above.is_dir())
        .collect();
    fs::create_dir_all(dir)?;
    for made in missing.into_iter().rev() {
        if !made.as_os_str().is_empty() {
            sync_parent(made)?;
        }
    }
    Ok(())
}

/// Replaces the file at `path` by `bytes`, atomically: after a crash there is the old content or
/// the new one, never a mixture.
///
/// # Errors
/// What the operating system said.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_name(path);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// Renames a file that is already synced, and makes the new name durable.
///
/// # Errors
/// What the operating system said.
pub(crate) fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)
}

/// Syncs the folder that holds `path`.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// Name under which [`write_atomic`] writes before it renames.
pub(crate) fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}
