//! Durable file operations: what must be synced, and in which order.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes of a growing file that [`Trickle`] syncs together: the disk has them in milliseconds.
const TRICKLE_BYTES: u64 = 1024 * 1024;

/// Syncs a file while it grows. Left to the sync at the end, tens of megabytes go to the disk at
/// once, and the log's syncs wait behind them.
#[derive(Debug)]
pub(crate) struct Trickle {
    file: File,
    /// As of the last look, bytes.
    length: u64,
    synced: u64,
}

impl Trickle {
    pub(crate) fn new(file: File) -> Self {
        Self {
            file,
            length: 0,
            synced: 0,
        }
    }

    /// Syncs what has come since, if that is enough. Answers false where nothing has come since the
    /// last look: the file is whole.
    ///
    /// # Errors
    /// What the operating system said. It says so once, so that no later sync may tell it again.
    pub(crate) fn go_on(&mut self) -> io::Result<bool> {
        let before = self.look()?;
        if self.length.saturating_sub(self.synced) >= TRICKLE_BYTES {
            self.sync_all()?;
        }
        Ok(self.length == 0 || self.length != before)
    }

    /// Syncs all that has come, so that the sync at the end finds little to do.
    ///
    /// # Errors
    /// As [`Trickle::go_on`].
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.look()?;
        if self.length == self.synced {
            Ok(())
        } else {
            self.sync_all()
        }
    }

    /// Answers how long the file was at the last look.
    fn look(&mut self) -> io::Result<u64> {
        let length = self.file.metadata()?.len();
        Ok(std::mem::replace(&mut self.length, length))
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.synced = self.length;
        Ok(())
    }

    /// Bytes that are synced.
    #[cfg(test)]
    pub(crate) fn synced(&self) -> u64 {
        self.synced
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
