//! Durable file operations: what must be synced, and in which order.

use std::fs::{self, File};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

/// Bytes of a growing file that [`Trickle`] has written out together.
const TRICKLE_BYTES: u64 = 1024 * 1024;

/// Has the system write out a file while it grows. Left to the sync at the end, tens of megabytes
/// go to the disk at once, and the log's syncs wait behind them.
pub(crate) struct Trickle {
    file: File,
    /// Bytes that are written out, or being written.
    begun: u64,
}

impl Trickle {
    pub(crate) fn new(file: File) -> Self {
        Self { file, begun: 0 }
    }

    /// Begins to write out what has come since, if that is enough. What fails here is met by the
    /// sync.
    pub(crate) fn go_on(&mut self) {
        let length = self.file.metadata().map_or(self.begun, |file| file.len());
        let more = NonZeroU64::new(length.saturating_sub(self.begun));
        if let Some(more) = more.filter(|more| more.get() >= TRICKLE_BYTES) {
            // On Linux this begins to write pages that are dirty, and drops only those that are
            // not (`generic_fadvise`, mm/fadvise.c): what is advised once stays in memory.
            let _advice = fadvise(&self.file, self.begun, Some(more), Advice::DontNeed);
            self.begun = length;
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
